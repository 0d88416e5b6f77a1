"""Statistics against scipy, statsmodels, plain loops, and simulated truth."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from headscope import statistics
from headscope.errors import UsageError
from headscope.statistics.bootstrap import acceleration, percentiles

CAREFUL = settings(derandomize=True, max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def sample(seed, *, examples=40, heads=6, groups=10, holes=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(size=heads), 1.0, size=(examples, heads))
    values[rng.random(values.shape) < holes] = np.nan
    return values, rng.integers(0, groups, size=examples)


def clustered(rng, *, samples, groups, size):
    """Columns are independent data sets of mean 0; examples of a group share most of their noise."""
    shared = np.repeat(rng.normal(size=(groups, samples)), size, axis=0)
    return shared + 0.5 * rng.normal(size=shared.shape), np.repeat(np.arange(groups), size)


# --- bootstrap


def test_interval_equals_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).exponential(size=(50, 3))
    low, high = statistics.interval(values, np.arange(50), seed=1, n_resamples=20_000, expand=False)
    oracle = stats.bootstrap(
        (values,), np.mean, axis=0, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    tolerance = 0.03 * (oracle.high - oracle.low)
    assert (np.abs(low - oracle.low) < tolerance).all()
    assert (np.abs(high - oracle.high) < tolerance).all()


def test_bootstrap_means_equal_a_loop_that_gathers_whole_groups():
    values, groups = sample(3, holes=0.2)
    weights = statistics.resamples(groups, seed=4, n_resamples=7)
    boot = statistics.bootstrap_means(values, weights)
    for row, means in zip(weights, boot, strict=True):
        gathered = [values[example] for example, count in enumerate(row.astype(int)) for _ in range(count)]
        np.testing.assert_allclose(means, np.nanmean(gathered, axis=0), rtol=1e-12)


def test_interval_equals_a_plain_cluster_bootstrap():
    values, groups = clustered(np.random.default_rng(5), samples=1, groups=15, size=3)
    low, high = statistics.interval(values, groups, seed=6, n_resamples=20_000, expand=False)
    rng = np.random.default_rng(7)
    members = values[:, 0].reshape(15, 3)
    draws = [members[rng.integers(0, 15, size=15)].mean() for _ in range(20_000)]
    np.testing.assert_allclose([low[0], high[0]], np.quantile(draws, [0.025, 0.975]), atol=0.03 * (high - low)[0])


def test_a_resample_draws_as_many_groups_as_there_are_and_whole_ones():
    groups = np.array([5, 5, 5, 2, 9, 9])
    weights = statistics.resamples(groups, seed=0, n_resamples=500)
    first = [0, 3, 4]
    assert (weights[:, first].sum(axis=1) == 3).all()
    assert (weights == weights[:, [0, 0, 0, 3, 4, 4]]).all()
    np.testing.assert_allclose(weights[:, first].mean(axis=0), 1, atol=0.1)


@pytest.mark.parametrize(
    ("groups", "expand", "least", "most"), [(8, True, 0.92, 0.98), (8, False, 0.82, 0.92), (60, True, 0.93, 0.97)]
)
def test_grouped_interval_covers_the_truth(groups, expand, least, most):
    values, labels = clustered(np.random.default_rng(8), samples=1500, groups=groups, size=4)
    low, high = statistics.interval(values, labels, seed=9, n_resamples=1000, expand=expand)
    assert least < ((low <= 0) & (high >= 0)).mean() < most


def test_an_interval_that_ignores_groups_undercovers():
    values, labels = clustered(np.random.default_rng(10), samples=1500, groups=30, size=4)
    low, high = statistics.interval(values, np.arange(len(labels)), seed=11, n_resamples=1000)
    assert ((low <= 0) & (high >= 0)).mean() < 0.8


def test_expanded_level_is_the_t_interval_for_gaussian_percentiles():
    level = statistics.expanded_level(0.9, 6)
    half_width = stats.norm.ppf((1 + level) / 2) * np.sqrt(5 / 6)
    assert half_width == pytest.approx(stats.t.ppf(0.95, df=5))


def test_the_end_at_the_longer_tail_is_that_of_scipys_bca():
    values = np.random.default_rng(30).exponential(size=(60, 4)) * np.array([1, -1, 1e-9, 1])
    groups = np.arange(60)
    boot = statistics.bootstrap_means(values, statistics.resamples(groups, seed=1, n_resamples=20_000))
    counts, skewed = np.full(4, 60), acceleration(values, groups)
    plain = np.array(percentiles(boot, counts, 0.95, expand=False))
    found = np.array(percentiles(boot, counts, 0.95, expand=False, acceleration=skewed))
    oracle = stats.bootstrap((values,), np.mean, axis=0, n_resamples=20_000, rng=np.random.default_rng(2))
    longer, shorter = [1, 0, 1, 1], [0, 1, 0, 0]
    heads, width = np.arange(4), plain[1] - plain[0]
    expected = np.array(oracle.confidence_interval)[longer, heads]
    assert (np.abs(found[longer, heads] - expected) < 0.04 * width).all()
    assert (np.abs(plain[longer, heads] - expected) > 0.06 * width).all()
    np.testing.assert_array_equal(found[shorter, heads], plain[shorter, heads])


def test_acceleration_is_a_sixth_of_the_skewness_or_the_jackknifes():
    values, groups = np.random.default_rng(31).exponential(size=(30, 3)), np.arange(30)
    values[:, 2] = 4.0
    expected = stats.skew(values[:, :2]) / (6 * np.sqrt(30))
    np.testing.assert_allclose(acceleration(values, groups), [*expected, 0], rtol=1e-9)
    np.testing.assert_allclose(acceleration(1e-200 * values, groups), [*expected, 0], rtol=1e-9)
    holed, groups = sample(32, examples=600, groups=200, holes=0.2)
    holed = np.column_stack([np.exp(holed), np.full(600, np.nan)])
    left = [statistics.means(holed[groups != group])[:6] for group in np.unique(groups)]
    away = np.mean(left, axis=0) - left
    jackknife = (away**3).sum(axis=0) / (6 * (away**2).sum(axis=0) ** 1.5)
    found = acceleration(holed, groups)
    np.testing.assert_allclose(found[:6], jackknife, rtol=0.1)
    assert found[6] == 0


def test_intervals_of_two_groups_and_at_extreme_levels_are_the_ends_of_the_resamples():
    low, high = statistics.interval(np.array([[3.0], [1.0]]), np.arange(2), seed=0)
    assert (low[0], high[0]) == (1, 3)
    values = np.array([[3.0], [0.0], [0.0], [0.0]])
    low, high = statistics.interval(values, np.arange(4), seed=0, level=0.9999)
    assert (round(low[0], 3), high[0]) == (0, 3)


# --- sign flips


def test_sign_flip_equals_scipys_exact_permutation_test():
    values = np.random.default_rng(12).normal(0.6, 1, size=(9, 4))
    oracle = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf, axis=0
    )
    np.testing.assert_allclose(statistics.sign_flip(values, np.arange(9), seed=0), oracle.pvalue, rtol=1e-12)


def test_sign_flip_of_groups_equals_a_loop_over_all_patterns():
    values, groups = sample(13, examples=20, groups=6, holes=0.2)
    labels = np.unique(groups)
    observed = np.abs(np.nansum(values, axis=0))
    patterns = list(itertools.product([1, -1], repeat=len(labels)))
    extreme = np.zeros(values.shape[1])
    for pattern in patterns:
        signs = np.array(pattern)[np.searchsorted(labels, groups)]
        extreme += np.abs(np.nansum(values * signs[:, None], axis=0)) >= observed - 1e-9
    np.testing.assert_allclose(statistics.sign_flip(values, groups, seed=0), extreme / len(patterns))


def test_random_flips_equal_the_exact_p_values_within_their_error():
    values = np.random.default_rng(14).normal(0.4, 1, size=(12, 5))
    exact = statistics.sign_flip(values, np.arange(12), seed=0, n_flips=4096)
    drawn = statistics.sign_flip(values, np.arange(12), seed=0, n_flips=4095)
    assert (exact != drawn).any()
    assert (np.abs(exact - drawn) < 4 * np.sqrt(exact * (1 - exact) / 4095) + 1 / 4096).all()


def test_null_p_values_are_uniform_with_groups_and_too_small_without():
    values, groups = clustered(np.random.default_rng(15), samples=1000, groups=20, size=4)
    grouped = statistics.sign_flip(values, groups, seed=16, n_flips=1999)
    naive = statistics.sign_flip(values, np.arange(80), seed=16, n_flips=1999)
    assert stats.kstest(grouped, "uniform").pvalue > 0.01
    assert (grouped < 0.05).mean() < 0.07 < 0.2 < (naive < 0.05).mean()


def test_sign_flip_without_data_or_effect():
    values = np.column_stack([np.zeros(20), np.full(20, np.nan), np.ones(20)])
    p = statistics.sign_flip(values, np.arange(20), seed=0, n_flips=999)
    np.testing.assert_array_equal(p, [1, np.nan, 1 / 1000])


@CAREFUL
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9))
def test_sums_that_tie_on_paper_tie_in_floating_point(whole):
    values, groups = np.array(whole)[:, None], np.arange(len(whole))
    expected = statistics.sign_flip(values.astype(float), groups, seed=0)
    np.testing.assert_array_equal(statistics.sign_flip(values * 0.1, groups, seed=0), expected)


# --- false discovery rate


@CAREFUL
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), SEEDS)
def test_q_values_equal_statsmodels_and_scipy(p, seed):
    found = statistics.benjamini_hochberg(np.array(p))
    np.testing.assert_allclose(found, multipletests(p, method="fdr_bh")[1], atol=1e-12)
    np.testing.assert_allclose(found, stats.false_discovery_control(p), atol=1e-12)
    assert (found >= np.array(p) - 1e-12).all()
    assert (np.diff(found[np.argsort(p)]) >= -1e-12).all()
    holed = np.random.default_rng(seed).permutation([*p, np.nan, np.nan])
    expected = np.full(len(holed), np.nan)
    expected[~np.isnan(holed)] = statistics.benjamini_hochberg(holed[~np.isnan(holed)])
    np.testing.assert_array_equal(statistics.benjamini_hochberg(holed), expected)


# --- ranks and stability


def test_rank_intervals_hold_what_cannot_be_told_apart():
    rng = np.random.default_rng(17)
    values = rng.normal([5.0, 0.1, 0.1, -3.0], 0.5, size=(60, 4))
    boot = statistics.bootstrap_means(values, statistics.resamples(np.arange(60), seed=0))
    rank, low, high = statistics.rank_intervals(values.mean(axis=0), boot)
    assert [rank[0], rank[3], *low[[0, 3]], *high[[0, 3]]] == [1, 2, 1, 2, 1, 2]
    assert (low[1:3] == 3).all()
    assert (high[1:3] == 4).all()
    rank, low, high = statistics.rank_intervals(values.mean(axis=0), boot, by="value")
    assert (rank[3], low[3], high[3]) == (4, 4, 4)


def test_rank_intervals_equal_a_loop():
    values, groups = sample(18, heads=12, holes=0.1)
    values -= 0.95 * np.nanmean(values, axis=0)
    boot = statistics.bootstrap_means(values, statistics.resamples(groups, seed=1, n_resamples=400))
    rank, low, high = statistics.rank_intervals(statistics.means(values), boot, level=0.8)
    ranks = np.array([[1 + sum(abs(other) > abs(own) for other in row) for own in row] for row in boot])
    np.testing.assert_array_equal(low, np.minimum(np.quantile(ranks, 0.1, axis=0, method="lower"), rank))
    np.testing.assert_array_equal(high, np.maximum(np.quantile(ranks, 0.9, axis=0, method="higher"), rank))


def test_equal_heads_share_their_ranks():
    boot = np.tile([2.0, 0.0, 0.0, 0.0], (10, 1))
    rank, low, high = statistics.rank_intervals(boot[0], boot)
    assert [rank.tolist(), low.tolist(), high.tolist()] == [[1, 2, 2, 2], [1, 2, 2, 2], [1, 4, 4, 4]]


def test_top_k_stability_equals_sets():
    values, groups = sample(19, heads=9)
    boot = statistics.bootstrap_means(values, statistics.resamples(groups, seed=2, n_resamples=50))
    means = statistics.means(values)
    chosen = set(np.argsort(-np.abs(means))[:3])
    expected = []
    for row in boot:
        other = set(np.argsort(-np.abs(row))[:3])
        expected.append(len(chosen & other) / len(chosen | other))
    assert statistics.top_k_stability(means, boot, k=3) == pytest.approx(np.mean(expected))
    assert statistics.top_k_stability(means, boot, k=9) == 1


# --- splits


@CAREFUL
@given(st.lists(st.integers(-3, 12), min_size=2, max_size=60).filter(lambda groups: len(set(groups)) > 1), SEEDS)
def test_halves_share_no_group_and_hold_every_example(groups, seed):
    groups = np.array(groups)
    first, second = statistics.halves(groups, seed=seed)
    assert sorted([*first, *second]) == list(range(len(groups)))
    assert not set(groups[first]) & set(groups[second])
    assert len(first)
    assert len(second)
    assert abs(len(first) - len(second)) <= np.unique(groups, return_counts=True)[1].max()


def test_halves_change_with_the_seed_only():
    groups = np.repeat(np.arange(10), 3)
    splits = {tuple(statistics.halves(groups, seed=seed)[0].tolist()) for seed in [*range(5), *range(5)]}
    assert len(splits) == 5


# --- the summary


@CAREFUL
@given(SEEDS)
def test_order_of_examples_and_heads_is_irrelevant(seed):
    values, groups = sample(seed, holes=0.1)
    rng = np.random.default_rng(seed)
    examples, heads = rng.permutation(values.shape[0]), rng.permutation(values.shape[1])
    frame = statistics.summarise(values, groups, seed=3, n_resamples=200)
    moved = statistics.summarise(values[examples][:, heads], groups[examples], seed=3, n_resamples=200)
    np.testing.assert_allclose(moved, frame.iloc[heads], rtol=1e-9)


@CAREFUL
@given(SEEDS, st.sampled_from([-8.0, -0.5, 0.125, 4.0]))
def test_scaling_scales_what_it_should(seed, factor):
    values, groups = sample(seed)
    frame = statistics.summarise(values, groups, seed=4, n_resamples=200)
    scaled = statistics.summarise(values * factor, groups, seed=4, n_resamples=200)
    limits = ["low", "high"] if factor > 0 else ["high", "low"]
    np.testing.assert_allclose(scaled[["value", "low", "high"]], factor * frame[["value", *limits]], rtol=1e-9)
    same = ["n", "groups", "p", "q", "rank", "rank_low", "rank_high", "share"]
    np.testing.assert_allclose(scaled[same], frame[same], rtol=1e-9)


@CAREFUL
@given(SEEDS)
def test_summary_holds_together(seed):
    frame = statistics.summarise(*sample(seed, holes=0.3), seed=5, n_resamples=300)
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    assert (frame["rank_low"] <= frame["rank"]).all()
    assert (frame["rank"] <= frame["rank_high"]).all()
    assert (frame["q"] >= frame["p"]).all()
    assert frame["share"].sum() == pytest.approx(1)
    assert sorted(frame["rank"]) == [1, 2, 3, 4, 5, 6]


def test_absent_is_nan_and_moves_no_other_head():
    values, groups = sample(20)
    frame = statistics.summarise(values, groups, seed=6, n_resamples=300)
    single = np.full(len(values), np.nan)
    single[groups == groups[0]] = 1.0
    wider = np.column_stack([np.full(len(values), np.nan), values, np.full(len(values), np.nan)])
    with_holes = statistics.summarise(wider, groups, seed=6, n_resamples=300)
    for row in (0, 7):
        absent = with_holes.iloc[row]
        assert absent[["n", "groups"]].tolist() == [0, 0]
        assert absent.drop(["n", "groups"]).isna().all()
    np.testing.assert_allclose(with_holes.iloc[1:7], frame, rtol=1e-12)
    lonely = statistics.summarise(single[:, None], groups, seed=6, n_resamples=300).iloc[0]
    assert (lonely["value"], lonely["groups"], lonely["p"], lonely["rank"], lonely["share"]) == (1, 1, 1, 1, 1)
    assert lonely[["low", "high", "rank_low", "rank_high"]].isna().all()


def test_a_head_that_some_resamples_miss_uses_those_that_drew_it():
    values, groups = sample(22)
    values[~np.isin(groups, [0, 1, 2]), 0] = np.nan
    boot = statistics.bootstrap_means(values, statistics.resamples(groups, seed=0))
    assert 0 < np.isnan(boot[:, 0]).mean() < 0.1
    low, high = statistics.interval(values, groups, seed=0, expand=False)
    drawn = boot[~np.isnan(boot[:, 0]), 0]
    np.testing.assert_allclose([low[0], high[0]], np.quantile(drawn, [0.025, 0.975]), rtol=1e-12)


def test_ranks_over_few_groups_are_widened_like_the_intervals():
    values, groups = sample(23, heads=40, groups=6)
    values -= 0.9 * values.mean(axis=0)
    frame = statistics.summarise(values, groups, seed=0)
    boot = statistics.bootstrap_means(values, statistics.resamples(groups, seed=0))
    limits = {}
    for level in (0.95, statistics.expanded_level(0.95, 6)):
        limits[level] = np.array(statistics.rank_intervals(statistics.means(values), boot, level=level))
    plain, wide = limits.values()
    np.testing.assert_array_equal(frame[["rank", "rank_low", "rank_high"]].T, wide)
    assert (wide[2] - wide[1]).mean() > (plain[2] - plain[1]).mean()


def test_heads_without_any_effect_have_no_share():
    frame = statistics.summarise(np.zeros((10, 3)), np.arange(10), seed=0, n_resamples=50)
    assert frame["share"].isna().all()
    assert frame[["value", "low", "high", "p", "rank", "rank_high"]].iloc[0].tolist() == [0, 0, 0, 1, 1, 3]


def test_seed_fixes_the_result_and_touches_no_global_state():
    values, groups = sample(21)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings(action="error"):
        frames = [statistics.summarise(values.astype(np.float32), groups, seed=seed) for seed in (7, 7, 8)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- bad input


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: statistics.means(np.array([[1.0, np.inf]])),
            "value inf of example 0, head 1 (and 0 more)\n"
            "  expected: finite values, or NaN where an example says nothing of a head\n"
            "  to fix it: look for an overflow in the method or the model's dtype; try --dtype float32",
        ),
        (
            lambda: statistics.interval(np.ones((2, 1)), np.arange(2), seed=0, level=95.0),
            "level 95.0\n  expected: a confidence level between 0 and 1\n  to fix it: write 0.95 for a 95 % interval",
        ),
        (
            lambda: statistics.resamples(np.array([], dtype=int), seed=0),
            "no examples\n  expected: at least one example with its group\n  to fix it: ask for n >= 1 examples",
        ),
        (
            lambda: statistics.resamples(np.arange(2), seed=0, n_resamples=0),
            "n_resamples 0\n  expected: 1 or more; 2000 by default\n  to fix it: ask for more resamples",
        ),
        (
            lambda: statistics.sign_flip(np.ones((2, 1)), np.arange(2), seed=0, n_flips=0),
            "n_flips 0\n  expected: 1 or more; 19999 by default\n  to fix it: ask for more flips",
        ),
        (
            lambda: statistics.halves(np.zeros(4, dtype=int), seed=0),
            "examples of one group\n  expected: 2 or more groups\n"
            "  to fix it: a held-out half needs a group of its own",
        ),
        (
            lambda: statistics.top_k_stability(np.array([1.0, np.nan]), np.array([[1.0, np.nan]]), k=2),
            "k 2\n  expected: 1 to 1, the heads that have data\n  to fix it: ask for fewer heads",
        ),
        (
            lambda: statistics.expanded_level(0.95, 1),
            "1 group\n  expected: 2 or more groups\n  to fix it: an interval needs more than one group",
        ),
    ],
)
def test_errors_say_what_to_do(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == text
