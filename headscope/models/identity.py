"""What a model is, as a JSON-able record: source, shape, type, and the sha256 of its weights."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headscope.models import placing, tokenisation


def files_digest(files: Iterable[Path]) -> str:
    """The sha256 over the contents of `files`, in the order of their names.

    Args:
        files: weight files.

    Returns:
        64 hexadecimal digits; for a single file, what `sha256sum` prints.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        with file.open("rb") as handle:
            while block := handle.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def parameters_digest(model: nn.Module) -> str:
    """The sha256 over every parameter's name, type, shape and bytes, in the order of their names.

    A plain model and the same model inside a TransformerBridge hash differently: TransformerLens renames parameters and
    adds copies of fused ones.

    Args:
        model: any module.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> before = parameters_digest(model)
        >>> with torch.no_grad(): _ = model.bias.add_(1)
        >>> before == parameters_digest(model)
        False
    """
    digest = hashlib.sha256()
    for name, found in placing.weights(model, ordered=True):
        value = found.cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def not_finite(model: nn.Module) -> tuple[str, int] | None:
    """The first parameter with NaN or infinite values and how many it has; None when all are finite.

    Args:
        model: any module.

    Example:
        >>> not_finite(nn.Linear(2, 2)) is None
        True
    """
    for name, value in placing.weights(model):
        wrong = int((~torch.isfinite(value)).sum())
        if wrong:
            return name, wrong
    return None


def describe(model: Any) -> dict[str, Any]:
    """The facts of a `BridgeModel` itself: shape, type, device, tokenizer (its source is added by the loader).

    Args:
        model: a `BridgeModel`.
    """
    plain = model.bridge.original_model
    first = next(plain.parameters())
    kv_heads = getattr(model.bridge.cfg, "n_key_value_heads", None) or model.grid.heads
    return {
        "architecture": str(model.bridge.cfg.architecture),
        "layers": model.grid.layers,
        "heads": model.grid.heads,
        "key_value_heads": int(kv_heads),
        "d_head": model.d_head,
        "d_model": int(model.bridge.cfg.d_model),
        "vocabulary": model.vocabulary,
        "max_length": model.max_length,
        "causal": model.causal,
        "dtype": str(first.dtype).removeprefix("torch."),
        "device": str(model.device),
        **({} if (places := placing.placed(plain)) is None else {"device_map": places}),
        "weight_mode": "processed" if getattr(model.bridge, "compatibility_mode", False) else "raw",
        "tokenizer": tokenisation.describe(model.tokenizer, model.frame),
    }
