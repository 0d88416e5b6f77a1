"""How each family of architectures is cut into the parts of a `Program`: a function a family, a line in `FAMILIES`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from headscope.models import placing
from headscope.models.program import Block, Distant, Projection, Step

_INNER = "_original_component"


def part(module: nn.Module, path: str) -> Any:
    """The Hugging Face module at a dotted path, seen through TransformerLens's wrappers; None where it has none.

    Args:
        module: where the path starts.
        path: dotted names; empty for the module itself.

    Example:
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(2, 3)))
        >>> part(model, "0.0"), part(model, "0.1")
        (Linear(in_features=2, out_features=3, bias=True), None)
    """
    for name in filter(None, path.split(".")):
        while name not in module._modules and _INNER in module._modules:
            module = _child(module, _INNER)
        if module._modules.get(name) is None:
            return None
        module = _child(module, name)
    while _INNER in module._modules:
        module = _child(module, _INNER)
    return module


def _child(module: nn.Module, name: str) -> nn.Module:
    child = module._modules[name]
    if child is None:
        raise AttributeError(name)
    return child


def linear(module: Any) -> Projection | Distant:
    """A linear layer or GPT-2's transposed `Conv1D` as a projection: a view of its weights, if they are in memory.

    Args:
        module: with `weight` and `bias`.

    Example:
        >>> linear(nn.Linear(2, 3, bias=False)).weight.shape
        torch.Size([2, 3])
    """

    def fetch() -> Projection:
        weight: Any = placing.read(module, "weight")
        return Projection(
            weight=weight.T if isinstance(module, nn.Linear) else weight, bias=placing.read(module, "bias")
        )

    # What lies on disk is never spread over GPUs as well.
    away = module.weight.is_meta
    return Distant(fetch=fetch, home=torch.device("cpu"), numel=module.weight.numel()) if away else fetch()


def _third(joint: Projection | Distant, index: int) -> Projection | Distant:
    if isinstance(joint, Distant):
        return replace(joint, fetch=lambda: _part(joint.fetch(), index), numel=joint.numel // 3)
    return _part(joint, index)


def _part(joint: Projection, index: int) -> Projection:
    width = joint.weight.shape[1] // 3
    cut = slice(index * width, (index + 1) * width)
    return Projection(weight=joint.weight[:, cut], bias=None if joint.bias is None else joint.bias[cut])


def activation(module: nn.Module) -> Step:
    """The activation; GPT-2's tanh approximation of GELU as the single kernel that it is.

    Args:
        module: an activation of Hugging Face's.

    Example:
        >>> activation(nn.ReLU())(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    # These classes spell the same function out as six elementwise products.
    if type(module).__name__ in {"NewGELUActivation", "FastGELUActivation", "GELUTanh", "PytorchGELUTanh"}:
        return lambda x: functional.gelu(x, approximate="tanh")
    return module


def _identity(x: Tensor) -> Tensor:
    return x


def _chain(*steps: Step) -> Step:
    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


class Mlp(NamedTuple):
    """An MLP and its floating-point operations for one token."""

    run: Step
    operations: int


def _plain(up: Any, act: nn.Module, down: Any) -> Mlp:
    first, last = linear(up), linear(down)
    return Mlp(_chain(first, activation(act), last), first.operations + last.operations)


def _gated(mlp: nn.Module) -> Mlp:
    gate, up, down = (linear(part(mlp, name)) for name in ("gate_proj", "up_proj", "down_proj"))
    act = activation(part(mlp, "act_fn"))
    return Mlp(lambda x: down(act(gate(x)) * up(x)), gate.operations + up.operations + down.operations)


def gpt2(layer: nn.Module, config: Any, index: int) -> Block:
    """GPT-2."""
    joint = linear(part(layer, "attn.c_attn") or part(layer, "attn.qkv"))
    mlp = _plain(part(layer, "mlp.c_fc"), part(layer, "mlp.act"), part(layer, "mlp.c_proj"))
    scale = 1 / math.sqrt(config.n_embd // config.n_head) if config.scale_attn_weights else 1.0
    return Block(
        enter=part(layer, "ln_1"),
        query=_third(joint, 0),
        key=_third(joint, 1),
        value=_third(joint, 2),
        out=linear(part(layer, "attn.c_proj") or part(layer, "attn.o")),
        join=torch.add,
        mlp=_chain(part(layer, "ln_2"), mlp.run),
        leave=torch.add,
        scale=scale / (index + 1) if config.scale_attn_by_inverse_layer_idx else scale,
        mlp_operations=mlp.operations,
    )


def gpt_neox(layer: nn.Module, config: Any, index: int) -> Block:
    """GPT-NeoX and Pythia: attention and MLP side by side, or one after the other as in `mini`."""
    mlp = _plain(part(layer, "mlp.dense_h_to_4h"), part(layer, "mlp.act"), part(layer, "mlp.dense_4h_to_h"))
    return Block(
        enter=part(layer, "input_layernorm"),
        query=linear(part(layer, "attention.q")),
        key=linear(part(layer, "attention.k")),
        value=linear(part(layer, "attention.v")),
        out=linear(part(layer, "attention.o")),
        join=torch.add,
        mlp=_chain(part(layer, "post_attention_layernorm"), mlp.run),
        leave=torch.add,
        parallel=config.use_parallel_residual,
        scale=(config.hidden_size // config.num_attention_heads) ** -0.5,
        mlp_operations=mlp.operations,
    )


def llama(layer: nn.Module, config: Any, index: int) -> Block:
    """Llama, Mistral, Qwen-2, Qwen-3 and Gemma: RMS norms, gated MLP, grouped queries, rotary positions."""
    mlp = _gated(part(layer, "mlp"))
    return Block(
        enter=part(layer, "input_layernorm"),
        **_separate(layer, "self_attn", "o_proj"),
        shape_q=part(layer, "self_attn.q_norm"),
        shape_k=part(layer, "self_attn.k_norm"),
        join=torch.add,
        mlp=_chain(part(layer, "post_attention_layernorm"), mlp.run),
        leave=torch.add,
        scale=part(layer, "self_attn").scaling,
        window=_window(config, index),
        mlp_operations=mlp.operations,
    )


def gemma2(layer: nn.Module, config: Any, index: int) -> Block:
    """Gemma-2: a norm also after attention and after the MLP, capped scores, local attention in every other layer."""
    mlp = _gated(part(layer, "mlp"))
    after_attention, after_mlp = part(layer, "post_attention_layernorm"), part(layer, "post_feedforward_layernorm")
    return Block(
        enter=part(layer, "input_layernorm"),
        **_separate(layer, "self_attn", "o_proj"),
        join=lambda before, attention: before + after_attention(attention),
        mlp=_chain(part(layer, "pre_feedforward_layernorm"), mlp.run, after_mlp),
        leave=torch.add,
        scale=part(layer, "self_attn").scaling,
        softcap=config.attn_logit_softcapping,
        window=_window(config, index),
        mlp_operations=mlp.operations,
    )


def gpt_neo(layer: nn.Module, config: Any, index: int) -> Block:
    """GPT-Neo: scores are not scaled; local attention in every other layer."""
    mlp = _plain(part(layer, "mlp.c_fc"), part(layer, "mlp.act"), part(layer, "mlp.c_proj"))
    return Block(
        enter=part(layer, "ln_1"),
        **_separate(layer, "attn.attention", "out_proj"),
        join=torch.add,
        mlp=_chain(part(layer, "ln_2"), mlp.run),
        leave=torch.add,
        scale=1.0,
        window=config.window_size if config.attention_layers[index] == "local" else None,
        mlp_operations=mlp.operations,
    )


def opt(layer: nn.Module, config: Any, index: int) -> Block:
    """OPT: norms before attention and MLP, or after them (OPT-350M)."""
    mlp = _plain(part(layer, "fc1"), part(layer, "activation_fn"), part(layer, "fc2"))
    one, two = part(layer, "self_attn_layer_norm"), part(layer, "final_layer_norm")
    first = config.do_layer_norm_before
    return Block(
        enter=one if first else _identity,
        **_separate(layer, "self_attn", "out_proj"),
        join=torch.add if first else lambda before, attention: one(before + attention),
        mlp=_chain(two, mlp.run) if first else mlp.run,
        leave=torch.add if first else lambda middle, written: two(middle + written),
        scale=part(layer, "self_attn").scaling,
        mlp_operations=mlp.operations,
    )


def bert(layer: nn.Module, config: Any, index: int) -> Block:
    """BERT: norms after attention and after the MLP."""
    up, act, down = (
        part(layer, f"{name}") for name in ("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense")
    )
    mlp = _plain(up, act, down)
    one, two = part(layer, "attention.output.LayerNorm"), part(layer, "output.LayerNorm")
    return Block(
        enter=_identity,
        query=linear(part(layer, "attention.self.query")),
        key=linear(part(layer, "attention.self.key")),
        value=linear(part(layer, "attention.self.value")),
        out=linear(part(layer, "attention.output.dense")),
        join=lambda before, attention: one(before + attention),
        mlp=mlp.run,
        leave=lambda middle, written: two(middle + written),
        scale=(config.hidden_size // config.num_attention_heads) ** -0.5,
        mlp_operations=mlp.operations,
    )


def _separate(layer: nn.Module, attention: str, out: str) -> dict[str, Any]:
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": out}
    return {role: linear(part(layer, f"{attention}.{name}")) for role, name in names.items()}


def _window(config: Any, index: int) -> int | None:
    kinds: Sequence[str] | None = getattr(config, "layer_types", None)
    width = getattr(config, "sliding_window", None)
    if kinds is None:
        return width
    return width if kinds[index] == "sliding_attention" else None


class Family(NamedTuple):
    """Where the parts of a family of architectures are.

    Attributes:
        block: cuts one layer open.
        layers: path of the layers in the Hugging Face model.
        norm: path of the last norm, or empty.
        rotary: path of the rotary positions, or empty.
        unembed: path of the unembedding.
        transform: path of what stands before it, or empty.
        causal: whether it is a decoder.
    """

    block: Callable[[nn.Module, Any, int], Block]
    layers: str
    norm: str = ""
    rotary: str = ""
    unembed: str = "lm_head"
    transform: str = ""
    causal: bool = True


_LLAMA = Family(llama, "model.layers", "model.norm", "model.rotary_emb")
FAMILIES: dict[str, Family] = {
    "gpt2": Family(gpt2, "transformer.h", "transformer.ln_f"),
    "gpt_neox": Family(gpt_neox, "gpt_neox.layers", "gpt_neox.final_layer_norm", "gpt_neox.rotary_emb"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": Family(gemma2, "model.layers", "model.norm", "model.rotary_emb"),
    "gpt_neo": Family(gpt_neo, "transformer.h", "transformer.ln_f"),
    "opt": Family(opt, "model.decoder.layers", "model.decoder.final_layer_norm"),
    "bert": Family(
        bert,
        "bert.encoder.layer",
        unembed="cls.predictions.decoder",
        transform="cls.predictions.transform",
        causal=False,
    ),
}
"""By Hugging Face's `model_type`. What is not here is run whole, forward by forward."""
