"""Sums and products of features, fold by fold, from one walk over batches: all that a ridge fit needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.methods.probing.batches import Features, by_fold, walk


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Sums over the examples of every fold; those of a training part are sums of folds.

    Products of a batch are made in the precision of the features and added up in double precision.

    Attributes:
        counts: examples of each class.
        sums: of the features of each class's examples, less the origin.
        products: of the features with each other, less the origin.
        origin: the first example's features, which keeps large means from eating the digits.
    """

    counts: Float[Tensor, "fold class"]
    sums: Float[Tensor, "fold site feature class"]
    products: Float[Tensor, "fold site feature feature"]
    origin: Float[Tensor, "site feature"]


def gather(features: Features, codes: Int[Tensor, " example"], fold: Int[Tensor, " example"]) -> Moments:
    """Sum features and their products, fold by fold.

    Args:
        features: all at once, or in batches.
        codes: the class of each example.
        fold: of each example; -1 for one to leave out.

    Returns:
        The sums. Memory: 8 bytes x folds x sites x features squared, whatever the number of examples.

    Raises:
        UsageError: for features that cannot be used (`batches.walk`).

    Example:
        >>> found = gather(torch.ones(2, 1, 3), torch.tensor([0, 1]), torch.tensor([0, 1]))
        >>> found.products.shape, found.counts.tolist()
        (torch.Size([2, 1, 3, 3]), [[1.0, 0.0], [0.0, 1.0]])
    """
    k, classes = int(fold.max()) + 1, int(codes.max()) + 1
    origin = sums = products = None
    counts = torch.zeros(k, classes, dtype=torch.double)
    for rows, part in walk(features, len(codes)):
        if origin is None or sums is None or products is None:
            origin = part[0]
            sums = torch.zeros(k, *origin.shape, classes, dtype=torch.double)
            products = torch.zeros(k, *origin.shape, origin.shape[1], dtype=torch.double)
        for number, chosen, here in by_fold(part, fold[rows], origin):
            targets = torch.nn.functional.one_hot(codes[rows][chosen], classes).to(part.dtype)
            counts[number] += targets.sum(0)
            sums[number] += here.transpose(1, 2) @ targets
            products[number] += here.transpose(1, 2) @ here
    if origin is None or sums is None or products is None:
        raise UsageError("no features", "at least one batch of them", "give features for every label")
    return Moments(counts=counts, sums=sums, products=products, origin=origin.double())
