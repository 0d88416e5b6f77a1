"""Ctrl-C: exit code 130, finished work kept and said, no traceback; in real processes on a real terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shells import QUICK, Answer, Shell, environment

from headscope.methods import METHODS
from headscope.runs import open_run

PATIENCE = 240
"""Seconds until a test gives up: a busy machine is not what these tests are about."""


def interrupted(folder: Path, mark: str, *words: str) -> Answer:
    """Start headscope with its progress bars on a terminal, and press Ctrl-C when `mark` shows up in them."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))  # in a terminal of no width no bar is drawn
    command = [sys.executable, "-m", "headscope", *words]
    # A job that a script puts in the background ignores Ctrl-C, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=follower, text=True, cwd=folder, env=environment()
        )
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(follower)
    seen, pressed, limit = b"", False, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < limit:
            if not select.select([leader], [], [], 0.2)[0]:
                continue
            try:
                seen += os.read(leader, 4096)
            except OSError:  # how Linux says that nobody writes to this terminal any more
                break
            if not pressed and mark.encode() in seen:
                process.send_signal(signal.SIGINT)
                pressed = True
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(leader)
    assert pressed, f"{mark!r} never came: {seen.decode()[-500:]}"
    return Answer(process.returncode, out, seen.decode())


def test_ctrl_c_in_a_sweep_keeps_the_finished_cells(ids: Path, tmp_path: Path) -> None:
    # Small batches, so that the second method would take seconds.
    words = ("--task", "induction", "--method", "patching,ablation", "-n", "64", "--batch-size", "4", "--out", "run")
    answer = interrupted(tmp_path, "resample ablation", "analyze", str(ids), *words)
    assert answer.code == 130
    assert "Traceback" not in answer.err
    assert "headscope: interrupted after 1 of 2 cells\r\n" in answer.err
    assert "to fix it: run the same command again: it goes on where this one stopped" in answer.err
    assert "induction: top heads by patching, denoising (in logits)" in answer.out
    assert answer.out.endswith("report: run/report.html\n")
    run = open_run(tmp_path / "run")
    assert run.identity["complete"] is False
    assert set(run.scores["method"]) == {"patching"}
    assert (tmp_path / "run" / "report.html").stat().st_size > 1e6


def test_ctrl_c_before_anything_is_finished_says_so_and_leaves_no_run(ids: Path, tmp_path: Path) -> None:
    words = ("--task", "induction", "--method", "patching", "-n", "64", "--batch-size", "4")
    answer = interrupted(tmp_path, "denoising", "analyze", str(ids), *words)
    assert (answer.code, answer.out) == (130, "")
    assert "Traceback" not in answer.err
    assert "headscope: interrupted after 0 of 1 cells\r\n" in answer.err
    assert "to fix it: run the same command again: it goes on where this one stopped" in answer.err
    (run,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in run.iterdir() if path.name != ".lock"] == ["cells"], "no tables of nothing"


def stopping(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_while_the_model_loads_says_so_and_leaves_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ids: Path
) -> None:
    monkeypatch.setattr("headscope.models.load", stopping)
    answer = shell("analyze", ids)
    assert (answer.code, answer.out) == (130, "")
    assert answer.err == "headscope: interrupted before it was done; what was not yet written is lost\n"
    assert not Path("runs").exists()


def _prints_everything(_: Path, answer: Answer) -> None:
    assert "induction: top heads by patching" in answer.out


def _prints_json(_: Path, answer: Answer) -> None:
    assert '"complete": false' in answer.out


def _prints_the_folder_only(_: Path, answer: Answer) -> None:
    assert answer.out == "report: runs/ids/report.html\n"


@pytest.mark.parametrize(
    ("form", "check"), [((), _prints_everything), (("--json",), _prints_json), (("-q",), _prints_the_folder_only)]
)
def test_what_is_finished_is_told_in_the_form_that_was_asked_for(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    ids: Path,
    form: tuple[str, ...],
    check: Callable[[Path, Answer], None],
) -> None:
    monkeypatch.setitem(METHODS, "attention", replace(METHODS["attention"], function=stopping))
    answer = shell("analyze", ids, *QUICK, "--method", "attention", *form)
    assert answer.code == 130
    assert answer.err.startswith("headscope: interrupted after 1 of 2 cells\n")
    check(ids, answer)
    assert open_run("runs/ids").identity["complete"] is False


def test_a_second_ctrl_c_while_writing_still_shows_the_result(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ids: Path
) -> None:
    monkeypatch.setattr("headscope.report.write", stopping)
    answer = shell("analyze", ids, *QUICK)
    assert answer.code == 130
    assert "induction: top heads by patching" in answer.out
    assert answer.err == "headscope: interrupted before it was done; what was not yet written is lost\n"
