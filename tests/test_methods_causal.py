"""Patching and ablation equal plain Hugging Face loops and TransformerLens's own sweep, on every architecture."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from architectures import HEADS, LAYERS
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope import replay
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods import METHODS
from headscope.methods.ablation import ALL_KINDS, ablate_sets, ablation
from headscope.methods.patching import patching
from headscope.methods.replacements import Source, resample_donors
from headscope.methods.twins import Limits
from headscope.models import Edit, Model, load
from headscope.prompts import ABSENT, Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

SAME = 1e-5
"""The largest difference allowed, as a part of the largest metric."""

CAREFUL = settings(
    derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- the oracle: one unpadded prompt, one head, one forward; sums in plain Python


def rows_of(pairs: Pairs, tokens: Tensor) -> list[Tensor]:
    return [row[:length][None] for row, length in zip(tokens, pairs.mask.sum(1).tolist(), strict=True)]


def metric(logits: Tensor, pairs: Pairs, example: int) -> float:
    at = logits[0, int(pairs.end[example])].double()
    sides = [[float(at[i]) for i in ids[example].tolist() if i != ABSENT] for ids in (pairs.answers, pairs.foils)]
    return sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])


def swept(plain: Any, pairs: Pairs, rows: list[Tensor], donors: list[Tensor]) -> Tensor:
    """The metric on each row when one head's z comes from its `donors` [layer, position, head, d_head]."""
    sets = [[(layer, head)] for layer in range(LAYERS) for head in range(HEADS)]
    return together(plain, pairs, rows, donors, sets).unflatten(1, (LAYERS, HEADS))


def together(
    plain: Any, pairs: Pairs, rows: list[Tensor], donors: list[Tensor], sets: list[list[tuple[int, int]]]
) -> Tensor:
    """The metric on each row when all heads of a set have their z from the row's `donors`."""
    found = torch.zeros(len(rows), len(sets), dtype=torch.float64)
    for example, row in enumerate(rows):
        for index, members in enumerate(sets):
            edits = [(at, torch.arange(HEADS)[None] == head, donors[example][at][None]) for at, head in members]
            found[example, index] = metric(oracles.run(plain, row, None, edits), pairs, example)
    return found


def replacements(pairs: Pairs, z: list[Tensor], seed: int) -> dict[str, list[Tensor]]:
    """What each kind of ablation puts in place of every example's z [layer, position, head, d_head]."""
    count, lengths = len(z), [values.shape[1] for values in z]

    def at(place: int, members: list[int]) -> Tensor:
        there = [z[e][:, place] for e in members if lengths[e] > place]
        return torch.stack(there).mean(0) if len(there) > 1 else torch.full_like(z[0][:, 0], torch.nan)

    mean = torch.stack([z[e][:, p] for e in range(count) for p in range(lengths[e])]).mean(0)
    groups = pairs.groups.tolist()
    mates = [[other for other in range(count) if groups[other] == groups[e]] for e in range(count)]
    donors = [z[donor] for donor in resample_donors(pairs, seed).tolist()]
    return {
        "zero": [torch.zeros_like(values) for values in z],
        "mean": [mean[:, None].expand_as(values) for values in z],
        "mean_position": [torch.stack([at(p, list(range(count))) for p in range(n)], 1) for n in lengths],
        "mean_template": [torch.stack([at(p, mates[e]) for p in range(lengths[e])], 1) for e in range(count)],
        "resample": [
            torch.stack([donors[e][:, min(p, donors[e].shape[1] - 1)] for p in range(lengths[e])], 1)
            for e in range(count)
        ],
    }


def outputs(plain: Any, rows: list[Tensor]) -> list[Tensor]:
    return [oracles.outputs(plain, row, HEADS)[:, 0] for row in rows]


def metrics_of(plain: Any, pairs: Pairs, rows: list[Tensor]) -> Tensor:
    found = [metric(oracles.run(plain, row), pairs, example) for example, row in enumerate(rows)]
    return torch.tensor(found, dtype=torch.float64)[:, None, None]


