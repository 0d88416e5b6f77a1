"""Bad input at the shell: exit code 2 (1 for the machine's own problems), three parts, no traceback, nothing left."""

import errno
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from shells import QUICK, Shell, environment

from headscope.methods import METHODS
from headscope.tasks import TASKS

KNOWN = "expected: 'mini', a local Hugging Face directory, or a Hub name such as gpt2 or EleutherAI/pythia-70m"


def told(given: str, expected: str, fix: str) -> str:
    return f"headscope: {given}\n  expected: {expected}\n  to fix it: {fix}\n"


@pytest.fixture
def spoilt(ids: Path, tmp_path: Path) -> Path:
    """A copy of a model that a test may spoil."""
    return Path(shutil.copytree(ids, tmp_path / "spoilt"))


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("weights were touched")

    monkeypatch.setattr("headscope.models.load", refuse)


# --- models


def test_an_unknown_model_offline_says_where_it_looked_and_how_to_fetch_it(shell: Shell, cache: Path) -> None:
    answer = shell("analyze", "gpt2", "--offline")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "headscope: model 'gpt2': no directory of that name, and openai-community/gpt2 and gpt2 not in the cache "
        f"{cache} (offline)\n  {KNOWN} (offline: one that is in the cache)\n"
        "  to fix it: with network access, run: hf download openai-community/gpt2\n"
    )
    assert not Path("runs").exists()


