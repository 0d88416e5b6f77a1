"""Which runs a set of edits needs, in which chunks, from which layer and position on, and what that costs."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.models.program import Program
from headscope.replay.base import Base
from headscope.replay.edits import Edits

CPU_TOKENS, GPU_TOKENS = 2048, 2**16
"""Tokens per chunk beyond which larger ones are no faster (and, on a CPU, fall out of its cache)."""
CELLS = 2**20
"""Entries of the largest table that planning holds at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
    """Rows that run together: each is one edit of one example.

    Attributes:
        layer: the first layer that any of them changes; blocks below never run.
        edit, example: what each row is.
        start, stop: the positions that run; those before `start` keep their keys and values.
        narrow: the last layer whose attention runs; from there on only what the metric reads goes on.
        frozen: layers after the first whose heads all keep their z, so that their attention does not run.
    """

    layer: int
    edit: Int[Tensor, " row"] = field(repr=False)
    example: Int[Tensor, " row"] = field(repr=False)
    start: int
    stop: int
    narrow: int
    frozen: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.edit)

    def halves(self) -> Iterator["Chunk"]:
        """The same rows in two chunks."""
        middle = len(self) // 2
        for part in (slice(None, middle), slice(middle, None)):
            yield replace(self, edit=self.edit[part], example=self.example[part])


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """What will run.

    Attributes:
        chunks: what runs, in order.
        edits, examples: what was asked for.
        unchanged: rows that need no run, because nothing that the metric sees changes.
        operations: floating-point operations of all chunks (multiplications and additions of matrix products).
        plain: the same for one whole forward per row, as far as TransformerLens runs it: all positions and words.
        peak: bytes that the largest chunk needs, beyond the model and the base run.
    """

    chunks: tuple[Chunk, ...] = field(repr=False)
    edits: int
    examples: int
    unchanged: int
    operations: int
    plain: int
    peak: int

    @property
    def rows(self) -> int:
        """Rows that run."""
        return sum(len(chunk) for chunk in self.chunks)

    def describe(self) -> str:
        """What will run and what it costs, in words.

        Returns:
            A few lines for people.
        """
        asked = self.edits * self.examples
        shape = f"{asked} counterfactual runs ({self.edits} edits x {self.examples} examples)"
        read = sum(len(chunk) for chunk in self.chunks if chunk.narrow == chunk.layer)
        short = [f"{read} of them run only where the metric reads"] if read else []
        share = self.plain / self.operations if self.operations else float("inf")
        return "\n".join(
            [
                f"{shape}: {self.rows} in {len(self.chunks)} chunks, {self.unchanged} that change nothing",
                *short,
                f"{self.operations / 1e9:,.1f} GFLOP; one whole forward for each would be {self.plain / 1e9:,.1f} "
                f"({share:.1f} times as many)",
                f"at most {self.peak / 2**20:,.0f} MiB at once beside the model and the base run",
            ]
        )


def plan(base: Base, edits: Edits, *, memory: int) -> Plan:
    """Lay out the runs of a set of edits.

    Args:
        base: the run that is edited.
        edits: the edits.
        memory: bytes that a chunk may take.

    Returns:
        The plan; no forward is run.

    Raises:
        UsageError: if the edits do not fit the run.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope import replay
        >>> from headscope.models import load
        >>> from headscope.prompts import Pairs
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu", check=False), torch.arange(12).view(3, 4)
        >>> pairs = Pairs(task="t", tokens=tokens, corrupted=tokens + 1, mask=tokens >= 0, groups=torch.arange(3),
        ...               positions={"end": torch.full((3,), 3)}, answers=tokens[:, :1], foils=tokens[:, 1:2])
        >>> clean, corrupted = (replay.start(model, pairs, each) for each in (pairs.tokens, pairs.corrupted))
        >>> edits = replay.edits_of(replay.single_heads(model.grid), clean.z, pairs.mask)
        >>> print(plan(corrupted, edits, memory=2**20).describe().splitlines()[0])
        24 counterfactual runs (8 edits x 3 examples): 24 in 2 chunks, 0 that change nothing
    """
    edits = edits.on(base.mask.device)
    program = base.program
    edits.check(Grid(len(program.blocks), program.heads), base.mask, program.kv_heads, program.d_head)
    layers, starts = first_changes(base, edits)
    ends = base.reader.reads.amax(1)
    runs = (layers < len(base.program.blocks)) & ((starts <= ends) if base.program.causal else True)
    chunks = []
    for layer in range(len(base.program.blocks)):
        rows = (runs & (layers == layer)).nonzero()
        if len(rows):
            chunks += list(_chunks(base, edits, layer, rows, starts, memory))
    width = base.width
    return Plan(
        chunks=tuple(chunks),
        edits=len(edits),
        examples=len(base),
        unchanged=int((~runs).sum()),
        operations=sum(operations(base, chunk, edits) for chunk in chunks),
        plain=len(edits) * len(base) * whole_forward(base.program, width),
        peak=max((footprint(base, chunk, edits.site) for chunk in chunks), default=0),
    )


