"""What a counterfactual run changes: some heads' z, q, k, v or pattern, at some positions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.grid import Grid

SITES = ("z", "q", "k", "v", "pattern")
HeadSet = Sequence[tuple[int, int]]
Span = slice | Tensor
"""Positions: the same for all rows, or each row's own."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Edits:
    """Many counterfactual runs of the same prompts: in each, some heads take values that are not their own.

    Edit `e` replaces, in every layer and head where `heads[e]` is True, what stands at `site` by `values`, at the
    positions `places[at[e]]`. Queries, keys and values are each head's own: with grouped queries, replacing the key of
    one query head leaves the others of its group alone.

    Attributes:
        site: `z` (before W_O), `q`, `k` (with rotation), `v`, or `pattern`.
        heads: which heads each edit replaces.
        values: what they are replaced by: one tensor per layer, [example, position, head, d_head], shared by all edits
            (keys and values may have one head per group; patterns are [example, head, query, key]). A single
            [edit, example, position, head, d_head] tensor gives each edit its own; each then edits one layer only.
        places: sets of positions, True where a value is replaced (for patterns: of queries).
        at: which set of positions each edit uses.
        frozen: heads that keep the z of the run that is edited, whatever happens before them; None: no head does.
        frozen_mlps: whether all MLPs keep what they write in the run that is edited.
        donors: for values [donor, position, head, d_head], which donor each edit takes for each example; not read where
            `places` has no position of the example.
    """

    site: str
    heads: Bool[Tensor, "edit layer head"]
    values: Sequence[Tensor] | Float[Tensor, "*row position head d_head"]
    places: Bool[Tensor, "place example position"]
    at: Int[Tensor, " edit"]
    frozen: Bool[Tensor, "edit layer head"] | None = None
    frozen_mlps: bool = False
    donors: Int[Tensor, "edit example"] | None = None

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise UsageError(f"site {self.site!r}", f"one of: {', '.join(SITES)}", "correct the site")
        if self.heads.shape[0] != self.at.shape[0]:
            given = f"{self.heads.shape[0]} edits and {self.at.shape[0]} sets of positions"
            raise UsageError(given, "one set of positions for each edit", "give `at` one entry per edit")
        if isinstance(self.values, Tensor) and bool((self.heads.any(-1).sum(-1) > 1).any()):
            raise UsageError("edits of several layers with values of their own", "one layer each", "share the values")
        if self.frozen is not None and self.frozen.shape != self.heads.shape:
            given = f"frozen {tuple(self.frozen.shape)} for heads {tuple(self.heads.shape)}"
            raise UsageError(given, "both of one shape, [edit, layer, head]", "say of each edit which heads are frozen")
        if self.frozen is not None:
            object.__setattr__(self, "frozen", self.frozen & ~self.heads)

    def __len__(self) -> int:
        return self.heads.shape[0]

    def check(self, grid: Grid, mask: Bool[Tensor, "example position"], kv_heads: int, d_head: int) -> None:
        """Refuse edits that are not of a model and of these prompts.

        Args:
            grid: the model's layers and heads.
            mask: the prompts that are edited.
            kv_heads: how many heads keys and values may have.
            d_head: the width of one head.

        Raises:
            UsageError: naming what does not fit.
        """
        count, shape = len(self), tuple(mask.shape)
        wanted = {"heads": (count, grid.layers, grid.heads), "at": (count,), "places": (len(self.places), *shape)}
        wanted |= {"frozen": wanted["heads"], "donors": (count, shape[0])}
        for name, expected in wanted.items():
            found = getattr(self, name)
            if found is not None and (tuple(found.shape) != expected or found.is_floating_point()):
                raise _misfit(f"{name} {tuple(found.shape)} of {found.dtype}", f"{expected}")
        if count and not 0 <= int(self.at.min()) <= int(self.at.max()) < len(self.places):
            given = f"sets of positions {int(self.at.min())} to {int(self.at.max())} of {len(self.places)}"
            raise _misfit(given, "counted from 0")
        if isinstance(self.values, Tensor):
            tail, leads = (shape[1], grid.heads, d_head), (count, shape[0]) if self.donors is None else (-1,)
            found = tuple(self.values.shape)
            if found[len(leads) :] != tail or any(a not in {b, -1} for a, b in zip(leads, found, strict=False)):
                raise _misfit(f"{self.site} values {found}", f"{(*leads, *tail)}, where -1 is any number")
            return
        widths = {grid.heads, kv_heads} if self.site in {"k", "v"} else {grid.heads}
        fitting = [(*shape, width, d_head) for width in sorted(widths)]
        fitting = [(shape[0], grid.heads, shape[1], shape[1])] if self.site == "pattern" else fitting
        for layer in self.heads.any(-1).any(0).nonzero()[:, 0].tolist():
            found = tuple(self.values[layer].shape) if layer < len(self.values) else "none"
            if found not in fitting:
                raise _misfit(f"{self.site} values {found} of layer {layer}", " or ".join(map(str, fitting)))

    def on(self, device: torch.device) -> "Edits":
        """The same edits with what is read often on a device; values are moved when they are used."""
        names = ("heads", "places", "at", "frozen", "donors")
        moved = {name: value.to(device) for name in names if (value := getattr(self, name)) is not None}
        return replace(self, **moved)

    def donor(
        self, layer: int, edit: Tensor, example: Tensor, span: Span = slice(None), *, head: int | None = None
    ) -> Tensor:
        """The values at one layer for rows of (edit, example): of all heads or one, at a span of positions."""
        if not isinstance(self.values, Tensor):
            return _there(self.values[layer], (example,), span, head=head)
        own = (edit, example) if self.donors is None else (self.donors[edit, example],)
        return _there(self.values, own, span, head=head)

    def donor_pattern(self, layer: int, edit: Tensor, example: Tensor, queries: tuple[int, int]) -> Tensor:
        """The patterns at one layer for rows of (edit, example): of queries from one to before another, up to there."""
        if not isinstance(self.values, Tensor):
            values, rows = self.values[layer], (example,)
        else:
            values, rows = self.values, (edit, example) if self.donors is None else (self.donors[edit, example],)
        where = (slice(None), slice(*queries), slice(queries[1]))
        return values[(*(row.to(values.device) for row in rows), *where)]


