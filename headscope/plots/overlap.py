"""Which heads tasks share: a matrix of overlaps, and two or three sets of heads as circles."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.few.outcome import Few
from headscope.plots import words
from headscope.plots.few import below
from headscope.plots.lines import FAINT, lettering, paint
from headscope.plots.theme import LIGHT, Theme, colourscale, layout, plain

LISTED = 6
"""Heads that a field of the circles has room to name."""


def few_overlap(overlaps: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """How far the top heads of each two tasks are the same: Jaccard, and in brackets what chance would give.

    Args:
        overlaps: from `headscope.few.overlaps`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there are no two tasks.

    Example:
        >>> rows = pd.DataFrame({"one": ["ioi"], "other": ["agreement"], "shared": "L0H1 L1H2",
        ...                      "jaccard": 0.5, "low": 0.2, "high": 0.8, "chance": 0.02})
        >>> few_overlap(rows).data[0].text[0][1]
        '.50<br>(.02)'
    """
    rows = words.loose(overlaps)
    if rows.empty:
        raise UsageError("overlaps of no two tasks", "at least two tasks with heads", "run the verdict on two tasks")
    names = list(dict.fromkeys([*rows["one"], *rows["other"]]))
    values = np.full((len(names), len(names)), np.nan)
    shown, said = (np.full(values.shape, "", dtype=object) for _ in range(2))
    for row in rows.itertuples():
        i, j = names.index(row.one), names.index(row.other)
        hover = (
            f"<b>{plain(row.one)} and {plain(row.other)}</b><br>shared: {plain(words.said(row.shared)) or 'none'}"
            f"<br>Jaccard {words.number(row.jaccard)}, 95% interval {words.interval(row.low, row.high)}"
            f"<br>two random sets: {words.number(row.chance)}"
        )
        for place in ((i, j), (j, i)):
            values[place], said[place] = row.jaccard, hover
            shown[place] = f"{_short(row.jaccard)}<br>({_short(row.chance)})"
    note = "Jaccard: shared heads as a part of those of either task; in brackets: of two random sets of as many heads"
    figure = go.Figure(layout=layout(theme, title="Do tasks share their top heads?", note=note))
    figure.add_trace(_cells(values, shown, said, theme))
    ticks = {"tickvals": list(range(len(names))), "ticktext": [plain(name) for name in names], "showgrid": False}
    figure.update_xaxes(range=[-0.5, len(names) - 0.5], tickangle=-40 if len(names) > 3 else 0, **ticks)
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], **ticks)
    return figure.update_layout(height=max(300, 170 + 44 * len(names)))


def _cells(values: np.ndarray, shown: np.ndarray, said: np.ndarray, theme: Theme) -> go.Heatmap:
    return go.Heatmap(
        z=values,
        zmin=0.0,
        zmax=1.0,
        colorscale=colourscale(theme.sequential),
        colorbar={"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}},
        text=shown,
        texttemplate="%{text}",
        customdata=said,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        meta="sequential",
    )


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}".replace("0.", ".", 1)


class _Field(NamedTuple):
    """A part of the picture that belongs to the same sets: where its words stand."""

    members: tuple[int, ...]
    x: float
    y: float


RADIUS = 1.0
_TWO = (
    ((-0.6, 0.0), (0.6, 0.0)),
    (_Field((0,), -1.0, 0), _Field((1,), 1.0, 0), _Field((0, 1), 0, 0)),
)
_THREE = (
    ((-0.6, 0.4), (0.6, 0.4), (0.0, -0.64)),
    (
        *(_Field((0,), -1.0, 0.65), _Field((1,), 1.0, 0.65), _Field((2,), 0, -1.15)),
        *(_Field((0, 1), 0, 0.8), _Field((0, 2), -0.62, -0.3), _Field((1, 2), 0.62, -0.3), _Field((0, 1, 2), 0, 0.04)),
    ),
)


def few_shared(results: Sequence[Few], *, k: int | None = None, theme: Theme = LIGHT) -> go.Figure:
    """The top heads of two or three tasks as circles, with each head's label where it belongs.

    Args:
        results: of two or three tasks, of one model.
        k: how many heads of each task; by default as many as their verdicts are about.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there are not two or three tasks with heads, or `k` is below 1.
    """
    able = [result for result in results if len(result.heads)]
    if len(able) not in (2, 3) or (k is not None and k < 1):
        given = f"{len(able)} tasks with heads" + ("" if k is None else f", k {k}")
        raise UsageError(given, "2 or 3 tasks, 1 or more heads", "choose among the tasks, or draw few_overlap of all")
    size = len(able[0].heads)
    k = int(able[0].facts["k"]) if k is None else min(k, size)
    tops = [words.loose(each.heads).sort_values("rank", kind="stable").head(k)["label"].tolist() for each in able]
    title = f"The top {k} of {size} {able[0].unit}s: {', '.join(each.task for each in able)}"
    note = f"in the middle: shared; each task's heads were selected on its own examples ({100 * k / size:.1f}% of all)"
    figure = go.Figure(layout=layout(theme, title=title, note=note))
    centres, fields = _TWO if len(able) == 2 else _THREE
    for index, (each, (x, y)) in enumerate(zip(able, centres, strict=True)):
        figure.add_trace(_circle(x, y, f"{each.task} ({k})", f"series-{index}", theme))
    texts = [_listed(tops, field.members) for field in fields]
    lettered: Any = lettering([field.x for field in fields], [field.y for field in fields], texts, theme)
    # Line breaks are ours, and labels come from the grid.
    figure.add_trace(lettered.update(text=texts))
    low = -1.75 if len(able) == 3 else -1.1
    hidden = {"showgrid": False, "showticklabels": False, "zeroline": False, "ticks": "", "showline": False}
    figure.update_xaxes(range=[-1.7, 1.7], **hidden)
    figure.update_yaxes(range=[low, 1.5 if len(able) == 3 else 1.1], scaleanchor="x", **hidden)
    return below(figure, height=460 if len(able) == 3 else 360)


def _listed(tops: list[list[str]], members: tuple[int, ...]) -> str:
    """The heads that belong to just these tasks, in the order of the first."""
    others = [set(top) for index, top in enumerate(tops) if index not in members]
    common = [label for label in tops[members[0]] if all(label in tops[index] for index in members[1:])]
    mine = [label for label in common if not any(label in other for other in others)]
    more = [f"and {len(mine) - LISTED} more"] if len(mine) > LISTED else []
    return "<br>".join(mine[:LISTED] + more)


def _circle(x: float, y: float, name: str, role: str, theme: Theme) -> go.Scatter:
    turn = np.linspace(0, 2 * np.pi, 97)
    colour = paint(theme, role)
    return go.Scatter(
        x=(x + RADIUS * np.cos(turn)).astype(np.float32),
        y=(y + RADIUS * np.sin(turn)).astype(np.float32),
        mode="lines",
        line={"color": colour, "width": 2, "dash": ("solid", "dash", "dot")[int(role[-1])]},
        fill="toself",
        fillcolor=colour + FAINT,
        hoverinfo="skip",
        name=plain(name),
        meta=role,
    )
