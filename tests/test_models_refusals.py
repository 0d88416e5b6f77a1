"""What load() refuses, and that it says what was given, what was expected and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import put_in_cache, tiny
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from headscope.corpora import data_path
from headscope.errors import HeadscopeError, ModelError, UsageError
from headscope.models import load

pytestmark = pytest.mark.usefixtures("no_network")


def refused(folder: Path, spoil: Any) -> str:
    spoil(folder)
    with pytest.raises(ModelError) as caught:
        load(folder)
    return str(caught.value)


def set_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def set_weight(folder: Path, name: str, value: float | None) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name].clone()
    weights[name].view(-1)[3] = value or 0
    kept = {key: tensor for key, tensor in weights.items() if value is not None or key != name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def index(folder: Path) -> None:
    files = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(files))


NORM = "transformer.h.1.ln_1.weight"


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda f: (f / "config.json").unlink(), ("'small', which has no config.json", "save_pretrained(directory)")),
        (lambda f: (f / "model.safetensors").unlink(), ("'small', which has no weights", "*.safetensors")),
        (pickled, ("only pickle weights (pytorch_model.bin)", "a pickle can run any code")),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs"),
            ("cannot be read", "git lfs pull"),
        ),
        (
            lambda f: os.truncate(f / "model.safetensors", 9000),
            ("'model.safetensors' in 'small', which cannot be read",),
        ),
        (index, ("which lacks model-00002-of-00002.safetensors", "all 2 files of its index")),
        (lambda f: (f / "config.json").write_text("{"), ("whose config.json cannot be used", "check config.json")),
        (
            lambda f: set_config(f, model_type="nope"),
            ("whose config.json cannot be used", "without code from elsewhere"),
        ),
        (lambda f: set_config(f, model_type="t5"), ("of type 't5', which is no plain language model",)),
        (lambda f: set_config(f, n_embd=40), ("whose weights do not load", "weights that fit config.json")),
        (lambda f: set_weight(f, NORM, None), (f"lack 1 weights, such as '{NORM}'", "every weight of GPT2LMHeadModel")),
        (lambda f: set_weight(f, NORM, float("nan")), (f"parameter '{NORM}' has 1 NaN or infinite values",)),
        (lambda f: set_weight(f, NORM, float("inf")), (f"parameter '{NORM}' has 1 NaN or infinite values",)),
        (lambda f: (f / "tokenizer.json").write_text("{}"), ("whose tokenizer cannot be read", "tokenizer=...")),
    ],
)
def test_spoilt_directories_are_refused_with_the_reason(folder: Path, spoil: Any, parts: tuple[str, ...]) -> None:
    text = refused(folder, spoil)
    assert "\n  expected: " in text
    assert "\n  to fix it: " in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("names", [[7], []])
def test_a_configuration_whose_class_is_no_name_goes_by_its_type(folder: Path, names: Any) -> None:
    set_config(folder, architectures=names)
    assert load(folder, device="cpu").causal


def test_code_beside_the_weights_never_runs(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    set_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    assert "whose config.json cannot be used" in refused(folder, lambda _: None)


def test_an_architecture_without_heads_for_us_is_refused() -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(
        ModelError,
        match=r"BertModel, which TransformerLens cannot wrap: it has no adapter.*\n.*\n.*AutoModelForMaskedLM",
    ):
        load(BertModel(BertConfig(vocab_size=20, **small)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"source": 3}, "a model of type int"),
        ({"source": torch.nn.Linear(2, 2)}, "a model of type Linear"),
        ({"source": "./nowhere"}, "model './nowhere', which is no directory"),
        ({"source": "a b"}, "model 'a b', which is no directory"),
        ({"source": __file__}, r"which is a file\n.*\n  to fix it: give its directory"),
        ({"source": "gpt2", "dtype": "int3"}, "dtype 'int3'\n  expected: one of: float32, fp32"),
        ({"source": "gpt2", "device": "abacus"}, "device 'abacus'\n  expected: auto, cpu"),
        ({"source": "gpt2", "device": "cuda:99"}, "device 'cuda:99', which is not there\n.*1 cpu"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises((ModelError, UsageError), match=text):
        load(**arguments)


def test_a_model_inside_a_bridge_and_a_training_bridge_are_refused() -> None:
    bridge = load(tiny("gpt2"), check=False).bridge
    with pytest.raises(ModelError, match=r"wrapped in a TransformerBridge\n.*\n  to fix it: pass the bridge"):
        load(bridge.original_model)
    bridge.train()
    with pytest.raises(ModelError, match=r"in training mode\n.*\n  to fix it: call bridge.eval\(\) first"):
        load(bridge)


def test_mini_is_bundled_or_said_to_be_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import headscope.corpora.files

    (tmp_path / "headscope").mkdir()
    monkeypatch.setattr(headscope.corpora.files, "_PACKAGE", tmp_path / "headscope")
    with pytest.raises(HeadscopeError, match="data 'mini', which is neither in data/ nor in headscope/data/"):
        data_path("mini")
    with pytest.raises(ModelError, match="data 'mini'"):
        load("mini")
    (tmp_path / "data" / "mini").mkdir(parents=True)
    with pytest.raises(HeadscopeError):
        data_path("mini")
    (tmp_path / "pyproject.toml").touch()
    assert data_path("mini") == tmp_path / "data" / "mini"
    (tmp_path / "data" / "mini").rmdir()
    (tmp_path / "headscope" / "data" / "mini").mkdir(parents=True)
    assert data_path("mini") == tmp_path / "headscope" / "data" / "mini"


def test_an_unknown_name_without_network_is_answered_once(cache: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load("gpt2")
    text = str(caught.value)
    assert f"openai-community/gpt2 and gpt2 not in the cache {cache} (the Hub does not answer: " in text
    assert text.endswith("with network access, run: hf download openai-community/gpt2")


def test_a_half_fetched_model_is_not_taken_for_a_whole_one(cache: Path) -> None:
    put_in_cache(cache, "some/model")
    next(cache.rglob("model.safetensors")).unlink()
    with pytest.raises(ModelError, match=r"some/model not in the cache .* \(offline\)"):
        load("some/model", offline=True)


def test_the_nearest_name_is_offered(cache: Path) -> None:
    put_in_cache(cache, "some/modem")
    with pytest.raises(ModelError, match="did you mean 'gpt2'"):
        load("gtp2", offline=True)
    with pytest.raises(ModelError, match="did you mean 'some/modem'"):
        load("some/model", offline=True, revision="v2")


def test_an_unknown_name_offline_is_answered_within_five_seconds(tmp_path: Path) -> None:
    code = """
import time
from headscope.errors import ModelError
from headscope.models import load
start = time.perf_counter()
try:
    load("no-such/model", revision="v2", offline=True)
except ModelError as problem:
    print(problem, time.perf_counter() - start, time.process_time(), sep="|")
"""
    home = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | home, check=True
    )
    text, waited, worked = ran.stdout.rsplit("|", 2)
    assert "no-such/model not in the cache" in text
    assert text.endswith("hf download no-such/model --revision v2")
    # The imports count by their work alone: a busy machine is not what this test is about.
    assert float(waited) < 5
    assert float(worked) < 5
    assert ran.stderr == ""
