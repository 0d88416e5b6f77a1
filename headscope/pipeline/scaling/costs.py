"""What a method costs on a task, counted from the model's shape and the prompts: forwards and operations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from headscope.contract import Method
from headscope.metrics import name_of
from headscope.models.outline import Outline
from headscope.prompts import Pairs
from headscope.replay.plan import CPU_TOKENS, GPU_TOKENS

KERNELS = 30
"""Calls into PyTorch for each block of a chunk, about: on small models they take longer than the arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What a method runs for each example, as its docstring has it under Cost.

    Attributes:
        heads: counterfactual runs for each head, from its layer on.
        each: there are as many for each of the method's scores in the task's unit.
        everywhere: they start at the first token, not where the twins begin to differ.
        whole: the attention of the head's own layer runs too.
        read: counterfactual runs for each head, of MLPs only and only where the metric reads.
        forwards: whole forwards.
        gradients: forwards with their backwards, from the first difference on.
    """

    heads: int = 0
    each: bool = False
    everywhere: bool = False
    whole: bool = False
    read: int = 0
    forwards: int = 2
    gradients: int = 0


COSTS: Mapping[str, Runs] = {
    "patching": Runs(heads=1, each=True),
    "ablation": Runs(heads=1, each=True, everywhere=True, forwards=3),
    "attention": Runs(forwards=1),
    "attribution": Runs(forwards=1, gradients=2),
    "direct": Runs(),
    "parts": Runs(heads=1, each=True, whole=True),
    "positions": Runs(heads=1, each=True),
    "mediation": Runs(heads=4, whole=True),
    "path-patching": Runs(read=2),
    "self-repair": Runs(heads=1, read=1, everywhere=True),
    "attribution-parts": Runs(forwards=1, gradients=3),
    "integrated-gradients": Runs(forwards=3, gradients=5),
    "importance": Runs(forwards=0, gradients=1),
    "probing": Runs(forwards=1),
}
"""One line for each method of `headscope.methods.METHODS`; a method of one's own has none, and its cost is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a method costs on a task.

    Attributes:
        runs: forwards and counterfactual runs, of one prompt each.
        operations: floating-point operations (multiplications and additions) of the matrix products.
        calls: calls into PyTorch, roughly.
    """

    runs: float
    operations: float
    calls: float


def cost_of(outline: Outline, pairs: Pairs, method: Method, *, batch_size: int, device: str = "cpu") -> Cost | None:
    """The cost of a method on a task.

    Of prompts only their lengths count, and where the twins begin to differ. The work beside matrix products is not
    counted: normalisation, reading, statistics.

    Args:
        outline: the model.
        pairs: the examples.
        method: the method.
        batch_size: examples that are held at once.
        device: `cpu` or another kind.

    Returns:
        None for a method whose cost is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.methods import METHODS
        >>> from headscope.models.outline import outline
        >>> from headscope.tasks import TASKS
        >>> mini = outline("mini")
        >>> pairs = TASKS["induction"].build(mini, n=8, rng=np.random.default_rng(0))
        >>> cost_of(mini, pairs, METHODS["patching"], batch_size=8).runs  # 8 x (2 forwards + 2 x 96 heads)
        1552.0
    """
    runs = COSTS.get(method.name)
    if runs is None:
        return None
    heads = runs.heads * (sum(score.unit is None for score in method.scores) if runs.each else 1)
    length, span = _lengths(pairs)
    start = length if runs.everywhere or not outline.causal else span
    words = outline.vocabulary if name_of(pairs) != "logit_difference" else 0
    unembed, count, layers = 2 * outline.d_model * words, len(pairs), outline.grid.layers
    one = _forward(outline, length)
    operations = one * runs.forwards + 3 * one * runs.gradients * span / length
    operations += outline.grid.heads * heads * sum(
        _from_layer(outline, layer, length, start, whole=runs.whole) + unembed for layer in range(layers)
    )  # fmt: skip
    mlp = 2 * (outline.block - outline.attention)
    operations += outline.grid.heads * runs.read * sum((layers - layer) * mlp + unembed for layer in range(layers))
    rows = count * outline.grid.heads
    tokens = CPU_TOKENS if device == "cpu" else GPU_TOKENS
    chunks = [math.ceil(rows * width / tokens) * each for width, each in ((start, heads), (1, runs.read)) if each]
    batches = math.ceil(count / batch_size) * layers * (runs.forwards + 3 * runs.gradients)
    return Cost(
        runs=float(count * (runs.forwards + runs.gradients + (heads + runs.read) * outline.grid.size)),
        operations=float(count * operations),
        calls=float(KERNELS * (sum(chunks) * layers * (layers + 1) / 2 + batches)),
    )


def _lengths(pairs: Pairs) -> tuple[float, float]:
    """Tokens of a prompt, and those from the first difference between the twins on; means over the examples."""
    lengths = pairs.mask.sum(1)
    differ = (pairs.tokens != pairs.corrupted) & pairs.mask
    first = differ.int().argmax(1)
    return float(lengths.double().mean()), float((lengths - first).clamp(min=1).double().mean())


def _attention(outline: Outline, keys: float) -> float:
    """Operations of one token's scores and mixing in one layer."""
    return 4 * keys * outline.grid.heads * outline.d_head


def _forward(outline: Outline, length: float) -> float:
    """One whole forward, with the logits of one position."""
    layers = outline.grid.layers * (2 * outline.block + _attention(outline, length))
    return length * layers + 2 * outline.d_model * outline.vocabulary


def _from_layer(outline: Outline, layer: int, length: float, span: float, *, whole: bool) -> float:
    """A counterfactual run of one head: its own layer's MLP, and all that follows; the last only where it is read."""
    mlp, last = 2 * (outline.block - outline.attention), outline.grid.layers - 1
    own = mlp + (2 * outline.attention + _attention(outline, length) if whole else 0)
    if layer == last:
        return own * (span if whole else 1)
    keys = 4 * outline.d_model * outline.kv_heads * outline.d_head
    between = (last - layer - 1) * (2 * outline.block + _attention(outline, length))
    return span * (own + between + keys) + 2 * outline.block + _attention(outline, length)
