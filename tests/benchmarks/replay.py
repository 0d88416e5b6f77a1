"""headscope's exact sweeps against TransformerLens's own, alternately in one process, with the machine's limit beside.

    python -m tests.benchmarks.replay              the table of the README: about 12 minutes on 2 cores
    python -m tests.benchmarks.replay --quick      one round, a small model: a minute
    python -m tests.benchmarks.replay --growth     how cost grows with layers, heads, tokens and pairs

The model has GPT-2 small's shape and random weights: time does not depend on what weights say.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
import transformers
from torch import Tensor

import headscope
from headscope import metrics, replay
from headscope.methods.attribution import attribution
from headscope.prompts import Pairs

SAMPLE = 16
"""TransformerLens's sweep by position is timed on every so-many-th of its runs, which all cost the same."""
AIMS = {"all heads, shared half": 7.0, "all heads, shared none": 3.8, "by position": 12.0, "attribution": 4.0}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a GPT-2 and of the pairs that it is swept on."""

    layers: int = 12
    heads: int = 12
    d_head: int = 64
    vocabulary: int = 50257
    tokens: int = 16
    pairs: int = 8


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    ours: float
    theirs: float
    difference: float
    operations: int


def build(shape: Shape) -> Any:
    """A random GPT-2 as headscope loads it; its `bridge` is what TransformerLens is given."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.heads * shape.d_head,
        vocab_size=shape.vocabulary,
        n_positions=1024,
    )
    return headscope.load(transformers.GPT2LMHeadModel(config).eval())


def pairs_of(shape: Shape, first: int) -> Pairs:
    """Random pairs that differ from position `first` on."""
    generator = torch.Generator().manual_seed(1)
    size = (shape.pairs, shape.tokens)
    tokens, other = (torch.randint(shape.vocabulary, size, generator=generator) for _ in range(2))
    corrupted = torch.where(torch.arange(shape.tokens) < first, tokens, other)
    return Pairs(
        task="benchmark",
        tokens=tokens,
        corrupted=corrupted,
        mask=torch.ones(size, dtype=torch.bool),
        groups=torch.arange(shape.pairs),
        positions={"end": torch.full((shape.pairs,), shape.tokens - 1)},
        answers=tokens[:, :1],
        foils=other[:, -1:],
    )


def denoise(model: Any, pairs: Pairs, *, by_position: bool, memory: int | None) -> Tensor:
    """Our sweep, everything included: both runs, the plan and all edits."""
    clean, base = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    return replay.replay(base, _edits(model, pairs, clean, by_position=by_position), memory=memory)


def _edits(model: Any, pairs: Pairs, clean: Any, *, by_position: bool) -> replay.Edits:
    heads = replay.single_heads(model.grid)
    if not by_position:
        return replay.edits_of(heads, clean.z, pairs.mask)
    width = pairs.mask.shape[1]
    return replay.Edits(
        site="z",
        heads=heads.repeat_interleave(width, 0),
        values=clean.z,
        places=replay.each_position(pairs.mask),
        at=torch.arange(width).repeat(len(heads)),
    )


def _metric(pairs: Pairs) -> Callable[[Tensor], Tensor]:
    return lambda logits: metrics.evaluate(logits[:, -1], pairs).to(logits.device)


@torch.no_grad()
def lens(model: Any, pairs: Pairs, index: pd.DataFrame) -> Tensor:
    """TransformerLens's sweep, without an autograd graph: the clean run with its cache, then every patched run."""
    from transformer_lens import patching

    setters = {2: patching.layer_head_vector_patch_setter, 3: patching.layer_pos_head_vector_patch_setter}
    _, cache = model.bridge.run_with_cache(pairs.tokens, names_filter=lambda name: name.endswith("hook_z"))
    result = patching.generic_activation_patch(
        model=model.bridge,
        corrupted_tokens=pairs.corrupted,
        clean_cache=cache,
        patching_metric=_metric(pairs),
        patch_setter=setters[index.shape[1]],
        activation_name="z",
        index_df=index,
        reduce="none",
    )
    return result.values


def _seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    out = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, out


