"""What the statistics claim holds on synthetic effects whose truth is known: coverage, and false discoveries.

Slow: thousands of synthetic data sets for each case. Columns are independent data sets, in one call.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from headscope import statistics
from headscope.statistics.bootstrap import percentiles

pytestmark = pytest.mark.slow

DATA_SETS = 4000
"""For each case; the standard error of a coverage of 95 % is then .0034."""

TRUTH = 0.3
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

SHAPES: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "negative exponential": lambda rng, size: 1 - rng.exponential(size=size),
    "lognormal": lambda rng, size: rng.lognormal(0, 0.5, size=size) - np.exp(0.125),
    "t of 5 degrees": lambda rng, size: rng.standard_t(5, size=size),
    "t of 3 degrees": lambda rng, size: rng.standard_t(3, size=size),
    "8 in 10 are zero": lambda rng, size: rng.normal(1, 1, size=size) * (rng.random(size) < 0.2) - 0.2,
    "two kinds of examples": lambda rng, size: rng.normal(size=size) + 4 * (rng.random(size) < 0.3) - 1.2,
}
"""Deviations from the truth, of mean 0."""


def coverage(low: np.ndarray, high: np.ndarray) -> float:
    return float(((low <= TRUTH) & (high >= TRUTH)).mean())


def in_groups(shape: str, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Examples of a group share most of their deviation."""
    shared = SHAPES[shape](rng, (int(groups.max()) + 1, DATA_SETS))[groups]
    return TRUTH + shared + 0.5 * rng.normal(size=shared.shape)


# --- coverage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 100, 200])
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_cover_93_to_97_percent(shape: str, n: int) -> None:
    rng = np.random.default_rng([n, list(SHAPES).index(shape)])
    values = TRUTH + SHAPES[shape](rng, (n, DATA_SETS))
    assert 0.93 <= coverage(*statistics.interval(values, np.arange(n), seed=n)) <= 0.97


