"""Two runs side by side: against scipy, against brute force, and on runs of which the answer is known."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headscope import compare
from headscope.comparing import reading
from headscope.comparing.correlation import correlate, scored_ranks
from headscope.comparing.draws import draw
from headscope.comparing.overlap import by_chance
from headscope.contract import Method, Score, table
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.plots import DARK
from headscope.prompts import Prompts
from headscope.runs import Run

GRID = Grid(4, 6)
SHAPE = (GRID.layers, GRID.heads)


def run_of(
    effects: Any, *, n: int = 30, seed: int = 0, noise: float = 0.1, prompts: str = "p", each: int = 1, **more: Any
) -> Run:
    """A run of one task whose per-example values are the given effects and noise."""
    effects = np.asarray(effects, dtype=float)
    values = effects + noise * np.random.default_rng(seed).normal(size=(n, *effects.shape))
    grid, groups = Grid(*effects.shape), torch.arange(n) // each
    given = Prompts(task="t", tokens=torch.ones(n, 2, dtype=torch.long), mask=torch.ones(n, 2) > 0, groups=groups)
    score = Score(name="denoising", meaning="it matters", unit="logits")
    method = Method(name="patching", function=dict, needs=Prompts, scores=(score,), source="own", about="for tests")
    tensor = torch.tensor(values)
    scores = table({"denoising": tensor}, given, method, grid=grid, seed=0).assign(model="m", flagged=False)
    row = {"task": "t", "status": "ok", "reason": "", "n": n, "groups": n // each, "accuracy": 0.9, "prompts": prompts}
    row |= {"accuracy_low": 0.8, "accuracy_high": 0.95}
    model = {"name": "m", "weights_sha256": more.pop("weights", "same")}
    identity = {"model": model, "complete": True, "plan": {"seed": seed}, **more}
    examples = {"t.patching.denoising": tensor}
    return Run(identity=identity, scores=scores, tasks=pd.DataFrame([row]), examples=examples, groups={"t": groups})


def effects(seed: int = 0) -> np.ndarray:
    """Effects of all heads, of which few are large."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE) * np.where(rng.random(SHAPE) < 0.2, 2.0, 0.2)


def only(found: Any) -> dict[str, Any]:
    (row,) = found.tasks.to_dict("records")
    return row


# --- rank correlation


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=12))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_the_rank_correlation_is_scipys_with_ties(pairs: list[tuple[int, int]]) -> None:
    one, other = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    found = float((scored_ranks(one) * scored_ranks(other)).sum())
    if min(np.ptp(one), np.ptp(other)) == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-9)


def test_matching_at_random_within_layers_is_the_mean_of_all_matchings() -> None:
    from itertools import permutations

    one, other, layers = np.array([3.0, 9, 1, 4, 5]), np.array([2.0, 7, 1, 8, 8]), np.array([0, 0, 0, 1, 1])
    every = [
        stats.spearmanr(one, other[[*first, *second]]).statistic
        for first in permutations(range(3))
        for second in permutations((3, 4))
    ]
    assert correlate((one, other), None, None, layers).rho_layers == pytest.approx(np.mean(every))


@pytest.mark.parametrize("same", [True, False])
def test_noise_is_told_from_difference(same: bool) -> None:
    """One model twice, with so much noise that the observed correlation is far below 1; and two models that differ."""
    one = effects()
    options: dict[str, Any] = {"noise": 1.2, "n": 40}
    run = run_of(one, seed=1, **options)
    alike = run_of(one, seed=1 if same else 2, prompts="p" if same else "q", **options)
    other = run_of(effects(5), seed=2, prompts="p" if same else "q", **options)
    row = only(compare(run, alike))
    assert row["paired"] is same
    if not same:
        assert row["rho"] < 0.9
        assert row["rho_low"] < row["rho"] < row["rho_high"] < 1
    assert row["corrected_high"] == 1
    assert row["corrected"] > 0.9
    assert 0.4 < row["reliability_a"] < 0.95
    apart = only(compare(run, other))
    assert apart["corrected_high"] < 0.9
    assert apart["rho"] == pytest.approx(stats.spearmanr(mean(run), mean(other)).statistic)


def mean(run: Run) -> np.ndarray:
    return run.examples["t.patching.denoising"].numpy().mean(axis=0).ravel()


