"""Two halves of the examples: heads are selected on one and measured on the other."""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from headscope import statistics
from headscope.errors import UsageError
from headscope.few.order import spread_order
from headscope.prompts import Pairs

LEAST = 5
"""Groups that each half must have; fewer give no interval worth the name."""


class Halves(NamedTuple):
    """Examples that share no group and no prompt."""

    select: Pairs
    measure: Pairs


def split(pairs: Pairs, *, seed: int) -> Halves:
    """Two halves of the examples, by group.

    Args:
        pairs: the examples.
        seed: of the halves.

    Raises:
        UsageError: if one prompt is in both halves, which would let the selection leak into the measurement, or there
            are too few groups.

    Example:
        >>> tokens = torch.arange(24).view(12, 2)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + 1, mask=tokens >= 0, groups=torch.arange(12),
        ...               answers=tokens[:, :1], foils=tokens[:, 1:])
        >>> [len(half) for half in split(pairs, seed=0)]
        [6, 6]
    """
    groups = pairs.groups.cpu().numpy()
    count = len(np.unique(groups))
    if count < 2 * LEAST:
        raise UsageError(
            f"task {pairs.task!r}: {len(pairs)} pairs of {count} groups",
            f"{2 * LEAST} groups or more ({LEAST} to select heads on, {LEAST} to measure them on), and some 100 pairs "
            "in each half for intervals that decide anything",
            "ask for more pairs with -n, or give pairs of more templates or sentences",
        )
    first, second = statistics.halves(groups, seed=seed)
    _refuse_leaks(pairs, first, second)
    return Halves(*(pairs.select(torch.from_numpy(half)) for half in (first, second)))


def spread(pairs: Pairs, count: int, *, seed: int) -> Int[np.ndarray, " example"]:
    """Some of the examples, with their share of every group.

    Args:
        pairs: all of them.
        count: how many, at most.
        seed: another seed, others.
    """
    names = [repr(_name(pairs, row)) for row in range(len(pairs))]
    return np.sort(spread_order(names, pairs.groups.cpu().numpy(), seed=seed)[:count])


def _refuse_leaks(pairs: Pairs, first: np.ndarray, second: np.ndarray) -> None:
    names = [_name(pairs, row) for row in range(len(pairs))]
    shared = {names[row] for row in first} & {names[row] for row in second}
    if shared:
        rows = [row for row in range(len(pairs)) if names[row] in shared]
        example = f", such as {pairs.texts[rows[0]]!r}" if pairs.texts else ""
        raise UsageError(
            f"task {pairs.task!r}: {len(shared)} prompts that are in both halves (pairs {_listed(rows)}{example})",
            "halves that share no prompt: heads selected on a prompt and measured on it again always look good",
            "drop the duplicates, or give equal prompts the same group, which keeps them in one half",
        )


def _name(pairs: Pairs, row: int) -> Hashable:
    return tuple(pairs.tokens[row][pairs.mask[row]].tolist())


def _listed(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:6])) + (", ..." if len(rows) > 6 else "")
