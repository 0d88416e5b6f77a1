"""Ridge probes against scikit-learn, one site at a time."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from headscope.errors import UsageError
from headscope.methods.probing import cross_validate, folds, majority, score
from headscope.methods.probing.moments import gather
from headscope.methods.probing.ridge import fit_ridge

EXAMPLES, SITES, WIDTH, CLASSES = 400, 4, 6, 4


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of which site 0 knows the class well, site 1 a little, and the others nothing; of several scales."""
    rng = torch.Generator().manual_seed(seed)
    codes = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), EXAMPLES, replacement=True, generator=rng)
    features = torch.randn(EXAMPLES, SITES, WIDTH, generator=rng)
    means = torch.randn(CLASSES, WIDTH, generator=rng)
    features[:, 0] += 1.5 * means[codes]
    features[:, 1] += 0.3 * means[codes]
    features = features * torch.logspace(-2, 2, WIDTH) + torch.tensor([0.0, 5.0, -300.0, 0.0, 1.0, 0.0])
    return features, codes, torch.arange(EXAMPLES) // 8


def named(codes: torch.Tensor) -> list[str]:
    return [f"c{code}" for code in codes.tolist()]


@pytest.mark.parametrize("penalty", [0.1, 30.0, 3000.0])
def test_equal_to_scikit_learn_site_by_site_and_fold_by_fold(penalty: float) -> None:
    features, codes, groups = scene()
    fold = folds(groups, codes, k=3, seed=0)
    found = fit_ridge(gather(features, codes, fold), penalties=(penalty,))
    targets = torch.nn.functional.one_hot(codes).double().numpy()
    for site in range(SITES):
        for out in range(-1, 3):
            train = (fold != out).numpy()
            scaler = StandardScaler().fit(features[train, site].double())
            inputs = scaler.transform(features[:, site].double())
            plain = Ridge(alpha=penalty).fit(inputs[train], targets[train])
            ours = features[:, site].double() @ found.weights[site, out + 1] + found.bias[site, out + 1]
            assert np.abs(ours.numpy() - plain.predict(inputs)).max() <= 1e-5
            classifier = RidgeClassifier(alpha=penalty).fit(inputs[train], codes[train])
            assert np.abs(2 * ours.numpy() - 1 - classifier.decision_function(inputs)).max() <= 1e-5


def test_the_penalty_is_the_best_of_an_inner_cross_validation() -> None:
    features, codes, groups = scene(1)
    fold = folds(groups, codes, k=4, seed=0)
    grid = (0.01, 1.0, 100.0, 10000.0)
    found = fit_ridge(gather(features, codes, fold), penalties=grid)
    targets = torch.nn.functional.one_hot(codes).double().numpy()
    for site in range(SITES):
        for out in range(-1, 4):
            errors = np.zeros(len(grid))
            for inner in set(range(4)) - {out}:
                train, test = ((fold != out) & (fold != inner)).numpy(), (fold == inner).numpy()
                scaler = StandardScaler().fit(features[train, site].double())
                left, right = (scaler.transform(features[rows, site].double()) for rows in (train, test))
                for place, penalty in enumerate(grid):
                    guess = Ridge(alpha=penalty).fit(left, targets[train]).predict(right)
                    errors[place] += ((guess - targets[test]) ** 2).sum()
            assert found.penalty[site, out + 1] == grid[errors.argmin()]
    assert len(found.penalty.unique()) > 1


def test_the_test_fold_has_no_say_in_its_fit() -> None:
    features, codes, groups = scene(2)
    fold = folds(groups, codes, k=4, seed=0)
    other = features.clone()
    other[fold == 2] = torch.randn_like(other[fold == 2])
    one, two = (fit_ridge(gather(part, codes, fold)) for part in (features, other))
    assert (one.weights[:, 3] - two.weights[:, 3]).abs().max() <= 1e-9
    assert one.penalty[:, 3].equal(two.penalty[:, 3])
    assert (one.weights[:, 1] - two.weights[:, 1]).abs().max() > 1e-3


