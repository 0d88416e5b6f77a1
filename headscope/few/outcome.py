"""What is found out about the few heads of a task: tables that people, figures and reports read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

TABLES: dict[str, tuple[str, ...]] = {
    "heads": ("rank", "label", "layer", "head", "selected", "value", "low", "high", "stability"),
    "curve": ("ablation", "measure", "k", "share", "value", "low", "high", "reason"),
    "controls": ("ablation", "measure", "control", "k", "sets", "mean", "low", "high", "p"),
    "smallest": ("ablation", "measure", "target", "k", "share", "low", "high", "reason"),
    "areas": ("ablation", "measure", "value", "low", "high"),
    "probes": ("probe", "members", "k", "value", "low", "high", "reason"),
    "twin": ("measure", "k", "value", "low", "high"),
    "criteria": ("criterion", "value", "low", "high", "wanted", "met", "meaning"),
}
"""The columns of every table of `Few`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Few:
    """The answer to "do a few heads carry this task?", with all that it rests on.

    Heads are selected on one half of the examples and measured on the other. Sets of heads are counted by `k`, of which
    `share` is the part of all heads (units). What a measure is called:

        effect        the summed positive single effects of the top k, as a part of those of all heads
        necessity     what of the metric is lost when the top k are ablated together, as a part of what all heads lose
        faithfulness  what of the metric is left when all others are ablated, between none kept (0) and all kept (1)
        accuracy_necessity, accuracy_faithfulness   the accuracy under the same two interventions
        top1_necessity, top1_faithfulness           the share of examples whose likeliest token is an answer

    Attributes:
        task: the task.
        unit: `head`, or `group`: the query heads that share a key and a value.
        label: the verdict in a few words.
        text: the verdict in a paragraph.
        facts: what it was measured with: metric, ability, counts, ablation, ranking, seed, forwards.
        heads: one row per head, best first: its mean effect on the selection half (`selected`) and on the other
            (`value`, 95 % interval), and in which share of resamples it is among the top 3 % (`stability`).
        curve: every measure at every k under every kind of ablation, with 95 % group-bootstrap intervals.
        controls: the same for random sets of heads (`uniform`; `layer`: as many others in each layer as the top k has):
            mean and 2.5 to 97.5 % of the sets, and the share of them that do at least as well as the top k (`p`).
        smallest: the smallest k that reaches 50, 80 and 90 %; NaN with a reason where none does.
        areas: CPR and CMD.
        probes: completeness and minimality.
        twin: the same model with random weights, through the same pipeline; empty where it was not asked for.
        criteria: what the verdict was made by: each criterion with its value, what was wanted, and whether it is met.
    """

    task: str
    unit: str
    label: str
    text: str
    facts: Mapping[str, Any]
    heads: pd.DataFrame = field(repr=False)
    curve: pd.DataFrame = field(repr=False)
    controls: pd.DataFrame = field(repr=False)
    smallest: pd.DataFrame = field(repr=False)
    areas: pd.DataFrame = field(repr=False)
    probes: pd.DataFrame = field(repr=False)
    twin: pd.DataFrame = field(repr=False)
    criteria: pd.DataFrame = field(repr=False)

    @property
    def ablation(self) -> str:
        """The kind of ablation that the verdict is about; other kinds stand beside it in the tables."""
        return str(self.facts["ablation"])

    def record(self) -> dict[str, Any]:
        """The result as plain values for JSON; what is absent is None."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, pd.DataFrame):
                value = {name: [_plain(cell) for cell in value[name].tolist()] for name in value.columns}
            out[item.name] = _plain(value)
        return out


def few_from(record: Mapping[str, Any]) -> Few:
    """The result that `Few.record` wrote.

    Args:
        record: plain values.

    Raises:
        KeyError: if something is missing.
    """
    values: dict[str, Any] = {}
    for item in fields(Few):
        value = record[item.name]
        if item.name in TABLES:
            value = pd.DataFrame({name: value[name] for name in TABLES[item.name]})
            value = value.apply(_numbers)
        values[item.name] = value
    return Few(**values)


def empty(name: str) -> pd.DataFrame:
    """A table without rows.

    Args:
        name: a key of `TABLES`.

    Example:
        >>> empty("areas").columns.tolist()
        ['ablation', 'measure', 'value', 'low', 'high']
    """
    return pd.DataFrame(columns=list(TABLES[name]))


def _numbers(column: pd.Series) -> pd.Series:
    """None stands for NaN in columns of numbers."""
    if any(isinstance(cell, str) for cell in column):
        return column
    return pd.Series(pd.to_numeric(column), index=column.index, name=column.name)


def _plain(cell: Any) -> Any:
    if isinstance(cell, Mapping):
        return {str(name): _plain(value) for name, value in cell.items()}
    if isinstance(cell, (list, tuple)):
        return [_plain(value) for value in cell]
    cell = cell.item() if isinstance(cell, np.generic) else cell
    return None if isinstance(cell, float) and cell != cell else cell
