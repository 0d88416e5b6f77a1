"""What is counted when heads are counted, and random sets of as many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.models import Model

UNITS = ("head", "group")
Members = Int[np.ndarray, " _"]
"""A set of units, by number."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """Heads, or the groups of query heads that share a key and a value.

    Attributes:
        name: `head` or `group`.
        layer: the layer of each unit.
        index: its number within the layer.
        heads: which heads belong to it.
    """

    name: str
    layer: Int[np.ndarray, " unit"]
    index: Int[np.ndarray, " unit"]
    heads: Bool[Tensor, "unit layer head"]

    def __len__(self) -> int:
        return len(self.layer)

    @property
    def labels(self) -> list[str]:
        """`L5H1`, or `L5G1` for a group."""
        letter = "H" if self.name == "head" else "G"
        return [f"L{layer}{letter}{index}" for layer, index in zip(self.layer, self.index, strict=True)]

    def union(self, sets: Sequence[Members]) -> Bool[Tensor, "set layer head"]:
        """The heads of each set of units.

        Args:
            sets: of units, by number; a set may be empty.
        """
        chosen = torch.zeros(len(sets), *self.heads.shape[1:], dtype=torch.bool)
        for row, members in enumerate(sets):
            chosen[row] = self.heads[torch.from_numpy(np.asarray(members, dtype=np.int64))].any(0)
        return chosen


def units_of(model: Model, name: str = "head") -> Units:
    """The units of a model: its query heads, or its key/value groups (in most models each head is its own).

    Effects in models with grouped queries concentrate on single heads of a group, so both belong into a report
    (Venkatesh 2026, arXiv 2605.08853).

    Args:
        model: the model.
        name: `head` or `group`.

    Raises:
        UsageError: if there is no such unit.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> model = load(planted_model(Plant(), grid=Grid(1, 2), vocabulary=32, positions=32), device="cpu")
        >>> units_of(model).labels, units_of(model, "group").labels
        (['L0H0', 'L0H1'], ['L0G0', 'L0G1'])
    """
    if name not in UNITS:
        raise UsageError(f"unit {name!r}", f"one of: {', '.join(UNITS)}", "correct the unit")
    grid = model.grid
    groups = grid.heads if name == "head" else model.W_K.shape[1]
    each = grid.heads // groups
    layer, index = np.divmod(np.arange(grid.layers * groups), groups)
    heads = torch.zeros(len(layer), grid.layers, grid.heads, dtype=torch.bool)
    for row, (where, number) in enumerate(zip(layer.tolist(), index.tolist(), strict=True)):
        heads[row, where, number * each : (number + 1) * each] = True
    return Units(name=name, layer=layer, index=index, heads=heads)


def uniform_sets(units: Units, k: int, *, sets: int, rng: np.random.Generator) -> list[Members]:
    """Random sets of k units, all equally likely.

    Args:
        units: the model's units.
        k: of how many.
        sets: how many sets.
        rng: draws them.
    """
    return [rng.choice(len(units), k, replace=False) for _ in range(sets)]


def layer_matched_sets(units: Units, chosen: Members, *, sets: int, rng: np.random.Generator) -> list[Members]:
    """Random sets of other units, with as many in every layer as the chosen set has.

    A set that is chosen for its effects sits in the layers where effects are; against uniform sets alone, any set of
    those layers would look special. The chosen units are left out wherever a layer has enough others: a set that holds
    one link of a chain breaks it as well as the whole chain does, and would say nothing of the other heads.

    Args:
        units: the model's units.
        chosen: the set that is matched, by number.
        sets: how many sets.
        rng: draws them.

    Example:
        >>> units = Units(name="head", layer=np.array([0, 0, 1, 1]), index=np.array([0, 1, 0, 1]),
        ...               heads=torch.eye(4, dtype=torch.bool).view(4, 2, 2))
        >>> drawn = layer_matched_sets(units, np.array([0, 2]), sets=2, rng=np.random.default_rng(0))
        >>> [sorted(each.tolist()) for each in drawn]
        [[1, 3], [1, 3]]
    """
    places, counts = np.unique(units.layer[chosen], return_counts=True)
    pools = [np.flatnonzero(units.layer == place) for place in places]
    others = [np.setdiff1d(pool, chosen) for pool in pools]
    pools = [few if len(few) >= count else pool for few, pool, count in zip(others, pools, counts, strict=True)]
    return [
        np.concatenate([rng.choice(pool, count, replace=False) for pool, count in zip(pools, counts, strict=True)])
        for _ in range(sets)
    ]
