"""Pictures of one logit's explanation: from layer to layer, and the strongest votes."""

import pandas as pd
from plotly import graph_objects as go

from headscope.plots import words
from headscope.plots.theme import LIGHT, Theme, layout, plain

UNIT, DIFFERENCE = "logits, from the mean of the vocabulary", "difference of two logits"


def steps(votes: pd.DataFrame) -> pd.DataFrame:
    """The votes summed from the embedding through every layer to the end, in the order of the model.

    Args:
        votes: `Explanation.votes`, or a frame with kind, layer, logit and vote.

    Returns:
        Columns name, logit, vote, start (the sum of the votes before it), end.

    Example:
        >>> votes = pd.DataFrame({"kind": ["embedding", "head", "head", "mlp", "bias"],
        ...                       "layer": pd.array([None, 0, 0, 0, None], dtype="Int64"), "logit": 1.0,
        ...                       "vote": [1.0, 2.0, -0.5, 0.25, 0.5]})
        >>> steps(votes)[["name", "vote", "end"]].values.tolist()
        [['embedding', 1.0, 1.0], ['L0 heads', 1.5, 2.5], ['L0 MLP', 0.25, 2.75], ['biases', 0.5, 3.25]]
    """
    rows = words.loose(votes)
    found = [("embedding", rows["kind"] == "embedding")]
    for layer in sorted(rows["layer"].dropna().unique()):
        here = rows["layer"].eq(layer).fillna(False).astype(bool)
        found += [
            (f"L{layer} {name}", here & (rows["kind"] == kind)) for kind, name in (("head", "heads"), ("mlp", "MLP"))
        ]
    found += [("biases", rows["kind"] == "bias"), ("not linear", rows["kind"] == "not linear")]
    made = pd.DataFrame(
        [{"name": name, "logit": rows.loc[which, "logit"].sum(), "vote": rows.loc[which, "vote"].sum()}
         for name, which in found if which.any()]
    )  # fmt: skip
    end = made["vote"].cumsum()
    return made.assign(start=end.shift(fill_value=0.0), end=end)


def layer_waterfall(votes: pd.DataFrame, *, title: str, unit: str = UNIT, theme: Theme = LIGHT) -> go.Figure:
    """From the embedding through the heads and the MLP of every layer to the logit.

    Args:
        votes: `Explanation.votes`.
        title: what is explained.
        unit: of the votes: `UNIT` or `DIFFERENCE`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown. The last bar is the sum: the logit less the mean logit of the vocabulary, or
        the difference of two logits.

    Example:
        >>> votes = pd.DataFrame({"kind": ["embedding", "head"], "layer": pd.array([None, 0], dtype="Int64"),
        ...                       "logit": 1.0, "vote": [1.0, 2.0]})
        >>> layer_waterfall(votes, title="a").data[0].y
        ('embedding', 'L0 heads', 'total')
    """
    rows = words.loose(steps(votes))
    names = [*rows["name"], "total"]
    figure = go.Figure(layout=layout(theme, title=title, note=f"sums of votes ({unit}), from layer to layer"))
    figure.add_trace(
        go.Waterfall(
            orientation="h",
            y=names,
            x=[*rows["vote"], 0.0],
            measure=["relative"] * len(rows) + ["total"],
            text=[words.number(value, signed=True) for value in (*rows["vote"], words.loose(votes)["vote"].sum())],
            textposition="outside",
            cliponaxis=False,
            increasing={"marker": {"color": theme.point}},
            decreasing={"marker": {"color": theme.series[1]}},
            totals={"marker": {"color": theme.muted}},
            connector={"line": {"color": theme.rule}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    low, high = min(0.0, float(rows["end"].min())), max(0.0, float(rows["end"].max()))
    room = 0.08 * (high - low or 1.0)  # for the numbers beside the bars
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(title=unit, range=[low - room, high + room], zeroline=True, zerolinecolor=theme.muted)
    return figure.update_layout(height=130 + 24 * len(names), margin_r=64, showlegend=False)


def vote_bars(heads: pd.DataFrame, *, title: str, unit: str = UNIT, theme: Theme = LIGHT) -> go.Figure:
    """The strongest votes of heads, for and against, with where each came from.

    Args:
        heads: from `Explanation.top`.
        title: what is explained.
        unit: of the votes: `UNIT` or `DIFFERENCE`.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown.

    Example:
        >>> heads = pd.DataFrame({"label": ["L0H1"], "vote": [0.5], "below": [0.99], "looked_token": [" <b>"],
        ...                       "attention": [0.8], "source_token": [" a"], "source_vote": [0.4], "role": [""]})
        >>> vote_bars(heads, title="a").data[0].y
        ('L0H1',)
    """
    rows = words.loose(heads).sort_values("vote", ascending=False, kind="stable")
    figure = go.Figure(layout=layout(theme, title=title, note=f"the strongest votes of heads ({unit})"))
    said = [
        f"{row.label}: {words.number(row.vote, signed=True)}<br>above {words.percent(row.below)} of its other votes"
        f"<br>looked most at {plain(repr(row.looked_token))} ({words.percent(row.attention)})"
        f"<br>voted most through {plain(repr(row.source_token))} ({words.number(row.source_vote, signed=True)})"
        + (f"<br>{plain(row.role)}" if row.role else "")
        for row in rows.itertuples()
    ]
    figure.add_trace(
        go.Bar(
            orientation="h",
            y=list(rows["label"]),
            x=rows["vote"].tolist(),
            marker={"color": [theme.point if vote > 0 else theme.series[1] for vote in rows["vote"]]},
            customdata=said,
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(title=unit, zeroline=True, zerolinecolor=theme.muted)
    return figure.update_layout(height=130 + 22 * max(len(rows), 1), showlegend=False)
