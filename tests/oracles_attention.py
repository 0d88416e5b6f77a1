"""Edits of q, k, v, pattern and z in plain Hugging Face, sharing no code with headscope: attention itself is replaced.

Hugging Face's eager attention is a function of its module; while a run lasts, one of ours stands in for it. It spells
attention out, head by head where it edits, with keys and values repeated for every query head.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Change:
    """What one counterfactual run replaces: `heads` [layer, head] at `places` [example, position] by `values`.

    `values` holds a tensor for each layer: [example, position, head, d_head], or [example, head, query, key] for
    patterns. `frozen` heads [layer, head] keep `kept` (their z, a tensor for each layer), unless they are replaced.
    """

    site: str
    heads: Tensor
    values: Sequence[Tensor]
    places: Tensor
    frozen: Tensor | None = None
    kept: Sequence[Tensor] = ()


@dataclass
class Seen:
    """What a run computed, a tensor for each layer."""

    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    pattern: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)


def run(plain: Any, tokens: Tensor, mask: Tensor, change: Change | None = None) -> tuple[Tensor, Seen]:
    """Logits of every position, and what attention computed on the way."""
    output, seen = _whole(plain, tokens, mask, change, hidden=False)
    return output.logits.float(), seen


def hidden(plain: Any, tokens: Tensor, mask: Tensor, change: Change | None = None) -> Tensor:
    """The last hidden states, after the last norm: what the unembedding reads."""
    output, _ = _whole(plain, tokens, mask, change, hidden=True)
    return output.hidden_states[-1]


def _whole(plain: Any, tokens: Tensor, mask: Tensor, change: Change | None, *, hidden: bool) -> tuple[Any, Seen]:
    seen = Seen()
    with _replaced(plain, seen, change), torch.no_grad():
        return plain(input_ids=tokens, attention_mask=mask.long(), output_hidden_states=hidden), seen


@contextmanager
def _replaced(plain: Any, seen: Seen, change: Change | None) -> Iterator[None]:
    home = sys.modules[type(plain).__module__]

    def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, softcap=None, **_):
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        weights, z = _attend(seen, change, query, key, value, attention_mask, scaling, softcap)
        return z.transpose(1, 2), weights

    def local(module, query, key, value, attention_mask=None):
        bias = module.bias[:, :, : query.shape[2], : query.shape[2]]
        barred = torch.zeros(bias.shape).masked_fill(~bias, torch.finfo(torch.float32).min)
        total = barred if attention_mask is None else (barred + attention_mask).clamp(min=torch.finfo().min)
        weights, z = _attend(seen, change, query, key, value, total, 1.0, None)
        return z, weights

    eager = hasattr(home, "eager_attention_forward")
    owner, name = (home, "eager_attention_forward") if eager else (home.GPTNeoSelfAttention, "_attn")
    before = getattr(owner, name)
    setattr(owner, name, attention if eager else local)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _attend(
    seen: Seen,
    change: Change | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """Attention of one layer on [example, head, position, d_head]: its weights and z."""
    layer, heads = len(seen.z), query.shape[1]
    key = torch.stack([key[:, h * key.shape[1] // heads] for h in range(heads)], 1)
    value = torch.stack([value[:, h * value.shape[1] // heads] for h in range(heads)], 1)
    query = _swap(change, "q", layer, query)
    key = _swap(change, "k", layer, key)
    value = _swap(change, "v", layer, value)
    scores = torch.einsum("ehqd,ehkd->ehqk", query, key) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo().min) if mask.dtype == torch.bool else scores + mask
    weights = _swap(change, "pattern", layer, scores.softmax(-1))
    z = torch.einsum("ehqk,ehkd->ehqd", weights, value)
    if change is not None and change.frozen is not None:
        for head in (change.frozen[layer] & ~change.heads[layer]).nonzero()[:, 0].tolist():
            z[:, head] = change.kept[layer][:, :, head]
    z = _swap(change, "z", layer, z)
    for name, part in (("q", query), ("k", key), ("v", value), ("z", z)):
        getattr(seen, name).append(part.transpose(1, 2).clone())
    seen.pattern.append(weights.clone())
    return weights, z


def _swap(change: Change | None, site: str, layer: int, own: Tensor) -> Tensor:
    """`own` with the replaced heads' values at the replaced positions; one example, head and position at a time."""
    if change is None or change.site != site or not bool(change.heads[layer].any()):
        return own
    out, values = own.clone(), change.values[layer]
    for head in change.heads[layer].nonzero()[:, 0].tolist():
        for example, position in change.places.nonzero().tolist():
            new = values[example, head, position] if site == "pattern" else values[example, position, head]
            out[example, head, position] = new
    return out
