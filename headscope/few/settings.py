"""What is asked of the few heads, and how."""

from dataclasses import dataclass

from headscope.errors import UsageError, meant
from headscope.few.concentration import CLAIM
from headscope.few.units import UNITS
from headscope.methods.ablation import ALL_KINDS
from headscope.methods.twins import DIRECTIONS
from headscope.statistics import By

TARGETS = (0.5, 0.8, 0.9)
"""The shares that the smallest number of heads is sought for."""

SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The parts of all heads at which sets are measured, beside every single number up to 10."""

CONTROLLED = (0.1,)
"""The parts of all heads at which random sets are measured too, beside the claimed one."""

BESIDE = (0.1, 0.5)
"""The parts of all heads at which other kinds of ablation are measured, beside the claimed one."""

MIB_KIND = "counterfactual"
"""The kind of ablation that MIB measures with; it gets the areas CPR and CMD, as the verdict's own does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the few heads of a task are sought and tested.

    Attributes:
        unit: what is counted: `head`, or `group` of query heads that share a key and a value.
        ablation: how sets of heads are ablated in all that the verdict rests on.
        beside: other kinds of ablation, measured at fewer sizes and shown side by side.
        other: held-out pairs that these are measured on.
        direction: of the single patching effects that rank heads: `denoising` or `noising`.
        by: "value" ranks helpful heads first, "magnitude" counts heads that work against the answer too.
        claim: the part of all heads that the verdict is about.
        sets: random sets of each size and kind.
        controlled: examples that random sets are measured on, and the top heads when set against them.
        resamples: of the bootstrap.
        seed: of halves, random sets, other prompts and resamples.
        twin: run the same model with random weights through the same pipeline.
        shadowed: pairs of each half that the untrained model is run on, and set beside the trained one on.
        regardless: go on where the model fails the task; its verdict then explains no ability.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> Settings(ablation="reample", sets=5)
        Traceback (most recent call last):
        headscope.errors.UsageError: ablation 'reample'; sets 5
          expected: resample, mean, zero, mean_position, mean_template, counterfactual; sets from 20
          to fix it: did you mean 'resample'?; fewer random sets could not show p < .05
    """

    unit: str = "head"
    ablation: str = "resample"
    beside: tuple[str, ...] = ("mean", "zero", "counterfactual")
    other: int = 100
    direction: str = "denoising"
    by: By = "value"
    claim: float = CLAIM
    sets: int = 100
    controlled: int = 8
    resamples: int = 1000
    seed: int = 0
    twin: bool = True
    shadowed: int = 32
    regardless: bool = False

    def __post_init__(self) -> None:
        kinds = ", ".join(ALL_KINDS)
        checks = [
            (f"unit {self.unit!r}", self.unit in UNITS, ", ".join(UNITS), "correct the unit"),
            *(
                (f"ablation {kind!r}", kind in ALL_KINDS, kinds, meant(kind, ALL_KINDS, "choose one of these"))
                for kind in self.kinds
            ),
            (f"direction {self.direction!r}", self.direction in DIRECTIONS, ", ".join(DIRECTIONS), "correct it"),
            (f"ranking by {self.by!r}", self.by in ("value", "magnitude"), "value, magnitude", "correct it"),
            (f"claim {self.claim}", 0 < self.claim <= 1, "a claim above 0, up to 1", "write 0.03 for 3 %"),
            (f"sets {self.sets}", self.sets >= 20, "sets from 20", "fewer random sets could not show p < .05"),
            (f"controlled {self.controlled}", self.controlled >= 2, "2 examples or more", "ask for more"),
            (f"other {self.other}", self.other >= 2, "2 pairs or more", "ask for more"),
            (f"shadowed {self.shadowed}", self.shadowed >= 2, "2 pairs or more", "ask for more"),
            (f"resamples {self.resamples}", self.resamples >= 100, "100 resamples or more", "ask for more"),
            (f"seed {self.seed}", self.seed >= 0, "a seed from 0", "write for example 0"),
        ]
        if wrong := [(given, expected, fix) for given, fine, expected, fix in checks if not fine]:
            raise UsageError(*("; ".join(dict.fromkeys(part)) for part in zip(*wrong, strict=True)))

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of ablation, the one of the verdict first."""
        return tuple(dict.fromkeys((self.ablation, *self.beside)))
