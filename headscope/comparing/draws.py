"""The resamples, halves and blocks of the examples of two runs, drawn once for all scores of a task."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headscope import provenance, statistics

RESAMPLES = 2000
SPLITS = 25
"""Random halvings that a reliability is the mean of."""
BLOCKS = 40
"""Blocks of groups that the jackknife leaves out, one at a time, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """How the examples of one run are drawn.

    Attributes:
        groups: the group of every example.
        boot: how often each example is drawn in each resample of the group bootstrap; without rows for one group.
        first: whether an example is in the first half, in each halving by groups; without rows for under four groups.
        kept: whether an example is kept, for each block of groups that is left out.
    """

    groups: Int[np.ndarray, " example"]
    boot: Float[np.ndarray, "resample example"]
    first: Float[np.ndarray, "split example"]
    kept: Float[np.ndarray, "block example"]

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(np.unique(self.groups))


def draw(groups: Int[np.ndarray, " example"], *, seed: int) -> Draws:
    """All that is drawn for one run's examples of one task.

    Runs of the same prompts share one seed, and so their draws; runs of other prompts must have seeds of their own, or
    equal numbers of groups would tie their noise together.

    Args:
        groups: the group of every example.
        seed: of the draws.

    Example:
        >>> drawn = draw(np.arange(6), seed=0)
        >>> drawn.boot.shape, drawn.first.sum(axis=1)[:3].tolist(), drawn.kept.sum(axis=1).tolist()
        ((2000, 6), [3.0, 3.0, 3.0], [5.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    """
    _, label = np.unique(groups, return_inverse=True)
    count = int(label.max()) + 1
    boot = statistics.resamples(groups, seed=seed, n_resamples=RESAMPLES)[: RESAMPLES if count > 1 else 0]
    first = np.zeros((SPLITS if count >= 4 else 0, len(groups)))
    for index, row in enumerate(first):
        row[statistics.halves(groups, seed=provenance.seed_for(seed, "half", str(index)))[0]] = 1
    block = label % min(count, BLOCKS)  # every 40th group, so that templates that stand together are spread
    kept = (block != np.unique(block)[:, None]).astype(float)
    return Draws(groups=groups, boot=boot, first=first, kept=kept)
