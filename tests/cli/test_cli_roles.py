"""`headscope roles` and `headscope list roles`: what they print and write, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rolecases import invented
from shells import Shell

from headscope import classifying
from headscope.cli import labels, tables
from headscope.contract import COLUMNS
from headscope.grid import Grid
from headscope.models import load
from headscope.pipeline import ABSENT_TASK, Interrupted
from headscope.report.roles import summary
from headscope.roles import ROLES
from headscope.roles.steps import STEPS
from headscope.runs import Run, open_run
from headscope.testing import Plant, planted_model


def run_of(**options: Any) -> Any:
    """What printing needs of a run."""
    identity = {"model": {"name": "m"}, "complete": True, "plan": {"treebanks": ["the bundled gold set"]}}
    return SimpleNamespace(roles=invented(**options), identity=identity)


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, run: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    labels.print_roles(run)
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal_and_hold_the_frames(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    run = run_of(grid=Grid(4, 6))
    out = printed(capsys, monkeypatch, columns, run)
    assert max(map(len, out.splitlines())) <= columns
    assert "…" not in out, "a cell was cut"
    lines = [" ".join(line.split()) for line in out.splitlines()]
    held = run.roles.labels.query("role != 'unassigned'")
    first = held.sort_values(["layer", "head", "confidence"], ascending=[True, True, False]).iloc[0]
    star = "*" if first["causal"] == "confirmed" else ""
    label = f"{first['role']}: {first['case']}{star} {100 * first['confidence']:.0f} %"
    assert f"L{first['layer']}H{first['head']} {label}" in " ".join(lines)
    best = run.roles.relations().iloc[0]
    told = f"{best['value']:.2f} [{best['low']:.2f}, {best['high']:.2f}] {best['baseline']:.2f}"
    line = next(line for line in lines if line.startswith(f"{best['case']} {best['label']}"))
    assert told in line
    assert f"{100 * best['difference']:+.0f} {best['n']:.0f}" in line
    assert (best["baseline_name"] in line) == (columns == 120)
    assert any(line.startswith("pronoun L") for line in lines)


def test_heads_with_the_same_labels_share_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(grid=Grid(4, 6))
    one = run.roles.labels.query("role == 'sink'").iloc[[0]]
    rows = [one.assign(layer=0, head=head, confidence=sure) for head, sure in enumerate((0.9, 1.0, 0.95))]
    run.roles = replace(run.roles, labels=pd.concat(rows, ignore_index=True).assign(causal="confirmed"))
    lines = printed(capsys, monkeypatch, 120, run).splitlines()
    assert any(" ".join(line.split()).startswith("L0H0, L0H1, L0H2 sink: first token* 90-100 %") for line in lines)


def test_what_is_absent_is_told_and_commands_that_follow_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(grid=Grid(4, 6))
    out = printed(capsys, monkeypatch, 120, run)
    assert "retrieval: not measured, for the context is too short" in out
    assert "vocative to head" in out.split("too few instances")[1]
    commands = labels.next_commands(run, "my model")
    assert commands == ["headscope analyze 'my model'", "headscope few 'my model' --task ioi"]


def test_names_of_a_treebank_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = printed(capsys, monkeypatch, 400, run_of(grid=Grid(4, 6), hostile="\x1b[2J[red]"))
    assert "\x1b[2J" not in out
    assert "nsubj\\x1b[2J[red] to head" in out


def test_the_record_is_json_without_nan() -> None:
    run = run_of(grid=Grid(4, 6))
    record = json.loads(json.dumps(labels.as_record(run, None), allow_nan=False))
    assert (record["model"], record["folder"], record["complete"]) == ("m", None, True)
    assert len(record["labels"]) == len(run.roles.labels)
    assert {row["role"] for row in record["best"]} == set(run.roles.scores["role"]) - {"retrieval"}
    assert record["record"]["treebanks"][0]["sha256"] == "ab" * 32
    assert next(row for row in record["labels"] if row["role"] == "unassigned")["value"] is None


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose heads' roles are known, which the loader is made to give."""
    plant = Plant(induction=((0, 0), (1, 1)), duplicate_token=(0, 1))
    return load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=64), device="cpu")


@pytest.fixture
def able(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: planted)


