"""The report's parts on single heads: everything that a run says of each of its leading heads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.roles import by_head
from headscope.profiles import Profiles, top_heads
from headscope.profiles.heads import leading
from headscope.report.attention import Look, Store, looks
from headscope.report.few import Table
from headscope.report.roles import brief, cause
from headscope.report.writing import edges_table, sources_table, spread_table, words_table
from headscope.roles.result import Roles
from headscope.roles.table import title

MOST = 30
"""Heads with a part of their own; those that lead a task come before those that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPage:
    """All that is said of one head.

    Attributes:
        label: such as `L5H1`; also the part's id.
        role: its roles in a few words; empty where roles were not asked.
        leads: on which tasks it is among the first, with its rank.
        tables: its roles with evidence, all its scores, their spread, what it writes, what it takes it from, edges.
        looks: its attention on prompts.
        absent: what could not be told, with the reason.
    """

    label: str
    role: str
    leads: str
    tables: tuple[Table, ...]
    looks: tuple[Look, ...]
    absent: tuple[str, ...]


def chosen(scores: pd.DataFrame, tasks: Sequence[str]) -> dict[str, dict[str, int]]:
    """Heads that lead a task: label -> {task: place among the task's heads}, the first of each task first.

    Args:
        scores: a run's tidy scores.
        tasks: in the run's order.
    """
    found: list[tuple[int, int, str, str]] = []
    for order, task in enumerate(tasks):
        rows: Any = top_heads(scores, task)
        for place, row in enumerate(rows.itertuples(index=False), start=1):
            found.append((place, order, task, Grid.label(int(row.layer), int(row.head))))
    pages: dict[str, dict[str, int]] = {}
    for place, _, task, label in sorted(found):
        pages.setdefault(label, {})[task] = place
    kept = list(pages)[:MOST]
    return {label: pages[label] for label in sorted(kept, key=_depth)}


def _depth(label: str) -> tuple[int, int]:
    layer, _, head = label.removeprefix("L").partition("H")
    return int(layer), int(head)


def head_pages(
    scores: pd.DataFrame,
    *,
    places: Mapping[str, Mapping[str, int]],
    roles: Roles | None,
    profiles: Profiles | None,
    views: Store,
) -> tuple[HeadPage, ...]:
    """The parts of all heads that lead a task, from the first layer on.

    Args:
        scores: a run's tidy scores.
        places: from `chosen`.
        roles: of the run.
        profiles: of the run.
        views: the attention that the page holds.
    """
    held = by_head(roles.labels) if roles is not None else {}
    everything = _score_tables(scores, list(places))
    tasks = {task for ranks in places.values() for task in ranks}
    leads = {task: ", ".join(leading(scores, task) or ()) for task in tasks}
    pages = []
    for label, ranks in places.items():
        mine = held.get(_depth(label), [])
        tables = [_roles(label, mine)] if mine else []
        tables.append(everything[label])
        if profiles is not None:
            tables += [make(profiles, label) for make in (spread_table, words_table, sources_table, edges_table)]
        pages.append(
            HeadPage(
                label=label,
                role=brief(mine) if roles is not None else "",
                leads=", ".join(f"{task}: no. {place} by {leads[task]}" for task, place in ranks.items()),
                tables=tuple(table for table in tables if table.rows),
                looks=looks(views, label, head=label),
                absent=_absent(profiles, list(ranks)),
            )
        )
    return tuple(pages)


def _absent(profiles: Profiles | None, tasks: Sequence[str]) -> tuple[str, ...]:
    if profiles is None:
        return ("What it writes and whom it acts through: this run holds no profiles of heads.",)
    names = {"tokens": "What it writes", "edges": "Edges to other heads"}
    return tuple(
        f"{name} on {task}: absent, for {reason}."
        for task in tasks
        for part, name in names.items()
        if (reason := profiles.absent(task, part))
    )


def _roles(label: str, rows: Sequence[Any]) -> Table:
    cells = tuple(
        (title(row.role, row.case), words.percent(row.confidence), cause(row), words.said(row.evidence)) for row in rows
    )
    titles = ("role", "confidence", "cause", "evidence, on the held-out half")
    return Table(caption=f"Roles of {label}", titles=titles, rows=cells)


def _score_tables(scores: pd.DataFrame, labels: Sequence[str]) -> dict[str, Table]:
    """Every score of every task: a row for each score, a column for each task."""
    rows = words.loose(scores)
    tasks = rows["task"].unique().tolist()
    mine: dict[str, dict[tuple[str, str], dict[str, str]]] = {label: {} for label in labels}
    wanted = {_depth(label): label for label in labels}
    here = [place in wanted for place in zip(rows["layer"].tolist(), rows["head"].tolist(), strict=True)]
    for row in rows[here].itertuples(index=False):
        mine[wanted[row.layer, row.head]].setdefault((row.method, row.score), {})[row.task] = _cell(row)
    tables = {}
    for label, found in mine.items():
        lines = tuple(
            (f"{method}, {score.replace('_', ' ')}", *(cells.get(task, "not measured") for task in tasks))
            for (method, score), cells in found.items()
        )
        caption = f"All scores of {label}: value [95%], rank"
        tables[label] = Table(caption=caption, titles=("score", *tasks), rows=lines)
    return tables


def _cell(row: Any) -> str:
    value = words.number(row.value, signed=bool(row.signed))
    if value == "absent":
        return f"absent: {words.said(row.reason) or 'no reason was recorded'}"
    span = words.interval(row.low, row.high, signed=bool(row.signed))
    return f"{value} {span}, {words.count(row.rank)}"
