"""A deductive circuit in figures: paths among its heads, how deep they are, what is lost without them, and controls."""

from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.plots import words
from headscope.plots.few import below
from headscope.plots.lines import Look, band, lettering, line, paint
from headscope.plots.rankings import dots, with_legend
from headscope.plots.theme import LIGHT, Theme, layout, plain

DRAWN = 10
"""Edges that are drawn of each role; the source draws ten."""

THICK, THIN = 9.0, 1.0
"""Widths of the strongest edge and of one of no effect, in pixels."""

GAP = 0.27
"""Between a head and its name, in layers."""

HELPS = Look(name="helps the answer", role="series-0")
HURTS = Look(name="works against it", role="series-1")


def path_edges(
    edges: pd.DataFrame, *, role: str, score: str = "logit_difference", count: int = DRAWN, theme: Theme = LIGHT
) -> go.Figure:
    """The strongest paths among the heads of a role: layers downwards; within one, reading heads before decision heads.

    An edge is as thick as its effect is large, solid where q < .05 (Benjamini-Hochberg over the edges of the role) and
    dotted elsewhere; blue edges help the answer, orange ones work against it.

    Args:
        edges: from `headscope.deduction.edge_table`.
        role: the corruption.
        score: `logit_difference`, or `paper` (equation 3: there an edge that helps is negative).
        count: how many edges, the strongest.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; every edge says its interval.

    Raises:
        UsageError: if the role has no edges.

    Example:
        >>> row = {"role": "rules", "sender": "L0H8", "sender_kind": "reading", "receiver": "L2H1", "n": 9, "groups": 9,
        ...        "receiver_kind": "decision", "score": "logit_difference", "value": 0.5, "low": 0.4, "high": 0.6,
        ...        "q": 0.01, "unit": "logits"}
        >>> path_edges(pd.DataFrame([row]), role="rules").data[0].line.width
        9.0
    """
    every = words.loose(edges)
    rows = every[(every["role"] == role) & (every["score"] == score)]
    if rows.empty:
        there = ", ".join(dict.fromkeys(f"{a} / {b}" for a, b in zip(every["role"], every["score"], strict=True)))
        raise UsageError(
            f"edges of role {role!r}, score {score!r}", f"one of: {there or 'none'}", "choose one of these"
        )
    shown = rows.sort_values("value", key=np.abs, ascending=False, kind="stable").head(count).iloc[::-1]
    places = _places(shown)
    most = float(shown["value"].abs().max()) or 1.0
    note = f"path patching; unit: {rows['unit'].iloc[0]}; n = {words.counted(rows['n'])} pairs; the {len(shown)} "
    note += f"strongest of {len(rows)} edges, the thickest {words.number(most)}; dotted: q >= 0.05"
    figure = go.Figure(layout=layout(theme, title=f"{role}: which head hears which", note=note))
    helps = -1 if score == "paper" else 1
    named: set[str] = set()
    for row in shown.itertuples(index=False):
        look = HELPS if helps * row.value > 0 else HURTS
        trace = _edge(row, look, places, theme, first=look.name not in named)
        named.add(look.name)
        figure.add_trace(trace.update(line={"width": THIN + (THICK - THIN) * abs(row.value) / most}))
    return _nodes(figure, places, theme)


Place = tuple[str, str]


def _places(shown: Any) -> dict[Place, tuple[float, int]]:
    """Where each head stands: across by kind and number among those of its layer, down by its layer."""
    ends = {
        (getattr(row, f"{end}_kind"), getattr(row, end)) for row in shown.itertuples() for end in ("sender", "receiver")
    }
    layers: dict[int, list[tuple[bool, int, Place]]] = {}
    for kind, name in ends:
        layer, head = (int(number) for number in name[1:].split("H"))
        layers.setdefault(layer, []).append((kind == "decision", head, (kind, name)))
    return {
        place: (at / (len(row) + 1), layer)
        for layer, row in layers.items()
        for at, (_, _, place) in enumerate(sorted(row), start=1)
    }


