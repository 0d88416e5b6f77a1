"""How far a run's methods rank the heads of a task alike, and the heads on which they differ most."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import stdtrit
from scipy.stats import rankdata
from torch import Tensor

from headscope import statistics
from headscope.grid import Grid

RESAMPLES = 500
TOP = 10
"""Heads on which methods are compared one by one: those among so many first of at least one of them."""

AGREEMENT_COLUMNS = ["task", "one", "other", "rho", "low", "high", "heads", "n", "reason"]
DISAGREEMENT_COLUMNS = ["task", "layer", "head", "label", "by", "value", "q", "rank", "gap", "opposed"]

Examples = Mapping[str, Float[Tensor, "example layer head"]]


def causal_scores(scores: pd.DataFrame, task: str) -> list[tuple[str, str]]:
    """The (method, score) pairs of a task that are effects and have a number, in the run's order.

    Args:
        scores: a run's tidy scores.
        task: one of its tasks.

    Example:
        >>> scores = pd.DataFrame({"task": "ioi", "method": ["patching", "attention"], "score": ["noising", "self"],
        ...                        "signed": [True, False], "value": [0.1, 0.2]})
        >>> causal_scores(scores, "ioi")
        [('patching', 'noising')]
    """
    if scores.empty:
        return []
    rows: Any = scores[(scores["task"] == task) & scores["signed"].astype(bool) & scores["value"].notna()]
    return list(rows[["method", "score"]].drop_duplicates().itertuples(index=False, name=None))


def method_agreement(
    scores: pd.DataFrame,
    task: str,
    *,
    examples: Examples,
    groups: Int[np.ndarray, " example"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Spearman's rank correlation of the mean effects of all heads, for every two causal scores of a task.

    Args:
        scores: a run's tidy scores.
        task: one of its tasks.
        examples: `task.method.score` -> the values behind them.
        groups: the group of every example; None where that is not known, and then there are no intervals.
        seed: of the group bootstrap, whose draws all scores share.

    Returns:
        `AGREEMENT_COLUMNS`, each pair of scores once. Effects are signed. The interval is the value with the spread of
        the bootstrap to either side (Student's t over groups): resampling adds noise, so that percentiles would lie
        beside the value. Where it is absent, `reason` says why. Cost: `RESAMPLES` means of all heads for each score.

    Example:
        >>> scores = pd.DataFrame({"task": "t", "method": ["a", "b"] * 3, "score": "s", "signed": True, "layer": 0,
        ...                        "head": [0, 0, 1, 1, 2, 2], "value": [1.0, 2.0, 3.0, 3.0, 2.0, 1.0], "n": 4})
        >>> found = method_agreement(scores, "t", examples={})
        >>> found.round(3)[["one", "other", "rho", "heads"]].to_numpy().tolist()
        [['a s', 'b s', 0.5, 3]]
    """
    pairs = causal_scores(scores, task)
    rows: Any = scores[scores["task"] == task] if pairs else scores
    means = {pair: _means(rows, pair) for pair in pairs}
    weights = _weights(groups, seed)
    drawn = {
        pair: values for pair in pairs if (values := _drawn(examples.get(".".join((task, *pair))), weights)) is not None
    }
    found, ranks = [], {}
    for i, one in enumerate(pairs):
        for other in pairs[i + 1 :]:
            both = means[one].index.intersection(means[other].index)
            rho = _spearman(means[one][both].to_numpy()[None], means[other][both].to_numpy()[None])[0]
            low = high = np.nan
            reason = "the run keeps no values of single examples in two or more groups"
            if one in drawn and other in drawn and groups is not None:
                own = _together(drawn[one], drawn[other], ranks)
                count = len(np.unique(groups))
                low, high, reason = _around(rho, own[~np.isnan(own)], count)
            n = int(rows.loc[(rows["method"] == one[0]) & (rows["score"] == one[1]), "n"].max())
            found.append((task, " ".join(one), " ".join(other), rho, low, high, len(both), n, reason))
    return pd.DataFrame(found, columns=AGREEMENT_COLUMNS)


def _around(rho: float, drawn: Float[np.ndarray, " resample"], groups: int) -> tuple[float, float, str]:
    """The interval about a correlation, or why there is none."""
    if len(drawn) < 2:
        return np.nan, np.nan, "in fewer than two resamples do both scores tell heads apart"
    reach = float(stdtrit(groups - 1, 0.975) * drawn.std(ddof=1))
    return max(-1.0, rho - reach), min(1.0, rho + reach), ""


