"""Mediation: equal to plain Hugging Face, its identities, Vig's relative form, and planted mediators."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from architectures import HEADS, LAYERS, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.mediation import EFFECTS, mediate_layers, mediate_sets, mediation
from headscope.methods.patching import parts, patching
from headscope.methods.twins import Limits
from headscope.models import Model, load
from headscope.prompts import ABSENT, LOG_PROBABILITY, Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

SAME = 1e-5
CAREFUL = settings(
    derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LAYER_SETS = [[(layer, head) for head in range(HEADS)] for layer in range(LAYERS)]
SETS = [[], [(0, 1), (2, 3)], [(1, 0), (1, 2), (2, 2)], [head for layer in LAYER_SETS for head in layer]]


# --- the oracle: Pearl's definitions, one whole Hugging Face forward for each counterfactual


def expected(plain: Any, pairs: Pairs, heads: Tensor, site: str, *, odds: bool = False) -> dict[str, Tensor]:
    """Effects [example, edit] of the response y: minus the metric, or the odds of the foils."""

    def response(value: Tensor) -> Tensor:
        return (-value).exp() if odds else -value

    edits = replay.edits_of(heads, [], pairs.mask, site=site)
    null, act = pairs.tokens, pairs.corrupted
    y = {name: response(metric_of(plain, pairs, each))[:, None] for name, each in (("null", null), ("act", act))}
    held = response(scenes.expected(plain, pairs, act, null, edits))
    alone = response(scenes.expected(plain, pairs, null, act, edits))
    before = y["null"]
    total, direct, indirect = (
        value / before - 1 if odds else value - before for value in (y["act"].expand_as(held), held, alone)
    )
    return {"total": total, "direct": direct, "indirect": indirect, "residual": total - direct - indirect}


def metric_of(plain: Any, pairs: Pairs, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return scenes.read(plain(input_ids=tokens, attention_mask=pairs.mask.long()).logits, pairs)


def minus_log_odds(logits: Tensor, pairs: Pairs) -> Tensor:
    """-log of p(foils) / p(answers), by probabilities, one example at a time."""
    p = logits.softmax(-1)
    sides = [
        torch.stack([sum(row[i] for i in ids if i != ABSENT) for row, ids in zip(p, part.tolist(), strict=True)])
        for part in (pairs.foils, pairs.answers)
    ]
    return -(sides[0] / sides[1]).log()


def expect_equal(ours: Tensor, other: Tensor, scale: float) -> None:
    assert ours.shape == other.shape
    assert (ours - other).abs().max() <= SAME * scale
    assert other.abs().max() > 1e-3, "effects of nothing cannot fail this test"


def scale_of(plain: Any, pairs: Pairs) -> float:
    return max(1.0, *(float(metric_of(plain, pairs, each).abs().max()) for each in (pairs.tokens, pairs.corrupted)))


def test_mediation_by_heads_equals_hugging_face(model: Model, plain: Any) -> None:
    pairs = scenes.pairs()
    found, scale = mediation(model, pairs, batch_size=4), scale_of(plain, pairs)
    for site, suffix in (("z", ""), ("pattern", "_pattern")):
        other = expected(plain, pairs, replay.single_heads(model.grid), site)
        for name in EFFECTS:
            ours = found["total" if name == "total" else name + suffix]
            expect_equal(ours.flatten(1), other[name], scale)


@pytest.mark.parametrize("mediator", ["z", "pattern"])
def test_mediation_by_sets_and_layers_equals_hugging_face(model: Model, plain: Any, mediator: str) -> None:
    pairs = scenes.pairs()
    ours = mediate_sets(model, pairs, [*SETS, *LAYER_SETS], mediator=mediator, limits=Limits(batch_size=4))
    layers = mediate_layers(model, pairs, mediator=mediator)
    other = expected(plain, pairs, replay.head_sets(model.grid, [*SETS, *LAYER_SETS]), mediator)
    for name in EFFECTS:
        expect_equal(ours[name], other[name], scale_of(plain, pairs))
        expect_equal(layers[name], other[name][:, len(SETS) :], scale_of(plain, pairs))


@pytest.mark.parametrize("single", [True, False], ids=["one answer and foil", "sets of them"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"], indirect=True)
def test_relative_effects_are_those_of_the_odds(model: Model, plain: Any, single: bool) -> None:
    pairs = scenes.pairs()
    pairs = replace(pairs, answers=pairs.answers[:, : 1 if single else 2], metric="probability")
    odds = replace(pairs, metric=minus_log_odds)
    other = expected(plain, odds, replay.single_heads(model.grid), "z", odds=True)
    found = mediation(model, pairs, relative=True)
    # A change of the logits by 1e-5 changes the odds by that part of themselves.
    scale = float((other["total"].abs() + 1).max()) * scale_of(plain, odds)
    for name in EFFECTS:
        expect_equal(found[name].flatten(1), other[name], scale)
    assert mediation(model, pairs)["total"].abs().max() < 1, "probabilities cannot change by more"


# --- identities


@CAREFUL
@given(seed=st.integers(0, 99))
def test_effects_of_heads_are_those_of_patching(gpt2_model: Model, seed: int) -> None:
    pairs = scenes.pairs(seed=seed)
    found, exchanged = mediation(gpt2_model, pairs), patching(gpt2_model, pairs)
    exchanged |= parts(gpt2_model, pairs, sites=["pattern"])
    clean, corrupted = (replay.start(gpt2_model, pairs, each).metric for each in (pairs.tokens, pairs.corrupted))
    assert torch.equal(found["total"], (clean - corrupted)[:, None, None].expand_as(found["total"]))
    for suffix in ("", "_pattern"):
        torch.testing.assert_close(found[f"indirect{suffix}"], exchanged[f"noising{suffix}"], rtol=0, atol=SAME)
        left = found["total"] - found[f"direct{suffix}"]
        torch.testing.assert_close(left, exchanged[f"denoising{suffix}"], rtol=0, atol=SAME)
        interaction = exchanged[f"denoising{suffix}"] - exchanged[f"noising{suffix}"]
        torch.testing.assert_close(found[f"residual{suffix}"], interaction, rtol=0, atol=SAME)


@CAREFUL
@given(seed=st.integers(0, 99), mediator=st.sampled_from(["z", "pattern"]))
def test_what_changes_when_the_twins_change_places(gpt2_model: Model, seed: int, mediator: str) -> None:
    pairs = scenes.pairs(seed=seed)
    swapped = replace(pairs, tokens=pairs.corrupted, corrupted=pairs.tokens)
    one, other = (mediate_sets(gpt2_model, each, SETS, mediator=mediator) for each in (pairs, swapped))
    for found, wanted in (
        (other["total"], -one["total"]),
        (other["indirect"], one["direct"] - one["total"]),
        (other["direct"], one["indirect"] - one["total"]),
        (other["residual"], one["residual"]),
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@CAREFUL
@given(seed=st.integers(0, 99), relative=st.booleans(), mediator=st.sampled_from(["z", "pattern"]))
def test_nothing_goes_through_an_empty_set(gpt2_model: Model, seed: int, relative: bool, mediator: str) -> None:
    found = mediate_sets(gpt2_model, scenes.pairs(seed=seed), [[]], mediator=mediator, relative=relative)
    assert (found["indirect"] == 0).all()
    assert torch.equal(found["direct"], found["total"])
    assert (found["residual"] == 0).all()
    assert found["total"].abs().max() > 1e-2


@CAREFUL
@given(seed=st.integers(0, 99), name=st.sampled_from(["gpt2", "gpt_neox", "gemma2", "bert"]))
def test_everything_goes_through_all_heads_where_the_metric_reads_equal_tokens(seed: int, name: str) -> None:
    """From one position to another only heads carry anything; the token that is read is on no other way."""
    model, pairs = load(tiny(name), device="cpu"), scenes.pairs(seed=seed)
    rows = torch.arange(len(pairs))
    corrupted = pairs.corrupted.clone()
    corrupted[rows, pairs.end] = pairs.tokens[rows, pairs.end]
    equal = replace(pairs, corrupted=corrupted)
    found = mediate_sets(model, equal, SETS[-1:])
    assert found["direct"].abs().max() <= SAME
    assert (found["indirect"] - found["total"]).abs().max() <= SAME
    assert found["total"].abs().max() > 1e-2
    differs = mediate_sets(model, pairs, SETS[-1:])["direct"].abs()[
        pairs.corrupted[rows, pairs.end] != pairs.tokens[rows, pairs.end]
    ]
    assert differs.min() > 1e-3, "a token of its own that is read has its own way"


def test_nothing_goes_through_a_head_that_puts_out_the_same() -> None:
    """A head without values puts out its value bias whatever the prompt; its pattern still differs, in vain."""
    plain = tiny("gpt2")
    weight = plain.transformer.h[1].attn.c_attn.weight
    with torch.no_grad():
        weight[:, 2 * weight.shape[0] + 2 * 8 : 2 * weight.shape[0] + 3 * 8] = 0
    pairs = scenes.pairs()
    found = mediation(load(plain, device="cpu"), pairs)
    for suffix in ("", "_pattern"):
        assert found[f"indirect{suffix}"][:, 1, 2].abs().max() <= 1e-6
        assert (found[f"direct{suffix}"] - found["total"])[:, 1, 2].abs().max() <= 1e-6
    others = found["indirect"].flatten(1).abs().max(0).values
    assert (others > 1e-3).sum() == LAYERS * HEADS - 1


@CAREFUL
@given(size=st.integers(1, 6), memory=st.sampled_from([1, 2**17, None]), mediator=st.sampled_from(["z", "pattern"]))
def test_batch_size_and_memory_never_matter(gpt2_model: Model, size: int, memory: int | None, mediator: str) -> None:
    pairs, limits = scenes.pairs(), Limits(batch_size=size, memory=memory)
    one, other = (mediate_sets(gpt2_model, pairs, SETS, mediator=mediator, limits=each) for each in (limits, Limits()))
    assert all((one[name] - other[name]).abs().max() <= SAME for name in EFFECTS)


# --- refusals


def test_a_model_that_is_not_cut_open_mediates_by_z_only() -> None:
    plain, pairs = tiny("gpt2"), scenes.pairs()
    model, whole = load(plain, device="cpu"), scenes.not_cut_open(plain, "it is a test")
    one, other = mediate_sets(whole, pairs, SETS), mediate_sets(model, pairs, SETS)
    assert all((one[name] - other[name]).abs().max() <= SAME for name in EFFECTS)
    for call in (lambda: mediation(whole, pairs), lambda: mediate_layers(whole, pairs, mediator="pattern")):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == (
            "edits of pattern in model 'GPT2LMHeadModel': it is a test\n"
            "  expected: edits of z\n"
            "  to fix it: use a method that edits z, or a model of a known architecture"
        )


def test_odds_that_the_pairs_do_not_have_are_explained(gpt2_model: Model) -> None:
    pairs = scenes.pairs()
    foils = pairs.foils.clone()
    foils[[1, 4]] = ABSENT
    refused = {
        "relative effects on task 'scene', whose answers are read token by token\n"
        "  expected: answers and foils that are single tokens\n"
        "  to fix it: leave `relative` out": scenes.pairs(metric=LOG_PROBABILITY),
        "relative effects on task 'scene' without answers or foils (examples 1, 4)\n"
        "  expected: an answer and a foil in every example\n"
        "  to fix it: leave `relative` out": replace(pairs, foils=foils, metric="probability"),
    }
    for text, refused_pairs in refused.items():
        with pytest.raises(UsageError) as caught:
            mediation(gpt2_model, refused_pairs, relative=True)
        assert str(caught.value) == text


def test_unknown_mediators_are_explained(gpt2_model: Model) -> None:
    with pytest.raises(UsageError) as caught:
        mediate_sets(gpt2_model, scenes.pairs(), [], mediator="patterns")
    expected = "mediator 'patterns'\n  expected: one of: z, pattern\n  to fix it: did you mean 'pattern'?"
    assert str(caught.value) == expected
    with pytest.raises(UsageError, match="head L0H4\n  expected: 3 layers of 4 heads"):
        mediate_sets(gpt2_model, scenes.pairs(), [[(0, 4)]])


# --- known answers


def test_the_planted_pair_mediates_all_by_output_and_the_second_by_pattern() -> None:
    """Words change places: each head of the chain carries all of it; only the second by where it looks."""
    plant, grid = Plant(induction=((0, 2), (1, 1))), Grid(layers=3, heads=3)
    model = load(planted_model(plant, grid=grid, vocabulary=32, positions=32, noise=0.02), device="cpu")
    pairs = TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))
    found = {name: value.mean(0) for name, value in mediation(model, pairs).items()}
    total = float(found["total"][0, 0])
    assert total > 1
    through = {name: (found[name] > 0.8 * total).nonzero().tolist() for name in ("indirect", "indirect_pattern")}
    assert through == {"indirect": [[0, 2], [1, 1]], "indirect_pattern": [[1, 1]]}
    past = {name: (found[name] < 0.2 * total).nonzero().tolist() for name in ("direct", "direct_pattern")}
    assert past == {"direct": [[0, 2], [1, 1]], "direct_pattern": [[1, 1]]}
    together = mediate_sets(model, pairs, [[(0, 2), (1, 1)]])
    assert together["indirect"].mean() > 0.8 * total


def test_the_odds_of_single_tokens_need_no_other_logits(gpt2_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = scenes.pairs()
    widths = []
    real = metrics.evaluate
    monkeypatch.setattr(
        metrics,
        "evaluate",
        lambda logits, *given, **more: widths.append(logits.shape[-1]) or real(logits, *given, **more),
    )
    mediate_sets(gpt2_model, replace(pairs, answers=pairs.answers[:, :1], metric="probability"), SETS, relative=True)
    assert max(widths) <= 2 * len(pairs)
