"""Causal mediation: how much of what the corruption does goes through a head, and how much past it?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope import metrics, replay
from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.methods.twins import DEFAULTS, Limits, Swap, Twins, advice, effects, twins
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs, which
from headscope.replay.edits import HeadSet

MEDIATORS = ("z", "pattern")
EFFECTS = ("total", "direct", "indirect", "residual")


def mediation(  # noqa: PLR0913 - the contract's options and what effects are relative to
    model: Model,
    pairs: Pairs,
    *,
    relative: bool = False,
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Total, natural direct and natural indirect effect of the corruption, with each head as the mediator.

    With x the clean prompt, x' the corrupted one, m the metric and x <- M(x') the run on x in which the mediator M is
    as it is on x' (Pearl 2001; Vig et al. 2020):

        total     TE  = m(x) - m(x')             what the corruption does
        direct    NDE = m(x) - m(x' <- M(x))     what it does with the mediator held as it was
        indirect  NIE = m(x) - m(x <- M(x'))     what it does through the mediator alone
        residual      = TE - NDE - NIE           the interaction: what does not split into the two

    So x is the null and the corruption the intervention, and the response whose rise is measured is -m, the way to the
    foil: positive values go with the corruption. For the same site, the indirect effect is `noising`, TE - NDE is
    `denoising`, and the residual is their difference; it is the same when the twins change places.

    M is the head's output z, or (`_pattern`) only its attention weights, as in Vig et al.: then what it attends to
    still changes with the prompt.

    Args:
        model: the model; for patterns its architecture must be known.
        pairs: clean and corrupted prompts of equal length.
        relative: give y(run) / y(x) - 1 instead, with the odds y = p(foils) / p(answers), whatever the pairs' metric:
            Vig's, where the answer is the stereotypical continuation and the foil the other. Where the answer is all
            but certain, such ratios are huge, and few examples make the mean.
        layers: only their heads are computed, the others are NaN; None: all.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `total`, the same for all heads; `direct`, `indirect` and `residual`; `direct_pattern` and so on. In units of
        the pairs' metric, or without unit if relative. Cost: 4 x heads counterfactual runs for each example.

    Raises:
        UsageError: if the model's architecture is not known, or odds are asked for that the pairs do not have.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> effects = mediation(model, pairs)
        >>> bool(effects["indirect"].mean(0)[1, 1] > 0.9 * effects["total"].mean(0)[1, 1])
        True
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    heads = replay.single_heads(model.grid, layers)
    found = _mediated(model, pairs, heads, MEDIATORS, relative, limits)
    named = {"total": found["z"]["total"]}
    for mediator, suffix in (("z", ""), ("pattern", "_pattern")):
        named |= {f"{name}{suffix}": found[mediator][name] for name in EFFECTS[1:]}
    return {name: replay.on_grid(value, model.grid, layers) for name, value in named.items()}


def mediate_sets(
    model: Model,
    pairs: Pairs,
    sets: Iterable[HeadSet],
    *,
    mediator: str = "z",
    relative: bool = False,
    limits: Limits = DEFAULTS,
) -> dict[str, Float[Tensor, "example set"]]:
    """Total, direct and indirect effect with all heads of a set together as the mediator; see `mediation`.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        sets: sets of (layer, head). Nothing is mediated by an empty one: its direct effect is the total one.
        mediator: `z` or `pattern`.
        relative: as for `mediation`.
        limits: how much at once.

    Returns:
        `total`, `direct`, `indirect` and `residual` for each example and set.
        Cost: 2 counterfactual runs for each set and example, from the set's first layer on.

    Raises:
        UsageError: as for `mediation`, or if there is no such mediator or head.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> effects = mediate_sets(model, pairs, [[], [(0, 0), (1, 1)]])
        >>> share = effects["indirect"].mean(0) / effects["total"].mean(0)
        >>> [float(part.round(decimals=1)) for part in share]
        [0.0, 1.0]
    """
    if mediator not in MEDIATORS:
        fix = advice(mediator, MEDIATORS, "correct the mediator")
        raise UsageError(f"mediator {mediator!r}", f"one of: {', '.join(MEDIATORS)}", fix)
    heads = replay.head_sets(model.grid, sets)
    return _mediated(model, pairs, heads, (mediator,), relative, limits)[mediator]


def mediate_layers(
    model: Model,
    pairs: Pairs,
    *,
    mediator: str = "z",
    relative: bool = False,
    limits: Limits = DEFAULTS,
) -> dict[str, Float[Tensor, "example layer"]]:
    """Total, direct and indirect effect with all heads of a layer together as the mediator; see `mediation`.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        mediator: `z` or `pattern`.
        relative: as for `mediation`.
        limits: how much at once.

    Returns:
        `total`, `direct`, `indirect` and `residual` for each example and layer.

    Raises:
        UsageError: as for `mediate_sets`.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> mediate_layers(model, pairs)["indirect"].shape
        torch.Size([2, 2])
    """
    layers = [[(layer, head) for head in range(model.grid.heads)] for layer in range(model.grid.layers)]
    return mediate_sets(model, pairs, layers, mediator=mediator, relative=relative, limits=limits)


def log_odds(logits: Float[Tensor, "example vocabulary"], pairs: Pairs) -> Float[Tensor, " example"]:
    """log p(answers) - log p(foils), each the summed probability of its tokens.

    Args:
        logits: where the metric reads.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> log_odds(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([3.])
    """
    sides = []
    for ids in (pairs.answers.to(logits.device), pairs.foils.to(logits.device)):
        members = logits.gather(1, ids.clamp(min=0)).masked_fill(ids == ABSENT, -torch.inf)
        sides.append(members.logsumexp(1))
    return sides[0] - sides[1]


def _with_odds(pairs: Pairs) -> Pairs:
    """The same pairs under the metric -log y, with the odds y = p(foils) / p(answers)."""
    if pairs.consecutive:
        given = f"relative effects on task {pairs.task!r}, whose answers are read token by token"
        raise UsageError(given, "answers and foils that are single tokens", "leave `relative` out")
    counts = torch.stack([(ids != ABSENT).sum(1) for ids in (pairs.answers, pairs.foils)])
    if bool((counts == 0).any()):
        given = f"relative effects on task {pairs.task!r} without answers or foils ({which((counts == 0).any(0))})"
        raise UsageError(given, "an answer and a foil in every example", "leave `relative` out")
    # Of single tokens it is their difference of logits, for which not all the vocabulary need be computed.
    return replace(pairs, metric="logit_difference" if bool((counts == 1).all()) else log_odds)


def _mediated(
    model: Model,
    pairs: Pairs,
    heads: Bool[Tensor, "edit layer head"],
    mediators: tuple[str, ...],
    relative: bool,
    limits: Limits,
) -> dict[str, dict[str, Tensor]]:
    pairs = _with_odds(pairs) if relative else pairs
    found = {mediator: {name: [] for name in EFFECTS} for mediator in mediators}
    for both in twins(model, pairs, limits):
        for mediator in mediators:
            for name, value in zip(EFFECTS, _split(both, heads, mediator, relative), strict=True):
                found[mediator][name].append(value)
    return {
        mediator: {name: torch.cat(values) for name, values in effect.items()} for mediator, effect in found.items()
    }


def _split(both: Twins, heads: Tensor, mediator: str, relative: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """TE, NDE, NIE and what is left, [example, edit]."""
    noising, denoising = (
        effects(both, Swap(direction=way, site=mediator, heads=heads, places=replay.everywhere(both.pairs.mask)))
        for way in ("noising", "denoising")
    )
    sign = metrics.sign_of(both.pairs)
    whole = sign * (both.clean.metric - both.corrupted.metric)[:, None].expand_as(noising)
    three = (whole, whole - denoising, noising)
    if relative:  # The metric is -log y, so y(run) / y(x) - 1 is exp(m(x) - m(run)) - 1.
        three = (torch.expm1(whole), torch.expm1(three[1]), torch.expm1(three[2]))
    total, direct, indirect = three
    return total, direct, indirect, total - direct - indirect


def _scores(suffix: str, what: str) -> tuple[Score, ...]:
    return (
        Score(name=f"direct{suffix}", meaning=f"the corruption does its damage past it, with its {what} held"),
        Score(name=f"indirect{suffix}", meaning=f"the corruption does its damage through its {what} alone"),
        Score(
            name=f"residual{suffix}",
            meaning=f"with its {what}, direct and indirect effect fall short of the total one: they interact",
        ),
    )


MEDIATION = Method(
    name="mediation",
    function=mediation,
    needs=Pairs,
    scores=(
        Score(name="total", meaning="the corruption does damage (the same for all heads)"),
        *_scores("", "output"),
        *_scores("_pattern", "attention pattern"),
    ),
    source="Vig et al. 2020 (arXiv 2004.12265); Pearl 2001",
    about="how much of the corruption's effect goes through a head's output or pattern, and how much past it",
    across=False,
)
