"""Labels as classes: which are fit for cross-validation, which are dropped, and how many examples that costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from headscope.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """The classes of a set of labels.

    Attributes:
        names: of the classes, sorted.
        codes: of each example, the index of its class; -1 without a label, or with one that was dropped.
        dropped: class -> (its examples, its groups), for classes that too few groups have.
        unlabelled: how many examples have no label.
    """

    names: tuple[str, ...]
    codes: Int[Tensor, " example"]
    dropped: Mapping[str, tuple[int, int]]
    unlabelled: int


def encode(labels: Sequence[str], groups: Int[Tensor, " example"], *, least: int) -> Classes:
    """Number the classes and drop those that fewer than `least` groups have.

    Args:
        labels: of every example; empty where an example has none.
        groups: of every example (its sentence).
        least: groups that a class must be in: with as many as there are folds, a class can be in all of them.

    Returns:
        The classes; dropped ones are named and counted.

    Raises:
        UsageError: if labels and groups differ in number, or fewer than two classes are left.

    Example:
        >>> found = encode(["a", "b", "a", "b", "c", ""], torch.tensor([0, 0, 1, 1, 1, 1]), least=2)
        >>> found.names, found.codes.tolist(), dict(found.dropped), found.unlabelled
        (('a', 'b'), [0, 1, 0, 1, -1, -1], {'c': (1, 1)}, 1)
    """
    if len(labels) != len(groups):
        raise UsageError(
            f"{len(labels)} labels for {len(groups)} examples", "one label for each example",
            "leave no example out: an empty label says that it has none",
        )  # fmt: skip
    counts = Counter(labels)
    found = Counter(label for label, _ in set(zip(labels, groups.tolist(), strict=True)))
    unlabelled = counts[""]
    names = tuple(sorted(name for name, where in found.items() if name and where >= least))
    dropped = {name: (counts[name], found[name]) for name in sorted(found) if name and name not in names}
    if len(names) < 2:
        lost = ", ".join(f"{name!r} in {where}" for name, (_, where) in dropped.items()) or "none"
        raise UsageError(
            f"{len(names)} class with examples in {least} or more groups (fewer: {lost})",
            "2 or more classes to tell apart",
            "bring more sentences, ask for fewer folds, or join rare classes",
        )
    index = {name: code for code, name in enumerate(names)}
    codes = torch.tensor([index.get(label, -1) for label in labels], dtype=torch.long)
    return Classes(names=names, codes=codes, dropped=dropped, unlabelled=unlabelled)