def expect_equal(ours: Tensor, theirs: Tensor, scale: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert (ours - theirs).nan_to_num().abs().max() <= SAME * max(1.0, float(scale.abs().max()))
    assert theirs.nan_to_num().abs().max() > 1e-3, "effects of nothing cannot fail this test"


# --- equality


def test_patching_equals_hugging_face(model: Model, plain: Any) -> None:
    pairs = random_pairs(n=3)
    clean, corrupted = rows_of(pairs, pairs.tokens), rows_of(pairs, pairs.corrupted)
    before = metrics_of(plain, pairs, clean), metrics_of(plain, pairs, corrupted)
    found = patching(model, pairs, batch_size=5)
    restored = swept(plain, pairs, corrupted, outputs(plain, clean))
    damaged = swept(plain, pairs, clean, outputs(plain, corrupted))
    expect_equal(found["denoising"], restored - before[1], before[1])
    expect_equal(found["noising"], before[0] - damaged, before[0])


def test_ablation_equals_hugging_face(model: Model, plain: Any) -> None:
    pairs = random_pairs(n=5)  # lengths 9, 7, 5, 9, 7; the last is the only one of its group
    rows = rows_of(pairs, pairs.tokens)
    before, z = metrics_of(plain, pairs, rows), outputs(plain, rows)
    found = ablation(model, pairs, kinds=ALL_KINDS, batch_size=2, seed=3)
    for kind, donors in replacements(pairs, z, seed=3).items():
        expect_equal(found[kind], before - swept(plain, pairs, rows, donors), before)
    absent = {kind: value.isnan().flatten(1).all(1).tolist() for kind, value in found.items()}
    assert absent.pop("mean_template") == [True, False, False, True, True]
    assert not any(map(any, absent.values()))


def test_ablation_of_sets_equals_hugging_face(model: Model, plain: Any) -> None:
    pairs = random_pairs(n=4)
    rows = rows_of(pairs, pairs.tokens)
    before, z = metrics_of(plain, pairs, rows), outputs(plain, rows)
    everything = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    sets = [[], [(0, 1), (2, 3)], [(1, 0), (1, 1), (1, 2), (1, 3)], [(2, 2)], everything]
    for kind, donors in replacements(pairs, z, seed=1).items():
        expected = before[:, 0] - together(plain, pairs, rows, donors, sets)
        found = ablate_sets(model, pairs, sets, kind=kind, seed=1, limits=Limits(batch_size=3))
        # An empty set replaces nothing, but an example without a mean has none either.
        lonely = expected.isnan().any(1)
        expected[lonely, 0] = torch.nan
        expect_equal(found, expected, before)


def test_patching_equals_transformer_lens(model: Model) -> None:
    from transformer_lens import patching as theirs

    pairs = random_pairs(n=3, padded=False)

    def measure(logits: Tensor) -> Tensor:
        return torch.tensor([metric(logits[e : e + 1], pairs, e) for e in range(3)])

    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(pairs.tokens)
        result = theirs.get_act_patch_attn_head_out_all_pos(
            model.bridge, pairs.corrupted, cache, measure, reduce="none", baseline=True
        )
    restored = (result.values - result.baseline).permute(2, 0, 1).double()
    expect_equal(patching(model, pairs)["denoising"], restored, result.baseline)


# --- identities


@CAREFUL
@given(seed=st.integers(0, 99), longest=st.integers(5, 12))
def test_patching_a_run_with_itself_changes_nothing(gpt2_model: Model, seed: int, longest: int) -> None:
    pairs = random_pairs(n=3, longest=longest, seed=seed)
    effects = patching(gpt2_model, replace(pairs, corrupted=pairs.tokens))
    assert all(value.abs().max() <= SAME for value in effects.values())


@CAREFUL
@given(seed=st.integers(0, 99))
def test_noising_is_denoising_of_the_swapped_pair(gpt2_model: Model, seed: int) -> None:
    pairs = random_pairs(seed=seed)
    swapped = patching(gpt2_model, replace(pairs, tokens=pairs.corrupted, corrupted=pairs.tokens))
    assert torch.equal(swapped["denoising"], -patching(gpt2_model, pairs)["noising"])


@CAREFUL
@given(seed=st.integers(0, 99), name=st.sampled_from(["patching", "ablation"]))
def test_swapping_answers_and_foils_turns_every_effect_round(gpt2_model: Model, seed: int, name: str) -> None:
    pairs, function = random_pairs(seed=seed), METHODS[name].function
    turned = function(gpt2_model, replace(pairs, answers=pairs.foils, foils=pairs.answers))
    for score, value in function(gpt2_model, pairs).items():
        torch.testing.assert_close(turned[score], -value, rtol=0, atol=1e-12)


BOTH: dict[str, Callable[..., dict[str, Tensor]]] = {
    "patching": patching,
    "ablation": lambda model, pairs, **options: ablation(model, pairs, kinds=ALL_KINDS, **options),
}


@CAREFUL
@given(order=st.permutations(range(7)), size=st.integers(1, 9), name=st.sampled_from(sorted(BOTH)))
def test_order_and_batch_size_never_matter(gpt2_model: Model, order: list[int], size: int, name: str) -> None:
    """Means and donors lie outside the portion at hand, wherever it ends."""
    pairs, function = random_pairs(n=7), BOTH[name]
    moved = function(gpt2_model, pairs.select(torch.tensor(order)), batch_size=size)
    for score, value in function(gpt2_model, pairs).items():
        assert torch.equal(moved[score].isnan(), value[order].isnan())
        assert (moved[score] - value[order]).nan_to_num().abs().max() <= SAME


@pytest.mark.parametrize("name", sorted(BOTH))
def test_batch_size_and_memory_never_matter(gpt2_model: Model, name: str) -> None:
    pairs, function = random_pairs(n=7), BOTH[name]
    settings = [{"batch_size": 3}, {"batch_size": 50}, {"memory": 1}]
    plain = function(gpt2_model, pairs)
    for options in settings:
        for score, value in function(gpt2_model, pairs, **options).items():
            assert torch.equal(value.isnan(), plain[score].isnan()), (score, options)
            assert (value - plain[score]).nan_to_num().abs().max() <= SAME, (score, options)


@CAREFUL
@given(seed=st.integers(0, 99), kind=st.sampled_from(ALL_KINDS))
def test_sets_of_one_head_are_single_heads(gpt2_model: Model, seed: int, kind: str) -> None:
    pairs = random_pairs(seed=seed)
    sets = [[(layer, head)] for layer, head in gpt2_model.grid]
    together = ablate_sets(gpt2_model, pairs, sets, kind=kind, seed=seed)
    single = ablation(gpt2_model, pairs, kinds=[kind], seed=seed)[kind].flatten(1)
    assert torch.equal(together.isnan(), single.isnan())
    assert (together - single).nan_to_num().abs().max() <= SAME


def test_nothing_is_lost_where_every_prompt_is_the_same(gpt2_model: Model) -> None:
    pairs = random_pairs(n=4, padded=False).select(torch.zeros(4, dtype=torch.long))
    found = ablation(gpt2_model, pairs, kinds=("resample", "mean_position", "mean_template"))
    assert all(value.abs().max() <= SAME for value in found.values())
    assert ablation(gpt2_model, pairs, kinds=("mean",))["mean"].abs().max() > 1e-3, "positions still differ"


def test_patching_every_head_of_every_layer_restores_all_that_attention_does(gpt2_model: Model) -> None:
    """With equal embeddings at the end, and every head's z from the clean run, the corrupted run is the clean run."""
    pairs = random_pairs(padded=False)
    corrupted = pairs.corrupted.clone()
    corrupted[:, -1] = pairs.tokens[:, -1]
    z, heads = gpt2_model.outputs(pairs.tokens), torch.ones(4, HEADS, dtype=torch.bool)
    edits = [Edit(layer=layer, heads=heads, values=z[layer]) for layer in range(LAYERS)]
    patched = gpt2_model.run_at(corrupted, pairs.mask, pairs.end, edits=edits)
    clean = gpt2_model.run_at(pairs.tokens, pairs.mask, pairs.end)
    assert (gpt2_model.run_at(corrupted, pairs.mask, pairs.end) - clean).abs().max() > 0.1
    assert (patched - clean).abs().max() <= SAME


# --- donors and options


def test_donors_are_of_another_group_and_of_equal_length_where_they_can_be() -> None:
    pairs = random_pairs(n=9)
    lengths = pairs.mask.sum(1)
    donors = resample_donors(pairs, 0)
    assert (pairs.groups[donors] != pairs.groups).all()
    for here, donor in enumerate(donors.tolist()):
        could = (pairs.groups != pairs.groups[here]) & (lengths == lengths[here])
        assert not could.any() or lengths[donor] == lengths[here]
    assert len({tuple(resample_donors(pairs, seed).tolist()) for seed in range(5)}) > 1


def test_donors_with_a_single_group_are_other_examples() -> None:
    pairs = replace(random_pairs(n=3), groups=torch.zeros(3, dtype=torch.long))
    assert (resample_donors(pairs, 0) != torch.arange(3)).all()
    assert resample_donors(pairs.select(torch.tensor([0])), 0).tolist() == [0]


def test_means_of_groups_cost_one_run_for_each_example_and_only_those_at_hand_are_held(
    gpt2_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = replace(random_pairs(n=12, padded=False), groups=torch.tensor([0, 1, 2, 3] * 3))
    runs: list[int] = []
    held: list[int] = []
    real_start, real_values = replay.start, Source.values

    def start(model: Model, part: Pairs, tokens: Tensor, **more: Any) -> replay.Run:
        runs.append(len(part))
        return real_start(model, part, tokens, **more)

    def values(self: Source, *given: Any) -> Any:
        found = real_values(self, *given)
        held.append(len(self.held))
        return found

    monkeypatch.setattr(replay, "start", start)
    monkeypatch.setattr(Source, "values", values)
    ablation(gpt2_model, pairs, kinds=["mean_template"], batch_size=2)
    assert (sum(runs), len(held), max(held)) == (24, 6, 2)


def test_unknown_kinds_of_ablation_are_explained(gpt2_model: Model) -> None:
    expected = (
        "ablation kind 'zreo'\n"
        "  expected: any of resample, mean, zero, mean_position, mean_template, counterfactual\n"
        "  to fix it: did you mean 'zero'?"
    )
    with pytest.raises(UsageError) as caught:
        ablation(gpt2_model, random_pairs(), kinds=("zero", "zreo"))
    assert str(caught.value) == expected
    with pytest.raises(UsageError) as caught:
        ablate_sets(gpt2_model, random_pairs(), [], kind="zreo")
    assert str(caught.value) == expected


def test_heads_that_the_model_lacks_are_explained(gpt2_model: Model) -> None:
    with pytest.raises(UsageError, match="head L3H0\n  expected: 3 layers of 4 heads"):
        ablate_sets(gpt2_model, random_pairs(), [[(0, 0)], [(1, 1), (3, 0)]])


# --- known answers


@pytest.mark.parametrize("pair", [((0, 0), (1, 1)), ((0, 2), (2, 0)), ((1, 1), (2, 2))])
def test_the_planted_induction_pair_is_found(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    grid = Grid(layers=3, heads=3)
    planted = planted_model(Plant(induction=pair), grid=grid, vocabulary=32, positions=32, noise=0.02)
    model = load(planted, device="cpu")
    pairs = TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))
    values = patching(model, pairs) | ablation(model, pairs)
    for name, value in values.items():
        mean = value.nanmean(0).flatten()  # the longest prompt may be alone at its end
        best = {divmod(int(i), grid.heads) for i in mean.abs().topk(2).indices}
        assert best == set(pair), name
        others = [float(mean[layer * 3 + head].abs()) for layer, head in grid if (layer, head) not in pair]
        assert mean[pair[1][0] * 3 + pair[1][1]] > 10 * max(others), name
