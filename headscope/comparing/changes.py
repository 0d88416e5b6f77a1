"""Which heads changed from one run to another: the difference of each head's mean effects, with interval and test."""

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from headscope import statistics
from headscope.comparing.correlation import LEVEL
from headscope.comparing.draws import Draws
from headscope.statistics.bootstrap import percentiles
from headscope.statistics.groups import group_sums, groups_with_data

TESTED = ("low", "high", "n", "p", "q")
SHUFFLES = 19_999
_CHUNK = 2048


def paired(
    one: Float[np.ndarray, "example head"], other: Float[np.ndarray, "example head"], draws: Draws, *, seed: int
) -> pd.DataFrame:
    """The second run less the first, on the same prompts: means of differences, with a sign-flip test by groups.

    Args:
        one: per example and head, of the first run.
        other: of the second run; an example counts for a head where both runs say something of it.
        draws: of the prompts that both share.
        seed: of resamples and flips.

    Returns:
        One row per head: difference, its 95 % group-bootstrap interval, n, p and q (Benjamini-Hochberg over heads).

    Example:
        >>> from headscope.comparing.draws import draw
        >>> frame = paired(np.zeros((6, 1)), np.ones((6, 1)), draw(np.arange(6), seed=0), seed=0)
        >>> frame[["difference", "n", "p"]].to_numpy().tolist()
        [[1.0, 6.0, 0.03125]]
    """
    frame: Any = statistics.summarise(other - one, draws.groups, seed=seed)
    return frame.rename(columns={"value": "difference"})[["difference", *TESTED]]


def unpaired(
    one: Float[np.ndarray, "first head"],
    other: Float[np.ndarray, "second head"],
    draws: tuple[Draws, Draws],
    *,
    seed: int,
) -> pd.DataFrame:
    """The second run less the first, on other prompts: differences of means, with a permutation test by groups.

    Args:
        one: per example and head, of the first run.
        other: of the second run.
        draws: of both runs' prompts, independent of one another.
        seed: of the permutations.

    Returns:
        As `paired`; n is that of the run with fewer examples.

    Example:
        >>> from headscope.comparing.draws import draw
        >>> drawn = draw(np.arange(4), seed=0), draw(np.arange(5), seed=1)
        >>> frame = unpaired(np.array([[0.0], [1], [2], [3]]), np.array([[9.0], [8], [7], [6], [5]]), drawn, seed=0)
        >>> frame[["difference", "n", "p"]].round(4).to_numpy().tolist()
        [[5.5, 4.0, 0.0079]]
    """
    sides = one, other
    difference = statistics.means(other) - statistics.means(one)
    counts = np.minimum(*(groups_with_data(values, drawn.groups) for values, drawn in zip(sides, draws, strict=True)))
    low = high = np.full(len(difference), np.nan)
    if min(len(each.boot) for each in draws):
        boot = [statistics.bootstrap_means(values, drawn.boot) for values, drawn in zip(sides, draws, strict=True)]
        low, high = percentiles(boot[1] - boot[0], counts, LEVEL, expand=True)
    p = permuted(one, other, draws[0].groups, draws[1].groups, seed=seed)
    columns = {
        "difference": difference, "low": low, "high": high,
        "n": np.minimum(*((~np.isnan(values)).sum(axis=0) for values in sides)),
        "p": p, "q": statistics.benjamini_hochberg(p),
    }  # fmt: skip
    return pd.DataFrame(columns)


