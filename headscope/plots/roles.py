"""What each head does: a grid of heads coloured by role, and which layers hold which roles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.few import below
from headscope.plots.lines import paint
from headscope.plots.theme import LIGHT, Theme, broken, colourscale, layout, plain
from headscope.roles.result import Roles
from headscope.roles.table import ROLES, UNASSIGNED, title

FAMILIES: dict[str, tuple[str, ...]] = {
    "by position": ("positional", "sink", "delimiter"),
    "repeats, rare words": ("duplicate", "induction", "rare"),
    "copying": ("copying", "mover", "retrieval"),
    "suppressing": ("negative", "suppression", "inhibition"),
    "syntax": ("syntax",),
    "coreference": ("coreference",),
}
"""Kinds of roles that share a colour: more than half a dozen colours no eye tells apart. Cells name the role itself."""

OTHER = "other"
SHORT = {"duplicate": "dup", "induction": "ind", "copying": "copy", "retrieval": "retr", "negative": "neg",
         "suppression": "suppr", "inhibition": "inh", "coreference": "coref", "delimiter": "delim"}  # fmt: skip
LETTERS = {**{role: role[:2] for role in ROLES}, "coreference": "cf", "copying": "cp", "inhibition": "ih"}
"""Two letters for each role, all different."""

LISTED = 8
"""Labels that the words beside a head have room for."""

PIXELS = 640
"""About how wide a grid is drawn."""


def family(role: str) -> str:
    """The kind of a role: a key of `FAMILIES`, or `other`.

    Args:
        role: the role.

    Example:
        >>> family("sink"), family("one of my own")
        ('by position', 'other')
    """
    return next((name for name, members in FAMILIES.items() if role in members), OTHER)


def by_head(labels: pd.DataFrame) -> dict[tuple[int, int], list[Any]]:
    """The labels of every head, the surest first, then by what they have over their baseline; none if unassigned.

    That of a sink comes last: most heads of many models rest on the first token where they have nothing else to do.

    Args:
        labels: of a run's roles, or a part of them.

    Example:
        >>> labels = pd.DataFrame({"layer": 0, "head": [0, 0, 1], "role": ["sink", "rare", "unassigned"], "case": "",
        ...     "confidence": [0.6, 0.9, np.nan], "value": [0.9, 0.8, np.nan], "baseline": 0.1})
        >>> {head: [row.role for row in rows] for head, rows in by_head(labels).items()}
        {(0, 0): ['rare', 'sink'], (0, 1): []}
    """
    rows = words.loose(labels)
    rows = rows.assign(over=rows["value"] - rows["baseline"], works=rows["role"] != "sink")
    rows = rows.sort_values(["works", "confidence", "over"], ascending=False, kind="stable", na_position="last")
    found: dict[tuple[int, int], list[Any]] = {}
    for layer, head in sorted(set(zip(rows["layer"], rows["head"], strict=True))):
        found[int(layer), int(head)] = []
    for row in rows.itertuples(index=False):
        if row.role != UNASSIGNED:
            found[int(row.layer), int(row.head)].append(row)
    return found


def role_grid(roles: Roles, *, theme: Theme = LIGHT) -> go.Figure:
    """What each head does: layers downwards from 0, heads to the right, coloured by the kind of its surest role.

    A sink has its colour only where it has no other role. The paler a cell, the less sure the label; heads without a
    label are blank. A cell names its role, a relation with an arrow: up where the head looks from a word to what it
    depends on, down the other way. `+2` stands for two further labels, which hovering lists (a mere `+` in large
    grids); a star for a label that a causal effect confirms.

    Args:
        roles: of a run.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown, and needs `layout.meta["least"]` pixels across to be read; its frame is
        `roles.labels`.

    Cost: milliseconds per hundred heads.

    Example:
        >>> labels = pd.DataFrame({"layer": 0, "head": [0, 1], "role": ["syntax", "unassigned"],
        ...     "case": ["nsubj to head", ""], "confidence": [0.9, np.nan], "value": [0.8, np.nan], "baseline": 0.5,
        ...     "n": [120, 0], "causal": ["observed only", ""], "task": ""})
        >>> figure = role_grid(Roles(grid=Grid(1, 2), scores=labels, labels=labels, stability=labels, record={}))
        >>> figure.data[0].text.tolist()
        [['nsubj↑', '']]
    """
    found, grid = by_head(roles.labels), roles.grid
    held = [rows for rows in found.values() if rows]
    confirmed = sum(any(row.causal == "confirmed" for row in rows) for rows in held)
    note = (
        f"{len(held)} of {grid.size} heads have a label, {grid.size - len(held)} are unassigned (blank); {confirmed} "
    )
    note += "have one that a causal effect confirms (*); the paler, the less sure; +2: two further labels; "
    note += "↑ from a word to its head, ↓ to its dependent"
    figure = go.Figure(layout=layout(theme, title="The roles of the heads", note=note))
    for name in (*FAMILIES, OTHER):
        _family(figure, name, found, (grid, theme))
    blank, reasons = _table(grid), _reasons(roles.labels)
    for place in grid:
        if not found.get(place):
            blank[place] = f"<b>{Grid.label(*place)}</b><br>{UNASSIGNED}" + reasons.get(place, "")
    if (blank != "").any():
        figure.add_trace(_cells(np.where(blank != "", 1.0, np.nan), _table(grid), blank, ("blank", theme)))
    for axis, size in (("x", grid.heads), ("y", grid.layers)):
        marks = list(range(0, size, max(1, -(-size // 16))))
        ends = [-0.5, size - 0.5] if axis == "x" else [size - 0.5, -0.5]
        shape = {"title": {"x": "head", "y": "layer"}[axis], "range": ends, "showgrid": False}
        figure.update_layout({f"{axis}axis": {**shape, "tickvals": marks, "ticktext": [str(mark) for mark in marks]}})
    figure = below(figure, height=400)
    figure.layout.meta["least"] = 90 + (34 if _roomy(grid) else 16) * grid.heads  # pyright: ignore[reportAttributeAccessIssue]
    margin: Any = figure.layout.margin  # pyright: ignore[reportAttributeAccessIssue]
    return figure.update_layout(height=int(margin.t + margin.b + (36 if _roomy(grid) else 22) * grid.layers))


def _roomy(grid: Grid) -> bool:
    """Whether a cell has room for words and for a second line."""
    return grid.heads <= 16 and grid.layers <= 24


def _reasons(labels: pd.DataFrame) -> dict[tuple[int, int], str]:
    rows = words.loose(labels)
    rows = rows[rows["role"] == UNASSIGNED]
    said = rows["evidence"] if "evidence" in rows else [""] * len(rows)
    places = zip(rows["layer"], rows["head"], strict=True)
    return {
        (int(layer), int(head)): f": {broken(words.said(text), 60)}" if words.said(text) else ""
        for (layer, head), text in zip(places, said, strict=True)
    }


def _table(grid: Grid) -> np.ndarray:
    return np.full((grid.layers, grid.heads), "", dtype=object)


def _family(figure: go.Figure, name: str, found: dict[tuple[int, int], list[Any]], about: tuple[Grid, Theme]) -> None:
    """The cells whose surest label is of one kind, and the kind's line in the legend."""
    grid, theme = about
    mine = {place: rows for place, rows in found.items() if rows and family(rows[0].role) == name}
    if not mine:
        return
    role = colour_role(name)
    values = np.full((grid.layers, grid.heads), np.nan)
    shown, said = _table(grid), _table(grid)
    for place, rows in mine.items():
        values[place] = np.nan_to_num(float(rows[0].confidence))
        shown[place] = _shown(rows, grid)
        said[place] = "<br>".join([f"<b>{Grid.label(*place)}</b>", *_listed(rows)])
    figure.add_trace(_cells(values, shown, said, (role, theme)))
    mark = {"symbol": "square", "size": 11, "color": paint(theme, role), "line": {"color": paint(theme, role)}}
    have = {row.role for rows in found.values() for row in rows if family(row.role) == name}
    members = [role for role in (*ROLES, *sorted(have - set(ROLES))) if role in have]
    text = name if members == [name] else f"{name}: {', '.join(members)}"
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=mark, name=plain(text), meta=role))


