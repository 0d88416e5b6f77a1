"""The only imports of transformer_lens: put a Hugging Face model into a TransformerBridge, or say why not."""

from typing import Any

from torch import nn

from headscope.errors import ModelError
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
    with quiet():
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        try:
            return build_bridge_from_module(
                model, type(model).__name__, hf_config=getattr(model, "config", None), model_name=name
            )
        except (ValueError, NotImplementedError, AttributeError, KeyError) as problem:
            raise _unsupported(model, name, str(problem)) from problem


def _unsupported(model: nn.Module, name: str, reason: str) -> ModelError:
    return ModelError(
        f"model {name!r} of architecture {type(model).__name__}, which TransformerLens cannot wrap: {reason}",
        "a decoder or BERT encoder with its language-modelling head, such as GPT-2, GPT-NeoX, Llama, Qwen, Gemma-2, "
        "GPT-Neo, OPT or BERT",
        "load it with AutoModelForCausalLM or AutoModelForMaskedLM, or pick another model",
    )