def _misfit(given: str, expected: str) -> UsageError:
    fix = "make edits with the model's grid and mask, and values from a run of prompts of the same shape"
    return UsageError(f"edits with {given}", expected, fix)


def _there(stored: Tensor, rows: tuple[Tensor, ...], span: Span, *, head: int | None) -> Tensor:
    """`picked` where the values are, which may be another device."""
    place = stored.device
    where = span if isinstance(span, slice) else span.to(place)
    return picked(stored, tuple(row.to(place) for row in rows), where, head=head)


def picked(stored: Tensor, rows: tuple[Tensor, ...], span: Span, *, head: int | None = None) -> Tensor:
    """What is stored of rows: of all heads or one, at the same positions for all rows or at each row's own.

    Args:
        stored: [row, position, head, ...]; the row may be counted by several axes.
        rows: which rows, an index for each axis that counts them.
        span: a slice, or positions [row, place].
        head: which head; None: all.

    Example:
        >>> stored = torch.arange(12).view(2, 3, 2)
        >>> picked(stored, (torch.tensor([0, 1]),), torch.tensor([[2], [0]]), head=1).tolist()
        [[5], [7]]
    """
    last = () if head is None else (head,)
    if isinstance(span, slice):
        return stored[(*rows, span, *last)]
    return stored[(*(row[:, None] for row in rows), span, *last)]


def single_heads(grid: Grid, layers: Sequence[int] | None = None) -> Bool[Tensor, "edit layer head"]:
    """One edit for each head, in the order of the grid.

    Args:
        grid: the model's layers and heads.
        layers: only the heads of these; None: of all.

    Raises:
        UsageError: if the model has no such layer.

    Example:
        >>> single_heads(Grid(layers=2, heads=2)).shape
        torch.Size([4, 2, 2])
        >>> single_heads(Grid(layers=2, heads=2), [1]).int().tolist()
        [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]
    """
    singles = torch.eye(grid.size, dtype=torch.bool).view(grid.size, grid.layers, grid.heads)
    if layers is None:
        return singles
    return singles.unflatten(0, (grid.layers, grid.heads))[_known(grid, layers)].flatten(0, 1)


