"""Attribution with integrated gradients: the slope averaged on the way from the corrupted to the clean prompt."""

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.gradient import Span, heads_of, slope_of_inputs, slopes
from headscope.replay.spans import Work, by_span


def integrated_gradients(
    model: Model,
    pairs: Pairs,
    *,
    steps: int = 5,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Gradient x difference of each head's z, with the slope averaged over inputs between the twins.

    With x(a) = x(corrupted) + a (x(clean) - x(corrupted)) the residual stream before the first block:

        integrated(h) = (z_h(clean) - z_h(corrupted)) . mean over a of dm/dz_h at the run on x(a)

    This is EAP-IG with interpolated inputs (Hanna et al. 2024, arXiv 2403.17806), for heads instead of edges, and with
    a = (k - 1/2) / steps for k = 1 .. steps, where theirs, k / steps, lean to the clean end. Neither end is preferred:
    it estimates denoising and noising alike. It is less blind than `attribution` where the metric or attention is flat
    at one end. The slopes sum to the whole effect only over the
    inputs themselves: `completeness` says how well the steps do there.

    Args:
        model: a model that can be cut open.
        pairs: clean and corrupted prompts of equal length.
        steps: inputs on the way; Hanna et al. use 5 to 30.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `integrated`, in units of the pairs' metric; positive values mean that the head helps. Cost: `steps` forwards
        and backwards and two forwards from the first difference on, and one forward of what stands before it.

    Raises:
        UsageError: if steps are fewer than 1, the model cannot be cut open, or the metric has no derivative.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> (integrated_gradients(model, pairs, steps=9)["integrated"].mean(0) > 1).tolist()
        [[True, False], [False, True]]
    """
    ways = _ways(steps)

    def compute(span: Span) -> dict[str, Tensor]:
        streams = torch.cat([span.clean, span.corrupted])
        ends = heads_of(span, streams, span.everyone.repeat(2))
        way = slopes(span, _between(span, ways), span.everyone.repeat(steps))
        layers = []
        for z, slope in zip(ends.z, way.slope, strict=True):
            clean, corrupted = z.chunk(2)
            layers.append(((clean - corrupted) * slope.unflatten(0, (steps, -1)).mean(0)).sum((1, 3)))
        return {"integrated": torch.stack(layers, dim=1)}

    label = f"{pairs.task}: integrated gradients" if progress else ""
    work = Work(
        model=model,
        pairs=pairs,
        names=("integrated",),
        copies=steps + 1,
        batch_size=batch_size,
        memory=memory,
        label=label,
    )
    return by_span(work, compute)


def completeness(
    model: Model, pairs: Pairs, *, steps: int = 5, memory: int | None = None
) -> Float[Tensor, "example end"]:
    """What the integrated gradients of the inputs add up to, and what they ought to: m(clean) - m(corrupted).

    The two are equal in the limit of many steps (Sundararajan et al. 2017, proposition 1). Far apart they mean that the
    steps are too few, and that `integrated_gradients` with as many says little.

    Args:
        model: a model that can be cut open.
        pairs: clean and corrupted prompts of equal length.
        steps: inputs on the way.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.

    Returns:
        Both numbers for each example, in units of the pairs' metric. Cost: `steps` + 2 forwards and backwards.

    Raises:
        UsageError: as for `integrated_gradients`.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> for steps in (2, 200):
        ...     found, whole = completeness(model, pairs, steps=steps)[0].tolist()
        ...     print(abs(found - whole) < 0.01 * whole)
        False
        True
    """
    ways = _ways(steps)

    def compute(span: Span) -> dict[str, Tensor]:
        _, slope = slope_of_inputs(span, _between(span, ways), span.everyone.repeat(steps))
        change = (span.clean - span.corrupted) * slope.unflatten(0, (steps, -1)).mean(0)
        ends, _ = slope_of_inputs(span, torch.cat([span.clean, span.corrupted]), span.everyone.repeat(2))
        clean, corrupted = ends.chunk(2)
        return {"sum": change.sum((1, 2)), "whole": clean - corrupted}

    work = Work(model=model, pairs=pairs, names=("sum", "whole"), copies=steps + 2, memory=memory, shape=())
    found = by_span(work, compute)
    return torch.stack(list(found.values()), dim=1)


def _ways(steps: int) -> list[float]:
    if steps < 1:
        raise UsageError(f"{steps} steps", "at least 1", "take 5, or more where completeness is bad")
    return [(step + 0.5) / steps for step in range(steps)]


def _between(span: Span, ways: list[float]) -> Float[Tensor, "row live d_model"]:
    """Inputs between the twins: all examples at the first, at the second, ..."""
    return torch.cat([torch.lerp(span.corrupted, span.clean, way) for way in ways])


INTEGRATED = Method(
    name="integrated-gradients",
    function=integrated_gradients,
    needs=Pairs,
    scores=(
        Score(
            name="integrated",
            meaning="the answer depends on its output, to first order on the way between the prompts",
        ),
    ),
    source="Hanna et al. 2024 (EAP-IG, arXiv 2403.17806); Sundararajan et al. 2017",
    about="attribution with the gradient averaged on the way between the prompts",
    across=False,
)
