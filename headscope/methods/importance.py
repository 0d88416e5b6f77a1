"""Head importance after Michel et al. 2019: how the metric changes with a gate on each head's output."""

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.gradient import Span, slopes
from headscope.replay.spans import Work, by_span

NORMALISED = "importance_in_layer"


def importance(
    model: Model,
    pairs: Pairs,
    *,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """How much the metric of the clean run depends on a gate xi_h = 1 on each head's output.

        importance(h)          = |dm/dxi_h| = |z_h . dm/dz_h|, over all positions and dimensions
        importance_in_layer(h) = importance(h) / sqrt(sum over the layer's heads of mean importance squared)

    The absolute value (Michel et al. 2019, eq. 2) is taken of each example, before any mean: effects of opposite sign
    do not cancel. It is the size of attribution with zero for the other run, so it shares the faults of zero ablation:
    what a head always writes counts too. Michel et al. differentiate the loss and rank heads by the second score, whose
    means have squares that sum to 1 in each layer; it says nothing about which layers matter.

    Args:
        model: a model that can be cut open.
        pairs: clean prompts; their twins are not used.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `importance`, in units of the pairs' metric, and `importance_in_layer`, scaled by the same number for all
        examples; NaN in layers that the metric does not depend on. Cost: a forward and a backward for each example.

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
        >>> importance(model, pairs)["importance_in_layer"].mean(0)[1].round(decimals=3).tolist()
        [0.0, 1.0]
    """

    def compute(span: Span) -> dict[str, Tensor]:
        found = slopes(span, span.clean, span.everyone)
        products = [(z * slope).sum((1, 3)) for z, slope in zip(found.z, found.slope, strict=True)]
        return {"importance": torch.stack(products, dim=1).abs()}

    label = f"{pairs.task}: importance" if progress else ""
    work = Work(
        model=model, pairs=pairs, names=("importance",), batch_size=batch_size, memory=memory, label=label, shared=False
    )
    value = by_span(work, compute)["importance"]
    length = value.mean(0).norm(dim=-1)
    return {"importance": value, NORMALISED: value / length.where(length > 0, torch.nan)[:, None]}


IMPORTANCE = Method(
    name="importance",
    function=importance,
    needs=Pairs,
    scores=(
        Score(
            name="importance", meaning="the answer depends on its output, whichever way on each prompt", signed=False
        ),
        Score(
            name=NORMALISED,
            meaning="the answer depends on its output more than on those of other heads of its layer",
            unit="share of the layer (l2)",
            signed=False,
            absent="the metric depends on no head of this layer",
        ),
    ),
    source="Michel et al. 2019 (arXiv 1905.10650), eq. 2",
    about="how the metric changes with a gate on each head's output",
)
