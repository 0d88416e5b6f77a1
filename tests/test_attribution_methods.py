"""Attribution of parts, integrated gradients and importance: each against its definition, and exact where it can be."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import oracles_attention
import oracles_gradient
import pytest
import scenes
import torch
from architectures import HEADS, LAYERS
from fixtures_tasks import random_pairs
from torch import Tensor

from headscope import replay
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.agreement import agreement
from headscope.methods.attribution import attribution
from headscope.methods.attribution_parts import PARTS, attribution_parts
from headscope.methods.importance import importance
from headscope.methods.integrated import completeness, integrated_gradients
from headscope.methods.patching import patching
from headscope.models import Model, load
from headscope.models.cutting import Cut
from headscope.models.program import Program, Projection
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

SAME = 1e-5
SUBTRACTED = 1e-4
"""The same where small effects are differences of two whole runs, in single precision."""
DIRECTIONS = ("denoising", "noising")


def patched(model: Any, pairs: Pairs, site: str) -> dict[str, Tensor]:
    """Exact patching of a site by the replay engine, whose own tests hold it to Hugging Face."""
    runs = [replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted)]
    found = {}
    for name, own, donor in (("denoising", runs[1], runs[0]), ("noising", runs[0], runs[1])):
        values = [donor.site(site, layer) for layer in range(model.grid.layers)]
        edits = replay.edits_of(replay.single_heads(model.grid), values, pairs.mask, site=site)
        effect = (replay.replay(own, edits) - own.metric[:, None]) * (1 if name == "denoising" else -1)
        found[name] = effect.unflatten(1, (model.grid.layers, model.grid.heads))
    return found


def by_hand(model: Model, program: Program) -> Any:
    """The same model, if its parts were these."""
    kind = type("ByHand", (type(model),), {"cut": Cut(program)})
    made = object.__new__(kind)
    made.__dict__.update(vars(model), grid=Grid(layers=len(program.blocks), heads=program.heads))
    return made


def straight(program: Program, *, uniform: bool) -> Program:
    """The same without norms, and with linear MLPs; with uniform attention the whole model is linear."""
    blocks = []
    for block in program.blocks:
        query = Projection(weight=torch.zeros_like(block.query.weight)) if uniform else block.query
        shape = None if uniform else block.shape_q
        blocks.append(
            replace(
                block, enter=lambda x: 5 * x, join=torch.add, leave=torch.add, query=query, shape_q=shape,
                mlp=lambda x, out=block.out: 0.1 * (x @ x.new_ones(x.shape[-1], x.shape[-1])) / x.shape[-1],
            )
        )  # fmt: skip
    return replace(program, blocks=tuple(blocks), norm=lambda x: x, softcap=None)


# --- a linear model: everything is exact


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3", "gpt_neox"], indirect=True)
def test_in_a_linear_model_every_estimate_is_exact(model: Any) -> None:
    linear, pairs = by_hand(model, straight(model.cut.program, uniform=True)), scenes.pairs()
    wanted = patched(linear, pairs, "z")
    found = attribution(linear, pairs)
    for name in DIRECTIONS:
        assert scenes.apart(found[name], wanted[name]) <= SUBTRACTED
    assert scenes.apart(integrated_gradients(linear, pairs, steps=1)["integrated"], wanted["noising"]) <= SUBTRACTED
    sums, whole = completeness(linear, pairs, steps=1).T
    assert scenes.apart(sums, whole) <= SUBTRACTED
    values = attribution_parts(linear, pairs, corrected=False)
    for name, value in patched(linear, pairs, "v").items():
        assert scenes.apart(values[f"{name}_v"], value) <= SUBTRACTED
    report = agreement(found["noising"], wanted["noising"], top=5)
    assert (report.shared, report.missed) == (5, None)
    assert report.spearman > 0.999


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "qwen3", "gemma2"], indirect=True)
@pytest.mark.parametrize("site", PARTS)
def test_with_nothing_but_attention_in_the_way_the_correction_is_exact(model: Any, site: str) -> None:
    """A single block that is linear behind attention: exact with the correction, and not without."""
    program = straight(model.cut.program, uniform=False)
    last, pairs = by_hand(model, replace(program, blocks=program.blocks[-1:])), scenes.pairs()
    wanted = patched(last, pairs, site)
    found, rough = attribution_parts(last, pairs), attribution_parts(last, pairs, corrected=False)
    for name in DIRECTIONS:
        assert scenes.apart(found[f"{name}_{site}"], wanted[name]) <= SUBTRACTED
        if site in {"q", "k"}:
            assert scenes.apart(rough[f"{name}_{site}"], wanted[name]) > 1e-2


# --- q, k, v and pattern on every architecture


def changed(plain: Any, pairs: Pairs, site: str, *, part: float = 1.0) -> tuple[list[Tensor], list[Tensor]]:
    """z of each layer of the corrupted run, as it is and with all its heads' `site` moved to the clean run's."""
    _, own = oracles_attention.run(plain, pairs.corrupted, pairs.mask)
    _, donor = oracles_attention.run(plain, pairs.tokens, pairs.mask)
    after = []
    for layer in range(LAYERS):
        heads = torch.zeros(LAYERS, HEADS, dtype=torch.bool)
        heads[layer] = True
        pair = zip(getattr(own, site), getattr(donor, site), strict=True)
        change = oracles_attention.Change(
            site=site, heads=heads, values=[a + part * (b - a) for a, b in pair], places=pairs.mask
        )
        after.append(oracles_attention.run(plain, pairs.corrupted, pairs.mask, change)[1].z[layer])
    return own.z, after


def through(plain: Any, pairs: Pairs, before: list[Tensor], after: list[Tensor]) -> Tensor:
    """A change of z times the slope of the metric at the corrupted run."""
    metric = oracles_gradient.difference(pairs)
    slope = oracles_gradient.slopes(plain, pairs.corrupted, pairs.mask, metric, HEADS).slope
    change = (torch.stack(after) - torch.stack(before)) * pairs.mask[None, :, :, None, None]
    return (change * slope).sum((2, 4)).transpose(0, 1).double()


@pytest.mark.parametrize("site", PARTS)
def test_corrected_parts_are_recomputed_attention_in_hugging_face(model: Model, plain: Any, site: str) -> None:
    pairs = scenes.pairs()
    wanted = through(plain, pairs, *changed(plain, pairs, site))
    assert wanted.abs().max() > 1e-3
    for size in (1, 8):
        assert scenes.apart(attribution_parts(model, pairs, batch_size=size)[f"denoising_{site}"], wanted) <= SAME


@pytest.mark.parametrize("architecture", ["gpt2", "qwen3", "gemma2", "bert"], indirect=True)
@pytest.mark.parametrize("site", ["q", "k", "v"])
def test_uncorrected_parts_are_the_slope_of_attention(model: Model, plain: Any, site: str) -> None:
    pairs, double, step = random_pairs(n=3), copy.deepcopy(plain).double(), 1e-3
    ends = [changed(double, pairs, site, part=part)[1] for part in (step, -step)]
    wanted = through(double, pairs, *reversed(ends)) / (2 * step)
    found = attribution_parts(model, pairs, corrected=False)[f"denoising_{site}"]
    assert wanted.abs().max() > 1e-3
    assert scenes.apart(found, wanted) <= 1e-3


def test_noising_of_parts_is_denoising_of_the_swapped_pair(gpt2_model: Model) -> None:
    pairs = random_pairs()
    swapped = attribution_parts(gpt2_model, replace(pairs, tokens=pairs.corrupted, corrupted=pairs.tokens))
    found = attribution_parts(gpt2_model, pairs)
    for site in PARTS:
        assert scenes.apart(swapped[f"denoising_{site}"], -found[f"noising_{site}"]) <= SAME


# --- integrated gradients


def test_integrated_gradients_are_the_mean_slope_between_the_twins(model: Model, plain: Any) -> None:
    pairs, steps = scenes.pairs(), 3
    metric = oracles_gradient.difference(pairs)
    twins = [pairs.tokens, pairs.corrupted]
    streams = [oracles_gradient.stream(plain, tokens, pairs.mask) for tokens in twins]
    ends = [oracles_gradient.slopes(plain, tokens, pairs.mask, metric, HEADS).z for tokens in twins]
    mean = 0
    for step in range(steps):
        way = (2 * step + 1) / (2 * steps)
        start = way * streams[0] + (1 - way) * streams[1]
        found = oracles_gradient.slopes(plain, pairs.tokens, pairs.mask, metric, HEADS, start)
        mean = mean + found.slope / steps
    change = (ends[0] - ends[1]) * pairs.mask[None, :, :, None, None]
    wanted = (change * mean).sum((2, 4)).transpose(0, 1).double()
    for size in (1, 8):
        found = integrated_gradients(model, pairs, steps=steps, batch_size=size)["integrated"]
        assert scenes.apart(found, wanted) <= SAME


def test_the_inputs_integrated_gradients_add_up_to_the_whole_effect(model: Model) -> None:
    pairs = scenes.pairs()
    errors = []
    for steps in (2, 8, 64):
        sums, whole = completeness(model, pairs, steps=steps).T
        errors.append(scenes.apart(sums, whole))
    clean, corrupted = (replay.start(model, pairs, tokens).metric for tokens in (pairs.tokens, pairs.corrupted))
    assert scenes.apart(whole, clean - corrupted) <= SAME
    assert errors[2] <= 1e-2
    assert errors[2] < errors[0]


def test_no_steps_are_refused(gpt2_model: Model) -> None:
    for function in (integrated_gradients, completeness):
        with pytest.raises(UsageError) as caught:
            function(gpt2_model, random_pairs(), steps=0)
        assert str(caught.value) == (
            "0 steps\n  expected: at least 1\n  to fix it: take 5, or more where completeness is bad"
        )


# --- importance


def test_importance_is_the_slope_of_a_gate(model: Model, plain: Any) -> None:
    pairs = scenes.pairs()
    wanted = oracles_gradient.gates(plain, pairs.tokens, pairs.mask, oracles_gradient.difference(pairs), HEADS).abs()
    found = importance(model, pairs)
    assert scenes.apart(found["importance"], wanted.double()) <= SAME
    length = wanted.mean(0).square().sum(-1).sqrt()
    assert scenes.apart(found["importance_in_layer"], (wanted / length[:, None]).double()) <= SAME


def test_importance_in_a_layer_that_does_nothing_is_absent() -> None:
    plant = Plant(induction=((0, 0), (2, 1)))
    model = load(planted_model(plant, grid=Grid(3, 2), vocabulary=32, positions=32), device="cpu")
    found = importance(model, TASKS["induction"].build(model, n=3, rng=np.random.default_rng(0)))
    assert found["importance"][:, 1].eq(0).all()
    assert found["importance_in_layer"].isnan().any(-1).all(0).tolist() == [False, True, False]


# --- known answers


@pytest.mark.parametrize("pair", [((0, 0), (1, 1)), ((0, 2), (2, 0))])
def test_planted_heads_are_found(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    grid = Grid(layers=3, heads=3)
    planted = planted_model(Plant(induction=pair), grid=grid, vocabulary=32, positions=32, noise=0.02)
    model = load(planted, device="cpu")
    pairs = TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))
    best = integrated_gradients(model, pairs, steps=10)["integrated"].mean(0).flatten().abs().topk(2).indices
    assert {divmod(int(i), grid.heads) for i in best} == set(pair)
    # The first head of the pair acts only through saturated attention: a plain gradient is blind to it, and sees no
    # more than that it makes the stream longer, which the last norm divides by.
    found, exact = attribution(model, pairs)["noising"], patching(model, pairs)["noising"]
    first, second = pair
    assert min(found.mean(0)[second], exact.mean(0)[second], exact.mean(0)[first]) > 10
    assert found.mean(0)[first] < 0
    report = agreement(found, exact, top=2)
    assert (report.worst, report.shared) == (grid.label(*first), 2)


# --- agreement


def test_agreement_says_what_was_missed() -> None:
    exact = torch.tensor([[[5.0, -4.0], [1.0, torch.nan]], [[7.0, -4.0], [1.0, torch.nan]]])
    rough = torch.tensor([[[2.0, 0.5], [1.0, 9.0]], [[4.0, 0.5], [1.0, 9.0]]])
    found = agreement(rough, exact, top=2)
    assert (found.heads, found.top, found.shared, found.missed, found.missed_rank) == (3, 2, 1, "L0H1", 3)
    assert (found.worst, found.approximate, found.exact) == ("L0H1", 0.5, -4.0)
    assert found.spearman == pytest.approx(1.0)
    assert found.spearman_size == pytest.approx(0.5)
    same = agreement(exact, exact)
    assert (same.top, same.shared, same.missed, same.missed_rank) == (3, 3, None, None)
    assert same.describe() == (
        "rank correlation 1.00 (sizes 1.00) over 3 heads; 3 of the top 3 found; furthest off L0H0: 6, exact 6"
    )
    assert np.isnan(agreement(torch.zeros(1, 1, 2), torch.rand(1, 1, 2)).spearman)


def test_agreement_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        agreement(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), top=0)
    assert str(caught.value) == (
        "values (1, 1, 2) and (1, 1, 2), top 0\n  expected: two arrays [example, layer, head] of one shape, and at "
        "least 1\n  to fix it: give both for one run"
    )
    with pytest.raises(UsageError) as caught:
        agreement(torch.full((1, 1, 2), torch.nan), torch.zeros(1, 1, 2))
    assert str(caught.value) == (
        "no head with both values\n  expected: at least one\n  to fix it: see why they are NaN"
    )


# --- real weights


def test_on_a_trained_model_attribution_goes_with_patching_and_the_correction_helps() -> None:
    model = load("mini", device="cpu")
    pairs = TASKS["ioi"].build(model, n=8, rng=np.random.default_rng(0))
    for name, exact in patching(model, pairs).items():
        assert agreement(attribution(model, pairs)[name], exact).spearman > 0.8
    corrected, plain = attribution_parts(model, pairs), attribution_parts(model, pairs, corrected=False)
    for site in ("q", "k"):
        for name, exact in patched(model, pairs, site).items():
            with_it, without = (agreement(found[f"{name}_{site}"], exact) for found in (corrected, plain))
            assert with_it.spearman > 0.9
            assert with_it.spearman > without.spearman + 0.05
