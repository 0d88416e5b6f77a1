"""Slopes: how the metric changes with what every head puts out. One forward and one backward for all heads at once.

What cannot change is skipped, as in the engine: twins share the keys and values of the positions before their first
difference; the last block runs only where the metric reads; below the first block's heads nothing is differentiated;
weights have no gradient; and of the logits only those exist that the metric needs.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics
from headscope.errors import UsageError
from headscope.models.program import Block, Program, attend, visible
from headscope.prompts import Pairs
from headscope.replay.reading import Reader


class Attention(NamedTuple):
    """What one layer's attention works on."""

    q: Float[Tensor, "row live head d_head"]
    k: Float[Tensor, "row key kv_head d_head"]
    v: Float[Tensor, "row key kv_head d_head"]
    seen: Bool[Tensor, "*row live key"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """What some rows left behind on the way to the last heads. In the last layer only what is read is live.

    Attributes:
        z: every head's output of each layer, at the positions that run.
        inputs: what attention of each layer worked on; empty where it was not asked for.
        slope: the derivative of each row's metric by z; empty where it was not asked for.
    """

    z: list[Float[Tensor, "row _ head d_head"]] = field(repr=False)
    inputs: list[Attention] = field(default_factory=list, repr=False)
    slope: list[Float[Tensor, "row _ head d_head"]] = field(default_factory=list, repr=False)

    def rows(self, part: slice) -> "Trace":
        """Some of the rows.

        Args:
            part: which.
        """
        inputs = [
            Attention(each.q[part], each.k[part], each.v[part], each.seen if each.seen.dim() == 2 else each.seen[part])
            for each in self.inputs
        ]
        return Trace(z=[z[part] for z in self.z], inputs=inputs, slope=[slope[part] for slope in self.slope])


@dataclass(frozen=True, eq=False, kw_only=True)
class Span:
    """Examples that run together from the first difference of any of their twins to the last position that is read.

    Attributes:
        program: the model, cut open.
        reader: reads their metric.
        mask: True where a token is real, up to the last position.
        start, stop: the positions that run.
        streams: the residual streams before the first block, of the clean and the corrupted prompts, from the first
            position on.
        past: keys and values of each layer at the positions before `start`, which the twins share; empty until they
            are needed.
    """

    program: Program
    reader: Reader
    mask: Bool[Tensor, "example position"]
    start: int
    stop: int
    streams: tuple[Float[Tensor, "example position d_model"], Float[Tensor, "example position d_model"]] = field(
        repr=False
    )
    past: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def clean(self) -> Float[Tensor, "example live d_model"]:
        """The clean prompts' streams, at the positions that run."""
        return self.streams[0][:, self.start :]

    @property
    def corrupted(self) -> Float[Tensor, "example live d_model"]:
        """The corrupted prompts' streams, at the positions that run."""
        return self.streams[1][:, self.start :]

    @property
    def everyone(self) -> Int[Tensor, " example"]:
        """The numbers of the examples."""
        return torch.arange(len(self), device=self.mask.device)

    @property
    def places(self) -> Int[Tensor, " live"]:
        """The positions that run."""
        return torch.arange(self.start, self.stop, device=self.mask.device)


@torch.no_grad()
def span_of(program: Program, pairs: Pairs, *, start: int = 0) -> Span:
    """Embed the twins.

    Args:
        program: the model, cut open.
        pairs: the examples.
        start: no twins differ before this position; 0 for encoders, where a position sees those after it.

    Returns:
        The span. Cost: no block is run yet.
    """
    reader = Reader.of(program, pairs)
    device = reader.reads.device
    stop = int(reader.reads.max()) + 1 if program.causal else pairs.mask.shape[1]
    mask = pairs.mask.to(device)
    both = torch.cat([pairs.tokens, pairs.corrupted]).to(device)
    clean, corrupted = program.embed(both, torch.cat([mask, mask]))[:, :stop].chunk(2)
    return Span(program=program, reader=reader, mask=mask[:, :stop], start=start, stop=stop, streams=(clean, corrupted))


@torch.no_grad()
def heads_from_first(span: Span, side: int) -> Trace:
    """The heads of one of the twins, and the keys and values that both share, in one run of all positions.

    Args:
        span: the examples.
        side: 0 for the clean prompts, 1 for the corrupted ones.

    Returns:
        z without slopes. Cost: one forward.
    """
    whole = replace(span, start=0, past=[])
    found = _follow(whole, span.streams[side], span.everyone, keep=True, to_end=False)[0]
    if span.start:
        span.past[:] = [(each.k[:, : span.start], each.v[:, : span.start]) for each in found.inputs]
    last = len(found.z) - 1
    return Trace(z=[z if layer == last else z[:, span.start :] for layer, z in enumerate(found.z)])


def _share(span: Span) -> None:
    """Run what the twins share, unless that has been done: keys and values of each layer at the first positions."""
    if not span.start or span.past:
        return
    with torch.no_grad():
        stream, program = span.streams[0][:, : span.start], span.program
        places = torch.arange(span.start, device=stream.device)
        for layer, block in enumerate(program.blocks):
            x = block.enter(stream)
            k, v = program.keys(layer, x, places), program.values(layer, x)
            span.past.append((k, v))
            if layer < len(program.blocks) - 1:
                q, seen = program.queries(layer, x, places), visible(block, places, span.start, causal=True)
                stream = _after(block, stream, attend(block, q, k, v, seen))


def _after(block: Block, stream: Tensor, z: Tensor) -> Tensor:
    middle = block.join(stream, block.out(z.flatten(2)))
    return block.leave(middle, block.mlp(stream if block.parallel else middle))


@torch.no_grad()
def heads_of(span: Span, stream: Float[Tensor, "row live d_model"], examples: Int[Tensor, " row"]) -> Trace:
    """Run rows up to the last heads, without slopes.

    Args:
        span: what came before.
        stream: each row's residual stream before the first block.
        examples: each row's example.

    Returns:
        Every head's z. Cost: one forward of the positions that run.
    """
    return _follow(span, stream, examples, keep=False, to_end=False)[0]


def slopes(
    span: Span, stream: Float[Tensor, "row live d_model"], examples: Int[Tensor, " row"], *, inputs: bool = False
) -> Trace:
    """Run rows up to the metric and back: its derivative by every head's z, for all heads at once.

    Slopes are upwards where a higher metric is better, downwards where a lower one is (`metrics.sign_of`).

    Args:
        span: what came before.
        stream: each row's residual stream before the first block.
        examples: each row's example.
        inputs: whether to keep what attention works on.

    Returns:
        z and its slopes, in the weights' type. Cost: one forward and one backward of the positions that run, and as
        much memory as `row_bytes` says for each row.

    Raises:
        UsageError: if the metric has no derivative, or is `kl` and a row is the clean run, where its slope is 0.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[1, 2, 3], [4, 5, 6]])
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + torch.tensor([0, 1, 0]), mask=tokens > 0,
        ...               groups=tokens[:, 0], answers=tokens[:, :1], foils=tokens[:, 1:2],
        ...               positions={"end": torch.tensor([2, 2])})
        >>> span = span_of(model.cut.program, pairs, start=1)
        >>> found = slopes(span, span.clean, span.everyone)
        >>> [tuple(slope.shape) for slope in found.slope]  # the last layer only where the metric reads
        [(2, 2, 4, 4), (2, 1, 4, 4)]
    """
    _check_slope(span, stream, examples)
    with torch.inference_mode(False), torch.enable_grad():
        found, last = _follow(span, stream, examples, keep=inputs, to_end=True)
        slope = torch.autograd.grad(_metric(span, last, examples).sum(), found.z)
    kept = [Attention(*(part.detach() for part in each)) for each in found.inputs]
    return Trace(z=[z.detach() for z in found.z], inputs=kept, slope=list(slope))


def slope_of_inputs(
    span: Span, stream: Float[Tensor, "row live d_model"], examples: Int[Tensor, " row"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, "row live d_model"]]:
    """The metric and its derivative by the residual stream before the first block, both so that higher is better.

    Args:
        span: what came before.
        stream: each row's stream.
        examples: each row's example.

    Returns:
        The metric (double precision; minus it where lower is better) and its slope. Cost: as `slopes`.

    Raises:
        UsageError: if the metric has no derivative.
    """
    with torch.inference_mode(False), torch.enable_grad():
        begin = stream.detach().clone().requires_grad_()
        metric = _metric(span, _follow(span, begin, examples, keep=False, to_end=True)[1], examples)
        (slope,) = torch.autograd.grad(metric.sum(), begin)
    return metric.detach(), slope


def _follow(span: Span, stream: Tensor, examples: Tensor, *, keep: bool, to_end: bool) -> tuple[Trace, Tensor]:
    """Run rows, and what the metric reads of the last stream."""
    _share(span)
    last = len(span.program.blocks) - 1
    outputs: list[Tensor] = []
    inputs: list[Attention] = []
    for layer, block in enumerate(span.program.blocks):
        # Nothing below the first heads is asked about, unless it is the stream itself.
        free = layer == 0 and not stream.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and not free):
            attention = _attention(span, layer, stream, examples)
            z = attend(block, *attention)
        if free:
            z.requires_grad_(torch.is_grad_enabled())
        outputs.append(z)
        if keep:
            inputs.append(attention)
        if layer == last:
            stream = span.reader.gather(stream, examples, span.start)
        if layer < last or to_end:
            stream = _after(block, stream, z)
    return Trace(z=outputs, inputs=inputs), stream