@settings(derandomize=True, max_examples=6, deadline=None)
@given(st.integers(0, 1000))
def test_batches_and_orders_change_nothing(seed: int) -> None:
    features, codes, groups = scene(3)
    rng = torch.Generator().manual_seed(seed)
    rows, sites = torch.randperm(EXAMPLES, generator=rng), torch.randperm(SITES, generator=rng)
    plain = cross_validate(features, named(codes), groups, seed=0)
    size = int(torch.randint(1, 200, (1,), generator=rng))
    mixed = features[rows][:, sites]
    moved = cross_validate(list(mixed.split(size)), named(codes[rows]), groups[rows], seed=0)
    assert moved.predictions.equal(plain.predictions[rows][:, sites])
    # Products of a batch are made in the features' single precision.
    assert (moved.weights - plain.weights[sites]).abs().max() <= 1e-5 * plain.weights.abs().max()


def test_a_planted_signal_is_found_and_noise_is_not() -> None:
    features, codes, groups = scene(4)
    fitted = cross_validate(features, named(codes), groups, seed=0)
    frame = score(fitted, majority(fitted), seed=0)
    assert frame["decodable"].tolist() == [True, True, False, False]
    assert frame["accuracy"][0] > 0.85
    assert frame["baseline"].tolist() == pytest.approx([float((codes == codes.mode()[0]).double().mean())] * 4)
    assert ((frame["low"] < frame["accuracy"]) & (frame["accuracy"] < frame["high"])).all()
    assert frame["balanced"][2] == pytest.approx(0.25, abs=0.1)
    assert (frame["n"] == EXAMPLES).all()
    assert (frame["groups"] == EXAMPLES // 8).all()


def test_constant_features_get_no_weight() -> None:
    features, codes, groups = scene(5)
    features[:, 0, 2] = 7.7
    features[:, 3] = -1e6
    fold = folds(groups, codes, k=5, seed=0)
    inside = fold != 0
    features[inside, 1, 1] = 0.3  # constant where fold 0 is left out, and only there
    fitted = cross_validate(features, named(codes), groups, folds=fold, seed=0)
    assert (fitted.probes.weights[0, :, 2] == 0).all()
    assert (fitted.probes.weights[3] == 0).all()
    assert (fitted.probes.weights[1, 1, 1] == 0).all()
    assert (fitted.probes.weights[1, 0, 1] != 0).any()
    assert fitted.probes.constant.tolist() == [[1] * 6, [0, 1, 0, 0, 0, 0], [0] * 6, [WIDTH] * 6]
    assert fitted.correct[:, 3].equal(majority(fitted))


class Once:
    """Batches that are gone after one walk."""

    def __init__(self, features: torch.Tensor) -> None:
        self.parts = iter(features.split(100))

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.parts


def test_bad_features() -> None:
    features, codes, groups = scene(6)
    labels = named(codes)
    broken = features.clone()
    broken[123, 2, 1] = torch.nan
    broken[124, 2, 1] = torch.inf
    for kind in ("ridge", "logistic"):
        with pytest.raises(UsageError, match=r"value nan of example 123, site 2, feature 1 \(and 1 more in its batch"):
            cross_validate(broken.split(50), labels, groups, kind=kind, seed=0)
    with pytest.raises(UsageError, match=r"(?s)features of 399 examples for 400 labels.*one row"):
        cross_validate(features[1:], labels, groups, seed=0)
    with pytest.raises(UsageError, match=r"(?s)features of 0 examples for 400 labels.*iterated over twice"):
        cross_validate(Once(features), labels, groups, seed=0)
    with pytest.raises(UsageError, match=r"(?s)a batch of shape \[50, 3, 6\].*sites and features \[4, 6\]"):
        cross_validate([features[:50], features[:50, :3]], labels, groups, seed=0)
    with pytest.raises(UsageError, match=r"a batch of shape \[256, 4\]"):
        cross_validate(features[..., 0], labels, groups, seed=0)
    with pytest.raises(UsageError, match=r"(?s)penalties \(-1.0,\) for ridge.*above 0"):
        cross_validate(features, labels, groups, penalties=(-1.0,), seed=0)
    with pytest.raises(UsageError, match="2 folds and 6 penalties"):
        cross_validate(features, labels, groups, folds=2, seed=0)
    fitted = cross_validate(features, labels, groups, seed=0)
    with pytest.raises(UsageError, match=r"a baseline of shape \[3\]"):
        score(fitted, torch.zeros(3), seed=0)
