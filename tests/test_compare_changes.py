"""The permutation test of two runs on different prompts: against scipy, and by what it must not depend on."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from headscope.comparing.changes import permuted


@pytest.mark.parametrize("shape", [(3, 4), (4, 4)])
def test_the_permutation_test_is_scipys(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(shape[0], 5)), rng.normal(0.8, 2, size=(shape[1], 5))

    def welch(a: Any, b: Any, axis: int) -> Any:
        return np.abs(stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic)

    wanted = stats.permutation_test((one, other), welch, alternative="greater", vectorized=True, n_resamples=np.inf)
    found = permuted(one, other, np.arange(shape[0]), np.arange(shape[1]), seed=0)
    np.testing.assert_allclose(found, wanted.pvalue)


def test_shuffles_agree_with_all_splits() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(7, 6)), rng.normal(0.7, 1, size=(7, 6))
    groups = np.arange(7)
    exact = permuted(one, other, groups, groups, seed=0)
    drawn = permuted(one, other, groups, groups, seed=0, shuffles=3_000)
    np.testing.assert_allclose(drawn, exact, atol=0.035)
    assert not np.array_equal(exact, drawn)


def test_groups_are_shuffled_whole() -> None:
    """Two examples a group that are copies of one another say no more than one."""
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(5, 4)), rng.normal(1, 1, size=(6, 4))
    plain = permuted(one, other, np.arange(5), np.arange(6), seed=0)
    twice = permuted(one.repeat(2, 0), other.repeat(2, 0), np.arange(10) // 2, np.arange(12) // 2, seed=0)
    np.testing.assert_allclose(twice, plain)


def test_equal_runs_and_absent_heads_have_no_change() -> None:
    one = np.random.default_rng(5).normal(size=(6, 3))
    one[:, 1] = np.nan
    one[:, 2] = 0.7
    found = permuted(one, one, np.arange(6), np.arange(6), seed=0)
    np.testing.assert_array_equal(found, [1, np.nan, 1])


@pytest.mark.parametrize("sizes", [(8, 8), (6, 14)])
def test_equal_means_of_unequal_spread_are_rarely_told_apart(sizes: tuple[int, int]) -> None:
    """1,500 heads without a change, one run with three times the spread: 5 % of p-values lie below .05."""
    rng = np.random.default_rng(6)
    one, other = rng.normal(0, 3, size=(sizes[0], 1500)), rng.normal(0, 1, size=(sizes[1], 1500))
    p = permuted(one, other, np.arange(sizes[0]), np.arange(sizes[1]), seed=0, shuffles=1_500)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.03)
