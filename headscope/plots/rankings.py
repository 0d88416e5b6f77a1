"""Dots with interval bars: heads in order of effect, and the model's accuracy on every task."""

import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.grids import HOVER, details, select, title_of
from headscope.plots.theme import LIGHT, Theme, broken, layout, plain


def ranking(
    scores: pd.DataFrame, *, task: str, method: str, score: str, k: int = 20, theme: Theme = LIGHT
) -> go.Figure:
    """The first `k` heads by rank, each with its 95% interval and the 95% interval of its rank.

    Filled dots have q < 0.05 (Benjamini-Hochberg over the heads), hollow dots have not or were not tested. A dot
    without a bar has no interval. Heads without a value are left out; the note counts them.

    Args:
        scores: a run's tidy scores of one model.
        task: as for `select`.
        method: as for `select`.
        score: as for `select`.
        k: how many heads to show.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there is no such score, or `k` is below 1.

    Example:
        >>> scores = pd.DataFrame({"model": "m", "task": "ioi", "method": "ablation", "score": "zero", "layer": 0,
        ...     "head": [0, 1], "value": [0.2, 0.5], "low": 0.1, "high": 0.6, "n": 8, "groups": 4, "q": 0.01,
        ...     "rank": [2, 1], "rank_low": 1, "rank_high": 2, "unit": "logits", "signed": True, "flagged": False,
        ...     "reason": ""})
        >>> ranking(scores, task="ioi", method="ablation", score="zero").layout.yaxis.ticktext
        ('L0H1 [1-2]', 'L0H0 [1-2]')
    """
    if k < 1:
        raise UsageError(f"k = {k}", "a whole number of at least 1", "ask for k=20 heads, say")
    frame = words.loose(select(scores, task=task, method=method, score=score))
    known = frame.dropna(subset="value").sort_values("rank", kind="stable")
    shown, signed = known.head(k).reset_index(drop=True), bool(frame["signed"].iloc[0])
    titles = title_of(frame)
    titles["title"] = f"{task}: the first {len(shown)} of {len(frame)} heads by {method}, {score.replace('_', ' ')}"
    titles["note"] += "; in brackets the 95% interval of the rank" + _missing(len(frame) - len(known))
    figure = go.Figure(layout=layout(theme, **titles))
    found = shown["q"].lt(0.05)
    for rows, name, symbol in ((found, "q < 0.05", "circle"), (~found, "q >= 0.05 or not tested", "circle-open")):
        if rows.any():
            figure.add_trace(dots(shown[rows], name=name, symbol=symbol, theme=theme))
            said = [details(row, signed=signed) for row in shown[rows].itertuples()]
            figure.data[-1].update(customdata=said, hovertemplate=HOVER)
    names = [
        f"{Grid.label(row.layer, row.head)} [{words.ranks(row.rank_low, row.rank_high)}]" for row in shown.itertuples()
    ]
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=names,
        range=[len(shown) - 0.5, -0.5],
        gridcolor=theme.rule,
    )
    figure.update_xaxes(title=broken(str(frame["unit"].iloc[0]), 36), zeroline=True, zerolinecolor=theme.muted)
    return with_legend(figure, rows=len(shown), step=21)


def with_legend(figure: go.Figure, *, rows: int, step: int) -> go.Figure:
    """The figure with its legend above the picture, and as high as its rows need.

    Args:
        figure: dots in rows.
        rows: how many.
        step: the height of each, in pixels.
    """
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "font": {"size": 11}}
    top = figure.layout.margin.t + 24  # pyright: ignore[reportAttributeAccessIssue]
    return figure.update_layout(legend=legend, showlegend=True, margin_t=top, height=top + 90 + step * max(rows, 1))


def _missing(absent: int) -> str:
    return f"; {absent} without a number" if absent else ""


def dots(rows: pd.DataFrame, *, name: str, symbol: str, theme: Theme) -> go.Scatter:
    """Values as dots with interval bars, each in the row of its index.

    Args:
        rows: with `value`, `low` and `high`; a dot without an interval has no bar.
        name: in the legend.
        symbol: plotly's name of the mark.
        theme: the colours.
    """
    low, high = rows["value"] - rows["low"], rows["high"] - rows["value"]
    return go.Scatter(
        x=rows["value"].to_numpy(dtype=float),
        y=rows.index.to_numpy(),
        error_x={
            "type": "data",
            "array": high.to_numpy(dtype=float),
            "arrayminus": low.to_numpy(dtype=float),
            "thickness": 1.5,
            "width": 3,
            "color": theme.muted,
        },
        mode="markers",
        marker={"size": 9, "symbol": symbol, "color": theme.point, "line": {"width": 1.5, "color": theme.point}},
        name=plain(name),
        meta="points",
    )


def accuracies(tasks: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """The share of examples that the model gets right on every task, with 95% intervals.

    A hollow dot is a task that the model fails; a task that was skipped keeps its line and says so.

    Args:
        tasks: a run's task table.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Example:
        >>> tasks = pd.DataFrame({"model": "m", "task": ["ioi"], "status": "ok", "reason": "", "n": 8, "groups": 4,
        ...                       "accuracy": 0.75, "accuracy_low": 0.5, "accuracy_high": 1.0})
        >>> accuracies(tasks).data[0].x.tolist()
        [0.75]
    """
    rows = words.loose(tasks).reset_index(drop=True)
    note = f"share of examples answered rightly, 95% intervals; n = {words.counted(rows['n'])} examples a task"
    figure = go.Figure(layout=layout(theme, title="Does the model do the tasks?", note=note))
    styles = {"ok": ("done", "circle"), "failed": ("failed", "circle-open"), "skipped": ("skipped", "x")}
    for status, (name, symbol) in styles.items():
        chosen = rows[(rows["status"] == status) & rows["accuracy"].notna()]
        if not chosen.empty:
            answered = chosen.rename(columns={"accuracy": "value", "accuracy_low": "low", "accuracy_high": "high"})
            texts = [_accuracy_text(row) for row in chosen.itertuples()]
            figure.add_trace(dots(answered, name=name, symbol=symbol, theme=theme))
            figure.data[-1].update(text=texts, hovertemplate="%{text}<extra></extra>")
    names = [plain(str(row.task)) + ("" if pd.notna(row.accuracy) else f" ({row.status})") for row in rows.itertuples()]
    figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.5, -0.5])
    marks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    figure.update_xaxes(
        title="accuracy", range=[-0.02, 1.02], tickvals=marks, ticktext=[words.percent(mark) for mark in marks]
    )
    return with_legend(figure, rows=len(rows), step=26)


def _accuracy_text(row: object) -> str:
    task, status, reason = (plain(words.said(getattr(row, name))) for name in ("task", "status", "reason"))
    accuracy, low, high, n, groups = (
        float(getattr(row, name)) for name in ("accuracy", "accuracy_low", "accuracy_high", "n", "groups")
    )
    return (
        f"<b>{task}</b> {words.percent(accuracy)}<br>95% interval {words.percents(low, high)}"
        f"<br>n = {words.count(n)} in {words.count(groups)} groups<br>{status}" + (f": {reason}" if reason else "")
    )