def first_changes(base: Base, edits: Edits) -> tuple[Int[Tensor, "edit example"], Int[Tensor, "edit example"]]:
    """The first layer and the first position that each edit changes; the number of layers where there is none."""
    depth, never, device = len(base.program.blocks), base.width, base.mask.device
    first = _first_positions(base, edits)
    layers = torch.full((len(edits), len(base)), depth, device=device)
    starts = torch.full((len(edits), len(base)), never, device=device)
    step = max(1, CELLS // max(1, first[0].numel()))
    for chosen in torch.arange(len(edits), device=device).split(step):
        by_layer = torch.where(edits.heads[chosen][..., None], first[edits.at[chosen]], never).amin(2)
        starts[chosen] = by_layer.amin(1).long()
        acts = by_layer < never
        layers[chosen] = torch.where(acts.any(1), acts.int().argmax(1), depth)
    return layers, starts


def _first_positions(base: Base, edits: Edits) -> Int[Tensor, "place layer head example"]:
    """The first position that each set of positions changes of each head; the width where there is none."""
    shape = (len(edits.places), len(base.program.blocks), base.program.heads, len(base))
    first = torch.full(shape, base.width, dtype=torch.int32, device=base.mask.device)
    everything = base.mask[:, :, None].expand(-1, -1, base.program.heads)
    step = max(1, CELLS // max(1, everything.numel()))
    for layer in edits.heads.any(-1).any(0).nonzero()[:, 0].tolist():
        changed = everything if isinstance(edits.values, Tensor) else everything & _changed(base, edits, layer)
        changed = _seen_by_the_reader(base, edits, layer, changed)
        for chosen in torch.arange(len(edits.places), device=base.mask.device).split(step):
            hit = changed & edits.places[chosen][..., None]
            found = torch.where(hit.any(2), hit.to(torch.uint8).argmax(2), base.width)
            first[chosen, layer] = found.transpose(1, 2).int()
    return first


def _changed(base: Base, edits: Edits, layer: int) -> Bool[Tensor, "example position head"]:
    own = base.site(edits.site, layer)
    other = edits.values[layer].to(own.device)
    changed = (own != other).any(-1)
    if edits.site == "pattern":
        if base.program.causal and bool(other.triu(1).any()):
            given = f"patterns of layer {layer} in which positions attend to later ones, in a decoder"
            fix = "set entries above the diagonal to 0"
            raise UsageError(given, "attention to a position itself and those before it", fix)
        return changed.transpose(1, 2)
    return changed.repeat_interleave(base.program.heads // changed.shape[-1], dim=-1)


def _seen_by_the_reader(base: Base, edits: Edits, layer: int, hit: Tensor) -> Tensor:
    """Where no later head moves it, a change of z, q or pattern matters only where the metric reads."""
    own = edits.heads[:, layer].any(-1).nonzero()[:, 0]
    last = layer == len(base.program.blocks) - 1 and edits.site in {"q", "pattern"}
    if not (last or _only_read(edits, _sealed(edits), layer, own)):
        return hit
    read = torch.zeros(len(base), base.width, dtype=torch.bool, device=hit.device)
    read.scatter_(1, base.reader.reads, True)
    return hit & read[:, :, None]


def _chunks(base: Base, edits: Edits, layer: int, rows: Tensor, starts: Tensor, memory: int) -> Iterator[Chunk]:
    """Rows of one layer in pieces that fit; those that run only where the metric reads by themselves."""
    sealed = _sealed(edits)
    if sealed is None:
        yield from _pieces(base, edits, layer, rows, starts, memory)
        return
    direct = sealed[:, layer + 1 :].all(-1)[rows[:, 0]]
    for group in (rows[direct], rows[~direct]):
        yield from _pieces(base, edits, layer, group, starts, memory)


def _pieces(base: Base, edits: Edits, layer: int, rows: Tensor, starts: Tensor, memory: int) -> Iterator[Chunk]:
    """Rows of one layer, latest start first, cut into pieces that fit."""
    edit, example = rows.T
    begin = starts[edit, example] if base.program.causal else torch.zeros_like(edit)
    end = base.reader.reads[example].amax(1) + 1 if base.program.causal else torch.full_like(edit, base.width)
    head = edits.heads[edit, layer].int().argmax(-1)
    keys = (begin.amax() - begin, end, head, example) if len(edit) else ()
    order = torch.arange(len(edit), device=edit.device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    edit, example, begin, end = (part[order] for part in (edit, example, begin, end))
    sealed = _sealed(edits)
    only_read = _only_read(edits, sealed, layer, edit)
    span = (torch.zeros_like(end), torch.full_like(end, base.reader.reads.shape[1])) if only_read else (begin, end)
    tokens = GPU_TOKENS if base.mask.device.type == "cuda" else CPU_TOKENS
    at = 0
    while at < len(edit):
        near = slice(at, at + tokens)
        size = _fitting(base, edits.site, (span[0][near], span[1][near]), memory)
        part = slice(at, at + size)
        frozen = set() if sealed is None else set(sealed[edit[part]].all(0).nonzero()[:, 0].tolist())
        open_layers = [m for m in range(layer + 1, len(base.program.blocks)) if m not in frozen]
        yield Chunk(
            layer=layer,
            edit=edit[part],
            example=example[part],
            start=int(begin[part].min()),
            stop=int(end[part].max()),
            narrow=max(open_layers, default=layer),
            frozen=frozenset(frozen),
        )
        at += size


def _sealed(edits: Edits) -> Bool[Tensor, "edit layer"] | None:
    """Layers in which every head of an edit is frozen and none is replaced."""
    if edits.frozen is None:
        return None
    return (edits.frozen & ~edits.heads).all(-1)


def _only_read(edits: Edits, sealed: Tensor | None, layer: int, edit: Tensor) -> bool:
    """Whether nothing but what the metric reads runs: z changes, and all later layers are frozen."""
    later = edits.heads.shape[1] - 1 - layer
    frozen = later == 0 or (sealed is not None and bool(sealed[edit, layer + 1 :].all()))
    return frozen and edits.site == "z"


def _fitting(base: Base, site: str, spans: tuple[Tensor, Tensor], memory: int) -> int:
    """How many of the first rows run together: as many as fit, and no more than pay."""
    tokens = GPU_TOKENS if base.mask.device.type == "cuda" else CPU_TOKENS
    begin, end = spans
    low, high = begin.cummin(0).values, end.cummax(0).values
    span = high - low
    count = torch.arange(1, len(begin) + 1, device=begin.device)
    fits = (count * span <= tokens) & (count * _row_bytes(base, site, span, high) <= memory)
    # A later row that starts much earlier would make the others run positions of theirs that do not change.
    pays = (span <= (end[0] - begin[0]) * 9 // 8) | (count * span <= tokens // 8)
    good = (fits & pays).cumprod(0)
    return max(1, int(good.sum()))


def _row_bytes(base: Base, site: str, span: Tensor, keys: Tensor) -> Tensor:
    """Bytes of one row, by count of the tensors that live at once: in attention, in the MLP or while it is read."""
    program, block = base.program, base.program.blocks[0]
    width, inner, shared = program.d_model, program.heads * program.d_head, program.kv_heads * program.d_head
    # Of an MLP's hidden values the count lives at once that it has matrices: up and its activation, or a gate as well.
    mlp = span * (3 * width + block.mlp_operations // (2 * width))
    attention = span * (2 * width + 2 * shared + 4 * inner) + 2 * keys * shared
    grouped = base.mask.device.type == "cuda" and program.heads != program.kv_heads
    if site == "pattern" or grouped or any(each.softcap is not None for each in program.blocks):
        attention = attention + 2 * keys * inner + 4 * span * keys * program.heads
    if site in {"k", "v"}:
        attention = attention + 3 * keys * inner
    item = base.residual[0].element_size()
    return (
        item * torch.maximum(mlp, attention).clamp(min=base.reader.numbers) * 17 // 16
    )  # and what is too small to count


def footprint(base: Base, chunk: Chunk, site: str) -> int:
    """Bytes that a chunk takes at most.

    Args:
        base: the run that is edited.
        chunk: the rows.
        site: what the edits replace.
    """
    whole = chunk.narrow > chunk.layer or site != "z"
    span, keys = (chunk.stop - chunk.start, chunk.stop) if whole else (base.reader.reads.shape[1],) * 2
    return len(chunk) * int(_row_bytes(base, site, torch.tensor(span), torch.tensor(keys)))


def operations(base: Base, chunk: Chunk, edits: Edits) -> int:
    """Floating-point operations of a chunk's matrix products; fewer where edits replace all heads of a later layer."""
    program, rows, span = base.program, len(chunk), chunk.stop - chunk.start
    read = base.reader.reads.shape[1]
    both = 4 * chunk.stop * program.heads * program.d_head
    total = 0
    live = span
    for layer in range(chunk.layer, len(program.blocks)):
        block = program.blocks[layer]
        if layer == chunk.layer:
            live = read if chunk.narrow == layer else live
            total += 2 * program.d_head * program.d_model * rows * live
            if edits.site != "z":
                total += both * rows * live
        elif layer not in chunk.frozen:
            total += (block.key.operations + block.value.operations) * rows * live
            live = read if chunk.narrow == layer else live
            total += (block.query.operations + block.out.operations + both) * rows * live
        if not (edits.frozen_mlps or (block.parallel and layer == chunk.layer)):
            total += block.mlp_operations * rows * live
    words = program.unembed.weight.shape[1] if base.reader.columns is None else len(base.reader.columns)
    seen = 0 if base.reader.spots is None else base.reader.spots.shape[1]
    return total + 2 * program.d_model * words * rows * seen


def whole_forward(program: Program, width: int) -> int:
    """Floating-point operations of one forward over `width` tokens, with the logits of all of them."""
    attention = 4 * width * program.heads * program.d_head
    each = sum(
        b.query.operations + b.key.operations + b.value.operations + b.out.operations + b.mlp_operations + attention
        for b in program.blocks
    )
    return width * (each + program.unembed.operations)
