"""What a table of per-head numbers says of concentration: shares of the largest, and how many make up a share.

Concentration of numbers that were also used to choose the heads proves nothing: the top 3 % of heads carry 78 % of the
positive indirect effect in a GPT-2 with random weights, and 71 % in the trained one. What tells them apart needs a
model, a held-out half and controls: `headscope.few.few_heads`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headscope.errors import UsageError

CLAIM = 0.03
"""The published "about 3 % of heads" (arXiv 2605.27824): a budget that its authors chose, not an estimate."""


def claimed(heads: int, share: float = CLAIM) -> int:
    """How many heads a share of them is: the nearest whole number, and at least one.

    Args:
        heads: how many there are.
        share: of them.

    Example:
        >>> [claimed(heads) for heads in (16, 96, 144, 1024, 1600)]
        [1, 3, 4, 31, 48]
    """
    return max(1, round(share * heads))


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentration:
    """How far few of the heads make up the sum of all.

    Attributes:
        heads: how many heads have a number.
        k: how many of them were asked about.
        share: the sum of the k largest positive numbers, as a part of the sum of all positive ones; NaN if none is.
        smallest: the target shares with the smallest number of heads that reaches each; NaN where none is positive.
        over: how many heads are at or above the threshold; None without one.
    """

    heads: int
    k: int
    share: float
    smallest: dict[float, int | float]
    over: int | None

    @property
    def share_over(self) -> float:
        """The heads at or above the threshold, as a part of all heads; NaN without a threshold."""
        return float("nan") if self.over is None else self.over / self.heads


def concentration(
    values: Float[np.ndarray, "*head"],
    *,
    k: int | None = None,
    targets: Iterable[float] = (0.5, 0.8, 0.9),
    threshold: float | None = None,
) -> Concentration:
    """Shares of a table of per-head numbers, such as a paper publishes.

    Only positive numbers are summed, as for the natural indirect effects of Vig et al. 2020; NaN is left out.

    Args:
        values: one number per head, in any shape.
        k: how many heads to ask about; None: 3 % of them.
        targets: shares of the sum, above 0 and up to 1.
        threshold: count the heads that reach it, as Wu et al. 2024 do for retrieval heads with .1.

    Raises:
        UsageError: if no head has a number, k is not among the heads, or a target is no share.

    Example:
        >>> found = concentration(np.array([[6.0, 0.0, -1.0], [3.0, 1.0, 0.0]]), k=1, threshold=1.0)
        >>> found.share, found.smallest, found.over, found.share_over
        (0.6, {0.5: 1, 0.8: 2, 0.9: 2}, 3, 0.5)
    """
    numbers = values[~np.isnan(values)]
    wanted = list(targets)
    if not len(numbers):
        raise UsageError("a table without a number for any head", "at least one", "give one number per head")
    k = claimed(len(numbers)) if k is None else k
    if not 1 <= k <= len(numbers) or not all(0 < target <= 1 for target in wanted):
        given = f"k {k} and targets {', '.join(map(str, wanted))} for {len(numbers)} heads"
        raise UsageError(given, f"k from 1 to {len(numbers)}, targets above 0 and up to 1", "write 0.9 for 90 %")
    parts = np.cumsum(np.sort(np.clip(numbers, 0, None))[::-1])
    total = parts[-1]
    return Concentration(
        heads=len(numbers),
        k=k,
        share=float(parts[k - 1] / total) if total > 0 else float("nan"),
        smallest={target: _first(parts, target * total) if total > 0 else float("nan") for target in wanted},
        over=None if threshold is None else int((numbers >= threshold).sum()),
    )


def _first(parts: Float[np.ndarray, " head"], wanted: float) -> int:
    # Sums that are equal on paper differ in their last bits, and must count as reached.
    return int(np.argmax(parts >= wanted * (1 - 1e-12))) + 1


def sweep_sizes(heads: int, *, shares: Iterable[float] = (), up_to: int = 10) -> Int[np.ndarray, " size"]:
    """The numbers of heads that a curve is measured at: the nearest to each share, and every one up to a few.

    Args:
        heads: how many there are.
        shares: of them.
        up_to: every single number up to here.

    Example:
        >>> sweep_sizes(96, shares=(0.05, 0.2, 1.0), up_to=3).tolist()
        [1, 2, 3, 5, 19, 96]
    """
    sizes = {claimed(heads, share) for share in shares} | set(range(1, min(up_to, heads) + 1))
    return np.array(sorted(min(size, heads) for size in sizes))
