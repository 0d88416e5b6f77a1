"""One prompt through a model, part by part: all that one position is made of."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.models import Model
from headscope.models.ends import Embedded, embedded
from headscope.models.program import Program, pattern, repeated, visible


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """What one layer did at one position.

    Attributes:
        index: which layer.
        before: the residual stream before it.
        z: what each head put out, before W_O (double precision, on the CPU, like the next two).
        v: the values at every position that can be seen.
        pattern: where each head looked.
        written: what attention wrote, its bias included.
        middle: the stream after attention.
        mlp: what the MLP wrote.
        after: the stream after the layer.
    """

    index: int
    before: Float[Tensor, " d_model"] = field(repr=False)
    z: Float[Tensor, "head d_head"] = field(repr=False)
    v: Float[Tensor, "key kv_head d_head"] = field(repr=False)
    pattern: Float[Tensor, "head key"] = field(repr=False)
    written: Float[Tensor, " d_model"] = field(repr=False)
    middle: Float[Tensor, " d_model"] = field(repr=False)
    mlp: Float[Tensor, " d_model"] = field(repr=False)
    after: Float[Tensor, " d_model"] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """What a model did at one position of one prompt.

    Attributes:
        embedded: what the stream starts from.
        layers: what each layer did.
        last: the residual stream after the last one.
    """

    embedded: Embedded
    layers: tuple[Layer, ...]
    last: Float[Tensor, " d_model"] = field(repr=False)


@torch.no_grad()
def trace(
    model: Model, program: Program, tokens: Int[Tensor, "1 position"], mask: Bool[Tensor, "1 position"], *, at: int
) -> Trace:
    """Run one prompt and keep what stands at one position.

    Args:
        model: the model.
        program: the same, cut open.
        tokens: one prompt.
        mask: True where a token is real.
        at: the position. A decoder's later tokens are not run.

    Returns:
        What each layer did there. Cost: one forward of the prompt.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[1, 2, 3]])
        >>> found = trace(model, model.cut.program, tokens, tokens > 0, at=1)
        >>> len(found.layers), found.layers[1].pattern.shape  # the third token is out of sight
        (2, torch.Size([4, 2]))
    """
    device = program.unembed.weight.device
    end = at + 1 if program.causal else tokens.shape[1]
    tokens, mask = tokens[:, :end].to(device), mask[:, :end].to(device)
    start = embedded(model, program, tokens, mask)
    residual, layers = start.stream[None], []
    places = torch.arange(end, device=device)
    for index, block in enumerate(program.blocks):
        x = block.enter(residual)
        q, k, v = program.queries(index, x, places), program.keys(index, x, places), program.values(index, x)
        seen = visible(block, places, end, causal=program.causal)
        seen = mask[:, None, :] if seen is None else seen
        weights = pattern(block, q, repeated(k, program.heads), seen)
        z = torch.matmul(weights, repeated(v, program.heads).transpose(1, 2)).transpose(1, 2)
        written = block.out(z.flatten(2))
        middle = block.join(residual, written)
        mlp = block.mlp(residual if block.parallel else middle)
        after = block.leave(middle, mlp)
        here = {"before": residual, "written": written, "middle": middle, "mlp": mlp, "after": after}
        exact = {"z": z[0, at], "v": v[0], "pattern": weights[0, :, at]}
        layers.append(
            Layer(
                index=index, **{name: each[0, at] for name, each in here.items()},
                **{name: each.cpu().double() for name, each in exact.items()},
            )
        )  # fmt: skip
        residual = after
    return Trace(embedded=start, layers=tuple(layers), last=residual[0, at])
