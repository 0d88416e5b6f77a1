"""The race over a model's heads: the set and the values of the plain full sweep."""

import numpy as np
import pytest
import torch
from architectures import tiny
from fixtures_tasks import random_pairs
from scipy import stats

import headscope
from headscope import metrics, provenance
from headscope.errors import UsageError
from headscope.few import identify, race, spread_order
from headscope.methods.attribution import attribution
from headscope.methods.patching import patching
from headscope.models import Edit, Model, load
from headscope.prompts import Pairs
from headscope.tasks import TASKS


def best(effects: np.ndarray, k: int) -> set[int]:
    return set(np.argsort(-np.abs(effects.mean(0)))[:k].tolist())


def plain_effects(model: Model, pairs: Pairs, direction: str) -> np.ndarray:
    """The full sweep: one whole forward for each head, all examples in a batch."""
    twins = (pairs.corrupted, pairs.tokens)
    base, donor = twins if direction == "denoising" else twins[::-1]

    def measured(edits: tuple[Edit, ...] = ()) -> torch.Tensor:
        return metrics.evaluate(model.run_at(base, pairs.mask, pairs.end, edits=edits), pairs)

    z, found = model.outputs(donor, pairs.mask), []
    for layer, head in model.grid:
        chosen = (torch.arange(model.grid.heads) == head).expand(len(pairs), -1)
        found.append(measured((Edit(layer=layer, heads=chosen, values=z[layer]),)) - measured())
    effects = torch.stack(found, dim=1).numpy()
    return effects if direction == "denoising" else -effects


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"])
def test_a_race_on_a_model_finds_the_sweeps_heads_with_its_values(architecture, direction):
    model, pairs = load(tiny(architecture), device="cpu"), random_pairs(n=30)
    effects = plain_effects(model, pairs, direction)
    top = race(model, pairs, k=3, direction=direction)
    assert set(top.chosen) == best(effects, 3)
    seen = ~np.isnan(top.exact)
    np.testing.assert_allclose(top.exact[seen], effects[seen], atol=1e-5 * np.abs(effects).max())
    assert seen.sum() == top.spent < top.full
    assert top.names == tuple(model.grid.label(*divmod(head, model.grid.heads)) for head in top.chosen)
    assert top.describe().startswith(f"top 3: {', '.join(top.names)} (")


def test_agreement_is_attributions_on_the_cells_that_were_evaluated(gpt2_model):
    pairs = random_pairs(n=30)
    top = race(gpt2_model, pairs, k=3, direction="noising")
    guess = attribution(gpt2_model, pairs, scores=["noising"])["noising"].flatten(1).numpy()
    true, rough = np.nanmean(top.exact, axis=0), np.nanmean(np.where(np.isnan(top.exact), np.nan, guess), axis=0)
    assert np.isnan(top.exact).any()
    assert top.agreement is not None
    assert top.agreement.spearman_size == pytest.approx(stats.spearmanr(np.abs(true), np.abs(rough)).statistic)
    worst = int(np.abs(true - rough).argmax())
    assert top.agreement.worst == top.labels[worst]
    assert (top.agreement.approximate, top.agreement.exact) == pytest.approx((rough[worst], true[worst]))
    assert (top.agreement.heads, top.agreement.top) == (12, 3)
    assert "attribution: rank correlation" in top.describe()


def test_a_race_does_not_depend_on_the_order_of_the_examples(gpt2_model):
    pairs = random_pairs(n=30)
    shuffle = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    one, other = race(gpt2_model, pairs, k=3), race(gpt2_model, pairs.select(shuffle), k=3)
    assert one.names == other.names
    np.testing.assert_allclose(one.exact[shuffle.numpy()], other.exact, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(np.isnan(one.exact), np.isnan(race(gpt2_model, pairs, k=3, seed=1).exact))
    assert race(gpt2_model, pairs, k=3, first=20).n.min() == 20


def test_without_a_gradient_the_race_runs_on_and_says_so(gpt2_model, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("a gradient through model 'x'", "a model that can be cut open", "use patching")

    pairs = random_pairs(n=30)
    monkeypatch.setattr("headscope.few.heads.attribution", refuse)
    top = race(gpt2_model, pairs, k=3)
    assert set(top.chosen) == best(plain_effects(gpt2_model, pairs, "denoising"), 3)
    assert top.agreement is None
    assert top.describe().endswith("; no guess: a gradient through model 'x'")


def test_a_race_refuses_what_it_cannot_do(gpt2_model):
    pairs = random_pairs(n=6)
    with pytest.raises(UsageError, match="direction 'denoisig'"):
        race(gpt2_model, pairs, direction="denoisig")
    with pytest.raises(UsageError, match="k 12 of 12 arms"):
        race(gpt2_model, pairs, k=12)
    with pytest.raises(UsageError, match="first 1\n"):
        race(gpt2_model, pairs, first=1)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("task", ["induction", "ioi", "agreement"])
def test_on_the_bundled_model_the_top_5_is_the_sweeps_in_95_of_100_seeds_at_a_third_of_the_price(task, direction):
    model = headscope.load("mini", device="cpu")
    pairs = TASKS[task].build(model, n=100, rng=np.random.default_rng(provenance.seed_for(0, task)))
    exact = patching(model, pairs)[direction].flatten(1).numpy()
    guess = attribution(model, pairs, scores=[direction])[direction].flatten(1).numpy()
    names, groups = [str(row) for row in pairs.tokens.tolist()], pairs.groups.numpy()
    labels = [model.grid.label(*place) for place in model.grid]

    def evaluate(heads: np.ndarray, examples: np.ndarray) -> np.ndarray:
        return exact[np.ix_(examples, heads)]

    orders = [spread_order(names, groups, seed=seed) for seed in range(100)]
    tops = [identify(evaluate, order=order, labels=labels, guess=guess) for order in orders]
    assert sum(set(top.chosen) == best(exact, 5) for top in tops) >= 95
    assert 100 * exact.size / sum(top.spent for top in tops) >= 3
