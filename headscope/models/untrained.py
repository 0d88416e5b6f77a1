"""The random-weights twin of a model: what its architecture finds before it has learnt anything."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from headscope.errors import ModelError, UsageError
from headscope.models import identity, loading, placing
from headscope.models.bridge import BridgeModel
from headscope.models.protocol import Model
from headscope.models.quiet import quiet

_KNOWN_BY = ("name", "source", "revision", "commit", "weights_sha256", "weights_hashed")


def untrained(model: Model, *, seed: int = 0) -> Model:
    """The same model with the weights that it might have started from, as a control for everything found on it.

    Architecture, configuration, tokenizer, device and type of the weights are the model's. The weights are drawn anew
    by the architecture's own initialisation: the class of the model that is in memory, its configuration with its
    `initializer_range`, tied embeddings as in the model, and what else the class does, such as GPT-2's smaller start
    for projections into the residual stream. Nothing is read from files or fetched. They are drawn on the CPU in
    float32 and then converted, so that a seed gives the same twin on every device and in every type.

    This is the standard start of the architecture, which need not be this model's own: `mini` for one began with random
    biases in its queries and keys, and its twin has none. The twin of a bridge whose weights TransformerLens has
    processed has raw weights, and says so in `identity["weight_mode"]`. The twin of a twin is a twin of the model.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", section 3 (the model randomisation test, here of all
    layers at once).

    Args:
        model: any model from `load`; it stays as it is.
        seed: of the draws. They are not those of `torch.manual_seed(seed)`, from which the model itself may have been
            started.

    Returns:
        A model of the same protocol, ready for the replay engine. Its name and `identity["untrained"]` say what it is,
        of which model and how it was drawn; its hash is its own. The self-check runs where it ran for the model. Cost:
        the memory of a second model, in float32 while it is made, and the forwards of the self-check.

    Raises:
        UsageError: if the seed is negative or beyond 63 bits.
        ModelError: if nothing says how the model's weights are drawn, or its configuration describes another model.

    Example:
        >>> from headscope.models import load
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=16, vocab_size=50, n_positions=32))
        >>> twin = untrained(load(plain, device="cpu"), seed=1)
        >>> twin.name, twin.grid, twin.identity["untrained"]["initialisation"]
        ('GPT2LMHeadModel (untrained, seed 1)', Grid(layers=2, heads=4), 'of GPT2LMHeadModel, initializer_range 0.02')
    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed} for an untrained model", "a whole number from 0 to 2^63 - 1", "use seed=0")
    if not isinstance(model, BridgeModel):
        given = f"an untrained twin of a {type(model).__name__}"
        raise ModelError(given, "a model that headscope.load made", "load it, or build its twin yourself")
    plain = model.bridge.original_model
    if hasattr(plain, "config") and hasattr(plain, "_from_config"):
        fresh = _of_hugging_face(model, plain, seed)
    elif _is_native(model.bridge):
        fresh = _of_native(model, seed)
    else:
        given = f"model {model.name!r} of class {type(plain).__name__}, which does not say how its weights are drawn"
        expected = "a Hugging Face model, or TransformerLens's own"
        raise ModelError(given, expected, "start a second model as this one was started, and load that")
    # What the caller's own class adds, such as another way to be cut, holds for the twin as well.
    return replace(model, name=fresh.name, bridge=fresh.bridge, identity=fresh.identity)


def start_of(seed: int) -> int:
    """The state of torch's generator from which the weights of `seed` are drawn.

    Kept apart from `torch.manual_seed(seed)`: a model that was started from a plain seed would otherwise be compared
    with its own beginning, and not with an unrelated one.

    Args:
        seed: of the twin.

    Example:
        >>> start_of(0) == start_of(0), start_of(0) == start_of(1)
        (True, False)
    """
    return int(np.random.SeedSequence(seed, spawn_key=(int.from_bytes(b"twin"),)).generate_state(1, np.uint64)[0] >> 1)


def _of_hugging_face(model: BridgeModel, plain: nn.Module, seed: int) -> BridgeModel:
    config: Any = plain.config
    fresh = _drawn(type(plain), config, seed)
    wanted = model.identity.get("parameters")
    if wanted not in (None, _size(fresh)):
        # Files that hold both embeddings of a model that ties them untie it, whatever its configuration says.
        config = copy.deepcopy(config)
        config.tie_word_embeddings = not config.tie_word_embeddings
        other = _drawn(type(plain), config, seed)
        if _size(other) != wanted:
            given = f"model {model.name!r} of {wanted} parameters, whose configuration describes {_size(fresh)}"
            raise ModelError(given, "a model that is as its configuration says", "save and load it once")
        fresh = other
    how = f"of {type(plain).__name__}, {_spread(config)}"
    fresh = placing.like(fresh.to(dtype=_dtype(plain)), plain)
    record = _record(model, seed, how, fresh)
    return loading.finish(fresh, model.tokenizer, record, check=_was_checked(model))


def _drawn(kind: Any, config: Any, seed: int) -> Any:
    with quiet(), torch.device("cpu"):
        # Not torch.manual_seed, which would also seed the GPUs, whose generators `quiet` does not put back.
        torch.default_generator.manual_seed(start_of(seed))
        # The class in memory, not one found by name: code that came with the weights is never fetched again.
        return kind._from_config(copy.deepcopy(config), dtype=torch.float32, attn_implementation="eager")


def _spread(config: Any) -> str:
    for name in ("initializer_range", "init_std", "initializer_factor"):
        if getattr(config, name, None) is not None:
            return f"{name} {getattr(config, name):g}"
    return "without a spread in its configuration"


def _is_native(bridge: Any) -> bool:
    return getattr(bridge.cfg, "architecture", None) == "TransformerLensNative" and hasattr(bridge, "boot_native")


def _of_native(model: BridgeModel, seed: int) -> BridgeModel:
    cfg = copy.deepcopy(model.bridge.cfg)
    cfg.seed, cfg.init_weights = start_of(seed), True
    dtype = _dtype(model.bridge.original_model)
    with quiet(), torch.device("cpu"):
        bridge = type(model.bridge).boot_native(cfg, device=model.device, dtype=dtype).eval()
    how = f"TransformerLens's own ({cfg.init_mode or 'gpt2'}), {_spread(cfg)}"
    record = _record(model, seed, how, bridge.original_model) | {"parameters": _size(bridge.original_model)}
    return loading.checked(bridge, model.tokenizer, record, None, check=_was_checked(model))


def _record(model: BridgeModel, seed: int, how: str, fresh: nn.Module) -> dict[str, Any]:
    of = model.identity.get("untrained", {}).get("of")
    of = of or {"name": model.name} | {key: model.identity[key] for key in _KNOWN_BY if key in model.identity}
    return {
        "name": f"{of['name']} (untrained, seed {seed})",
        "source": "untrained",
        "revision": None,
        "commit": None,
        "weights_sha256": identity.parameters_digest(fresh),
        "weights_hashed": "parameters",
        "random_weights": ["all"],
        "untrained": {"of": of, "seed": seed, "initialisation": how},
    }


def _was_checked(model: BridgeModel) -> bool:
    return model.identity.get("self_check") is not None


def _dtype(plain: nn.Module) -> torch.dtype:
    return next(value.dtype for value in plain.parameters() if value.is_floating_point())


def _size(plain: nn.Module) -> int:
    return sum(value.numel() for value in plain.parameters())
