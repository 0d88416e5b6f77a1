"""Gold chains token by token: how sure the model is of each, and of which kinds of token it is not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.errors import UsageError
from headscope.plots import words
from headscope.plots.few import below
from headscope.plots.lines import Look, band, line
from headscope.plots.theme import LIGHT, Theme, colourscale, layout, plain

SHORT = {
    "syntax": "syntax", "premise_in_kb": "known", "premise_selection": "premise", "premise_termination": "end",
    "rule_selection": "rule", "fact_derivation": "fact", "answer": "answer",
}  # fmt: skip
"""What stands in a cell for a component."""

MARK = "▼"
"""Beside the probability of a token that is uncertain, so that it is told by more than its colour."""

WIDE = 84
"""Letters that a row of cells has room for."""

LONGEST = 12
UNCERTAIN = 0.8


def visible(token: str) -> str:
    """A token as it can be seen: white space that would vanish has a sign.

    Args:
        token: as the tokenizer gives it.

    Example:
        >>> visible(" calm"), visible("\\n"), visible(" "), visible("unbelievably so")
        ('calm', '⏎', '␣', 'unbelievabl…')
    """
    seen = token.replace("\n", "⏎").replace("\t", "⇥")
    seen = seen.strip(" ") or "␣"
    return seen if len(seen) <= LONGEST else seen[: LONGEST - 1] + "…"


def typical(tokens: pd.DataFrame, count: int = 3) -> list[int]:
    """Chains from the least sure to the surest, by mean surprisal: the first, the last, and evenly between them.

    Args:
        tokens: from `headscope.deduction.token_table`.
        count: how many at most.

    Example:
        >>> typical(pd.DataFrame({"chain": [0, 1, 2], "probability": [0.9, 0.2, 0.5]}), 2)
        [1, 0]
    """
    table = words.loose(tokens)
    if not len(table):
        return []
    nats = -np.log(table["probability"].clip(lower=1e-12))
    order = nats.groupby(table["chain"]).mean().sort_values(ascending=False, kind="stable").index.tolist()
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[place]) for place in dict.fromkeys(places.tolist())]


def chain_strip(
    tokens: pd.DataFrame, *, chains: Sequence[int] | None = None, threshold: float = UNCERTAIN, theme: Theme = LIGHT
) -> go.Figure:
    """Gold chains as strips of cells, coloured by how unsure the model is of each token.

    A cell holds the token, its probability given the gold chain before it, and its component; uncertain tokens have a
    mark beside the probability. Cells wrap into rows; every chain begins a row of its own.

    Args:
        tokens: from `headscope.deduction.token_table`.
        chains: which; by default the least sure, the surest, and one between them.
        threshold: a token of a smaller probability is uncertain.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Raises:
        UsageError: if there is no such chain.

    Example:
        >>> tokens = pd.DataFrame({"chain": 0, "token": ["calm", " so"], "component": ["premise_selection", "syntax"],
        ...     "step": 0, "probability": [0.5, 1.0], "predicted": ["bold", " so"], "right": [False, True]})
        >>> chain_strip(tokens).data[0].text[0].tolist()[:2]
        ['calm<br>▼ .50<br>premise', 'so<br>1.00<br>syntax']
    """
    table = words.loose(tokens)
    chosen = typical(tokens) if chains is None else list(chains)
    missing = sorted(set(chosen) - set(table["chain"]))
    if missing or not chosen:
        given = f"chain {', '.join(map(str, missing))}" if missing else "a table without chains"
        raise UsageError(given, f"chains of the table ({table['chain'].nunique()} of them)", "name chains it has")
    seen = [visible(str(token)) for token in table["token"]]
    columns = max(4, min(24, WIDE // (max(map(len, (*seen, *SHORT.values()))) + 1)))
    parts = [table[table["chain"] == chain] for chain in chosen]
    starts = np.cumsum([0, *(-(-len(part) // columns) for part in parts)])
    shape = (int(starts[-1]), columns)
    unsure, texts, said = np.full(shape, np.nan), np.full(shape, "", object), np.full(shape, "", object)
    for start, part in zip(starts.tolist(), parts, strict=False):
        for index, row in enumerate(part.itertuples(index=False)):
            at = start + index // columns, index % columns
            unsure[at] = 1 - row.probability
            texts[at] = _cell(row, threshold)
            said[at] = _told(row)
    few = int((table["probability"] < threshold).sum())
    note = (
        f"colour: 1 - probability of the gold token, pale is sure; {MARK} below {threshold:g}: {few} of {len(table)} "
    )
    note += f"tokens of all {table['chain'].nunique()} chains; under it the component"
    figure = go.Figure(layout=layout(theme, title="How sure is the model of each token of a gold chain?", note=note))
    figure.add_trace(
        go.Heatmap(
            z=unsure, zmin=0.0, zmax=1.0, text=texts, texttemplate="%{text}", customdata=said,
            hovertemplate="%{customdata}<extra></extra>", hoverongaps=False, xgap=2, ygap=2, meta="sequential",
            colorscale=colourscale(theme.sequential), textfont={"size": 11},
            colorbar={"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}},
        )
    )  # fmt: skip
    names = [f"chain {chain}" for chain in chosen]
    figure.update_xaxes(range=[-0.5, columns - 0.5], showticklabels=False, showgrid=False)
    figure.update_yaxes(range=[shape[0] - 0.5, -0.5], tickvals=starts[:-1].tolist(), ticktext=names, showgrid=False)
    top = figure.layout.margin.t  # pyright: ignore[reportAttributeAccessIssue]
    return figure.update_layout(height=top + 40 + 52 * shape[0])


def likely(probability: float) -> str:
    """A probability in a cell: never rounded up to certainty.

    Args:
        probability: of a token.

    Example:
        >>> likely(0.5), likely(0.9996), likely(1.0), likely(0.001)
        ('.50', '>.99', '1.00', '<.01')
    """
    if 0.995 <= probability < 1 - 1e-6:
        return ">.99"
    if probability < 0.005:
        return "<.01"
    return f"{probability:.2f}".removeprefix("0")


def _cell(row: Any, threshold: float) -> str:
    mark = f"{MARK} " if row.probability < threshold else ""
    return f"{plain(visible(str(row.token)))}<br>{mark}{likely(row.probability)}<br>{SHORT.get(row.component, '')}"


def _told(row: Any) -> str:
    told = f"<b>{plain(repr(str(row.token)))}</b> {plain(str(row.component).replace('_', ' '))}, step {row.step + 1}"
    told += f"<br>probability {row.probability:.4f}"
    return told if row.right else f"{told}<br>likelier: {plain(repr(str(row.predicted)))}"


PARTS = {
    "rate of the three": Look(name="uncertain among the deciding tokens", role="series-0", symbol="circle"),
    "rate of all": Look(name="uncertain among all tokens", role="muted", dash="dot", symbol="circle"),
    "share": Look(name="deciding ones among the uncertain", role="series-1", dash="dash", symbol="square"),
    "tokens": Look(name="deciding ones among all tokens", role="series-2", dash="dashdot"),
}


def confidence_curve(confidence: pd.DataFrame, *, threshold: float = UNCERTAIN, theme: Theme = LIGHT) -> go.Figure:
    """How many gold tokens are uncertain, and how many of them are of the three deciding components, by threshold.

    Args:
        confidence: from `headscope.deduction.confidence_table`.
        threshold: the one that the claim is about, which is marked.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown. Where no token is uncertain, there is no share of them.

    Example:
        >>> rows = [("decisions", 0.8, 0.2, 0.9), ("all", 0.8, 0.1, 1.0)]
        >>> table = pd.DataFrame(rows, columns=["component", "threshold", "rate", "share"]).assign(unit="share",
        ...     rate_low=0.0, rate_high=0.3, share_low=0.8, share_high=1.0, share_tokens=0.5, n=9, uncertain=4)
        >>> [trace.name for trace in confidence_curve(table).data if trace.mode == "lines+markers"][0]
        'uncertain among all tokens'
    """
    every = words.loose(confidence)
    rows = every[every["unit"] != "nats"].sort_values("threshold")
    three, whole = (rows[rows["component"] == name].reset_index(drop=True) for name in ("decisions", "all"))
    note = f"95% intervals; n = {words.counted(rows['n'])} chains; the claim is about {threshold:g}"
    figure = go.Figure(layout=layout(theme, title="Uncertain tokens, by what counts as uncertain", note=note))
    # A curve over thresholds that are not evenly spaced: equal steps show the last ones apart.
    names = [f"{at:g}" for at in three["threshold"]]
    x = np.arange(len(names), dtype=float)
    for table, name, column in ((whole, "rate of all", "rate"), (three, "rate of the three", "rate"),
                                (three, "share", "share"), (three, "tokens", "share_tokens")):  # fmt: skip
        look, value = PARTS[name], table[column].to_numpy(dtype=float)
        if np.isnan(value).all():
            continue
        if f"{column}_low" in table:
            low, high = (table[f"{column}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
            figure.add_trace(band(x, low, high, look, theme))
            cells = [
                (at, words.percent(v), words.percents(a, b))
                for at, v, a, b in zip(names, value, low, high, strict=True)
            ]
        else:
            cells = [(at, words.percent(v), "") for at, v in zip(names, value, strict=True)]
        text = f"<b>{look.name}</b>, below %{{customdata[0]}}<br>%{{customdata[1]}} %{{customdata[2]}}"
        figure.add_trace(line(x, value, look, theme, (text, cells)))
    figure.update_xaxes(title="uncertain below", tickvals=x.tolist(), ticktext=names, range=[-0.3, len(names) - 0.7])
    marks = [0.0, 0.25, 0.5, 0.75, 1.0]
    figure.update_yaxes(range=[-0.03, 1.05], tickvals=marks, ticktext=[words.percent(mark) for mark in marks])
    figure.update_yaxes(title={"text": "share of tokens", "standoff": 8})
    return below(figure, height=400)
