"""Read a Hugging Face model and its tokenizer from a directory, offline and without running code from it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from headscope.errors import ModelError, UsageError
from headscope.models import placing, tokenisation
from headscope.models.placing import Spread
from headscope.models.quiet import quiet
from headscope.models.sources import Place, has_tokenizer

_HEADS = ("cls.", "lm_head", "pooler", "vocab_")
_SIZES = ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")
_LENGTHS = {"max_position_embeddings": 2**27}
_MOST_LAYERS, _MOST_NUMBERS = 2**12, 2**40
"""Of a model whose files are not there to say how many."""
_SPARE, _TABLES = 2**20, 2**28
"""Numbers that a model may have beyond what its files hold: a small head, and tables of masks and positions."""


def read_model(place: Place, dtype: torch.dtype, spread: Spread | None = None) -> tuple[Any, list[str]]:
    """The model with its language-modelling head, in evaluation mode, on the CPU or spread as asked.

    Args:
        place: where its files lie; `weight_files` has checked them.
        dtype: the type to convert the weights to.
        spread: over which devices; None: all on the CPU.

    Returns:
        The model, and the names of weights that the files lack: only ever an encoder's head, which is then random
        (seeded), as in sentence encoders; its logits mean nothing, its patterns and hidden states do.

    Raises:
        ModelError: if config or weights cannot be read, or the weights are not whole.
        UsageError: if the model cannot be spread as asked.
    """
    config = _read_config(place)
    auto, encoder = _auto_class(place, config)
    _refuse_absurd(place, config, auto)
    spread = spread and _fitted(place, spread)
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
                **({} if spread is None else spread.told()),
            )
        except Exception as problem:  # transformers raises nearly every built-in error here
            given = f"model {place.name!r}, whose weights do not load: {_first_line(problem)}"
            fix = "fetch or save the model again"
            if spread is not None:
                fix += ", or, if it loads without the device_map, put parts that share weights on one device"
            raise ModelError(given, "weights that fit config.json", fix) from problem
    missing = sorted(str(name) for name in report["missing_keys"])
    fatal = [name for name in missing if not (encoder and name.startswith(_HEADS))]
    if fatal:
        given = f"model {place.name!r}, whose files lack {len(fatal)} weights, such as {fatal[0]!r}"
        fix = "fetch or save the model again, with its language-modelling head"
        raise ModelError(given, f"every weight of {type(model).__name__}", fix)
    return model, missing


def read_empty(place: Place) -> Any:
    """The model without its weights, on PyTorch's meta device: its configuration and the shape of every parameter.

    Args:
        place: where its files lie; the weights need not be there.

    Raises:
        ModelError: if config.json cannot be read, or asks for sizes that no model has.
    """
    config = _read_config(place)
    auto, _ = _auto_class(place, config)
    if (wrong := _absurd(config, _MOST_LAYERS, _MOST_NUMBERS)) is not None:
        given = f"model {place.name!r}, whose config.json asks for {wrong}"
        raise ModelError(given, "sizes that a model can have", "fetch or save the model again")
    try:
        with quiet(), torch.device("meta"):
            return auto.from_config(config, trust_remote_code=False, attn_implementation="eager")
    except Exception as problem:  # transformers raises nearly every built-in error here
        raise _unusable(place, problem) from problem


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
            # Some faults of its files show only when it is used.
            tokenisation.describe(tokenizer, tokenisation.frame_of(tokenizer, causal=False))
        except BaseException as problem:  # transformers and tokenizers raise nearly every built-in error here
            if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
                raise
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
            raise _unusable(place, problem) from problem


def _refuse_absurd(place: Place, config: Any, auto: Any) -> None:
    """Refuse a config whose model would be many times what the files hold, before memory is taken for it."""
    tensors, elements = _stored(place.directory)
    wrong = _absurd(config, tensors, elements)
    if wrong is None:
        try:
            with quiet(), torch.device("meta"):
                model = auto.from_config(config, trust_remote_code=False, attn_implementation="eager")
        except Exception as problem:  # transformers raises nearly every built-in error here
            raise _unusable(place, problem) from problem
        asked = sum(value.numel() for value in model.parameters())
        tables = sum(value.numel() for value in model.buffers())
        if asked > 2 * elements + _SPARE or tables > 4 * elements + _TABLES:
            wrong = f"a model of {asked + tables:,} numbers"
    if wrong is not None:
        raise ModelError(
            f"model {place.name!r}, whose config.json asks for {wrong}, where its files hold {elements:,} in "
            f"{tensors:,} tensors",
            "a config.json that fits the weights",
            "fetch or save the model again",
        )


def _fitted(place: Place, spread: Spread) -> Spread:
    """A map by hand, unless it names parts that the model does not have, or leaves some out."""
    if isinstance(spread.device_map, str):
        return spread
    empty = read_empty(place)
    known = {name for name, _ in (*empty.named_modules(), *empty.named_parameters())}
    unknown = [name for name in spread.device_map if name not in known]
    heads = tuple(f"{name}." for name in spread.device_map if name)
    lacking = [] if "" in spread.device_map else [
        name for name, _ in empty.named_parameters() if not f"{name}.".startswith(heads)
    ]  # fmt: skip
    if not (unknown or lacking):
        return replace(spread, device_map=placing.apart(empty, spread.device_map))
    what = f"names {unknown[0]!r}, which it does not have" if unknown else f"leaves {lacking[0]!r} out"
    parts = [name for name, _ in empty.named_modules() if name.count(".") == 1][:4]
    raise UsageError(
        f"a device_map for model {place.name!r} that {what}",
        f"a device for every part, such as {', '.join(parts)}",
        "correct the names, or use a word such as auto",
    )


def _stored(directory: Path) -> tuple[int, int]:
    """How many tensors the weight files say they hold, and how many numbers in them."""
    from safetensors import safe_open

    tensors = elements = 0
    for file in directory.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as handle:
            shapes = [handle.get_slice(name).get_shape() for name in handle.keys()]  # noqa: SIM118 - no mapping
        tensors, elements = tensors + len(shapes), elements + sum(math.prod(shape) for shape in shapes)
    return tensors, elements


def _absurd(config: Any, tensors: int, elements: int) -> str | None:
    """The first size that no model of these files can have."""
    for name, most in {**dict.fromkeys(_SIZES, elements), "num_hidden_layers": tensors, **_LENGTHS}.items():
        size = getattr(config, name, None)
        if size is None or isinstance(size, (list, tuple)):
            continue
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
            return f"{name} {size!r:.40}"
    return None


def _unusable(place: Place, problem: BaseException) -> ModelError:
    given = f"model {place.name!r}, whose config.json cannot be used: {_first_line(problem)}"
    expected = "the config.json of an architecture that transformers knows without code from elsewhere"
    return ModelError(given, expected, "check config.json, or pick another model")


def _auto_class(place: Place, config: Any) -> tuple[Any, bool]:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = str(config.model_type)
    names = getattr(config, "architectures", None)
    first = names[0] if isinstance(names, list | tuple) and names else names
    says_causal = str(first).endswith(("ForCausalLM", "LMHeadModel"))
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
