"""Do tasks share their few heads?"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from headscope.errors import UsageError
from headscope.few.outcome import Few

COLUMNS = ("one", "other", "shared", "jaccard", "low", "high", "chance")


def overlaps(found: Sequence[Few]) -> pd.DataFrame:
    """How far the top heads of tasks are the same: the Jaccard index of each two sets.

    Intervals: 2.5 to 97.5 % over resamples of both tasks' selecting halves, in which heads are chosen anew.

    Args:
        found: results of one model; tasks that it fails are left out.

    Returns:
        A row for each two tasks: the heads that both have (`shared`), the Jaccard index with its interval, and what it
        would be by chance for sets of these sizes. Cost: no forward passes.

    Raises:
        UsageError: if the results count different units.

    Example:
        >>> overlaps([]).columns.tolist()
        ['one', 'other', 'shared', 'jaccard', 'low', 'high', 'chance']
    """
    able = [each for each in found if len(each.heads)]
    sizes = {(each.unit, len(each.heads)) for each in able}
    if len(sizes) > 1:
        given = ", ".join(f"{size} {unit}s" for unit, size in sorted(sizes))
        raise UsageError(f"results over {given}", "results of one model and unit", "give those of one run")
    return pd.DataFrame([_row(one, other) for one, other in combinations(able, 2)], columns=list(COLUMNS))


def _row(one: Few, other: Few) -> tuple:
    tops = [set(each.heads["label"][: each.facts["k"]]) for each in (one, other)]
    units = len(one.heads)
    names = [label for label in one.heads["label"] if label in tops[0] & tops[1]]
    drawn = [
        _jaccard(set(mine), set(theirs)) for mine, theirs in zip(one.facts["draws"], other.facts["draws"], strict=False)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    shown = f"{one.task}", f"{other.task}", " ".join(names), _jaccard(*tops)
    return *shown, float(low), float(high), chance(len(tops[0]), len(tops[1]), units)


def _jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other)


def chance(one: int, other: int, units: int) -> float:
    """The expected Jaccard index of two unrelated sets.

    Args:
        one: the size of the first.
        other: the size of the second.
        units: how many they are drawn from.

    Example:
        >>> round(chance(3, 3, 96), 4), chance(4, 4, 4)
        (0.0189, 1.0)
    """
    shared = np.arange(min(one, other) + 1)
    return float((hypergeom.pmf(shared, units, one, other) * shared / (one + other - shared)).sum())
