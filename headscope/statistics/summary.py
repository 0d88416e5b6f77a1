"""Everything that is said of every head's mean, in one frame."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from headscope.statistics.bootstrap import acceleration, bootstrap_means, expanded_level, means, percentiles, resamples
from headscope.statistics.groups import check_level, groups_with_data
from headscope.statistics.ranks import By, rank_intervals
from headscope.statistics.significance import benjamini_hochberg, sign_flip


def summarise(
    values: Float[np.ndarray, "example head"],
    groups: Int[np.ndarray, " example"],
    *,
    seed: int,
    level: float = 0.95,
    n_resamples: int = 2000,
    rank_by: By = "magnitude",
) -> pd.DataFrame:
    """All that is said of every head's mean: interval, test, rank and share, one row per head.

    Args:
        values: one number per example and head; NaN where there is none.
        groups: examples of equal number are resampled together.
        seed: of the resamples and flips; equal seeds and groups share them across methods and scores.
        level: of the intervals.
        n_resamples: how many resamples.
        rank_by: "magnitude" for signed effects, "value" for scores of which only high values matter.

    Returns:
        A frame in the heads' order with the columns value (the mean), low, high (its interval), n (examples with
        data), groups (groups with data), p (sign-flip, against 0), q (Benjamini-Hochberg over these heads), rank,
        rank_low, rank_high, and share (the mean's size as a part of the sum of all heads' sizes). What is absent
        is NaN: all of it for a head without data; limits for a head with fewer than two groups.

    Raises:
        UsageError: for infinite values, no examples, or a level outside 0-1.

    Example:
        >>> frame = summarise(np.array([[2.0, 0.1], [3.0, -0.1], [2.5, 0.0]]), np.arange(3), seed=0)
        >>> frame["value"].tolist(), frame["rank"].tolist(), frame["p"].tolist()
        ([2.5, 0.0], [1.0, 2.0], [0.25, 1.0])
    """
    check_level(level)
    boot = bootstrap_means(values, resamples(groups, seed=seed, n_resamples=n_resamples))
    value, counts = means(values), groups_with_data(values, groups)
    low, high = percentiles(boot, counts, level, expand=True, acceleration=acceleration(values, groups))
    most = int(counts.max(initial=0))
    rank, rank_low, rank_high = rank_intervals(
        value, boot, level=expanded_level(level, most) if most >= 2 else level, by=rank_by
    )
    p = sign_flip(values, groups, seed=seed)
    total = np.nansum(np.abs(value))
    columns = {
        "value": value,
        "low": low,
        "high": high,
        "n": (~np.isnan(values)).sum(axis=0),
        "groups": counts,
        "p": p,
        "q": benjamini_hochberg(p),
        "rank": rank,
        "rank_low": np.where(counts >= 2, rank_low, np.nan),
        "rank_high": np.where(counts >= 2, rank_high, np.nan),
        "share": np.abs(value) / (total if total > 0 else np.nan),
    }
    return pd.DataFrame(columns)
