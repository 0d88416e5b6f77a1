"""A transformer cut open: the same modules and weights, called part by part, so that a run can start anywhere."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Step = Callable[[Tensor], Tensor]
Vectors = Float[Tensor, "*token d_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Projection:
    """A linear map, `x @ weight + bias`, with the weight as a view of the model's own.

    Attributes:
        weight: input by output.
        bias: added after it, or None.

    Example:
        >>> double = Projection(weight=2 * torch.eye(3), bias=torch.ones(3))
        >>> double(torch.tensor([[[0.0, 1.0, 2.0]]])), double.operations
        (tensor([[[1., 3., 5.]]]), 18)
    """

    weight: Float[Tensor, "input output"]
    bias: Float[Tensor, " output"] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        out = flat @ self.weight if self.bias is None else torch.addmm(self.bias, flat, self.weight)
        return out.view(*x.shape[:-1], -1)

    @property
    def operations(self) -> int:
        """Floating-point operations for one token."""
        return 2 * self.weight.numel()


@dataclass(frozen=True, eq=False, kw_only=True)
class Distant:
    """A projection whose weights lie on another device, or on disk, than the tensors that go in and come out.

    Attributes:
        fetch: the projection where it is computed; weights on disk are read at every call.
        home: where tensors go in and come out.
        numel: how many weights it has.

    Example:
        >>> double = Projection(weight=2 * torch.eye(3))
        >>> far = Distant(fetch=lambda: double, home=torch.device("cpu"), numel=9)
        >>> far(torch.ones(1, 3)), far.operations
        (tensor([[2., 2., 2.]]), 18)
    """

    fetch: Callable[[], Projection]
    home: torch.device
    numel: int

    def __call__(self, x: Tensor) -> Tensor:
        there = self.fetch()
        return there(x.to(there.weight.device)).to(self.home)

    @property
    def weight(self) -> Float[Tensor, "input output"]:
        """Input by output, copied to `home`."""
        return self.fetch().weight.to(self.home)

    @property
    def bias(self) -> Float[Tensor, " output"] | None:
        """Added after it, copied to `home`; or None."""
        found = self.fetch().bias
        return None if found is None else found.to(self.home)

    @property
    def operations(self) -> int:
        """Floating-point operations for one token."""
        return 2 * self.numel


@dataclass(frozen=True, eq=False, kw_only=True)
class Block:
    """One transformer block. Every part but `attend` treats each token by itself.

        x          = enter(before)                       the norm before attention, if any
        z          = attend(rotate(query(x)), rotate(key(x)), value(x))
        middle     = join(before, out(z))
        after      = leave(middle, mlp(middle))          with a parallel MLP: leave(middle, mlp(before))

    Attributes:
        enter: from the residual stream to what queries, keys and values read.
        query, key, value: projections; key and value have one head for each group of query heads.
        shape_q, shape_k: norms on each head's query and key, if any.
        out: W_O and its bias.
        join: residual stream before and attention's output -> residual stream after.
        mlp: residual stream -> what the MLP writes, with the norms that belong to it.
        leave: residual stream in the middle and MLP's output -> residual stream after the block.
        parallel: whether the MLP reads the stream before attention.
        scale: what scores are multiplied by.
        softcap: scores s become softcap * tanh(s / softcap); None: they do not.
        window: a query sees only so many last keys, itself included; None: all.
        mlp_operations: floating-point operations of the MLP for one token.
    """

    enter: Step
    query: Projection | Distant
    key: Projection | Distant
    value: Projection | Distant
    shape_q: Step | None = None
    shape_k: Step | None = None
    out: Projection | Distant
    join: Callable[[Tensor, Tensor], Tensor]
    mlp: Step
    leave: Callable[[Tensor, Tensor], Tensor]
    parallel: bool = False
    scale: float
    softcap: float | None = None
    window: int | None = None
    mlp_operations: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A model as a sequence of parts.

    A whole run is `headscope.models.cutting.whole`; the replay engine starts in the middle and stops where it may. All
    parts are the model's own modules and views of its weights, so nothing is copied and weights that are changed in
    place are seen.

    Attributes:
        embed: token ids and mask -> the residual stream before the first block.
        blocks: the blocks, in order.
        rotate: queries or keys [row, position, head, d_head] and their positions -> rotated; None: not.
        norm: the residual stream after the last block -> the model's last hidden state.
        transform: last hidden state -> what the unembedding reads (BERT's head); None: the same.
        unembed: the unembedding.
        softcap: on the logits, or None.
        heads: query heads per layer.
        kv_heads: key-value heads per layer.
        d_head: their width.
        causal: whether a position sees only itself and those before it.
    """

    embed: Callable[[Int[Tensor, "row position"], Bool[Tensor, "row position"]], Float[Tensor, "row position d_model"]]
    blocks: tuple[Block, ...] = field(repr=False)
    rotate: Callable[[Tensor, Tensor], Tensor] | None = None
    norm: Step
    transform: Step | None = None
    unembed: Projection = field(repr=False)
    softcap: float | None = None
    heads: int
    kv_heads: int
    d_head: int
    causal: bool = True

    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
        return self.unembed.weight.shape[0]

    def queries(
        self, layer: int, x: Float[Tensor, "row position d_model"], places: Int[Tensor, "*row position"]
    ) -> Float[Tensor, "row position head d_head"]:
        """Queries of what attention reads (after `enter`), rotated as is due at `places`."""
        block = self.blocks[layer]
        return self._shaped(block.query(x), self.heads, block.shape_q, places)

    def keys(
        self, layer: int, x: Float[Tensor, "row position d_model"], places: Int[Tensor, "*row position"]
    ) -> Float[Tensor, "row position kv_head d_head"]:
        """Keys, rotated as is due at `places`."""
        block = self.blocks[layer]
        return self._shaped(block.key(x), self.kv_heads, block.shape_k, places)

    def values(
        self, layer: int, x: Float[Tensor, "row position d_model"]
    ) -> Float[Tensor, "row position kv_head d_head"]:
        """Values."""
        return self.blocks[layer].value(x).unflatten(-1, (self.kv_heads, self.d_head))

    def logits(
        self, hidden: Float[Tensor, "*token d_model"], columns: Int[Tensor, " column"] | None = None
    ) -> Float[Tensor, "*token column"]:
        """Logits (float32) of last hidden states, for all words or some.

        Args:
            hidden: last hidden states.
            columns: the token ids wanted; None means the whole vocabulary.
        """
        x = hidden if self.transform is None else self.transform(hidden)
        wanted = self.unembed
        if columns is not None:
            bias = None if wanted.bias is None else wanted.bias[columns]
            wanted = Projection(weight=wanted.weight[:, columns], bias=bias)
        out = wanted(x).float()
        return out if self.softcap is None else torch.tanh(out / self.softcap) * self.softcap

    def _shaped(self, flat: Tensor, heads: int, norm: Step | None, places: Tensor) -> Tensor:
        split = flat.unflatten(-1, (heads, self.d_head))
        split = split if norm is None else norm(split)
        return split if self.rotate is None else self.rotate(split, places)


