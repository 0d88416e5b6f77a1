"""At the shell: a run that goes on, runs that are merged, and a run that is checked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shells import QUICK, Shell

from headscope.methods import METHODS
from headscope.runs import open_run


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))


def stopping(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_the_same_command_goes_on_where_it_was_stopped(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("analyze", ids, *QUICK, "-m", "attention")
    with monkeypatch.context() as patch:
        patch.setitem(METHODS, "attention", replace(METHODS["attention"], function=stopping))
        assert shell(*words).code == 130
    answer = shell(*words)
    assert answer.code == 0
    assert answer.err == (
        "headscope: going on with runs/ids, which was stopped\n"
        "headscope: 1 of 2 cells were there from before (--refresh: anew)\n"
    )
    assert open_run("runs/ids").identity["complete"] is True
    assert shell(*words, "-q").out == "report: runs/ids-2/report.html\n", "a finished run gets a new number"
    answer = shell(*words, "--out", "runs/ids", "--refresh", "-q")
    assert (answer.code, answer.err) == (0, "")
    assert open_run("runs/ids").identity["cells"]["reused"] == {}


def test_runs_are_merged_and_checked(shell: Shell, ids: Path) -> None:
    for name, method in (("a", "patching"), ("b", "attention")):
        assert shell("analyze", ids, "-n", "4", "-t", "induction", "-m", method, "--out", name, "-q").code == 0
    answer = shell("merge", "all", "a", "b")
    assert answer.code == 0
    assert "induction: top heads by patching, denoising (in logits)" in answer.out
    assert answer.err == (
        "headscope: not there yet: profiles\n"
        "  computed, and nothing else, by: headscope analyze MODEL --out all, with the options of the runs\n"
    )
    answer = shell("verify", "all")
    assert answer.code == 0
    assert "cell: " in answer.out
    assert "wrong" not in answer.out
    values = Path("all/examples/values.safetensors")
    values.write_bytes(values.read_bytes()[:-1] + b"\x01")
    answer = shell("verify", "all", "--json")
    record = json.loads(answer.out)
    assert (answer.code, record["sound"]) == (1, False)
    assert {line["what"] for line in record["checks"] if line["status"] == "wrong"} >= {"examples/values.safetensors"}
    answer = shell("verify", "all")
    assert "wrong: file examples/values.safetensors: sha256 " in " ".join(answer.out.split())


def test_a_damaged_part_is_told_as_a_warning(shell: Shell, ids: Path) -> None:
    words = ("analyze", ids, *QUICK, "--out", "run", "-q")
    assert shell(*words).code == 0
    path = next(Path("run/cells").rglob("*.safetensors"))
    path.write_bytes(b"")
    answer = shell(*words)
    assert answer.code == 0
    assert answer.err.startswith("headscope: warning: 1 damaged cell, computed again: ")
