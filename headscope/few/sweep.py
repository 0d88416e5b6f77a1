"""Sets of the top heads, larger and larger: what is lost without them, and what is left with them alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from headscope.few.areas import MIB_SHARES, kept
from headscope.few.concentration import sweep_sizes
from headscope.few.curves import Curve, Sample
from headscope.few.interventions import Bench
from headscope.few.settings import TARGETS
from headscope.few.units import Members

Values = dict[str, Float[np.ndarray, "example set"]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """Every metric under nested sets of one kind of intervention, on every example.

    Attributes:
        size: of the sets, increasing.
        values: of each metric.
    """

    size: Int[np.ndarray, " set"]
    values: Values = field(repr=False)

    def joined(self, other: "Side") -> "Side":
        """Both in the order of their sizes, of which they share none."""
        size = np.concatenate([self.size, other.size])
        place = np.argsort(size)
        values = {name: np.hstack([mine, other.values[name]])[:, place] for name, mine in self.values.items()}
        return Side(size=size[place], values=values)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweep:
    """The top heads ablated, and all others ablated; both sides hold the sizes 0 and all.

    Attributes:
        without: with the top heads ablated.
        alone: with all others ablated.
    """

    without: Side
    alone: Side

    def lost(self, metric: str) -> Float[np.ndarray, "example set"]:
        """What is lost without the top heads."""
        return self.without.values[metric][:, :1] - self.without.values[metric]

    def left(self, metric: str) -> Float[np.ndarray, "example set"]:
        """What is left with the top heads alone, above what is left with none."""
        return self.alone.values[metric] - self.alone.values[metric][:, :1]

    def whole(self, metric: str) -> Float[np.ndarray, " example"]:
        """What all heads together make."""
        return self.without.values[metric][:, 0] - self.without.values[metric][:, -1]


def sweep(
    bench: Bench, order: Members, sizes: Iterable[int], *, kind: str, rows: Int[np.ndarray, " example"] | None = None
) -> Sweep:
    """Ablate the top heads, and all but the top heads, at several sizes.

    Args:
        bench: the model and the examples.
        order: units, best first.
        sizes: of the sets; none and all are added.
        kind: of ablation.
        rows: the examples; None: all.

    Returns:
        The values. Cost: two counterfactual runs for each size and example.
    """
    inner = sorted({size for size in sizes if 0 < size < len(order)})
    # Without the top 0 is with all alone, and without all is with none alone: each is run once.
    asked = Asked(ends=(0, len(order)), without=inner, alone=inner, kind=kind, rows=rows)
    ends, without, alone = _run(bench, order, asked)
    turned = {name: values[:, ::-1] for name, values in ends.values.items()}
    return Sweep(without=ends.joined(without), alone=Side(size=ends.size, values=turned).joined(alone))


class Asked(NamedTuple):
    """Sizes at which the top heads are ablated (`ends` apart from the others), and at which all but they are."""

    ends: Sequence[int]
    without: Sequence[int]
    alone: Sequence[int]
    kind: str
    rows: Int[np.ndarray, " example"] | None = None


def _run(bench: Bench, order: Members, asked: Asked) -> tuple[Side, Side, Side]:
    """The values of the three parts of what is asked."""
    tops = [order[:size] for size in (*asked.ends, *asked.without)]
    rest = [bench.complement(order[:size]) for size in asked.alone]
    found = bench.ablated([*tops, *rest], kind=asked.kind, rows=asked.rows)
    cuts = [len(asked.ends), len(tops)]
    parts = {name: np.split(values, cuts, axis=1) for name, values in found.items()}
    first, second, third = (
        Side(size=np.array(size, dtype=int), values={name: part[index] for name, part in parts.items()})
        for index, size in enumerate((asked.ends, asked.without, asked.alone))
    )
    return first, second, third


def full_sizes(units: int, shares: Iterable[float]) -> Int[np.ndarray, " size"]:
    """All sizes that the verdict's own ablation is measured at: the shares, single numbers to 10, and MIB's shares.

    Args:
        units: how many there are.
        shares: of them.
    """
    return np.union1d(sweep_sizes(units, shares=shares), kept(units, MIB_SHARES))


def refined(bench: Bench, order: Members, begun: Sweep, sample: Sample, *, kind: str) -> Sweep:
    """Measure further sizes until each smallest size that reaches a target stands next to one that does not.

    Between two measured sizes the search halves: where a curve is not monotone it finds one crossing of several.

    Args:
        bench: the model and the examples, as for the sweep.
        order: units, best first.
        begun: the sweep so far, of the ablation that goes on.
        sample: the examples' resamples.
        kind: of ablation, as before.

    Returns:
        The sweep with further sizes. Cost: a run of each example for every further size, some 2 x targets x log2(gap).
    """
    found = begun
    while True:
        curves = set_curves(bench.main, found, sample)
        without, alone = _between(curves["necessity"]), _between(curves["faithfulness"])
        if not (without or alone):
            return found
        _, more, other = _run(bench, order, Asked(ends=(), without=without, alone=alone, kind=kind))
        found = Sweep(without=found.without.joined(more), alone=found.alone.joined(other))


def _between(curve: Curve) -> list[int]:
    middles = []
    for target in TARGETS:
        reached = np.flatnonzero(curve.value >= target)
        if len(reached) and reached[0] > 0:
            above, below = int(curve.size[reached[0]]), int(curve.size[reached[0] - 1])
            middles += [(above + below) // 2] if above - below > 1 else []
    return sorted(set(middles))


def set_curves(metric: str, found: Sweep, sample: Sample) -> dict[str, Curve]:
    """Necessity and faithfulness.

    Args:
        metric: by which metric.
        found: the sweep.
        sample: the examples' resamples.
    """
    whole = found.whole(metric)
    return {
        "necessity": sample.ratio_curve(found.without.size, found.lost(metric), whole),
        "faithfulness": sample.ratio_curve(found.alone.size, found.left(metric), whole),
    }


def accuracy_curves(bench: Bench, found: Sweep, sample: Sample) -> dict[str, Curve]:
    """The accuracy under the same interventions: as the task is judged, and with the likeliest of all tokens.

    Args:
        bench: the model and the examples.
        found: the sweep.
        sample: the examples' resamples.
    """
    curves = {}
    for label, metric in (("accuracy", bench.accuracy), ("top1", "accuracy")):
        curves[f"{label}_necessity"] = sample.mean_curve(found.without.size, found.without.values[metric])
        curves[f"{label}_faithfulness"] = sample.mean_curve(found.alone.size, found.alone.values[metric])
    return curves
