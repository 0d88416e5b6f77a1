"""The race over a model's heads: the top k by exact patching effect, with attribution as the guess."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from headscope import replay
from headscope.errors import UsageError
from headscope.few.order import spread_order
from headscope.few.racing import Evaluate, identify
from headscope.few.result import Top
from headscope.few.rules import Rules
from headscope.methods.agreement import Agreement, agreement
from headscope.methods.attribution import attribution
from headscope.methods.twins import Limits, Swap, check_direction, effects, twins
from headscope.models import Model
from headscope.prompts import Pairs


def race(  # noqa: PLR0913 - a call that users write: each word changes what is asked
    model: Model,
    pairs: Pairs,
    k: int = 5,
    *,
    confidence: float = 0.95,
    direction: str = "denoising",
    first: int | None = None,
    seed: int = 0,
) -> Top:
    """The k heads with the largest mean patching effect, whatever its sign, without sweeping all heads.

    Attribution patching of all heads and examples costs a gradient and serves as the guess; exact patching decides (see
    `headscope.few.racing` for how, and for what the confidence means). Heads are compared on the mean over exactly
    these pairs; whether that says something of other prompts is a question for `statistics.interval`.

    Args:
        model: the model; where it (or the metric) has no gradient there is no guess, which `note` tells, and more exact
            evaluations are needed.
        pairs: clean and corrupted prompts of equal length.
        k: how many heads, fewer than there are.
        confidence: the probability with which the set is to be the full sweep's.
        direction: `denoising` or `noising`, as in `patching`.
        first: examples on which every head is evaluated before any is dropped; more of them where heads may act on a
            few of the examples only. None: a twentieth of all, at least 5.
        seed: of the order in which examples are drawn; it does not depend on the order in which they are given.

    Returns:
        The heads with what was spent, in units of the pairs' metric. Cost: `spent` counterfactual runs of single heads
        (a full sweep takes heads x examples), for each example and round two forwards, and one attribution.

    Raises:
        UsageError: if k, confidence, direction or first cannot be used.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=12, rng=np.random.default_rng(0))
        >>> sorted(race(model, pairs, k=2).names)
        ['L0H0', 'L1H1']
    """
    check_direction(direction)
    rules = Rules(k=k, confidence=confidence, first=first)
    cells = _cells(model, pairs, direction)
    top = identify(
        cells.evaluate,
        order=spread_order(_names(pairs), pairs.groups.cpu().numpy(), seed=seed),
        labels=[model.grid.label(layer, head) for layer, head in model.grid],
        guess=cells.guess,
        rules=rules,
    )
    return replace(top, note=cells.why, agreement=_agreement(model, cells.guess, top))


def _agreement(model: Model, guess: Float[np.ndarray, "example head"] | None, top: Top) -> Agreement | None:
    if guess is None:
        return None
    shape = (len(guess), model.grid.layers, model.grid.heads)
    # Both means of a head are over the examples on which it has been evaluated: the same noise is in both.
    rough = np.where(np.isnan(top.exact), np.nan, guess)
    return agreement(torch.from_numpy(rough).view(shape), torch.from_numpy(top.exact).view(shape), top=len(top.chosen))


class _Cells(NamedTuple):
    evaluate: Evaluate
    guess: Float[np.ndarray, "example head"] | None
    why: str = ""


def _cells(model: Model, pairs: Pairs, direction: str) -> _Cells:
    """Exact effects of chosen heads on chosen examples, from the replay engine; and a guess of all, if one can be had.

    This is all that the race knows of models.
    """
    single = replay.single_heads(model.grid)

    def evaluate(
        heads: Int[np.ndarray, " head"], examples: Int[np.ndarray, " example"]
    ) -> Float[np.ndarray, "example head"]:
        part, chosen = pairs.select(torch.from_numpy(examples)), single[torch.from_numpy(heads)]
        found = []
        for both in twins(model, part, Limits()):
            swap = Swap(direction=direction, heads=chosen, places=replay.everywhere(both.pairs.mask))
            found.append(effects(both, swap))
        return torch.cat(found).cpu().numpy()

    try:
        guess = attribution(model, pairs, scores=[direction])[direction]
    except UsageError as refusal:
        return _Cells(evaluate, None, f"no guess: {refusal.given}")
    return _Cells(evaluate, guess.flatten(1).cpu().numpy())


def _names(pairs: Pairs) -> list[str]:
    rows = zip(pairs.tokens, pairs.corrupted, pairs.mask, pairs.answers, pairs.foils, strict=True)
    return [
        repr((tokens[real].tolist(), twin[real].tolist(), answers.tolist(), foils.tolist()))
        for tokens, twin, real, answers, foils in rows
    ]
