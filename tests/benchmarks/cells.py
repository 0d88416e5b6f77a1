"""What keeping the cells costs: the same analysis with a folder for its cells and without, in turn.

    python -m tests.benchmarks.cells [--rounds 5] [-n 40]

Both save the run, so that the difference is the store alone: keys, checksums, files that are synced to the disk. The
time is that of the process's own work, and beside it the time on the clock, which another process may lengthen.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import headscope
from headscope.cells import Store


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--model", default="mini")
    asked = parser.parse_args()
    model = headscope.load(asked.model)
    spent: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    stored: list[tuple[float, float]] = []
    keep, remember = Store.keep, Store.find

    def timed(function):
        def call(*given):
            clock, work = time.perf_counter(), time.process_time()
            try:
                return function(*given)
            finally:
                stored.append((time.perf_counter() - clock, time.process_time() - work))

        return call

    Store.keep, Store.find = timed(keep), timed(remember)
    for index in range(asked.rounds + 1):
        for name in ("with", "without") if index % 2 else ("without", "with"):
            with tempfile.TemporaryDirectory() as place:
                clock, work = time.perf_counter(), time.process_time()
                folder = Path(place) / "run"
                run = headscope.analyze(model, n=asked.n, progress=False, folder=folder if name == "with" else None)
                if name == "without":
                    run.save(folder)
                if index:  # the first round warms up
                    spent[name].append((time.process_time() - work, time.perf_counter() - clock))
    for place, what in enumerate(("processor", "clock")):
        with_, without = (statistics.median(each[place] for each in spent[name]) for name in ("with", "without"))
        ratios = [one[place] / other[place] for one, other in zip(spent["with"], spent["without"], strict=True)]
        print(  # noqa: T201 - a script that people run to read this
            f"{what}: {with_:.2f} s with cells, {without:.2f} s without; ratio of medians {with_ / without:.3f}, "
            f"of rounds {min(ratios):.3f} to {max(ratios):.3f}"
        )
    clock, work = (sum(each[place] for each in stored) / (asked.rounds + 1) for place in (0, 1))
    print(f"reading and writing cells, by itself: {clock:.3f} s a run on the clock, {work:.3f} s of the processor")  # noqa: T201


if __name__ == "__main__":
    main()
