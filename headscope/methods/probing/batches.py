"""Features batch by batch: checked as they come, and never all at once unless they were given so."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError

Features: TypeAlias = Float[Tensor, "row site feature"] | Iterable[Tensor]
"""All at once, or something that can be walked over twice and gives the examples' features batch by batch."""


def walk(features: Features, examples: int, *, rows: int = 256) -> Iterator[tuple[slice, Tensor]]:
    """The batches in order, each with the examples that it holds.

    Args:
        features: `[example, site, feature]`, or batches of it.
        examples: how many there must be in all.
        rows: how many examples to take at once where they are given in one piece; few enough for a cache.

    Yields:
        Which examples, and their features.

    Raises:
        UsageError: for batches of another shape, for values that are not finite, and for the wrong number of examples.

    Example:
        >>> [rows.stop for rows, _ in walk([torch.zeros(2, 1, 3), torch.ones(1, 1, 3)], 3)]
        [2, 3]
    """
    parts = features.split(rows) if isinstance(features, Tensor) else features
    start, shape = 0, None
    for part in parts:
        if part.ndim != 3 or (shape is not None and part.shape[1:] != shape):
            raise UsageError(
                f"a batch of shape {list(part.shape)}",
                "[example, site, feature]" + (f", with sites and features {list(shape)}" if shape is not None else ""),
                "give all batches the same sites and features",
            )
        shape = part.shape[1:]
        # A sum is quick and not finite where one of its parts is not.
        if not part.sum().isfinite() and not (finite := part.isfinite()).all():
            example, site, feature = (~finite).nonzero()[0].tolist()
            raise UsageError(
                f"value {part[example, site, feature].item()} of example {start + example}, site {site}, feature "
                f"{feature} (and {int((~finite).sum()) - 1} more in its batch)",
                "finite features", "look for an overflow in the model, or leave such examples out",
            )  # fmt: skip
        yield slice(start, start + len(part)), part
        start += len(part)
    if start != examples:
        raise UsageError(
            f"features of {start} examples for {examples} labels", "one row of features for each label",
            "walk over the same examples; batches must be a list, or an object that can be iterated over twice",
        )  # fmt: skip


def by_fold(
    part: Float[Tensor, "row site feature"], fold: Int[Tensor, " row"], origin: Float[Tensor, "site feature"]
) -> Iterator[tuple[int, Int[Tensor, " chosen"], Float[Tensor, "site chosen feature"]]]:
    """The examples of each fold of a batch, less an origin, site by site.

    Args:
        part: a batch.
        fold: of its examples; -1 for one to leave out.
        origin: taken from every example.

    Yields:
        The fold, its examples' places in the batch, and their features. Cost: one copy of the batch for all folds.

    Example:
        >>> x = torch.tensor([[[1.0]], [[2.0]], [[3.0]]])
        >>> [(fold, rows.tolist(), here.tolist()) for fold, rows, here in by_fold(x, torch.tensor([1, -1, 1]), x[0])]
        [(1, [0, 2], [[[0.0], [2.0]]])]
    """
    order = fold.argsort(stable=True)
    near = part[order].transpose(0, 1).contiguous().sub_(origin[:, None])
    numbers, counts = fold.unique(return_counts=True)
    places = [*zip(order.split(counts.tolist()), near.split(counts.tolist(), 1), strict=True)]
    for number, (chosen, here) in zip(numbers.tolist(), places, strict=True):
        if number >= 0:
            yield number, chosen, here


def whole(features: Features, examples: int) -> Float[Tensor, "example site feature"]:
    """All features in one tensor, checked."""
    parts = [part for _, part in walk(features, examples)]
    return features if isinstance(features, Tensor) else torch.cat(parts)
