"""Ranks of the heads, and how far they hold when the examples are resampled."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from headscope.errors import UsageError
from headscope.statistics.bootstrap import quantiles
from headscope.statistics.groups import check_level

By = Literal["magnitude", "value"]
"""What makes a head large: the size of its effect whatever the sign, or its value."""


def rank_intervals(
    values: Float[np.ndarray, " head"],
    boot_means: Float[np.ndarray, "resample head"],
    *,
    level: float = 0.95,
    by: By = "magnitude",
) -> tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"], Float[np.ndarray, " head"]]:
    """The rank of every head (1 is the largest) and where it lies in `level` of the resamples.

    Heads are ranked within each resample, so their common noise cancels. Equal heads share the best of their
    ranks as point rank, and their intervals span all the ranks that they share; an interval always holds its
    point rank.

    Args:
        values: the full-sample means.
        boot_means: the means in every resample, from `bootstrap_means`.
        level: the part of the resamples that an interval holds.
        by: "magnitude" ranks by the size of the effect, "value" by the value itself.

    Returns:
        Rank, lowest and highest rank, as whole numbers in floats. NaN for a head without data.

    Example:
        >>> boot = np.array([[3.0, 1.0, -2.0], [3.0, 2.0, 1.0]])
        >>> [list(map(int, ranks)) for ranks in rank_intervals(boot.mean(axis=0), boot)]
        [[1, 2, 3], [1, 2, 2], [1, 3, 3]]
    """
    check_level(level)
    absent = np.isnan(values)
    rank = np.where(absent, np.nan, rankdata(-size(values, by), method="min"))
    drawn_absent = np.isnan(boot_means)
    first = np.where(drawn_absent, np.nan, rankdata(-size(boot_means, by), method="min", axis=1))
    last = np.where(drawn_absent, np.nan, rankdata(-size(boot_means, by), method="max", axis=1))
    # An interval that left out its own point estimate would only puzzle.
    low = np.fmin(quantiles(first, [(1 - level) / 2], "lower")[0], rank)
    high = np.fmax(quantiles(last, [(1 + level) / 2], "higher")[0], rank)
    return rank, np.where(absent, np.nan, low), np.where(absent, np.nan, high)


def top_k_stability(
    values: Float[np.ndarray, " head"], boot_means: Float[np.ndarray, "resample head"], *, k: int, by: By = "magnitude"
) -> float:
    """How far resampling the examples changes which heads are the top k: the mean Jaccard index with the sample's.

    1 means that every resample picks the same k heads; unrelated picks of k out of H share about k / (2 H - k).

    Raises:
        UsageError: if k is not between 1 and the number of heads with data.

    Example:
        >>> top_k_stability(np.array([3.0, 2.0, 1.0]), np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]), k=2)
        0.6666666666666666
    """
    present = int((~np.isnan(values)).sum())
    if not 1 <= k <= present:
        raise UsageError(f"k {k}", f"1 to {present}, the heads that have data", "ask for fewer heads")
    chosen = top(size(values, by)[None], k)
    shared = (chosen & top(size(boot_means, by), k)).sum(axis=1)
    return float((shared / (2 * k - shared)).mean())


def size(values: Float[np.ndarray, "*shape"], by: By) -> Float[np.ndarray, "*shape"]:
    # -inf ranks what is absent last, so that it moves no other head.
    return np.nan_to_num(np.abs(values) if by == "magnitude" else values, nan=-np.inf, posinf=None, neginf=None)


def top(size: Float[np.ndarray, "resample head"], k: int) -> Bool[np.ndarray, "resample head"]:
    order = np.argsort(-size, axis=1, kind="stable")
    chosen = np.zeros(size.shape, dtype=bool)
    np.put_along_axis(chosen, order[:, :k], True, axis=1)
    return chosen