def permuted(
    one: Float[np.ndarray, "first head"],
    other: Float[np.ndarray, "second head"],
    groups_one: Int[np.ndarray, " first"],
    groups_other: Int[np.ndarray, " second"],
    *,
    seed: int,
    shuffles: int = SHUFFLES,
) -> Float[np.ndarray, " head"]:
    """Two-sided p-values of "this head's mean is the same in both runs", shuffling whole groups between the runs.

    The statistic is studentised (Welch's t for groups of one example), so that the test holds for means even where the
    two runs differ in spread: Janssen 1997; Chung and Romano 2013. Exact by all splits where there are no more than
    `shuffles`, else (b + 1) / (n + 1).

    Args:
        one: per example and head, of the first run.
        other: of the second run.
        groups_one: the groups of the first run's examples.
        groups_other: of the second run's.
        seed: of the shuffles, shared by all heads.
        shuffles: how many at most.

    Returns:
        NaN where a run has fewer than two groups with data for a head.

    Example:
        >>> low, high = np.array([[0.0], [1.0], [2.0]]), np.array([[7.0], [8.0], [9.0]])
        >>> permuted(low, high, np.arange(3), np.arange(3), seed=0).tolist()
        [0.1]
    """
    known = (groups_with_data(one, groups_one) >= 2) & (groups_with_data(other, groups_other) >= 2)
    # Centred, because the variance below is a difference of sums of squares.
    middle = statistics.means(np.concatenate([one, other]))
    pooled = [_by_group(values - middle, groups) for values, groups in ((one, groups_one), (other, groups_other))]
    sums, counts = (np.concatenate([side[part] for side in pooled]) for part in (0, 1))
    moments = sums, counts, sums**2, sums * counts, counts**2
    first = len(pooled[0][0])
    observed = np.abs(_t(_membership(np.arange(first)[None], len(sums)), moments))[0]
    with np.errstate(invalid="ignore"):
        observed = observed - 1e-9 * np.where(np.isinf(observed), 0, observed)  # equal on paper must count as equal
    extreme, total = np.zeros(sums.shape[1], dtype=np.int64), 0
    for chosen in _splits(first, len(sums), shuffles, seed):
        extreme += (np.abs(_t(_membership(chosen, len(sums)), moments)) >= observed).sum(axis=0)
        total += len(chosen)
    exact = comb(len(sums), first) <= shuffles
    p = extreme / total if exact else (extreme + 1) / (total + 1)
    return np.where(known, p, np.nan)


def _by_group(
    values: Float[np.ndarray, "example head"], groups: Int[np.ndarray, " example"]
) -> tuple[Float[np.ndarray, "group head"], Float[np.ndarray, "group head"]]:
    present = ~np.isnan(values)
    return group_sums(np.where(present, values, 0.0), groups), group_sums(present.astype(float), groups)


def _splits(first: int, groups: int, shuffles: int, seed: int) -> Iterator[Int[np.ndarray, "split first"]]:
    """Which groups go to the first run, in chunks [split, first]: all ways where there are few, else random ones."""
    if comb(groups, first) <= shuffles:
        every = np.array(list(combinations(range(groups), first)))
        yield from np.array_split(every, -(-len(every) // _CHUNK))
        return
    rng = np.random.default_rng(seed)
    for start in range(0, shuffles, _CHUNK):
        yield rng.random((min(_CHUNK, shuffles - start), groups)).argpartition(first - 1, axis=1)[:, :first]


def _membership(chosen: Int[np.ndarray, "split first"], groups: int) -> Bool[np.ndarray, "split group"]:
    member = np.zeros((len(chosen), groups), dtype=bool)
    np.put_along_axis(member, chosen, True, axis=1)
    return member


def _t(
    member: Bool[np.ndarray, "split group"], moments: tuple[Float[np.ndarray, "group head"], ...]
) -> Float[np.ndarray, "split head"]:
    """The studentised difference of the two means of each head in each split."""
    whole = [moment.sum(axis=0) for moment in moments]
    inside = [member.astype(float) @ moment for moment in moments]
    sides = (inside, [total - part for total, part in zip(whole, inside, strict=True)])
    sizes = member.sum(axis=1, keepdims=True), (~member).sum(axis=1, keepdims=True)
    means, variance = [], np.zeros_like(inside[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        for (total, count, squares, products, counts), size in zip(sides, sizes, strict=True):
            mean = total / count
            # The variance of a ratio of sums over groups, which is that of a mean where every group has one example.
            spread = np.maximum(squares - 2 * mean * products + mean**2 * counts, 0) / count**2
            variance += spread * size / np.maximum(size - 1, 1)
            means.append(mean)
        scale = np.sqrt(whole[2] / np.maximum(whole[1], 1))
        difference = np.where(np.abs(means[1] - means[0]) > 1e-12 * scale, means[1] - means[0], 0.0)
        floor = (1e-9 * scale) ** 2
        return np.nan_to_num(difference / np.sqrt(np.maximum(variance, floor)), nan=0.0, posinf=np.inf, neginf=-np.inf)
