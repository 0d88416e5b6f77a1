"""What of a model determines its numbers: so that a result of one model is never taken for another's."""

import hashlib
import json
from typing import Any

from torch import nn

from headscope.models import identity
from headscope.models.protocol import Model

NAMES = frozenset({"_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"})
"""Parts of a configuration that say what a model is called and who wrote it; its type is told by its parameters."""


def determined(model: Model) -> dict[str, Any] | None:
    """Weights, configuration, weight mode, kind of device and tokenizer, as JSON.

    Weights are hashed as they are now, not as they were when the model was loaded. Cost: a pass over the weights, some
    seconds for each 10 GB.

    Args:
        model: the model.

    Returns:
        None for a model of one's own without weights that can be hashed: nothing is known that would tell it from one
        that gives other numbers.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> model = load(planted_model(Plant(), grid=Grid(1, 1), vocabulary=8, positions=8), device="cpu")
        >>> facts = determined(model)
        >>> sorted(facts), facts["device"]
        (['config', 'device', 'grid', 'mode', 'tokenizer', 'weights'], 'cpu')
    """
    module = getattr(model, "bridge", None)
    if not isinstance(module, nn.Module):
        return None
    return {
        "weights": identity.parameters_digest(module),
        "config": _config(module),
        "mode": str(model.identity.get("weight_mode")),
        "device": model.device.type,
        "grid": [model.grid.layers, model.grid.heads],
        "tokenizer": _digest(model.identity.get("tokenizer")),
    }


def _config(module: Any) -> str | None:
    config: Any = getattr(getattr(module, "original_model", None), "config", None)
    if not hasattr(config, "to_dict"):
        return None
    return _digest({name: value for name, value in config.to_dict().items() if name not in NAMES})


def _digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()
