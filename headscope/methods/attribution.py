"""Attribution patching: every head's patching effect at once, to first order, from one gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.gradient import Span, Trace, heads_from_first, slopes
from headscope.replay.spans import Work, by_span

SCORES = ("denoising", "noising", "absolute")


def attribution(
    model: Model,
    pairs: Pairs,
    *,
    scores: Sequence[str] = SCORES,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """First-order estimates of the patching of each head's z, at all positions, in both directions.

    With m the metric and z the head's output before W_O, summed over positions and dimensions:

        denoising(h) = (z_h(clean) - z_h(corrupted)) . dm/dz_h at the corrupted run
        noising(h)   = (z_h(clean) - z_h(corrupted)) . dm/dz_h at the clean run
        absolute(h)  = |noising(h)| of each example (AtP, eq. 5): its mean keeps heads whose effects cancel over prompts

    They approximate the scores of the same name of `patching`, with its signs: positive values mean that the head
    helps. The estimate is good for small changes. It fails where attention is saturated or the final norm's scale moves
    (Kramar et al. 2024, section 3; Nanda 2022), so that the top of a ranking wants exact patching; `agreement` says how
    far the two went together. The correction for saturated attention concerns queries and keys and leaves these scores
    as they are; see `site_attribution`.

    Args:
        model: a model that can be cut open.
        pairs: clean and corrupted prompts of equal length.
        scores: which of the three; one direction alone costs less.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        One array for each score, in units of the pairs' metric. Cost: two forwards and two backwards (one for a single
        direction) from the first difference on, and one forward of what stands before it, for all heads at once.

    Raises:
        UsageError: if a score is unknown, the model cannot be cut open, or the metric has no derivative.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> (attribution(model, pairs)["noising"].mean(0) > 1).tolist()
        [[False, False], [False, True]]
    """
    if unknown := [score for score in scores if score not in SCORES]:
        raise UsageError(f"attribution scores {unknown}", f"any of {', '.join(SCORES)}", "correct the scores")
    sides = Sides(clean=bool({"noising", "absolute"} & set(scores)), corrupted="denoising" in scores)
    label = f"{pairs.task}: attribution" if progress else ""
    work = Work(
        model=model, pairs=pairs, names=scores, copies=sum(sides), batch_size=batch_size, memory=memory, label=label
    )
    return by_span(work, lambda span: _scores(*twins(span, sides), scores))


class Sides(NamedTuple):
    """At which of the twins slopes are taken."""

    clean: bool
    corrupted: bool


def twins(span: Span, sides: Sides, *, inputs: bool = False) -> tuple[Trace, Trace]:
    """Both runs of a span, with slopes where they are wanted.

    Args:
        span: the examples.
        sides: where slopes are taken; at one of the two at least.
        inputs: whether to keep what attention works on; with slopes at both.

    Returns:
        The clean and the corrupted run.
    """
    if all(sides):
        stream, size = torch.cat([span.clean, span.corrupted]), len(span)
        both = slopes(span, stream, span.everyone.repeat(2), inputs=inputs)
        return both.rows(slice(None, size)), both.rows(slice(size, None))
    if sides.corrupted:
        return heads_from_first(span, 0), slopes(span, span.corrupted, span.everyone)
    other = heads_from_first(span, 1)
    return slopes(span, span.clean, span.everyone), other


def _scores(clean: Trace, corrupted: Trace, scores: Sequence[str]) -> dict[str, Tensor]:
    found = {}
    for name in scores:
        slope = (corrupted if name == "denoising" else clean).slope
        value = torch.stack(
            [((a - b) * by).sum((1, 3)) for a, b, by in zip(clean.z, corrupted.z, slope, strict=True)], dim=1
        )
        found[name] = value.abs() if name == "absolute" else value
    return found


_EXACT = "to first order; the exact value is patching's"
ATTRIBUTION = Method(
    name="attribution",
    function=attribution,
    needs=Pairs,
    scores=(
        Score(name="denoising", meaning=f"its clean output alone restores the answer in the corrupted run, {_EXACT}"),
        Score(name="noising", meaning=f"its corrupted output alone damages the answer in the clean run, {_EXACT}"),
        Score(
            name="absolute",
            meaning="its corrupted output alone changes the answer in the clean run, whichever way on each prompt, "
            "to first order",
            signed=False,
        ),
    ),
    source="Nanda 2022; Kramar et al. 2024 (AtP*, arXiv 2403.00745), eq. 4-5",
    about="estimate the patching of all heads at once, from one gradient",
    across=False,
)
