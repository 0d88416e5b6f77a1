"""kill -9 at random moments of `classify` and `probe`, and the same call again: the tables of a run nobody stopped."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cellcases import planted
from keptcases import reading, write_bank

import headscope
from headscope.cells import read_cells

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked, so that they are warm"),
]
KILLS = 5


def forked(work: Callable[[], Any]) -> Any:
    """A process of its own that does some work."""

    def run() -> None:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()

    process: Any = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def parts(folder: Path) -> int:
    return sum(1 for _ in read_cells(folder / "cells"))


def roles_of_planted(_: Path, folder: Path) -> Any:
    """With effects on a task that the model does."""
    return headscope.classify(planted(positions=64), folder=folder, progress=False)


def roles_of_text(source: Path, folder: Path) -> Any:
    """With trees."""
    return headscope.classify(reading(), treebanks=[source], n=24, confirm=False, folder=folder, progress=False)


def probes(source: Path, folder: Path) -> Any:
    """With a twin, code lengths and use."""
    more = {"labels": ["upos", "number", "arc", "io"], "treebanks": [source], "n": 100}
    return headscope.probe(reading(), folder=folder, progress=False, **more)


@pytest.mark.parametrize("begin", [roles_of_planted, roles_of_text, probes])
def test_killed_runs_go_on_and_end_as_if_nothing_had_been(begin: Callable[[Path, Path], Any], tmp_path: Path) -> None:
    source = write_bank(tmp_path / "bank.conllu")
    begin(source, tmp_path / "warm")
    began = time.monotonic()
    whole = forked(lambda: begin(source, tmp_path / "whole"))
    whole.join()
    length, expected, planned = time.monotonic() - began, tables(tmp_path / "whole"), parts(tmp_path / "whole")
    assert whole.exitcode == 0
    rng, left = random.Random(0), []
    for index in range(KILLS):
        folder = tmp_path / f"k{index}"
        child = forked(lambda: begin(source, folder))  # noqa: B023 - joined in this round
        time.sleep(rng.uniform(0, 0.9 * length))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        left.append(parts(folder))
        again = forked(lambda: begin(source, folder))  # noqa: B023
        again.join()
        assert again.exitcode == 0
        assert tables(folder) == expected
        assert set(headscope.verify(folder)["status"]) == {"ok"}
        cells = json.loads((folder / "run.json").read_text())["cells"]
        computed, reused = (sum(cells[name].values()) for name in ("computed", "reused"))
        assert (computed, reused) == (planned - left[-1], left[-1]), "what was finished is never computed twice"
    assert max(left) > 0, "no kill came after a part was finished: this test shows nothing"
