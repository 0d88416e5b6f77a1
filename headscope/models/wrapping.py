"""The only imports of transformer_lens: put a Hugging Face model into a TransformerBridge, or say why not."""

from typing import Any

import torch
from torch import Tensor, nn

from headscope.errors import ModelError
from headscope.models import placing
from headscope.models.quiet import quiet


def is_bridge(source: object) -> bool:
    """Whether `source` is a live TransformerBridge."""
    return isinstance(source, nn.Module) and any(kind.__name__ == "TransformerBridge" for kind in type(source).__mro__)


def is_wrapped(model: nn.Module) -> bool:
    """Whether a Hugging Face model already sits inside a TransformerBridge, which wraps in place."""
    return any(type(part).__module__.startswith("transformer_lens.") for part in model.modules())


def parameter_count(bridge: Any) -> int | None:
    """How many parameters a live bridge's model had before it was wrapped; None where the bridge does not say.

    Args:
        bridge: a TransformerBridge.
    """
    return getattr(bridge, "_n_params_total", None)


def refuse_unknown(model: nn.Module, *, name: str) -> None:
    """Refuse a model that TransformerLens has no adapter for.

    Args:
        model: a plain Hugging Face model.
        name: what to call it in errors.

    Raises:
        ModelError: if its class is not known.
    """
    with quiet():
        from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    if type(model).__name__ not in SUPPORTED_ARCHITECTURES:
        raise _unsupported(model, name, "it has no adapter for it")


def wrap(model: nn.Module, *, name: str) -> Any:
    """Wrap a Hugging Face model, in place, in a TransformerBridge without a tokenizer.

    Headscope keeps the tokenizer to itself: TransformerLens would load it again by name and change its padding and BOS.

    Args:
        model: a plain Hugging Face model with a language-modelling head.
        name: what to call it in errors.

    Raises:
        ModelError: if TransformerLens cannot wrap it.
    """
    places = placing.placed(model)
    with quiet():
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
        from transformer_lens.utilities.multi_gpu import find_misplaced_modules

        for part, asked, found in find_misplaced_modules(model) if places else ():
            given = f"model {name!r}, whose part {part!r} is mapped to {asked} and has its weights on {found}"
            raise ModelError(given, "parts that share weights on one device", "put them on the same one")
        try:
            bridge = build_bridge_from_module(
                model,
                type(model).__name__,
                hf_config=getattr(model, "config", None),
                device=None if places is None else placing.entry(model),
                model_name=name,
            )
        except (ValueError, NotImplementedError, AttributeError, KeyError) as problem:
            raise _unsupported(model, name, str(problem)) from problem
    if places is not None:
        bridge.cfg.n_devices = len(set(places.values()))  # it then brings stacked weights together
        _bring_inputs(bridge)
    return bridge


def _bring_inputs(bridge: nn.Module) -> None:
    """Let every part move what it reads to its weights, as accelerate's hooks do.

    TransformerLens computes some norms by itself, past those hooks: a last norm would otherwise meet the stream of
    another device.
    """

    def bring(part: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        device = placing.lies(part, torch.device("cpu"))
        return tuple(each.to(device) if isinstance(each, Tensor) else each for each in given)

    for part in bridge.modules():
        inner = part._modules.get("_original_component")
        if inner is not None and any(value is not None and not value.is_meta for value in inner._parameters.values()):
            part.register_forward_pre_hook(bring)


def _unsupported(model: nn.Module, name: str, reason: str) -> ModelError:
    return ModelError(
        f"model {name!r} of architecture {type(model).__name__}, which TransformerLens cannot wrap: {reason}",
        "a decoder or BERT encoder with its language-modelling head, such as GPT-2, GPT-NeoX, Llama, Qwen, Gemma-2, "
        "GPT-Neo, OPT or BERT",
        "load it with AutoModelForCausalLM or AutoModelForMaskedLM, or pick another model",
    )
