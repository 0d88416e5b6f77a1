"""The same readings and edits in plain Hugging Face, sharing no code with headscope: a hook before W_O does it all."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

_PROJECTIONS = {
    "gpt2": ("transformer.h", "attn.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense"),
    "llama": ("model.layers", "self_attn.o_proj"),
    "qwen2": ("model.layers", "self_attn.o_proj"),
    "qwen3": ("model.layers", "self_attn.o_proj"),
    "gemma2": ("model.layers", "self_attn.o_proj"),
    "gpt_neo": ("transformer.h", "attn.attention.out_proj"),
    "opt": ("model.decoder.layers", "self_attn.out_proj"),
    "bert": ("bert.encoder.layer", "attention.output.dense"),
}


def projections(plain: Any) -> list[nn.Module]:
    """The module that applies W_O in each layer; its input is every head's z, side by side."""
    layers, projection = _PROJECTIONS[plain.config.model_type]
    return [layer.get_submodule(projection) for layer in plain.get_submodule(layers)]


def run(
    plain: Any, tokens: Tensor, mask: Tensor | None = None, edits: Sequence[tuple[int, Tensor, Tensor]] = ()
) -> Tensor:
    """Logits under edits `(layer, heads [example, head], values [example, position, head, d_head])`."""
    real = torch.ones_like(tokens) if mask is None else mask.long()
    with ExitStack() as stack, torch.no_grad():
        for layer, heads, values in edits:
            handle = projections(plain)[layer].register_forward_pre_hook(_overwrite(heads, values))
            stack.callback(handle.remove)
        return plain(input_ids=tokens, attention_mask=real).logits


def outputs(plain: Any, tokens: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """z of every head: [layer, example, position, head, d_head]."""
    kept: list[Tensor] = []
    with ExitStack() as stack:
        for module in projections(plain):
            handle = module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].clone()))
            stack.callback(handle.remove)
        run(plain, tokens, mask)
    return torch.stack([z.reshape(*z.shape[:2], heads, -1) for z in kept])


def patterns(plain: Any, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
    """Attention patterns of each layer, from Hugging Face's own `output_attentions`."""
    real = torch.ones_like(tokens) if mask is None else mask.long()
    with torch.no_grad():
        return plain(input_ids=tokens, attention_mask=real, output_attentions=True).attentions


def _overwrite(heads: Tensor, values: Tensor) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z = inputs[0].clone()
        width = values.shape[-1]
        for example, head in heads.nonzero().tolist():
            z[example, :, head * width : (head + 1) * width] = values[example, :, head]
        return (z, *inputs[1:])

    return hook
