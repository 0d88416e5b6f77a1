"""Path patching in plain Hugging Face, sharing no code with headscope: hooks on q, k, v, W_O and the MLPs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import oracles
import torch
from architectures import D_HEAD, HEADS
from torch import Tensor, nn

_LAYERS = {
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "gpt_neo": "transformer.h",
    "opt": "model.decoder.layers",
    "bert": "bert.encoder.layer",
}
_INPUTS = {
    "gpt2": dict.fromkeys("qkv", "attn.c_attn"),
    "gpt_neox": dict.fromkeys("qkv", "attention.query_key_value"),
    "gpt_neo": {name: f"attn.attention.{name}_proj" for name in "qkv"},
    "bert": {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"},
}
_MLPS = {"opt": "fc2", "bert": "output.dense"}
Sent = tuple[int, int]


def layers(plain: Any) -> list[nn.Module]:
    return list(plain.get_submodule(_LAYERS.get(plain.config.model_type, "model.layers")))


def projection(plain: Any, layer: int, name: str) -> nn.Module:
    """The module whose output holds the queries, keys or values, before any norm and rotation."""
    paths = _INPUTS.get(plain.config.model_type, {name: f"self_attn.{name}_proj" for name in "qkv"})
    return layers(plain)[layer].get_submodule(paths[name])


def columns(plain: Any, name: str, head: int) -> slice:
    """Where a query head's own query, key or value is in that output; with grouped queries, its group's."""
    kind, part = plain.config.model_type, "qkv".index(name)
    width = getattr(plain.config, "head_dim", None) or D_HEAD
    if kind == "gpt_neox":
        start = (3 * head + part) * width
    elif kind == "gpt2":
        start = (part * HEADS + head) * width
    else:
        groups = HEADS // getattr(plain.config, "num_key_value_heads", HEADS) if name != "q" else 1
        start = head // groups * width
    return slice(start, start + width)


def mlps(plain: Any) -> list[nn.Module]:
    return [layer.get_submodule(_MLPS.get(plain.config.model_type, "mlp")) for layer in layers(plain)]


def hooked(modules: Sequence[nn.Module], hooks: Sequence[Callable[..., Any]], run: Callable[[], Tensor]) -> Tensor:
    with ExitStack() as stack:
        for module, hook in zip(modules, hooks, strict=True):
            stack.callback(module.register_forward_hook(hook).remove)
        return run()


def outputs_of(modules: Sequence[nn.Module], run: Callable[[], Tensor]) -> list[Tensor]:
    kept: list[Tensor] = []
    hooked(modules, [lambda _module, _inputs, output: kept.append(output.clone())] * len(modules), run)
    return kept


class Run:
    """One prompt's run on which paths are patched, and the other prompt's z."""

    def __init__(self, plain: Any, row: Tensor, donor: Tensor) -> None:
        self.plain, self.row = plain, row
        self.z = oracles.outputs(plain, row, HEADS)
        self.donor = oracles.outputs(plain, donor, HEADS)
        self.written = outputs_of(mlps(plain), self._plainly)

    def _plainly(self) -> Tensor:
        return oracles.run(self.plain, self.row)

    def logits(self, edits: Sequence[tuple[int, Tensor, Tensor]], *, free_mlps: bool = True) -> Tensor:
        keep = [lambda *_, own=own: own for own in self.written]
        modules = mlps(self.plain)
        if free_mlps:
            return oracles.run(self.plain, self.row, None, edits)
        return hooked(modules, keep, lambda: oracles.run(self.plain, self.row, None, edits))

    def sent(self, sender: Sent, kept: Sequence[int]) -> list[tuple[int, Tensor, Tensor]]:
        """The sender's z comes from the other prompt; all heads of the layers `kept` keep theirs."""
        layer, head = sender
        own = [(other, torch.ones(1, HEADS, dtype=torch.bool), self.z[other]) for other in kept if other > layer]
        return [(layer, torch.arange(HEADS)[None] == head, self.donor[layer]), *own]

    def direct(self, sender: Sent, *, free_mlps: bool = True) -> Tensor:
        return self.logits(self.sent(sender, range(len(self.z))), free_mlps=free_mlps)

    def edge(
        self, sender: Sent, receiver: Sent, through: str, *, others: str = "frozen", free_mlps: bool = True
    ) -> Tensor:
        layer, head = receiver
        kept = range(layer) if others == "frozen" else ()
        modules = [projection(self.plain, layer, name) for name in "qkv"]
        sent = self.sent(sender, kept)
        new = dict(zip("qkv", outputs_of(modules, lambda: self.logits(sent, free_mlps=free_mlps)), strict=True))
        # With grouped queries others share the key or value: they keep what they put out.
        rest = (layer, torch.arange(HEADS)[None] != head, self.z[layer])
        hooks = [self._overwrite(name, head, new) for name in through]
        chosen = [projection(self.plain, layer, name) for name in through]
        return hooked(chosen, hooks, lambda: self.logits([rest]))

    def _overwrite(self, name: str, head: int, new: Mapping[str, Tensor]) -> Callable[..., Tensor]:
        where = columns(self.plain, name, head)

        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            changed = output.clone()
            changed[..., where] = new[name][..., where]
            return changed

        return hook
