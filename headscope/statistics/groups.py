"""Examples in groups: what is resampled, flipped and split together."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from headscope.errors import UsageError


def generator(seed: int, use: Literal["bootstrap", "flips", "halves"]) -> np.random.Generator:
    # Each use has its own stream: a bootstrap that shared one with the flips would be tied to them.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(("bootstrap", "flips", "halves").index(use),)))


def check_values(values: Float[np.ndarray, "example head"]) -> None:
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        example, head = infinite[0].tolist()
        raise UsageError(
            f"value {values[example, head]} of example {example}, head {head} (and {len(infinite) - 1} more)",
            "finite values, or NaN where an example says nothing of a head",
            "look for an overflow in the method or the model's dtype; try --dtype float32",
        )


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"level {level}", "a confidence level between 0 and 1", "write 0.95 for a 95 % interval")


def labels(groups: Int[np.ndarray, " example"]) -> tuple[Int[np.ndarray, " example"], int]:
    # Numbered by sorted label, so that the order of the examples changes no draw.
    distinct, label = np.unique(groups, return_inverse=True)
    if not len(distinct):
        raise UsageError("no examples", "at least one example with its group", "ask for n >= 1 examples")
    return label, len(distinct)


def group_sums(
    values: Float[np.ndarray, "example head"], groups: Int[np.ndarray, " example"]
) -> Float[np.ndarray, "group head"]:
    label, _ = labels(groups)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    return np.add.reduceat(values[order], starts, axis=0)


def groups_with_data(
    values: Float[np.ndarray, "example head"], groups: Int[np.ndarray, " example"]
) -> Int[np.ndarray, " head"]:
    return (group_sums((~np.isnan(values)).astype(float), groups) > 0).sum(axis=0)


def halves(
    groups: Int[np.ndarray, " example"], *, seed: int
) -> tuple[Int[np.ndarray, " selection"], Int[np.ndarray, " held_out"]]:
    """Split the examples into two halves that share no group: select heads on one, measure them on the other.

    Groups are shuffled and cut where the halves are nearest to equal in examples.

    Returns:
        The sorted indices of the two halves.

    Raises:
        UsageError: with fewer than two groups.

    Example:
        >>> first, second = halves(np.array([0, 0, 1, 1]), seed=0)
        >>> len(first), len(second), sorted([*first.tolist(), *second.tolist()])
        (2, 2, [0, 1, 2, 3])
    """
    label, count = labels(groups)
    if count < 2:
        raise UsageError("examples of one group", "2 or more groups", "a held-out half needs a group of its own")
    order = generator(seed, "halves").permutation(count)
    filled = np.cumsum(np.bincount(label)[order])[:-1]
    cut = int(np.argmin(np.abs(filled - len(groups) / 2))) + 1
    selected = np.isin(label, order[:cut])
    return np.flatnonzero(selected), np.flatnonzero(~selected)