def on_grid(
    values: Float[Tensor, "example edit"], grid: Grid, layers: Sequence[int] | None = None
) -> Float[Tensor, "example layer head"]:
    """What the edits of `single_heads` gave, in the places of their heads; NaN for heads of other layers.

    Args:
        values: one for each of its edits.
        grid: the model's layers and heads.
        layers: as for `single_heads`.

    Raises:
        UsageError: if the model has no such layer.

    Example:
        >>> on_grid(torch.tensor([[1.0, 2.0]]), Grid(layers=2, heads=2), [1]).tolist()
        [[[nan, nan], [1.0, 2.0]]]
    """
    if layers is None:
        return values.unflatten(1, (grid.layers, grid.heads))
    found = values.new_full((len(values), grid.layers, grid.heads), torch.nan)
    found[:, _known(grid, layers)] = values.unflatten(1, (-1, grid.heads))
    return found


def _known(grid: Grid, layers: Sequence[int]) -> list[int]:
    chosen = sorted(set(layers))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < grid.layers:
        expected = f"some of the layers 0 to {grid.layers - 1}"
        raise UsageError(f"layers {list(layers)}", expected, "name layers that the model has, or none for all")
    return chosen


def head_sets(grid: Grid, sets: Iterable[HeadSet]) -> Bool[Tensor, "edit layer head"]:
    """One edit for each set of (layer, head).

    Args:
        grid: the model's layers and heads.
        sets: of (layer, head); a set may be empty.

    Raises:
        UsageError: if the model has no such head.

    Example:
        >>> head_sets(Grid(layers=2, heads=2), [[(0, 1), (1, 0)], []]).sum((1, 2)).tolist()
        [2, 0]
    """
    chosen = [list(each) for each in sets]
    out = torch.zeros(len(chosen), grid.layers, grid.heads, dtype=torch.bool)
    for index, members in enumerate(chosen):
        for layer, head in members:
            if not (0 <= layer < grid.layers and 0 <= head < grid.heads):
                given, fix = f"head L{layer}H{head}", "layers and heads are counted from 0"
                raise UsageError(given, f"{grid.layers} layers of {grid.heads} heads", fix)
            out[index, layer, head] = True
    return out


def everywhere(mask: Bool[Tensor, "example position"]) -> Bool[Tensor, "1 example position"]:
    """All real positions, as the only set of positions.

    Args:
        mask: True where a token is real.

    Example:
        >>> everywhere(torch.tensor([[True, False]])).tolist()
        [[[True, False]]]
    """
    return mask[None]


def each_position(mask: Bool[Tensor, "example position"]) -> Bool[Tensor, "place example position"]:
    """One set for each position; it is empty in examples that are shorter.

    Args:
        mask: True where a token is real.

    Example:
        >>> each_position(torch.tensor([[True, True], [True, False]]))[1].tolist()
        [[False, True], [False, False]]
    """
    width = mask.shape[1]
    return torch.eye(width, dtype=torch.bool, device=mask.device)[:, None, :] & mask


def named_position(
    at: Int[Tensor, " example"], mask: Bool[Tensor, "example position"]
) -> Bool[Tensor, "1 example position"]:
    """One position for each example; none where it is absent (negative).

    Args:
        at: the position, such as `pairs.place("end")`.
        mask: True where a token is real.

    Example:
        >>> named_position(torch.tensor([1, -1]), torch.ones(2, 3, dtype=torch.bool)).tolist()
        [[[False, True, False], [False, False, False]]]
    """
    return ((torch.arange(mask.shape[1], device=at.device) == at[:, None]) & mask.to(at.device))[None]


def edits_of(
    heads: Bool[Tensor, "edit layer head"],
    values: Sequence[Tensor],
    places: Bool[Tensor, "example position"],
    *,
    site: str = "z",
) -> Edits:
    """Edits that all act at the same positions.

    Args:
        heads: which heads each edit replaces.
        values: what they are replaced by, a tensor for each layer.
        places: where, True at the positions that are replaced.
        site: `z`, `q`, `k`, `v` or `pattern`.

    Raises:
        UsageError: if the site is not known.

    Example:
        >>> z, mask = [torch.zeros(1, 3, 2, 4)], torch.ones(1, 3, dtype=torch.bool)
        >>> len(edits_of(single_heads(Grid(layers=1, heads=2)), z, mask))
        2
    """
    at = torch.zeros(len(heads), dtype=torch.long)
    return Edits(site=site, heads=heads, values=values, places=everywhere(places), at=at)
