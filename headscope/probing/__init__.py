"""What can be read off each head and layer of a model, at which depth, and whether the model uses it.

`probe` and `hierarchy` begin with a model's name; `request` checks what is asked, `carry_out` does it on a loaded
model.
"""

from headscope.probing.entry import hierarchy, probe
from headscope.probing.request import INSTANCES, KIND, LABELS, Request, request, wanted_of
from headscope.probing.work import carry_out

__all__ = ["INSTANCES", "KIND", "LABELS", "Request", "carry_out", "hierarchy", "probe", "request", "wanted_of"]
