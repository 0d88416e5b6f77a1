"""Patching and ablation equal plain Hugging Face loops and TransformerLens's own sweep, on every architecture."""

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

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods import METHODS
from headscope.methods.ablation import ablation, resample_donors
from headscope.methods.patching import patching
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
    found = torch.zeros(len(rows), LAYERS, HEADS, dtype=torch.float64)
    for example, row in enumerate(rows):
        for layer in range(LAYERS):
            for head in range(HEADS):
                heads = torch.arange(HEADS)[None] == head
                logits = oracles.run(plain, row, None, [(layer, heads, donors[example][layer][None])])
                found[example, layer, head] = metric(logits, pairs, example)
    return found


def outputs(plain: Any, rows: list[Tensor]) -> list[Tensor]:
    return [oracles.outputs(plain, row, HEADS)[:, 0] for row in rows]


def metrics_of(plain: Any, pairs: Pairs, rows: list[Tensor]) -> Tensor:
    found = [metric(oracles.run(plain, row), pairs, example) for example, row in enumerate(rows)]
    return torch.tensor(found, dtype=torch.float64)[:, None, None]


def expect_equal(ours: Tensor, theirs: Tensor, scale: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= SAME * max(1.0, float(scale.abs().max()))
    assert theirs.abs().max() > 1e-3, "effects of nothing cannot fail this test"


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
    pairs = random_pairs(n=4)
    rows = rows_of(pairs, pairs.tokens)
    before, z = metrics_of(plain, pairs, rows), outputs(plain, rows)
    found = ablation(model, pairs, batch_size=7, seed=3)
    mean = torch.stack([z[e][:, p] for e in range(4) for p in range(z[e].shape[1])]).mean(0)
    other = []
    for example, donor in enumerate(resample_donors(pairs, 3).tolist()):
        last = z[donor].shape[1] - 1
        other.append(torch.stack([z[donor][:, min(p, last)] for p in range(z[example].shape[1])], dim=1))
    expected = {
        "zero": [torch.zeros_like(values) for values in z],
        "mean": [mean[:, None].expand_as(values) for values in z],
        "resample": other,
    }
    for kind, donors in expected.items():
        expect_equal(found[kind], before - swept(plain, pairs, rows, donors), before)


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


@CAREFUL
@given(order=st.permutations(range(4)), size=st.integers(1, 60), name=st.sampled_from(["patching", "ablation"]))
def test_order_and_batch_size_never_matter(gpt2_model: Model, order: list[int], size: int, name: str) -> None:
    pairs, function = random_pairs(), METHODS[name].function
    moved = function(gpt2_model, pairs.select(torch.tensor(order)), batch_size=size)
    for score, value in function(gpt2_model, pairs).items():
        assert (moved[score] - value[order]).abs().max() <= SAME


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


def test_unknown_kinds_of_ablation_are_explained(gpt2_model: Model) -> None:
    with pytest.raises(UsageError) as caught:
        ablation(gpt2_model, random_pairs(), kinds=("zero", "zreo"))
    assert str(caught.value) == (
        "ablation kinds ['zreo']\n  expected: any of resample, mean, zero\n  to fix it: correct the kinds"
    )


# --- known answers


@pytest.mark.parametrize("pair", [((0, 0), (1, 1)), ((0, 2), (2, 0)), ((1, 1), (2, 2))])
def test_the_planted_induction_pair_is_found(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    grid = Grid(layers=3, heads=3)
    planted = planted_model(Plant(induction=pair), grid=grid, vocabulary=32, positions=32, noise=0.02)
    model = load(planted, device="cpu")
    pairs = TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))
    values = patching(model, pairs) | ablation(model, pairs)
    for name, value in values.items():
        mean = value.mean(0).flatten()
        best = {divmod(int(i), grid.heads) for i in mean.abs().topk(2).indices}
        assert best == set(pair), name
        others = [float(mean[layer * 3 + head].abs()) for layer, head in grid if (layer, head) not in pair]
        assert mean[pair[1][0] * 3 + pair[1][1]] > 10 * max(others), name
