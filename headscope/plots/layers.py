"""Where in depth effects lie, and between which heads they travel: dots with interval bars."""

from typing import Any

import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError, meant
from headscope.plots import words
from headscope.plots.rankings import dots, with_legend
from headscope.plots.theme import LIGHT, Theme, broken, layout

EDGES = 15
"""Edges that are shown."""


def layer_profile(frame: pd.DataFrame, *, task: str, theme: Theme = LIGHT) -> go.Figure:
    """The summed absolute single-head effects of each layer of a task, with 95% intervals.

    Args:
        frame: from `headscope.profiles.layers.layer_effects`.
        task: which task.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; hovering gives the mean of a head and the layer's share.

    Raises:
        UsageError: if the frame has no such task.

    Example:
        >>> frame = pd.DataFrame({"task": "ioi", "method": "patching", "score": "noising", "unit": "logits",
        ...     "layer": [0, 1], "total": [3.0, 1.0], "total_low": [2.5, 0.5], "total_high": [3.5, 1.5],
        ...     "mean": [1.5, 0.5], "mean_low": 0.4, "mean_high": 1.8, "share": [0.75, 0.25], "heads": 2, "n": 40})
        >>> layer_profile(frame, task="ioi").data[0].x.tolist()
        [3.0, 1.0]
    """
    rows = _of(frame, task)
    first = rows.iloc[0]
    title = f"{task}: absolute effects by layer ({first['method']}, {first['score'].replace('_', ' ')})"
    note = f"sum over the layer's heads of the absolute single-head effects, unit: {first['unit']}; "
    note += f"n = {words.counted(rows['n'])} examples; single effects do not add up to the layer's own"
    figure = go.Figure(layout=layout(theme, title=title, note=note))
    columns = {"total": "value", "total_low": "low", "total_high": "high"}
    points = rows.rename(columns=columns).reset_index(drop=True)
    figure.add_trace(dots(points, name="sum of the layer", symbol="circle", theme=theme))
    figure.data[-1].update(
        customdata=[_layer(row) for row in rows.itertuples(index=False)],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=[f"layer {layer}" for layer in rows["layer"]],
        range=[len(rows) - 0.5, -0.5], gridcolor=theme.rule,
    )  # fmt: skip
    figure.update_xaxes(title=broken(str(first["unit"]), 36), rangemode="tozero", zeroline=True)
    figure.update_xaxes(zerolinecolor=theme.muted)
    return with_legend(figure, rows=len(rows), step=24)


def _layer(row: object) -> str:
    value = {name: float(getattr(row, name)) for name in ("total", "total_low", "total_high", "mean", "mean_low")}
    mean_high, share = (float(getattr(row, name)) for name in ("mean_high", "share"))
    return (
        f"<b>layer {getattr(row, 'layer', '')}</b> {words.number(value['total'])}"
        f"<br>95% interval {words.interval(value['total_low'], value['total_high'])}"
        f"<br>mean of a head {words.number(value['mean'])} {words.interval(value['mean_low'], mean_high)}"
        f"<br>{words.percent(share)} of all; {words.count(getattr(row, 'heads', float('nan')))} heads"
    )


def head_edges(frame: pd.DataFrame, *, task: str, k: int = EDGES, theme: Theme = LIGHT) -> go.Figure:
    """The strongest edges among the leading heads of a task, by path patching, with 95% intervals.

    Filled dots have q < 0.05 (Benjamini-Hochberg over all edges of the task that were measured).

    Args:
        frame: the edges of `headscope.profiles.Profiles`, or of `headscope.methods.paths.edge_table` with a task.
        task: which task.
        k: how many edges.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if the frame has no edges of the task.

    Example:
        >>> frame = pd.DataFrame({"task": "ioi", "sender": ["L0H1"], "receiver": ["L2H0"], "through": ["k"],
        ...     "direction": "noising", "value": [0.4], "low": [0.3], "high": [0.5], "q": [0.01], "n": 16,
        ...     "groups": 16, "unit": "logits"})
        >>> head_edges(frame, task="ioi").layout.yaxis.ticktext
        ('L0H1 → L2H0 (k)',)
    """
    rows = _of(frame, task).dropna(subset="value").reset_index(drop=True)
    order = rows["value"].abs().sort_values(ascending=False, kind="stable").index
    shown = rows.loc[order].head(k).reset_index(drop=True)
    title = f"{task}: the strongest of {len(rows)} edges among the leading heads"
    note = f"path patching, {words.said(rows['direction'].iloc[0]) if len(rows) else ''}; other heads frozen; "
    note += f"n = {words.counted(rows['n'])} examples; q, k, v: the receiver's input"
    figure = go.Figure(layout=layout(theme, title=title, note=note))
    found = shown["q"].lt(0.05)
    for part, name, symbol in ((found, "q < 0.05", "circle"), (~found, "q >= 0.05 or not tested", "circle-open")):
        if part.any():
            figure.add_trace(dots(shown[part], name=name, symbol=symbol, theme=theme))
            said = [_edge(row) for row in shown[part].itertuples(index=False)]
            figure.data[-1].update(customdata=said, hovertemplate="%{customdata}<extra></extra>")
    names = [f"{row.sender} → {row.receiver} ({row.through})" for row in shown.itertuples(index=False)]
    figure.update_yaxes(
        tickvals=list(range(len(shown))), ticktext=names, range=[len(shown) - 0.5, -0.5], gridcolor=theme.rule
    )
    unit = str(rows["unit"].iloc[0]) if len(rows) else ""
    figure.update_xaxes(title=broken(unit, 36), zeroline=True, zerolinecolor=theme.muted)
    return with_legend(figure, rows=len(shown), step=21)


def _edge(row: object) -> str:
    value, low, high, q, n = (float(getattr(row, name)) for name in ("value", "low", "high", "q", "n"))
    return (
        f"<b>{getattr(row, 'sender', '')} → {getattr(row, 'receiver', '')}</b> through {getattr(row, 'through', '')}"
        f"<br>{words.number(value, signed=True)}, 95% interval {words.interval(low, high, signed=True)}"
        f"<br>n = {words.count(n)}; q {words.probability(q)}"
    )


def _of(frame: pd.DataFrame, task: str) -> Any:
    rows = words.loose(frame)
    own = rows[rows["task"] == task]
    if own.empty:
        known = [str(each) for each in dict.fromkeys(rows["task"])]
        fix = meant(task, known, "choose one of these")
        raise UsageError(f"task {task!r}", f"one of: {', '.join(known) or '(none)'}", fix)
    return own
