"""Attribution of a head's query, key, value and pattern, with the softmax recomputed instead of linearised."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.methods.attribution import Sides, twins
from headscope.models import Model
from headscope.models.program import Block, attend, repeated
from headscope.prompts import Pairs
from headscope.replay.edits import SITES
from headscope.replay.gradient import Attention, Span, Trace
from headscope.replay.spans import Work, by_span

PARTS = tuple(site for site in SITES if site != "z")


def attribution_parts(
    model: Model,
    pairs: Pairs,
    *,
    corrected: bool = True,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Estimates of the patching of each head's query, key, value or pattern, at all positions, in both directions.

    With z_h(x <- s) the head's output on x when its part s comes from the other run, computed exactly:

        denoising_s(h) = (z_h(corrupted <- s(clean)) - z_h(corrupted)) . dm/dz_h at the corrupted run
        noising_s(h)   = (z_h(clean) - z_h(clean <- s(corrupted))) . dm/dz_h at the clean run

    For queries and keys this is the QK correction of AtP* (Kramar et al. 2024, eq. 7, 9, 10): attention is recomputed
    and only what comes after it is linearised. A saturated softmax has no slope, so that plain gradient x difference
    (`corrected=False`) gives such a head nothing. All positions change at once; for queries that is the sum of eq. 9
    over positions, for keys it is one recomputation with all keys changed, as patching does it, where eq. 10 changes
    one key at a time. Values and patterns enter z linearly: for them both ways agree. Each query head has its own copy
    of keys and values that it shares with its group.

    The scores approximate those of the same name of the exact method `parts`. A ranking by whole outputs (z) has no
    use for the correction: z is behind the softmax.

    Args:
        model: a model that can be cut open.
        pairs: clean and corrupted prompts of equal length.
        corrected: recompute attention; False linearises it.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `denoising_q`, `noising_q` and so on, in units of the pairs' metric. Cost: as `attribution`, and every layer's
        attention a few times more.

    Raises:
        UsageError: if the model cannot be cut open, or the metric has no derivative.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> for corrected in (False, True):  # the induction head's attention is saturated
        ...     found = attribution_parts(model, pairs, corrected=corrected)
        ...     print((found["noising_k"].mean(0) > 1).tolist())
        [[False, False], [False, False]]
        [[False, False], [False, True]]
    """
    names = [f"{direction}_{site}" for site in PARTS for direction in ("denoising", "noising")]
    label = f"{pairs.task}: attribution of parts" if progress else ""
    value = _exact if corrected else _linear

    def compute(span: Span) -> dict[str, Tensor]:
        clean, corrupted = twins(span, Sides(clean=True, corrupted=True), inputs=True)
        found = {}
        for site in PARTS:
            found[f"denoising_{site}"] = _through(value, span, site, corrupted, clean)
            found[f"noising_{site}"] = -_through(value, span, site, clean, corrupted)
        return found

    return by_span(
        Work(model=model, pairs=pairs, names=names, copies=2, batch_size=batch_size, memory=memory, label=label),
        compute,
    )


Value = Callable[[str, Block, Attention, Attention, Tensor], Tensor]


def _through(value: Value, span: Span, site: str, own: Trace, donor: Trace) -> Float[Tensor, "example layer head"]:
    layers = zip(span.program.blocks, own.inputs, donor.inputs, own.slope, strict=True)
    return torch.stack([value(site, block, mine, other, slope) for block, mine, other, slope in layers], dim=1)


def _exact(site: str, block: Block, own: Attention, donor: Attention, slope: Tensor) -> Float[Tensor, "example head"]:
    """What the metric gains by the exact change of z, to first order from there on."""
    with torch.no_grad():
        changed = {
            "q": {"q": donor.q},
            "k": {"k": donor.k},
            "v": {"v": donor.v},
            "pattern": {"q": donor.q, "k": donor.k},
        }
        z = attend(block, *own._replace(**changed[site]))
        return ((z - attend(block, *own)) * slope).sum((1, 3))


def _linear(site: str, block: Block, own: Attention, donor: Attention, slope: Tensor) -> Float[Tensor, "example head"]:
    """Gradient x difference of the part itself."""
    if site == "pattern":
        return _exact(site, block, own, donor, slope)
    heads = slope.shape[2]
    wide, other = ({"q": each.q, "k": repeated(each.k, heads), "v": repeated(each.v, heads)} for each in (own, donor))
    with torch.enable_grad():
        part = wide[site].detach().requires_grad_()
        z = attend(block, **(wide | {site: part}), seen=own.seen)
        (gradient,) = torch.autograd.grad(z, part, slope)
    return ((other[site] - part.detach()) * gradient).sum((1, 3))


_NAMES = {"q": "query", "k": "key", "v": "value", "pattern": "attention pattern"}
ATTRIBUTION_PARTS = Method(
    name="attribution-parts",
    function=attribution_parts,
    needs=Pairs,
    scores=tuple(
        Score(name=f"{direction}_{site}", meaning=f"its {text.format(_NAMES[site])}, estimated from one gradient")
        for site in PARTS
        for direction, text in (
            ("denoising", "clean {} alone restores the answer in the corrupted run"),
            ("noising", "corrupted {} alone damages the answer in the clean run"),
        )
    ),
    source="Kramar et al. 2024 (AtP*, arXiv 2403.00745), eq. 7, 9, 10",
    about="estimate the patching of all heads' queries, keys, values and patterns, from one gradient",
    across=False,
)
