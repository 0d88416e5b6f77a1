"""One head's attention pattern as a plotly Figure, where circuitsvis cannot be shown."""

import numpy as np
from plotly import graph_objects as go

from headscope.attention import View, crop
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.plots.theme import LIGHT, Theme, colourscale, layout, plain


def pattern(view: View, index: int = 0, *, theme: Theme = LIGHT) -> go.Figure:
    """Which token (to the right) each token (downwards) attends to, in one head of a view.

    Args:
        view: tokens and the patterns of some heads.
        index: which of `view.layer_heads` to draw.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; the half that a causal model cannot see is left empty.

    Raises:
        UsageError: if the view has no such head.

    Example:
        >>> view = View(task="ioi", tokens=("a", "b"), layer_heads=((0, 1),), causal=True,
        ...             patterns=np.array([[[1.0, 0.0], [0.5, 0.5]]]))
        >>> pattern(view).layout.meta["title"]
        'ioi: attention of L0H1'
    """
    if not 0 <= index < len(view.layer_heads):
        raise UsageError(
            f"index {index}", f"0 to {len(view.layer_heads) - 1}", "choose one of view.layer_heads by its index"
        )
    shown = crop(view)
    values = np.array(shown.patterns[index], dtype=float)
    size = len(shown.tokens)
    if view.causal:
        values[np.triu_indices(size, 1)] = np.nan
    label = Grid.label(*view.layer_heads[index])
    note = "share of the attention of each token (row) to each token (column); n = 1 prompt"
    if size < len(view.tokens):
        note += f"; last {size} of {len(view.tokens)} tokens"
    figure = go.Figure(layout=layout(theme, title=f"{view.task}: attention of {label}", note=note))
    names = [plain(token) for token in shown.tokens]
    texts = [[f"{query} to {key}: {values[i, j]:.3f}" for j, key in enumerate(names)] for i, query in enumerate(names)]
    figure.add_trace(
        go.Heatmap(
            z=values,
            zmin=0.0,
            zmax=1.0,
            colorscale=colourscale(theme.sequential),
            colorbar={"thickness": 12, "outlinewidth": 0},
            text=texts,
            hovertemplate="%{text}<extra></extra>",
            hoverongaps=False,
            meta="sequential",
        )
    )
    # Numbers with names, not a category axis: plotly would merge equal tokens into one row.
    ticks = {"tickvals": list(range(size)), "ticktext": names, "showgrid": False}
    figure.update_xaxes(range=[-0.5, size - 0.5], tickangle=-60, **ticks)
    figure.update_yaxes(range=[size - 0.5, -0.5], **ticks)
    return figure.update_layout(height=max(340, min(1000, 200 + 17 * size)))
