"""A deductive circuit in figures: sure and unsure components, and what sets of heads cost beside random ones."""

import pandas as pd
from plotly import graph_objects as go

from headscope.plots import words
from headscope.plots.rankings import dots, with_legend
from headscope.plots.theme import LIGHT, Theme, layout, plain

NAMES = {"untrained": "by the untrained twin", "shuffled": "by exchanged twins"}
"""Sets that a control selects, in words."""


def chain_confidence(confidence: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """How much of a model's surprisal at gold chains each component has, beside its part of the tokens.

    Args:
        confidence: from `headscope.deduction.confidence_table`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Example:
        >>> table = pd.DataFrame({"component": ["syntax", "all"], "unit": "nats", "share": [0.2, 1.0],
        ...     "share_low": 0.1, "share_high": 0.3, "share_tokens": [0.5, 1.0], "n": 9, "groups": 9})
        >>> chain_confidence(table).data[1].x.tolist()
        [0.2]
    """
    every = words.loose(confidence)
    rows = every[(every["unit"] == "nats") & ~every["component"].isin(["all", "decisions"])].reset_index(drop=True)
    note = f"share of the surprisal of all gold tokens, 95% intervals; n = {words.counted(rows['n'])} chains"
    figure = go.Figure(layout=layout(theme, title="Where is the model unsure?", note=note))
    own = rows.rename(columns={"share": "value", "share_low": "low", "share_high": "high"})
    tokens = rows.assign(value=rows["share_tokens"], low=float("nan"), high=float("nan"))
    for each, name, symbol in ((tokens, "share of the tokens", "circle-open"), (own, "share of surprisal", "circle")):
        texts = [f"<b>{plain(str(row.component))}</b> {name}: {words.percent(row.value)}" for row in each.itertuples()]
        figure.add_trace(dots(each, name=name, symbol=symbol, theme=theme))
        figure.data[-1].update(customdata=texts, hovertemplate="%{customdata}<extra></extra>")
    return _in_rows(figure, [plain(str(name).replace("_", " ")) for name in rows["component"]], "share")


def set_losses(ablation: pd.DataFrame, *, measure: str = "step_accuracy", theme: Theme = LIGHT) -> go.Figure:
    """What is left of a measure on gold chains without each set of heads, beside random sets of as many.

    Args:
        ablation: from `headscope.deduction.ablation_table`.
        measure: one of `headscope.deduction.ablation.MEASURES`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown: filled dots are chosen sets with 95% intervals, hollow dots random sets, whose
        bars hold 95% of the sets.

    Example:
        >>> row = {"where": "chains", "measure": "step_accuracy", "set": "all", "size": 2, "mode": "zero", "value": 0.2,
        ...        "low": 0.1, "high": 0.3, "n": 9, "control": "uniform", "sets": 20, "random": 0.9,
        ...        "random_low": 0.8, "random_high": 1.0}
        >>> [trace.x.tolist() for trace in set_losses(pd.DataFrame([row])).data]
        [[0.2], [0.9]]
    """
    every = words.loose(ablation)
    swept = every["set"].str.startswith("top ")  # `ablation_curve` shows these
    chosen = every[(every["where"] == "chains") & (every["measure"] == measure) & ~swept]
    keys = list(dict.fromkeys(zip(chosen["mode"], chosen["set"], strict=True)))
    at = {key: place for place, key in enumerate(keys)}
    placed = chosen.assign(place=[at[key] for key in zip(chosen["mode"], chosen["set"], strict=True)])
    note = f"{measure.replace('_', ' ')} on gold chains without the heads, 95% intervals; "
    note += f"n = {words.counted(placed['n'])} chains; hollow: random sets, with bars that hold 95% of them"
    figure = go.Figure(layout=layout(theme, title="What is left without the heads?", note=note))
    named = {"uniform": ("random sets", "circle-open", 0.25), "layer": ("layer-matched sets", "diamond-open", 0.5)}
    figure.add_trace(
        dots(placed.drop_duplicates("place").set_index("place"), name="heads", symbol="circle", theme=theme)
    )
    figure.data[-1].update(hovertemplate="%{x:.2f}<extra></extra>")
    for control, (name, symbol, below) in named.items():
        rows = placed[placed["control"] == control].set_index("place")
        rows.index = rows.index + below
        if len(rows):
            rows = rows.assign(value=rows["random"], low=rows["random_low"], high=rows["random_high"])
            figure.add_trace(dots(rows, name=name, symbol=symbol, theme=theme))
            figure.data[-1].update(hovertemplate="%{x:.2f}<extra></extra>")
    sizes = dict(zip(zip(chosen["mode"], chosen["set"], strict=True), chosen["size"], strict=True))
    names = [
        f"{plain(NAMES.get(name, str(name)))} ({sizes[mode, name]} heads), {plain(str(mode))}" for mode, name in keys
    ]
    return _in_rows(figure, names, measure.replace("_", " "))


def _in_rows(figure: go.Figure, names: list[str], title: str) -> go.Figure:
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    figure.update_xaxes(title=title, range=[-0.02, 1.02])
    return with_legend(figure, rows=len(names), step=24)
