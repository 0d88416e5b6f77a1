"""Select heads on one half of the examples and measure them on the other."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from headscope import provenance
from headscope.few.curves import Curve, Interval, Sample
from headscope.few.interventions import Bench
from headscope.few.ranking import Choice, choose, over_total, share_curve
from headscope.few.settings import SHARES, Settings
from headscope.few.split import Halves
from headscope.few.sweep import Sweep, full_sizes, refined, set_curves, sweep
from headscope.few.units import Members, units_of
from headscope.methods.twins import Limits
from headscope.models import Model


@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """Heads selected on one half of the examples, with all that was measured on the other.

    Attributes:
        bench: the model with the measuring half.
        sample: the measuring half's resamples.
        choice: the units in order, and how far that order holds.
        selecting: the effect of every unit alone on the selecting half.
        effects: the same on the measuring half.
        sweep: sets of the top units ablated, and all others.
        curves: `effect`, `over_total`, `necessity` and `faithfulness`.
        spent: counterfactual runs that were made, so far as they are not in `bench.spent`.
    """

    bench: Bench
    sample: Sample = field(repr=False)
    choice: Choice
    selecting: Float[np.ndarray, "example unit"] = field(repr=False)
    effects: Float[np.ndarray, "held_out unit"] = field(repr=False)
    sweep: Sweep = field(repr=False)
    curves: dict[str, Curve] = field(repr=False)
    spent: int

    @property
    def order(self) -> Members:
        """Units, best first."""
        return self.choice.order

    @property
    def k(self) -> int:
        """How many units the claim is."""
        return self.choice.k

    @property
    def top(self) -> Members:
        """The selected k units."""
        return self.order[: self.k]

    @property
    def draws(self) -> Int[np.ndarray, "resample member"]:
        """The top k of every resample of the selecting half."""
        return self.choice.draws

    def over_total(self) -> Interval:
        """The summed effects of the top k as a part of the total effect, clean less corrupted, of the prompts."""
        return self.curves["over_total"].at(self.k)


def study(model: Model, halves: Halves, settings: Settings, limits: Limits) -> Study:
    """Select heads on one half, measure them on the other.

    Args:
        model: the model.
        halves: the examples.
        settings: what is asked.
        limits: how much at once.

    Returns:
        What was found. Cost: a counterfactual run for each head and example, and two for each size and measured
        example.
    """
    units, seed = units_of(model, settings.unit), settings.seed
    first, bench = (Bench(model=model, pairs=half, units=units, seed=seed, limits=limits) for half in halves)
    picking, sample = (
        Sample.of(half.groups.cpu().numpy(), seed=provenance.seed_for(seed, name), resamples_=settings.resamples)
        for half, name in zip(halves, ("select", "measure"), strict=True)
    )
    selecting, _ = first.effects(settings.direction)
    choice = choose(selecting, picking, settings)
    (effects, total), order = bench.effects(settings.direction), choice.order
    sizes = full_sizes(len(units), (*SHARES, settings.claim)).tolist()
    begun = sweep(bench, order, sizes, kind=settings.ablation)
    found = refined(bench, order, begun, sample, kind=settings.ablation)
    curves = {
        "effect": share_curve(effects, order, sample),
        "over_total": over_total(effects, order, total, sample),
    }
    return Study(
        bench=bench, sample=sample, choice=choice, selecting=selecting, effects=effects, sweep=found,
        curves=curves | set_curves(bench.main, found, sample), spent=sum(first.spent),
    )  # fmt: skip
