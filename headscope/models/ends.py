"""The two ends of a model, taken apart: what its embedding is made of, and what stands before its unembedding."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headscope.errors import ModelError
from headscope.models import placing
from headscope.models.cutting import near
from headscope.models.families import linear, part
from headscope.models.program import Distant, Program, Projection, Step
from headscope.models.protocol import Model

TOKEN, POSITION, TYPE = "token embedding", "position embedding", "token type embedding"
WHOLE = "embedding"

_PLACES: dict[str, dict[str, str]] = {
    "gpt2": {POSITION: "transformer.wpe"},
    "gpt_neo": {POSITION: "transformer.wpe"},
    "opt": {POSITION: "model.decoder.embed_positions"},
    "bert": {POSITION: "bert.embeddings.position_embeddings", TYPE: "bert.embeddings.token_type_embeddings"},
}
"""What is added to the token embedding, by Hugging Face's `model_type`; families that are not here add nothing."""

_NORMS = {"bert": "bert.embeddings.LayerNorm"}
"""The norm on the sum of the embeddings, where there is one."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedded:
    """The stream before the first block, as a sum.

    Attributes:
        parts: name -> what it adds at every position, before the norm if there is one.
        norm: the norm on their sum, or None.
        stream: the residual stream before the first block.
    """

    parts: dict[str, Float[Tensor, "position d_model"]] = field(repr=False)
    norm: Step | None
    stream: Float[Tensor, "position d_model"] = field(repr=False)


@torch.no_grad()
def embedded(
    model: Model, program: Program, tokens: Int[Tensor, "1 position"], mask: Bool[Tensor, "1 position"]
) -> Embedded:
    """What one prompt's embedding is made of: token, position and token type, and the norm on them.

    Args:
        model: the model.
        program: the same, cut open.
        tokens: one prompt.
        mask: True where a token is real.

    Returns:
        The parts, in the weights' type; what is left over when position and type are taken away is the token's (its
        scale included, such as Gemma's). Cost: the embedding of one prompt.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50, n_positions=32))
        >>> model, tokens = load(plain, device="cpu"), torch.tensor([[4, 5]])
        >>> found = embedded(model, model.cut.program, tokens, tokens > 0)
        >>> torch.allclose(found.parts["position embedding"], plain.transformer.wpe.weight[:2])
        True
        >>> torch.allclose(found.parts["token embedding"], plain.transformer.wte.weight[[4, 5]])
        True
    """
    original = getattr(getattr(model, "bridge", None), "original_model", None)
    kind = str(getattr(getattr(original, "config", None), "model_type", ""))
    added = {name: part(original, path) for name, path in _PLACES.get(kind, {}).items()} if original else {}
    norm = part(original, _NORMS[kind]) if original is not None and kind in _NORMS else None
    modules = {name: module for name, module in added.items() if module is not None}
    with _watched(modules, norm) as (outputs, inputs):
        stream = program.embed(tokens.to(_device(program)), mask.to(_device(program)))[0]
    total = inputs[0].reshape(stream.shape).to(stream) if inputs else stream
    if len(outputs) < len(modules) or (norm is not None and not inputs):
        return Embedded(parts={WHOLE: stream}, norm=None, stream=stream)
    parts = {name: each.reshape(-1, stream.shape[-1])[-len(stream) :].to(stream) for name, each in outputs.items()}
    rest = total - sum(parts.values()) if parts else total
    if norm is not None:
        norm = near(norm, placing.lies(norm, stream.device), stream.device)
    return Embedded(parts={TOKEN: rest, **parts}, norm=norm, stream=stream)


def _device(program: Program) -> torch.device:
    return program.unembed.weight.device


@contextmanager
def _watched(modules: dict[str, nn.Module], norm: nn.Module | None) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
    """What modules put out and what a norm reads, during one pass."""
    outputs: dict[str, Tensor] = {}
    inputs: list[Tensor] = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs[name] = output.detach()

        return hook

    def read(_module: nn.Module, given: tuple[Any, ...]) -> None:
        inputs.append(given[0].detach())

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    handles += [] if norm is None else [norm.register_forward_pre_hook(read)]
    try:
        yield outputs, inputs
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False, kw_only=True)
class Opened:
    """What stands between the last hidden state and the unembedding: `norm(activation(dense(x)))`.

    Attributes:
        dense: a linear map.
        activation: the activation.
        norm: the norm after it.
    """

    dense: Projection | Distant = field(repr=False)
    activation: Step
    norm: Step


def opened(transform: Step) -> Opened:
    """BERT's transform in its three parts.

    Args:
        transform: of a `Program`.

    Raises:
        ModelError: if it is laid out otherwise.

    Example:
        >>> from transformers import BertConfig
        >>> from transformers.models.bert.modeling_bert import BertPredictionHeadTransform
        >>> parts = opened(BertPredictionHeadTransform(BertConfig(hidden_size=4)))
        >>> parts.dense.weight.shape
        torch.Size([4, 4])
    """
    found: list[Any] = [None] * 3
    if isinstance(transform, nn.Module):
        names = ("dense", "transform_act_fn", "LayerNorm")
        found = [part(transform, name) or getattr(transform, name, None) for name in names]
    if any(each is None for each in found):
        given = f"a model whose unembedding is behind a {type(transform).__name__}"
        raise ModelError(given, "a linear map, an activation and a norm, as in BERT", "explain another model")
    return Opened(dense=linear(found[0]), activation=found[1], norm=found[2])
