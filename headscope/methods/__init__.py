"""Ways of scoring heads: one file a method, one line here."""

from headscope.contract import Method
from headscope.methods.ablation import ABLATION
from headscope.methods.attention import ATTENTION
from headscope.methods.patching import PATCHING

METHODS: dict[str, Method] = {method.name: method for method in (PATCHING, ABLATION, ATTENTION)}

__all__ = ["METHODS"]
