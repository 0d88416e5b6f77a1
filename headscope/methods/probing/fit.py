"""Cross-validated linear probes of one set of labels on every site."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.methods.probing.batches import Features, by_fold, walk, whole
from headscope.methods.probing.classes import Classes, encode
from headscope.methods.probing.folds import check_folds, folds
from headscope.methods.probing.logistic import fit_logistic
from headscope.methods.probing.moments import gather
from headscope.methods.probing.records import Linear
from headscope.methods.probing.ridge import PENALTIES, fit_ridge

Kind: TypeAlias = Literal["ridge", "logistic"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """What probes of one set of labels found, example by example.

    Attributes:
        kind: of probe.
        classes: names of the classes, in the order of `weights`.
        codes: the class of each example; -1 for one without a label, or of a dropped class.
        dropped: class -> (examples, groups), for classes in fewer groups than there are folds.
        unlabelled: how many examples have no label.
        groups: of the examples.
        fold: that each example is tested in; -1 for one that is left out.
        predictions: the class that is predicted for each example by the fit that did not see its group; -1 if left out.
        correct: 1 or 0 where the prediction is the label or not; NaN if left out.
        probes: the fits: first on all examples (whose weights are the directions to remove), then without each fold.
    """

    kind: Kind
    classes: tuple[str, ...]
    codes: Int[Tensor, " example"]
    dropped: Mapping[str, tuple[int, int]]
    unlabelled: int
    groups: Int[Tensor, " example"]
    fold: Int[Tensor, " example"]
    predictions: Int[Tensor, "example site"]
    correct: Float[Tensor, "example site"]
    probes: Linear

    @property
    def weights(self) -> Float[Tensor, "site feature class"]:
        """Of the fit on all examples, in the features' own units."""
        return self.probes.weights[:, 0]

    @property
    def bias(self) -> Float[Tensor, "site class"]:
        """Of the fit on all examples."""
        return self.probes.bias[:, 0]


def cross_validate(  # noqa: PLR0913 - every option is one that users set
    features: Features,
    labels: Sequence[str],
    groups: Int[Tensor, " example"],
    *,
    kind: Kind = "ridge",
    folds: int | Int[Tensor, " example"] = 5,
    seed: int,
    penalties: tuple[float, ...] | None = None,
) -> Fitted:
    """Fit a linear probe on every site, testing each example with a fit that did not see its group.

    Args:
        features: `[example, site, feature]`, or a list (or anything that can be walked over twice) of batches of it.
            Ridge holds one batch at a time; logistic regression holds them all.
        labels: of every example; empty where it has none.
        groups: of every example (its sentence): never split over folds.
        kind: `ridge` (closed form, penalty chosen inside the training part) or `logistic`.
        folds: how many, or the fold of every example.
        seed: of the folds.
        penalties: of the squared weights on features standardised on the training part. For ridge, to choose from;
            `logistic` takes one, 1 by default (scikit-learn's C = 1).

    Returns:
        Predictions, what of them is correct, and the fits. A class in fewer groups than folds is dropped, named and
        counted.

    Raises:
        UsageError: for fewer than two classes or groups than folds, folds that split a group, values that are not
            finite, or numbers of examples that differ.

    Example:
        >>> x = torch.linspace(-1, 1, 40)[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
        >>> labels = ["low" if value < 0 else "high" for value in x.tolist()]
        >>> found = cross_validate(x[:, None, None], labels, torch.arange(40) // 2, seed=0)
        >>> found.classes, bool(found.correct.mean() > 0.9), found.weights.shape
        (('high', 'low'), True, torch.Size([1, 1, 2]))
    """
    grid = _penalties(kind, penalties)
    count = folds if isinstance(folds, int) else int(folds.max()) + 1
    if kind == "ridge" and len(grid) > 1 and count < 3:
        raise UsageError(
            f"{count} folds and {len(grid)} penalties", "3 or more folds to choose a penalty inside a training part",
            "ask for 3 folds, or give one penalty",
        )  # fmt: skip
    classes = encode(labels, groups, least=count)
    fold = _fold(classes, groups, folds, seed)
    if kind == "ridge":
        probes = fit_ridge(gather(features, classes.codes, fold), penalties=grid)
    else:
        used = fold >= 0
        # "Without fold -1", which no example is in, is with all of them.
        train = torch.stack([fold[used] != out for out in range(-1, count)])
        held = features = whole(features, len(labels))
        probes = fit_logistic(held[used], classes.codes[used], train, penalty=min(grid))
    predictions = predict(probes, features, fold)
    correct = right(predictions, classes.codes, fold)
    return Fitted(
        kind=kind, classes=classes.names, codes=classes.codes, dropped=classes.dropped, unlabelled=classes.unlabelled,
        groups=groups, fold=fold, predictions=predictions, correct=correct, probes=probes,
    )  # fmt: skip


def right(
    predictions: Int[Tensor, "example site"], codes: Int[Tensor, " example"], fold: Int[Tensor, " example"]
) -> Float[Tensor, "example site"]:
    """1 or 0 where the prediction is the label or not; NaN for examples that are left out.

    Args:
        predictions: of every site.
        codes: the class of each example.
        fold: that each is tested in; -1 if it is left out.

    Example:
        >>> right(torch.tensor([[1], [0], [-1]]), torch.tensor([1, 1, -1]), torch.tensor([0, 1, -1]))[:, 0].tolist()
        [1.0, 0.0, nan]
    """
    same = torch.eq(predictions, codes[:, None]).double()
    return torch.where(fold[:, None] >= 0, same, torch.nan)


def predict(probes: Linear, features: Features, fold: Int[Tensor, " example"]) -> Int[Tensor, "example site"]:
    """The class of highest score of each example, by the fit that left its fold out; -1 where the fold is -1.

    Args:
        probes: fits, the first on all examples and one without each fold.
        features: all at once, or in batches.
        fold: of every example.
    """
    found: list[Tensor] = []
    weights = bias = origin = None
    for rows, part in walk(features, len(fold)):
        guesses = torch.full((len(part), part.shape[1]), -1, dtype=torch.long)
        if origin is None or weights is None or bias is None:
            origin, weights = part[0], probes.weights.to(part.dtype)
            bias = (probes.bias + torch.einsum("sd,sfdc->sfc", origin.double(), probes.weights)).to(part.dtype)
        for number, chosen, here in by_fold(part, fold[rows], origin):
            scores = torch.baddbmm(bias[:, number + 1, None], here, weights[:, number + 1])
            guesses[chosen] = scores.argmax(-1).T
        found.append(guesses)
    return torch.cat(found)


def _penalties(kind: Kind, penalties: tuple[float, ...] | None) -> tuple[float, ...]:
    grid = penalties if penalties is not None else (PENALTIES if kind == "ridge" else (1.0,))
    if not grid or any(penalty <= 0 for penalty in grid) or (kind == "logistic" and len(grid) > 1):
        raise UsageError(
            f"penalties {grid} for {kind}",
            "one number above 0" if kind == "logistic" else "one or more numbers above 0",
            "leave penalties out for the usual ones",
        )
    return grid


def _fold(
    classes: Classes, groups: Int[Tensor, " example"], given: int | Int[Tensor, " example"], seed: int
) -> Int[Tensor, " example"]:
    if isinstance(given, int):
        return folds(groups, classes.codes, k=given, seed=seed)
    fold = torch.where(classes.codes >= 0, given, -1)
    check_folds(fold, groups, classes.codes)
    return fold