def _attention(span: Span, layer: int, stream: Tensor, examples: Tensor) -> Attention:
    program, block, places = span.program, span.program.blocks[layer], span.places
    x = block.enter(stream)
    k, v = program.keys(layer, x, places), program.values(layer, x)
    if span.start:
        k, v = (torch.cat([before[examples], own], 1) for before, own in zip(span.past[layer], (k, v), strict=True))
    if layer == len(program.blocks) - 1:
        x, places = span.reader.gather(x, examples, span.start), span.reader.reads[examples]
    seen = visible(block, places, span.stop, causal=program.causal)
    seen = span.mask[examples, None, :] if seen is None else seen
    return Attention(program.queries(layer, x, places), k, v, seen)


def _check_slope(span: Span, stream: Tensor, examples: Tensor) -> None:
    """KL from the clean run is least there: a slope of 0, up to rounding, says nothing of what a change would do."""
    pairs = span.reader.pairs
    if pairs.metric == metrics.KL and bool((stream == span.clean[examples]).flatten(1).all(1).any()):
        raise UsageError(
            f"the slope of metric {pairs.metric!r} of task {pairs.task!r} at the clean run, where it is always 0",
            "slopes at other runs, or a metric that can rise and fall there, such as logit_difference",
            "use patching for this metric, or attribution(..., scores=['denoising'])",
        )


def _metric(span: Span, last: Tensor, examples: Tensor) -> Float[Tensor, " row"]:
    pairs = span.reader.pairs
    why = ""
    try:
        metric = span.reader.value(last, examples)
        if metric.requires_grad:
            return metrics.sign_of(pairs) * metric
    except RuntimeError as problem:
        if "requires grad" not in str(problem):
            raise
        why = f" ({problem})"
    raise UsageError(
        f"metric {metrics.name_of(pairs)!r} of task {pairs.task!r}, which has no derivative by the logits{why}",
        "a metric made of differentiable torch operations, such as logit_difference",
        "do without argmax, detach and numpy in it, or use patching, which needs no derivative",
    )