def alternately(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[float, float, Any, Any]:
    """Best seconds of each, run in turn, and their last results."""
    times: tuple[list[float], list[float]] = ([], [])
    one = two = None
    for _ in range(rounds):
        took, one = _seconds(first)
        times[0].append(took)
        took, two = _seconds(second)
        times[1].append(took)
    return min(times[0]), min(times[1]), one, two


def sweeps(model: Any, shape: Shape, rounds: int, memory: int | None) -> list[Row]:
    """Our sweeps of z against TransformerLens's."""
    rows = []
    grid = model.grid
    heads = pd.DataFrame(list(grid), columns=["layer", "head"])
    for what, first in (("all heads, shared half", shape.tokens // 2), ("all heads, shared none", 0)):
        pairs = pairs_of(shape, first)
        ours, theirs, mine, other = alternately(
            lambda pairs=pairs: denoise(model, pairs, by_position=False, memory=memory),
            lambda pairs=pairs: lens(model, pairs, heads),
            rounds,
        )
        rows.append(_row(what, ours, theirs, mine, other.T, _operations(model, pairs, by_position=False)))
    pairs = pairs_of(shape, shape.tokens // 2)
    places = [(layer, place, head) for layer, head in grid for place in range(shape.tokens)]
    chosen = list(range(0, len(places), SAMPLE))
    index = pd.DataFrame([places[i] for i in chosen], columns=["layer", "pos", "head_index"])
    ours, theirs, mine, other = alternately(
        lambda: denoise(model, pairs, by_position=True, memory=memory), lambda: lens(model, pairs, index), 1
    )
    theirs *= len(places) / len(chosen)
    rows.append(
        _row("by position", ours, theirs, mine[:, chosen], other.T, _operations(model, pairs, by_position=True))
    )
    return rows


def _row(what: str, ours: float, theirs: float, mine: Tensor, other: Tensor, operations: int) -> Row:
    other = other.reshape(mine.shape).cpu().double()
    difference = float((mine - other).abs().max() / other.abs().max())
    return Row(what=what, ours=ours, theirs=theirs, difference=difference, operations=operations)


def _operations(model: Any, pairs: Pairs, *, by_position: bool) -> int:
    clean, base = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    both = 2 * len(pairs) * replay.whole_forward(base.program, pairs.mask.shape[1])
    edits = _edits(model, pairs, clean, by_position=by_position)
    return both + replay.plan(base, edits, memory=replay.budget(model)).operations


def attributions(model: Any, shape: Shape, rounds: int) -> Row:
    """Our attribution of every head against TransformerLens's `attribution_patch`, both on the corrupted run."""
    from transformer_lens.tools.analysis.attribution_patching import attribution_patch

    pairs = pairs_of(shape, shape.tokens // 2)

    def ours() -> Tensor:
        return attribution(model, pairs, scores=("denoising",))["denoising"].mean(0).flatten()

    def theirs() -> Tensor:
        # Each pair is run by itself there, so the metric sees one example at a time.
        totals = torch.zeros(model.grid.size)
        model.bridge.original_model.requires_grad_(True)
        for row in range(len(pairs)):
            part = pairs.select(torch.tensor([row]))
            found = attribution_patch(
                model.bridge, part.tokens, part.corrupted, lambda logits, part=part: _metric(part)(logits).mean()
            )
            for node, value in found.node_scores.items():  # one node for each position
                if node.head is not None:
                    totals[node.layer * model.grid.heads + node.head] += value
        model.bridge.original_model.requires_grad_(False)
        return totals / len(pairs)

    seconds, other_seconds, mine, other = alternately(ours, theirs, rounds)
    return _row("attribution", seconds, other_seconds, mine.double(), other, 0)


def machine_rate(width: int, tokens: int = 2048) -> float:
    """GFLOP/s of `torch.mm` on the products that a block is made of, weighted as a block weighs them."""
    shapes = [(width, width)] * 4 + [(width, 4 * width), (4 * width, width)]
    seconds = operations = 0.0
    for inner, outer in shapes:
        a, b = torch.randn(tokens, inner), torch.randn(inner, outer)
        torch.mm(a, b)
        seconds += min(_seconds(lambda a=a, b=b: torch.mm(a, b))[0] for _ in range(5))
        operations += 2 * tokens * inner * outer
    return operations / seconds / 1e9


def peak(memory: int, shape: Shape) -> tuple[float, float]:
    """MiB of the loaded model and of the peak above it, in this fresh process."""
    model = build(shape)
    pairs = pairs_of(shape, 0)
    replay.start(model, pairs.select(torch.tensor([0])), pairs.tokens[:1])
    # The highest mark so far is that of loading: Linux forgets it on request, so that only the sweep's own remains.
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    denoise(model, pairs, by_position=False, memory=memory)
    status = Path("/proc/self/status").read_text()
    top = 1024 * int(status.split("VmHWM:")[1].split()[0])
    return before / 2**20, max(0, top - before) / 2**20


def growth(rounds: int) -> pd.DataFrame:
    """Seconds and counted operations of the sweep over all heads, one size varied at a time."""
    base = {"layers": 6, "heads": 8, "d_head": 32, "vocabulary": 1000, "tokens": 32, "pairs": 8}
    axes = {
        "layers": (2, 6, 12, 24),
        "heads": (4, 8, 16, 32, 64),
        "tokens": (16, 64, 128, 512),
        "pairs": (1, 4, 16, 64),
    }
    rows = []
    for axis, sizes in axes.items():
        for size in sizes:
            shape = Shape(**(base | {axis: size} | ({"d_head": 16} if axis == "heads" else {})))
            model, pairs = build(shape), pairs_of(shape, shape.tokens // 2)
            count = _operations(model, pairs, by_position=False)
            took = min(
                _seconds(lambda m=model, p=pairs: denoise(m, p, by_position=False, memory=None))[0]
                for _ in range(rounds)
            )
            rows.append(
                {"varied": axis, "size": size, "seconds": took, "GFLOP": count / 1e9, "GFLOP/s": count / 1e9 / took}
            )
    return pd.DataFrame(rows)


def show(rows: list[Row], rate: float) -> str:
    """The table in Markdown."""
    lines = [
        "| sweep | headscope | TransformerLens 4.3 | ratio | asked | largest difference | GFLOP/s | of `torch.mm` |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        speed = row.operations / row.ours / 1e9
        work = f"{speed:.0f} | {speed / rate:.0%}" if row.operations else "- | -"
        lines.append(
            f"| {row.what} | {row.ours:.2f} s | {row.theirs:.1f} s | {row.theirs / row.ours:.1f}x "
            f"| {AIMS[row.what]:g}x | {row.difference:.0e} | {work} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the options and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model, one round")
    parser.add_argument("--growth", action="store_true", help="how cost grows, without TransformerLens")
    parser.add_argument("--rounds", type=int, default=2, help="rounds; the best of each side counts")
    parser.add_argument("--memory", type=int, default=512, help="MiB for our intermediate results")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = Shape(layers=4, heads=4, vocabulary=1000) if given.quick else Shape()
    write = sys.stdout.write
    if given.peak:
        write("{:.0f} {:.0f}\n".format(*peak(given.memory * 2**20, shape)))
        return
    write(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    if given.growth:
        write(growth(given.rounds).round(3).to_string(index=False) + "\n")
        return
    model = build(shape)
    rows = [*sweeps(model, shape, given.rounds, given.memory * 2**20), attributions(model, shape, given.rounds)]
    rate = machine_rate(shape.heads * shape.d_head)
    write(show(rows, rate) + f"\n\n`torch.mm` itself: {rate:.0f} GFLOP/s\n")
    command = [sys.executable, "-m", "tests.benchmarks.replay", "--peak", "--memory", str(given.memory)]
    out = subprocess.run(
        command + (["--quick"] if given.quick else []), capture_output=True, text=True, check=True, env=os.environ
    )
    held, more = out.stdout.split()[-2:]
    write(f"model and libraries {held} MiB, and {more} MiB more at the peak with a budget of {given.memory} MiB\n")


if __name__ == "__main__":
    main()
