"""Paths at the shell: one wording and one exit code for every command that takes a run or writes a folder."""

import re
from pathlib import Path
from typing import Any

import pytest
from shells import Shell

from headscope import errors

RUNS = Path(__file__).resolve().parents[2] / "docs" / "runs.md"
READING: list[tuple[str, ...]] = [
    ("compare", "{}", "{}"), ("picture", "{}"), ("explain", "mini", "mary met john", "--run", "{}"), ("verify", "{}"),
    ("merge", "out", "{}"), ("cite", "{}"),
]  # fmt: skip
"""Commands that take a run."""
WRITING: list[tuple[str, ...]] = [
    ("analyze",), ("few",), ("roles",), ("probe",), ("hierarchy",), ("reproduce", "three-percent"),
    ("explain", "mini", "mary met john"), ("mini", "train"),
]  # fmt: skip
"""Commands that write a folder."""


@pytest.fixture(autouse=True)
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading or training a model fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a model was touched")

    for name in ("headscope.models.load", "headscope.explaining.entry.load", "headscope.mini.train.train"):
        monkeypatch.setattr(name, refuse)


PATHS = [
    ("runs/mimi", "run folder 'runs/mimi', which is not there", "did you mean 'runs/mini'?"),
    ("taken", "run folder 'taken', which is a file", "give the folder of a run"),
    ("folder", "run folder 'folder', which holds no run", "check the path, or run the analysis again"),
]


@pytest.mark.parametrize(
    ("words", "path", "given", "fix"),
    [*((words, *PATHS[0]) for words in READING), *((READING[-1], *each) for each in PATHS[1:])],
)
def test_a_path_without_a_run_is_told_alike(
    shell: Shell, words: tuple[str, ...], path: str, given: str, fix: str
) -> None:
    Path("taken").write_text("a file")
    Path("folder").mkdir()
    Path("runs/mini").mkdir(parents=True)
    Path("runs/mini/run.json").write_text("{}")
    answer = shell(*(word.format(path) for word in words))
    assert (answer.code, answer.out) == (2, "")
    expected = r"a folder that a headscope command wrote, with run\.json( or cells)? in it"
    assert re.fullmatch(
        rf"headscope: {re.escape(given)}\n  expected: {expected}\n  to fix it: {re.escape(fix)}.*\n", answer.err
    )
    assert {each.name for each in Path().iterdir()} == {"taken", "folder", "runs"}


TAKEN = [
    ("thesis", "output folder 'thesis', which holds other files (a.tex)"),
    ("thesis/a.tex", "output folder 'thesis/a.tex', which can be no folder (Not a directory)"),
    ("old", "output folder 'old', which already holds a run"),
]


@pytest.mark.parametrize(
    ("words", "out", "given"),
    [*((words, *TAKEN[0]) for words in WRITING), *((WRITING[0], *each) for each in TAKEN[1:])],
)
def test_a_folder_that_is_taken_is_refused_before_anything_is_done(
    shell: Shell, words: tuple[str, ...], out: str, given: str
) -> None:
    for path in ("thesis/a.tex", "old/run.json"):
        Path(path).parent.mkdir()
        Path(path).write_text("{}")
    answer = shell(*words, "--out", out)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"headscope: {given}")
    assert answer.err.count("\n  expected: ") == answer.err.count("\n  to fix it: choose another --out") == 1
    assert {str(path) for path in Path().rglob("*")} == {"thesis", "thesis/a.tex", "old", "old/run.json"}


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("picture", "run", "tasks", "--out", "."), "file '.', which cannot be written (Is a directory)"),
        (("picture", "run", "tasks", "--out", "taken/a.svg"), "file 'taken/a.svg', which cannot be written ("),
        (("explain", "mini", "mary", "--html", "."), "page '.', which is a folder"),
        (("explain", "mini", "mary", "--html", "taken/a.html"), "'taken/a.html.headscope', which cannot be written ("),
    ],
)
def test_a_name_that_can_be_no_file_is_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], given: str
) -> None:
    from results import results

    monkeypatch.setattr("headscope.runs.open_run", lambda _: results(grid=(2, 3)))
    Path("taken").write_text("a file")
    answer = shell(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"headscope: {given}")
    assert [path.name for path in Path().iterdir()] == ["taken"]


# --- exit codes


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def broken(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_the_table_of_exit_codes_is_that_of_the_program(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    section = RUNS.read_text(encoding="utf-8").partition("## Exit codes")[2]
    table = dict(re.findall(r"^\| (\d+) \| (\w+)", section, re.MULTILINE))
    assert table == {"0": "done", "1": "failed", "2": "bad", "130": "stopped"}
    found = {"done": shell("--version").code, "bad": shell("verify", "nowhere").code}
    for name, cause in (("stopped", stopped), ("failed", broken)):
        monkeypatch.setattr("headscope.cli.citing.read_citation", cause)
        found[name] = shell("cite").code
    assert {str(code): name for name, code in found.items()} == table
    told = re.search(r"Exit codes: (.*)", shell("--help").out)
    assert told is not None
    assert re.findall(r"\d+", told.group(1)) == list(table)


def test_every_error_has_a_code_of_the_table() -> None:
    kinds = [errors.HeadscopeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} <= {1, 2, 130}
    assert issubclass(errors.PlaceError, errors.RunError)