def _means(rows: Any, pair: tuple[str, str]) -> Any:
    own = rows[(rows["method"] == pair[0]) & (rows["score"] == pair[1])].dropna(subset="value")
    return own.set_index(["layer", "head"])["value"].astype(float)


def _weights(groups: Int[np.ndarray, " example"] | None, seed: int) -> Float[np.ndarray, "resample example"] | None:
    if groups is None or len(np.unique(groups)) < 2:
        return None
    return statistics.resamples(groups, seed=seed, n_resamples=RESAMPLES)


def _drawn(
    values: Float[Tensor, "example layer head"] | None, weights: Float[np.ndarray, "resample example"] | None
) -> Float[np.ndarray, "resample known"] | None:
    if values is None or weights is None:
        return None
    flat = values.double().flatten(1).cpu().numpy()
    return statistics.bootstrap_means(flat, weights)


def _spearman(one: Float[np.ndarray, "row head"], other: Float[np.ndarray, "row head"]) -> Float[np.ndarray, " row"]:
    return _together(one, other, {})


def _together(
    one: Float[np.ndarray, "row head"], other: Float[np.ndarray, "row head"], held: dict[tuple[int, bytes], Any]
) -> Float[np.ndarray, " row"]:
    """Spearman's correlation row by row; ranks are held, for most scores know the same heads."""
    known = ~np.isnan(one + other).any(0)
    if not known.any():
        return np.full(len(one), np.nan)
    found: list[Any] = [held.get((id(each), known.tobytes())) for each in (one, other)]
    for place, each in enumerate((one, other)):
        if found[place] is None:
            ranks = rankdata(each[:, known], axis=1)
            centred = ranks - ranks.mean(1, keepdims=True)
            length = np.sqrt((centred**2).sum(1, keepdims=True))
            found[place] = np.divide(centred, length, out=np.full(centred.shape, np.nan), where=length > 0)
            held[id(each), known.tobytes()] = found[place]
    return (found[0] * found[1]).sum(1)


def disagreements(scores: pd.DataFrame, task: str, *, k: int = 8) -> pd.DataFrame:
    """The heads whose rank differs most from one causal score to another, of those that any of them ranks high.

    Args:
        scores: a run's tidy scores.
        task: one of its tasks.
        k: heads at most.

    Returns:
        `DISAGREEMENT_COLUMNS`, one row for each head and score, the widest gap between ranks first. `opposed`: two
        scores give the head opposite signs, each shown to differ from 0 (q < 0.05). No rows under two scores.

    Example:
        >>> scores = pd.DataFrame({"task": "t", "method": ["a", "b"] * 2, "score": "s", "signed": True, "layer": 0,
        ...     "head": [0, 0, 1, 1], "value": [0.9, -0.1, 0.2, 0.8], "q": [0.01, 0.04, 0.5, 0.01],
        ...     "rank": [1, 2, 2, 1]})
        >>> disagreements(scores, "t", k=1)[["label", "by", "rank", "gap", "opposed"]].to_numpy().tolist()
        [['L0H0', 'a s', 1, 1, True], ['L0H0', 'b s', 2, 1, True]]
    """
    pairs = causal_scores(scores, task)
    if len(pairs) < 2:
        return pd.DataFrame(columns=DISAGREEMENT_COLUMNS)
    rows: Any = scores[(scores["task"] == task) & scores["value"].notna()]
    names = [" ".join(pair) for pair in pairs]
    rows = rows.assign(by=rows["method"] + " " + rows["score"])
    rows = rows[rows["by"].isin(names)]
    found = []
    for place, own in rows.groupby(["layer", "head"], sort=True):
        if own["rank"].min() <= TOP:
            sure = own[own["q"] < 0.05]["value"]
            opposed = bool((sure > 0).any() and (sure < 0).any())
            gap = own["rank"].max() - own["rank"].min()
            label = Grid.label(*(int(index) for index in place))
            found.append(own.assign(task=task, label=label, gap=gap, opposed=opposed))
    together: Any = pd.concat(found)
    order = {name: at for at, name in enumerate(names)}
    together = together.assign(order=together["by"].map(order))
    together = together.sort_values(["gap", "layer", "head", "order"], ascending=[False, True, True, True])
    kept = list(dict.fromkeys(together["label"]))[:k]
    return together.loc[together["label"].isin(kept), DISAGREEMENT_COLUMNS].reset_index(drop=True)
