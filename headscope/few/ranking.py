"""Which heads are the top ones, how far that choice holds, and what they have of all effects."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from headscope.few.concentration import claimed
from headscope.few.curves import Curve, Sample
from headscope.few.settings import Settings
from headscope.few.units import Members
from headscope.statistics import top_k_stability
from headscope.statistics.ranks import size as sized
from headscope.statistics.ranks import top


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """Units in the order of their mean effects on the selecting half.

    Attributes:
        order: units, best first.
        mean: of each unit.
        k: how many of them the claim is.
        stability: the mean Jaccard index of the top k with those of resamples.
        often: in which share of the resamples each unit is in the top k.
        draws: the top k of every resample.
    """

    order: Members = field(repr=False)
    mean: Float[np.ndarray, " unit"] = field(repr=False)
    k: int
    stability: float
    often: Float[np.ndarray, " unit"] = field(repr=False)
    draws: Int[np.ndarray, "resample member"] = field(repr=False)


def choose(effects: Float[np.ndarray, "example unit"], sample: Sample, settings: Settings) -> Choice:
    """Rank units by their mean effect.

    Args:
        effects: of every unit alone on the selecting half.
        sample: that half's resamples.
        settings: how units are ranked, and how many are claimed.
    """
    mean, drawn = sample.means(effects)
    k = claimed(len(mean), settings.claim)
    picked = top(sized(drawn, settings.by), k)
    return Choice(
        order=np.argsort(-sized(mean, settings.by), kind="stable"),
        mean=mean,
        k=k,
        stability=top_k_stability(mean, drawn, k=k, by=settings.by),
        often=picked.mean(axis=0),
        draws=np.stack([np.flatnonzero(row) for row in picked]),
    )


def share_curve(effects: Float[np.ndarray, "example unit"], order: Members, sample: Sample) -> Curve:
    """The held-out share: the summed effects of the top units as a part of all positive ones.

    Numerator and denominator are means over the measuring half; units that turn out negative there count against the
    top, and only positive ones are in the denominator (as the indirect effects of Vig et al. 2020 are summed).

    Args:
        effects: of every unit alone on the measuring half.
        order: units, best first by the other half.
        sample: the measuring half's resamples.

    Returns:
        The share at every size from 1; NaN where no unit is positive.

    Example:
        >>> sample = Sample(groups=np.arange(2), weights=np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
        >>> effects = np.array([[6.0, -1.0, 2.0], [6.0, -1.0, 2.0]])
        >>> share_curve(effects, np.array([0, 1, 2]), sample).value.tolist()
        [0.75, 0.625, 0.875]
    """
    shares = []
    mean, drawn = sample.means(effects)
    for values in (mean[None], drawn):
        whole = np.clip(values, 0, None).sum(axis=1, keepdims=True)
        shares.append(values[:, order].cumsum(axis=1) / np.where(whole > 0, whole, np.nan))
    return sample.curve(np.arange(1, len(order) + 1), shares[0][0], shares[1])


def over_total(
    effects: Float[np.ndarray, "example unit"], order: Members, total: Float[np.ndarray, " example"], sample: Sample
) -> Curve:
    """The summed effects of the top units as a part of the total effect of the prompts, clean less corrupted.

    Args:
        effects: of every unit alone on the measuring half.
        order: units, best first by the other half.
        total: the total effect on every example.
        sample: the measuring half's resamples.
    """
    size = np.arange(1, len(order) + 1)
    return sample.ratio_curve(size, effects[:, order].cumsum(axis=1), total)
