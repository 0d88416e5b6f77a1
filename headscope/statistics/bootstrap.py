"""Group bootstrap of the means of all heads at once, with shared resamples."""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit

from headscope.errors import UsageError
from headscope.statistics.groups import check_level, check_values, generator, groups_with_data, labels


def resamples(
    groups: Int[np.ndarray, " example"], *, seed: int, n_resamples: int = 2000
) -> Float[np.ndarray, "resample example"]:
    """How often each example is drawn in each resample of a group bootstrap.

    As many groups as there are, drawn with replacement; a group brings all its examples. One seed gives one set
    of draws, whatever the heads or methods that it is applied to: that is what makes differences and ranks
    comparable within a resample. Source: Davison and Hinkley 1997, section 3.8 (hierarchical data: whole
    clusters are drawn).

    Args:
        groups: the group of every example.
        seed: of the draws.
        n_resamples: how many resamples.

    Returns:
        Whole numbers as floats, ready to multiply.

    Raises:
        UsageError: without examples, or with fewer than one resample.

    Example:
        >>> weights = resamples(np.array([7, 7, 9]), seed=0, n_resamples=100)
        >>> weights.shape, bool((weights[:, 0] == weights[:, 1]).all())
        ((100, 3), True)
    """
    if n_resamples < 1:
        raise UsageError(f"n_resamples {n_resamples}", "1 or more; 2000 by default", "ask for more resamples")
    label, count = labels(groups)
    drawn = generator(seed, "bootstrap").multinomial(count, np.full(count, 1 / count), size=n_resamples)
    return drawn[:, label].astype(float)


def bootstrap_means(
    values: Float[np.ndarray, "example head"], weights: Float[np.ndarray, "resample example"]
) -> Float[np.ndarray, "resample head"]:
    """The mean of every head in every resample, over the examples that say something of the head.

    A ratio of weighted sums, so that groups of unequal size and missing values count as they do in the sample.
    NaN where a resample drew no example of a head. Cost: one matrix product, two where heads miss different
    examples.

    Raises:
        UsageError: if a value is infinite.

    Example:
        >>> bootstrap_means(np.array([[1.0], [4.0]]), np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
        [[1.0], [2.5]]
    """
    check_values(values)
    present = ~np.isnan(values)
    totals = weights @ np.where(present, values, 0).astype(float)
    alike = values.shape[1] > 0 and bool((present == present[:, :1]).all())
    counts = weights @ (present[:, :1] if alike else present).astype(float)
    with np.errstate(invalid="ignore"):
        return totals / np.where(counts > 0, counts, np.nan)


def means(values: Float[np.ndarray, "example head"]) -> Float[np.ndarray, " head"]:
    """The mean of every head over the examples that say something of it; NaN where none does.

    Example:
        >>> means(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
        [2.0, nan]
    """
    return bootstrap_means(values, np.ones((1, len(values))))[0]


def expanded_level(level: float, groups: int) -> float:
    """The percentile level that gives a bootstrap of a mean over few groups the coverage that it claims.

    With G groups a plain percentile interval is too narrow, by sqrt((G - 1) / G) and by the difference between
    Gaussian and Student quantiles (with 8 groups a "95 %" interval covers about 88 %). Taking wider percentiles
    mends it, and changes nothing where groups are many. Source: Hesterberg 2015, "What teachers should know
    about the bootstrap", section 5.3 (expanded percentile interval).

    Args:
        level: the coverage wanted.
        groups: how many independent groups there are; 2 or more.

    Returns:
        The level to use in its place, between `level` and 1, and below 1 even where 2 groups round it up.

    Example:
        >>> round(expanded_level(0.95, 8), 3), round(expanded_level(0.95, 1000), 3), expanded_level(0.95, 2) < 1
        (0.989, 0.95, True)
    """
    check_level(level)
    if groups < 2:
        raise UsageError(f"{groups} group", "2 or more groups", "an interval needs more than one group")
    deviate = np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, (1 + level) / 2)
    return min(float(2 * ndtr(deviate) - 1), math.nextafter(1.0, 0.0))


def interval(
    values: Float[np.ndarray, "example head"],
    groups: Int[np.ndarray, " example"],
    *,
    seed: int,
    level: float = 0.95,
    n_resamples: int = 2000,
    expand: bool = True,
) -> tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"]]:
    """A confidence interval of every head's mean, by percentiles of a group bootstrap.

    Args:
        values: one number per example and head; NaN where there is none.
        groups: examples of equal number are drawn together.
        seed: of the draws, shared by all heads.
        level: the coverage wanted.
        n_resamples: how many resamples.
        expand: widen for few groups (see `expanded_level`); False gives the plain percentile interval.

    Returns:
        The lower and the upper limit. NaN where fewer than two groups say something of a head.

    Raises:
        UsageError: for infinite values, no examples, or a level outside 0-1.

    Example:
        >>> low, high = interval(np.arange(20.0)[:, None], np.arange(20), seed=0)
        >>> bool(low[0] < 9.5 < high[0])
        True
    """
    check_level(level)
    boot = bootstrap_means(values, resamples(groups, seed=seed, n_resamples=n_resamples))
    return percentiles(boot, groups_with_data(values, groups), level, expand=expand)


def percentiles(
    boot_means: Float[np.ndarray, "resample head"], counts: Int[np.ndarray, " head"], level: float, *, expand: bool
) -> tuple[Float[np.ndarray, " head"], Float[np.ndarray, " head"]]:
    limits = np.full((2, boot_means.shape[1]), np.nan)
    for count in np.unique(counts[counts >= 2]).tolist():
        heads = counts == count
        used = expanded_level(level, count) if expand else level
        limits[:, heads] = quantiles(boot_means[:, heads], [(1 - used) / 2, (1 + used) / 2], "linear")
    return limits[0], limits[1]


def quantiles(
    draws: Float[np.ndarray, "resample head"], tails: list[float], method: Literal["linear", "lower", "higher"]
) -> Float[np.ndarray, "tail head"]:
    found = np.quantile(draws, tails, axis=0, method=method)
    # NaN-aware quantiles are slow, so they are taken only where a resample missed a head.
    holed = np.isnan(draws).any(axis=0) & ~np.isnan(draws).all(axis=0)
    if holed.any():
        found[:, holed] = np.nanquantile(draws[:, holed], tails, axis=0, method=method)
    return found