def colour_role(name: str) -> str:
    """What a trace keeps in its `meta`, so that a page may paint it anew.

    Args:
        name: a key of `FAMILIES`, or `other`.

    Example:
        >>> colour_role("by position"), colour_role("other")
        ('roles-0', 'muted')
    """
    return "muted" if name == OTHER else f"roles-{list(FAMILIES).index(name)}"


def _cells(values: np.ndarray, shown: np.ndarray, said: np.ndarray, about: tuple[str, Theme]) -> go.Heatmap:
    role, theme = about
    colours = (theme.rule, theme.rule) if role == "blank" else (theme.paper, paint(theme, role))
    return go.Heatmap(
        z=values,
        zmin=0.0,
        zmax=1.0,
        colorscale=colourscale(colours),
        showscale=False,
        text=shown,
        texttemplate="%{text}",
        customdata=said,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        meta=role,
    )


def _shown(rows: Sequence[Any], grid: Grid) -> str:
    """The surest label in a cell, as long as a cell is wide, and how many there are beside it."""
    star = "*" if any(row.causal == "confirmed" for row in rows) else ""
    if not _roomy(grid):
        return short(rows[0].role, rows[0].case, 2) + star + "+" * (len(rows) > 1)
    text = plain(short(rows[0].role, rows[0].case, int(PIXELS / grid.heads / 7)))
    more = f"+{len(rows) - 1}" if len(rows) > 1 else ""
    return f"{text}<br>{more}{star}" if more or star else text


