"""Gradients in plain Hugging Face, sharing no code with headscope: autograd, hooks before W_O and at the first layer.

Everything here runs with padding and a mask, all positions and all words, one prompt set at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from oracles import _PROJECTIONS, projections
from torch import Tensor, nn

from headscope.prompts import ABSENT, Pairs

Metric = Callable[[Tensor], Tensor]


class Slopes(NamedTuple):
    """Every head's z and the derivative of each example's metric by it: [layer, example, position, head, d_head]."""

    z: Tensor
    slope: Tensor
    metric: Tensor


def difference(pairs: Pairs) -> Metric:
    """The logit difference of each example from the logits of all positions."""

    def measure(logits: Tensor) -> Tensor:
        values = []
        for row, at in enumerate(pairs.end.tolist()):
            sides = [
                logits[row, at, [i for i in ids[row].tolist() if i != ABSENT]] for ids in (pairs.answers, pairs.foils)
            ]
            values.append(sides[0].mean() - sides[1].mean())
        return torch.stack(values)

    return measure


def first_layer(plain: Any) -> nn.Module:
    """The first transformer layer."""
    return plain.get_submodule(_PROJECTIONS[plain.config.model_type][0])[0]


@contextmanager
def _hooked(*hooks: tuple[nn.Module, Any]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stream_hook(change: Callable[[Tensor], Tensor]) -> Any:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return hook


def stream(plain: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    """The residual stream before the first layer."""
    held: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        held.append(x.detach().clone())
        return x

    with _hooked((first_layer(plain), _stream_hook(keep))), torch.no_grad():
        plain(input_ids=tokens, attention_mask=mask.long())
    return held[0]


def slopes(plain: Any, tokens: Tensor, mask: Tensor, metric: Metric, heads: int, start: Tensor | None = None) -> Slopes:
    """z and its slopes in one run; `start` replaces the stream before the first layer."""
    held: list[Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        z = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        held.append(z)
        return (z, *args[1:]), kwargs

    hooks = [(module, hook) for module in projections(plain)]
    if start is not None:
        hooks.append((first_layer(plain), _stream_hook(lambda x: start.to(x))))
    with _hooked(*hooks), torch.enable_grad():
        value = metric(plain(input_ids=tokens, attention_mask=mask.long()).logits)
        slope = torch.autograd.grad(value.sum(), held)
    stacked = [torch.stack([each.detach() for each in parts]).unflatten(-1, (heads, -1)) for parts in (held, slope)]
    return Slopes(*stacked, value.detach())


def gates(plain: Any, tokens: Tensor, mask: Tensor, metric: Metric, heads: int) -> Tensor:
    """The derivative of each example's metric by a gate of 1 on each head's output: [example, layer, head]."""
    layers = projections(plain)
    xi = torch.ones(len(layers), len(tokens), heads, requires_grad=True, dtype=next(plain.parameters()).dtype)

    def gate(layer: int) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            z = args[0].unflatten(-1, (heads, -1)) * xi[layer][:, None, :, None]
            return (z.flatten(-2), *args[1:]), kwargs

        return hook

    with _hooked(*[(module, gate(layer)) for layer, module in enumerate(layers)]), torch.enable_grad():
        value = metric(plain(input_ids=tokens, attention_mask=mask.long()).logits)
        (slope,) = torch.autograd.grad(value.sum(), xi)
    return slope.transpose(0, 1)
