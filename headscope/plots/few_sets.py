"""The sets of heads behind a verdict: both tests of every set at once, and the heads on both halves of the examples."""

from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.few.outcome import Few
from headscope.plots import words
from headscope.plots.few import CONTROLS, TOP, below, column, counted, measured_on, no_curve, of, sets_of
from headscope.plots.lines import Look, lettering, line, paint
from headscope.plots.rankings import dots, with_legend
from headscope.plots.theme import LIGHT, Theme, layout, plain


def few_tradeoff(result: Few, *, ablation: str | None = None, theme: Theme = LIGHT) -> go.Figure:
    """Necessity against sufficiency (faithfulness): a point for every number of top heads, and where random sets lie.

    A set in the upper right corner is all that the task needs: without it everything is lost, and alone it keeps
    everything. A square is the mean of as many random heads, with 95% of the random sets in either direction.

    Args:
        result: of one task.
        ablation: which kind; by default the one that the verdict is about.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; its numbers are `result.curve` and `.controls`.

    Raises:
        UsageError: if there are no such curves.
    """
    kind = result.ablation if ablation is None else ablation
    top = _both(result.curve, kind)
    if top.empty:
        raise no_curve(result, "necessity", kind)
    title = f"{result.task}: necessity against sufficiency, {kind} ablation"
    note = f"{measured_on(result)}; bars: 95% intervals; beside a point: its number of {result.unit}s"
    note += f"; squares: {sets_of(result)} random sets of each size" if len(result.controls) else ""
    figure = go.Figure(layout=layout(theme, title=title, note=note))
    for name, look in CONTROLS.items():
        controls = words.loose(result.controls)
        random = _both(controls[controls["control"] == name].rename(columns={"mean": "value"}), kind)
        if len(random):
            _points(figure, random, look, (result, theme))
    _points(figure, top, TOP, (result, theme))
    figure.add_trace(_numbers(top, theme))
    for update, axis in ((figure.update_xaxes, "necessity"), (figure.update_yaxes, "faithfulness")):
        values = column(top, f"value_{axis[0]}")
        low, high = max(min(values.min() - 0.1, -0.15), -1.0), min(max(values.max() + 0.1, 1.15), 2.0)
        steps = [int(step) / 5 for step in np.arange(np.ceil(low * 5), np.floor(high * 5) + 1)]
        update(title={"text": axis, "standoff": 8}, range=[float(low), float(high)], tickvals=steps)
        update(ticktext=[words.percent(at) for at in steps])
    return below(figure, height=460)


def _both(table: pd.DataFrame, kind: str) -> Any:
    """Necessity (`_n`) and faithfulness (`_f`) of the sets that have both."""
    sides = [of(table, measure, kind) for measure in ("necessity", "faithfulness")]
    both = sides[0].merge(sides[1], on="k", suffixes=("_n", "_f"))
    return both[both["value_n"].notna() & both["value_f"].notna() & both["k"].gt(0)].sort_values("k")


def _points(figure: go.Figure, rows: Any, look: Look, about: tuple[Few, Theme]) -> None:
    result, theme = about
    cells = [
        (
            *(counted(row.k, result), words.number(row.value_n), words.interval(row.low_n, row.high_n)),
            *(words.number(row.value_f), words.interval(row.low_f, row.high_f)),
        )
        for row in rows.itertuples()
    ]
    text = f"<b>{plain(look.name)}</b>, %{{customdata[0]}}<br>necessity %{{customdata[1]}} %{{customdata[2]}}"
    text += "<br>faithfulness %{customdata[3]} %{customdata[4]}"
    trace = line(column(rows, "value_n"), column(rows, "value_f"), look, theme, (text, cells))
    for way, side in (("error_x", "n"), ("error_y", "f")):
        value = column(rows, f"value_{side}")
        ends = {"array": column(rows, f"high_{side}") - value, "arrayminus": value - column(rows, f"low_{side}")}
        trace.update({way: {"type": "data", **ends, "color": paint(theme, look.role), "thickness": 1, "width": 0}})
    if not look.symbol:
        trace.update(mode="markers", marker={"symbol": "square-open", "size": 8})
    figure.add_trace(trace)


def _numbers(rows: Any, theme: Theme) -> go.Scatter:
    """How many heads each point has, where the last number that was written is far enough away."""
    x, y, names = [], [], []
    for row in rows.itertuples():
        if not x or np.hypot(row.value_n - x[-1], row.value_f - y[-1]) > 0.06:
            x.append(float(row.value_n))
            y.append(float(row.value_f))
            names.append(words.count(row.k))
    return lettering(x, y, names, theme, side="top left")


def few_halves(result: Few, k: int = 12, *, theme: Theme = LIGHT) -> go.Figure:
    """The first heads with their effect on the half that selected them and on the other, which measures them.

    A hollow dot is the selection half, where the first heads are measured too large; a filled one with its 95% interval
    the other half. In brackets stands the share of resamples in which a head is among the claimed few.

    Args:
        result: of one task.
        k: how many heads.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; its numbers are `result.heads`.

    Raises:
        UsageError: if there are no heads to show, or k is below 1.
    """
    if k < 1 or result.heads.empty:
        given = f"k {k}" if k < 1 else f"task {result.task!r}, whose verdict is: {result.label}"
        raise UsageError(
            given, "a task with heads, and 1 or more of them", "ask for k=12 heads of a task the model does"
        )
    shown = words.loose(result.heads).sort_values("rank", kind="stable").head(k).reset_index(drop=True)
    title = f"{result.task}: the first {len(shown)} of {len(result.heads)} {result.unit}s on both halves"
    note = (
        f"mean effect by patching, {result.facts['direction']}, in {result.facts['metric_unit']}; "
        f"{measured_on(result)}; in brackets: share of resamples in which it is among the top {result.facts['k']}"
    )
    figure = go.Figure(layout=layout(theme, title=title, note=note))
    texts = [
        f"<b>{plain(row.label)}</b>, rank {words.count(row.rank)}<br>other half "
        f"{words.number(row.value, signed=True)}, 95% interval {words.interval(row.low, row.high, signed=True)}<br>"
        f"selection half {words.number(row.selected, signed=True)}<br>among the top {result.facts['k']} in "
        f"{words.percent(row.stability)} of resamples"
        for row in shown.itertuples()
    ]
    first = shown.assign(value=shown["selected"], low=np.nan, high=np.nan)
    for rows, name, symbol in ((first, "selection half", "circle-open"), (shown, "other half", "circle")):
        trace = dots(rows, name=name, symbol=symbol, theme=theme)
        figure.add_trace(trace.update(customdata=texts, hovertemplate="%{customdata}<extra></extra>"))
    names = [f"{plain(row.label)} [{words.percent(row.stability)}]" for row in shown.itertuples()]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=names, range=[len(shown) - 0.5, -0.5])
    figure.update_xaxes(title="mean effect", zeroline=True, zerolinecolor=theme.muted)
    return with_legend(figure, rows=len(shown), step=21)
