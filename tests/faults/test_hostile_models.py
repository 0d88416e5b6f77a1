"""Model directories that would run code, read other files, or take all memory: refused with the reason, or unharmed."""

import json
import os
import pickle
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from architectures import tiny

from headscope.errors import ModelError
from headscope.models import load, sources

pytestmark = pytest.mark.usefixtures("no_network")

GROWTH = 150 << 10
"""KiB of memory that a refusal may take at most."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "small"
    tiny("gpt2").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound, tmp_path / "small")
    return tmp_path / "small"


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def refusal(folder: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError) as caught:
        load(folder, device="cpu", offline=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH
    assert caught.value.expected
    assert caught.value.fix
    assert len(str(caught.value)) < 2000
    return str(caught.value)


def edit(folder: Path, name: str = "config.json", **changes: Any) -> None:
    content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    (folder / name).write_text(json.dumps(content | changes))


# --- code


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    assert "'model.safetensors' in 'small', which cannot be read: Error while deserializing header" in refusal(folder)
    assert not (tmp_path / "ran").exists()
    pickle.loads((folder / "model.safetensors").read_bytes())
    assert (tmp_path / "ran").exists(), "the payload works where it is opened"


def test_what_lies_beside_sound_weights_is_neither_opened_nor_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Payload(ran)))
    evil = f"import os; os.mkdir({str(ran)!r})\nclass C: ...\n"
    for name in ("evil.py", "__init__.py", "tokenization_evil.py"):
        (folder / name).write_text(evil)
    (folder / "README.md").write_text("---\ncustom_pipelines: evil\n---\n{{ 1/0 }}" * 1000)
    edit(folder, auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}, trust_remote_code=True)
    assert load(folder, device="cpu", offline=True, check=False).grid.layers == 3
    assert not ran.exists()


def test_a_chat_template_is_never_rendered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rendered(*_: Any, **__: Any) -> None:
        raise AssertionError("a template was compiled")

    place = sources.locate("mini").directory
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(place / name, folder / name)
    monkeypatch.setattr("jinja2.Environment.from_string", rendered)
    monkeypatch.setattr("jinja2.environment.Environment.compile", rendered)
    template = "{% for i in range(10**12) %}{{ cycler.__init__.__globals__.os.system('true') }}{% endfor %}"
    edit(folder, "tokenizer_config.json", chat_template=template)
    (folder / "chat_template.jinja").write_text(template)
    edit(folder, vocab_size=97)
    from headscope.models import reading

    assert reading.read_tokenizer(sources.locate(folder)) is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}, "whose config.json cannot be used"),
        ({"transformers_weights": "../../../etc/passwd"}, "whose weights do not load"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "whose weights do not load"),
    ],
)
def test_configs_that_lead_elsewhere_are_refused(
    folder: Path, change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})\nclass C: ...\n")
    edit(folder, **change)
    assert told in refusal(folder)
    assert not (tmp_path / "ran").exists()


def test_an_adapter_whose_base_lies_elsewhere_is_refused(folder: Path) -> None:
    edit(folder, "adapter_config.json", base_model_name_or_path="/etc", peft_type="LORA")
    assert "which holds an adapter (adapter_config.json) of a model that lies elsewhere" in refusal(folder)


# --- other files


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "..", ".", "", "sub/model.safetensors", "..\\model.safetensors", 3, None],
)
def test_an_index_names_files_of_its_own_directory_only(folder: Path, name: Any) -> None:
    edit(folder, "model.safetensors.index.json", weight_map={"a": "model.safetensors", "b": name})
    text = refusal(folder)
    assert f"'model.safetensors.index.json' in 'small', which names the file {name!r}" in text
    assert "\n  expected: names of files in the same directory\n" in text


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": 3}', '{"weight_map": []}', "[" * 99999, "\udcff", ""])
def test_an_index_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "'model.safetensors.index.json' in 'small', which cannot be read (" in refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_links_out_of_the_directory_are_refused(folder: Path, name: str, tmp_path: Path) -> None:
    (folder / name).touch()
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to("../elsewhere")
    text = refusal(folder)
    assert f"model directory 'small', whose {name} is a link out of it, to {str(tmp_path / 'elsewhere')!r}" in text
    assert text.endswith("copy the file there, or give the directory where it lies")


def test_links_within_the_directory_and_within_the_hugging_face_cache_are_followed(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "config.json").rename(folder / "kept.json")
    (folder / "config.json").symlink_to("kept.json")
    assert sources.locate(folder).directory == folder
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (folder / "model.safetensors").rename(blobs / "0123")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    assert sources.locate(snapshot).directory == snapshot
    (snapshot / "config.json").symlink_to("../../../small/kept.json")
    assert "whose config.json is a link out of it" in refusal(snapshot)


def test_a_link_to_itself_and_a_pipe_are_refused(folder: Path) -> None:
    (folder / "tokenizer.json").symlink_to("tokenizer.json")
    assert "whose tokenizer.json is a link out of it" in refusal(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert "weights 'model.safetensors' in 'small', which are no plain file" in refusal(folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "which has no config.json" in refusal(folder)


# --- memory and time


@pytest.mark.parametrize(
    ("name", "size"), [("config.json", 1 << 25), ("tokenizer.json", 1 << 40), ("vocab.json", 1 << 29)]
)
def test_files_of_absurd_size_are_refused_unread(folder: Path, name: str, size: int) -> None:
    with (folder / name).open("ab") as file:
        file.truncate(size)  # a hole: it takes no room on the disk
    assert f"whose {name} has {size:,} bytes\n  expected: at most" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_layer": 10**9}, "num_hidden_layers 1000000000, where its files hold 42,304 in 40 tensors"),
        ({"n_layer": -1}, "num_hidden_layers -1"),
        ({"n_layer": 0}, "num_hidden_layers 0"),
        ({"n_layer": 2.5}, "whose config.json"),
        ({"n_layer": "3"}, "whose config.json"),
        ({"n_layer": True}, "whose config.json"),
        ({"n_head": 0}, "num_attention_heads 0"),
        ({"n_head": 5}, "whose config.json cannot be used: ValueError: `embed_dim` must be divisible by num_heads"),
        ({"n_head": -4}, "num_attention_heads -4"),
        ({"n_embd": 2**40}, "hidden_size 1099511627776"),
        ({"vocab_size": 10**12}, "vocab_size 1000000000000"),
        ({"vocab_size": 40_000, "n_embd": 40_000}, "a model of "),
        ({"n_inner": 10**7}, "a model of "),
        ({"n_positions": 10**30}, "max_position_embeddings 1000000000000000000000000000000"),
        ({"n_positions": 10**7}, "a model of "),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_before_memory_is_taken(
    folder: Path, change: dict[str, Any], told: str
) -> None:
    edit(folder, **change)
    text = refusal(folder)
    assert told in text
    assert "model 'small', whose config.json" in text


def test_a_header_of_terabytes_is_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    for length in (2**63, 2**64 - 1, 2**40):
        (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + data[8:])
        assert "'model.safetensors' in 'small', which cannot be read" in refusal(folder)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    name = next(name for name in header if name != "__metadata__")
    for entry in (
        {"shape": [2**62, 8]},
        {"shape": [-1, 4]},
        {"data_offsets": [0, 2**63 - 1]},
        {"data_offsets": [0, 4]},
    ):
        text = json.dumps(header | {name: header[name] | entry}).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
        assert "'model.safetensors' in 'small', which cannot be read" in refusal(folder)
