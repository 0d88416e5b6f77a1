"""What a method costs on a task, counted from the model's shape and the prompts: forwards and operations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from headscope.contract import Method
from headscope.metrics import name_of
from headscope.models.outline import Outline
from headscope.prompts import Pairs
from headscope.replay.plan import CPU_TOKENS, GPU_TOKENS

KERNELS = 30
"""Calls into PyTorch for each block of a chunk, about: on small models they take longer than the arithmetic."""
PER_WIDTH, PER_HIDDEN, PER_WEIGHT = 1.5, 1.0, 2.0
"""What a block does beside its matrix products (norms, sums, activation, attention), in activations: for each number of
the stream's width, of the MLP's hidden width, and for each attention weight. Measured on GPT-2's blocks."""
PER_HEAD = 4
"""What attention costs each prompt and head of a layer whatever its length, in calls into PyTorch."""
BACK, BACK_ENTRIES = 2, 3
"""A forward with its way back, in forwards: weights have no gradient, so that the way back multiplies no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What a method runs for each example, as its docstring has it under Cost.

    Attributes:
        heads: counterfactual runs for each head, from its layer on.
        each: there are as many for each of the method's scores in the task's unit.
        late: further ones, which start at the last token.
        everywhere: runs and gradients start at the first token, not where the twins begin to differ.
        whole: the heads of its own layer attend anew, too.
        read: counterfactual runs for each head, of MLPs only and only where the metric reads.
        forwards: whole forwards.
        before: forwards of what stands before the first difference.
        after: forwards from the first difference on.
        gradients: forwards with their backwards, from the first difference on.
        weights: what is done for each attention weight beside forwards, in activations.
    """

    heads: int = 0
    each: bool = False
    late: int = 0
    everywhere: bool = False
    whole: bool = False
    read: int = 0
    forwards: int = 2
    before: int = 0
    after: int = 0
    gradients: int = 0
    weights: int = 0


COSTS: Mapping[str, Runs] = {
    "patching": Runs(heads=1, each=True),
    "ablation": Runs(heads=1, each=True, everywhere=True, forwards=3),
    "attention": Runs(forwards=1, weights=8),
    "attribution": Runs(forwards=0, before=1, gradients=2),
    "direct": Runs(),
    "parts": Runs(heads=1, each=True, whole=True),
    "positions": Runs(heads=2, late=2),
    "mediation": Runs(heads=4, whole=True),
    "path-patching": Runs(read=2),
    "self-repair": Runs(heads=1, read=1, everywhere=True),
    "attribution-parts": Runs(forwards=0, before=1, gradients=2, weights=90),
    "integrated-gradients": Runs(forwards=0, before=1, after=2, gradients=5),
    "importance": Runs(everywhere=True, forwards=0, gradients=1),
    "probing": Runs(forwards=1),
}
"""One line for each method of `headscope.methods.METHODS`; a method of one's own has none, and its cost is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a method costs on a task.

    Attributes:
        runs: forwards and counterfactual runs, of one prompt each.
        operations: floating-point operations (multiplications and additions) of the matrix products.
        entries: what is done beside them, in activations (GELU) of one number, roughly.
        calls: calls into PyTorch, roughly.
    """

    runs: float
    operations: float
    entries: float
    calls: float


class _Part(NamedTuple):
    """Operations and entries of a part of the work, and how often it runs the attention of a layer."""

    operations: float = 0.0
    entries: float = 0.0
    layers: float = 0.0

    def and_(self, other: "_Part", times: int | float = 1) -> "_Part":
        return _Part(*(own + times * more for own, more in zip(self, other, strict=True)))


