"""What an ablated head puts out instead: nothing, means, or what it does on another prompt."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import replay
from headscope.models import Model
from headscope.prompts import Pairs


def resample_donors(pairs: Pairs, seed: int) -> Int[Tensor, " example"]:
    """For each example a random one of another group, of equal length where there is one.

    The choice is by hashes of the prompts, so it does not depend on their order. A shorter donor's last position stands
    in for the positions that it lacks. With a single group the donor is any other example.

    Args:
        pairs: the prompts.
        seed: another seed, other donors.

    Example:
        >>> tokens = torch.tensor([[3, 4], [5, 6], [7, 8]])
        >>> pairs = Pairs(task="own", tokens=tokens, corrupted=tokens, mask=tokens > 0, groups=torch.tensor([0, 0, 1]),
        ...               answers=tokens[:, :1], foils=tokens[:, 1:])
        >>> resample_donors(pairs, seed=0)[:2].tolist()
        [2, 2]
    """
    rows = [row[keep].tolist() for row, keep in zip(pairs.tokens, pairs.mask, strict=True)]
    names = [hashlib.sha256(repr(row).encode()).hexdigest() for row in rows]
    lengths, groups = pairs.mask.sum(1).tolist(), pairs.groups.tolist()
    donors = []
    for here in range(len(rows)):
        others = (
            [i for i in range(len(rows)) if groups[i] != groups[here]]
            or [i for i in range(len(rows)) if i != here]
            or [here]
        )
        same = [i for i in others if lengths[i] == lengths[here]] or others
        keys = {i: hashlib.sha256(f"{seed}{names[here]}{names[i]}".encode()).digest() for i in same}
        donors.append(min(same, key=keys.__getitem__))
    return torch.tensor(donors)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """Sums of every head's z over some examples; in double precision, so that the order of examples does not show.

    Attributes:
        total: the sums at each position.
        count: how many examples reach it.
    """

    total: Float[Tensor, "layer position head d_head"] = field(repr=False)
    count: Int[Tensor, " position"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """What heads are replaced by, taken from all examples, whichever of them are ablated at the moment.

    Attributes:
        model: the model.
        pairs: all examples.
        seed: draws the other prompts of `resample`.
        size: examples that are run at once.
        held: sums that are used again, by group; None: over all examples.
    """

    model: Model
    pairs: Pairs = field(repr=False)
    seed: int
    size: int
    held: dict[int | None, Sums] = field(default_factory=dict, repr=False)

    @cached_property
    def donors(self) -> Int[Tensor, " example"]:
        """The other prompt of each example."""
        return resample_donors(self.pairs, self.seed)

    def values(
        self, kind: str, rows: Int[Tensor, " example"], z: Sequence[Tensor]
    ) -> tuple[list[Tensor], Bool[Tensor, " example"]]:
        """The replacement of z in each layer, and the examples that have none.

        Args:
            kind: of ablation.
            rows: the examples that are ablated.
            z: what they put out, layer by layer.
        """
        lonely = torch.zeros(len(rows), dtype=torch.bool)
        if kind == "zero":
            return [own.new_zeros(()).expand_as(own) for own in z], lonely
        if kind == "resample":
            return self._resampled(rows, z[0].shape[1]), lonely
        if kind == "counterfactual":
            twins = self.pairs.select(rows)
            return list(replay.start(self.model, twins, twins.corrupted).z), lonely
        if kind == "mean":
            sums = self._sums(None)
            means = sums.total.sum(1) / sums.count.sum()
            return [mean.to(own).expand_as(own) for mean, own in zip(means, z, strict=True)], lonely
        groups: list[int | None] = [None] * len(rows)
        if kind == "mean_template":
            groups = self.pairs.groups[rows].tolist()
        return self._by_position(groups, rows, z)

    def _resampled(self, rows: Tensor, width: int) -> list[Tensor]:
        other = self.pairs.select(self.donors[rows])
        last = other.mask.sum(1)[:, None] - 1
        places = torch.arange(width, device=last.device)[None].minimum(last)
        each = torch.arange(len(rows))[:, None]
        found = replay.start(self.model, other, other.tokens).z
        return [z[each.to(z.device), places.to(z.device)] for z in found]

    def _by_position(
        self, groups: list[int | None], rows: Tensor, z: Sequence[Tensor]
    ) -> tuple[list[Tensor], Bool[Tensor, " example"]]:
        """Means at each position, over all examples or over each one's group."""
        names, width = list(dict.fromkeys(groups)), z[0].shape[1]
        if names != [None]:
            for done in [name for name in self.held if name is not None and name not in names]:
                del self.held[done]
        sums = [self._sums(name) for name in names]
        mine = torch.tensor([names.index(group) for group in groups], dtype=torch.long)
        values = []
        for layer, own in enumerate(z):
            means = [each.total[layer, :width] / each.count[:width, None, None].clamp(min=1) for each in sums]
            values.append(torch.stack(means).to(own)[mine.to(own.device)])
        counts = torch.stack([each.count[:width] for each in sums])[mine]
        return values, ((counts < 2) & self.pairs.mask[rows, :width].cpu()).any(1)

    def _sums(self, group: int | None) -> Sums:
        if group not in self.held:
            groups = self.pairs.groups
            chosen = torch.ones_like(groups, dtype=torch.bool) if group is None else groups == group
            self.held[group] = self._summed(chosen.nonzero()[:, 0])
        return self.held[group]

    def _summed(self, rows: Int[Tensor, " example"]) -> Sums:
        grid, mask = self.model.grid, self.pairs.mask[rows].cpu()
        total = torch.zeros(grid.layers, mask.shape[1], grid.heads, self.model.d_head, dtype=torch.float64)
        for chosen in rows.split(self.size):
            part = self.pairs.select(chosen)
            outside = ~part.mask.cpu()[:, :, None, None]
            for layer, z in enumerate(replay.start(self.model, part, part.tokens).z):
                # On the CPU, since Apple's GPUs have no double precision.
                total[layer, : z.shape[1]] += z.cpu().double().masked_fill(outside, 0).sum(0)
        return Sums(total=total, count=mask.sum(0))
