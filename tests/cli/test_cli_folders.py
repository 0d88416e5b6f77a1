"""At the shell: folders that go away, weights that change, memory that runs out, a clock that goes back."""

import itertools
import json
import re
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from shells import Shell, save

from headscope import provenance
from headscope.methods import METHODS
from headscope.pipeline import scoring
from headscope.runs import open_run
from headscope.tasks import TASKS

WORDS = ("-n", "4", "-t", "induction", "-m", "attention")


@pytest.fixture(autouse=True)
def _only_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
    monkeypatch.setattr("headscope.pipeline.executing._shown", lambda *_: None)


def put(patch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    patch.setitem(METHODS, name, replace(METHODS[name], function=function))


def stopping(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("out", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_that_changed_under_a_stopped_run_get_a_folder_of_their_own(
    out: bool, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(tmp_path / "small")
    words = ("analyze", model, *WORDS, *(["--out", "runs/small"] if out else []))
    with monkeypatch.context() as patch:
        put(patch, "attention", stopping)
        assert shell(*words).code == 130
    before = {path: path.read_bytes() for path in Path("runs/small").rglob("*") if path.is_file()}
    save(model, n_layer=1)
    answer = shell(*words)
    if out:
        assert answer.code == 2
        assert "output folder 'runs/small', which holds a run of another model ('small': other weights, " in answer.err
        assert "to fix it: choose another --out, or delete the folder first" in answer.err
        return
    assert (answer.code, answer.err) == (
        0,
        "headscope: going on with runs/small, which was stopped\n"
        "headscope: its run is of another model, or of other weights: using runs/small-2 instead\n",
    )
    assert open_run("runs/small-2").identity["complete"] is True
    assert {path: path.read_bytes() for path in Path("runs/small").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("again", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_folder_that_is_deleted_meanwhile_is_made_anew_or_explained(
    again: bool, shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = scoring.compute

    def deleting(*given: Any) -> Any:
        shutil.rmtree("runs")
        if not again:
            Path("runs").write_text("a file")
        return usual(*given)

    monkeypatch.setattr(scoring, "compute", deleting)
    answer = shell("analyze", ids, *WORDS)
    assert "accuracy" in answer.out, "what was measured is shown in any case"
    if again:
        assert answer.code == 0
        assert "results could not be kept for the next time: the folder was deleted while it was written" in answer.err
        assert open_run("runs/ids").identity["complete"] is True
        assert shell("verify", "runs/ids", "--json").code == 0
        assert json.loads(Path("runs/ids/cells/plan.json").read_text())["blocks"]
        return
    assert answer.code in (1, 2)
    assert "headscope: output folder 'runs/ids', which can" in answer.err
    assert "\n  expected: " in answer.err


def test_memory_that_runs_out_halves_what_is_held_at_once(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, sizes = METHODS["attention"].function, []
    wanted = json.loads(shell("analyze", ids, *WORDS, "--out", "whole", "--json").out)

    def short(*given: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        if batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return usual(*given, batch_size=batch_size, **options)

    with monkeypatch.context() as patch:
        put(patch, "attention", short)
        answer = shell("analyze", ids, *WORDS, "--out", "short", "--json")
    assert (answer.code, sizes) == (0, [4, 2, 1])
    assert json.loads(answer.out)["top"] == wanted["top"]
    assert open_run("short").scores["value"].round(9).equals(open_run("whole").scores["value"].round(9))


@pytest.mark.slow
def test_a_method_that_does_not_fit_costs_the_others_nothing(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        put(patch, "attention", never)
        answer = shell("analyze", ids, *WORDS, "-m", "attention,patching", "--out", "never")
    assert answer.code == 0
    reasons = open_run("never").scores.groupby("method")["reason"].first()
    assert reasons["attention"].startswith(
        "a single example, which does not fit into memory; expected: enough free memory"
    )
    assert reasons["patching"] == "", "one method costs the others nothing"
    answer = shell("analyze", ids, *WORDS, "--out", "never", "-q")
    assert (answer.code, open_run("never").scores["value"].isna().all()) == (0, False), "there is room again"


def test_a_task_that_is_judged_runs_out_of_memory_too(shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def short(*_: Any, batch_size: int, **__: Any) -> Any:
        sizes.append(batch_size)
        raise MemoryError

    monkeypatch.setattr("headscope.pipeline.executing.ability", short)
    answer = shell("analyze", ids, *WORDS)
    assert (answer.code, sizes) == (2, [4, 2, 1])
    assert answer.err == (
        "headscope: a single example, which does not fit into memory\n  expected: enough free memory\n"
        "  to fix it: use shorter prompts, a smaller model or another device\n"
    )


@pytest.mark.slow
def test_a_clock_that_goes_back_gives_no_negative_seconds(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, now = itertools.count(), time.time()
    begin = datetime.now(UTC)

    class Back(datetime):
        """Every look at this clock is an hour earlier than the one before."""

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return begin.astimezone(tz) - timedelta(hours=next(hours))

    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(hours))
    monkeypatch.setattr(provenance, "datetime", Back)
    monkeypatch.setattr("headscope.cells.lock.datetime", Back)
    for _ in range(2):  # the second finds files that are newer than it is
        answer = shell("analyze", ids, *WORDS, "--out", "run", "--verbose")
        assert answer.code == 0
        assert next(hours) > 2, "it was looked at"
        seconds = [float(each) for each in re.findall(r"(-?\d+\.\d+) s\b", answer.err)]
        assert seconds
        assert min(seconds) >= 0
    record = open_run("run").identity
    assert record["wall_seconds"] >= 0
    assert record["cells"]["reused"]["values"] == 1
    assert TASKS["induction"].name in answer.out
