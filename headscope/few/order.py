"""In which order examples are drawn."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def spread_order(
    names: Sequence[str], groups: Int[np.ndarray, " example"], *, seed: int
) -> Int[np.ndarray, " example"]:
    """A random order of the examples in which every beginning holds its share of every group.

    Each group's examples stand at random in it, at equal distances from each other: a systematic sample within strata
    of proportional size (Cochran 1977, chapters 5 and 8). Where heads act on one template and not on another, even
    the first few examples then hold both. With groups of one example each this is a plain random order.

    Args:
        names: what tells one example from another, such as its tokens in text; the order depends on the names, the
            groups and the seed, not on the order in which the examples are given.
        groups: examples of equal number belong together.
        seed: another seed, another order.

    Returns:
        The examples' indices, in the order in which they are drawn.

    Example:
        >>> order = spread_order(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), seed=0)
        >>> sorted(order.tolist()), len({int(index) // 2 for index in order[:2]})
        ([0, 1, 2, 3], 2)
    """
    chance = np.array([_uniform(f"{seed} {name}") for name in names])
    place = np.empty(len(names))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        members = members[np.argsort(chance[members], kind="stable")]
        offset = _uniform(f"{seed} group of {names[members[0]]}")
        place[members] = (np.arange(len(members)) + offset) / len(members)
    return np.argsort(place, kind="stable")


def _uniform(text: str) -> float:
    """A number between 0 and 1 that looks random and is always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
