"""A model whose parts are not known, so that it can only be run whole."""

from dataclasses import fields

from architectures import tiny

from headscope.models import load
from headscope.models.bridge import BridgeModel
from headscope.models.cutting import Cut


class Closed(BridgeModel):
    """Like any other, but that it cannot be cut open."""

    cut = Cut(None, "architecture 'own' cannot be started in the middle")


def closed(architecture: str = "gpt2") -> Closed:
    """A tiny model that can only be run whole; its name is that of its class."""
    model = load(tiny(architecture), device="cpu")
    return Closed(**{item.name: getattr(model, item.name) for item in fields(model) if item.init})
