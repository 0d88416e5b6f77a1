"""How far methods rank heads alike, as a matrix."""

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.plots import words
from headscope.plots.theme import LIGHT, Theme, colourscale, layout, plain


def method_agreement(frame: pd.DataFrame, *, task: str, theme: Theme = LIGHT) -> go.Figure:
    """Spearman's rank correlation of every two causal scores of a task, over all heads.

    Args:
        frame: from `headscope.profiles.agreement.method_agreement`: the columns task, one, other, rho, low, high,
            heads, n and reason.
        task: which task.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown, and needs `layout.meta["least"]` pixels across to be read; hovering
        gives the 95% interval and the number of heads.

    Raises:
        UsageError: if the frame has no two scores of the task.

    Example:
        >>> frame = pd.DataFrame({"task": ["ioi"], "one": ["patching noising"], "other": ["ablation zero"],
        ...     "rho": [0.5], "low": [0.3], "high": [0.7], "heads": [96], "n": [40], "reason": [""]})
        >>> method_agreement(frame, task="ioi").data[0].text.tolist()
        [['', '0.50'], ['0.50', '']]
    """
    whole = words.loose(frame)
    rows = words.loose(whole[whole["task"] == task])
    if rows.empty:
        known = ", ".join(map(str, dict.fromkeys(whole["task"]))) or "(none)"
        raise UsageError(f"task {task!r}", f"a task with two causal scores: {known}", "choose one of these")
    names = list(dict.fromkeys([*rows["one"], *rows["other"]]))
    place = {name: at for at, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    shown, said = (np.full(values.shape, "", dtype=object) for _ in range(2))
    for row in rows.itertuples(index=False):
        for at in ((place[row.one], place[row.other]), (place[row.other], place[row.one])):
            values[at] = row.rho
            shown[at] = f"{row.rho:.2f}" if np.isfinite(row.rho) else "-"
            said[at] = _said(row)
    note = f"Spearman's rank correlation of mean effects over {words.counted(rows['heads'])} heads; "
    note += f"n = {words.counted(rows['n'])} examples"
    figure = go.Figure(layout=layout(theme, title=f"{task}: how far the methods agree", note=note))
    figure.add_trace(
        go.Heatmap(
            z=values, zmin=-1, zmax=1, zmid=0, colorscale=colourscale(theme.diverging), text=shown,
            texttemplate="%{text}", customdata=said, hovertemplate="%{customdata}<extra></extra>", hoverongaps=False,
            colorbar={"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}}, xgap=1, ygap=1, meta="diverging",
        )
    )  # fmt: skip
    marks = {"tickvals": list(range(len(names))), "showgrid": False}
    texts = [plain(name.replace("_", " ")) for name in names]
    figure.update_xaxes(range=[-0.5, len(names) - 0.5], ticktext=texts, tickangle=-40, **marks)
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], ticktext=texts, **marks)
    figure.layout.meta["least"] = 230 + 42 * len(names)  # pyright: ignore[reportAttributeAccessIssue]
    return figure.update_layout(height=220 + 30 * len(names))


def _said(row: object) -> str:
    rho, low, high = (float(getattr(row, name)) for name in ("rho", "low", "high"))
    span = words.interval(low, high, signed=True)
    span += f" ({plain(words.said(getattr(row, 'reason', '')))})" if span == "none" else ""
    return (
        f"<b>{plain(str(getattr(row, 'one', '')))}</b><br>against {plain(str(getattr(row, 'other', '')))}"
        f"<br>rank correlation {words.number(rho, signed=True)}<br>95% interval {span}"
        f"<br>{words.count(getattr(row, 'heads', float('nan')))} heads"
    )
