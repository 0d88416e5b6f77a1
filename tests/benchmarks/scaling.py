"""Two Ray workers on two processors against one worker with one thread, on a sweep of GPT-2 small's shape.

    python -m tests.benchmarks.scaling [--rounds 3] [-n 64] [--layers 12]

The model has GPT-2 small's shape and random weights, and its prompts are token ids: time does not depend on what
weights say. It is saved to a folder, which each worker loads; all times are whole ones, Ray and workers started and
models loaded included. Each round measures one process without Ray, one worker and two workers, each process with one
thread, in an order that changes with the round. Values must be equal to 1e-6 of their scale; exit code 1 if not.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import headscope
from headscope.pipeline import Block, Measured, OnRay, Plan, Work, blocks_of, build_tasks, local, work_of

AIM = 1.6


def say(text: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def timed(results: Iterable[tuple[Block, Measured]]) -> tuple[dict[Block, Measured], float]:
    """The values, and the seconds until the last of them."""
    began = time.perf_counter()
    return dict(results), time.perf_counter() - began


def difference(one: dict[Block, Measured], other: dict[Block, Measured]) -> float:
    """The largest difference, as a part of the largest value."""
    worst = 0.0
    for block, values in one.items():
        for name, array in values.arrays.items():
            scale = float(abs(array).max())
            worst = max(worst, float(abs(array - other[block].arrays[name]).max()) / scale)
    return worst


def on_ray(work: Work, laid: Sequence[Block], folder: str, *, workers: int) -> Iterable[tuple[Block, Measured]]:
    """The same blocks by workers with one processor, and so one thread, each."""
    import ray

    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield from OnRay(name=folder, workers=workers)(work, laid)
    finally:
        ray.shutdown()


def measure(work: Work, laid: Sequence[Block], folder: str, first: int) -> tuple[dict[str, float], float]:
    """Seconds of each way, and the largest difference from the values without Ray."""
    ways = {
        "no Ray": lambda: local(work, laid),
        "one worker": lambda: on_ray(work, laid, folder, workers=1),
        "two workers": lambda: on_ray(work, laid, folder, workers=2),
    }
    names = [*ways][first % 3 :] + [*ways][: first % 3]
    found = {name: timed(ways[name]()) for name in names}
    seconds = {name: found[name][1] for name in ways}
    alone = found["no Ray"][0]
    worst = max(difference(alone, values) for values, _ in found.values())
    told = ", ".join(f"{name} {time_:.1f} s" for name, time_ in seconds.items())
    one, two = seconds["one worker"], seconds["two workers"]
    say(f"{told}; one over two workers {one / two:.2f}, no Ray over two {seconds['no Ray'] / two:.2f}")
    return seconds, worst


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
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
        found = [measure(work, laid, folder, index) for index in range(asked.rounds)]
    for name in ("one worker", "no Ray"):
        ratios = [seconds[name] / seconds["two workers"] for seconds, _ in found]
        say(f"{name} over two workers: median {statistics.median(ratios):.2f} of {len(ratios)}, wanted {AIM}")
    worst = max(each for _, each in found)
    say(f"largest difference {worst:.1e}")
    sys.exit(int(worst > 1e-6))


if __name__ == "__main__":
    main()