def visible(
    block: Block, queries: Int[Tensor, "*row query"], keys: int, *, causal: bool
) -> Bool[Tensor, "*row query key"] | None:
    """Which keys each query sees, by position; None if all.

    Args:
        block: whose attention.
        queries: the position of each query.
        keys: the number of keys, which stand at positions 0, 1, ...
        causal: whether a position sees only itself and those before it.

    Example:
        >>> zero = Projection(weight=torch.zeros(1, 1))
        >>> block = Block(enter=abs, query=zero, key=zero, value=zero, out=zero, join=torch.add, mlp=abs,
        ...               leave=torch.add, scale=1.0, window=2, mlp_operations=0)
        >>> visible(block, torch.tensor([0, 2]), 3, causal=True).int().tolist()
        [[1, 0, 0], [0, 1, 1]]
    """
    if not causal:
        return None
    places = torch.arange(keys, device=queries.device)
    seen = places <= queries[..., None]
    return seen if block.window is None else seen & (places > queries[..., None] - block.window)


def repeated(shared: Float[Tensor, "row key kv_head d_head"], heads: int) -> Float[Tensor, "row key head d_head"]:
    """Keys or values with one copy for each query head of their group.

    Args:
        shared: keys or values.
        heads: the number of query heads; those of a group follow one another.

    Example:
        >>> repeated(torch.tensor([[[[1.0], [2.0]]]]), heads=4).flatten().tolist()
        [1.0, 1.0, 2.0, 2.0]
    """
    groups = heads // shared.shape[2]
    return shared if groups == 1 else shared.repeat_interleave(groups, dim=2)


def pattern(
    block: Block,
    q: Float[Tensor, "row query head d_head"],
    k: Float[Tensor, "row key head d_head"],
    seen: Bool[Tensor, "*row_query key"] | None,
) -> Float[Tensor, "row head query key"]:
    """Attention patterns: the softmax of scaled, capped, masked scores, in float32 at least.

    Args:
        block: whose attention.
        q: queries, rotated.
        k: keys, rotated, one for each query head.
        seen: which keys each query sees, [query, key] or [row, query, key], where one query may stand for all; None:
            all.

    Returns:
        Weights that sum to 1 over the keys, in the queries' type.
    """
    scores = torch.matmul(q.transpose(1, 2), k.permute(0, 2, 3, 1)) * block.scale
    if block.softcap is not None:
        scores = torch.tanh(scores / block.softcap) * block.softcap
    if seen is not None:
        seen = seen if seen.dim() == 2 else seen[:, None]
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    wide = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    return scores.softmax(-1, dtype=wide).to(q.dtype)


def attend(
    block: Block,
    q: Float[Tensor, "row query head d_head"],
    k: Float[Tensor, "row key kv_head d_head"],
    v: Float[Tensor, "row key kv_head d_head"],
    seen: Bool[Tensor, "*row_query key"] | None,
) -> Float[Tensor, "row query head d_head"]:
    """What each head puts out (z, before W_O).

    Args:
        block: whose attention.
        q: queries, rotated.
        k: keys, rotated, one for each query head or for each group of them.
        v: values, likewise.
        seen: as for `pattern`.

    Returns:
        The weighted sum of values; patterns are spelt out only where scores are capped.
    """
    heads = q.shape[2]
    if block.softcap is None:
        mask = seen if seen is None or seen.dim() == 2 else seen[:, None]
        grouped: dict[str, Any] = {"enable_gqa": True} if k.shape[2] != heads else {}
        z = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, scale=block.scale, **grouped
        )
        return z.transpose(1, 2)
    weights = pattern(block, q, repeated(k, heads), seen)
    return torch.matmul(weights, repeated(v, heads).transpose(1, 2)).transpose(1, 2)
