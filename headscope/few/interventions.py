"""What the metric is when sets of heads are ablated, or when all heads but a set are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics, replay
from headscope.ability import has_foils
from headscope.few.units import Members, Units
from headscope.methods.replacements import Source
from headscope.methods.twins import Limits, Swap, effects, twins
from headscope.models import Model
from headscope.prompts import Pairs


class Ready(NamedTuple):
    """A portion of examples with its clean run, and what ablated heads put out instead."""

    part: Pairs
    base: replay.Run
    values: list[Tensor]
    lonely: Bool[Tensor, " example"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Bench:
    """A model with the examples that sets of heads are measured on.

    Attributes:
        model: the model.
        pairs: the examples; other prompts of `resample` are drawn from among them.
        units: what is counted.
        seed: of the other prompts.
        limits: how much at once.
        spent: what was run so far, in counterfactual runs of one example.
        held: the portions that were ablated last, kept for the next sets where memory allows.
    """

    model: Model
    pairs: Pairs = field(repr=False)
    units: Units
    seed: int
    limits: Limits
    spent: list[int] = field(default_factory=list, repr=False)
    held: dict[tuple[str, bytes], list[Ready]] = field(default_factory=dict, repr=False)

    @property
    def also(self) -> tuple[str, ...]:
        """What is measured beside the pairs' own metric: the accuracy of two choices, and of all tokens."""
        return ("choice", "accuracy") if has_foils(self.pairs) else ("accuracy",)

    def effects(self, direction: str) -> tuple[Float[np.ndarray, "example unit"], Float[np.ndarray, " example"]]:
        """The patching effect of every unit alone, and the total effect, clean less corrupted, on every example."""
        found, total = [], []
        for both in twins(self.model, self.pairs, self.limits):
            swap = Swap(direction=direction, heads=self.units.heads, places=replay.everywhere(both.pairs.mask))
            found.append(effects(both, swap))
            total.append((both.clean.metric - both.corrupted.metric).cpu().double() * metrics.sign_of(self.pairs))
        self.spent.append(len(self.pairs) * len(self.units))
        return torch.cat(found).cpu().numpy(), torch.cat(total).numpy()

    def ablated(
        self, sets: Sequence[Members], *, kind: str, rows: Int[np.ndarray, " example"] | None = None
    ) -> dict[str, Float[np.ndarray, "example set"]]:
        """Every metric when all units of a set are ablated together.

        Args:
            sets: of units, by number.
            kind: of ablation, as in `headscope.methods.ablation.ablate_sets`.
            rows: the examples; None: all. Means and other prompts are always taken from all.
        """
        heads = self.units.union(sets)
        memory = replay.budget(self.model, self.limits.memory)
        index = torch.arange(len(self.pairs)) if rows is None else torch.from_numpy(rows)
        found: dict[str, list[Tensor]] = {}
        for ready in self._portions(kind, index, memory):
            label = f"{self.pairs.task}: {kind} ablation of {len(heads)} sets" if self.limits.progress else ""
            edits = replay.edits_of(heads, ready.values, ready.part.mask)
            values = replay.measure(ready.base, edits, memory=memory // 2, progress=label)
            values[self.main] = values[self.main] * metrics.sign_of(ready.part)  # so that higher is better
            for name, value in values.items():
                found.setdefault(name, []).append(value.double().masked_fill(ready.lonely[:, None], torch.nan))
        self.spent.append(len(index) * len(heads))
        return {name: torch.cat(values).cpu().numpy() for name, values in found.items()}

    def _portions(self, kind: str, index: Int[Tensor, " example"], memory: int) -> Iterable[Ready]:
        """The examples, a portion at a time; those of the last call again where they are asked for again."""
        key = (kind, index.numpy().tobytes())
        if key in self.held:
            return self.held[key]
        self.held.clear()
        width, size = self.pairs.tokens.shape[1], self.limits.batch_size
        portions = list(replay.portions(self.model, self.pairs.select(index), batch_size=size, memory=memory))
        source = Source(model=self.model, pairs=self.pairs, seed=self.seed, size=len(portions[0]))
        made = (self._ready(source, kind, index[portion]) for portion in portions)
        if len(index) * replay.example_bytes(self.model, width) > memory // 4:
            return made
        self.held[key] = list(made)
        return self.held[key]

    def _ready(self, source: Source, kind: str, chosen: Int[Tensor, " example"]) -> Ready:
        part = self.pairs.select(chosen)
        base = replay.start(self.model, part, part.tokens, also=self.also)
        values, lonely = source.values(kind, chosen, base.z)
        return Ready(part, base, values, lonely)

    @property
    def main(self) -> str:
        """The name of the pairs' own metric."""
        return metrics.name_of(self.pairs)

    @property
    def accuracy(self) -> str:
        """The metric that says whether an example is right: two choices where there are foils."""
        return self.also[0]

    def complement(self, members: Members) -> Int[np.ndarray, " other"]:
        """All units but these."""
        return np.setdiff1d(np.arange(len(self.units)), members)