@pytest.mark.parametrize("shape", ["normal", "exponential", "t of 5 degrees", "8 in 10 are zero"])
@pytest.mark.parametrize(("n", "size"), [(40, 2), (100, 2), (100, 4), (200, 2), (200, 4), (200, 10)])
def test_grouped_intervals_cover_93_to_97_percent(shape: str, n: int, size: int) -> None:
    if shape == "8 in 10 are zero" and n // size < 40:
        pytest.skip("fewer than 8 groups tell anything: see the known limits")
    groups = np.repeat(np.arange(n // size), size)
    values = in_groups(shape, groups, np.random.default_rng([n, size, list(SHAPES).index(shape)]))
    assert 0.93 <= coverage(*statistics.interval(values, groups, seed=n)) <= 0.97


@pytest.mark.parametrize(
    ("shape", "groups", "least", "most"),
    [("exponential", 10, 0.91, 0.94), ("exponential", 8, 0.90, 0.93), ("8 in 10 are zero", 20, 0.88, 0.93)],
)
def test_the_known_limits_are_as_documented(shape: str, groups: int, least: float, most: float) -> None:
    labels = np.repeat(np.arange(groups), 4)
    values = in_groups(shape, labels, np.random.default_rng([6, groups]))
    assert least <= coverage(*statistics.interval(values, labels, seed=7)) <= most


@pytest.mark.parametrize("n", [40, 100])
def test_a_share_of_few_answers_is_covered_too_often(n: int) -> None:
    right = (np.random.default_rng(n).random((n, DATA_SETS)) < 0.9).astype(float)
    assert 0.97 <= coverage(*statistics.interval(right - 0.9 + TRUTH, np.arange(n), seed=n)) <= 0.99


@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_groups_of_unequal_size_and_missing_values_cover_as_well(shape: str) -> None:
    rng = np.random.default_rng(list(SHAPES).index(shape))
    groups = np.repeat(np.arange(40), np.tile([1, 2, 3, 6], 10))
    values = in_groups(shape, groups, rng)
    values[rng.random(values.shape) < 0.2] = np.nan
    assert 0.93 <= coverage(*statistics.interval(values, groups, seed=1)) <= 0.97


def test_the_summary_has_these_intervals() -> None:
    values = in_groups("exponential", np.repeat(np.arange(25), 4), np.random.default_rng(2))[:, :200]
    groups = np.repeat(np.arange(25), 4)
    low, high = statistics.interval(values, groups, seed=3)
    frame = statistics.summarise(values, groups, seed=3)
    np.testing.assert_array_equal(frame[["low", "high"]].T, [low, high])


@pytest.mark.parametrize(("shape", "groups"), [("8 in 10 are zero", 40), ("exponential", 25)])
def test_plain_percentiles_do_not(shape: str, groups: int) -> None:
    values = in_groups(shape, np.arange(groups), np.random.default_rng([4, groups]))
    boot = statistics.bootstrap_means(values, statistics.resamples(np.arange(groups), seed=5))
    assert coverage(*percentiles(boot, np.full(DATA_SETS, groups), 0.95, expand=False)) < 0.93
    assert coverage(*percentiles(boot, np.full(DATA_SETS, groups), 0.95, expand=True)) < 0.935


# --- false discoveries -----------------------------------------------------------------------------------------------

SWEEPS, EXAMPLES, HEADS = 1000, 40, 96

MOST = int(stats.binom.ppf(0.999, SWEEPS, 0.05))
"""False discovery proportions lie between 0 and 1, so a sum of 1,000 with mean .05 or less spreads no more than a
binomial count does: a sum above 73 shows a rate above .05, and errs once in a thousand tests at most."""


def sweep(kind: str, true_heads: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Effects [example, head] with the first heads true, and the groups."""
    groups = np.arange(EXAMPLES)
    values = rng.normal(size=(EXAMPLES, HEADS))
    if kind == "correlated":  # heads that write into one stream share what an example does to it
        values = np.sqrt(0.5) * values + np.sqrt(0.5) * rng.normal(size=(EXAMPLES, 1))
    elif kind == "grouped":
        groups = np.repeat(np.arange(EXAMPLES // 2), 2)
        values = rng.normal(size=(EXAMPLES // 2, HEADS))[groups] + 0.5 * values
    elif kind == "heavy":
        values = rng.standard_t(3, size=values.shape)
    values[:, :true_heads] += 1.0
    return values, groups


@pytest.mark.parametrize("kind", ["independent", "correlated", "grouped", "heavy"])
@pytest.mark.parametrize("true_heads", [0, 10])
def test_the_false_discovery_rate_is_at_most_5_percent(kind: str, true_heads: int) -> None:
    rng = np.random.default_rng([true_heads, len(kind)])
    false, found, naive = [], [], []
    for seed in range(SWEEPS):
        values, groups = sweep(kind, true_heads, rng)
        p = statistics.sign_flip(values, groups, seed=seed, n_flips=9999)
        called = statistics.benjamini_hochberg(p) <= 0.05
        false.append(called[true_heads:].sum() / max(1, called.sum()))
        found.append(called[:true_heads].mean() if true_heads else np.nan)
        naive.append((p <= 0.05)[true_heads:].sum() / max(1, (p <= 0.05).sum()))
    assert sum(false) <= MOST
    assert not true_heads or np.mean(found) > 0.7
    assert sum(naive) > 2 * MOST


@pytest.mark.parametrize(("n", "least", "most"), [(40, 0.25, 0.45), (200, 0.07, 0.22)])
def test_skewed_nulls_are_not_of_the_null_as_documented(n: int, least: float, most: float) -> None:
    rng, any_called = np.random.default_rng(n), []
    for seed in range(200):
        p = statistics.sign_flip(SHAPES["exponential"](rng, (n, HEADS)), np.arange(n), seed=seed, n_flips=9999)
        any_called.append((statistics.benjamini_hochberg(p) <= 0.05).any())
    assert least <= np.mean(any_called) <= most
