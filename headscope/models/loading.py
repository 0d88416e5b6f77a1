"""load(): from a name, a directory, a live model or a live bridge to a checked Model."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headscope.errors import HeadscopeError, ModelError, UsageError
from headscope.models import bridge, identity, placing, reading, selfcheck, sources, wrapping
from headscope.models.protocol import Model
from headscope.models.quiet import quiet
from headscope.progress import step

DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


def load(  # noqa: PLR0913 - one word per thing that a user may want to say of a model
    source: Any,
    *,
    tokenizer: Any = None,
    device: str = "auto",
    device_map: str | Mapping[str, Any] | None = None,
    max_memory: Mapping[int | str, Any] | str | None = None,
    offload: str | Path | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    offline: bool = False,
    check: bool = True,
) -> Model:
    """Load a model, check it, and hand it back behind the small `Model` protocol.

    Args:
        source: `mini`; a Hub name such as `gpt2`, `openai-community/gpt2` or `EleutherAI/pythia-70m`; a local Hugging
            Face directory (which comes before a Hub name); a live Hugging Face model, which is copied and left as it
            is; or a live TransformerBridge, which is used as it is.
        tokenizer: the tokenizer to use; by default the one beside the weights or, for a bridge, the bridge's. Without
            any, the model works on token ids.
        device: `auto` (a live model's own accelerator, else cuda if there is one, else cpu), `cpu`, `cuda`, `cuda:1`,
            `mps`.
        device_map: for a model that one device does not hold, as in Hugging Face's `from_pretrained`: `auto`,
            `balanced`, `balanced_low_0` or `sequential` over all GPUs; or a device for every part, as a mapping or a
            JSON file of one, such as `{"model.layers.0": "cuda:1", ...}`. Either GPUs, or `cpu` and `disk`. Weights
            stay where the map puts them; activations are gathered where the logits come out. A live model that
            `device_map` has spread before is used where it is: not copied, wrapped in place, in its own type.
        max_memory: with `device_map`, the most that weights may take of each device, such as
            `{0: "20GiB", "cpu": "64GiB"}`, or `0=20GiB,cpu=64GiB`.
        offload: with `device_map`, a folder for weights on `disk`; needed only for those that cannot stay in the
            model's own files.
        dtype: `float32`, `bfloat16` or `float16`; weights stored in another type are converted. Ignored for a bridge.
            Half precision rounds the logits too (a logit near 100 comes in steps of .5 in bfloat16, .06 in float16), so
            smaller effects are lost in a single example.
        revision: branch, tag or commit of a Hub model.
        offline: never use the network. HF_HUB_OFFLINE=1 says the same.
        check: run `self_check`, and refuse the model if it fails.

    Returns:
        The model; `identity` records its source, weights and self-check.

    Raises:
        ModelError: if it cannot be found, read or trusted.
        UsageError: if an option is not known.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> config = GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32)
        >>> model = load(GPT2LMHeadModel(config), device="cpu")
        >>> model.grid, model.tokenizer is None, model.run(torch.tensor([[1, 2, 3]])).shape
        (Grid(layers=2, heads=4), True, torch.Size([1, 3, 50]))
    """
    kind = _dtype(dtype)
    spread = placing.asked(device_map, max_memory=max_memory, offload=offload, device=device)
    if isinstance(source, (str, Path)):
        where = spread or _device(device)
        with step(f"loading {source} on {'several devices' if spread else where}"):
            place = sources.locate(source, revision=revision, offline=offline)
            return _from_files(place, tokenizer, where, kind, check=check)
    if spread is not None:
        given = "a device_map for a live model, which is used where it is"
        raise UsageError(given, "the name or directory of a model", "give from_pretrained the device_map, or its name")
    if wrapping.is_bridge(source):
        return _from_bridge(source, tokenizer, device, check=check)
    if not isinstance(source, nn.Module) or not hasattr(source, "config"):
        given = f"a model of type {type(source).__name__}"
        raise ModelError(given, "a name, a directory, a Hugging Face model or a TransformerBridge", "pass one of these")
    return _from_live(source, tokenizer, _device(device, source), kind, check=check)


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise UsageError(f"dtype {name!r}", f"one of: {', '.join(DTYPES)}", "use float32 unless memory is short")
    return DTYPES[name]


def _device(name: str, live: nn.Module | None = None) -> torch.device:
    if name == "auto":
        own = next(live.parameters()).device if live is not None else torch.device("cpu")
        return own if own.type != "cpu" else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return placing.device_of(name)


def _from_files(
    place: sources.Place, tokenizer: Any, where: torch.device | placing.Spread, dtype: torch.dtype, *, check: bool
) -> Model:
    files = sources.weight_files(place.directory)
    spread = where if isinstance(where, placing.Spread) else None
    model, missing = reading.read_model(place, dtype, spread)
    if tokenizer is None:
        tokenizer = reading.read_tokenizer(place)
    record = {"name": place.name, "source": place.kind, "revision": place.revision, "commit": place.commit}
    record |= {"weights_sha256": identity.files_digest(files), "weights_hashed": "files", "random_weights": missing}
    try:
        return finish(model if spread else model.to(where), tokenizer, record, check=check)
    except (HeadscopeError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # what config.json says can fail anywhere, with nearly every built-in error
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())
        given = f"model {place.name!r}, which loads and cannot be run: {reason:.300}"
        expected = "a config.json and weights that make a model that runs"
        raise ModelError(given, expected, "fetch or save the model again, or pick another") from problem


def _from_live(source: nn.Module, tokenizer: Any, device: torch.device, dtype: torch.dtype, *, check: bool) -> Model:
    if wrapping.is_wrapped(source):
        given = f"a {type(source).__name__} that is wrapped in a TransformerBridge"
        raise ModelError(given, "a plain Hugging Face model, or the bridge itself", "pass the bridge")
    placing.refuse(source, name=type(source).__name__)
    # TransformerLens wraps in place: the user's own model must stay what it is, unless there is no room for two of it.
    spread = placing.placed(source) is not None
    model: Any = source if spread else copy.deepcopy(source).to(device=device, dtype=dtype)
    name = Path(str(getattr(source.config, "_name_or_path", "") or type(source).__name__)).name
    record = {"name": name, "source": "live model", "revision": None, "commit": None}
    record |= {"weights_sha256": identity.parameters_digest(model), "weights_hashed": "parameters"}
    return finish(model, tokenizer, record | {"random_weights": []}, check=check)


def _from_bridge(source: Any, tokenizer: Any, device: str, *, check: bool) -> Model:
    if source.training:
        raise ModelError("a TransformerBridge in training mode", "one in evaluation mode", "call bridge.eval() first")
    own = placing.home(source.original_model)
    if device != "auto" and _device(device).type != own.type:
        given = f"device {device!r} for a live TransformerBridge on {own}"
        raise UsageError(given, "auto: a bridge is used where it is", "move it first: bridge.to(device)")
    _refuse_nan(source.original_model, "live bridge")
    name = str(getattr(source.cfg, "model_name", None) or "bridge")
    record = {"name": Path(name).name, "source": "live bridge", "revision": None, "commit": None}
    record |= {"weights_sha256": identity.parameters_digest(source.original_model)}
    record |= {
        "weights_hashed": "bridge parameters",
        "random_weights": [],
        "parameters": wrapping.parameter_count(source),
    }
    found = source.tokenizer if tokenizer is None else tokenizer
    return checked(source, found, record, None, check=check)


def finish(model: Any, tokenizer: Any, record: dict[str, Any], *, check: bool) -> bridge.BridgeModel:
    """A plain Hugging Face model that is ours to change, checked and wrapped; completes `record`."""
    placing.refuse(model, name=record["name"])
    _refuse_nan(model, record["name"])
    # Counted now: the bridge keeps copies of fused query, key and value weights.
    record["parameters"] = sum(value.numel() for value in model.parameters())
    model.eval().requires_grad_(False)
    if getattr(model.config, "is_encoder_decoder", False):
        given = f"model {record['name']!r}, which has an encoder and a decoder"
        raise ModelError(given, "a decoder, or an encoder such as BERT", "pick another model")
    wrapping.refuse_unknown(model, name=record["name"])
    with quiet():
        # Other attention kernels return no patterns, and differ from this one in the fourth digit.
        model.set_attn_implementation("eager")
        reference = _plain_logits(model) if check else None
    return checked(wrapping.wrap(model, name=record["name"]), tokenizer, record, reference, check=check)


def checked(
    wrapped: Any, tokenizer: Any, record: dict[str, Any], reference: Tensor | None, *, check: bool
) -> bridge.BridgeModel:
    """A TransformerBridge as a model, with its self-check; completes `record`."""
    model = bridge.model_of(wrapped, name=record["name"], tokenizer=tokenizer, identity=record)
    record.update(identity.describe(model))
    record["self_check"] = None
    if check:
        with quiet():
            record["self_check"] = selfcheck.self_check(model, reference=reference)
    return model


def _refuse_nan(model: nn.Module, name: str) -> None:
    wrong = identity.not_finite(model)
    if wrong is not None:
        given = f"model {name!r}, whose parameter {wrong[0]!r} has {wrong[1]} NaN or infinite values"
        raise ModelError(given, "finite weights", "fetch or train it again; float16 overflows above 65504")


def _plain_logits(model: Any) -> Tensor:
    vocabulary = model.get_input_embeddings().weight.shape[0]
    longest = getattr(model.config, "max_position_embeddings", None) or selfcheck.PROBE_LENGTH
    tokens = selfcheck.probe(vocabulary, longest).to(placing.home(model))
    with torch.no_grad():
        return model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits.float()
