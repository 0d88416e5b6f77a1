"""Patching of parts, at positions and by group: equal to Hugging Face and TransformerLens."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from architectures import HEADS, LAYERS, tiny
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import patching as theirs

from headscope import metrics, replay
from headscope.contract import Method
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods import patching_by
from headscope.methods.ablation import ABLATION
from headscope.methods.mediation import MEDIATION
from headscope.methods.patching import (
    PARTS,
    PATCHING,
    POSITIONS,
    QKV_PATTERN,
    parts,
    patch,
    patching,
    positions,
)
from headscope.methods.patching_by import by_group, by_position
from headscope.methods.twins import DIRECTIONS, Limits
from headscope.models import Model, load
from headscope.prompts import LOG_PROBABILITY, Pairs
from headscope.replay.edits import SITES
from headscope.tasks import TASKS
from headscope.testing import Plant, check_method, planted_model

SAME = 1e-5
CAREFUL = settings(
    derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GROUPED = ("llama", "qwen2", "qwen3", "gemma2")


# --- the oracle: plain Hugging Face with its attention replaced


def metric_of(plain: Any, pairs: Pairs, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return scenes.read(plain(input_ids=tokens, attention_mask=pairs.mask.long()).logits, pairs)


def expected(plain: Any, pairs: Pairs, direction: str, edits: replay.Edits) -> Tensor:
    """Effects [example, edit]: one whole forward for each edit."""
    tokens, donor = (pairs.corrupted, pairs.tokens) if direction == "denoising" else (pairs.tokens, pairs.corrupted)
    before = metric_of(plain, pairs, tokens)[:, None]
    after = scenes.expected(plain, pairs, tokens, donor, edits)
    return after - before if direction == "denoising" else before - after


def scale_of(plain: Any, pairs: Pairs) -> float:
    return max(1.0, *(float(metric_of(plain, pairs, each).abs().max()) for each in (pairs.tokens, pairs.corrupted)))


def expect_equal(ours: Tensor, other: Tensor, scale: float, tolerance: float = SAME) -> None:
    assert ours.shape == other.shape
    assert (ours - other).abs().max() <= tolerance * scale
    assert other.abs().max() > 1e-3, "effects of nothing cannot fail this test"


def single(pairs: Pairs, site: str, places: Tensor) -> replay.Edits:
    heads = replay.single_heads(Grid(LAYERS, HEADS))
    at = torch.arange(len(places)).repeat_interleave(len(heads))
    return replay.Edits(site=site, heads=heads.repeat(len(places), 1, 1), values=[], places=places & pairs.mask, at=at)


SITES_OF = {"gpt2": ("z", "k"), "llama": ("v", "pattern"), "bert": ("q",)}
"""Which sites are tried at positions; `parts` tries them all on every architecture."""


# --- equality


def test_parts_equal_hugging_face(model: Model, plain: Any) -> None:
    pairs = scenes.pairs()
    found, scale = parts(model, pairs, batch_size=4), scale_of(plain, pairs)
    assert list(found) == [f"{direction}_{site}" for site in QKV_PATTERN for direction in DIRECTIONS]
    for site in QKV_PATTERN:
        for direction in DIRECTIONS:
            other = expected(plain, pairs, direction, single(pairs, site, pairs.mask[None]))
            expect_equal(found[f"{direction}_{site}"].flatten(1), other, scale)


def test_named_positions_equal_hugging_face(model: Model, plain: Any, architecture: str) -> None:
    pairs, names = scenes.pairs(), ("reading", "decision", "cue")
    reading = pairs.tokens != pairs.corrupted
    at = {name: torch.arange(scenes.WIDTH) == pairs.positions[name][:, None] for name in ("end", "cue")}
    places = torch.stack([reading, at["end"], at["cue"]])
    for site in SITES_OF.get(architecture, ("z",)):
        found = patch(model, pairs, sites=[site], at=names, limits=Limits(batch_size=4))
        for direction in DIRECTIONS:
            other = expected(plain, pairs, direction, single(pairs, site, places)).unflatten(1, (3, LAYERS, HEADS))
            for index, name in enumerate(names):
                ours = found["_".join([direction, *[site] * (site != "z"), name])]
                absent = ~places[index].any(1)
                assert torch.equal(ours.isnan().flatten(1).all(1), absent)
                expect_equal(ours[~absent], other[~absent, index], scale_of(plain, pairs))


def test_by_position_equals_hugging_face(
    model: Model, plain: Any, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patching_by, "CELLS", 5 * Grid(LAYERS, HEADS).size ** 2)  # five positions at a time
    pairs = scenes.pairs()
    for site in SITES_OF.get(architecture, ("z",)):
        ours = by_position(model, pairs, direction="noising", site=site, limits=Limits(batch_size=4))
        places = replay.each_position(pairs.mask)
        other = expected(plain, pairs, "noising", single(pairs, site, places))
        other = other.unflatten(1, (scenes.WIDTH, LAYERS, HEADS)).permute(0, 2, 3, 1)
        real = pairs.mask[:, None, None].expand_as(other)
        assert torch.equal(ours.isnan(), ~real)
        expect_equal(ours[real], other[real], scale_of(plain, pairs))


def test_groups_equal_hugging_face(model: Model, plain: Any) -> None:
    pairs = scenes.pairs()
    found = by_group(model, pairs, sites=SITES)
    groups = getattr(plain.config, "num_key_value_heads", None) or HEADS
    heads = torch.zeros(LAYERS * groups, LAYERS, HEADS, dtype=torch.bool)
    for index in range(len(heads)):
        layer, group = divmod(index, groups)
        heads[index, layer, group * HEADS // groups : (group + 1) * HEADS // groups] = True
    for site in SITES:
        edits = replay.edits_of(heads, [], pairs.mask, site=site)
        for direction in DIRECTIONS:
            ours = found[direction if site == "z" else f"{direction}_{site}"]
            assert ours.shape == (len(pairs), LAYERS, groups)
            expect_equal(ours.flatten(1), expected(plain, pairs, direction, edits), scale_of(plain, pairs))


def test_several_reads_are_all_decisions() -> None:
    plain = tiny("gpt2")
    model, pairs = load(plain, device="cpu"), scenes.pairs(metric=LOG_PROBABILITY)
    places = ((torch.arange(scenes.WIDTH) == pairs.reads[..., None]) & (pairs.reads >= 0)[..., None]).any(1)
    assert sorted(places.sum(1).tolist()) == [1, 2, 2, 3, 3, 3]
    found = positions(model, pairs, at=["decision"])
    for direction in DIRECTIONS:
        other = expected(plain, pairs, direction, single(pairs, "z", places[None]))
        expect_equal(found[f"{direction}_decision"].flatten(1), other, scale_of(plain, pairs))


SWEEPS = {"q": "q", "k": "k", "v": "v", "pattern": "pattern", "z": "out"}


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"], indirect=True)
@pytest.mark.parametrize("site", SITES)
def test_all_and_single_positions_equal_transformer_lens(model: Model, site: str) -> None:
    pairs = random_pairs(n=3, longest=6, padded=False)
    everywhere, single_positions = (
        _theirs(getattr(theirs, f"get_act_patch_attn_head_{SWEEPS[site]}_{kind}_pos"), model, pairs)
        for kind in ("all", "by")
    )
    ours = patch(model, pairs, sites=[site])["denoising" if site == "z" else f"denoising_{site}"]
    expect_equal(ours, everywhere, 1.0, 1e-4)
    by_head = single_positions if site == "pattern" else single_positions.transpose(2, 3)  # as each sweep has its axes
    expect_equal(by_position(model, pairs, site=site), by_head, 1.0, 1e-4)


@pytest.mark.parametrize("architecture", GROUPED, indirect=True)
@pytest.mark.parametrize("site", ["k", "v"])
def test_shared_keys_and_values_equal_transformer_lens(model: Model, site: str) -> None:
    pairs = random_pairs(n=3, longest=6, padded=False)
    other = _theirs(getattr(theirs, f"get_act_patch_attn_head_{site}_all_pos"), model, pairs)
    groups = model.W_K.shape[1]
    ours = by_group(model, pairs, sites=[site])[f"denoising_{site}"]
    expect_equal(ours, other[..., :groups], 1.0, 1e-4)
    single_heads = parts(model, pairs, sites=[site])[f"denoising_{site}"]
    assert (single_heads.unflatten(2, (groups, -1)).sum(-1) - ours).abs().max() > 1e-4, "heads of a group interact"


def _theirs(sweep: Any, model: Any, pairs: Pairs) -> Tensor:
    def measure(logits: Tensor) -> Tensor:
        return metrics.evaluate(logits[torch.arange(len(pairs)), pairs.end], pairs)

    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(pairs.tokens)
        result = sweep(model.bridge, pairs.corrupted, cache, measure, reduce="none", baseline=True)
    return (result.values - result.baseline).movedim(-1, 0).double()


# --- identities


@CAREFUL
@given(seed=st.integers(0, 99))
def test_positions_agree_with_each_other(gpt2_model: Model, seed: int) -> None:
    pairs = scenes.pairs(seed=seed)
    everywhere = patching(gpt2_model, pairs)
    for direction in DIRECTIONS:
        each = by_position(gpt2_model, pairs, direction=direction)
        at_end = each.gather(3, pairs.end[:, None, None, None].expand(*each.shape[:3], 1))[..., 0]
        named = positions(gpt2_model, pairs, at=["all", "decision", "end"])
        torch.testing.assert_close(named[direction], everywhere[direction], rtol=0, atol=SAME)
        torch.testing.assert_close(named[f"{direction}_end"], at_end, rtol=0, atol=SAME)
        assert torch.equal(named[f"{direction}_decision"], named[f"{direction}_end"])
        torch.testing.assert_close(each[:, -1].nansum(-1), everywhere[direction][:, -1], rtol=0, atol=SAME)
        before = torch.arange(scenes.WIDTH) < pairs.first_difference[:, None]
        assert (each[before[:, None, None].expand_as(each) & ~each.isnan()] == 0).all()


@CAREFUL
@given(seed=st.integers(0, 99), site=st.sampled_from(SITES))
def test_noising_is_denoising_of_the_swapped_pair(gpt2_model: Model, seed: int, site: str) -> None:
    pairs = scenes.pairs(seed=seed)
    swapped = replace(pairs, tokens=pairs.corrupted, corrupted=pairs.tokens)
    one = by_position(gpt2_model, pairs, site=site)
    other = by_position(gpt2_model, swapped, site=site, direction="noising")
    assert torch.equal(one.nan_to_num(9.0), -other.nan_to_num(-9.0))


@CAREFUL
@given(size=st.integers(1, 6), memory=st.sampled_from([1, 2**18, None]), site=st.sampled_from(SITES))
def test_batch_size_and_memory_never_matter(gpt2_model: Model, size: int, memory: int | None, site: str) -> None:
    pairs, limits = scenes.pairs(), Limits(batch_size=size, memory=memory)
    one, other = (by_position(gpt2_model, pairs, site=site, limits=each) for each in (limits, Limits()))
    assert torch.equal(one.isnan(), other.isnan())
    assert (one - other).nan_to_num().abs().max() <= SAME
    some = patch(gpt2_model, pairs, sites=[site], at=["cue", "reading"], limits=limits)
    for name, value in patch(gpt2_model, pairs, sites=[site], at=["cue", "reading"]).items():
        assert torch.equal(some[name].isnan(), value.isnan())
        assert (some[name] - value).nan_to_num().abs().max() <= SAME


@pytest.mark.parametrize(
    "method",
    [PATCHING, *(pytest.param(each, marks=pytest.mark.slow) for each in (PARTS, POSITIONS, ABLATION)), MEDIATION],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("architecture", ["llama"], indirect=True)
def test_every_method_keeps_its_contract_on_grouped_queries(method: Method, model: Model) -> None:
    check_method(method, model, random_pairs())


# --- models that are not cut open


def test_a_model_that_is_not_cut_open_takes_edits_of_z() -> None:
    plain, pairs = tiny("gpt2"), random_pairs()
    model, whole = load(plain, device="cpu"), scenes.not_cut_open(plain, "it is a test")
    assert isinstance(replay.start(whole, pairs, pairs.tokens), replay.Whole)
    names = ("reading", "decision")
    for function in (
        patching,
        lambda *given: positions(*given, at=names),
        lambda *given: by_group(*given, sites=["z"]),
    ):
        ours, other = function(whole, pairs), function(model, pairs)
        assert all((ours[name] - other[name]).abs().max() <= SAME for name in other)
    gap = by_position(whole, pairs) - by_position(model, pairs)
    assert gap.nan_to_num().abs().max() <= SAME


@pytest.mark.parametrize("site", ["q", "k", "v", "pattern"])
def test_a_model_that_is_not_cut_open_refuses_edits_of_parts(site: str) -> None:
    text = (
        f"edits of {site} in model 'GPT2LMHeadModel': it is a test\n"
        "  expected: edits of z\n"
        "  to fix it: use a method that edits z, or a model of a known architecture"
    )
    whole, pairs = scenes.not_cut_open(tiny("gpt2"), "it is a test"), random_pairs()
    for function in (
        lambda: parts(whole, pairs, sites=[site]),
        lambda: by_position(whole, pairs, site=site),
        lambda: by_group(whole, pairs, sites=[site]),
    ):
        with pytest.raises(UsageError) as caught:
            function()
        assert str(caught.value) == text


# --- names


def test_unknown_names_are_explained(gpt2_model: Model) -> None:
    pairs, never = scenes.pairs(), "this must not run"
    refused = {
        "position 'raeding' of task 'scene'\n"
        "  expected: one of: all, reading, decision, end, cue\n"
        "  to fix it: did you mean 'reading'?": lambda: positions(gpt2_model, pairs, at=["end", "raeding"]),
        "position 'subject' of task 'scene'\n"
        "  expected: one of: all, reading, decision, end, cue\n"
        "  to fix it: name a position that the task has, or choose another task": lambda: positions(
            gpt2_model, pairs, at=["subject"]
        ),
        "site 'pattren'\n  expected: one of: z, q, k, v, pattern\n  to fix it: did you mean 'pattern'?": lambda: parts(
            gpt2_model, pairs, sites=["q", "pattren"]
        ),
        "site 'mlp'\n  expected: one of: z, q, k, v, pattern\n  to fix it: correct the site": lambda: by_position(
            gpt2_model, pairs, site="mlp"
        ),
        "direction 'noise'\n  expected: one of: denoising, noising\n  to fix it: did you mean 'noising'?": lambda: (
            by_position(gpt2_model, pairs, direction="noise")
        ),
    }
    for text, call in refused.items():
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(replay, "start", lambda *_: pytest.fail(never))
            with pytest.raises(UsageError) as caught:
                call()
        assert str(caught.value) == text


# --- known answers


@pytest.fixture(scope="module")
def planted() -> tuple[Model, Pairs]:
    """A head (0, 2) that notes the token before, and a head (1, 1) that looks for it: K-composition alone."""
    plant, grid = Plant(induction=((0, 2), (1, 1))), Grid(layers=3, heads=3)
    model = load(planted_model(plant, grid=grid, vocabulary=32, positions=32, noise=0.02), device="cpu")
    return model, TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))


def found_in(value: Tensor, total: float) -> list[list[int]]:
    return (value.nanmean(0) > total / 3).nonzero().tolist()


def test_planted_heads_are_found_by_the_part_that_matters(planted: tuple[Model, Pairs]) -> None:
    """Words change places: the first head takes another value, the second looks at another key."""
    model, pairs = planted
    total = float(patching(model, pairs)["noising"].mean(0).max())
    found = {name: found_in(value, total) for name, value in parts(model, pairs).items()}
    for direction in DIRECTIONS:
        assert found[f"{direction}_q"] == []
        assert found[f"{direction}_k"] == found[f"{direction}_pattern"] == [[1, 1]]
        assert found[f"{direction}_v"] == [[0, 2]]


def test_planted_heads_are_found_where_they_act(planted: tuple[Model, Pairs]) -> None:
    """The first head writes after the word that moved, where the answer stands; the second where the metric reads."""
    model, pairs = planted
    total = float(patching(model, pairs)["noising"].mean(0).max())
    found = {name: found_in(value, total) for name, value in positions(model, pairs, at=["source", "decision"]).items()}
    assert found["noising_source"] == [[0, 2]]
    assert found["noising_decision"] == found["denoising_decision"] == [[1, 1]]
