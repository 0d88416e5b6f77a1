"""How far an approximation of every head's effect goes together with the exact values of the same run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from headscope.errors import UsageError
from headscope.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """An approximation against exact values, head by head, on means over examples.

    Attributes:
        heads: how many heads have both.
        spearman: rank correlation of the signed means; NaN where one of the two does not vary.
        spearman_size: the same of their sizes.
        top: how many of the largest heads (by size) are compared.
        shared: how many of the exact top are in the approximate top.
        missed: the largest exact head that is not in the approximate top; None where there is none.
        missed_rank: which place the approximation gives it, from 1.
        worst: the head whose two values are furthest apart.
        approximate, exact: its two values.
    """

    heads: int
    spearman: float
    spearman_size: float
    top: int
    shared: int
    missed: str | None
    missed_rank: int | None
    worst: str
    approximate: float
    exact: float

    def describe(self) -> str:
        """In a line for people."""
        missed = f"; {self.missed} of it is only no. {self.missed_rank}" if self.missed else ""
        return (
            f"rank correlation {self.spearman:.2f} (sizes {self.spearman_size:.2f}) over {self.heads} heads; "
            f"{self.shared} of the top {self.top} found{missed}; "
            f"furthest off {self.worst}: {self.approximate:.3g}, exact {self.exact:.3g}"
        )


def agreement(
    attributed: Float[Tensor, "example layer head"], exact: Float[Tensor, "example layer head"], *, top: int = 10
) -> Agreement:
    """Compare an approximation with the exact values, wherever a run has both.

    Args:
        attributed: such as `attribution(...)["denoising"]`.
        exact: such as `patching(...)["denoising"]`, of the same examples.
        top: how many of the largest heads are to be found; at most as many as there are.

    Returns:
        Rank correlation, the top heads that were found and the worst misses. Heads without a value are left out.

    Raises:
        UsageError: if the two differ in shape, no head has both, or `top` is below 1.

    Example:
        >>> exact = torch.tensor([[[4.0, -3.0, 0.1]]])
        >>> print(agreement(torch.tensor([[[2.0, 0.0, 0.2]]]), exact, top=2).describe().replace("; ", "\\n"))
        rank correlation 1.00 (sizes 0.50) over 3 heads
        1 of the top 2 found
        L0H1 of it is only no. 3
        furthest off L0H1: 0, exact -3
    """
    if attributed.shape != exact.shape or top < 1:
        given = f"values {tuple(attributed.shape)} and {tuple(exact.shape)}, top {top}"
        raise UsageError(
            given, "two arrays [example, layer, head] of one shape, and at least 1", "give both for one run"
        )
    rough, true = (_means(each) for each in (attributed, exact))
    both = ~(np.isnan(rough) | np.isnan(true))
    if not both.any():
        raise UsageError("no head with both values", "at least one", "see why they are NaN")
    grid = Grid(layers=exact.shape[1], heads=exact.shape[2])
    names = [grid.label(*place) for place, kept in zip(grid, both.ravel(), strict=True) if kept]
    rough, true = rough[both], true[both]
    top = min(top, len(names))
    places = {int(head): place for place, head in enumerate((-np.abs(rough)).argsort(kind="stable"), start=1)}
    wanted = (-np.abs(true)).argsort(kind="stable")[:top].tolist()
    missed = [head for head in wanted if places[head] > top]
    worst = int(np.abs(rough - true).argmax())
    return Agreement(
        heads=len(names), top=top, shared=top - len(missed),
        spearman=_spearman(rough, true), spearman_size=_spearman(np.abs(rough), np.abs(true)),
        missed=names[missed[0]] if missed else None, missed_rank=places[missed[0]] if missed else None,
        worst=names[worst], approximate=float(rough[worst]), exact=float(true[worst]),
    )  # fmt: skip


def agreements(examples: Mapping[str, Float[Tensor, "example layer head"]]) -> list[dict[str, Any]]:
    """How far attribution agrees with exact patching, for every task and direction of which a run has both.

    Args:
        examples: `task.method.score` -> per-example values, as a run holds them.

    Returns:
        A record for each: task, direction, the line for people, and every number of `Agreement`.

    Example:
        >>> values = torch.tensor([[[4.0, -3.0]]])
        >>> found = agreements({"ioi.patching.noising": values, "ioi.attribution.noising": values})
        >>> [(line["task"], line["direction"], round(line["spearman"], 3)) for line in found]
        [('ioi', 'noising', 1.0)]
    """
    found = []
    for name, exact in examples.items():
        task, _, direction = name.partition(".patching.")
        rough = examples.get(f"{task}.attribution.{direction}")
        if rough is not None and bool((~(rough + exact).isnan()).any()):
            measured = agreement(rough, exact)
            found.append({"task": task, "direction": direction, "text": measured.describe(), **asdict(measured)})
    return found


def _means(values: Float[Tensor, "example layer head"]) -> Float[np.ndarray, "layer head"]:
    return torch.nanmean(values.double().cpu(), 0).numpy()


def _spearman(one: Float[np.ndarray, " head"], other: Float[np.ndarray, " head"]) -> float:
    if min(np.ptp(one), np.ptp(other)) == 0:
        return float("nan")
    return round(float(np.corrcoef(rankdata(one), rankdata(other))[0, 1]), 12)