def test_an_unknown_model_on_a_machine_without_network_starts_no_storm_of_retries(
    shell: Shell, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(host: Any, *_: Any, **__: Any) -> None:
        asked.append(host)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    answer = shell("analyze", "no-such/model")
    assert answer.code == 2
    assert f"no-such/model not in the cache {cache} (the Hub does not answer: " in answer.err
    assert answer.err.endswith("with network access, run: hf download no-such/model\n")
    # Ours, and one that the Hub's client makes for itself before its first.
    assert len(asked) <= 2, "a storm of retries"


def test_an_unknown_model_is_answered_within_seconds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headscope", "analyze", "no-such/model", "--offline"]
    # A port where nothing listens: an attempt to reach the Hub would show in the text.
    surroundings = environment(HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    before = os.times()
    ran = subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False)
    after = os.times()
    assert ran.returncode == 2
    assert ran.stderr.startswith(
        "headscope: model 'no-such/model': no directory of that name, and no-such/model not in "
    )
    assert "(offline)" in ran.stderr
    assert ran.stderr.count("\n") == 3, ran.stderr
    assert ran.stdout == ""
    # The time that it works, and not that it waits; where others work too, that alone may be half as long again.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 8


@pytest.mark.parametrize(
    ("name", "given", "fix"),
    [
        ("./nowhere", "model './nowhere', which is no directory", "check the path"),
        ("no such model", "model 'no such model', which is no directory", "check the path"),
        ("spoilt/config.json", "model 'spoilt/config.json', which is a file", "give its directory: 'spoilt'"),
        ("\x1b[31m", "model '\\x1b[31m', which is no directory", "check the path"),
    ],
)
def test_a_path_that_is_no_model_is_explained(shell: Shell, spoilt: Path, name: str, given: str, fix: str) -> None:
    answer = shell("analyze", name)
    assert (answer.code, answer.err) == (2, told(given, KNOWN.removeprefix("expected: "), fix))


def _cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _poison(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.attn.c_proj.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _bare(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _unset(folder: Path) -> None:
    (folder / "config.json").unlink()


def _garbled(folder: Path) -> None:
    (folder / "config.json").write_text("{")


SAFE = "weights as *.safetensors; a pickle can run any code while it loads, so headscope never opens one"
AGAIN = "save the model again with model.save_pretrained(directory)"
SPOILT = [
    (
        _cut,
        "weights 'model.safetensors' in 'spoilt', which cannot be read: ",
        "a whole safetensors file",
        "fetch or save",
    ),
    (
        _poison,
        "model 'spoilt', whose parameter 'transformer.h.1.attn.c_proj.weight' has 1 NaN or infinite values\n",
        "finite weights",
        "fetch or train it again; float16 overflows above 65504",
    ),
    (_pickled, "model directory 'spoilt', which has only pickle weights (pytorch_model.bin)\n", SAFE, AGAIN),
    (_bare, "model directory 'spoilt', which has no weights\n", SAFE, AGAIN),
    (
        _unset,
        "model directory 'spoilt', which has no config.json\n",
        "a Hugging Face model directory: config.json and *.safetensors",
        "save the model with model.save_pretrained(directory)",
    ),
    (
        _garbled,
        "model 'spoilt', whose config.json cannot be used: ",
        "the config.json of an architecture",
        "check config.json",
    ),
]


@pytest.mark.parametrize(("spoil", "given", "expected", "fix"), SPOILT, ids=[case[0].__name__ for case in SPOILT])
def test_a_spoilt_directory_is_refused(
    shell: Shell, spoilt: Path, spoil: Any, given: str, expected: str, fix: str
) -> None:
    spoil(spoilt)
    answer = shell("analyze", spoilt)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"headscope: {given}")
    assert f"\n  expected: {expected}" in answer.err
    assert f"\n  to fix it: {fix}" in answer.err
    assert answer.err.count("\n") == 3
    assert not Path("runs").exists()


# --- tasks and names


def test_a_model_without_tokenizer_is_measured_on_induction_and_says_why_not_on_words(shell: Shell, ids: Path) -> None:
    answer = shell("analyze", ids, "-n", "4", "--method", "attention")
    assert answer.code == 0
    for task in ("ioi", "agreement"):
        assert (
            f"{task}: task '{task}' on 'ids', which has no tokenizer; expected: a model that reads words\n"
            in answer.out
        )
        assert f" {task} " in answer.out
    assert "induction: top heads by attention" in answer.out
    assert "ioi: top heads" not in answer.out


def test_a_task_in_words_without_tokenizer_is_refused(shell: Shell, ids: Path) -> None:
    answer = shell("analyze", ids, "--task", "induction,ioi")
    assert answer.code == 2
    fix = "load it with its tokenizer, choose --task induction, or give Pairs of token ids"
    assert answer.err == told("task 'ioi' on 'ids', which has no tokenizer", "a model that reads words", fix)


def test_a_task_that_the_tokenizer_cannot_express_is_refused(shell: Shell, strange: Path) -> None:
    answer = shell("analyze", strange, "--task", "ioi")
    assert answer.code == 2
    assert answer.err.startswith("headscope: task 'ioi' with the tokenizer of 'strange': 0 of ")
    assert " words are single tokens (not: 'Mary'" in answer.err or "words are single tokens (not: '" in answer.err
    assert "\n  expected: at least 10 different single-token words, such as '" in answer.err
    fix = "leave this task out with --task, or give pairs of your own in this model's words\n"
    assert answer.err.endswith(f"\n  to fix it: {fix}")


def test_prompts_that_are_longer_than_the_context_are_refused(shell: Shell, short: Path) -> None:
    answer = shell("analyze", short, "--task", "ioi", "-n", "4")
    assert answer.code == 2
    assert answer.err.startswith("headscope: task 'ioi': a prompt of ")
    assert "\n  expected: at most 8 tokens, the context of 'short'\n" in answer.err
    answer = shell("analyze", short, "--task", "induction", "-n", "4")
    assert answer.code == 2
    assert " usable tokens, context 8\n  expected: at least 26 usable tokens and a context of " in answer.err


@pytest.mark.usefixtures("untouched")
def test_everything_wrong_with_the_names_and_numbers_is_said_before_weights_load(shell: Shell) -> None:
    words = ("-t", "ioj", "-t", "qqq,induction", "-m", "pathcing", "-n", "1", "--seed", "-1", "--batch-size", "0")
    answer = shell("analyze", "no-such/model", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == told(
        "unknown task 'ioj'; unknown task 'qqq'; unknown method 'pathcing'; n 1; batch size 0; seed -1",
        f"tasks: {', '.join(TASKS)}; methods: {', '.join(METHODS)}; n from 2; batch size from 1; seed from 0",
        "did you mean 'ioi'?; see headscope list tasks; did you mean 'patching'?; give a whole number in that range",
    )
    assert not Path("runs").exists()


def test_the_check_that_weights_are_untouched_can_fail(shell: Shell, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("untouched")
    with pytest.raises(pytest.fail.Exception, match="weights were touched"):
        shell("analyze", "no-such/model", *QUICK)


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (
            ("--dtype", "float8"),
            told(
                "dtype 'float8'",
                "one of: float32, fp32, bfloat16, bf16, float16, fp16",
                "use float32 unless memory is short",
            ),
        ),
        (("--device", "toaster"), told("device 'toaster'", "auto, cpu, cuda, cuda:N or mps", "use auto")),
    ],
)
def test_unknown_devices_and_types_are_refused_before_the_model_is_looked_for(
    shell: Shell, words: tuple[str, ...], err: str
) -> None:
    answer = shell("analyze", "no-such/model", *words)
    assert (answer.code, answer.err) == (2, err)


def test_a_device_that_is_not_there_is_refused(shell: Shell, ids: Path) -> None:
    answer = shell("analyze", ids, "--device", "cuda:99")
    assert answer.code == 2
    assert answer.err.startswith(
        "headscope: device 'cuda:99', which is not there\n  expected: a device of this machine: 1 cpu"
    )


# --- the disk


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_an_unwritable_folder_is_refused_before_weights_load(shell: Shell, place: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    answer = shell("analyze", "no-such/model", "--out", place)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == told(
        f"output folder '{place}', which can be no folder (Not a directory)",
        "a new or empty folder",
        "choose another --out",
    )


@pytest.mark.usefixtures("untouched")
def test_a_folder_that_holds_a_run_is_refused_before_weights_load(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("{}")
    answer = shell("analyze", "no-such/model", "--out", "old")
    assert (answer.code, answer.out) == (2, "")
    expected = (
        "a new or empty folder, or one that holds a run of headscope analyze: finished runs of another kind are never "
        "written over"
    )
    given = "output folder 'old', which already holds a run"
    assert answer.err == told(given, expected, "choose another --out, or delete the folder first")


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_full_disk_loses_nothing_that_was_printed(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    monkeypatch.setattr("pandas.DataFrame.to_parquet", full)
    answer = shell("analyze", ids, *QUICK, *form, "--out", "run")
    assert answer.code == 1
    assert answer.err == told(
        "output folder 'run', which cannot be written (No space left on device)",
        "a folder that may be written to, with some 20 MB left",
        "choose another --out, or free some space",
    )
    if form:
        record = json.loads(answer.out)
        assert record["folder"] is record["report"] is None
        assert len(record["top"]) == 8
    else:
        assert "induction: top heads by patching, denoising (in logits)" in answer.out
        assert "report:" not in answer.out


def test_an_output_that_breaks_does_not_lose_the_run(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.cli.tables.print_top", full)
    answer = shell("analyze", ids, *QUICK, "--out", "run")
    assert answer.code == 1
    assert answer.err.startswith(
        "headscope: OSError: [Errno 28] No space left on device\n  expected: space on the disk"
    )
    assert (tmp_path / "run" / "run.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_output_is_explained_once() -> None:
    with Path("/dev/full").open("w") as out:
        command = [sys.executable, "-m", "headscope", "--version"]
        ran = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(
        "headscope: OSError: [Errno 28] No space left on device\n  expected: space on the disk"
    )
    assert ran.stderr.count("\n") == 3, ran.stderr


def test_what_headscope_did_not_foresee_is_told_without_a_trace(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ids: Path
) -> None:
    def broken(problem: Exception) -> Any:
        def load(*_: Any, **__: Any) -> None:
            raise problem

        return load

    monkeypatch.setattr("headscope.models.load", broken(ZeroDivisionError("by zero")))
    answer = shell("analyze", ids)
    assert answer.code == 1
    assert answer.err == told(
        "ZeroDivisionError: by zero",
        "no such problem: this is a fault of headscope or of a library below it",
        "run again with HEADSCOPE_DEBUG=1 for the full trace, and report it",
    )
    monkeypatch.setattr("headscope.models.load", broken(torch.OutOfMemoryError("CUDA out of memory")))
    answer = shell("analyze", ids)
    assert answer.code == 1
    assert answer.err.endswith("to fix it: give a smaller --batch-size or -n, or another --device\n")
    monkeypatch.setenv("HEADSCOPE_DEBUG", "1")
    with pytest.raises(torch.OutOfMemoryError):
        shell("analyze", ids)
