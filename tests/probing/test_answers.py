"""The row `probing` of METHODS: held-out R² of the answer, the contract, and what it cannot say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from headscope.contract import table
from headscope.grid import Grid
from headscope.methods import DEFAULT, METHODS
from headscope.methods.probing.answers import FOLDS, _canonical, _explained, probing
from headscope.methods.probing.ridge import PENALTIES
from headscope.models import Model, load
from headscope.prompts import ABSENT, Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, check_method, planted_model


@pytest.fixture(scope="module")
def planted() -> tuple[Model, Pairs]:
    plant = Plant(induction=((0, 0), (1, 1)))
    model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
    pairs = TASKS["induction"].build(model, n=48, rng=np.random.default_rng(0))
    return model, replace(pairs, answers=pairs.answers % 4)


def test_it_keeps_the_contract_and_is_not_run_unless_asked_for(planted: tuple[Model, Pairs]) -> None:
    model, pairs = planted
    assert "probing" in METHODS
    assert "probing" not in DEFAULT
    assert METHODS["probing"].across
    check_method(METHODS["probing"], model, pairs)


def test_the_head_that_fetches_the_answer_is_the_only_one_that_holds_it(planted: tuple[Model, Pairs]) -> None:
    model, pairs = planted
    values = METHODS["probing"].function(model, pairs)
    frame: Any = table(values, pairs, METHODS["probing"], grid=model.grid, seed=0).set_index(["layer", "head"])
    assert frame["rank"].idxmin() == (1, 1)
    assert frame.loc[(1, 1), "low"] > 0.3
    assert (frame.drop((1, 1))["high"] < 0.2).all()
    assert frame["unit"].tolist() == ["share of variance"] * 4


def oracle(z: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The squared error that scikit-learn's ridge saves, its penalty chosen over the other folds."""

    def saved(train: np.ndarray, test: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        scaler = StandardScaler().fit(z[train])
        guess = Ridge(alpha=penalty).fit(scaler.transform(z[train]), truth[train]).predict(scaler.transform(z[test]))
        base = np.square(truth[test] - truth[train].mean(0)).sum(1)
        return base - np.square(truth[test] - guess).sum(1), base

    gains, bases = np.zeros(len(z)), np.zeros(len(z))
    for out in range(FOLDS):
        train = fold != out
        inner = [inside for inside in range(FOLDS) if inside != out]
        sums = [
            sum(saved(train & (fold != each), fold == each, penalty)[0].sum() for each in inner)
            for penalty in PENALTIES
        ]
        gains[~train], bases[~train] = saved(train, ~train, PENALTIES[int(np.argmax(sums))])
    return gains / bases.mean()


def test_equal_to_scikit_learn_on_the_same_folds() -> None:
    rng = torch.Generator().manual_seed(0)
    codes, fold = torch.arange(90) % 3, torch.arange(90) // 4 % FOLDS
    z = torch.randn(90, 2, 5, generator=rng, dtype=torch.double)
    z[:, 1] += torch.randn(3, 5, generator=rng, dtype=torch.double)[codes]
    found = _explained(z, codes, fold).numpy()
    expected = np.stack([oracle(z[:, site].numpy(), np.eye(3)[codes], fold.numpy()) for site in range(2)], 1)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.mean(0)[1] > 0.2 > found.mean(0)[0]


def test_numbers_of_groups_do_not_matter_and_equal_groups_stay_on_one_side(planted: tuple[Model, Pairs]) -> None:
    model, pairs = planted
    plain = probing(model, pairs)["readable"]
    other = probing(model, replace(pairs, groups=1000 - 3 * pairs.groups))["readable"]
    torch.testing.assert_close(other, plain)
    # Told of every prompt twice, under groups of other numbers: a probe that saw the twin would know them by heart.
    both = pairs.select(torch.arange(len(pairs)).repeat(2))
    both = replace(both, groups=torch.cat([pairs.groups, pairs.groups + 10_000]))
    twice = probing(model, both)["readable"]
    torch.testing.assert_close(twice[: len(pairs)], twice[len(pairs) :])
    order, groups = _canonical(both)
    assert len(groups.unique()) == len(pairs.groups.unique())
    assert sorted(order.tolist()) == list(range(len(both)))


def test_answers_without_a_reason_are_not_readable(planted: tuple[Model, Pairs]) -> None:
    model, pairs = planted
    rng = torch.Generator().manual_seed(0)
    lost = replace(pairs, answers=torch.randint(4, pairs.answers.shape, generator=rng))
    assert (probing(model, lost)["readable"].mean(0) < 0.05).all()


def test_what_cannot_be_said_is_nan(planted: tuple[Model, Pairs]) -> None:
    model, pairs = planted
    rare = pairs.answers.clone()
    rare[:2] = 9
    values = probing(model, replace(pairs, answers=rare))["readable"]
    assert values[:2].isnan().all()
    assert values[2:].isfinite().all()
    away = pairs.end.clone()
    away[3] = ABSENT
    values = probing(model, replace(pairs, positions={**pairs.positions, "end": away}))["readable"]
    assert values.isnan().any(-1).any(-1).nonzero().flatten().tolist() == [3]
    for nothing in (replace(pairs, answers=rare * 0), replace(pairs, metric="embedding_contrast")):
        values = METHODS["probing"].function(model, nothing)
        assert values["readable"].isnan().all()
    frame = table(values, pairs, METHODS["probing"], grid=model.grid, seed=0)
    assert set(frame["reason"]) == {"its answer is in fewer than 3 groups, or no two answers are left"}
