"""The controls: exchanged twins are what they should be, and where there is nothing to find nothing is found."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from circuitcases import DECIDER, GRID, READER, planted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope.deduction.confidence import force
from headscope.deduction.controls import (
    CONTROLS,
    absent,
    change_table,
    changes,
    chosen_by,
    confidence_of,
    found_by,
    shuffled,
    together,
)
from headscope.deduction.heads import KINDS, Effects, Selected, alone, head_table, merged, role_effects, select
from headscope.deduction.settings import claimed_size, sizes
from headscope.errors import TaskError
from headscope.grid import Grid
from headscope.models import Model, load, untrained
from headscope.tasks.chains import RolePairs, draw_chains, pairs


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", check=False)


@pytest.fixture(scope="module")
def facts(mini: Model) -> RolePairs:
    return pairs(mini, corruption="facts", n=24, rng=np.random.default_rng(3))


def written(tokens: Tensor, mask: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row[held].tolist()) for row, held in zip(tokens, mask, strict=True)]


@settings(max_examples=8, derandomize=True, deadline=None)
@given(st.integers(0, 1000))
def test_exchanged_twins_are_those_of_other_pairs_of_the_same_length(facts: RolePairs, seed: int) -> None:
    other = shuffled(facts, seed=seed)
    clean, twins = written(facts.tokens, facts.mask), written(facts.corrupted, facts.mask)
    came = []
    for row, (own, given_by) in enumerate(
        zip(written(other.tokens, other.mask), written(other.corrupted, other.mask), strict=True)
    ):
        one, two = clean.index(own), twins.index(given_by)
        assert one != two
        assert len(own) == len(given_by)
        assert other.answers[row] == facts.answers[one]
        assert other.foils[row] == facts.foils[two]
        assert other.foils[row] != other.answers[row]
        assert torch.equal(other.span[row], facts.span[one, : other.span.shape[1]])
        came.append(two)
    assert len(came) > 8
    assert len(set(came)) == len(came), "no twin is used twice"


def test_pairs_that_have_no_other_of_their_length_are_refused(facts: RolePairs) -> None:
    with pytest.raises(TaskError, match=r"0 of 1 pairs could have another's[\s\S]*two or more pairs of equal length"):
        shuffled(facts.select(torch.tensor([0])), seed=0)
    same = replace(
        facts, foils=facts.answers[:1].expand(len(facts), 1), answers=facts.answers[:1].expand(len(facts), 1)
    )
    with pytest.raises(TaskError, match="0 of 24 pairs"):
        shuffled(same, seed=0)


def noise(size: tuple[int, int, int], seed: int, *, real: float = 0.0) -> Effects:
    """Effects of no head but one, which is the same on every example."""
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=size))
    values[:, 1, 2] += real
    return {(kind, score): values for kind in KINDS for score in ("paper", "both")}


def told(table: pd.DataFrame, measure: str, kind: str = "reading") -> Any:
    whole: Any = table
    return whole[(whole["measure"] == measure) & (whole["kind"] == kind)].iloc[0]


def test_the_best_of_many_is_nothing_on_pairs_that_did_not_choose_it(facts: RolePairs) -> None:
    one = replace(facts, groups=torch.arange(len(facts)))
    best, held, found = [], [], []
    for seed in range(5):
        table = found_by(noise((24, 3, 8), seed), one, control="untrained", role="facts", k=1, seed=0)
        best.append(told(table, "best").value)
        held.append(told(table, "held out").value)
        found.append(told(table, "significant").value)
    assert np.mean(best) > 0.3, "of 24 heads the best is far above 0 by chance"
    assert abs(np.mean(held)) < 0.2
    assert np.mean(found) < 0.5
    real = found_by(noise((24, 3, 8), 0, real=3.0), one, control="trained", role="facts", k=1, seed=0)
    assert told(real, "held out").low > 1
    assert told(real, "significant").value >= 1
    assert 0.25 < told(real, "share").value < 1
    assert told(real, "share").n == 12
    assert real.columns.tolist() == CONTROLS


def test_too_few_groups_have_no_halves(facts: RolePairs) -> None:
    few = replace(facts, groups=torch.arange(len(facts)) % 3)
    table = found_by(noise((24, 3, 8), 0), few, control="trained", role="facts", k=1, seed=0)
    row = told(table, "held out")
    assert (np.isnan(row.value), row.reason) == (True, "fewer than two groups in a half")


def test_a_planted_circuit_is_found_and_its_untrained_twin_has_none() -> None:
    model, made = planted()
    twin = untrained(model, seed=0)
    counts = {}
    for name, each in (("trained", model), ("untrained", twin)):
        effects = role_effects(each, made)
        table = head_table(effects, made, role="rules", grid=GRID, seed=0)
        chosen, k = select(table, GRID, roles=["rules"], k=1)
        rows = found_by(effects, made, control=name, role="rules", k=k, seed=0)
        whole = change_table(changes(each, made), made, control=name, role="rules", seed=0)
        counts[name] = (told(rows, "best effect").value, told(whole, "change effect", "").value)
        own = [Selected("rules", "reading", (READER,)), Selected("rules", "decision", (DECIDER,))]
        again: Any = chosen_by(table, chosen, own=own, control=name, k=k).set_index(["measure", "kind"])["value"]
        if name == "trained":
            assert again["own", ""] == again["selected", ""] == 2
        assert again["places", "reading"] <= 1
    assert counts["trained"][0] > 10 * abs(counts["untrained"][0])
    assert counts["trained"][1] > 10 * abs(counts["untrained"][1])


def test_the_change_is_that_of_plain_runs(mini: Model, facts: RolePairs) -> None:
    few = facts.select(torch.arange(5))
    row = told(change_table(changes(mini, few), few, control="trained", role="facts", seed=0), "change", "")
    ends = [mini.run(tokens, few.mask)[torch.arange(5), few.end] for tokens in (few.tokens, few.corrupted)]
    clean, corrupted = (each.double().softmax(-1).gather(1, few.answers)[:, 0] for each in ends)
    assert row.value == pytest.approx(float((clean - corrupted).mean()), abs=1e-5)


def test_an_untrained_twin_is_unsure_of_everything(mini: Model) -> None:
    chains = draw_chains(mini, n=3, rng=np.random.default_rng(0))
    table: Any = confidence_of(force(untrained(mini), chains), control="untrained", threshold=0.8, seed=0)
    rows = table.set_index("measure")
    assert rows.loc["uncertain", "unit"] == f"of {int(rows.loc['uncertain', 'value'])} tokens"
    assert rows.loc["uncertain: share", "value"] == pytest.approx(rows.loc["uncertain: tokens", "value"])
    assert rows.loc["right", "value"] < 0.2


def test_what_could_not_be_run_keeps_its_reason() -> None:
    table = together([absent("untrained", "a live model")])
    assert table.loc[0, ["control", "reason"]].tolist() == ["untrained", "a live model"]
    assert np.isnan(table.loc[0, "value"])
    assert together([]).columns.tolist() == CONTROLS


def test_heads_are_alone_where_their_rank_is_outside_every_other_top() -> None:
    rows = [("facts", 0, 3.0, 1), ("facts", 1, 1.0, 5), ("rules", 0, 0.5, 2), ("rules", 1, 2.0, 1)]
    table = pd.DataFrame(rows, columns=["role", "head", "value", "rank_low"]).assign(
        kind="reading", score="both", layer=0
    )
    chosen = [Selected("facts", "reading", ((0, 0),)), Selected("rules", "reading", ((0, 1),))]
    assert alone(table, chosen, k=1)["reading"] == (2, 2, 0.0)
    assert alone(table, chosen, k=2)["reading"][:2] == (1, 2), "the first head may be among two of the other role"


@settings(max_examples=8, derandomize=True, deadline=None)
@given(st.integers(0, 10_000))
def test_the_merged_order_begins_with_the_best_of_each_role_and_kind(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(2, 6)
    rows = [
        (role, kind, "both", *place, value)
        for role in ("facts", "rules") for kind in KINDS
        for place, value in zip(grid, rng.normal(size=grid.size), strict=True)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["role", "kind", "score", "layer", "head", "value"])
    order = merged(table, roles=["facts", "rules"])
    assert len(set(order)) == len(order)
    for k in (1, 2, 3):
        chosen, _ = select(table, grid, roles=["facts", "rules"], k=k)
        every = {head for each in chosen for head in each.heads}
        assert set(order[: len(every)]) == every, "the first heads are the union of the top k"
    helping: Any = table[table["value"] > 0]
    assert set(order) == set(zip(helping["layer"], helping["head"], strict=True))


def test_sizes_are_distinct_and_the_claimed_one_is_among_them() -> None:
    from headscope.deduction import Settings

    assert sizes(Grid(40, 40)) == (8, 16, 32, 48, 80, 160, 320)
    assert claimed_size(Grid(40, 40), Settings()) == 48
    assert sizes(Grid(1, 4)) == (1,)