def short(role: str, case: str, room: int) -> str:
    """A role's case in a few characters: what tells it apart from others of its role.

    Args:
        role: the role.
        case: which case of it.
        room: how many characters there are; below four the role alone is told, in two letters.

    Example:
        >>> short("positional", "offset -1", 8), short("syntax", "nmod:poss to dependent", 8), short("sink", "", 2)
        ('pos -1', 'nmod↓', 'si')
    """
    if room < 4:
        return LETTERS.get(role, plain(role[:2]))
    relation, _, end = case.partition(" to ")
    if role == "syntax" and end:
        return relation.partition(":")[0][: room - 1] + {"head": "↑", "dependent": "↓"}.get(end, "")
    if role == "positional" and case:
        return case.replace("offset ", "pos " if room > 5 else "p")
    return SHORT.get(role, role)[:room]


def _listed(rows: Sequence[Any]) -> list[str]:
    lines = [told(row) for row in rows[:LISTED]]
    return lines + ([f"and {len(rows) - LISTED} more"] if len(rows) > LISTED else [])


def told(row: Any) -> str:
    """A label with what it rests on, escaped for plotly.

    Args:
        row: of a run's labels.
    """
    cause = {"confirmed": "confirmed", "not confirmed": "not confirmed"}.get(row.causal, "observed only")
    task = words.said(row.task)
    cause += f" by {plain(task)}" if task and cause != "observed only" else ""
    return (
        f"{plain(title(row.role, row.case))}: {words.number(row.value)} (baseline {words.number(row.baseline)}), "
        f"n = {words.count(row.n)}, confidence {words.percent(row.confidence)}; {cause}"
    )


def role_profile(roles: Roles, *, theme: Theme = LIGHT) -> go.Figure:
    """Which layers hold which roles: the number of heads of each layer that have a role, as a part of its heads.

    A head with several roles counts in each; two cases of one role count once.

    Args:
        roles: of a run.
        theme: `LIGHT` or `DARK`.

    Returns:
        A Figure that has not been shown; its frame is `roles.layers()`.

    Example:
        >>> labels = pd.DataFrame({"layer": [0, 0, 1], "head": [0, 0, 0], "role": ["syntax", "syntax", "unassigned"],
        ...     "case": ["det to head", "case to head", ""]})
        >>> found = Roles(grid=Grid(2, 1), scores=labels, labels=labels, stability=labels, record={})
        >>> role_profile(found).data[0].z.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    rows, grid = words.loose(roles.layers()), roles.grid
    names = list(dict.fromkeys(rows["role"]))
    counts = rows.pivot(index="role", columns="layer", values="heads").reindex(names).to_numpy(dtype=float)
    counts = counts.reshape(len(names), grid.layers)
    shown, said = (np.full(counts.shape, "", dtype=object) for _ in range(2))
    for (i, layer), count in np.ndenumerate(counts):
        shown[i, layer] = f"{count:.0f}" if count else ""
        share = words.percent(count / grid.heads)
        said[i, layer] = f"<b>{plain(names[i])}</b>, layer {layer}<br>{count:.0f} of {grid.heads} heads ({share})"
    note = f"heads of each layer that have the role, of {grid.heads}; a head with several roles counts in each"
    figure = go.Figure(layout=layout(theme, title="Which layers hold which roles", note=note))
    cells = _cells(counts / grid.heads, shown, said, ("blank", theme))
    cells.update(colorscale=colourscale(theme.sequential), meta="sequential", showscale=True)
    cells.update(colorbar={"thickness": 12, "outlinewidth": 0, "tickfont": {"size": 11}})
    figure.add_trace(cells)
    marks = list(range(0, grid.layers, max(1, -(-grid.layers // 16))))
    figure.update_xaxes(title="layer", range=[-0.5, grid.layers - 0.5], showgrid=False, tickvals=marks)
    figure.update_xaxes(ticktext=[str(mark) for mark in marks])
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=[plain(name) for name in names], showgrid=False)
    figure.update_yaxes(range=[len(names) - 0.5, -0.5])
    return figure.update_layout(height=int(150 + 28 * max(len(names), 1)))