def _edge(row: Any, look: Look, places: dict[Place, tuple[float, int]], theme: Theme, *, first: bool) -> go.Scatter:
    (x, y), (to_x, to_y) = places[row.sender_kind, row.sender], places[row.receiver_kind, row.receiver]
    steps = np.linspace(0, 1, 5)
    style = Look(name=look.name, role=look.role, dash="solid" if row.q < 0.05 else "dot", listed=first)
    told = (
        f"{row.sender} ({row.sender_kind}) to {row.receiver} ({row.receiver_kind})",
        f"{words.number(row.value, signed=True)} {plain(row.unit)}",
        words.interval(row.low, row.high, signed=True),
        f"q {words.probability(row.q)}; n = {words.count(row.n)} in {words.count(row.groups)} groups",
    )
    text = "<b>%{customdata[0]}</b><br>%{customdata[1]}, 95% interval %{customdata[2]}<br>%{customdata[3]}"
    return line(x + steps * (to_x - x), y + steps * (to_y - y), style, theme, (text, [told] * len(steps)))


def _nodes(figure: go.Figure, places: dict[Place, tuple[float, int]], theme: Theme) -> go.Figure:
    for kind, symbol in (("reading", "circle"), ("decision", "square")):
        own = {name: at for (of, name), at in places.items() if of == kind}
        if own:
            x, y = (np.array([at[axis] for at in own.values()], dtype=float) for axis in (0, 1))
            look = Look(name=f"{kind} heads", role="muted", symbol=symbol)
            figure.add_trace(line(x, y, look, theme).update(mode="markers", marker={"size": 11}))
    layers = sorted({layer for _, layer in places.values()})
    # Above the first layer and below the others, where fewer edges pass.
    x, y = ([at[axis] + (0.0, -GAP if at[1] == layers[0] else GAP)[axis] for at in places.values()] for axis in (0, 1))
    figure.add_trace(lettering(x, y, [name for _, name in places], theme))
    figure.update_xaxes(range=[0, 1], showticklabels=False, showgrid=False)
    figure.update_yaxes(
        range=[max(layers) + 0.55, min(layers) - 0.55], tickvals=layers, ticktext=[f"layer {layer}" for layer in layers]
    )
    return below(figure, height=max(300, 190 + 62 * (max(layers) - min(layers) + 1)))


DASHES = ("solid", "dash", "dot", "dashdot")


def layer_curve(layers: pd.DataFrame, *, kind: str, score: str = "paper", theme: Theme = LIGHT) -> go.Figure:
    """The source's layer score of every role, by layer: the mean effect of the top 15% of a layer's heads.

    Args:
        layers: from `headscope.deduction.layer_scores`.
        kind: `reading` or `decision`.
        score: `paper` (probability, the source) or `both` (logits).
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there are no such rows.

    Example:
        >>> table = pd.DataFrame({"role": "rules", "kind": "reading", "score": "paper", "layer": [0, 1], "n": 9,
        ...     "value": [0.5, 0.2], "low": 0.1, "high": 0.6, "unit": "probability", "heads": 1})
        >>> layer_curve(table, kind="reading").data[1].x.tolist()
        [0.0, 1.0]
    """
    every = words.loose(layers)
    rows = every[(every["kind"] == kind) & (every["score"] == score)]
    if rows.empty:
        raise UsageError(f"layers of {kind!r} heads, score {score!r}", "a table of both kinds", "choose what it has")
    what = {"paper": "AIE (equation 1)", "both": "effect, both directions,"}.get(score, score)
    note = f"mean {what} of the top 15% of a layer's heads; unit: {plain(str(rows['unit'].iloc[0]))}, 95% intervals; "
    note += f"n = {words.counted(rows['n'])} pairs a role; above 0 even by chance, as the best of many are"
    figure = go.Figure(layout=layout(theme, title=f"In which layers {kind} heads act", note=note))
    for index, (role, own) in enumerate(rows.groupby("role", sort=False)):
        _curve(figure, own, f"{role}", index, theme)
    figure.update_xaxes(title="layer", tickvals=sorted(set(rows["layer"].astype(int))))
    figure.update_yaxes(title={"text": "layer score", "standoff": 8}, **_ticks(rows["high"]))
    return below(figure, height=380)


