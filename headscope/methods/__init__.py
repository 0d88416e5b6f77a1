"""Ways of scoring heads: one file a method, one line here."""

from headscope.contract import Method
from headscope.methods.ablation import ABLATION
from headscope.methods.attention import ATTENTION
from headscope.methods.attribution import ATTRIBUTION
from headscope.methods.attribution_parts import ATTRIBUTION_PARTS
from headscope.methods.direct import DIRECT
from headscope.methods.importance import IMPORTANCE
from headscope.methods.integrated import INTEGRATED
from headscope.methods.mediation import MEDIATION
from headscope.methods.patching import PARTS, PATCHING, POSITIONS
from headscope.methods.paths import PATHS
from headscope.methods.probing.answers import PROBING
from headscope.methods.repair import REPAIR

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        PATCHING,
        ABLATION,
        ATTENTION,
        ATTRIBUTION,
        DIRECT,
        PARTS,
        POSITIONS,
        MEDIATION,
        PATHS,
        REPAIR,
        ATTRIBUTION_PARTS,
        INTEGRATED,
        IMPORTANCE,
        PROBING,
    )
}
DEFAULT = ("patching", "ablation", "attention", "attribution", "direct")
"""What an analysis runs where no methods are named."""

__all__ = ["DEFAULT", "METHODS"]
