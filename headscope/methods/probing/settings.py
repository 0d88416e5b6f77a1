"""How a study fits its probes."""

from dataclasses import dataclass

from headscope.methods.probing.fit import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How probes are fitted.

    Attributes:
        sites: kinds of sites, of `SITES`.
        kind: of probe.
        folds: of the cross-validation by groups.
        seed: of draws, folds and resamples.
        bits: whether code lengths are measured.
    """

    sites: tuple[str, ...]
    kind: Kind
    folds: int
    seed: int
    bits: bool