def test_reliability_is_the_correlation_with_a_repetition() -> None:
    """Spearman-Brown of the halves against what fresh prompts do give, over 60 repetitions."""
    one, options = effects(3), {"noise": 1.0, "n": 40}
    repeated = [mean(run_of(one, seed=seed, **options)) for seed in range(60)]
    wanted = np.mean([stats.spearmanr(a, b).statistic for a, b in zip(repeated[::2], repeated[1::2], strict=True)])
    runs = [run_of(one, seed=seed, prompts=str(seed), **options) for seed in range(8)]
    found = [only(compare(a, b))["reliability_a"] for a, b in zip(runs[::2], runs[1::2], strict=True)]
    assert np.mean(found) == pytest.approx(wanted, abs=0.08)


def test_the_interval_says_what_other_prompts_would_give() -> None:
    """In 40 pairs of runs, it holds the mean observed correlation of such pairs in at least 35."""
    one, other = effects(1), 0.8 * effects(1) + 0.2 * effects(2)
    rhos, held = [], []
    for seed in range(0, 80, 2):
        runs = run_of(one, seed=seed, n=16, noise=0.6), run_of(other, seed=seed + 1, n=16, noise=0.6)
        parts = [draw(np.arange(16), seed=place) for place in (0, 1)]
        values = [run.examples["t.patching.denoising"].numpy().reshape(16, -1) for run in runs]
        found = correlate((mean(runs[0]), mean(runs[1])), tuple(values), tuple(parts), np.repeat(np.arange(4), 6))
        rhos.append(found.rho)
        held.append((found.rho_low, found.rho_high))
    centre = np.mean(rhos)
    assert sum(low <= centre <= high for low, high in held) >= 35
    assert np.mean([high - low for low, high in held]) < 0.6, "and it is not merely wide"


# --- overlap


