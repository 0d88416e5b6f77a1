"""Ablation: what is lost when a head's output is replaced by zero, its mean, or its output on another prompt?"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope import replay
from headscope.contract import Method, Score, further_name
from headscope.errors import UsageError
from headscope.methods.replacements import Source
from headscope.methods.twins import DEFAULTS, Limits, advice
from headscope.metrics import Metric, name_of, signs
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.edits import HeadSet

KINDS = ("resample", "mean", "zero", "mean_position")
ALL_KINDS = (*KINDS, "mean_template", "counterfactual")
Lost = dict[str, Float[Tensor, "example edit"]]


def ablation(  # noqa: PLR0913 - the contract's five options, which kinds and which metrics
    model: Model,
    pairs: Pairs,
    *,
    kinds: Sequence[str] = KINDS,
    metrics: Sequence[Metric] = (),
    layers: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """The metric lost when each head's z is replaced, at all positions of the clean run.

        zero           z_h := 0
        mean           z_h := mean of z_h over all positions of all examples
        mean_position  z_h := mean of z_h over the examples, at the same position counted from the first token
        mean_template  z_h := the same over the examples of the same group (on request)
        counterfactual z_h := z_h on the example's own corrupted twin (on request): noising, as in `patching`
        resample       z_h := z_h on a random prompt of another group (same length where there is one)

    value = m(clean) - m(ablated), with m the metric (minus it where lower is better, see `headscope.metrics.BETTER`):
    positive values mean that the head helps. The kinds can disagree in sign and size;
    zero takes the model furthest from anything it has seen, resample least (papers reviewed by Li & Janson 2024).

    Means are over all examples, the ablated one included. `mean_position` is that of most circuit work, and keeps what
    a head says of the position; where prompts are of different templates, it mixes words of different kinds.
    `mean_template` is that of Wang et al. 2022 (section 2.2), where groups are templates, so that words of one kind
    stand at one position: it keeps what the template alone says. It takes away less the smaller the group, for each
    example is part of its mean: in a group of two, half of the difference between them.

    Args:
        model: the model.
        pairs: prompts; the corrupted ones are not used.
        kinds: which replacements.
        metrics: further ones beside the pairs' own, such as `kl` or `accuracy`, read off the same runs.
        layers: only their heads are computed, the others are NaN; None: all.
        seed: draws the other prompts of `resample`; the draw depends on the prompts, not on their order.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        One array for each kind, in units of the pairs' metric, and `resample.kl` and so on for further ones, each in
        its own unit. NaN for examples that reach a position which no other
        example (of the group) reaches, under `mean_position` (`mean_template`).
        Cost: heads counterfactual runs for each kind and example, for all metrics together, and up to four more.

    Raises:
        UsageError: if a kind is unknown, there is no such metric, or it does not fit the pairs' answers.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> ablation(model, pairs, kinds=["zero"])["zero"].mean(0).abs().round(decimals=2).tolist()
        [[7.47, 0.0], [0.0, 7.47]]
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    chosen = _Chosen(tuple(kinds), tuple(metrics), seed)
    lost = _lost(model, pairs, replay.single_heads(model.grid, layers), chosen, limits)
    return {kind: replay.on_grid(value, model.grid, layers) for kind, value in lost.items()}


def ablate_sets(
    model: Model,
    pairs: Pairs,
    sets: Iterable[HeadSet],
    *,
    kind: str = "resample",
    seed: int = 0,
    limits: Limits = DEFAULTS,
) -> Float[Tensor, "example set"]:
    """The metric lost when all heads of a set are replaced together: m(clean) - m(ablated).

    Args:
        model: the model.
        pairs: prompts; the corrupted ones are used by `counterfactual` alone.
        sets: sets of (layer, head). Nothing is lost with an empty one.
        kind: `resample`, `mean`, `zero`, `mean_position`, `mean_template` or `counterfactual`; as for `ablation`. All
            heads of a set take their output from the same other prompt.
        seed: draws the other prompts of `resample`.
        limits: how much at once.

    Returns:
        What is lost, in units of the pairs' metric; NaN as for `ablation`.
        Cost: a counterfactual run for each set and example, from the set's first layer on, and up to four more.

    Raises:
        UsageError: if the kind is unknown, or the model has no such head.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> sets = [[], [(0, 1), (1, 0)], [(0, 0), (1, 1)]]
        >>> ablate_sets(model, pairs, sets, kind="zero").mean(0).abs().round(decimals=2).tolist()
        [0.0, 0.0, 7.47]
    """
    return _lost(model, pairs, replay.head_sets(model.grid, sets), _Chosen((kind,), (), seed), limits)[kind]


class _Chosen(NamedTuple):
    """Which replacements, by which further metrics, and what draws them."""

    kinds: tuple[str, ...]
    metrics: tuple[Metric, ...]
    seed: int


def _lost(
    model: Model,
    pairs: Pairs,
    heads: Bool[Tensor, "edit layer head"],
    chosen: _Chosen,
    limits: Limits,
) -> Lost:
    for kind in chosen.kinds:
        if kind not in ALL_KINDS:
            fix = advice(kind, ALL_KINDS, "correct the kind")
            raise UsageError(f"ablation kind {kind!r}", f"any of {', '.join(ALL_KINDS)}", fix)
    order = pairs.groups.argsort(stable=True)  # so that the mean of a group is computed once
    pairs, memory = pairs.select(order), replay.budget(model, limits.memory)
    own, better = name_of(pairs), signs(pairs, chosen.metrics)
    found: dict[str, list[Tensor]] = {
        further_name(kind, "" if name == own else name): [] for name in better for kind in chosen.kinds
    }
    portions = list(replay.portions(model, pairs, batch_size=limits.batch_size, memory=memory, also=chosen.metrics))
    source = Source(model=model, pairs=pairs, seed=chosen.seed, size=len(portions[0]))
    for rows in portions:
        part = pairs.select(rows)
        base = replay.start(model, part, part.tokens, also=chosen.metrics)
        before = {own: base.metric, **base.also}
        for kind in chosen.kinds:
            label = f"{pairs.task}: {kind} ablation" if limits.progress else ""
            values, lonely = source.values(kind, rows, base.z)
            edits = replay.edits_of(heads, values, part.mask)
            for name, ablated in replay.measure(base, edits, memory=memory // 2, progress=label).items():
                lost = better[name] * (before[name][:, None] - ablated)
                told = further_name(kind, "" if name == own else name)
                found[told].append(lost.masked_fill(lonely[:, None], torch.nan))
    back = order.argsort()
    return {kind: torch.cat(values)[back] for kind, values in found.items()}


ABLATION = Method(
    name="ablation",
    function=ablation,
    needs=Pairs,
    scores=(
        Score(name="resample", meaning="the answer is lost when its output comes from another prompt"),
        Score(name="mean", meaning="the answer is lost when its output is its mean over all prompts"),
        Score(name="zero", meaning="the answer is lost when its output is zero"),
        Score(
            name="mean_position",
            meaning="the answer is lost when its output is its mean over all prompts at the same position",
            absent="no other prompt is as long, so that there is no mean at its last positions",
        ),
    ),
    source="Michel et al. 2019; Wang et al. 2022, section 2.2; Chan et al. 2022 (causal scrubbing) for resampling",
    about="replace a head's output by zero, its mean, or its output on another prompt",
    seeded=True,
)
