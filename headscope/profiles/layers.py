"""Where in depth the effects of a task lie: the sizes of its heads' effects, layer by layer."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import stdtrit
from torch import Tensor

from headscope import statistics
from headscope.profiles.agreement import RESAMPLES

LAYER_COLUMNS = [
    *("task", "method", "score", "unit", "layer", "total", "total_low", "total_high"),
    *("mean", "mean_low", "mean_high", "share", "heads", "n", "reason"),
]


def layer_effects(
    rows: pd.DataFrame,
    *,
    values: Float[Tensor, "example layer head"] | None = None,
    groups: Int[np.ndarray, " example"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The sum and the mean of the absolute single-head effects of each layer.

    Args:
        rows: of one score of one task: one row for each head.
        values: the per-example values behind them; None where they were not kept.
        groups: the group of every example; None where that is not known.
        seed: of the group bootstrap.

    Returns:
        `LAYER_COLUMNS`. The interval is the value with the spread of the bootstrap to either side (Student's t over
        groups), each head's sign held as it is over all examples: the absolute value of noise is never 0, so that
        percentiles would lie above the value. Single effects do not add up to the effect of the layer. Heads without a
        number are left out of both; `heads` counts the others.

    Example:
        >>> rows = pd.DataFrame({"task": "t", "method": "a", "score": "s", "unit": "logits", "layer": [0, 0, 1],
        ...                      "head": [0, 1, 0], "value": [1.0, -2.0, 1.0], "n": 4})
        >>> layer_effects(rows)[["layer", "total", "mean", "share", "heads"]].to_numpy().tolist()
        [[0.0, 3.0, 1.5, 0.75, 2.0], [1.0, 1.0, 1.0, 0.25, 1.0]]
    """
    frame: Any = rows
    first = frame.iloc[0]
    reach = _reach(frame, values, groups, seed)
    whole = float(frame["value"].abs().sum())
    found = []
    for layer, own in frame.groupby("layer", sort=True):
        known = own["value"].dropna()
        size, count = float(known.abs().sum()), len(known)
        side = reach.get(int(layer), np.nan)
        ends = [max(0.0, size - side), size + side] if np.isfinite(side) else [np.nan, np.nan]
        total = [size, *ends] if count else [np.nan] * 3
        mean = [each / count for each in total] if count else [np.nan] * 3
        reason = "" if np.isfinite(side) else "no head has a number" if not count else "no values in two or more groups"
        share = size / whole if whole else np.nan
        names = [first[name] for name in ("task", "method", "score", "unit")]
        found.append((*names, int(layer), *total, *mean, share, count, own["n"].max(), reason))
    return pd.DataFrame(found, columns=LAYER_COLUMNS)


def _reach(
    frame: Any,
    values: Float[Tensor, "example layer head"] | None,
    groups: Int[np.ndarray, " example"] | None,
    seed: int,
) -> dict[int, float]:
    """How far the interval of each layer's sum reaches to either side."""
    if values is None or groups is None or len(np.unique(groups)) < 2:
        return {}
    signs = np.zeros(values.shape[1:])
    for row in frame.dropna(subset="value").itertuples(index=False):
        signs[int(row.layer), int(row.head)] = np.sign(row.value)
    summed = np.nansum(values.double().cpu().numpy() * signs, axis=2)
    drawn = statistics.bootstrap_means(summed, statistics.resamples(groups, seed=seed, n_resamples=RESAMPLES))
    wide = stdtrit(len(np.unique(groups)) - 1, 0.975) * drawn.std(axis=0, ddof=1)
    return dict(enumerate(wide.tolist()))
