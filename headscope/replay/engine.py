"""Run edits from where they act: the metric of every example under every edit, exact, with nothing run twice."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics
from headscope.errors import UsageError
from headscope.models.program import attend, pattern, repeated, visible
from headscope.progress import track
from headscope.replay.base import Base
from headscope.replay.edits import Edits, Span, picked
from headscope.replay.memory import available, out_of_memory
from headscope.replay.plan import Chunk, Plan, plan


class Inputs(NamedTuple):
    """What attention of a chunk's rows works on: queries, keys and values, and where the queries stand."""

    q: Float[Tensor, "row query head d_head"]
    k: Float[Tensor, "row key kv_head d_head"]
    v: Float[Tensor, "row key kv_head d_head"]
    places: Int[Tensor, "*row query"]


@torch.no_grad()
def replay(
    base: Base,
    edits: Edits,
    *,
    memory: int | None = None,
    layout: Plan | None = None,
    progress: str = "",
) -> Float[Tensor, "example edit"]:
    """The metric of every example under every edit.

    Exact: equal, up to rounding, to one whole forward for each edit and example. Not run are the blocks below an edit,
    positions before its first change (decoders), the last block and the unembedding but where the metric reads, and
    edits that change nothing.

    Args:
        base: the run that is edited.
        edits: what is replaced in each counterfactual run.
        memory: bytes for intermediate results; by default half of what is free. Chunks that do not fit after all are
            halved until they do.
        layout: the plan to follow, from `plan`; made if not given.
        progress: the label of a progress bar; empty: none.

    Returns:
        The metric (double precision, on the CPU). Cost: see `plan(base, edits, memory=...).describe()`.

    Raises:
        UsageError: if not even a single row fits into memory.
    """
    layout = layout or plan(base, edits, memory=available(base.mask.device) // 2 if memory is None else memory)
    result = base.metric[:, None].repeat(1, len(edits))
    _sweep(base, edits, layout, result[None], base.reader.value, progress)
    return result


@torch.no_grad()
def measure(
    base: Base, edits: Edits, *, memory: int | None = None, progress: str = ""
) -> dict[str, Float[Tensor, "example edit"]]:
    """Every metric of the run, of every example under every edit, in one sweep.

    Args:
        base: the run that is edited, with the further metrics that it was started for.
        edits: what is replaced in each counterfactual run.
        memory: bytes for intermediate results; by default half of what is free.
        progress: the label of a progress bar; empty: none.

    Returns:
        The pairs' own metric first, each under its name. Cost: that of `replay`, and the logits that they all need.

    Raises:
        UsageError: if not even a single row fits into memory.
    """
    layout = plan(base, edits, memory=available(base.mask.device) // 2 if memory is None else memory)
    own = {metrics.name_of(base.reader.pairs): base.metric, **base.also}
    result = torch.stack([value[:, None].repeat(1, len(edits)) for value in own.values()])
    _sweep(base, edits, layout, result, base.reader.values, progress)
    return dict(zip(own, result, strict=True))


Read = Callable[[Tensor, Tensor], Tensor]


def _sweep(base: Base, edits: Edits, layout: Plan, result: Tensor, read: Read, progress: str) -> None:
    """Fill in what changes, of [metric, example, edit]."""
    edits = edits.on(base.mask.device)
    for chunk in track(layout.chunks, progress, show=bool(progress), unit="chunk"):
        result[:, chunk.example.cpu(), chunk.edit.cpu()] = _measured(base, edits, chunk, read)


def _measured(base: Base, edits: Edits, chunk: Chunk, read: Read) -> Float[Tensor, "*metric row"]:
    """What is read of a chunk's rows; in halves if memory does not suffice."""
    try:
        return read(_last_stream(base, edits, chunk), chunk.example)
    except (RuntimeError, MemoryError) as problem:
        if not out_of_memory(problem):
            raise
        if len(chunk) == 1:
            given = f"one counterfactual run of {chunk.stop - chunk.start} tokens, which does not fit into memory"
            raise UsageError(given, "enough free memory", "use shorter prompts or a smaller model") from problem
    if base.mask.device.type == "cuda":
        torch.cuda.empty_cache()
    return torch.cat([_measured(base, edits, half, read) for half in chunk.halves()], -1)


def _last_stream(base: Base, edits: Edits, chunk: Chunk) -> Float[Tensor, "row read d_model"]:
    stream = _first_block(base, edits, chunk)
    for layer in range(chunk.layer + 1, len(base.program.blocks)):
        stream = _block(base, edits, chunk, layer, stream)
    # What is read before the first position that runs has not changed.
    early = base.reader.reads[chunk.example] < chunk.start
    return torch.where(early[..., None], base.last[chunk.example], stream) if early.shape[1] > 1 else stream


@torch.no_grad()
def streams(base: Base, edits: Edits, chunk: Chunk) -> Iterator[tuple[int, Float[Tensor, "row position d_model"]]]:
    """Each layer after a chunk's first, with the residual stream that enters it under the edits.

    Args:
        base: the run that is edited.
        edits: the edits.
        chunk: the rows; none of the layers that are asked for may come after its `narrow` one.

    Yields:
        The layer, and its input at positions `start` to `stop`.
    """
    stream: Tensor | None = None
    edits = edits.on(base.mask.device)
    for layer in range(chunk.layer + 1, len(base.program.blocks)):
        below = layer - 1
        stream = _first_block(base, edits, chunk) if stream is None else _block(base, edits, chunk, below, stream)
        yield layer, stream


def _span(base: Base, chunk: Chunk, *, read: bool) -> Span:
    """The positions that run, or those that are read."""
    return base.reader.reads[chunk.example] if read else slice(chunk.start, chunk.stop)


def _where(edits: Edits, base: Base, chunk: Chunk, *, read: bool = False) -> Tensor:
    """Where each row's edit acts, at the positions that run or at those that are read."""
    places = edits.places[edits.at[chunk.edit], chunk.example] & base.mask[chunk.example]
    return picked(places, (torch.arange(len(chunk), device=places.device),), _span(base, chunk, read=read))


def _first_block(base: Base, edits: Edits, chunk: Chunk) -> Tensor:
    """The block of the first change: its attention is the stored one plus the change of z times W_O."""
    layer, block = chunk.layer, base.program.blocks[chunk.layer]
    span, rows = _span(base, chunk, read=chunk.narrow == layer), (chunk.example,)
    attention = picked(base.attention(layer), rows, span)
    _add_change(attention, base, edits, chunk)
    middle = block.join(picked(base.residual[layer], rows, span), attention)
    written = base.mlp(layer, frozen=edits.frozen_mlps)
    return block.leave(middle, block.mlp(middle) if written is None else picked(written, rows, span))


def _add_change(attention: Tensor, base: Base, edits: Edits, chunk: Chunk) -> None:
    """Add what the edited heads change to the output of attention."""
    layer, program = chunk.layer, base.program
    own = base.z[layer]
    heads = edits.heads[chunk.edit, layer]
    weight = program.blocks[layer].out.weight.view(program.heads, program.d_head, -1)
    if edits.site != "z":
        # Each of these heads' z may change at any position, not only where its q, k or v does.
        change = _edited_z(base, edits, chunk) - own[chunk.example, chunk.start : chunk.stop]
        change = change.masked_fill(~heads[:, None, :, None], 0)
        if chunk.narrow == layer:
            change = base.reader.gather(change.flatten(2), chunk.example, chunk.start).unflatten(2, change.shape[2:])
    elif bool((heads.sum(-1) == 1).all()):
        _add_single(attention, base, edits, chunk, heads.int().argmax(-1), weight)
        return
    else:
        span = _span(base, chunk, read=chunk.narrow == layer)
        change = edits.donor(layer, chunk.edit, chunk.example, span).to(own) - picked(own, (chunk.example,), span)
        acts = heads[:, None, :] & _where(edits, base, chunk, read=chunk.narrow == layer)[..., None]
        change = change.masked_fill(~acts[..., None], 0)
    attention += change.flatten(2) @ weight.flatten(0, 1)


def _add_single(attention: Tensor, base: Base, edits: Edits, chunk: Chunk, head: Tensor, weight: Tensor) -> None:
    """The same where each row edits one head: rows come sorted by head, so each head's are one product."""
    layer, read = chunk.layer, chunk.narrow == chunk.layer
    acts = _where(edits, base, chunk, read=read)
    span = _span(base, chunk, read=read)
    for index in head.unique().tolist():
        rows = (head == index).nonzero()[:, 0]
        edit, example = chunk.edit[rows], chunk.example[rows]
        where = span if isinstance(span, slice) else span[rows]
        change = edits.donor(layer, edit, example, where, head=index).to(attention)
        change = change - picked(base.z[layer], (example,), where, head=index)
        attention[rows] += change.masked_fill(~acts[rows][..., None], 0) @ weight[index]


def _edited_z(base: Base, edits: Edits, chunk: Chunk) -> Tensor:
    """z of the first layer under edits of q, k, v or pattern, from its stored inputs."""
    layer, span = chunk.layer, slice(chunk.start, chunk.stop)
    x = chunk.example
    q, k, v = base.q(layer)[x, span], base.k[layer][x, : chunk.stop], base.v[layer][x, : chunk.stop]
    return _attended(base, edits, chunk, layer, Inputs(q, k, v, base.places[span]))


def _block(base: Base, edits: Edits, chunk: Chunk, layer: int, stream: Tensor) -> Tensor:
    """A later block; at `chunk.narrow` only what the metric reads goes on."""
    block = base.program.blocks[layer]
    if layer in chunk.frozen:
        attention = picked(base.attention(layer), (chunk.example,), _span(base, chunk, read=layer > chunk.narrow))
    else:
        attention = _later_attention(base, edits, chunk, layer, stream)
        if layer == chunk.narrow:
            stream = base.reader.gather(stream, chunk.example, chunk.start)
    middle = block.join(stream, attention)
    del attention
    if edits.frozen_mlps:
        written = base.mlp(layer, frozen=True)
        if written is not None:
            span = _span(base, chunk, read=layer >= chunk.narrow)
            return block.leave(middle, picked(written, (chunk.example,), span))
    return block.leave(middle, block.mlp(stream if block.parallel else middle))


def _later_attention(base: Base, edits: Edits, chunk: Chunk, layer: int, stream: Tensor) -> Tensor:
    """What a later block's attention writes; in rows whose heads are all replaced there, no attention runs."""
    given = _given(base, edits, chunk, layer)
    if not bool(given.any()):
        return _block_attention(base, edits, chunk, layer, stream)
    span = _span(base, chunk, read=layer == chunk.narrow)
    rows = given.nonzero()[:, 0]
    where = span if isinstance(span, slice) else span[rows]
    z = edits.donor(layer, chunk.edit[rows], chunk.example[rows], where).to(stream)
    written = base.program.blocks[layer].out(z.flatten(2))
    others = (~given).nonzero()[:, 0]
    if not len(others):
        return written
    rest = replace(chunk, edit=chunk.edit[others], example=chunk.example[others])
    attention = written.new_empty(len(chunk), *written.shape[1:])
    attention[rows] = written
    attention[others] = _block_attention(base, edits, rest, layer, stream[others])
    return attention


def _given(base: Base, edits: Edits, chunk: Chunk, layer: int) -> Bool[Tensor, " row"]:
    """Rows in which z of every head is replaced at every real position that runs."""
    given = edits.heads[chunk.edit, layer].all(-1)
    if edits.site != "z" or not bool(given.any()):
        return torch.zeros_like(given)
    span = slice(chunk.start, chunk.stop)
    places = edits.places[edits.at[chunk.edit], chunk.example, span] | ~base.mask[chunk.example, span]
    return given & places.all(-1)


def _block_attention(base: Base, edits: Edits, chunk: Chunk, layer: int, stream: Tensor) -> Tensor:
    """What a later block's attention writes, where it goes on. Nothing else of attention is left when the MLP runs."""
    program, block = base.program, base.program.blocks[layer]
    x = block.enter(stream)
    k, v = program.keys(layer, x, base.places[chunk.start : chunk.stop]), program.values(layer, x)
    if chunk.start:
        before = (chunk.example, slice(0, chunk.start))
        k, v = torch.cat([base.k[layer][before], k], 1), torch.cat([base.v[layer][before], v], 1)
    return block.out(_block_z(base, edits, chunk, layer, x, (k, v)).flatten(2))


def _block_z(base: Base, edits: Edits, chunk: Chunk, layer: int, x: Tensor, kv: tuple[Tensor, Tensor]) -> Tensor:
    """z of a later layer, where it goes on: at all positions that run, or at those that are read."""
    program = base.program
    narrow = layer == chunk.narrow
    touched = bool(edits.heads[chunk.edit, layer].any())
    kept = edits.frozen is not None and bool(edits.frozen[chunk.edit, layer].any())
    if narrow and not touched and not kept:
        places = base.reader.reads[chunk.example]
        q = program.queries(layer, base.reader.gather(x, chunk.example, chunk.start), places)
        return _attended(base, edits, chunk, layer, Inputs(q, *kv, places), touched=False)
    places = base.places[chunk.start : chunk.stop]
    q = program.queries(layer, x, places)
    z = _attended(base, edits, chunk, layer, Inputs(q, *kv, places), touched=touched)
    if kept and edits.frozen is not None:
        still = edits.frozen[chunk.edit, layer][:, None, :, None]
        z = torch.where(still, base.z[layer][chunk.example, chunk.start : chunk.stop], z)
    if touched and edits.site == "z":
        acts = edits.heads[chunk.edit, layer][:, None, :] & _where(edits, base, chunk)[..., None]
        donor = edits.donor(layer, chunk.edit, chunk.example, slice(chunk.start, chunk.stop))
        z = torch.where(acts[..., None], donor.to(z), z)
    return base.reader.gather(z.flatten(2), chunk.example, chunk.start).unflatten(2, z.shape[2:]) if narrow else z


def _attended(
    base: Base, edits: Edits, chunk: Chunk, layer: int, inputs: Inputs, *, touched: bool = True
) -> Float[Tensor, "row query head d_head"]:
    """Attention of a chunk's rows, with q, k, v or pattern replaced where an edit says so."""
    program, block = base.program, base.program.blocks[layer]
    q, k, v, places = inputs
    seen = visible(block, places, k.shape[1], causal=program.causal)
    seen = base.mask[chunk.example, None, : k.shape[1]] if seen is None else seen
    if not touched or edits.site == "z":
        return attend(block, q, k, v, seen)
    heads = edits.heads[chunk.edit, layer]
    acts = _where(edits, base, chunk)
    where = (acts[..., None] & heads[:, None, :])[..., None]
    if edits.site == "pattern":
        weights = pattern(block, q, repeated(k, program.heads), seen)
        fresh = edits.donor_pattern(layer, chunk.edit, chunk.example, (chunk.start, chunk.stop))
        weights = torch.where(where.transpose(1, 2), fresh.to(q), weights)
        return torch.matmul(weights, repeated(v, program.heads).transpose(1, 2)).transpose(1, 2)
    donor = repeated(edits.donor(layer, chunk.edit, chunk.example, slice(chunk.start, chunk.stop)).to(q), program.heads)
    if edits.site == "q":
        return attend(block, torch.where(where, donor, q), k, v, seen)
    wide = repeated(k if edits.site == "k" else v, program.heads)  # the chunk's own, never what the base run keeps
    wide[:, chunk.start :] = torch.where(where, donor, wide[:, chunk.start :])
    k, v = (wide, repeated(v, program.heads)) if edits.site == "k" else (repeated(k, program.heads), wide)
    return attend(block, q, k, v, seen)
