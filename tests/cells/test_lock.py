"""Two processes on one folder: the second says so, and the lock of a dead one is open."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from cellcases import analyze

from headscope.cells import locked
from headscope.cells.lock import HOLDER, LOCK, holder
from headscope.errors import RunError
from headscope.models import Model


def hold(folder: Path, ready: Any) -> None:
    with locked(folder):
        ready.send(True)
        signal.pause()


def test_a_folder_that_is_in_use_says_by_whom_and_since_when(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    mine, theirs = multiprocessing.get_context("fork").Pipe()
    other = multiprocessing.get_context("fork").Process(target=hold, args=(folder, theirs))
    other.start()
    assert mine.recv()
    with pytest.raises(RunError) as caught:
        analyze(model, folder)
    given, expected, fix = str(caught.value).split("\n")
    assert given.startswith(f"run folder {str(folder)!r}, which process {other.pid} on '")
    assert " (since 20" in given
    assert given.endswith("+00:00) is writing")
    assert expected == "  expected: a folder that no other process is writing"
    assert fix.startswith("  to fix it: wait until it is done, choose another --out, or end that process")
    os.kill(other.pid or 0, signal.SIGKILL)
    other.join()
    assert (folder / HOLDER).exists(), "the dead process could not take its note away"
    with locked(folder):
        assert f"process {os.getpid()} on " in holder(folder)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_can_be_locked_again_and_again(tmp_path: Path) -> None:
    for _ in range(3):
        with locked(tmp_path), pytest.raises(RunError, match=r"which process .* is writing"), locked(tmp_path):
            pass
    (tmp_path / "kept").write_text("something")
    with locked(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"kept", LOCK}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_note_that_says_nothing_is_no_error(text: str, tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_text(text)
    assert holder(tmp_path) == "another process"


def test_a_file_in_place_of_the_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match=r"output folder .*run', which cannot be written \("), locked(tmp_path / "run"):
        pass