def _curve(figure: go.Figure, rows: Any, name: str, index: int, theme: Theme) -> None:
    role = f"series-{index}" if index < 4 else "muted"
    look = Look(name=name.replace("_", " "), role=role, dash=DASHES[index % 4], symbol="circle")
    x, value, low, high = (rows[column].to_numpy(dtype=float) for column in ("layer", "value", "low", "high"))
    cells = [
        (str(int(layer)), words.number(v), words.interval(a, b))
        for layer, v, a, b in zip(x, value, low, high, strict=True)
    ]  # fmt: skip
    text = f"<b>{plain(look.name)}</b>, layer %{{customdata[0]}}<br>%{{customdata[1]}}, 95% interval %{{customdata[2]}}"
    figure.add_trace(band(x, low, high, look, theme))
    figure.add_trace(line(x, value, look, theme, (text, cells)))


def _ticks(values: Any) -> dict[str, Any]:
    """Round numbers from 0 to the largest, which the picture as SVG needs to be told."""
    most = float(np.nanmax(values.to_numpy(dtype=float), initial=0.0)) or 1.0
    step = 10.0 ** np.floor(np.log10(most))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if most / (step * part) <= 6)
    marks = [round(float(mark), 12) for mark in np.arange(0, most + step / 2, step)]
    return {"tickvals": marks, "ticktext": [f"{mark:g}" for mark in marks], "range": [-0.03 * most, 1.08 * most]}


