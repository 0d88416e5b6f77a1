"""Self-repair: what do later heads give back of what is lost when a head is ablated, and which of them do?"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headscope import metrics, replay
from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.ablation import ALL_KINDS, ablate_sets
from headscope.methods.paths import Head, direct
from headscope.methods.replacements import Source
from headscope.methods.twins import DEFAULTS, Limits, advice
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.edits import HeadSet
from headscope.replay.routes import arrivals, follow


def self_repair(  # noqa: PLR0913 - the contract's five options and what is measured
    model: Model,
    pairs: Pairs,
    *,
    mlps: bool = True,
    mean: bool = False,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """What each head's loss costs directly, and how much of that later heads give back.

    With m the metric of the clean run, and h ablated (its z comes from another prompt):

        direct(h) = m(clean) - m(h ablated, all other heads as in the clean run)      positive: the head helps
        total(h)  = m(clean) - m(h ablated)                                           as `ablation` has it
        repair(h) = direct(h) - total(h)                                              positive: later heads help out

    Where a head helps directly, a positive repair says how much of it later heads restore when it is gone: ablation
    alone understates such a head (McGrath et al. 2023: ablation finds less than the unembedding says; Rushing & Nanda
    2024: the change of the logits less that of the head's direct effect). Where a head hinders, the signs turn round.
    Repair is the indirect effect with its sign turned, so it is strongly negative for heads that act through later
    ones, with little direct effect: they are not repaired, but made use of. In the last layer it is 0.

    Later heads alone can repair here: MLPs and the last norm respond in `direct` too. Without `mlps` they count as
    repair; the last norm, which Rushing & Nanda find to be about 30 % of it, never does.

    Args:
        model: the model.
        pairs: prompts; the corrupted ones are not used.
        mlps: MLPs respond in the direct effect (without, this needs a known architecture).
        mean: replace z by its mean over all prompts, not by what it is on another one.
        layers: only their heads are computed, the others are NaN; None: all.
        seed: draws the other prompts; the draw depends on the prompts, not on their order.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `direct` and `repair`, in units of the pairs' metric.
        Cost: heads counterfactual runs for each example, as many only where the metric reads, and two more.

    Raises:
        UsageError: if MLPs are not to respond and the model's architecture is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=4, rng=np.random.default_rng(0))
        >>> found = self_repair(model, pairs)  # L1H1 is not repaired, and L0H0 acts through it
        >>> [(value.mean(0).abs() > 1).nonzero().tolist() for value in found.values()]
        [[[1, 1]], [[0, 0]]]
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    found: dict[str, list[Tensor]] = {"direct": [], "repair": []}
    heads = replay.single_heads(model.grid, layers)
    for part in _ablations(model, pairs, "mean" if mean else "resample", seed, limits):
        edits = replay.edits_of(heads, part.values, part.mask)
        lost = []
        for name, each in (("direct", direct(edits, mlps=mlps)), ("total", edits)):
            label = f"{pairs.task}: {name} effects" if progress else ""
            ablated = replay.replay(part.base, each, memory=part.memory, progress=label)
            lost.append(part.sign * (part.base.metric[:, None] - ablated))
        for name, value in (("direct", lost[0]), ("repair", lost[0] - lost[1])):
            found[name].append(replay.on_grid(value, model.grid, layers))
    return {name: torch.cat(values) for name, values in found.items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class Joint:
    """What is lost when heads are ablated together, beside what is lost one by one.

    Attributes:
        joint: the metric lost when a set is ablated together.
        summed: the sum of what is lost when its members are ablated one at a time; 0 for an empty set.
    """

    joint: Float[Tensor, "example set"]
    summed: Float[Tensor, "example set"]

    @property
    def difference(self) -> Float[Tensor, "example set"]:
        """Joint less summed. Positive: the heads stand in for one another. Negative: they need one another."""
        return self.joint - self.summed

    @property
    def ratio(self) -> Float[Tensor, "example set"]:
        """Joint as a part of summed: noisy where little is lost one by one, NaN where nothing is."""
        return torch.where(self.summed == 0, torch.nan, self.joint / self.summed)


def joint_ablation(
    model: Model,
    pairs: Pairs,
    sets: Iterable[HeadSet],
    *,
    kind: str = "resample",
    seed: int = 0,
    limits: Limits = DEFAULTS,
) -> Joint:
    """Do heads stand in for one another? What is lost together against the sum of what is lost one by one.

    Wang et al. 2022 (section 3.4) found that ablating all name movers costs little, because others take over. More is
    lost together than one by one where the members back each other up; less where they work in a chain, of which any
    missing link breaks all.

    Args:
        model: the model.
        pairs: prompts; the corrupted ones are not used.
        sets: sets of (layer, head).
        kind: of ablation, as in `ablate_sets`.
        seed: draws the other prompts of `resample`.
        limits: how much at once; changes speed and memory only.

    Returns:
        Both, in units of the pairs' metric, with their difference and ratio.
        Cost: a counterfactual run for each set and each of their members, of each example.

    Raises:
        UsageError: if the kind is unknown, or the model has no such head.

    Example:
        >>> import numpy as np
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> found = joint_ablation(model, pairs, [[(0, 0), (1, 1)]], kind="zero")  # a chain: each alone breaks it
        >>> found.ratio.mean().round(decimals=2).item()
        0.5
    """
    asked = [list(dict.fromkeys(each)) for each in sets]
    members = sorted({head for each in asked for head in each})
    lost = ablate_sets(model, pairs, [*asked, *([head] for head in members)], kind=kind, seed=seed, limits=limits)
    alone = lost[:, len(asked) :]
    held = torch.tensor([[head in each for head in members] for each in asked], dtype=torch.bool)
    held = held.view(len(asked), len(members))
    # No product of matrices: NaN of one member must not reach the sets that do not hold it.
    summed = torch.where(held, alone[:, None, :], 0.0).sum(2)
    return Joint(joint=lost[:, : len(asked)], summed=summed)


def backups(
    model: Model,
    pairs: Pairs,
    heads: Sequence[Head],
    *,
    kind: str = "resample",
    seed: int = 0,
    limits: Limits = DEFAULTS,
) -> Float[Tensor, "example ablated layer head"]:
    """Which heads back up which: how the direct effect of every later head changes when one is ablated.

    With a the ablated head and b a later one:

        backup(a, b) = m(clean <- b puts out what it does when a is ablated) - m(clean)

    where all other heads put out what they do in the clean run. It is the direct effect of b's response to the loss of
    a; with a metric that is linear in the residual stream it is the change of b's direct effect itself (the change of
    its unembedded output in McGrath et al. 2023; of backup name movers in Wang et al. 2022, section 3.4). Positive: b
    gives something back. Negative: b's own help was built on a. Over b they add up to a's `self_repair`, but for what
    norms and MLPs make of several changes at once.

    Args:
        model: the model; its architecture must be known.
        pairs: prompts; the corrupted ones are not used.
        heads: which are ablated, one at a time; such as `"L9H9"` or `(9, 9)`.
        kind: of ablation, as in `ablate_sets`.
        seed: draws the other prompts of `resample`.
        limits: how much at once; changes speed and memory only.

    Returns:
        In units of the pairs' metric (double precision). NaN for heads that are not in a later layer than the ablated
        one, which cannot respond. Cost: a counterfactual run for each ablated head, and one for each head that comes
        after it, of MLPs only and only where the metric reads; of each example.

    Raises:
        UsageError: for an unknown kind, heads that the model lacks, or an architecture that is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> backups(model, pairs, ["L0H0"], kind="zero")[0, 0].round(decimals=2).tolist()  # L1H1 is built on L0H0
        [[nan, nan], [0.0, -7.47]]
    """
    chosen = [model.grid.parse(head) for head in heads]
    return torch.cat([_responses(part, chosen) for part in _ablations(model, pairs, kind, seed, limits)])


class _Part(NamedTuple):
    """A portion of examples, its clean run, and what ablated heads put out instead."""

    task: str
    mask: Tensor
    base: replay.Run
    values: list[Tensor]
    lonely: Tensor
    memory: int
    progress: bool
    sign: int


def _ablations(model: Model, pairs: Pairs, kind: str, seed: int, limits: Limits) -> Iterator[_Part]:
    if kind not in ALL_KINDS:
        fix = advice(kind, ALL_KINDS, "correct the kind")
        raise UsageError(f"ablation kind {kind!r}", f"any of {', '.join(ALL_KINDS)}", fix)
    memory = replay.budget(model, limits.memory)
    portions = list(replay.portions(model, pairs, batch_size=limits.batch_size, memory=memory))
    source = Source(model=model, pairs=pairs, seed=seed, size=len(portions[0]))
    for rows in portions:
        part = pairs.select(rows)
        base = replay.start(model, part, part.tokens)
        values, lonely = source.values(kind, rows, base.z)
        yield _Part(pairs.task, part.mask, base, values, lonely, memory // 2, limits.progress, metrics.sign_of(pairs))


def _responses(part: _Part, chosen: list[tuple[int, int]]) -> Float[Tensor, "example ablated layer head"]:
    base, room = part.base, part.memory // 4
    if isinstance(base, replay.Whole):
        raise base.refusal("backups")
    grid = Grid(layers=len(base.program.blocks), heads=base.program.heads)
    found = torch.full((len(base), len(chosen), grid.layers, grid.heads), float("nan"), dtype=torch.float64)
    for index, (layer, _) in enumerate(chosen):
        found[:, index, layer + 1 :] = 0
    early = [index for index, (layer, _) in enumerate(chosen) if layer < grid.layers - 1]
    edits = replay.edits_of(replay.head_sets(grid, [[chosen[index]] for index in early]), part.values, part.mask)
    label = f"{part.task}: backups" if part.progress else ""
    for arrival in arrivals(base, edits, ["qkv"], layers=range(grid.layers), memory=room, progress=label):
        after = follow(base, arrival, range(grid.heads), memory=2 * room, direct=True)[:, 0]
        example, ablated = arrival.chunk.example.cpu(), torch.tensor(early)[arrival.chunk.edit.cpu()]
        found[example, ablated, arrival.layer] = part.sign * (after - base.metric[example, None])
    return found.masked_fill(part.lonely[:, None, None, None], torch.nan)


REPAIR = Method(
    name="self-repair",
    function=self_repair,
    needs=Pairs,
    scores=(
        Score(name="direct", meaning="the answer is lost without it even if no other head responds"),
        Score(
            name="repair", meaning="later heads give back what is lost without it; negative: they pass its effect on"
        ),
    ),
    source="McGrath et al. 2023 (arXiv 2307.15771); Rushing & Nanda 2024 (arXiv 2402.15390)",
    about="a head's direct effect when ablated, less its total effect: what later heads restore",
    seeded=True,
)
