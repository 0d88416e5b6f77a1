"""Do the labels hold when the instances are split in other ways?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from headscope.grid import Grid
from headscope.roles.judge import adjusted, decide, passes
from headscope.roles.table import UNASSIGNED
from headscope.roles.tally import Tally

STABILITY_COLUMNS = ("seed", "swapped", "labels", "shared", "jaccard")
"""Of the table of stability, one row for each other split."""

Label = tuple[str, str, int, int]


def stability(
    tallies: Sequence[Tally], labels: pd.DataFrame, *, grid: Grid, seed: int, seeds: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How often each label comes again when baselines are chosen and heads are measured on other halves.

    The halves of the reported scores are swapped, and drawn again with further seeds, each in both directions. Halves
    of one sample overlap: this shows what depends on the split, not what another sample would give.

    Args:
        tallies: all cases of the study.
        labels: from `headscope.roles.label_heads`.
        grid: the model's layers and heads.
        seed: of the reported scores.
        seeds: how many further ones.

    Returns:
        The labels with the column `stability`, the share of the other splits in which the label comes again (NaN for
        `unassigned`); and a frame with the columns `STABILITY_COLUMNS`: for each other split how many labels it gives,
        how many of them are among the reported ones, and their Jaccard index (NaN where neither has any).
    """
    mine = {key for key in _keys(labels) if key[0] != UNASSIGNED}
    others = [(seed, True), *((seed + step, way) for step in range(1, seeds + 1) for way in (False, True))]
    found = [given(tallies, grid=grid, seed=other, swapped=way) for other, way in others]
    rows = [
        (other, way, len(each), len(each & mine), len(each & mine) / len(each | mine) if each | mine else np.nan)
        for (other, way), each in zip(others, found, strict=True)
    ]
    shares = [float(np.mean([key in each for each in found])) if key in mine else np.nan for key in _keys(labels)]
    return labels.assign(stability=shares), pd.DataFrame(rows, columns=pd.Index(STABILITY_COLUMNS))


def given(tallies: Sequence[Tally], *, grid: Grid, seed: int, swapped: bool) -> set[Label]:
    """The labels that one split gives, as (role, case, layer, head).

    Args:
        tallies: all cases of the study.
        grid: the model's layers and heads.
        seed: of the halves.
        swapped: choose on the second half and measure on the first.
    """
    decisions = [decide(each, seed=seed, swapped=swapped) for each in tallies]
    if not decisions:
        return set()
    return {
        (each.tally.about.role, each.tally.about.case, *divmod(int(unit), grid.heads))
        for each, q in zip(decisions, adjusted(decisions), strict=True)
        for unit in np.flatnonzero(passes(each, q))
    }


def _keys(labels: pd.DataFrame) -> list[Label]:
    return list(zip(labels["role"], labels["case"], labels["layer"], labels["head"], strict=True))
