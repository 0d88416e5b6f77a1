"""What headscope plan says against what an analysis takes, method by method.

    python -m tests.benchmarks.plan [--model mini] [--task induction,ioi] [--method all] [-n 64] [--rounds 3]

The model is `mini`, a folder, or `shape`: random weights of GPT-2's width with `--layers` layers, whose prompts are
token ids. Times are the processor's, of one thread, so that other work on the machine counts little; of several rounds
the least. A ratio above 1 means that the plan is too careful. Exit code 1 if a default method is off by more than
`--most`.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import headscope
from headscope.methods import DEFAULT, METHODS
from headscope.models.outline import outline
from headscope.pipeline import Plan, Work, blocks_of, build_tasks, compute, work_of
from headscope.pipeline.scaling.estimating import estimate, measured_rate

WHOLE = "all"


def say(text: str) -> None:
    """A line that is seen at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def folder_of(name: str, layers: int) -> Iterator[str]:
    """The model's name or folder."""
    if name != "shape":
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config(n_layer=layers)).save_pretrained(folder)
        yield folder


def measured(work: Work, rounds: int) -> dict[tuple[str, str], float]:
    """Seconds of each task and method: the least of several rounds."""
    found: dict[tuple[str, str], float] = {}
    for _ in range(rounds):
        once: dict[tuple[str, str], float] = {}
        for block in blocks_of(work):
            began = time.process_time()
            compute(work, block)
            place = block.task, block.method
            once[place] = once.get(place, 0.0) + time.process_time() - began
        found = {place: min(seconds, found.get(place, seconds)) for place, seconds in once.items()}
    return found


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--task", default="induction,ioi")
    parser.add_argument("--method", default=WHOLE)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=float, default=1.5)
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    methods = {WHOLE: tuple(METHODS), "default": DEFAULT}.get(asked.method) or tuple(asked.method.split(","))
    plan = Plan(tasks=tuple(asked.task.split(",")), methods=methods, n=asked.n)
    with folder_of(asked.model, asked.layers) as name:
        shape = outline(name)
        model = headscope.load(name, device="cpu", check=False)
        work = work_of(model, plan, build_tasks(model, plan)[0], keeps=False)
        seconds = measured(work, asked.rounds)
        told = estimate(shape, plan, rate=measured_rate(shape.d_model, seconds=1.0)).frame.to_dict("records")
    say(f"{shape.name}: {shape.grid.layers} layers, {len(seconds)} tasks and methods, {asked.n} examples")
    say(f"{'task':<12}{'method':<22}{'planned s':>10}{'measured s':>12}{'ratio':>8}")
    worst = 1.0
    for row in told:
        spent = seconds[row["task"], row["method"]]
        ratio = row["seconds"] / spent
        worst = max(worst, ratio, 1 / ratio) if row["method"] in DEFAULT else worst
        say(f"{row['task']:<12}{row['method']:<22}{row['seconds']:>10.3f}{spent:>12.3f}{ratio:>8.2f}")
    whole = sum(row["seconds"] for row in told)
    say(f"{'all':<34}{whole:>10.3f}{sum(seconds.values()):>12.3f}{whole / sum(seconds.values()):>8.2f}")
    say(f"default methods: off by a factor of {worst:.2f} at most, wanted {asked.most:g}")
    sys.exit(int(worst > asked.most))


if __name__ == "__main__":
    main()
