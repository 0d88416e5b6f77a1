"""Ratios of means with their bootstrap, and the smallest set that reaches a share."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from headscope.statistics.bootstrap import bootstrap_means, percentiles, resamples


class Interval(NamedTuple):
    """A number with the limits of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """Something measured at several sizes of a set.

    Attributes:
        size: how many units each set has.
        value: over the sample.
        low, high: the 95 % interval.
        drawn: the same in every resample.
        reason: why there is no number, where there is none.
    """

    size: Int[np.ndarray, " size"]
    value: Float[np.ndarray, " size"]
    low: Float[np.ndarray, " size"]
    high: Float[np.ndarray, " size"]
    drawn: Float[np.ndarray, "resample size"] = field(repr=False)
    reason: str = ""

    def at(self, size: int) -> Interval:
        """The number at one size, which must have been measured."""
        place = int(np.flatnonzero(self.size == size)[0])
        return Interval(float(self.value[place]), float(self.low[place]), float(self.high[place]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """Examples in groups, with the resamples that everything measured on them shares.

    Attributes:
        groups: examples of equal number are resampled together.
        weights: how often each example is in each resample.
    """

    groups: Int[np.ndarray, " example"]
    weights: Float[np.ndarray, "resample example"] = field(repr=False)

    @classmethod
    def of(cls, groups: Int[np.ndarray, " example"], *, seed: int, resamples_: int) -> "Sample":
        """Draw the resamples.

        Args:
            groups: of the examples.
            seed: of the draws.
            resamples_: how many.
        """
        return cls(groups=groups, weights=resamples(groups, seed=seed, n_resamples=resamples_))

    def means(
        self, values: Float[np.ndarray, "example column"]
    ) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, "resample column"]]:
        """The mean of every column, over the sample and in every resample."""
        every = np.vstack([np.ones(len(self.groups)), self.weights])
        found = bootstrap_means(values, every)
        return found[0], found[1:]

    def curve(
        self,
        size: Int[np.ndarray, " size"],
        value: Float[np.ndarray, " size"],
        drawn: Float[np.ndarray, "resample size"],
        reason: str = "",
    ) -> Curve:
        """A curve with its intervals.

        Args:
            size: of the sets.
            value: over the sample.
            drawn: in every resample.
            reason: why there is no number, where there is none.
        """
        count = len(np.unique(self.groups))
        low, high = percentiles(drawn, np.full(drawn.shape[1], count), 0.95, expand=True)
        return Curve(size=size, value=value, low=low, high=high, drawn=drawn, reason=reason)

    def mean_curve(self, size: Int[np.ndarray, " size"], values: Float[np.ndarray, "example size"]) -> Curve:
        """Plain means, such as accuracies."""
        return self.curve(size, *self.means(values))

    def ratio_curve(
        self,
        size: Int[np.ndarray, " size"],
        part: Float[np.ndarray, "example size"],
        whole: Float[np.ndarray, " example"],
    ) -> Curve:
        """Ratios of means, numerator and denominator resampled together; NaN where the whole may be 0 or below.

        Args:
            size: of the sets.
            part: what each set accounts for, on every example.
            whole: what there is to account for.
        """
        value, drawn = self.means(part)
        total, total_drawn = self.means(whole[:, None])
        sure = self.curve(np.array([0]), total, total_drawn)
        if not sure.low[0] > 0:
            given = f"{sure.value[0]:.3g} [{sure.low[0]:.3g}, {sure.high[0]:.3g}]"
            return absent(size, len(drawn), f"all heads together make a difference of {given}, which may be none")
        return self.curve(size, value / total, drawn / total_drawn)


def absent(size: Int[np.ndarray, " size"], resamples_: int, reason: str) -> Curve:
    """A curve without numbers.

    Args:
        size: of the sets.
        resamples_: how many there would be.
        reason: why there are none.
    """
    nothing = np.full(len(size), np.nan)
    drawn = np.full((resamples_, len(size)), np.nan)
    return Curve(size=size, value=nothing, low=nothing, high=nothing, drawn=drawn, reason=reason)


def smallest(curve: Curve, target: float) -> tuple[Interval, str]:
    """The smallest measured size at which a curve reaches a target, and where it lies in 95 % of the resamples.

    Args:
        curve: measured at increasing sizes.
        target: the share to reach.

    Returns:
        The size with its limits, and a reason where something is absent: NaN where no size reaches the target, and for
        a limit beyond which some of the resamples need more than was measured.

    Example:
        >>> drawn = np.array([[0.4, 0.95], [0.6, 0.97], [0.5, 0.85]])
        >>> curve = Curve(size=np.array([1, 2]), value=np.array([0.5, 0.92]), low=drawn[0], high=drawn[1], drawn=drawn)
        >>> smallest(curve, 0.9)
        (Interval(value=2.0, low=2.0, high=nan), 'more than 2.5 % of the resamples do not reach it with 2')
    """
    if np.isnan(curve.value).all():
        return Interval(np.nan, np.nan, np.nan), curve.reason or "not measured"
    first = _first(curve.value[None] >= target, curve.size)[0]
    drawn = _first(curve.drawn >= target, curve.size)
    low = float(np.quantile(drawn, 0.025, method="lower"))
    high = float(np.quantile(drawn, 0.975, method="higher"))
    reason = ""
    if not np.isfinite(first):
        reason = f"not reached with up to {curve.size[-1]}"
    elif not np.isfinite(high):
        reason = f"more than 2.5 % of the resamples do not reach it with {curve.size[-1]}"
    return Interval(*(float(each) if np.isfinite(each) else np.nan for each in (first, low, high))), reason


def _first(reached: np.ndarray, size: Int[np.ndarray, " size"]) -> Float[np.ndarray, " row"]:
    return np.where(reached.any(axis=1), size[reached.argmax(axis=1)], np.inf)