@pytest.mark.usefixtures("able")
def test_it_prints_roles_and_writes_a_run_that_says_the_same(shell: Shell, tmp_path: Path) -> None:
    answer = shell("roles", "some-model", "--no-confirm", "--seed", "3")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith("report: runs/some-model-roles/report.html\n")
    folder = tmp_path / "runs" / "some-model-roles"
    run = open_run(folder)
    assert run.roles is not None
    assert summary(run.roles) in " ".join(answer.out.split())
    found = {(row.layer, row.head, row.role) for row in run.roles.labels.itertuples()}
    assert {(0, 0, "positional"), (0, 1, "duplicate"), (1, 1, "induction"), (1, 0, "unassigned")} <= found
    line = next(line for line in answer.out.splitlines() if line.lstrip().startswith("L1H1 "))
    assert "induction: random tokens 100 %" in line
    assert "unassigned: L1H0" in answer.out
    assert run.identity["provenance"]["command"][:3] == ["headscope", "roles", "some-model"]
    assert (run.identity["plan"]["seed"], run.identity["plan"]["confirm"]) == (3, False)
    assert {"roles.parquet", "labels.parquet", "run.json", "report.html"} <= {path.name for path in folder.iterdir()}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What each head does" in page
    assert "no rule of" in page


@pytest.fixture
def carried_out(able: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Invented roles, which the command is made to find."""
    identity = {"model": {"name": "m"}, "plan": {}, "complete": True}
    scores = pd.DataFrame(columns=pd.Index([*COLUMNS, "model", "flagged"]))
    tasks = pd.DataFrame(columns=pd.Index([*ABSENT_TASK, "model"]))
    run = Run(identity=identity, scores=scores, tasks=tasks, roles=invented(grid=Grid(4, 6)))
    monkeypatch.setattr(classifying, "carry_out", lambda *_, **__: run)
    return run


def test_json_is_all_there_is_and_holds_what_was_saved(shell: Shell, carried_out: Run) -> None:
    answer = shell("roles", "m", "--json", "--out", "here")
    assert (answer.code, answer.err) == (0, "")

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    record = json.loads(answer.out, parse_constant=refuse)
    run = open_run("here")
    assert (record["folder"], record["complete"]) == ("here", True)
    assert run.roles is not None
    assert carried_out.roles is not None
    assert [row["case"] for row in record["labels"]] == run.roles.labels["case"].tolist()
    assert run.roles.labels["case"].tolist() == carried_out.roles.labels["case"].tolist()


@pytest.mark.usefixtures("carried_out")
def test_quiet_prints_where_the_report_is_and_nothing_else(shell: Shell) -> None:
    assert shell("roles", "m", "-q").out == "report: runs/m-roles/report.html\n"


def test_ctrl_c_keeps_and_prints_what_was_finished(
    shell: Shell, carried_out: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = replace(carried_out, identity={**carried_out.identity, "complete": False})

    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted(part, 3, 7)

    monkeypatch.setattr(classifying, "carry_out", stopped)
    answer = shell("roles", "m")
    assert answer.code == 130
    assert "headscope: interrupted after 3 of 7 cells" in answer.err
    assert "heads have a role: " in answer.out
    run = open_run("runs/m-roles")
    assert run.identity["complete"] is False
    assert run.roles is not None


def test_every_option_arrives(shell: Shell, carried_out: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def kept(_: Any, request: Any, **__: Any) -> Run:
        asked.append(request)
        return carried_out

    monkeypatch.setattr(classifying, "carry_out", kept)
    (tmp_path / "long.txt").write_text("Long.")
    line = "{0}\t{1}\t_\tNOUN\t_\t_\t{2}\t{3}\t_\t_\n"
    sound = line.format(1, "cats", 2, "nsubj") + line.format(2, "sleep", 0, "root") + "\n"
    (tmp_path / "one.conllu").write_text(sound)
    (tmp_path / "two.conllu").write_text(sound.replace("cats", "dogs") + line.format(1, "a", 1, "root") + "\n")
    words = ["roles", "m", "-q", "--treebank", "one.conllu", "--treebank", "two.conllu", "--repair", "-n", "50"]
    options = ["--seed", "4", "--no-confirm", "--batch-size", "7", "--memory", "1G", "--long-text", "long.txt"]
    answer = shell(*words, *options)
    assert answer.code == 0, answer.err
    (request,) = asked
    assert [len(bank.sentences) for bank in request.treebanks] == [1, 1]
    assert sum(request.treebanks[1].skipped.values()) == 1
    settings = request.settings
    assert (settings.n, settings.seed, settings.confirm, settings.long_text.name) == (50, 4, False, "long.txt")
    assert (request.batch_size, request.memory) == (7, 2**30)
    assert "two.conllu" in shell(*(word for word in words if word != "--repair")).err


def test_everything_that_is_wrong_is_told_before_weights_are_touched(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: pytest.fail("weights were touched"))
    (tmp_path / "bad.conllu").write_text("1\tA\t_\n\n")
    answer = shell("roles", "m", "-n", "3", "--long-text", "none.txt", "--treebank", "bad.conllu", "--batch-size", "0")
    assert (answer.code, answer.out) == (2, "")
    given = answer.err.splitlines()[0]
    assert given.startswith("headscope: batch_size 0; long text 'none.txt', which is no file; n 3; ")
    assert "bad.conllu" in given
    assert "line 1" in given
    assert "  to fix it: " in answer.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("able")
def test_the_same_command_goes_on_where_it_was_stopped(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
    for name in STEPS:
        monkeypatch.setitem(STEPS, name, replace(STEPS[name], take=lambda *_: []))

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    words = ("roles", "m", "--no-confirm")
    with monkeypatch.context() as patch:
        patch.setitem(STEPS, "weights", replace(STEPS["weights"], take=stop))
        answer = shell(*words)
    assert answer.code == 130
    assert answer.err.endswith("run the same command again: it goes on where this one stopped\n")
    assert open_run("runs/m-roles").identity["complete"] is False
    answer = shell(*words)
    assert answer.code == 0
    assert answer.err == (
        "headscope: going on with runs/m-roles, which was stopped\n"
        "headscope: 3 of 6 cells were there from before (--refresh: anew)\n"
    )
    assert open_run("runs/m-roles").identity["complete"] is True
    assert shell(*words, "-q").out == "report: runs/m-roles-2/report.html\n", "a finished run gets a new number"
    answer = shell(*words, "--out", "runs/m-roles", "--refresh", "-q")
    assert (answer.code, answer.err) == (0, "")
    assert open_run("runs/m-roles").identity["cells"]["reused"] == {}
    answer = shell("probe", "m", "--out", "runs/m-roles")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(
        "headscope: output folder 'runs/m-roles', which already holds a run, of headscope roles\n"
    )


@pytest.mark.usefixtures("able")
def test_an_analysis_tells_the_roles_of_its_top_heads(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSCOPE_ANALYZE_NO_ROLES")
    answer = shell("analyze", "m", "-n", "4", "-t", "induction", "-m", "patching")
    assert answer.code == 0, answer.err
    run = open_run("runs/m")
    assert run.roles is not None
    assert f"roles: {summary(run.roles)}" in " ".join(answer.out.split())
    table = answer.out.split("top heads by patching")[1].splitlines()
    assert table[2].split()[-1] == "role"
    assert any(line.split()[:1] == ["L1H1"] and "induction: random tokens" in line for line in table)
    page = Path("runs/m/report.html").read_text(encoding="utf-8")
    assert '<span class="role"><bdi>induction' in page
    record = tables.as_record(run, 8, None)
    assert next(row for row in record["top"] if row["label"] == "L1H1")["role"].startswith("induction")


def test_list_roles_tells_rule_source_and_what_it_is_set_against(shell: Shell) -> None:
    rows = json.loads(shell("list", "roles", "--json").out)
    assert [row["role"] for row in rows] == list(ROLES)
    syntax = next(row for row in rows if row["role"] == "syntax")
    assert syntax["rule"] == "accuracy at least the best baseline + 0.10"
    assert syntax["source"].startswith("Voita et al. 2019")
    assert "offset" in syntax["against"]
    answer = shell("list", "roles")
    assert answer.code == 0
    assert all(name in answer.out for name in ROLES)


def test_help_teaches_what_is_done(shell: Shell) -> None:
    words = " ".join(shell("roles", "--help").out.split())
    for told in ("--treebank", "--long-text", "--no-confirm", "--repair", "unassigned", "headscope list roles"):
        assert told in words
    assert "roles" in shell("--help").out
