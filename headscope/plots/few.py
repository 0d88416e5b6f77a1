"""The verdict on a few heads: what the top heads do against how many they are, beside all that it is judged by."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.few.outcome import Few
from headscope.plots import words
from headscope.plots.lines import Look, band, lettering, line, paint
from headscope.plots.pictures import traces
from headscope.plots.theme import LIGHT, Theme, layout, plain

MEASURES = {
    "effect": ("single effects held by the top heads", "share of all positive effects"),
    "necessity": ("what is lost without the top heads", "necessity"),
    "faithfulness": ("what the top heads keep on their own", "faithfulness"),
}
"""The measures that have a curve: title, and what stands at the axis."""

MEANINGS = {
    "effect": "1 is the sum over all heads whose effect is positive; ",
    "necessity": "1 is the loss when all heads are ablated; ",
    "faithfulness": "0 is with no head kept, 1 with all; ",
}
"""What 0 and 1 are."""

SIDES = {
    "over_total": Look(name="as a part of the total effect", role="series-1", dash="dash"),
    "accuracy": Look(name="accuracy under it", role="series-1", dash="dash"),
    "top1": Look(name="answer is the likeliest token", role="series-1", dash="dot"),
}
CONTROLS = {
    "uniform": Look(name="random heads", role="muted", dash="dot"),
    "layer": Look(name="random heads, same layers", role="series-2", dash="dashdot"),
}
TOP = Look(name="top heads", role="series-0", symbol="circle")
TWIN = Look(name="untrained twin", role="series-3", dash="longdash")
MARKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def few_curve(
    result: Few, measure: str = "faithfulness", *, ablation: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """One measure against the share of heads, with its 95% intervals and all that it is judged by.

    Beside the top heads: 95% of the random sets, drawn from all heads and as many from each layer as the top set has;
    the same model untrained; the accuracy under the same intervention (dashed), or for single effects their part of the
    prompts' total effect; a vertical line at the claimed share; and crosses at the smallest sets that reach 50, 80 and
    90%, with intervals. Heads were selected on other examples.

    Args:
        result: of one task.
        measure: a key of `MEASURES`.
        ablation: which kind; by default the one that the verdict is about.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; its numbers are `result.curve`, `.controls`, `.twin` and `.smallest`.

    Raises:
        UsageError: if there is no such curve.
    """
    kind = result.ablation if ablation is None else ablation
    rows = of(result.curve, measure, kind)
    if rows.empty:
        raise no_curve(result, measure, kind)
    title, axis = MEASURES.get(measure, (measure, measure))
    how = "" if measure == "effect" else f", {kind} ablation"
    note, flag = f"{MEANINGS.get(measure, '')}{_note(result)}", _absent(rows)
    figure = go.Figure(layout=layout(theme, title=f"{result.task}: {title}{how}", note=note, flag=flag))
    for name, look in CONTROLS.items():
        random = words.loose(of(result.controls, measure, kind))
        _random(figure, random[random["control"] == name], look, (result, theme))
    if kind == result.ablation:
        _line(figure, words.loose(of(result.twin, measure)), TWIN, (result, theme))
    for name, look in SIDES.items():
        side = name if measure == "effect" else f"{name}_{measure}"
        _line(figure, of(result.curve, side, kind), look, (result, theme))
    _line(figure, rows, TOP, (result, theme))
    _reached(figure, words.loose(of(result.smallest, measure, kind)), (result, theme))
    return _framed(figure, axis, (result, theme))


def of(table: pd.DataFrame, measure: str, ablation: str | None = None) -> Any:
    """The rows of a measure under one kind of ablation, or under none: single effects know no kinds.

    Args:
        table: one of a result's.
        measure: which.
        ablation: which kind, where the table has them.
    """
    rows = words.loose(table)[words.loose(table)["measure"] == measure]
    if ablation is None or "ablation" not in rows or rows.empty:
        return rows
    own = rows[rows["ablation"] == ablation]
    return rows[rows["ablation"] == ""] if own.empty else own


def no_curve(result: Few, measure: str, kind: str) -> UsageError:
    """What to say where a result has no such curve.

    Args:
        result: of one task.
        measure: that was asked for.
        kind: of ablation that was asked for.
    """
    pairs = result.curve[["measure", "ablation"]].drop_duplicates().itertuples(index=False)
    have = "; ".join(f"{name} / {ablation}" for name, ablation in pairs)
    return UsageError(
        f"measure {measure!r}, ablation {kind!r} of task {result.task!r}",
        f"one of: {have}" if have else f"a task with curves, but the verdict is: {result.label}",
        "choose one of these" if have else "choose a task that the model does",
    )


def measured_on(result: Few) -> str:
    """On how many examples a result was measured, in words.

    Args:
        result: of one task.
    """
    return f"n = {result.facts['measured']} held-out examples in {result.facts['groups'][1]} groups"


def sets_of(result: Few) -> str:
    """How many random sets there are of each size, as a number or a range.

    Args:
        result: of one task.
    """
    return words.counted(words.loose(result.controls)["sets"])


def _note(result: Few) -> str:
    unit = "" if result.unit == "head" else "; a group is the query heads that share a key and a value"
    random = f"; random heads: mean and 95% of {sets_of(result)} sets" if len(result.controls) else ""
    return f"{measured_on(result)}; bands: 95% intervals{random}; crosses: the fewest that reach 50, 80 and 90%{unit}"


def _absent(rows: Any) -> str:
    """Why a curve has no number at all, if it has none."""
    reasons = [words.said(reason) for reason in rows["reason"]] if rows["value"].isna().all() else []
    return f"No number: {next(filter(None, reasons), 'no reason was recorded')}" if reasons else ""


def _thinned(rows: Any) -> Any:
    """Every single number up to 20 and then about 12 in every doubling: more than that no eye can tell apart."""
    rows = rows[rows["k"] > 0].sort_values("k")
    step = np.round(12 * np.log2(rows["k"].to_numpy(dtype=float).clip(min=1)))
    return rows[(rows["k"] <= 20) | (np.diff(step, prepend=-1) > 0)]


def _share(rows: Any, result: Few) -> Float[np.ndarray, " row"]:
    return (rows["k"] / len(result.heads)).to_numpy(dtype=float)


def counted(k: words.Number, result: Few) -> str:
    """So many heads, and which share of all that is.

    Args:
        k: how many.
        result: of one task.
    """
    share = k / len(result.heads)
    name = result.unit if k == 1 else f"{result.unit}s"
    return f"{words.count(k)} {name} ({100 * share:.1f}% of {len(result.heads)})"


def _line(figure: go.Figure, rows: Any, look: Look, about: tuple[Few, Theme]) -> None:
    result, theme = about
    rows = _thinned(rows)
    if rows["value"].isna().all():
        return
    cells = [
        (counted(row.k, result), words.number(row.value), words.interval(row.low, row.high))
        for row in rows.itertuples()
    ]
    text = f"<b>{plain(look.name)}</b>, %{{customdata[0]}}<br>%{{customdata[1]}}, 95% interval %{{customdata[2]}}"
    x, value, low, high = _share(rows, result), *(column(rows, name) for name in ("value", "low", "high"))
    if look.dash in ("solid", "longdash"):  # a band for each line would hide them all
        figure.add_trace(band(x, low, high, look, theme))
    figure.add_trace(line(x, value, look, theme, (text, cells)))


def _random(figure: go.Figure, rows: Any, look: Look, about: tuple[Few, Theme]) -> None:
    result, theme = about
    rows = rows[rows["k"] > 0]
    if rows.empty:
        return
    cells = [
        (
            *(counted(row.k, result), words.count(row.sets), words.number(row.mean)),
            *(words.interval(row.low, row.high), words.probability(row.p)),
        )
        for row in rows.itertuples()
    ]
    text = f"<b>{plain(look.name)}</b>, %{{customdata[0]}}<br>mean of %{{customdata[1]}} sets %{{customdata[2]}}, "
    text += "95% of them in %{customdata[3]}<br>sets at least as good as the top heads: p %{customdata[4]}"
    x = _share(rows, result)
    figure.add_trace(band(x, column(rows, "low"), column(rows, "high"), look, theme))
    figure.add_trace(line(x, column(rows, "mean"), look, theme, (text, cells)))


def column(rows: Any, name: str) -> Float[np.ndarray, " row"]:
    """A column of a table as numbers.

    Args:
        rows: of the table.
        name: of the column.
    """
    return rows[name].to_numpy(dtype=float)


def _reached(figure: go.Figure, rows: Any, about: tuple[Few, Theme]) -> None:
    """A cross at the smallest set that reaches each target, with its interval to both sides."""
    result, theme = about
    rows = rows[rows["k"].notna()]
    if rows.empty:
        return
    cells = [
        (
            *(words.percent(row.target), counted(row.k, result), words.sizes(row.low, row.high)),
            "".join(f"<br>{plain(reason)}" for reason in [words.said(row.reason)] if reason),
        )
        for row in rows.itertuples()
    ]
    text = "<b>%{customdata[0]}</b> is reached by %{customdata[1]}<br>95% interval %{customdata[2]}%{customdata[3]}"
    size, colour = len(result.heads), paint(theme, TOP.role)
    trace = line(
        _share(rows, result), column(rows, "target"), Look(name="reached", role=TOP.role), theme, (text, cells)
    )
    ends = {"array": (column(rows, "high") - column(rows, "k")) / size}
    ends |= {"arrayminus": (column(rows, "k") - column(rows, "low")) / size}
    trace.update(mode="markers", error_x={"type": "data", **ends, "color": colour, "thickness": 1.5, "width": 4})
    trace.update(marker={"symbol": "x-thin", "size": 11, "line": {"width": 2.5}}, showlegend=False)
    figure.add_trace(trace)


def _framed(figure: go.Figure, axis: str, about: tuple[Few, Theme]) -> go.Figure:
    result, theme = about
    low, high = _extent(figure)
    claim = float(result.facts["claim"])
    mark = Look(name="claim", role="muted", dash="dot", listed=False)
    figure.add_trace(line(np.full(2, claim), np.array([low, high]), mark, theme))
    figure.add_trace(lettering([claim], [high], [f"{100 * claim:g}%"], theme, side="bottom right"))
    least = min(0.8 / len(result.heads), claim * 0.8)
    names = [f"{100 * mark:g}%" for mark in MARKS]
    figure.update_xaxes(type="log", range=[float(np.log10(least)), 0.1], tickvals=list(MARKS), ticktext=names)
    figure.update_xaxes(title=f"share of {result.unit}s (log)")
    steps = [int(step) / 5 for step in np.arange(np.ceil(low * 5), np.floor(high * 5) + 1)]
    figure.update_yaxes(range=[low, high], tickvals=steps, ticktext=[words.percent(at) for at in steps])
    figure.update_yaxes(title={"text": axis, "standoff": 8})
    return below(figure, height=440)


def _extent(figure: go.Figure) -> tuple[float, float]:
    """From 0 to 1 or as far as the numbers go, but no further than twice that: one wild band must not flatten all."""
    # The untrained twin's ratios have next to nothing below the line: their intervals may lie anywhere.
    shown = [trace for trace in traces(figure) if not (trace.fill and trace.meta == TWIN.role)]
    values = np.concatenate([np.zeros(1), *(np.asarray(trace.y, dtype=float) for trace in shown)])
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=1.0)
    return max(float(low), -1.0) - 0.04, min(float(high), 2.0) + 0.06


def below(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure with its legend under the picture, where any number of lines has room.

    Args:
        figure: the figure.
        height: of the whole, in pixels.
    """
    listed = sum(trace.showlegend is not False for trace in traces(figure))
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "font": {"size": 11}}
    # At the foot of the whole figure, with room for two names a line, as a narrow page has.
    legend |= {"yref": "container", "y": 0, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, showlegend=True, height=height, margin_b=58 + 20 * -(-listed // 2))
