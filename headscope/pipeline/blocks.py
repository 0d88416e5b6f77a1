"""Which cells an analysis is computed, kept and reused in: some layers of some examples of a method on a task."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headscope.contract import Method
from headscope.grid import Grid
from headscope.prompts import Pairs

TARGET = {"cpu": 4e12}
"""Floating-point operations of a block: about a minute of two CPU cores."""
TARGET_ELSEWHERE = 4e14
"""The same for other devices."""
ROWS = tuple(2**power for power in range(4, 13))
"""Examples of a block: the most of these that the target allows. Fewer would leave batches half empty."""
GRADIENTS = 6
"""Forwards that a method costs which treats all layers at once; counted generously."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of an analysis that is computed at once.

    Attributes:
        task: which task.
        method: which method.
        rows: the first example, and the one after the last.
        layers: the first layer and the one after the last; None: all, together.
        key: what it is called in the store; empty where nothing is kept.
    """

    task: str
    method: str
    rows: tuple[int, int]
    layers: tuple[int, int] | None = None
    key: str = ""

    @property
    def words(self) -> str:
        """What it is, for people."""
        layers = "" if self.layers is None else f", layers {self.layers[0]} to {self.layers[1] - 1}"
        return f"{self.method} of {self.task}, examples {self.rows[0] + 1} to {self.rows[1]}{layers}"

    def record(self) -> list[Any]:
        """The block as JSON."""
        return [self.task, self.method, list(self.rows), self.layers and list(self.layers), self.key]

    @classmethod
    def of(cls, record: Sequence[Any]) -> "Block":
        """The block that `record` gave.

        Args:
            record: from JSON.
        """
        task, method, rows, layers, key = record
        span = None if layers is None else (int(layers[0]), int(layers[1]))
        return cls(task=str(task), method=str(method), rows=(int(rows[0]), int(rows[1])), layers=span, key=str(key))


def options_of(method: Method) -> frozenset[str]:
    """The options that a method's function takes.

    Args:
        method: the method.
    """
    return frozenset(inspect.signature(method.function).parameters)


def lay_out(method: Method, pairs: Pairs, grid: Grid, *, width: int, device: str) -> list[Block]:
    """The blocks of a method on a task.

    Their sizes do not depend on the number of examples, so that more examples find the blocks of fewer. Examples are
    cut only where the method does not look from one at another, layers only where it can leave some out and even the
    fewest examples are much.

    Args:
        method: the method.
        pairs: the task's examples.
        grid: the model's layers and heads.
        width: of its residual stream.
        device: `cpu` or another kind.

    Returns:
        Blocks that cover every example and layer once, in order.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.methods import METHODS
        >>> import torch
        >>> ids = torch.ones(100, 16, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=ids, corrupted=ids, mask=ids > 0, groups=ids[:, 0], answers=ids, foils=ids)
        >>> gpt2 = lay_out(METHODS["patching"], pairs, Grid(12, 12), width=768, device="cpu")
        >>> [block.rows for block in gpt2][:2], len(gpt2), gpt2[0].layers
        ([(0, 16), (16, 32)], 7, None)
        >>> [block.layers for block in lay_out(METHODS["ablation"], pairs, Grid(12, 12), width=768, device="cpu")][:3]
        [(0, 1), (1, 2), (2, 3)]
    """
    target = TARGET.get(device, TARGET_ELSEWHERE)
    by_layer = "layers" in options_of(method)
    each = cost(method, grid, width=width, tokens=pairs.tokens.shape[1], by_layer=by_layer)
    size = len(pairs) if method.across else max((rows for rows in ROWS if rows * each <= target), default=ROWS[0])
    pieces = math.ceil(min(size, len(pairs)) * each / (2 * target)) if by_layer else 1
    spans = _spans(grid.layers, pieces) if pieces > 1 else [None]
    starts = range(0, len(pairs), size)
    return [
        Block(task=pairs.task, method=method.name, rows=(start, min(start + size, len(pairs))), layers=span)
        for start in starts
        for span in spans
    ]


def cost(method: Method, grid: Grid, *, width: int, tokens: int, by_layer: bool) -> float:
    """Floating-point operations of a method for one example, roughly: from what the prompts share nothing is taken off.

    Args:
        method: the method.
        grid: the model's layers and heads.
        width: of its residual stream.
        tokens: of the longest prompt, taken as the next power of two, so that other prompts of the task change nothing.
        by_layer: every head is run by itself.

    Example:
        >>> from headscope.methods import METHODS
        >>> f"{cost(METHODS['patching'], Grid(12, 12), width=768, tokens=16, by_layer=True):.1e}"
        '3.9e+11'
    """
    forward = 24 * grid.layers * width**2 * 2 ** math.ceil(math.log2(max(tokens, 1)))
    runs = sum(score.unit is None for score in method.scores) * grid.size / 2 if by_layer else GRADIENTS
    return float(forward * runs)


def _spans(layers: int, pieces: int) -> list[tuple[int, int]]:
    """Layers in pieces of about equal cost: a head of an early layer costs all layers after it."""
    weights = [layers - layer for layer in range(layers)]
    share, spans, start, done = sum(weights) / min(pieces, layers), [], 0, 0.0
    for layer, weight in enumerate(weights):
        done += weight
        if done >= share * (len(spans) + 1) - 1e-9 or layer == layers - 1:
            spans.append((start, layer + 1))
            start = layer + 1
    return spans