def readable_curve(lens: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """After which layer the gold token is the likeliest, by component (the logit lens).

    Args:
        lens: from `headscope.deduction.lens_table`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; the first point is before the first layer, the dotted line the middle of all.

    Raises:
        UsageError: if there are no such rows.

    Example:
        >>> table = pd.DataFrame({"component": "answer", "step": -1, "layer": [-1, 0], "measure": "right", "n": 9,
        ...     "value": [0.0, 1.0], "low": 0.0, "high": 1.0})
        >>> readable_curve(table).data[1].y.tolist()
        [0.0, 1.0]
    """
    every = words.loose(lens)
    rows = every[(every["measure"] == "right") & (every["step"] == -1) & (every["component"] != "syntax")]
    if rows.empty:
        raise UsageError("a lens table without rows of `right`", "one from lens_table", "run the lens again")
    note = f"share of gold tokens that are the likeliest, 95% intervals; n = {words.counted(rows['n'])} chains; "
    note += "-1: before the first layer; dotted: the middle of the layers"
    figure = go.Figure(layout=layout(theme, title="When the right token becomes readable (logit lens)", note=note))
    for index, (component, own) in enumerate(rows.groupby("component", sort=False)):
        _curve(figure, own, str(component), index, theme)
    last = int(rows["layer"].max())
    mark = Look(name="middle", role="muted", dash="dot", listed=False)
    figure.add_trace(line(np.full(2, last / 2), np.array([0.0, 1.0]), mark, theme))
    figure.update_xaxes(title="after layer", tickvals=list(range(-1, last + 1)), range=[-1.3, last + 0.3])
    marks = [0.0, 0.25, 0.5, 0.75, 1.0]
    figure.update_yaxes(range=[-0.03, 1.05], tickvals=marks, ticktext=[words.percent(mark) for mark in marks])
    figure.update_yaxes(title={"text": "tokens readable", "standoff": 8})
    return below(figure, height=400)


TOP = Look(name="top heads of all roles", role="series-0", symbol="circle")
CONTROLS = {
    "uniform": Look(name="random heads", role="muted", dash="dot"),
    "layer": Look(name="random heads, same layers", role="series-2", dash="dashdot"),
}
SINGLE = {
    "all": Look(name="the selection", role="series-0", symbol="diamond"),
    "untrained": Look(name="chosen on the untrained twin", role="series-3", symbol="square-open"),
    "shuffled": Look(name="chosen with exchanged twins", role="series-1", symbol="triangle-up-open"),
}
"""Sets that are one point: the selection, and what controls choose in its place."""


def ablation_curve(
    ablation: pd.DataFrame, *, heads: int, mode: str, measure: str = "step_accuracy", claim: float = 0.03,
    theme: Theme = LIGHT,
) -> go.Figure:  # fmt: skip
    """What is left on gold chains without the first heads of all roles, against how many they are.

    Beside them: 95% of random sets of the same size, drawn from all heads and from the same layers; and as single
    points the selection of the claim and what the controls select.

    Args:
        ablation: from `headscope.deduction.ablation_table`.
        heads: how many heads the model has.
        mode: how heads are removed.
        measure: one of `headscope.deduction.ablation.MEASURES`.
        claim: the claimed share, which is marked.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if nothing was measured in this mode.

    Example:
        >>> row = {"where": "chains", "measure": "step_accuracy", "set": "top 2", "size": 2, "mode": "zero", "n": 9,
        ...        "value": 0.2, "low": 0.1, "high": 0.3, "control": "uniform", "sets": 20, "random": 0.9, "p": 0.05,
        ...        "random_low": 0.8, "random_high": 1.0, "intact": 1.0}
        >>> ablation_curve(pd.DataFrame([row]), heads=100, mode="zero").data[-3].name
        'top heads of all roles'
    """
    every = words.loose(ablation)
    rows = every[(every["where"] == "chains") & (every["measure"] == measure) & (every["mode"] == mode)]
    if rows.empty:
        raise UsageError(
            f"ablation {mode!r}, measure {measure!r}", "what was measured on chains", "choose what the table has"
        )  # fmt: skip
    top = rows[rows["set"].str.startswith("top ")].sort_values("size")
    note = f"{measure.replace('_', ' ')} on gold chains, {mode} ablation; bands: 95% intervals and 95% of the random "
    note += f"sets ({words.counted(top['sets'])} of each kind and size); n = {words.counted(rows['n'])} chains"
    figure = go.Figure(layout=layout(theme, title=f"What is left without the first heads, {mode} ablation", note=note))
    for name, look in CONTROLS.items():
        own = top[top["control"] == name]
        if len(own):
            _random(figure, own, look, (heads, theme))
    _points(figure, top.drop_duplicates("size"), TOP, (heads, theme), band_too=True)
    for name, look in SINGLE.items():
        own = rows[rows["set"] == name].drop_duplicates("set")
        if len(own):
            _points(figure, own, look, (heads, theme))
    mark = Look(name="claim", role="muted", dash="dot", listed=False)
    figure.add_trace(line(np.full(2, claim), np.array([0.0, 1.0]), mark, theme))
    figure.add_trace(lettering([claim], [1.06], [f"{100 * claim:g}%"], theme, side="middle right"))
    shares = sorted(set((rows.loc[rows["set"].str.startswith("top "), "size"] / heads).tolist()) | {claim})
    low, high = min(shares) / 1.4, max(shares) * 1.4
    marks = [at for at in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if low <= at <= high]
    figure.update_xaxes(type="log", range=[float(np.log10(low)), float(np.log10(high))], tickvals=marks,
                        ticktext=[f"{100 * at:g}%" for at in marks], title="share of heads removed (log)")  # fmt: skip
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    figure.update_yaxes(range=[-0.03, 1.1], tickvals=steps, ticktext=[words.percent(step) for step in steps])
    figure.update_yaxes(title={"text": measure.replace("_", " "), "standoff": 8})
    return below(figure, height=430)


def _counted(size: words.Number, heads: int) -> str:
    return f"{size:.0f} heads ({size / heads:.1%} of {heads})"


def _random(figure: go.Figure, rows: Any, look: Look, about: tuple[int, Theme]) -> None:
    heads, theme = about
    x = (rows["size"] / heads).to_numpy(dtype=float)
    value, low, high = (rows[name].to_numpy(dtype=float) for name in ("random", "random_low", "random_high"))
    cells = [
        (_counted(row.size, heads), f"{row.sets:.0f}", words.number(row.random),
         words.interval(row.random_low, row.random_high), f"{row.p:.3f}")
        for row in rows[["size", "sets", "random", "random_low", "random_high", "p"]].itertuples(index=False)
    ]  # fmt: skip
    text = f"<b>{look.name}</b>, %{{customdata[0]}}<br>mean of %{{customdata[1]}} sets %{{customdata[2]}}, 95% of them "
    text += "in %{customdata[3]}<br>sets that cost as much as the top heads: p = %{customdata[4]}"
    figure.add_trace(band(x, low, high, look, theme))
    figure.add_trace(line(x, value, look, theme, (text, cells)))


def _points(figure: go.Figure, rows: Any, look: Look, about: tuple[int, Theme], *, band_too: bool = False) -> None:
    heads, theme = about
    x = (rows["size"] / heads).to_numpy(dtype=float)
    value, low, high = (rows[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    cells = [
        (_counted(size, heads), words.number(v), words.interval(a, b))
        for size, v, a, b in zip(rows["size"], value, low, high, strict=True)
    ]  # fmt: skip
    text = f"<b>{look.name}</b>, %{{customdata[0]}}<br>%{{customdata[1]}}, 95% interval %{{customdata[2]}}"
    if band_too:
        figure.add_trace(band(x, low, high, look, theme))
    trace = line(x, value, look, theme, (text, cells))
    if not band_too:
        ends = {"array": high - value, "arrayminus": value - low, "thickness": 1.5, "width": 4}
        trace.update(
            mode="markers", marker={"size": 11}, error_y={"type": "data", **ends, "color": paint(theme, look.role)}
        )
    figure.add_trace(trace)


BESIDE = {"trained": ("the model", "circle", 0.0), "shuffled": ("exchanged twins", "diamond-open", 0.25),
          "untrained": ("untrained twin", "square-open", 0.5)}  # fmt: skip


EFFECTS = {
    "held out effect": "by the score that ranks heads, on the half of the pairs that did not choose the head",
    "best effect": "by the score that ranks heads, of all heads the largest",
    "held out": "average indirect effect (equation 1), on the half of the pairs that did not choose the head",
    "best": "average indirect effect (equation 1), of all heads the largest",
}
"""What is shown of controls."""


def control_effects(controls: pd.DataFrame, *, measure: str = "held out effect", theme: Theme = LIGHT) -> go.Figure:
    """The best head's effect for each role and kind, beside what the controls find.

    Args:
        controls: a circuit's.
        measure: `held out effect`, by the score that ranks heads, or `held out`, by equation 1: chosen on one half of
            the pairs and measured on the other; or `best effect`, `best`: chosen and measured on all of them.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there is no such measure.

    Example:
        >>> table = pd.DataFrame({"control": ["trained", "untrained"], "role": "rules", "kind": "reading",
        ...     "measure": "best", "value": [0.3, 0.0], "low": 0.0, "high": 0.4, "n": 30, "unit": "probability"})
        >>> [trace.x.tolist() for trace in control_effects(table, measure="best").data]
        [[0.3], [0.0]]
    """
    every = words.loose(controls)
    rows = every[(every["measure"] == measure) & every["value"].notna()]
    if rows.empty:
        there = [name for name in EFFECTS if name in set(every["measure"])]
        raise UsageError(f"measure {measure!r} of controls", f"one of: {', '.join(there)}", "choose one of these")
    keys = list(dict.fromkeys(zip(rows["role"], rows["kind"], strict=True)))
    rows = rows.assign(place=[keys.index(key) for key in zip(rows["role"], rows["kind"], strict=True)])
    unit = str(rows["unit"].iloc[0])
    note = f"{EFFECTS.get(measure, measure)}; unit: {unit}, 95% intervals; n = {words.counted(rows['n'])} pairs"
    figure = go.Figure(layout=layout(theme, title="The best head's effect, and that of controls", note=note))
    for control, (name, symbol, under) in BESIDE.items():
        own = rows[rows["control"] == control].set_index("place")
        own.index = own.index + under
        if len(own):
            figure.add_trace(dots(own, name=name, symbol=symbol, theme=theme))
            said = [f"<b>{plain(name)}</b>, {plain(row.role)}, {row.kind}: {words.number(row.value)} "
                    f"{words.interval(row.low, row.high)}" for row in own.itertuples()]  # fmt: skip
            figure.data[-1].update(customdata=said, hovertemplate="%{customdata}<extra></extra>")
    names = [f"{plain(role)}, {kind}" for role, kind in keys]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.25, -0.5])
    figure.update_xaxes(title=unit, zeroline=True, zerolinecolor=theme.muted)
    return with_legend(figure, rows=len(names), step=40)
