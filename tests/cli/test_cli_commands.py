"""What all commands have in common: variables, --json, --quiet, --verbose, help that teaches."""

import json
import logging
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from shells import QUICK, Shell

from headscope import cli
from headscope.cli.command import Command
from headscope.progress import step, track

REQUIRED = {
    "reproduce": ["three-percent"], "compare": ["a", "b"], "list": ["tasks"], "explain": ["mini", "text"],
    "mini train": ["--out", "x"], "mini release": ["a", "b", "--out", "x"], "merge": ["x", "a", "b"],
    "verify": ["a"], "picture": ["a"],
}  # fmt: skip
"""What must be typed for a command to be understood at all."""


def commands(group: Any, before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in group.commands.items():
        below = commands(each, f"{name} ") if hasattr(each, "commands") else {before + name: each}
        found |= below
    return found


ALL: dict[str, Any] = commands(typer.main.get_command(cli.app))


def options(name: str) -> dict[str, Any]:
    return {param.name: param for param in ALL[name].params if param.param_type_name == "option"}


def test_there_are_commands() -> None:
    assert {"analyze", "few", "roles", "probe", "hierarchy", "compare", "cite", "mini train"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_entered_the_same_way(name: str) -> None:
    assert isinstance(ALL[name], Command), "enter it with headscope.cli.command.register"
    words = {word for param in options(name).values() for word in param.opts}
    assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= words
    assert all(param.help for param in ALL[name].params)


def value(param: Any) -> str:
    """Something that the option can be given."""
    if param.is_flag:
        return "1"
    return "31" if param.metavar in ("N", "K") else "word"


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_read_from_its_own_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"HEADSCOPE_{name}".upper().replace(" ", "_").replace("-", "_")
    for param in options(name).values():
        for word in param.opts:
            variable = f"{prefix}_{word.lstrip('-').replace('-', '_').upper()}"
            with monkeypatch.context() as alone:
                alone.setenv(variable, value(param))
                with ALL[name].make_context(name, list(REQUIRED.get(name, []))) as context:
                    if param.name == "out" and name.startswith("mini"):
                        continue  # is typed, which comes first
                    source = context.get_parameter_source(param.name)
                    assert source is not None
                    assert source.name == "ENVIRONMENT", variable


def test_the_check_of_variables_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCOPE_FEW_SETZ", "31")
    with ALL["few"].make_context("few", []) as context:
        assert context.get_parameter_source("sets").name == "DEFAULT"


def test_a_variable_does_what_the_option_does(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCOPE_LIST_JSON", "1")
    assert json.loads(shell("list", "models").out)[0]["model"] == "mini"
    monkeypatch.setenv("HEADSCOPE_LIST_JSON", "perhaps")
    answer = shell("list", "models")
    assert answer.code == 2
    assert "--json" in answer.err
    monkeypatch.setenv("HEADSCOPE_FEW_SETS", "3")
    assert shell("few").err.startswith("headscope: sets 3\n")


@pytest.mark.parametrize(
    "words", [("--out", ""), ("--out=",), ("-t", ""), ("--task=",), ("-t", " , "), ("--method=,",), ("--device", "")]
)
def test_an_empty_value_is_refused(shell: Shell, words: tuple[str, ...]) -> None:
    answer = shell("analyze", "mini", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        f"headscope: an empty value of {words[0].partition('=')[0]}\n  expected: a value\n"
        "  to fix it: give one, or leave the option out\n"
    )


# --- help


@pytest.mark.parametrize("name", ALL)
def test_help_has_examples_that_are_not_broken(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    answer = shell(*name.split(), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    variable = re.findall(r"HEADSCOPE_[A-Z_]+", answer.out)
    assert variable, "no word about variables"
    assert "<bool>" not in answer.out
    for line in (ALL[name].epilog or "").splitlines():
        assert len(re.sub(r"\[/?bold\]", "", line)) <= 78, line
    assert f"\n   headscope {name}" in answer.out, "no example"


def test_a_default_is_told_once(shell: Shell) -> None:
    assert "[default: 0]" not in shell("reproduce", "--help").out.partition("--seed")[0]


# --- JSON


def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings and measurements of the bundled model, without the work."""
    table = {"heads": [{"value": float("nan")}]}
    monkeypatch.setattr("headscope.models.load", lambda *_, **__: None)
    monkeypatch.setattr("headscope.mini.evaluate.evaluate", lambda *_, **__: SimpleNamespace(as_record=lambda: table))
    monkeypatch.setattr("headscope.mini.train.train", lambda *_, **__: Path("x/model"))
    for name in "ab":
        Path(name, "model").mkdir(parents=True)
    monkeypatch.setattr("headscope.mini.card.release", lambda *_, **__: SimpleNamespace(missing=["all"]))


JSON = [
    (("list", "tasks"), {"task", "what", "source"}),
    (("list", "models"), {"model", "what"}),
    (("list", "methods"), {"method", "what", "scores", "source"}),
    (("list", "metrics"), {"metric", "what", "unit", "better"}),
    (("list", "roles"), {"role", "a head with it", "rule", "source", "against"}),
    (("cite",), {"software", "papers", "not in the table"}),
    (("reproduce", "three-percent", "Qwen/Qwen3-8B", "--paper", "--plan"),
     {"model", "forwards", "tokens", "flops", "weights", "runs", "hours", "text"}),
    (("mini", "evaluate"), {"heads"}),
    (("mini", "train", "--out", "x"), {"model"}),
    (("mini", "release", "a", "b", "--out", "x"), {"card", "missing"}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "keys"), JSON)
def test_json_is_valid_and_has_its_keys(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], keys: set[str]
) -> None:
    if words[0] == "mini":
        stubbed(monkeypatch)
    answer = shell(*words, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out, parse_constant=pytest.fail)
    assert set(found[0] if isinstance(found, list) else found) == keys


def test_json_of_an_analysis_and_of_the_doctor(shell: Shell, monkeypatch: pytest.MonkeyPatch, words: Path) -> None:
    answer = shell("analyze", words, *QUICK, "--json")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out, parse_constant=pytest.fail)
    assert {"model", "complete", "folder", "report", "tasks", "agreement", "top"} <= set(found)
    cited = json.loads(shell("cite", found["folder"], "--json").out)
    assert {"patching", "induction"} <= {use for paper in cited["papers"] for use in paper["for"]}
    monkeypatch.setattr("headscope.models.sources.data_path", lambda _: words)
    answer = shell("doctor", "--json")
    found = json.loads(answer.out, parse_constant=pytest.fail)
    assert (found["ready"], found["problem"]) == (True, None)


def test_json_of_a_machine_that_is_not_ready(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headscope.corpora.files._PACKAGE", tmp_path / "headscope")
    answer = shell("doctor", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["ready"]) == (1, False)
    assert found["problem"]["given"].startswith("data 'mini'")


# --- quiet


def test_quiet_lists_are_names(shell: Shell) -> None:
    rows = json.loads(shell("list", "metrics", "--json").out)
    assert shell("list", "metrics", "-q").out.split() == [row["metric"] for row in rows]


# --- verbose


def test_verbose_says_what_is_done_and_leaves_logging_as_it_was(shell: Shell, ids: Path) -> None:
    logger = logging.getLogger("headscope")
    before = (logger.level, list(logger.handlers), logging.root.level, list(logging.root.handlers))
    answer = shell("analyze", ids, *QUICK, "-v", "-q")
    assert (answer.code, answer.out) == (0, "report: runs/ids/report.html\n")
    for pattern in (
        r"^\d\d:\d\d:\d\d loading .* \.\.\.$",
        r"^\d\d:\d\d:\d\d induction: patching: \d+\.\d\d s, \d+ MiB$",
        r"^\d\d:\d\d:\d\d \d+\.\d s in all; most memory held at once: \d+ MiB$",
    ):
        assert re.search(pattern, answer.err, re.MULTILINE), answer.err
    assert (logger.level, list(logger.handlers), logging.root.level, list(logging.root.handlers)) == before
    assert shell("list", "models").err == ""


def test_verbose_ends_with_the_time_even_where_the_command_fails(shell: Shell) -> None:
    answer = shell("few", "--sets", "3", "-v")
    assert answer.code == 2
    assert " s in all; " in answer.err
    assert "headscope: sets 3\n" in answer.err
    assert not logging.getLogger("headscope").handlers


def test_what_is_done_is_logged_for_programs_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headscope"):
        assert list(track([1, 2], "counting", show=False, unit="number")) == [1, 2]
        assert list(track([1], "", show=False)) == [1]
        with step("adding"):
            pass
    counted, began, ended = caplog.messages
    assert counted.startswith("counting: 2 x number in ")
    assert began == "adding ..."
    assert re.fullmatch(r"adding: \d+\.\d\d s, \d+ MiB", ended)


# --- what comes next


@pytest.fixture
def terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch):
    """The shell of someone who sits at a terminal of 200 columns."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("shutil.which", lambda _: None)

    def run(*words: Any) -> Any:
        # Not before: while a test is set up its output goes elsewhere.
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        return shell(*words)

    return run


@pytest.mark.slow
def test_after_an_analysis_a_person_is_told_what_comes_next(terminal: Shell, words: Path, tmp_path: Path) -> None:
    from shutil import copytree

    model = copytree(words, tmp_path / "my model")
    answer = terminal("analyze", "my model", *QUICK)
    first, *others = answer.out.splitlines()[-3:]
    assert others == ["  or: headscope few 'my model'", "  or: headscope roles 'my model'"]
    assert first.startswith("next: headscope explain 'my model' ")
    assert terminal(*shlex.split(first)[2:]).code == 0
    assert "next:" not in terminal("analyze", model, *QUICK, "-q").out
    assert "next:" not in terminal("analyze", model, *QUICK, "--json").out


def test_commands_that_come_next_are_commands(terminal: Shell) -> None:
    for what in ("models", "tasks", "methods", "metrics", "roles"):
        line = terminal("list", what).out.splitlines()[-1]
        name, *given = line.removeprefix("next: headscope ").split()
        with ALL[name].make_context(name, given):
            pass


def test_in_a_pipe_nothing_comes_next(shell: Shell) -> None:
    answer = shell("list", "models")
    assert "next:" not in answer.out
    assert "\x1b" not in answer.out


def test_each_command_is_told_on_a_line_of_its_own(
    terminal: Shell, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from headscope.cli import hints

    assert terminal("--version").code == 0
    monkeypatch.setenv("COLUMNS", "40")
    hints.tell("first " + "x" * 60, "second")
    assert capsys.readouterr().out == "next: first " + "x" * 60 + "\n  or: second\n"
    hints.tell(None, "a", None, "b", "c", "d")
    assert capsys.readouterr().out == "next: a\n  or: b\n  or: c\n"
    hints.tell(None)
    hints.tell("a", quiet=True)
    hints.tell("a", as_json=True)
    assert capsys.readouterr().out == ""


# --- tables


@pytest.mark.parametrize("width", [30, 60, 80, 100, 200])
def test_tables_hide_nothing_at_any_width(capsys: Any, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from headscope.cli import tables

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    made = tables.table("task", "effect [95 %]", "rank [95 %]", "verdict", left=("task", "verdict"))
    rows = [
        ("deduction-symbolic-traversal", "-0.412 [-0.650, -0.120]", "12 [3, 144]", "a few heads do not suffice here"),
        ("ioi", "12.3 [9.10, 15.5]", "1 [1, 2]", "yes"),
    ]
    for row in rows:
        made.add_row(*row)
    tables.console().print(made)
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= width
    assert "…" not in out
    for task, effect, rank, verdict in rows:
        assert all(re.search(rf"(?<!\S){re.escape(word)}(?!\S)", out) for word in (task, *verdict.split()))
        assert width < 60 or (effect in out and rank in out)
    assert ("effect [95 %]: " in out) == (width <= 60)


def test_a_table_without_rows_is_no_error(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope.cli import tables

    for width in ("20", "80"):
        monkeypatch.setenv("COLUMNS", width)
        tables.console().print(tables.table("a name that is long", "another", left=("another",)))
    assert "another" in capsys.readouterr().out


# --- bad input


@pytest.mark.parametrize(
    ("words", "code", "given"),
    [
        (("analyze", ""), 2, "model '', which is empty"),
        (("analyze", "taken"), 2, "model 'taken', which is a file"),
        (("analyze", "folder"), 2, "model directory 'folder', which has no config.json"),
        (("few", "--ablation", "resampel"), 2, "ablation 'resampel'"),
        (("roles", "--treebank", "folder"), 2, "treebank 'folder', which is a folder"),
        (("probe", "--site", "zz"), 2, "site 'zz'"),
        (("reproduce", "four-percent"), 2, "paper 'four-percent'"),
        (("mini", "train", "--out", "x", "--device", "toaster"), 2, "device 'toaster'"),
        (("mini", "train", "--out", "taken"), 2, "output folder 'taken', which can be no folder ("),
        (("mini", "release", "folder", "taken", "--out", "x"), 2, "training 'folder', which has no folder model; "),
        (("mini", "evaluate", "--model", "taken"), 2, "model 'taken', which is a file"),
        (("analyze", "mo\udcffdel"), 2, "model 'mo\\udcffdel', which is no directory"),
    ],
)
def test_bad_input_is_told_in_three_parts(shell: Shell, words: tuple[str, ...], code: int, given: str) -> None:
    Path("taken").write_text("a file")
    Path("folder").mkdir()
    answer = shell(*words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"headscope: {given}"), answer.err
    assert answer.err.count("\n  expected: ") == answer.err.count("\n  to fix it: ") == 1
    assert {path.name for path in Path().iterdir()} == {"taken", "folder"}


def test_a_reader_that_leaves_early_is_no_fault(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys.stdout, "write", closed)
    answer = shell("cite")
    assert answer.err == ""
    assert answer.code == 1
