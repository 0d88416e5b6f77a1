"""Two runs as one picture: every head's effect in one against its effect in the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.plots import words
from headscope.plots.theme import LIGHT, Theme, layout, plain

NAMED = 12
"""Heads that are named at most; more names would cover one another."""

SIDE = 620
"""Pixels of the figure's height: about square, since both axes have one unit."""


def scatter(
    heads: pd.DataFrame, *, task: str, method: str, score: str, names: Sequence[str], theme: Theme = LIGHT
) -> go.Figure:
    """Effects of all heads in two runs, with 95% intervals; on the dashed line both are equal.

    Filled dots differ between the runs (q < 0.05, Benjamini-Hochberg over the heads); the twelve largest differences of
    them are named, where their names do not cover one another. Heads without a number in both
    runs are left out; the note counts them.

    Args:
        heads: the frame of heads of a `headscope.comparing.Comparison`.
        task: which task.
        method: which method.
        score: which of its scores.
        names: of the two runs, for the axes.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if the frame has no such score.

    Example:
        >>> heads = pd.DataFrame({"task": "ioi", "method": "ablation", "score": "zero", "layer": 0, "head": [0, 1],
        ...     "label": ["L0H0", "L0H1"], "a": [0.5, 0.1], "a_low": 0.0, "a_high": 1.0, "b": [0.4, 0.9], "b_low": 0.0,
        ...     "b_high": 1.0, "difference": [-0.1, 0.8], "low": -0.2, "high": 0.9, "n": 40, "q": [0.7, 0.01],
        ...     "changed": [False, True], "a_rank": 1, "b_rank": 2, "unit": "logits"})
        >>> figure = scatter(heads, task="ioi", method="ablation", score="zero", names=("A: x", "B: y"))
        >>> [trace.name for trace in figure.data if trace.showlegend]
        ['not shown to change', 'changed (q &lt; 0.05)']
    """
    whole = words.loose(heads)
    rows = whole[(whole["task"] == task) & (whole["method"] == method) & (whole["score"] == score)]
    if rows.empty:
        asked = f"task {task!r}, method {method!r}, score {score!r}"
        raise UsageError(asked, "a score that the comparison has", "choose one from its table of tasks")
    known = rows.dropna(subset=["a", "b"])
    unit, absent = str(rows["unit"].iloc[0]), len(rows) - len(known)
    note = f"mean effects in {unit}, 95% intervals; n = {words.counted(rows['n'])} examples, {len(known)} heads"
    note += ", tested on their differences"
    note += f"; {absent} without a number" if absent else ""
    title = f"{task}: {method}, {score.replace('_', ' ')}, {names[0]} against {names[1]}"
    asked = {"task": task, "method": method, "score": score}
    figure = go.Figure(layout=layout(theme, title=title, note=note, asked=asked))
    ends = _ends(known)
    figure.add_trace(_diagonal(ends, theme))
    changed = known["changed"].astype(bool)
    for part, name, filled in (
        (known[~changed], "not shown to change", False),
        (known[changed], "changed (q < 0.05)", True),
    ):
        if len(part):
            figure.add_trace(_points(part, name, ends, filled=filled, theme=theme))
    axis: dict[str, Any] = {"range": list(ends), "zeroline": True, "zerolinecolor": theme.rule, "zerolinewidth": 2}
    figure.update_xaxes(title=plain(f"effect in {names[0]}"), **axis)
    figure.update_yaxes(title=plain(f"effect in {names[1]}"), **axis)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "traceorder": "reversed"}
    top = figure.layout.margin.t + 24  # pyright: ignore[reportAttributeAccessIssue]
    return figure.update_layout(legend=legend, height=SIDE, margin_t=top, margin_b=56)


def _ends(known: pd.DataFrame) -> tuple[float, float]:
    columns = known[["a", "a_low", "a_high", "b", "b_low", "b_high"]].to_numpy(dtype=float)
    low, high = np.nanmin(columns, initial=0.0), np.nanmax(columns, initial=0.0)
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _diagonal(ends: tuple[float, float], theme: Theme) -> go.Scatter:
    line = {"color": theme.muted, "width": 1, "dash": "dash"}
    return go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False, meta="muted")


def _points(part: pd.DataFrame, name: str, ends: tuple[float, float], *, filled: bool, theme: Theme) -> go.Scatter:
    colour = theme.point if filled else theme.muted
    return go.Scatter(
        x=part["a"].to_numpy(dtype=float),
        y=part["b"].to_numpy(dtype=float),
        error_x=_bars(part, "a", theme),
        error_y=_bars(part, "b", theme),
        mode="markers+text" if filled else "markers",
        text=_names(part, ends) if filled else None,
        textposition="top left",
        textfont={"color": theme.ink, "size": 12},
        marker={
            "size": 9 if filled else 6,
            "symbol": "circle" if filled else "circle-open",
            "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
        customdata=[_said(row) for row in part.itertuples()],
        hovertemplate="%{customdata}<extra></extra>",
        name=plain(name),
        showlegend=True,
        meta="points" if filled else "muted",
    )


def _names(part: pd.DataFrame, ends: tuple[float, float]) -> list[str]:
    """The names of the largest differences, less those whose names would cover one that is already there."""
    places = part[["a", "b"]].to_numpy(dtype=float) / (ends[1] - ends[0])
    names, taken = [""] * len(part), []
    for row in np.argsort(-part["difference"].abs().to_numpy(dtype=float), kind="stable").tolist():
        beside = any(abs(places[row, 0] - x) < 0.08 and abs(places[row, 1] - y) < 0.035 for x, y in taken)
        if not beside and len(taken) < NAMED:
            names[row] = plain(str(part["label"].iloc[row]))
            taken.append(places[row])
    return names


def _bars(part: pd.DataFrame, run: str, theme: Theme) -> dict[str, Any]:
    value = part[run].to_numpy(dtype=float)
    ends = {"array": part[f"{run}_high"].to_numpy(dtype=float) - value}
    ends["arrayminus"] = value - part[f"{run}_low"].to_numpy(dtype=float)
    return {"type": "data", "thickness": 1, "width": 0, "color": theme.muted, **ends}


def _said(row: Any) -> str:
    """What a dot says of its head on hover."""
    lines = [f"<b>{row.label}</b> {words.number(row.difference, signed=True)} from A to B"]
    lines += [f"95% interval {words.interval(row.low, row.high, signed=True)}; q {words.probability(row.q)}"]
    for run in "ab":
        value, low, high, rank = (
            float(getattr(row, name)) for name in (run, f"{run}_low", f"{run}_high", f"{run}_rank")
        )
        span = words.interval(low, high, signed=True)
        lines.append(f"{run.upper()}: {words.number(value, signed=True)} {span}, rank {words.count(rank)}")
    return "<br>".join([*lines, f"n = {words.count(row.n)}"])
