"""`headscope few`: what it prints and writes, what it refuses, and what Ctrl-C leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
from shells import Shell

from headscope import judging
from headscope.few import Few
from headscope.profiles import FRAMES
from headscope.runs import open_run
from headscope.testing import Plant, planted_model

FAST = ("-t", "induction", "-n", "6", "--sets", "20", "--no-twin")


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose induction heads are known, which the loader is made to give."""
    from headscope.grid import Grid
    from headscope.models import load

    plant = Plant(induction=((0, 0), (1, 1)))
    return load(planted_model(plant, grid=Grid(2, 4), vocabulary=40, positions=32, noise=0.02), device="cpu")


@pytest.fixture
def able(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: planted)


@pytest.mark.usefixtures("able")
def test_it_prints_a_line_and_a_paragraph_and_where_the_report_is(shell: Shell, tmp_path: Path) -> None:
    answer = shell("few", "some-model", *FAST)
    assert (answer.code, answer.err) == (0, "")
    run = open_run(tmp_path / "runs" / "some-model-few")
    result = run.few["induction"]
    assert result.text in " ".join(answer.out.split())
    line = next(line for line in answer.out.splitlines() if line.lstrip().startswith("induction "))
    rows = result.smallest.query("measure == 'faithfulness' and ablation == 'resample'").set_index("target")
    assert f"{rows.loc[0.9, 'k']:.0f} [{rows.loc[0.9, 'low']:.0f}, {rows.loc[0.9, 'high']:.0f}]" in line
    assert f"{result.facts['accuracy']:.2f}" in line
    assert result.label in line
    assert answer.out.endswith("report: runs/some-model-few/report.html\n")
    assert run.identity["provenance"]["command"][:3] == ["headscope", "few", "some-model"]
    there = {path.name for path in (tmp_path / "runs" / "some-model-few").iterdir()}
    profiles = {f"{name}.parquet" for name in FRAMES}
    assert there - profiles == {
        *("examples", "few.json", "report.html", "run.json", "scores.parquet", "tasks.parquet", "cells", ".lock")
    }
    page = (tmp_path / "runs" / "some-model-few" / "report.html").read_text(encoding="utf-8")
    assert "Do a few heads carry it?" in page


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.slow)])
def test_lines_fit_the_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    answer = shell("few", "m", *FAST)
    assert answer.code == 0, answer.err
    assert max(map(len, answer.out.splitlines())) <= columns
    assert "…" not in answer.out, "a cell was cut"


@pytest.mark.usefixtures("able")
def test_json_is_all_there_is_and_holds_what_was_saved(shell: Shell) -> None:
    answer = shell("few", "m", *FAST, "--json", "--ablation", "mean", "--seed", "3", "--out", "here")
    assert (answer.code, answer.err) == (0, "")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    record = json.loads(answer.out, parse_constant=refuse)
    run = open_run("here")
    assert (record["folder"], record["complete"]) == ("here", True)
    told, result = record["few"]["induction"], run.few["induction"]
    assert (told["label"], told["text"]) == (result.label, result.text)
    assert [row["label"] for row in told["heads"]] == result.heads["label"].tolist()[: result.facts["k"]]
    assert [row["criterion"] for row in told["criteria"]] == result.criteria["criterion"].tolist()
    assert run.identity["settings"]["ablation"] == result.ablation == "mean"
    assert run.identity["settings"]["seed"] == run.identity["plan"]["seed"] == 3
    assert run.identity["plan"]["n"] == 12


@pytest.mark.usefixtures("able")
def test_quiet_prints_where_the_report_is_and_nothing_else(shell: Shell) -> None:
    answer = shell("few", "m", *FAST, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "report: runs/m-few/report.html\n", "")
    assert shell("few", "m", *FAST, "--quiet").out == "report: runs/m-few-2/report.html\n"


@pytest.mark.usefixtures("able")
def test_the_twin_runs_unless_it_is_left_out(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = judging.few_heads

    def watched(*given: Any, **options: Any) -> Few:
        asked.append(options["settings"])
        from dataclasses import replace

        return real(*given, **{**options, "settings": replace(options["settings"], twin=False)})

    monkeypatch.setattr(judging, "few_heads", watched)
    assert shell("few", "m", *FAST, "-q").code == 0
    assert shell("few", "m", *FAST[:-1], "-q").code == 0
    assert [settings.twin for settings in asked] == [False, True]


def test_a_model_that_fails_the_task_is_told_so_and_nothing_else(shell: Shell, ids: Path) -> None:
    answer = shell("few", ids, *FAST)
    assert answer.code == 0, answer.err
    assert "the model does not do this task (accuracy " in " ".join(answer.out.split())
    assert "necess" not in answer.out
    run = open_run("runs/ids-few")
    assert run.tasks["status"].tolist() == ["failed"]
    assert len(run.scores) == 0
    assert "the model does not do this task" in Path("runs/ids-few/report.html").read_text(encoding="utf-8")


def test_everything_that_is_wrong_is_told_before_weights_are_touched(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: pytest.fail("weights were touched"))
    answer = shell("few", "gpt2", "-t", "ioj", "-n", "2", "--ablation", "reample", "--sets", "3")
    assert (answer.code, answer.out) == (2, "")
    given, expected, fix = answer.err.splitlines()[:3]
    assert given == "headscope: n 2; unknown task 'ioj'; ablation 'reample'; sets 3"
    assert expected.startswith("  expected: n from 5: intervals need 5 groups or more; tasks: induction, ioi, ")
    assert fix.startswith("  to fix it: some 100 give intervals that decide anything; did you mean 'ioi'?; ")
    assert not Path("runs").exists()


@pytest.mark.usefixtures("able")
def test_ctrl_c_keeps_and_prints_the_finished_tasks(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = judging.build_tasks
    done: list[str] = []

    def twice(*given: Any, **options: Any) -> Any:
        pairs, rows = real(*given, **options)
        from dataclasses import replace

        return {**pairs, "again": replace(pairs["induction"], task="again")}, {**rows, "again": {"task": "again"}}

    def then_stopped(model: Any, pairs: Any, **options: Any) -> Few:
        if done:
            raise KeyboardInterrupt
        done.append(pairs.task)
        return first(model, pairs, **options)

    first = judging.few_heads
    monkeypatch.setattr(judging, "build_tasks", twice)
    monkeypatch.setattr(judging, "few_heads", then_stopped)
    answer = shell("few", "m", *FAST)
    assert answer.code == 130
    assert "headscope: interrupted after 1 of 2 cells\n" in answer.err
    assert "again: skipped: the analysis was interrupted before this task was measured" in answer.out
    run = open_run("runs/m-few")
    assert list(run.few) == ["induction"]
    assert run.identity["complete"] is False
    assert run.tasks["status"].tolist() == ["ok", "skipped"]


def test_help_teaches_what_is_done(shell: Shell) -> None:
    answer = shell("few", "--help")
    assert answer.code == 0
    words = " ".join(answer.out.split())
    for told in ("necessity", "sufficiency", "random sets of heads", "headscope few gpt2 --task ioi", "--no-twin"):
        assert told in words
    assert "few" in shell("--help").out


def test_the_bundled_model_is_asked_what_it_was_trained_on(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def watched(_: Any, plan: Any, *, default: Any) -> Any:
        asked.append((plan.tasks, default))
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "build_tasks", watched)
    assert shell("few", "-n", "5").code == 130
    from headscope.tasks import MINI

    assert asked == [((), MINI)]
    assert not Path("runs").exists()
