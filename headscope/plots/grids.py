"""Layer x head heatmaps of one score, and the rows behind them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from plotly import graph_objects as go

from headscope.errors import UsageError, meant
from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.theme import LIGHT, Theme, colourscale, layout, plain

FAILS = "Flagged: the model fails this task, so these numbers explain a failure"


def select(scores: pd.DataFrame, *, task: str, method: str, score: str, model: str | None = None) -> pd.DataFrame:
    """The rows of one score on one task, one row per head, layer by layer.

    Args:
        scores: a run's tidy scores.
        task: the task, as in the column of that name.
        method: the method.
        score: which of the method's scores.
        model: needed only where `scores` holds several models.

    Raises:
        UsageError: if there is no such score, or several models have it.

    Example:
        >>> scores = pd.DataFrame({"model": "m", "task": "ioi", "method": "ablation", "score": ["zero", "mean"],
        ...                        "layer": 0, "head": 0, "value": [0.5, 0.25]})
        >>> select(scores, task="ioi", method="ablation", score="mean")["value"].tolist()
        [0.25]
    """
    whole = words.loose(scores)
    rows = whole[(whole["task"] == task) & (whole["method"] == method) & (whole["score"] == score)]
    rows = rows if model is None else rows[rows["model"] == model]
    if rows.empty:
        raise _absent(whole, {"task": task, "method": method, "score": score, "model": model})
    if rows["model"].nunique() > 1:
        raise UsageError(
            f"scores of {rows['model'].nunique()} models",
            "one model: " + ", ".join(sorted(map(str, rows["model"].unique()))),
            "pass model=...",
        )
    return rows.sort_values(["layer", "head"], ignore_index=True)


def _absent(whole: Any, asked: Mapping[str, str | None]) -> UsageError:
    """The first of the names that the rows, narrowed by those before it, do not have; with those that they have."""
    told, rows, there, kind, name = [], whole, [], "", ""
    for kind, name in asked.items():
        there = [str(each) for each in rows[kind].unique()]
        if name is not None and name not in there:
            break
        told.append(f"{kind} {name!r}")
        rows = rows if name is None else rows[rows[kind] == name]
    whose = f" for {', '.join(told)}" if told else ""
    expected = f"one of: {', '.join(there)}" if there else "a frame with rows"
    fix = meant(str(name), there, f"choose one of these, or run headscope analyze with this {kind}")
    return UsageError(f"{kind} {name!r}, which these scores do not have{whose}", expected, fix)


def title_of(frame: pd.DataFrame) -> dict[str, Any]:
    """The title, the note under it (unit, n) and the flag of a frame from `select`."""
    rows = words.loose(frame)
    first, groups = rows.iloc[0], words.counted(rows["groups"])
    return {
        "title": f"{first['task']}: {first['method']}, {first['score'].replace('_', ' ')}",
        "note": f"unit: {first['unit']}; n = {words.counted(rows['n'])} examples in {groups} groups",
        "flag": FAILS if bool(rows["flagged"].any()) else "",
        "asked": {name: str(first[name]) for name in ("task", "method", "score", "model")},
    }


HOVER = (
    "<b>%{customdata[0]}</b> %{customdata[1]}<br>95% interval %{customdata[2]}"
    "<br>n = %{customdata[3]} in %{customdata[4]} groups; q %{customdata[5]}"
    "<br>rank %{customdata[6]}, 95% interval %{customdata[7]}<extra></extra>"
)
"""What a mark says of its head: all that a reader needs to judge the number. Filled from `details`."""


def details(row: Any, *, signed: bool) -> tuple[str, ...]:
    """The words of one head that `HOVER` puts together; kept apart from it, since they are all that differs."""
    return (
        Grid.label(int(row.layer), int(row.head)),
        words.number(row.value, signed=signed),
        words.interval(row.low, row.high, signed=signed),
        words.count(row.n),
        words.count(row.groups),
        words.probability(row.q),
        words.count(row.rank),
        words.ranks(row.rank_low, row.rank_high),
    )


def with_roles(figure: go.Figure, roles: Mapping[str, str]) -> go.Figure:
    """A heatmap or a ranking whose marks also say, on hover, what their head does.

    Args:
        figure: from `heatmap` or `headscope.plots.ranking`.
        roles: head -> its roles in a few words; heads that are not in it say nothing of a role.

    Returns:
        The same figure.

    Example:
        >>> figure = go.Figure(go.Scatter(x=[1], y=[0], customdata=[["L0H0"]], hovertemplate="%{customdata[0]}"))
        >>> with_roles(figure, {"L0H0": "sink"}).data[0].hovertemplate
        '%{customdata[0]}<br>role: %{customdata[1]}'
    """
    traces: Any = figure.data
    for trace in traces if roles else ():
        words_of = np.array(trace.customdata, dtype=object) if trace.customdata is not None else np.empty(0)
        if words_of.ndim < 2:
            continue
        said = [plain(roles.get(str(label), "not looked for")) for label in words_of[..., 0].ravel()]
        role = np.array(said, dtype=object).reshape(*words_of.shape[:-1], 1)
        line = f"<br>role: %{{customdata[{words_of.shape[-1]}]}}"
        body, end, rest = trace.hovertemplate.partition("<extra>")
        trace.update(customdata=np.concatenate([words_of, role], axis=-1), hovertemplate=body + line + end + rest)
    return figure


def heatmap(
    scores: pd.DataFrame, *, task: str, method: str, score: str, model: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """One score of every head: layers downwards from 0, heads to the right, as the field draws it.

    Effects have a red-blue scale centred at 0; attention scores a one-hue scale from 0 (to 1 for shares). Heads
    without a number are grey, and say why.

    Args:
        scores: a run's tidy scores.
        task: as for `select`.
        method: as for `select`.
        score: as for `select`.
        model: as for `select`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; `select(scores, **question(figure))` is its frame.

    Raises:
        UsageError: as for `select`.

    Cost: milliseconds per hundred heads.

    Example:
        >>> scores = pd.DataFrame({"model": "m", "task": "ioi", "method": "ablation", "score": "zero", "layer": 0,
        ...     "head": [0, 1], "value": [0.5, np.nan], "low": 0.4, "high": 0.6, "n": 8, "groups": 4, "q": 0.01,
        ...     "rank": 1, "rank_low": 1, "rank_high": 1, "unit": "logits", "signed": True, "flagged": False,
        ...     "reason": "no data"})
        >>> heatmap(scores, task="ioi", method="ablation", score="zero").data[0].zmin
        -0.5
    """
    frame = words.loose(select(scores, task=task, method=method, score=score, model=model))
    signed = bool(frame["signed"].iloc[0])
    layers, heads = int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1
    values = np.full((layers, heads), np.nan)
    said = np.full((layers, heads, 8), "", dtype=object)
    reasons = {(layer, head): "not scored" for layer in range(layers) for head in range(heads)}
    for row in frame.itertuples(index=False):
        place = int(row.layer), int(row.head)
        values[place] = row.value
        reasons[place] = words.said(row.reason) or "no reason was recorded"
        if np.isfinite(values[place]):
            said[place] = details(row, signed=signed)
    figure = go.Figure(layout=layout(theme, **title_of(frame)))
    figure.add_trace(_cells(values, said, unit=str(frame["unit"].iloc[0]), signed=signed, theme=theme))
    if np.isnan(values).any():
        figure.add_trace(_grey(np.isnan(values), reasons, theme))
    figure.update_xaxes(title="head", range=[-0.5, heads - 0.5], showgrid=False, **_ticks(heads))
    figure.update_yaxes(title="layer", range=[layers - 0.5, -0.5], showgrid=False, **_ticks(layers))
    return figure.update_layout(height=max(300, min(900, 160 + 26 * layers)))


def _cells(
    values: Float[np.ndarray, "layer head"], said: np.ndarray, *, unit: str, signed: bool, theme: Theme
) -> go.Heatmap:
    known = values[np.isfinite(values)]
    # A score that is the same everywhere (or nowhere known) still needs a range, or plotly draws it off its own centre.
    limit = float(np.abs(known).max(initial=0.0)) or 1.0
    if not signed and "share" in unit:
        limit = 1.0
    return go.Heatmap(
        z=values,
        zmin=-limit if signed else min(0.0, float(known.min(initial=0.0))),
        zmax=limit,
        zmid=0.0 if signed else None,
        colorscale=colourscale(theme.diverging if signed else theme.sequential),
        colorbar={"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}},
        customdata=said,
        hovertemplate=HOVER,
        hoverongaps=False,
        xgap=1,
        ygap=1,
        meta="diverging" if signed else "sequential",
    )


def _grey(missing: Bool[np.ndarray, "layer head"], reasons: dict[tuple[int, int], str], theme: Theme) -> go.Heatmap:
    texts = np.full(missing.shape, "", dtype=object)
    for layer, head in np.argwhere(missing).tolist():
        texts[layer, head] = f"<b>{Grid.label(layer, head)}</b><br>no number: {plain(reasons[layer, head])}"
    return go.Heatmap(
        z=np.where(missing, 1.0, np.nan),
        colorscale=colourscale((theme.absent, theme.absent)),
        showscale=False,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        meta="absent",
    )


def _ticks(size: int) -> dict[str, Any]:
    places = list(range(0, size, max(1, -(-size // 16))))
    return {"tickvals": places, "ticktext": [str(place) for place in places]}
