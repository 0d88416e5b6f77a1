"""Where runs are and may go: what is said of a path that leads to none, and of a folder that is taken."""

import errno
from pathlib import Path
from typing import Any

import pytest

from headscope.errors import HeadscopeError, PlaceError, RunError
from headscope.runs import check_run, check_writable, open_run

EXPECTED = "\n  expected: a folder that a headscope command wrote, with run.json in it\n  to fix it: "


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/mini", "runs/mini-2", "runs/gpt2"):
        made(Path(name), "run.json")


def made(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("path", "given", "fix"),
    [
        ("nowhere", "which is not there", "check the path: runs go to runs/MODEL unless --out says otherwise"),
        ("runs/mimi", "which is not there", "did you mean 'runs/mini'?"),
        ("mini", "which is not there", "did you mean 'runs/mini'?"),
        ("runs/mini/run.json/x", "which is not there", "check the path: runs go to"),
        ("x" * 300, "which is not there", "check the path: runs go to"),
        ("a\0b", "which is not there", "check the path: runs go to"),
        ("runs/mini/run.json", "which is a file", "give its folder: 'runs/mini'"),
        ("alone.txt", "which is a file", "give the folder of a run"),
        ("runs", "which holds no run", "give one of those in it: 'runs/gpt2', 'runs/mini', 'runs/mini-2'"),
        ("empty", "which holds no run", "check the path, or run the analysis again"),
        ("stopped", "which holds no run", "it was stopped before it wrote its tables: run the same command again"),
        ("why", "which holds an explanation, but no run", "check the path"),
        ("model", "which holds a model, but no run", "check the path"),
    ],
)
def test_a_path_that_leads_to_no_run_says_which_does(path: str, given: str, fix: str) -> None:
    made(Path("empty"))
    made(Path("stopped"), "cells/plan.json")
    made(Path("why"), "explanation.json")
    made(Path("model"), "config.json")
    Path("alone.txt").write_text("")
    with pytest.raises(PlaceError) as caught:
        check_run(Path(path))
    assert str(caught.value).startswith(f"run folder {path!r}, {given}{EXPECTED}{fix}")
    assert caught.value.exit_code == 2


def test_a_run_is_one_and_cells_alone_may_be() -> None:
    check_run(Path("runs/mini"))
    check_run(made(Path("stopped"), "cells/plan.json"), holds=("run.json", "cells"))
    with pytest.raises(PlaceError, match=r"with run\.json or cells in it"):
        check_run(Path("runs"), holds=("run.json", "cells"))


def test_a_folder_that_may_not_be_read_is_no_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def refuse(path: Path, **options: Any) -> Any:
        if path.name == "run.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(RunError) as caught:
        check_run(Path("runs/mini"))
    assert str(caught.value) == (
        "run folder 'runs/mini', which cannot be read (Permission denied)\n  expected: a folder that may be read\n"
        "  to fix it: ask whoever owns it for the right to read it"
    )
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "names",
    [(), (".DS_Store", ".gitignore"), ("examples/values.safetensors.part",), ("scores.parquet", "tasks.parquet.part"),
     ("cells/a", "notes.txt"), (".lock",)],
)  # fmt: skip
def test_an_empty_folder_and_what_a_stopped_run_left_can_be_written(names: tuple[str, ...]) -> None:
    check_writable(made(Path("out"), *names), extends="analyze")


def test_a_folder_of_other_files_is_refused_and_left_alone() -> None:
    folder = made(Path("thesis"), "a.tex", "b.bib", "c.pdf", "d.log", ".git/config")
    before = {path.name for path in folder.rglob("*")}
    with pytest.raises(PlaceError) as caught:
        check_writable(folder, extends="analyze")
    assert str(caught.value) == (
        "output folder 'thesis', which holds other files (a.tex, b.bib, c.pdf and 1 more)\n"
        "  expected: a new or empty folder, or one with a run that can be extended\n"
        "  to fix it: choose another --out, such as 'thesis/run'"
    )
    assert caught.value.exit_code == 2
    assert {path.name for path in folder.rglob("*")} == before
    check_writable(folder, ours=("a.tex", "b.bib", "c.pdf", "d.log"))
    check_writable(folder / "run")


@pytest.mark.parametrize(
    ("error", "code", "given"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "which cannot be written (No space left on device)"),
        (PermissionError(errno.EACCES, "Permission denied"), 1, "which cannot be written (Permission denied)"),
        (FileExistsError(errno.EEXIST, "File exists"), 2, "which can be no folder (File exists)"),
    ],
)
def test_a_disk_fails_and_a_name_is_wrong(
    monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, given: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(HeadscopeError) as caught:
        check_writable(Path("out"))
    assert caught.value.given == f"output folder 'out', {given}"
    assert caught.value.exit_code == code


def test_a_reproduction_is_no_run_of_heads() -> None:
    made(Path("paper"))
    Path("paper/run.json").write_text('{"schema": 1, "paper": "arXiv 2605.27824"}')
    with pytest.raises(PlaceError, match=r"^run folder 'paper', which holds a reproduction\n"):
        open_run("paper")
