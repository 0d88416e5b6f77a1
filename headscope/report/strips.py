"""Gold chains as text whose tokens are coloured by how sure the model is of them: it wraps like any text."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from headscope.plots import words
from headscope.plots.chains import MARK, SHORT, likely, typical, visible

STEPS = (0.05, 0.2, 0.5, 0.8)
"""Where one colour ends and the next begins, by 1 - probability."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A token of a chain.

    Attributes:
        token: as it can be seen.
        told: its probability, with a mark if it is uncertain.
        part: its component, in a word.
        shade: the number of its colour, 0 where the model is sure.
        unsure: whether it is below the threshold.
        more: what is said when it is pointed at.
    """

    token: str
    told: str
    part: str
    shade: int
    unsure: bool
    more: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A chain of cells.

    Attributes:
        name: which chain it is.
        cells: its tokens.
    """

    name: str
    cells: tuple[Cell, ...]


def strips(tokens: pd.DataFrame, *, threshold: float, count: int = 3, longest: int = 400) -> tuple[Strip, ...]:
    """Chains from the least sure to the surest.

    Args:
        tokens: from `headscope.deduction.token_table`.
        threshold: a token of a smaller probability is uncertain.
        count: chains at most.
        longest: tokens of each at most, from its end.

    Example:
        >>> tokens = pd.DataFrame({"chain": 0, "token": ["calm"], "component": ["premise_selection"], "step": 0,
        ...     "probability": [0.5], "predicted": ["bold"], "right": [False]})
        >>> [(cell.token, cell.told, cell.part, cell.shade) for cell in strips(tokens, threshold=0.8)[0].cells]
        [('calm', '▼ .50', 'premise', 3)]
    """
    table = words.loose(tokens)
    if "probability" not in table:
        return ()
    found = []
    for chain in typical(tokens, count):
        rows = table[table["chain"] == chain].tail(longest).itertuples(index=False)
        found.append(Strip(f"chain {chain}", tuple(_cell(row, threshold) for row in rows)))
    return tuple(found)


def _cell(row: Any, threshold: float) -> Cell:
    unsure = bool(row.probability < threshold)
    shade = sum(1 - row.probability >= step for step in STEPS)
    more = f"{row.component.replace('_', ' ')}, step {row.step + 1}: probability {row.probability:.4f}"
    more += "" if row.right else f"; likelier: {row.predicted!r}"
    told = f"{MARK} {likely(row.probability)}" if unsure else likely(row.probability)
    return Cell(visible(str(row.token)), told, SHORT.get(row.component, ""), shade, unsure, more)