def test_overlap_and_chance_are_those_of_brute_force() -> None:
    one, other = effects(0), effects(0)
    other[0, :3] += 3
    row = only(compare(run_of(one, noise=0.01), run_of(other, noise=0.01, prompts="q"), top=4))
    tops = [set(np.argsort(-np.abs(each.ravel()))[:4].tolist()) for each in (one, other)]
    assert row["shared"] == len(tops[0] & tops[1])
    assert row["jaccard"] == pytest.approx(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    sets = [set(chosen) for chosen in combinations(range(6), 2)]
    every = [len(a & b) / len(a | b) for a in sets for b in sets]
    assert by_chance(6, 2) == pytest.approx(np.mean(every))
    assert row["chance"] == pytest.approx(by_chance(24, 4))
    assert row["jaccard_low"] <= row["jaccard"] <= row["jaccard_high"]


@pytest.mark.parametrize(("heads", "k"), [((4, 6), 1), ((12, 12), 4), ((6, 16), 3)])
def test_three_percent_of_heads_and_at_least_one_are_the_top(heads: tuple[int, int], k: int) -> None:
    run = run_of(np.random.default_rng(0).normal(size=heads), n=6)
    assert only(compare(run, run))["k"] == k


@pytest.mark.parametrize(("top", "text"), [(0, "top 0\n  expected: 1 or more"), (25, "top 25\n  expected: 1 to 24")])
def test_a_top_that_is_no_number_of_heads_is_explained(top: int, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare(run_of(effects()), run_of(effects()), top=top)
    assert str(caught.value).startswith(text)


# --- heads that changed


@pytest.mark.parametrize("same", [True, False])
def test_the_one_head_that_changes_is_found(same: bool) -> None:
    one = effects()
    other = one.copy()
    other[2, 3] += 0.8
    prompts = "p" if same else "q"
    found = compare(run_of(one, seed=1, noise=0.3), run_of(other, seed=2, noise=0.3, prompts=prompts))
    assert found.changed()["label"].tolist() == ["L2H3"]
    head = found.heads.iloc[0]
    assert head["label"] == "L2H3"
    assert head["low"] < 0.8 < head["high"]
    assert head["difference"] == pytest.approx(head["b"] - head["a"])
    assert only(found)["changed"] == 1
    assert found.heads["difference"].abs().is_monotonic_decreasing
    assert f"1 heads changed (q < .05), most L2H3: +0.{str(head['difference'])[2:4]}" in found.describe()[:900]


def test_values_of_no_example_are_none() -> None:
    run = run_of(effects(), seed=1, noise=0.3)
    (key,) = reading.keys(run)
    assert reading.side(run, key).values is not None
    name = ".".join(key)
    empty = replace(run, examples={name: run.examples[name][:0]})
    assert reading.side(empty, key).values is None


def test_the_same_prompts_show_smaller_changes() -> None:
    """What both runs share of an example's noise cancels when they are compared example by example."""
    one, other = run_of(effects(), seed=1, noise=1), run_of(effects() + 0.1, seed=1, noise=1)
    assert only(compare(one, other))["changed"] == GRID.size
    tasks = other.tasks.assign(prompts="others")
    assert only(compare(one, replace(other, tasks=tasks)))["changed"] == 0


def test_equal_seeds_do_not_tie_independent_runs_together() -> None:
    first = compare(run_of(effects(), seed=1), run_of(effects(), seed=2, prompts="q"))
    again = compare(run_of(effects(), seed=1), run_of(effects(), seed=2, prompts="q"))
    pd.testing.assert_frame_equal(first.tasks, again.tasks)
    pd.testing.assert_frame_equal(first.heads, again.heads)
    wide = (first.heads["high"] - first.heads["low"]).mean()
    single = (first.heads["a_high"] - first.heads["a_low"]).mean()
    assert wide == pytest.approx(np.sqrt(2) * single, rel=0.15), "variances add"
    other = compare(run_of(effects(), seed=1), run_of(effects(), seed=2, prompts="q"), seed=1)
    assert not other.heads["low"].equals(first.heads["low"])


# --- what the runs have


def test_one_run_twice_says_so() -> None:
    run = run_of(effects())
    found = compare(run, run)
    row = only(found)
    assert [row[name] for name in ("rho", "rho_low", "rho_high", "jaccard", "corrected")] == pytest.approx([1] * 5)
    assert row["changed"] == 0
    assert (found.heads["p"] == 1).all()
    assert found.notes == (
        "Both are one run, or two with the same numbers: every correlation is 1 and no head can differ.",
    )
    assert found.differs.empty


def test_what_differs_is_listed_and_other_weights_warn() -> None:
    found = compare(run_of(effects(), weights="aa"), run_of(effects(), weights="bb", seed=3))
    assert found.differs.to_numpy().tolist() == [["model weights_sha256", "aa", "bb"], ["plan seed", "0", "3"]]
    assert found.notes[0].startswith("Heads are matched by layer and number. That means something for revisions")


def test_other_grids_are_compared_without_matching_heads() -> None:
    one = run_of([[0.0, 1.0], [0.0, 0.0]], noise=1e-3)
    other = run_of([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], noise=1e-3, prompts="q")
    found = compare(one, other)
    row = only(found)
    assert row["reason"] == "heads cannot be matched: layers x heads are 2 x 2 and 3 x 3"
    assert found.heads.empty
    sides = found.sides.set_index("run")
    assert sides["depth"].round(2).tolist() == [0.0, 1.0]
    assert sides["top_share"].round(2).tolist() == [1.0, 0.5]
    assert sides.loc["b", "top_share_low"] < 0.5 < sides.loc["b", "top_share_high"]
    assert sides["accuracy"].tolist() == [0.9, 0.9]
    assert row["reason"] in found.describe()
    with pytest.raises(UsageError, match="heads cannot be matched"):
        found.figure()


def test_without_per_example_values_only_points_are_given() -> None:
    bare = replace(run_of(effects(), seed=1), examples={})
    found = compare(bare, run_of(effects(), seed=2))
    row = only(found)
    assert row["rho"] == pytest.approx(
        stats.spearmanr(mean(run_of(effects(), seed=1)), mean(run_of(effects(), seed=2)))[0]
    )
    assert np.isnan([row[name] for name in ("rho_low", "reliability_a", "corrected", "jaccard_low", "changed")]).all()
    assert row["reason"] == "a run that keeps no per-example values of this score cannot be resampled"
    assert found.heads["difference"].notna().all()
    assert found.heads[["p", "q", "low"]].isna().all(axis=None)
    assert not found.heads["changed"].any()
    assert len(found.figure().data) == 2


def test_older_runs_know_their_groups_only_where_each_example_is_one() -> None:
    new, old = run_of(effects(), seed=1), replace(run_of(effects(), seed=2), groups={})
    assert only(compare(new, old))["rho_low"] < 1
    grouped = replace(run_of(effects(), seed=2, each=2), groups={})
    row = only(compare(new, grouped))
    assert np.isnan(row["rho_low"])
    assert row["reason"].startswith("a run that does not say which examples belong together")
    unprinted = replace(old, tasks=old.tasks.drop(columns="prompts"))
    found = compare(new, unprinted)
    assert only(found)["paired"] is False
    assert "t: a run does not record its prompts, so they are taken for different ones." in found.notes


def test_heads_that_are_all_equal_have_no_order() -> None:
    flat = run_of(np.zeros(SHAPE), noise=0)
    row = only(compare(flat, run_of(effects(), prompts="q")))
    assert np.isnan([row["rho"], row["corrected"]]).all()
    assert row["reason"] == "all heads of a run have the same effect, so there is no order to compare"
    assert row["changed"] > 10


def test_few_groups_leave_out_what_cannot_be_said() -> None:
    row = only(compare(run_of(effects(), n=3), run_of(effects(), n=3, seed=1)))
    assert row["rho_low"] <= row["rho"] <= row["rho_high"]
    assert np.isnan([row["reliability_a"], row["corrected"]]).all()
    row = only(compare(run_of(effects(), n=2, each=2), run_of(effects(), n=2, each=2, seed=1)))
    assert np.isnan([row["rho_low"], row["jaccard_low"]]).all()


def test_heads_without_a_number_are_left_out() -> None:
    one, other = run_of(effects(), seed=1), run_of(effects(), seed=2)
    values = one.examples["t.patching.denoising"].clone()
    values[:, 0, 0] = torch.nan
    scores = one.scores.copy()
    scores.loc[0, ["value", "low", "high", "p", "q", "rank"]] = np.nan
    scores.loc[0, "reason"] = "nothing is said of it"
    found = compare(replace(one, scores=scores, examples={"t.patching.denoising": values}), other)
    assert only(found)["heads"] == GRID.size - 1
    last = found.heads.iloc[-1]
    assert (last["label"], last["reason"]) == ("L0H0", "nothing is said of it")
    assert np.isnan(last["difference"])
    none = scores.assign(value=np.nan, reason="refused")
    row = only(compare(replace(one, scores=none), other))
    assert np.isnan(row["rho"])
    assert row["reason"] == "fewer than 3 heads have a number in both runs: refused"


def test_what_only_one_run_has_is_named() -> None:
    one = run_of(effects())
    more = replace(one, scores=pd.concat([one.scores, one.scores.assign(task="u"), one.scores.assign(method="m")]))
    found = compare(more, one)
    assert found.left_out == ("u by patching; t by m: only in the first run",)
    assert len(found.tasks) == 1
    units = replace(one, scores=one.scores.assign(unit="probability"))
    with pytest.raises(UsageError) as caught:
        compare(one, units)
    assert (
        caught.value.given == "two runs with no score in common (first run: t by patching; second run: t by patching; "
        "measured in logits and in probability)"
    )
    with pytest.raises(UsageError) as caught:
        compare(one, one, tasks=["ioi"])
    assert str(caught.value) == (
        "task 'ioi'\n  expected: tasks of both runs: t\n  to fix it: name what both runs have, or leave it out"
    )


def test_interrupted_runs_and_failed_tasks_are_flagged() -> None:
    one, other = run_of(effects()), run_of(effects(), seed=1)
    failed = replace(other, tasks=other.tasks.assign(status="failed"), identity={**other.identity, "complete": False})
    found = compare(one, failed)
    assert only(found)["flagged"] is True
    assert found.notes == (
        "Run B was interrupted: only what it had finished is compared.",
        "t: the model of run B fails this task, so its effects explain a failure.",
    )


# --- the picture


def test_the_figure_holds_every_head_and_names_the_changed_ones() -> None:
    one = effects()
    other = one.copy()
    other[2, 3] += 2
    found = compare(run_of(one, seed=1), run_of(other, seed=2))
    for options in ({}, {"theme": DARK}):
        figure = found.figure("t", **options)
        dots = {trace.name: trace for trace in figure.data if trace.showlegend}
        changed, rest = dots["changed (q &lt; 0.05)"], dots["not shown to change"]
        assert list(changed.text) == ["L2H3"]
        assert len(changed.x) + len(rest.x) == GRID.size
        row = found.heads.iloc[0]
        assert (changed.x[0], changed.y[0]) == (row["a"], row["b"])
        assert changed.error_y.array[0] == pytest.approx(row["b_high"] - row["b"])
        assert figure.layout.xaxis.range == figure.layout.yaxis.range
        assert changed.customdata[0].startswith("<b>L2H3</b> +")
    with pytest.raises(UsageError) as caught:
        found.figure("u")
    assert str(caught.value) == (
        "task 'u', method None, score None\n  expected: one of: t / patching / denoising\n"
        "  to fix it: name a score that both runs have"
    )


def test_names_do_not_cover_one_another() -> None:
    one = np.zeros(SHAPE)
    one[3] = 5.0
    found = compare(run_of(one, seed=1, noise=0.01), run_of(one + 0.3, seed=2, noise=0.01))
    named = [text for trace in found.figure().data for text in trace.text or () if text]
    assert len(found.changed()) == GRID.size
    assert len(named) == 2, "one where 18 dots lie on one another, one where 6 do"
