"""The race finds what the full sweep finds: error rates, exactness, spending, against independent oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.api import OLS, add_constant

from headscope.errors import UsageError
from headscope.few import Rules, Top, identify, spread_order
from headscope.few.estimates import fit, half_width, screen

CAREFUL = settings(derandomize=True, max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def population(seed, *, examples=60, arms=30, noise="normal"):
    """Effects as models have them: a few large arms, whose values also vary most, above many small ones."""
    rng = np.random.default_rng([seed, 5])
    mean = rng.exponential(1.0, arms) ** 2 * rng.choice([-1, 1], arms)
    draws = {
        "normal": lambda: rng.normal(size=(examples, arms)),
        "heavy": lambda: rng.standard_t(3, size=(examples, arms)) / np.sqrt(3),
        "skewed": lambda: (np.exp(rng.normal(size=(examples, arms))) - np.exp(0.5)) / 2.16,
    }
    return mean + (0.6 * np.abs(mean) + rng.exponential(0.2, arms)) * draws[noise]()


def guessed(kind, table, seed):
    rng = np.random.default_rng([seed, 6])
    spread = table.std(0)
    if kind == "good":
        return 0.9 * table + 0.15 * spread * rng.normal(size=table.shape)
    if kind == "noise":
        return spread * rng.normal(size=table.shape)
    if kind == "wrong sign":
        return -guessed("good", table, seed)
    if kind == "blind":  # good, but for the largest arms, where it sees next to nothing
        rough, largest = guessed("good", table, seed), np.argsort(-np.abs(table.mean(0)))[:6]
        rough[:, largest] = 0.01 * rng.normal(size=(len(table), 6))
        return rough
    return None


def run(table, *, seed=0, guess=None, order=None, **rules) -> Top:
    examples, arms = table.shape
    order = np.random.default_rng([seed, 7]).permutation(examples) if order is None else order
    labels = [str(arm) for arm in range(arms)]
    return identify(lambda a, e: table[np.ix_(e, a)], order=order, labels=labels, guess=guess, rules=Rules(**rules))


def best(table, k, by="magnitude"):
    means = table.mean(0)
    return set(np.argsort(-(np.abs(means) if by == "magnitude" else means))[:k].tolist())


# --- the error rate, and what a guess may and may not do


@pytest.mark.parametrize("noise", ["normal", "heavy", "skewed"])
@pytest.mark.parametrize("kind", ["none", "noise", "wrong sign", "blind"])
def test_the_set_is_right_as_often_as_claimed_whatever_the_guess(noise, kind):
    right, spent = [], []
    for seed in range(40):
        table = population(seed, noise=noise)
        top = run(table, seed=seed, guess=guessed(kind, table, seed))
        right.append(set(top.chosen) == best(table, 5))
        spent.append(top.spent / top.full)
    assert np.mean(right) >= 0.95
    assert np.mean(spent) < 0.4  # without giving up and sweeping everything


def test_taking_the_top_of_the_first_round_would_be_wrong_often():
    # The populations above are hard enough for the claim to mean something.
    right = []
    for seed in range(40):
        table = population(seed)
        first = np.random.default_rng([seed, 7]).permutation(60)[:5]
        right.append(best(table[first], 5) == best(table, 5))
    assert np.mean(right) < 0.5


def test_all_intervals_hold_together():
    held = []
    for seed in range(60):
        table = population(seed)
        top = run(table, seed=seed, guess=guessed("good", table, seed), confidence=0.8)
        means = table.mean(0)
        held.append(bool(((top.low <= means + 1e-12) & (means - 1e-12 <= top.high)).all()))
    assert np.mean(held) >= 0.8


def test_intervals_are_not_padded_without_limit():
    # One arm, one look and no pooling: the plain interval misses about as often as it says.
    rng, missed = np.random.default_rng(0), []
    for _ in range(2000):
        values = rng.normal(size=(40, 1))
        rough = screen(np.zeros((40, 1)), values[:8])
        found = fit(values[:8], rough, np.array([0]))
        missed.append(abs(found.estimate[0] - values.mean()) > half_width(found, float(found.variance[0]), 0.05)[0])
    assert 0.05 < np.mean(missed) < 0.12


def test_a_good_guess_saves_evaluations_and_a_bad_one_costs_few():
    spent = dict.fromkeys(("good", "none", "noise", "wrong sign"), 0)
    for seed in range(20):
        table = population(seed, examples=100)
        for kind in spent:
            spent[kind] += run(table, seed=seed, guess=guessed(kind, table, seed)).spent
    assert spent["good"] < 0.65 * spent["none"]
    assert spent["wrong sign"] < 0.65 * spent["none"]  # it is turned round
    assert spent["noise"] < 1.15 * spent["none"]


def test_a_guess_that_misses_the_best_arm_altogether_does_not_lose_it():
    table = population(3)
    table[:, 17] = 40 + table[:, 0]
    guess = table.copy()
    guess[:, 17] = 0
    assert run(table, guess=guess).chosen[0] == 17


def test_arms_that_look_constant_by_chance_are_not_believed():
    # Rounded values: the first five of an arm are often all alike, and Student's interval has no width.
    right = []
    for seed in range(40):
        rng = np.random.default_rng([seed, 8])
        table = np.round(rng.uniform(0, 2, 64) + 0.4 * rng.normal(size=(60, 64)))
        means, chosen = np.abs(table.mean(0)), list(run(table, seed=seed).chosen)
        right.append(means[chosen].min() >= np.delete(means, chosen).max())
    assert np.mean(right) >= 0.95


# --- exactness


def test_equal_arms_end_in_an_exact_sweep():
    table = 1 + 0.5 * np.random.default_rng(0).normal(size=(30, 12))
    top = run(table, k=3)
    assert set(top.chosen) == best(table, 3)
    contested = list(top.exhausted)
    assert len(contested) >= 2
    np.testing.assert_allclose(top.estimate[contested], table.mean(0)[contested], rtol=1e-12)
    assert (top.low[contested] == top.high[contested]).all()


def test_identical_arms_do_not_loop_and_go_by_place():
    table = np.repeat(np.random.default_rng(1).normal(2.0, 1.0, size=(20, 1)), 4, axis=1)
    top = run(table, k=2)
    assert top.chosen == (0, 1)
    assert top.confidence == 1.0
    assert top.spent == top.full == 80


def test_values_without_any_spread_are_not_trusted_before_all_are_seen():
    table = np.zeros((20, 6))
    table[19, 3] = 5.0
    top = run(table, order=np.arange(20), k=1)
    assert top.chosen == (3,)
    assert top.confidence == 1.0


@pytest.mark.parametrize("examples", [1, 2, 4])
def test_fewer_examples_than_a_first_round_are_swept(examples):
    table = population(2, examples=examples, arms=9)
    top = run(table, k=2, guess=guessed("noise", table, 2))
    assert (set(top.chosen), top.confidence, len(top.rounds)) == (best(table, 2), 1.0, 1)


@CAREFUL
@given(seed=SEEDS, kind=st.sampled_from(["none", "good", "noise", "wrong sign"]))
def test_with_all_examples_drawn_the_estimate_is_the_exact_mean_whatever_the_guess(seed, kind):
    table = population(seed, examples=12, arms=5)
    guess = guessed(kind, table, seed)
    found = fit(table, screen(np.zeros_like(table) if guess is None else guess, table[:5]), np.arange(5))
    np.testing.assert_allclose(found.estimate, table.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.stretch, 0, atol=1e-12)


# --- estimates against independent implementations


def test_without_a_guess_the_interval_is_students_with_the_correction_for_a_finite_population():
    values = np.random.default_rng(3).normal(1.0, 2.0, size=(7, 4))
    found = fit(values, screen(np.zeros((20, 4)), values), np.arange(4))
    scale = stats.sem(values, axis=0) * np.sqrt(1 - 7 / 20)
    low, _ = stats.t.interval(0.9, 6, loc=values.mean(0), scale=scale)
    np.testing.assert_allclose(found.estimate - half_width(found, 0.0, 0.05), low, rtol=1e-9)


def test_moderation_widens_only_what_looks_too_quiet():
    values = np.array([[1.0, 0.0], [1.0, 9.0], [1.0, -9.0], [1.1, 4.0]])
    found = fit(values, screen(np.zeros((20, 2)), values), np.array([0, 1]))
    own, wide = half_width(found, 0.0, 0.01), half_width(found, 10.0, 0.01)
    assert wide[0] > 5 * own[0]
    assert wide[1] == own[1]


def test_with_its_own_slope_alone_the_estimate_is_a_regressions(monkeypatch):
    monkeypatch.setattr("headscope.few.estimates.OWN", 0)
    rng = np.random.default_rng(4)
    guess = rng.normal(size=(10_000, 1))
    exact = 0.7 * guess[:9] + 0.3 * rng.normal(size=(9, 1))
    found = fit(exact, screen(guess, exact), np.array([0]))
    model = OLS(exact[:, 0], add_constant(guess[:9, 0])).fit()
    at = model.get_prediction([[1.0, guess.mean()]])
    assert found.estimate[0] == pytest.approx(at.predicted_mean[0], rel=1e-9)
    assert found.variance[0] == pytest.approx(model.mse_resid, rel=1e-9)
    assert found.freedom[0] == model.df_resid
    # A population of ten thousand is all but infinite.
    assert np.sqrt(found.variance * found.stretch)[0] == pytest.approx(at.se_mean[0], rel=1e-3)


def test_the_slope_is_pulled_to_the_one_that_the_arms_share():
    rng = np.random.default_rng(5)
    guess = rng.normal(size=(200, 40))
    exact = -2.0 * guess[:6] + 0.2 * rng.normal(size=(6, 40))
    exact[:, 0] += 50 * rng.normal(size=6)  # one arm goes wild; the median does not follow it
    rough = screen(guess, exact)
    assert rough.slope == pytest.approx(-2.0, abs=0.1)
    alone = fit(exact[:2, 1:2], rough, np.array([1]))
    drawn = guess[:2, 1]
    assert alone.estimate[0] == pytest.approx(exact[:2, 1].mean() - 2.0 * (guess[:, 1].mean() - drawn.mean()), abs=0.2)


def test_the_risk_is_spent_once():
    for examples in (7, 40, 100, 1000):
        rules = Rules(confidence=0.9)
        risks = rules.risks(examples, arms=96)
        assert 2 * 96 * risks.sum() == pytest.approx(0.1)
        assert risks[-1] == 0
        assert len(risks) == len(rules.levels(examples))


# --- spending


def test_no_cell_is_paid_for_twice_and_all_are_counted():
    table = population(4, examples=80)
    paid = np.zeros(table.shape, dtype=int)

    def evaluate(arms, examples):
        paid[np.ix_(examples, arms)] += 1
        return table[np.ix_(examples, arms)]

    order = np.random.default_rng(0).permutation(80)
    top = identify(evaluate, order=order, labels=[str(arm) for arm in range(30)], guess=guessed("good", table, 4))
    assert paid.max() == 1
    assert top.spent == paid.sum() == top.rounds["cells"].sum() == top.rounds["spent"].iloc[-1]
    np.testing.assert_array_equal(paid.sum(0), top.n)
    np.testing.assert_array_equal(np.where(paid > 0, table, np.nan), top.exact)
    assert top.n.min() == 5  # every arm, whatever its guess
    assert (top.rounds[["inside", "open", "outside"]].sum(axis=1) == 30).all()
    assert top.rounds["open"].iloc[-1] == 0


def test_an_easy_race_ends_after_the_first_round():
    table = np.random.default_rng(0).normal([9.0, 8.0, *[0.1] * 30], 0.05, size=(100, 32))
    top = run(table, k=2)
    assert (top.chosen, top.spent, top.saving) == ((0, 1), 160, 20.0)


def test_value_seeks_the_highest_and_magnitude_the_largest():
    table = np.random.default_rng(0).normal([3.0, -5.0, 2.0, 0.0, 0.1], 0.1, size=(50, 5))
    assert run(table, k=2).chosen == (1, 0)
    assert run(table, k=2, by="value").chosen == (0, 2)


# --- the order of things


@CAREFUL
@given(seed=SEEDS)
def test_the_order_of_examples_and_arms_changes_nothing_but_their_numbers(seed):
    rng = np.random.default_rng(seed)
    table = population(seed)
    guess, order = guessed("good", table, seed), rng.permutation(60)
    top = run(table, guess=guess, order=order)
    rows, columns = rng.permutation(60), rng.permutation(30)
    shuffled = run(table[np.ix_(rows, columns)], guess=guess[np.ix_(rows, columns)], order=np.argsort(rows)[order])
    assert [int(columns[arm]) for arm in shuffled.chosen] == list(top.chosen)
    assert shuffled.spent == top.spent
    np.testing.assert_allclose(shuffled.estimate, top.estimate[columns], rtol=1e-9, atol=1e-12)


def test_every_beginning_holds_its_share_of_each_group():
    groups = np.repeat([0, 1, 2], [30, 20, 10])
    order = spread_order([str(i) for i in range(60)], groups, seed=3)
    for drawn in range(1, 61):
        counts = np.bincount(groups[order[:drawn]], minlength=3)
        assert (np.abs(counts - drawn * np.array([30, 20, 10]) / 60) < 2).all()


def test_the_order_goes_with_the_names_and_the_seed():
    names, groups = [f"prompt {i}" for i in range(25)], np.arange(25) % 4
    order = spread_order(names, groups, seed=1)
    shuffle = np.random.default_rng(0).permutation(25)
    again = spread_order([names[i] for i in shuffle], groups[shuffle], seed=1)
    assert [names[i] for i in order] == [names[shuffle[i]] for i in again]
    assert not np.array_equal(order, spread_order(names, groups, seed=2))


def test_every_example_is_as_likely_to_be_drawn_first():
    # Groups of 1 to 6 examples; over many seeds each of the 21 is among the first 7 a third of the time.
    groups = np.repeat(np.arange(6), np.arange(1, 7))
    names = [str(i) for i in range(21)]
    early = np.zeros(21)
    for seed in range(1500):
        early[spread_order(names, groups, seed=seed)[:7]] += 1
    assert np.abs(early / 1500 - 1 / 3).max() < 0.06


# --- refusals


def test_rules_say_all_that_is_wrong_at_once():
    with pytest.raises(UsageError) as refusal:
        Rules(k=0, confidence=1.0, first=1)
    assert str(refusal.value) == (
        "k 0; confidence 1.0; first 1\n"
        "  expected: k from 1; confidence between 0 and 1; first from 2; growth above 1\n"
        "  to fix it: ask for at least one; write 0.95 for 95 %; a spread needs 2 examples or more"
    )


def test_k_must_leave_something_out():
    with pytest.raises(UsageError, match=r"k 30 of 30 arms\n  expected: 1 to 29\n  to fix it: ask for fewer, or sweep"):
        run(population(0), k=30)


@pytest.mark.parametrize("order", [[0, 1, 1], [1, 2, 3], []])
def test_an_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(UsageError, match="that is no permutation\n  expected: every example once, counted from 0"):
        run(population(0, examples=3), order=np.array(order, dtype=int))


def test_a_guess_that_does_not_fit_is_refused():
    table = population(0)
    holed = table.copy()
    holed[3, 4] = np.nan
    with pytest.raises(UsageError, match=r"with 1 values that are not finite\n  expected: finite values \(60, 30\)"):
        run(table, guess=holed)
    with pytest.raises(UsageError, match=r"a guess of shape \(59, 30\)"):
        run(table, guess=table[1:])


def test_exact_values_that_are_not_finite_are_refused():
    table = population(0)
    table[:, 2] = np.inf
    with pytest.raises(UsageError, match=r"exact values of shape \(5, 30\), 5 of them not finite\n  expected: finite"):
        run(table)


def test_a_frame_holds_every_arm_the_chosen_first():
    top = run(population(1), k=4)
    frame = top.frame()
    assert tuple(frame["arm"][:4]) == top.chosen
    assert frame["chosen"].tolist() == [True] * 4 + [False] * 26
    assert sorted(frame["arm"]) == list(range(30))
    assert (frame["low"] <= frame["value"]).all()
