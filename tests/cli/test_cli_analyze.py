"""`headscope analyze`: what it prints and writes, and that each option does what its help says."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shells import QUICK, Shell, save

from headscope.errors import RunError
from headscope.methods import DEFAULT
from headscope.runs import open_run
from headscope.tasks import DEFAULT as ASKED


def test_it_prints_the_tasks_the_top_heads_and_where_the_report_is(shell: Shell, words: Path, tmp_path: Path) -> None:
    answer = shell("analyze", words, "-n", "4")
    assert (answer.code, answer.err) == (0, "")
    places = [answer.out.index(f"{task}: top heads by patching, denoising (in logits)") for task in ASKED]
    assert places == sorted(places), "in the run's order"
    assert answer.out.startswith("Does words do the tasks?\n")
    assert answer.out.endswith("report: runs/words/report.html\n")
    run = open_run(tmp_path / "runs" / "words")
    assert run.scores["task"].unique().tolist() == list(ASKED)
    assert set(run.scores["method"]) == set(DEFAULT)
    assert run.identity["provenance"]["command"][:2] == ["headscope", "analyze"]
    # Every value of the record stands in the tables, to two significant digits or more.
    for row in run.top(8).itertuples():
        line = next(line for line in answer.out.split(f"{row.task}: top heads")[1].splitlines() if row.label in line)
        effect, low, high = (float(part.strip("[],")) for part in line.split()[1:4])
        assert effect == pytest.approx(row.value, rel=0.06)
        assert low == pytest.approx(row.low, rel=0.06)
        assert high == pytest.approx(row.high, rel=0.06)
        assert float(line.split()[-3]) == pytest.approx(100 * row.share, abs=0.051)


def test_nothing_but_nothing_is_printed_as_nothing(shell: Shell, words: Path) -> None:
    answer = shell("analyze", words, *QUICK)
    assert answer.code == 0, answer.err
    cells = answer.out[answer.out.index("top heads") :].replace("[", " ").replace("]", " ").replace(",", " ").split()
    assert {"0.000", "-0.000", "0.00", "-0.00", "0.0", "-0.0", "-0", "nan"} & set(cells) == set(), answer.out


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.slow)])
def test_lines_fit_the_terminal(
    shell: Shell, words: Path, strange: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    answer = shell("analyze", words, "-n", "4", "--method", "patching,attention")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in answer.out
    assert "…" not in answer.out, "a cell was cut"
    assert ("in the twin" in answer.out) == (columns == 120)
    for task in ASKED:
        title = f"{task}: top heads by patching, denoising (in logits)"
        assert title in lines, "a title is folded"
    assert sum(line.lstrip().startswith("L") for line in lines) == 3 * 8, "a row is folded"


def test_json_is_all_there_is_and_holds_what_was_saved(shell: Shell, ids: Path) -> None:
    answer = shell("analyze", ids, "-n", "4", "--method", "attention", "--json")
    assert (answer.code, answer.err) == (0, "")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    record = json.loads(answer.out, parse_constant=refuse)
    assert record["model"] == "ids"
    assert record["complete"] is True
    run = open_run(record["folder"])
    assert Path(record["report"]).is_file()
    rows = {row["task"]: row for row in record["tasks"]}
    assert list(rows) == list(ASKED)
    assert rows["induction"]["accuracy"] == run.tasks.set_index("task").loc["induction", "accuracy"]
    assert rows["ioi"]["accuracy"] is None, "NaN is null"
    assert [row["label"] for row in record["top"]] == run.top(8)["label"].tolist()
    assert [row["value"] for row in record["top"]] == run.top(8)["value"].tolist()
    assert record["top"][0]["p"] is None


def test_quiet_prints_where_the_report_is_and_nothing_else(shell: Shell, ids: Path) -> None:
    answer = shell("analyze", ids, *QUICK, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "report: runs/ids/report.html\n", "")


@pytest.mark.parametrize(
    "given", [("-t", "ioi,induction"), ("-t", "ioi", "-t", "induction"), ("--task", " ioi , induction,ioi")]
)
def test_names_are_repeated_or_separated_by_commas(shell: Shell, words: Path, given: tuple[str, ...]) -> None:
    assert shell("analyze", words, "-n", "2", "-m", "attention", *given, "-q").code == 0
    assert open_run("runs/words").scores["task"].unique().tolist() == ["ioi", "induction"]


def test_options_are_read_from_the_environment_and_the_shell_wins(
    shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"N": "3", "SEED": "5", "TASK": "induction", "METHOD": "patching,attention", "JSON": "1", "OUT": "here"}
    for name, value in options.items():
        monkeypatch.setenv(f"HEADSCOPE_ANALYZE_{name}", value)
    answer = shell("analyze", ids)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["folder"] == "here"
    plan = open_run("here").identity["plan"]
    assert (plan["n"], plan["seed"], plan["tasks"]) == (3, 5, ["induction"])
    assert plan["methods"] == ["patching", "attention"]
    monkeypatch.delenv("HEADSCOPE_ANALYZE_N")
    monkeypatch.setenv("HEADSCOPE_ANALYZE_EXAMPLES", "4")
    monkeypatch.setenv("HEADSCOPE_ANALYZE_BATCH_SIZE", "7")
    assert shell("analyze", ids, "--out", "there", "--seed", "6").code == 0
    plan = open_run("there").identity["plan"]
    assert (plan["n"], plan["seed"], plan["batch_size"]) == (4, 6, 7)


def test_the_seed_and_the_type_reach_the_result(shell: Shell, ids: Path) -> None:
    runs = {}
    for name, words in {"a": (), "b": (), "c": ("--seed", "1"), "d": ("--dtype", "bfloat16")}.items():
        assert shell("analyze", ids, *QUICK, "-q", "--out", name, "--device", "cpu", *words).code == 0
        runs[name] = open_run(name).scores
    pd.testing.assert_frame_equal(runs["a"], runs["b"], check_exact=True)
    for other in "cd":
        assert not np.allclose(runs["a"]["value"], runs[other]["value"], rtol=1e-6, atol=0)


@pytest.mark.slow
def test_runs_are_numbered_and_never_written_over(shell: Shell, ids: Path) -> None:
    for expected in ("ids", "ids-2", "ids-3"):
        assert shell("analyze", ids, *QUICK, "-q").out == f"report: runs/{expected}/report.html\n"
    Path("runs/ids-4").write_text("a file")
    assert shell("analyze", f"{ids}{os.sep}", *QUICK, "-q").out == "report: runs/ids-5/report.html\n"


def test_a_folder_without_a_name_of_its_own_still_gets_one(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(save(tmp_path / "here"))
    assert shell("analyze", ".", *QUICK, "-q").out == "report: runs/here/report.html\n"


@pytest.mark.parametrize("name", ["[red]x:smile:", "a\x1b[2Jb", "naïve 模型"])
def test_the_name_of_a_folder_is_shown_as_it_is(shell: Shell, tmp_path: Path, name: str) -> None:
    answer = shell("analyze", save(tmp_path / name), "-n", "2", "-m", "attention", "--out", "run")
    assert answer.code == 0, answer.err
    shown = name.replace("\x1b", "\\x1b")
    assert answer.out.startswith(f"Does {shown} do the tasks?\n")
    assert "ioi: task 'ioi' on " in answer.out
    assert "\x1b" not in answer.out
    assert open_run("run").identity["model"]["name"] == name


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_refused_by_the_reader_of_weights(shell: Shell, ids: Path, tmp_path: Path) -> None:
    shutil.copytree(ids, tmp_path / os.fsdecode(b"\xff"))
    answer = shell("analyze", tmp_path / os.fsdecode(b"\xff"), *QUICK)
    assert answer.code == 2
    assert answer.err.startswith("headscope: model '\\udcff', whose weights do not load: ")


def test_no_progress_is_drawn_into_a_log(shell: Shell, ids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []

    def watched(*_: Any, **options: Any) -> Any:
        shown.append(options["progress"])
        raise RunError("enough", "no more", "nothing")

    monkeypatch.setattr("headscope.pipeline.execute", watched)
    shell("analyze", ids, *QUICK)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shell("analyze", ids, *QUICK)
    shell("analyze", ids, *QUICK, "--json")
    shell("analyze", ids, *QUICK, "--quiet")
    assert shown == [False, True, False, False]


def test_the_first_command_scores_the_bundled_model(shell: Shell) -> None:
    answer = shell("analyze", "-n", "16", "--task", "ioi", "--method", "patching", "--json")
    assert answer.code == 0, answer.err
    record = json.loads(answer.out)
    assert record["model"] == "mini"
    assert record["folder"] == "runs/mini"
    assert record["tasks"][0]["status"] == "ok"
