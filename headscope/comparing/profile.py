"""What can be said of each run alone, and compared where heads cannot be matched: concentration and depth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headscope.comparing.correlation import resampled, students
from headscope.comparing.draws import Draws
from headscope.few.concentration import claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the effects of one run lie.

    Attributes:
        k: how many heads 3 % are, at least one.
        top_share: the part of the summed absolute effects that the k largest hold, 0 to 1.
        top_share_low, top_share_high: its 95 % interval.
        depth: the mean relative depth of the absolute effects, 0 (all in the first layer) to 1 (all in the last).
        depth_low, depth_high: its 95 % interval.
    """

    k: int
    top_share: float
    depth: float
    top_share_low: float = float("nan")
    top_share_high: float = float("nan")
    depth_low: float = float("nan")
    depth_high: float = float("nan")


def profile(
    means: Float[np.ndarray, " head"],
    layers: Int[np.ndarray, " head"],
    values: Float[np.ndarray, "example head"] | None,
    draws: Draws | None,
) -> Profile:
    """Concentration and depth of one run's effects.

    Their intervals have the spread of a group bootstrap about the value of the run: resampling adds noise, which
    flattens every resample, so that its percentiles would lie beside the value.

    Args:
        means: of heads that have a number.
        layers: the layer of each.
        values: the per-example values behind them; None where they were not kept.
        draws: how examples are drawn; None where that is not known.

    Example:
        >>> found = profile(np.array([0.0, 1.0, -3.0, 0.0]), np.array([0, 0, 1, 1]), None, None)
        >>> found.k, found.top_share, found.depth
        (1, 0.75, 0.75)
    """
    k = claimed(len(means))
    depths = layers / max(int(layers.max(initial=0)), 1)
    share, depth = _measured(means[None], depths, k)[:, 0].tolist()
    if values is None or draws is None or not len(draws.boot):
        return Profile(k=k, top_share=share, depth=depth)
    boot = _measured(resampled(values, draws.boot, means), depths, k)
    reach = students(draws.count) * boot.std(axis=1, ddof=1)
    limits = np.clip(np.array([share, depth]) + np.outer([-1, 1], reach), 0, 1)
    return Profile(
        k=k, top_share=share, depth=depth,
        top_share_low=float(limits[0, 0]), top_share_high=float(limits[1, 0]),
        depth_low=float(limits[0, 1]), depth_high=float(limits[1, 1]),
    )  # fmt: skip


def _measured(
    means: Float[np.ndarray, "row head"], depths: Float[np.ndarray, " head"], k: int
) -> Float[np.ndarray, "measure row"]:
    sizes = np.abs(means)
    total = sizes.sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    return np.stack([np.sort(sizes, axis=1)[:, -k:].sum(axis=1), sizes @ depths]) / total