def cost_of(outline: Outline, pairs: Pairs, method: Method, *, batch_size: int, device: str = "cpu") -> Cost | None:
    """The cost of a method on a task.

    Of prompts only their lengths count, and where the twins begin to differ.

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
    grid, (length, span) = outline.grid, _lengths(pairs)
    heads = runs.heads * (sum(score.unit is None for score in method.scores) if runs.each else 1)
    start = length if runs.everywhere or not outline.causal else span
    unembed = 2 * outline.d_model * (outline.vocabulary if name_of(pairs) != "logit_difference" else 0)
    one = _Part(0, runs.weights * length * length * grid.size)
    one = one.and_(_forward(outline, pairs.tokens.shape[1]), runs.forwards)
    one = one.and_(_forward(outline, length - span), runs.before).and_(_forward(outline, span), runs.after)
    back = _from_layer(outline, -1, length, start, whole=True)
    one = one.and_(_Part(BACK * back.operations, BACK_ENTRIES * back.entries, back.layers), runs.gradients)
    for layer in range(grid.layers):
        run = _from_layer(outline, layer, length, start, whole=runs.whole).and_(_Part(unembed))
        late = _from_layer(outline, layer, length, 1.0, whole=False).and_(_Part(unembed))
        # With one token attention costs a head next to nothing.
        one = one.and_(run, heads * grid.heads).and_(late._replace(layers=0), runs.late * grid.heads)
        read = _Part(unembed).and_(_mlp(outline), grid.layers - layer)
        one = one.and_(read, runs.read * grid.heads)
    tokens, rows = CPU_TOKENS if device == "cpu" else GPU_TOKENS, len(pairs) * grid.heads
    kinds = ((start, heads), (1.0, runs.late + runs.read))
    chunks = sum(math.ceil(rows * place / tokens) * each for place, each in kinds if each)
    passes = runs.forwards + runs.before + runs.after + 3 * runs.gradients
    batches = math.ceil(len(pairs) / batch_size) * grid.layers * passes
    counted = runs.forwards + runs.after + runs.gradients + (heads + runs.late + runs.read) * grid.size
    return Cost(
        runs=float(len(pairs) * counted),
        operations=float(len(pairs) * one.operations), entries=float(len(pairs) * one.entries),
        calls=float(
            KERNELS * (chunks * grid.layers * (grid.layers + 1) / 2 + batches)
            + PER_HEAD * grid.heads * len(pairs) * one.layers
        ),
    )  # fmt: skip


def _lengths(pairs: Pairs) -> tuple[float, float]:
    """Tokens of a prompt, and those from the first difference between the twins on; means over the examples."""
    lengths = pairs.mask.sum(1)
    differ = (pairs.tokens != pairs.corrupted) & pairs.mask
    first = differ.int().argmax(1)
    return float(lengths.double().mean()), float((lengths - first).clamp(min=1).double().mean())


def _mixing(outline: Outline, keys: int | float) -> _Part:
    """One token's scores and mixing in one layer."""
    return _Part(4 * keys * outline.grid.heads * outline.d_head, PER_WEIGHT * outline.grid.heads * keys)


def _attention(outline: Outline, keys: int | float) -> _Part:
    """One token in one layer's attention."""
    return _Part(2 * outline.attention, PER_WIDTH / 2 * outline.d_model).and_(_mixing(outline, keys))


def _mlp(outline: Outline) -> _Part:
    """One token in one layer's MLP."""
    operations = 2 * (outline.block - outline.attention)
    hidden = operations / (4 * outline.d_model)
    return _Part(operations, PER_WIDTH / 2 * outline.d_model + PER_HIDDEN * hidden)


def _forward(outline: Outline, tokens: int | float) -> _Part:
    """One whole forward, with the logits of one position."""
    block = _mlp(outline).and_(_attention(outline, tokens))
    rest = _Part(2 * outline.d_model * outline.vocabulary, 0, outline.grid.layers)
    return rest.and_(block, tokens * outline.grid.layers)


def _from_layer(outline: Outline, layer: int, length: float, span: float, *, whole: bool) -> _Part:
    """A counterfactual run of one head: its own layer's MLP, and all that follows; the last only where it is read.

    Of a gradient, which follows the embedding, `layer` is -1.
    """
    last, mlp, attention = outline.grid.layers - 1, _mlp(outline), _attention(outline, length)
    own = _Part() if layer < 0 else mlp.and_(_mixing(outline, length), int(whole))
    if layer == last:
        return _Part(0, 0, int(whole)).and_(own, span if whole else 1)
    block, keys = mlp.and_(attention), 4 * outline.d_model * outline.kv_heads * outline.d_head
    through = own.and_(_Part(keys)).and_(block, last - layer - 1)
    return block.and_(through, span).and_(_Part(0, 0, last - layer + int(whole and layer >= 0)))
