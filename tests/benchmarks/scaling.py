"""Two Ray workers on two processors against one process with one thread, on a sweep of GPT-2 small's shape.

    python -m tests.benchmarks.scaling [--rounds 2] [-n 64] [--layers 12]

The model has GPT-2 small's shape and random weights, and its prompts are token ids: time does not depend on what
weights say. It is saved to a folder, which each worker loads; that time is told apart, since a longer sweep pays it
once. Both compute the same cells, one after the other on one machine; values must be equal to 1e-6 of their scale.
Exit code 1 if they are not.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import headscope
from headscope.pipeline import Block, Measured, OnRay, Plan, Work, blocks_of, build_tasks, local, work_of

AIM = 1.6


def say(text: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def timed(results: Iterator[tuple[Block, Measured]]) -> tuple[dict[Block, Measured], float, float]:
    """The values, seconds until the first of them, and seconds until the last."""
    began, first, found = time.perf_counter(), 0.0, {}
    for block, values in results:
        first = first or time.perf_counter() - began
        found[block] = values
    return found, first, time.perf_counter() - began


def difference(one: dict[Block, Measured], other: dict[Block, Measured]) -> float:
    """The largest difference, as a part of the largest value."""
    worst = 0.0
    for block, values in one.items():
        for name, array in values.arrays.items():
            scale = float(abs(array).max())
            worst = max(worst, float(abs(array - other[block].arrays[name]).max()) / scale)
    return worst


def measure(work: Work, laid: Sequence[Block], ray: Any, folder: str) -> tuple[float, float, float]:
    """Ratio of all the time, of the time without loading, and the largest difference."""
    alone, _, one = timed(iter(local(work, laid)))
    executor = OnRay(name=folder, workers=2)
    loading = time.perf_counter()
    executor_warm = executor(work, laid[:2])
    list(executor_warm)
    loading = time.perf_counter() - loading
    both, _, two = timed(executor(work, laid))
    each = one / len(laid)
    start = max(0.0, loading - each)
    say(
        f"one thread {one:.1f} s; two workers {two:.1f} s, of which {start:.1f} s to start and load; "
        f"ratio {one / two:.2f}, without starting {one / max(two - start, 1e-9):.2f}"
    )
    return one / two, one / max(two - start, 1e-9), difference(alone, both)


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--layers", type=int, default=12)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(GPT2Config(n_layer=asked.layers)).save_pretrained(folder)
        model = headscope.load(folder, device="cpu", check=False)
        plan = Plan(tasks=("induction",), methods=("patching",), n=asked.n)
        work = work_of(model, plan, build_tasks(model, plan)[0])
        laid = blocks_of(work)
        say(f"{len(laid)} cells of patching, {asked.layers} layers, {asked.n} pairs")
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            found = [measure(work, laid, ray, folder) for _ in range(asked.rounds)]
        finally:
            ray.shutdown()
    best = max(ratio for _, ratio, _ in found)
    say(f"best without starting {best:.2f}, wanted {AIM}; largest difference {max(each[2] for each in found):.1e}")
    sys.exit(int(max(each[2] for each in found) > 1e-6))


if __name__ == "__main__":
    main()
