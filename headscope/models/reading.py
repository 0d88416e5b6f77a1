"""Read a Hugging Face model and its tokenizer from a directory, offline and without running code from it."""

from typing import Any

import torch

from headscope.errors import ModelError
from headscope.models.quiet import quiet
from headscope.models.sources import Place, has_tokenizer

_HEADS = ("cls.", "lm_head", "pooler", "vocab_")


def read_model(place: Place, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """The model with its language-modelling head, in evaluation mode on the CPU.

    Args:
        place: where its files lie; `weight_files` has checked them.
        dtype: the type to convert the weights to.

    Returns:
        The model, and the names of weights that the files lack: only ever an encoder's head, which is then random
        (seeded), as in sentence encoders; its logits mean nothing, its patterns and hidden states do.

    Raises:
        ModelError: if config or weights cannot be read, or the weights are not whole.
    """
    config = _read_config(place)
    auto, encoder = _auto_class(place, config)
    # A head that the files lack is drawn at random: let it be the same one always.
    with quiet():
        # Not torch.manual_seed, which would also seed the GPUs, whose generators `quiet` does not put back.
        torch.default_generator.manual_seed(0)
        try:
            model, report = auto.from_pretrained(
                place.directory,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                attn_implementation="eager",
                output_loading_info=True,
            )
        except Exception as problem:  # transformers raises nearly every built-in error here
            given = f"model {place.name!r}, whose weights do not load: {_first_line(problem)}"
            fix = "fetch or save the model again"
            raise ModelError(given, "weights that fit config.json", fix) from problem
    missing = sorted(str(name) for name in report["missing_keys"])
    fatal = [name for name in missing if not (encoder and name.startswith(_HEADS))]
    if fatal:
        given = f"model {place.name!r}, whose files lack {len(fatal)} weights, such as {fatal[0]!r}"
        fix = "fetch or save the model again, with its language-modelling head"
        raise ModelError(given, f"every weight of {type(model).__name__}", fix)
    return model, missing


def read_tokenizer(place: Place) -> Any:
    """The tokenizer beside the weights, or None where there is none.

    Args:
        place: where the model's files lie.

    Raises:
        ModelError: if there is one and it cannot be read.
    """
    if not has_tokenizer(place.directory):
        return None
    from transformers import AutoTokenizer

    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(place.directory, local_files_only=True, trust_remote_code=False)
        except Exception as problem:  # transformers and tokenizers raise nearly every built-in error here
            given = f"model {place.name!r}, whose tokenizer cannot be read: {_first_line(problem)}"
            fix = "save it again with tokenizer.save_pretrained(directory), or load with tokenizer=..."
            raise ModelError(given, "tokenizer files that transformers reads", fix) from problem
    return tokenizer if len(tokenizer) > 1 else None


def _read_config(place: Place) -> Any:
    from transformers import AutoConfig

    with quiet():
        try:
            return AutoConfig.from_pretrained(place.directory, local_files_only=True, trust_remote_code=False)
        except Exception as problem:  # transformers raises nearly every built-in error here
            given = f"model {place.name!r}, whose config.json cannot be used: {_first_line(problem)}"
            expected = "the config.json of an architecture that transformers knows without code from elsewhere"
            raise ModelError(given, expected, "check config.json, or pick another model") from problem


def _auto_class(place: Place, config: Any) -> tuple[Any, bool]:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = str(config.model_type)
    names = getattr(config, "architectures", None) or [""]
    says_causal = names[0].endswith(("ForCausalLM", "LMHeadModel"))
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not says_causal and not config.is_encoder_decoder:
        return AutoModelForMaskedLM, True
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.is_encoder_decoder:
        return AutoModelForCausalLM, False
    raise ModelError(
        f"model {place.name!r} of type {kind!r}, which is no plain language model",
        "a decoder, or an encoder such as BERT",
        "pick another model",
    )


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200]}" if lines else type(problem).__name__
