"""kill -9 at random moments of an analysis, and the same call again; and two processes that start on one folder.

    python -m tests.benchmarks.kills --kills 50 --starts 1000 --seed 0

From a process that is warm, children are forked: each begins an analysis of a tiny planted model in many small blocks
and is killed after a random time; another child then makes the same call to its end. Its tables must be those of a run
that nobody stopped, byte by byte, with at most one part computed twice. Exit code 1 if one is not.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import headscope
import headscope.report
from headscope.cells import Damaged, read_cells
from headscope.errors import RunError
from headscope.grid import Grid
from headscope.models import load
from headscope.pipeline import blocks, verify
from headscope.testing import Plant, planted_model

METHODS = ("patching", "ablation", "attention", "attribution", "direct")


def prepare() -> Any:
    """The model, in a process whose blocks are small and whose reports are short."""
    torch.set_num_threads(1)
    blocks.TARGET["cpu"], blocks.ROWS = 1.0, (4,)
    headscope.report.write = lambda _run, path: Path(path).write_text("a report")
    plain = planted_model(Plant(induction=((0, 0), (1, 1))), grid=Grid(3, 4), vocabulary=64, positions=32, noise=0.01)
    return load(plain, device="cpu", check=False)


def say(text: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def analyze(model: Any, folder: Path, n: int = 16, methods: tuple[str, ...] = METHODS) -> Any:
    """The analysis that is killed."""
    asked = {"tasks": ["induction"], "methods": methods, "n": n, "roles": False, "progress": False}
    return headscope.analyze(model, folder=folder, **asked)


def forked(work: Callable[[], Any]) -> Any:
    """A process of its own that does some work; its exit code is 0 if it came to its end."""

    def run() -> None:
        torch.set_num_threads(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def tables(folder: Path) -> dict[str, bytes]:
    """The tables and values of a run, byte by byte; safetensors writes names in one order."""
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")} | {
        path.name: path.read_bytes() for path in (folder / "examples").glob("*.safetensors")
    }


def parts(folder: Path) -> int:
    """How many whole cells a folder has; a damaged one stops the test."""
    found = [cell for _, cell in read_cells(folder / "cells")] if (folder / "cells").is_dir() else []
    if any(isinstance(cell, Damaged) for cell in found):
        raise SystemExit(f"a damaged cell in {folder}")
    return len(found)


def kills(model: Any, place: Path, count: int, seed: int) -> bool:
    """Kill and resume; whether all runs ended as they should."""
    rng = random.Random(seed)
    began = time.monotonic()
    whole = forked(lambda: analyze(model, place / "whole"))
    whole.join()
    length, expected, planned = time.monotonic() - began, tables(place / "whole"), parts(place / "whole")
    say(f"whole run: {length:.2f} s, {planned} parts")
    equal, twice, left, unread = 0, [], [], 0
    for index in range(count):
        folder = place / f"k{index}"
        child = forked(lambda: analyze(model, folder))  # noqa: B023 - joined in this round
        time.sleep(rng.uniform(0.0, length))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kept = parts(folder) if folder.exists() else 0
        left.append(kept)
        again = forked(lambda: analyze(model, folder))  # noqa: B023
        again.join()
        record = json.loads((folder / "run.json").read_text())["cells"]
        computed, reused = (sum(record[name].values()) for name in ("computed", "reused"))
        unread += reused != kept
        # A part that was under way at the kill is computed again; one that was finished never is.
        twice.append(computed + kept - planned)
        same = tables(folder) == expected and (verify(folder)["status"] == "ok").all()
        equal += same and again.exitcode == 0
        if not same:
            say(f"kill {index}: other tables in {folder}")
        else:
            shutil.rmtree(folder)
    say(
        f"kills: {equal} of {count} ended with identical tables; parts left by the kill: median "
        f"{statistics.median(left):.0f}, {min(left)} to {max(left)} of {planned}; finished parts computed twice: "
        f"{max(twice)} at most; resumes that did not use every part that was left: {unread}"
    )
    return equal == count and max(twice) <= 0 and not unread


def starts(model: Any, place: Path, count: int, seed: int) -> bool:
    """Two processes begin at about the same time on one folder; whether no run is spoilt."""
    rng = random.Random(seed)
    outcomes = {"one ran, one was refused": 0, "one after the other": 0, "other": 0}
    spoilt, quick = 0, {"n": 8, "methods": ("attention",)}
    began = time.monotonic()
    forked(lambda: analyze(model, place / "first", **quick)).join()
    length, expected = time.monotonic() - began, tables(place / "first")
    for index in range(count):
        folder = place / f"s{index}"
        later = rng.choice((0.0, rng.uniform(0.0, 1.2 * length)))
        barrier = multiprocessing.get_context("fork").Barrier(2)

        def begin(delay: float, wait: Any = barrier, where: Path = folder) -> None:
            wait.wait()
            time.sleep(delay)
            try:
                analyze(model, where, **quick)
            except RunError as error:
                os._exit(7 if "is writing" in error.given else 8)
            os._exit(0)

        both = [forked(lambda delay=delay: begin(delay)) for delay in (0.0, later)]
        for child in both:
            child.join()
        codes = sorted(child.exitcode for child in both)
        names = {(0, 7): "one ran, one was refused", (0, 0): "one after the other"}
        name = names.get((codes[0], codes[1]), "other")
        outcomes[name] += 1
        if name == "other":
            say(f"start {index}: exit codes {codes}")
        spoilt += tables(folder) != expected or (verify(folder)["status"] != "ok").any()
        shutil.rmtree(folder)
        if (index + 1) % 100 == 0:
            say(f"{index + 1} starts: {spoilt} spoilt; {outcomes}")
    say(f"starts: {spoilt} of {count} spoilt; {outcomes}")
    return not spoilt and not outcomes["other"]


def main() -> None:
    """Run both, and say how they went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = prepare()
    with tempfile.TemporaryDirectory() as folder:
        # Warm: what is imported and compiled at the first use is shared by all children.
        analyze(model, Path(folder) / "warm", 4)
        good = [
            kills(model, Path(folder), asked.kills, asked.seed) if asked.kills else True,
            starts(model, Path(folder), asked.starts, asked.seed) if asked.starts else True,
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
