"""A logit as a sum: what every head, MLP, embedding and bias writes for each word of the vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.methods.held import Held, Joint, ahead, back, held_at, joint, tangent, wide
from headscope.methods.trace import Layer, Trace, trace
from headscope.models import Model
from headscope.models.ends import Embedded, opened
from headscope.models.program import Program, repeated
from headscope.replay.spans import program_of

Kind = Literal["head", "mlp", "embedding", "bias", "not linear", "rounding"]
KINDS: tuple[Kind, ...] = ("embedding", "head", "mlp", "bias", "not linear", "rounding")
"""What a logit is a sum of, in the order in which sums are shown."""

SOFT_CAP, ACTIVATION, ROUNDING = "soft-cap on the logits", "activation before the unembedding", "rounding"


class Part(NamedTuple):
    """One term of the sum.

    Attributes:
        kind: one of `KINDS`.
        name: what it is called.
        layer: its layer from 0, or None.
        head: its head from 0, or None.
    """

    kind: Kind
    name: str
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Decomposition:
    """The logits at one position of one prompt, as a sum over the parts of the model.

    Attributes:
        parts: the terms.
        vectors: what each writes in front of the unembedding, with the scale of every norm as it is in the run; the
            last column multiplies the unembedding's bias. Their sum is what the unembedding reads.
        logits: the model's own logits there.
        at: the position.
        program: the model, cut open.
        run: what the model computed.
        joints: how attention and MLP are added to the stream, in each layer.
        ends: what is linear between the last stream and the unembedding, in order.
    """

    parts: tuple[Part, ...]
    vectors: Float[Tensor, "part d_model_and_1"] = field(repr=False)
    logits: Float[Tensor, " vocabulary"] = field(repr=False)
    at: int
    program: Program
    run: Trace = field(repr=False)
    joints: tuple[tuple[Joint, Joint], ...] = field(repr=False)
    ends: tuple[Held, ...] = field(repr=False)

    @property
    def pattern(self) -> Float[Tensor, "layer head key"]:
        """Where each head looked from that position: weights that sum to 1."""
        return torch.stack([layer.pattern for layer in self.run.layers])

    def votes(self, direction: Float[Tensor, " d_model_and_1"]) -> Float[Tensor, " part"]:
        """What each part adds along a direction in front of the unembedding.

        Args:
            direction: such as `word(token)`.
        """
        return self.vectors @ direction

    def word(self, token: int) -> Float[Tensor, " d_model_and_1"]:
        """The direction of one logit (before any soft-cap): the unembedding's column and its bias.

        Args:
            token: its id.
        """
        return columns(self.program, torch.tensor([token]))[:, 0]

    def by_source(self, direction: Float[Tensor, " d_model_and_1"]) -> Float[Tensor, "layer head key"]:
        """Each head's vote as a sum over the positions that it looked at: weight x what the value there votes for.

        Exact: values are moved by fixed matrices (value, output) and the norms' scales are held. A head's value bias
        is shared out by its weights.

        Args:
            direction: as for `votes`.
        """
        found = []
        for layer, into in zip(self.run.layers, self._into(direction), strict=True):
            heads = layer.z.shape[0]
            out = wide(self.program.blocks[layer.index].out.weight).unflatten(0, (heads, -1)) @ into
            values = repeated(layer.v[None], heads)[0]
            found.append(layer.pattern * torch.einsum("khe,he->hk", values, out))
        return torch.stack(found)

    def _into(self, direction: Tensor) -> list[Tensor]:
        """The direction as one in what the attention of each layer writes."""
        into = direction[:-1]
        for end in reversed(self.ends):
            into = back(end, into)
        found = []
        for join, leave in reversed(self.joints):
            into = back(leave.stream, into)
            found.append(back(join.written, into))
            into = back(join.stream, into)
        return found[::-1]


def columns(program: Program, tokens: Int[Tensor, " token"]) -> Float[Tensor, "d_model_and_1 token"]:
    """The unembedding of some tokens with their biases below, in double precision.

    Args:
        program: the model, cut open.
        tokens: their ids.
    """
    at = tokens.to(program.unembed.weight.device)
    weights, bias = program.unembed.weight[:, at], program.unembed.bias
    below = torch.zeros_like(weights[0]) if bias is None else bias[at]
    return torch.cat([wide(weights), wide(below)[None]])


@torch.no_grad()
def decompose(
    model: Model,
    tokens: Int[Tensor, "1 position"],
    *,
    at: int,
    mask: Bool[Tensor, "1 position"] | None = None,
) -> Decomposition:
    """Take the logits at one position apart into what every part of the model writes.

    Every norm is linear once its scale is held where it is in this run, so that also the parts of models that
    normalise the stream after each block (BERT, OPT-350M) and of Gemma-2 add up. What is not linear stands by itself:
    of BERT's transform the activation is taken by its tangent at the run, and what the tangent leaves is a part
    (`ACTIVATION`); a soft-cap acts on the sum and is left to the reader of the logits. An MLP's biases count as its
    own, and so does a head's value bias. Source: Elhage et al. 2021 (direct path), with norms held as in Wang et al.
    2022 (arXiv 2211.00593), section 3.1.

    Args:
        model: a model that can be cut open.
        tokens: one prompt.
        at: the position whose logits are taken apart.
        mask: True where a token is real; None means everywhere.

    Returns:
        The parts, in double precision on the CPU. Cost: two forwards of the prompt, and memory for one vector of the
        stream for each head.

    Raises:
        UsageError: if the model cannot be cut open, or has a norm that does something else than to centre, scale and
            shift.
        ModelError: if what stands before its unembedding is not laid out as in BERT.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> found = decompose(load(plain, device="cpu"), torch.tensor([[1, 2, 3]]), at=2)
        >>> bool((found.votes(found.word(7)).sum() - found.logits[7]).abs() < 1e-5)
        True
        >>> sum(part.kind == "head" for part in found.parts)
        8
    """
    program = program_of(model, "a logit's decomposition in")
    mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
    logits = wide(model.run_at(tokens, mask, torch.tensor([at]))[0])
    run = trace(model, program, tokens, mask, at=at)
    sums = _Sum([], [], [])
    _embedding(sums, run.embedded, at)
    for layer in run.layers:
        _block(sums, program, layer)
    ends = _ends(sums, program, run.last)
    vectors = torch.stack(sums.vectors)
    vectors = torch.cat([vectors, vectors.new_zeros(len(vectors), 1)], 1)
    if program.unembed.bias is not None and bool(program.unembed.bias.any()):
        sums.parts.append(Part("bias", "unembedding bias"))
        vectors = torch.cat([vectors, torch.eye(vectors.shape[1], dtype=torch.float64)[-1:]])
    return Decomposition(
        parts=tuple(sums.parts), vectors=vectors, logits=logits, at=at, program=program, run=run,
        joints=tuple(sums.joints), ends=ends,
    )  # fmt: skip


class _Sum(NamedTuple):
    """What has been written so far, as it is in the stream at hand."""

    parts: list[Part]
    vectors: list[Tensor]
    joints: list[tuple[Joint, Joint]]

    def add(self, part: Part, vector: Tensor) -> None:
        self.parts.append(part)
        self.vectors.append(vector)

    def through(self, held: Held | None) -> None:
        """Everything so far goes through a norm without its bias, or a matrix."""
        self.vectors[:] = [ahead(held, vector) for vector in self.vectors]

    def total(self) -> Tensor:
        return torch.stack(self.vectors).sum(0)


def _embedding(sums: _Sum, made: Embedded, at: int) -> None:
    for name, vectors in made.parts.items():
        sums.add(Part("embedding", name), wide(vectors[at]))
    if made.norm is not None:
        held = held_at(made.norm, torch.stack([vectors[at] for vectors in made.parts.values()]).sum(0))
        sums.through(held)
        _bias(sums, "embedding norm bias", held.offset)


def _bias(sums: _Sum, name: str, vector: Tensor | None, layer: int | None = None) -> None:
    """A bias is a part where the model has one."""
    if vector is not None and bool(vector.any()):
        sums.add(Part("bias", name, layer), vector)


def _block(sums: _Sum, program: Program, layer: Layer) -> None:
    block, index = program.blocks[layer.index], layer.index
    join = joint(block.join, layer.before, layer.written)
    sums.through(join.stream)
    out = wide(block.out.weight).unflatten(0, (program.heads, -1))
    for head in range(program.heads):
        sums.add(Part("head", f"L{index}H{head}", index, head), ahead(join.written, layer.z[head] @ out[head]))
    if block.out.bias is not None:
        _bias(sums, "attention output bias", ahead(join.written, wide(block.out.bias)), index)
    _bias(sums, "attention norm bias", join.offset, index)
    leave = joint(block.leave, layer.middle, layer.mlp)
    # Where the MLP is simply added, what reached the stream is counted, its rounding included.
    written = wide(layer.mlp) if leave.stream or leave.written else wide(layer.after) - sums.total()
    sums.through(leave.stream)
    sums.add(Part("mlp", f"MLP {index}", index), ahead(leave.written, written))
    _bias(sums, "MLP norm bias", leave.offset, index)
    sums.joints.append((join, leave))


def _ends(sums: _Sum, program: Program, last: Tensor) -> tuple[Held, ...]:
    """From the last stream to what the unembedding reads."""
    ends: list[Held] = []

    def through(held: Held) -> None:
        sums.through(held)
        ends.append(held)

    hidden = program.norm(last[None])[0]
    if not torch.equal(hidden, last):
        held = held_at(program.norm, last)
        through(held)
        _bias(sums, "last norm's bias", held.offset)
    if program.transform is None:
        return tuple(ends)
    inside = opened(program.transform)
    through(wide(inside.dense.weight))
    _bias(sums, "transform bias", None if inside.dense.bias is None else wide(inside.dense.bias))
    read = sums.total()
    made, slope = tangent(inside.activation, read)
    through(slope)
    sums.add(Part("not linear", ACTIVATION), made - slope * read)
    held = held_at(inside.norm, inside.activation(inside.dense(hidden[None]))[0])
    through(held)
    _bias(sums, "transform norm bias", held.offset)
    return tuple(ends)


def gap(raw: float, logit: float, softcap: float | None) -> Sequence[tuple[Part, float]]:
    """What turns a sum of votes into the model's own logit: the soft-cap, if there is one, and rounding.

    Args:
        raw: the sum of the parts.
        logit: the model's own logit.
        softcap: the cap, or None.

    Returns:
        Parts with their values, which with `raw` add up to `logit` exactly.

    Example:
        >>> [(part.name, round(value, 3)) for part, value in gap(2.0, 0.97, 1.0)]
        [('soft-cap on the logits', -1.036), ('rounding', 0.006)]
    """
    if softcap is None:
        return [(Part("rounding", ROUNDING), logit - raw)]
    capped = softcap * float(torch.tanh(torch.tensor(raw / softcap, dtype=torch.float64)))
    return [(Part("not linear", SOFT_CAP), capped - raw), (Part("rounding", ROUNDING), logit - capped)]
