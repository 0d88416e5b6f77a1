"""What an edit does to the input of later heads, and what follows if only some of them see it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.models.program import attend, visible
from headscope.progress import track
from headscope.replay.base import Base
from headscope.replay.edits import Edits
from headscope.replay.engine import replay, streams
from headscope.replay.plan import Chunk, plan

ROW = 40
"""Bytes that `follow` needs to plan one row."""


class Arrival(NamedTuple):
    """What edits make of the heads of a later layer.

    Attributes:
        chunk: the rows, and the positions that run.
        layer: the layer.
        z: every head's z there, for each way in which the change comes in.
    """

    chunk: Chunk
    layer: int
    z: list[Float[Tensor, "row position head d_head"]]


def arrivals(
    base: Base, edits: Edits, through: Sequence[str], *, layers: Collection[int], memory: int, progress: str = ""
) -> Iterator[Arrival]:
    """Run edits up to later layers, and see what the heads there make of them.

    Args:
        base: the run that is edited.
        edits: edits of one layer each, which may freeze what lies between it and `layers`.
        through: by which of a head's inputs the change comes in: sets of `q`, `k` and `v`.
        layers: the layers that are asked for.
        memory: bytes for intermediate results.
        progress: the label of a progress bar; empty: none.

    Yields:
        Each chunk of edits and examples with each of these layers that comes after its edits. Rows without any change
        do not appear. Cost: a run up to the last of the layers for each edit and example.
    """
    edits = edits.on(base.mask.device)
    ways, heads = len(through), base.program.heads
    each = (2 * ways + 2) * base.z[0][0].numel() * base.z[0].element_size() + ROW * ways * heads * len(base)
    laid = plan(base, edits, memory=memory).chunks if len(edits) and layers else ()
    chunks = [piece for chunk in laid for piece in _parts(chunk, max(1, memory // each))]
    for chunk in track(chunks, progress, show=bool(progress), unit="chunk"):
        for layer, stream in streams(base, edits, chunk):
            if layer in layers:
                yield Arrival(chunk, layer, rerouted(base, chunk, layer, stream, through))
            if layer == max(layers):
                break


def _parts(chunk: Chunk, rows: int) -> list[Chunk]:
    pieces = torch.arange(len(chunk)).split(rows)
    return [replace(chunk, edit=chunk.edit[piece], example=chunk.example[piece]) for piece in pieces]


@torch.no_grad()
def rerouted(
    base: Base, chunk: Chunk, layer: int, stream: Float[Tensor, "row position d_model"], through: Sequence[str]
) -> list[Float[Tensor, "row position head d_head"]]:
    """Every head's z when some of its queries, keys and values are computed from another residual stream.

    Each head has its own: with grouped queries, a new key of one query head leaves the others of its group alone.

    Args:
        base: the run that the others come from.
        chunk: the rows, and the positions that run.
        layer: whose heads.
        stream: what enters the layer, from `streams`.
        through: sets of `q`, `k` and `v`, such as `"k"` or `"qk"`.

    Returns:
        z at the positions that run, for each of `through`. Cost: one attention each.
    """
    program, block, span = base.program, base.program.blocks[layer], slice(chunk.start, chunk.stop)
    x, places, rows = block.enter(stream), base.places[span], chunk.example
    own = {
        "q": base.q(layer)[rows, span],
        "k": base.k[layer][rows, : chunk.stop],
        "v": base.v[layer][rows, : chunk.stop],
    }
    new = {
        "q": program.queries(layer, x, places),
        "k": torch.cat([own["k"][:, : chunk.start], program.keys(layer, x, places)], 1),
        "v": torch.cat([own["v"][:, : chunk.start], program.values(layer, x)], 1),
    }
    seen = visible(block, places, chunk.stop, causal=program.causal)
    seen = base.mask[rows, None, : chunk.stop] if seen is None else seen
    inputs = [[new[name] if name in each else own[name] for name in "qkv"] for each in through]
    return [attend(block, q, k, v, seen) for q, k, v in inputs]


@torch.no_grad()
def follow(
    base: Base,
    arrival: Arrival,
    heads: Sequence[int],
    *,
    memory: int,
    direct: bool = False,
) -> Float[Tensor, "row way chosen"]:
    """The metric when one head at a time puts out what an edit makes of it, and all others see the run as it was.

    Args:
        base: the run that is edited.
        arrival: the heads' z, which is each row's own.
        heads: which of the layer's heads, one at a time.
        memory: bytes for intermediate results.
        direct: no later head responds.

    Returns:
        The metric (double precision, on the CPU) for each row, way in and head. Cost: a counterfactual run each, from
        the layer on; with `direct` of MLPs only, and only where the metric reads.
    """
    chunk, layer, z = arrival
    senders, which = chunk.edit.unique(return_inverse=True)
    runs, ways, device = len(chunk), len(z), base.mask.device
    values = z[0].new_zeros(ways, runs, base.width, *z[0].shape[2:])
    values[:, :, chunk.start : chunk.stop] = torch.stack(z)
    donors = torch.zeros(len(senders), ways, len(heads), len(base), dtype=torch.long, device=device)
    for way in range(ways):
        donors[which, way, :, chunk.example] = (way * runs + torch.arange(runs, device=device))[:, None]
    places = torch.zeros(len(senders), len(base), base.width, dtype=torch.bool, device=device)
    places[which, chunk.example] = (base.places >= chunk.start) & (base.places < chunk.stop)
    edited = torch.zeros(len(senders) * ways, len(heads), len(base.z), base.program.heads, dtype=torch.bool)
    for index, head in enumerate(heads):
        edited[:, index, layer, head] = True
    edited = edited.flatten(0, 1)
    edits = Edits(
        site="z",
        heads=edited,
        values=values.flatten(0, 1),
        places=places,
        at=torch.arange(len(senders)).repeat_interleave(ways * len(heads)),
        frozen=torch.ones_like(edited) if direct else None,
        donors=donors.flatten(0, 2),
    )
    found = replay(base, edits, memory=memory).unflatten(1, (len(senders), ways, len(heads)))
    return found[chunk.example.cpu(), which.cpu()]
