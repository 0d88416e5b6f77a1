"""The report's section on how far the methods of a run agree, and on which heads they do not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from headscope import plots
from headscope.plots import words
from headscope.profiles.agreement import disagreements, method_agreement
from headscope.report.few import Table
from headscope.report.panels import Panel, panel

Examples = Mapping[str, Float[Tensor, "example layer head"]]
Groups = Mapping[str, Int[Tensor, " example"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One task: the matrix of rank correlations, what it says in a sentence, and the heads that are disputed."""

    task: str
    summary: str
    matrix: Panel
    heads: Table


def agreement_sections(scores: pd.DataFrame, *, examples: Examples, groups: Groups) -> tuple[Agreement, ...]:
    """The section of every task with two causal scores or more.

    Args:
        scores: a run's tidy scores.
        examples: `task.method.score` -> the values behind them.
        groups: task -> the group of every example.
    """
    found = []
    for number, task in enumerate(words.loose(scores)["task"].unique().tolist()):
        own = groups.get(task)
        members = None if own is None else own.cpu().numpy().astype(np.int64)
        frame = method_agreement(scores, task, examples=examples, groups=members)
        if len(frame):
            matrix = panel(f"agreement-{number}", plots.method_agreement(frame, task=task))
            found.append(Agreement(task=task, summary=summary(frame), matrix=matrix, heads=_disputed(scores, task)))
    return tuple(found)


def summary(frame: pd.DataFrame) -> str:
    """Which two scores rank heads most and least alike.

    Args:
        frame: from `headscope.profiles.agreement.method_agreement`.

    Example:
        >>> frame = pd.DataFrame({"one": ["a", "a"], "other": ["b", "c"], "rho": [0.9, 0.2], "low": [0.8, 0.1],
        ...                       "high": [1.0, 0.3]})
        >>> summary(frame)
        'Most alike: a and b, 0.900 [0.800, 1.000]. Least alike: a and c, 0.200 [0.100, 0.300].'
    """
    rows = words.loose(words.loose(frame).dropna(subset="rho"))
    rows = words.loose(rows.sort_values("rho", ascending=False, kind="stable"))
    if rows.empty:
        return "No two scores can be compared: one of each pair is the same for all heads."
    told = [
        f"{row.one} and {row.other}, {words.number(row.rho)} {words.interval(row.low, row.high)}"
        for row in (rows.iloc[0], rows.iloc[-1])
    ]
    return f"Only two scores: {told[0]}." if len(rows) == 1 else f"Most alike: {told[0]}. Least alike: {told[1]}."


def _disputed(scores: pd.DataFrame, task: str) -> Table:
    rows = words.loose(disagreements(scores, task))
    by = list(dict.fromkeys(rows["by"]))
    found = []
    for label, own in rows.groupby("label", sort=False):
        cells = {
            row.by: f"{words.count(row.rank)} ({words.number(row.value, signed=True)})" for row in own.itertuples()
        }
        opposed = "yes" if bool(own["opposed"].iloc[0]) else "no"
        ranks = words.count(own["gap"].iloc[0])
        found.append((str(label), ranks, opposed, *(cells.get(name, "absent") for name in by)))
    titles = ("head", "ranks apart", "opposite signs (both q < 0.05)", *(name.replace("_", " ") for name in by))
    caption = f"{task}: the heads that the methods rank most differently: rank (effect)"
    return Table(caption=caption, titles=titles, rows=tuple(found))
