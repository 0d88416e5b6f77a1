"""Activation patching of every head's output: which heads carry what the corruption takes away?"""

from jaxtyping import Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.methods.sweep import Setting, outputs, read, sweep
from headscope.models import Model
from headscope.prompts import Pairs


def patching(
    model: Model, pairs: Pairs, *, batch_size: int = 128, progress: bool = False
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Denoising and noising of each head's z, at all positions, in both directions.

    With m the metric, h a head, and x <- h(y) the run on x in which h puts out what it does on y:

        denoising(h) = m(corrupted <- h(clean)) - m(corrupted)     is the head sufficient to restore the answer?
        noising(h)   = m(clean) - m(clean <- h(corrupted))         is it necessary?

    Positive values mean that the head helps. The two are not symmetric: with a backup behind it a head can be
    sufficient and not necessary (Heimersheim & Nanda 2024, section 3).

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        batch_size: rows per forward pass; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `denoising` and `noising`, in units of the pairs' metric.
        Cost: 2 x heads + 4 forwards for each example, every one through the whole model.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> [(value.mean(0) > 1).nonzero().tolist() for value in patching(model, pairs).values()]
        [[[0, 0], [1, 1]], [[0, 0], [1, 1]]]
    """
    setting = Setting(model, batch_size, progress)
    clean, corrupted = read(setting, pairs.tokens, pairs), read(setting, pairs.corrupted, pairs)
    restored = sweep(setting, pairs.corrupted, pairs, outputs(setting, pairs.tokens, pairs), f"{pairs.task}: denoising")
    damaged = sweep(setting, pairs.tokens, pairs, outputs(setting, pairs.corrupted, pairs), f"{pairs.task}: noising")
    return {"denoising": restored - corrupted[:, None, None], "noising": clean[:, None, None] - damaged}


PATCHING = Method(
    name="patching",
    function=patching,
    needs=Pairs,
    scores=(
        Score(name="denoising", meaning="its clean output alone restores the answer in the corrupted run"),
        Score(name="noising", meaning="its corrupted output alone damages the answer in the clean run"),
    ),
    source="Vig et al. 2020; Heimersheim & Nanda 2024 (arXiv 2404.15255)",
    about="put a head's clean output into the corrupted run, and the other way round",
)
