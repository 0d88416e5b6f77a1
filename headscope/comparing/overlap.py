"""How many of the top heads two runs share, and how many chance would."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import hypergeom

from headscope import statistics
from headscope.comparing.correlation import LEVEL, resampled
from headscope.comparing.draws import Draws
from headscope.statistics.ranks import By, size, top


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The top k heads of two runs.

    Attributes:
        k: how many heads of each run.
        shared: how many are in both.
        jaccard: shared heads over heads in either: 1 for equal sets, 0 for none shared.
        jaccard_low, jaccard_high: where it lies in 95 % of resamples.
        chance: its expectation for two sets of k heads drawn at random.
        chance_p: how likely so many shared heads, or more, are by chance.
    """

    k: int
    shared: int
    jaccard: float
    chance: float
    chance_p: float
    jaccard_low: float = float("nan")
    jaccard_high: float = float("nan")


def by_chance(heads: int, k: int) -> float:
    """The expected Jaccard index of two sets of k of so many heads, drawn independently and uniformly.

    Args:
        heads: how many there are.
        k: how many are drawn, 1 to `heads`.

    Example:
        >>> by_chance(2, 1), round(by_chance(144, 4), 4)
        (0.5, 0.016)
    """
    shared = np.arange(k + 1)
    return float((hypergeom.pmf(shared, heads, k, k) * shared / (2 * k - shared)).sum())


def overlap(
    means: tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"]],
    values: tuple[Float[np.ndarray, "first head"], Float[np.ndarray, "second head"]] | None,
    draws: tuple[Draws, Draws] | None,
    *,
    k: int,
    by: By,
) -> Overlap:
    """The overlap of the top k heads of two runs.

    Args:
        means: of both runs, over heads that both have a number for.
        values: the per-example values behind them; None where they were not kept.
        draws: how examples are drawn, for both runs; None where that is not known.
        k: how many heads, 1 to all.
        by: "magnitude" or "value", what makes a head large.

    Returns:
        The interval is NaN without values or draws, and with one group; it always holds the index itself.

    Example:
        >>> found = overlap((np.array([3.0, 2.0, 0.0]), np.array([3.0, 0.0, -4.0])), None, None, k=2, by="magnitude")
        >>> found.shared, round(found.jaccard, 3)
        (1, 0.333)
    """
    chosen = [top(size(each[None], by), k) for each in means]
    shared = int((chosen[0] & chosen[1]).sum())
    low = high = float("nan")
    jaccard = shared / (2 * k - shared)
    if values is not None and draws is not None and min(len(each.boot) for each in draws):
        parts = zip(values, means, draws, strict=True)
        boot = [top(size(resampled(own, drawn.boot, mean), by), k) for own, mean, drawn in parts]
        drawn = (boot[0] & boot[1]).sum(axis=1)
        tail = (1 - statistics.expanded_level(LEVEL, min(each.count for each in draws))) / 2
        indices = drawn / (2 * k - drawn)
        low = min(float(np.quantile(indices, tail, method="lower")), jaccard)
        high = max(float(np.quantile(indices, 1 - tail, method="higher")), jaccard)
    heads = len(means[0])
    return Overlap(
        k=k, shared=shared, jaccard=jaccard, jaccard_low=low, jaccard_high=high,
        chance=by_chance(heads, k), chance_p=float(hypergeom.sf(shared - 1, heads, k, k)),
    )  # fmt: skip
