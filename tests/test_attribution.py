"""Attribution equals autograd on plain Hugging Face, TransformerLens and finite differences, whatever it skips."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import oracles
import oracles_gradient
import pytest
import scenes
import torch
from architectures import HEADS, LAYERS, tiny
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.methods.attribution import ATTRIBUTION, SCORES, attribution
from headscope.methods.attribution_parts import ATTRIBUTION_PARTS
from headscope.methods.importance import IMPORTANCE
from headscope.methods.integrated import INTEGRATED
from headscope.models import Model, load
from headscope.models.families import FAMILIES
from headscope.prompts import EMBEDDING_CONTRAST, LOG_PROBABILITY, Pairs
from headscope.replay import gradient, spans
from headscope.testing import check_method

SAME = 1e-5
CAREFUL = settings(
    derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def expected(plain: Any, pairs: Pairs, metric: oracles_gradient.Metric) -> dict[str, Tensor]:
    """Gradient x difference from autograd on the plain model, padding left out."""
    clean, corrupted = (
        oracles_gradient.slopes(plain, tokens, pairs.mask, metric, HEADS) for tokens in (pairs.tokens, pairs.corrupted)
    )
    change = (clean.z - corrupted.z) * pairs.mask[None, :, :, None, None]
    found = {
        name: (change * slope).sum((2, 4)).transpose(0, 1).double()
        for name, slope in (("denoising", corrupted.slope), ("noising", clean.slope))
    }
    return found | {"absolute": found["noising"].abs()}


def agree(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = SAME) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        scale = float(value.abs().max())
        assert scale > 1e-4, "attributions of nothing cannot fail this test"
        assert (found[name] - value).abs().max() <= tolerance * scale, name


# --- equality


@pytest.mark.parametrize("pairs", [random_pairs(), scenes.pairs()], ids=["uneven lengths", "uneven differences"])
def test_attribution_is_autograd_in_hugging_face(model: Model, plain: Any, pairs: Pairs) -> None:
    wanted = expected(plain, pairs, oracles_gradient.difference(pairs))
    agree(attribution(model, pairs), wanted)
    agree(attribution(model, pairs, batch_size=1), wanted)  # each from its own first difference on


@pytest.mark.parametrize("metric", ["probability", LOG_PROBABILITY])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "bert"], indirect=True)
def test_any_metric_that_has_a_derivative(model: Model, plain: Any, metric: str) -> None:
    pairs = scenes.pairs(metric=metric)
    rows = torch.arange(len(pairs))[:, None]
    own = pairs.reads.clamp(min=0)
    wanted = expected(plain, pairs, lambda logits: metrics.evaluate(logits[rows, own], pairs))
    agree(attribution(model, pairs), wanted)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"], indirect=True)
def test_attribution_equals_transformer_lens(model: Model) -> None:
    from transformer_lens.tools.analysis.attribution_patching import attribution_patch

    pairs = random_pairs(n=3, padded=False)
    total = torch.zeros(LAYERS, HEADS, dtype=torch.float64)
    weights = list(model.bridge.original_model.parameters())
    for row in range(len(pairs)):
        one = pairs.select(torch.tensor([row]))
        with differentiable(weights):
            found = attribution_patch(
                model.bridge,
                one.tokens,
                one.corrupted,
                lambda logits, one=one: oracles_gradient.difference(one)(logits)[0],
            )
        for node, score in found.node_scores.items():
            if node.head is not None:
                total[node.layer, node.head] += score / len(pairs)
    ours = attribution(model, pairs, scores=["denoising"])["denoising"].mean(0)
    assert scenes.apart(ours, total) <= 1e-4


@contextmanager
def differentiable(weights: list[Tensor]) -> Iterator[None]:
    before = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    yield
    for weight, flag in zip(weights, before, strict=True):
        weight.requires_grad_(flag)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gemma2", "bert"], indirect=True)
def test_attribution_is_the_slope_of_patching_a_little(plain: Any, model: Model) -> None:
    """In double precision: (m(z + e d) - m(z - e d)) / 2e for one head at a time, d the difference of the twins."""
    pairs, double = random_pairs(n=2), copy.deepcopy(plain).double()
    z, other = (oracles.outputs(double, tokens, HEADS, pairs.mask) for tokens in (pairs.corrupted, pairs.tokens))
    found = attribution(model, pairs, scores=["denoising"])["denoising"]
    # Some models take their softmax in single precision all the same, so that a smaller step drowns in rounding.
    measure, step = oracles_gradient.difference(pairs), 1e-2
    for layer in range(LAYERS):
        for head in range(HEADS):
            chosen = (torch.arange(HEADS) == head).expand(len(pairs), -1)
            ends = [
                measure(
                    oracles.run(
                        double, pairs.corrupted, pairs.mask,
                        [(layer, chosen, z[layer] + sign * step * (other[layer] - z[layer]))],
                    )
                )
                for sign in (1, -1)
            ]  # fmt: skip
            slope = (ends[0] - ends[1]) / (2 * step)
            assert (slope - found[:, layer, head]).abs().max() <= 1e-3 * float(found.abs().max())


@pytest.mark.parametrize("architecture", ["llama", "bert"], indirect=True)
def test_the_contrast_of_embeddings_reads_every_token(model: Model) -> None:
    """Against exact runs in which one head's z goes a small step to the other prompt's."""
    pairs, step = scenes.pairs(metric=EMBEDDING_CONTRAST), 0.02
    clean, corrupted = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    ends = []
    for part in (step, -step):
        values = [b + part * (a - b) for a, b in zip(clean.z, corrupted.z, strict=True)]
        ends.append(replay.replay(corrupted, replay.edits_of(replay.single_heads(model.grid), values, pairs.mask)))
    wanted = ((ends[0] - ends[1]) / (2 * step)).unflatten(1, (LAYERS, HEADS))
    for size in (1, 8):
        found = attribution(model, pairs, scores=["denoising"], batch_size=size)
        agree(found, {"denoising": wanted}, tolerance=3e-3)


# --- identities


@CAREFUL
@given(seed=st.integers(0, 99))
def test_swapping_the_twins_turns_denoising_into_noising(gpt2_model: Model, seed: int) -> None:
    pairs = random_pairs(seed=seed)
    swapped = attribution(gpt2_model, replace(pairs, tokens=pairs.corrupted, corrupted=pairs.tokens))
    assert scenes.apart(swapped["denoising"], -attribution(gpt2_model, pairs)["noising"]) <= SAME


@CAREFUL
@given(seed=st.integers(0, 99))
def test_swapping_answers_and_foils_turns_every_sign(gpt2_model: Model, seed: int) -> None:
    pairs = random_pairs(seed=seed)
    turned = attribution(gpt2_model, replace(pairs, answers=pairs.foils, foils=pairs.answers))
    for name, value in attribution(gpt2_model, pairs).items():
        assert scenes.apart(turned[name], value if name == "absolute" else -value) <= SAME


@CAREFUL
@given(order=st.permutations(range(6)), size=st.integers(1, 7), memory=st.sampled_from([1, 2**18, None]))
def test_order_and_portions_never_matter(gpt2_model: Model, order: list[int], size: int, memory: int | None) -> None:
    pairs, rows = scenes.pairs(), torch.tensor(order)
    found = attribution(gpt2_model, pairs.select(rows), batch_size=size, memory=memory)
    for name, value in attribution(gpt2_model, pairs).items():
        assert scenes.apart(found[name], value[rows]) <= SAME


@pytest.mark.parametrize("score", SCORES)
def test_one_score_alone_is_the_same(gpt2_model: Model, score: str) -> None:
    pairs = scenes.pairs()
    alone = attribution(gpt2_model, pairs, scores=[score])
    assert list(alone) == [score]
    assert scenes.apart(alone[score], attribution(gpt2_model, pairs)[score]) <= SAME


def test_twins_that_do_not_differ_have_none_and_cost_none(gpt2_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = random_pairs()
    same = replace(pairs, corrupted=pairs.tokens)
    late = pairs.tokens.clone()
    late[0, 8] = 5
    read_before = replace(pairs, corrupted=late, positions={"end": torch.full((4,), 3)})

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing need run")

    monkeypatch.setattr(spans, "span_of", refuse)
    for pairs in (same, read_before):
        assert all(value.eq(0).all() for value in attribution(gpt2_model, pairs).values())


# --- what is saved, and what is left behind


def test_only_what_differs_runs(gpt2_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of 9 tokens that differ from the fifth on: 4 positions run once for both, 5 with slopes."""
    pairs = random_pairs(n=3, padded=False)
    early = torch.arange(9) < 4
    pairs = replace(pairs, corrupted=torch.where(early, pairs.tokens, pairs.corrupted))
    shapes = []
    real = gradient._follow

    def spy(span: Any, stream: Tensor, *rest: Any, **more: Any) -> Any:
        shapes.append((span.start, span.stop, tuple(stream.shape[:2]), torch.is_grad_enabled()))
        return real(span, stream, *rest, **more)

    monkeypatch.setattr(gradient, "_follow", spy)
    attribution(gpt2_model, pairs)
    assert shapes == [(4, 9, (6, 5), True)]
    shapes.clear()
    attribution(gpt2_model, pairs, scores=["denoising"])
    assert shapes == [(0, 9, (3, 9), False), (4, 9, (3, 5), True)]


def test_examples_run_with_others_that_differ_as_late(gpt2_model: Model) -> None:
    pairs = random_pairs(n=120, longest=24, padded=False)
    first = torch.arange(120) % 24
    pairs = replace(pairs, corrupted=torch.where(torch.arange(24) < first[:, None], pairs.tokens, pairs.corrupted))
    work = spans.Work(model=gpt2_model, pairs=pairs, names=(), copies=2, memory=2**30)
    found = list(spans._spans(spans.program_of(gpt2_model), work))
    assert sorted(torch.cat([rows for rows, _ in found]).tolist()) == list(range(120))
    assert all(int(pairs.first_difference[rows].min()) == start for rows, start in found)
    run = sum(len(rows) * (24 - start) for rows, start in found)
    assert run <= 1.25 * int((24 - pairs.first_difference).sum())
    assert len(found) < 12


def test_memory_that_runs_out_halves_the_work(gpt2_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, real, sizes = random_pairs(), gradient._follow, []

    def short(span: Any, stream: Tensor, *rest: Any, **more: Any) -> Any:
        sizes.append(len(span))
        if len(span) > limit:
            raise MemoryError
        return real(span, stream, *rest, **more)

    wanted = attribution(gpt2_model, pairs)
    monkeypatch.setattr(gradient, "_follow", short)
    limit = 1
    for name, value in attribution(gpt2_model, pairs).items():
        assert scenes.apart(value, wanted[name]) <= SAME
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    limit = 0
    with pytest.raises(UsageError) as caught:
        attribution(gpt2_model, pairs)
    assert str(caught.value) == (
        "the gradient of one prompt of 9 tokens, which does not fit into memory\n  expected: enough free memory\n"
        "  to fix it: use shorter prompts or a smaller model"
    )


def test_it_works_without_grad_mode_and_leaves_no_gradient() -> None:
    model, pairs = load(tiny("llama"), device="cpu"), random_pairs()
    with torch.inference_mode():
        replay.start(model, random_pairs(), random_pairs().tokens)
        found = attribution(model, random_pairs())
    with torch.no_grad():
        again = attribution(model, pairs)
    for name, value in attribution(model, pairs).items():
        assert torch.equal(value, found[name])
        assert torch.equal(value, again[name])
        assert not value.requires_grad
    assert all(weight.grad is None for weight in model.bridge.original_model.parameters())


@pytest.mark.parametrize("method", [ATTRIBUTION, ATTRIBUTION_PARTS, INTEGRATED, IMPORTANCE], ids=lambda m: m.name)
@pytest.mark.parametrize("architecture", ["gpt2", "bert", "qwen3"], indirect=True)
def test_the_contract_is_kept(method: Any, model: Model) -> None:
    check_method(method, model, random_pairs())


# --- errors


def test_what_cannot_be_cut_open_is_refused_with_the_reason() -> None:
    model = load(scenes.random_model(scenes.FALLBACKS["bloom"]()), device="cpu")
    with pytest.raises(UsageError) as caught:
        attribution(model, random_pairs())
    assert str(caught.value) == (
        f"a gradient through model {model.name!r}: architecture 'bloom' cannot be started in the middle\n"
        f"  expected: a model that can be cut open, of the kinds {', '.join(FAMILIES)}\n"
        "  to fix it: use patching or ablation, which run any model whole"
    )


def test_unknown_scores_are_explained(gpt2_model: Model) -> None:
    with pytest.raises(UsageError) as caught:
        attribution(gpt2_model, random_pairs(), scores=["denoising", "noisy"])
    assert str(caught.value) == (
        "attribution scores ['noisy']\n  expected: any of denoising, noising, absolute\n  to fix it: correct the scores"
    )


def best(logits: Tensor, pairs: Pairs) -> Tensor:
    return logits.argmax(-1).double()


def by_numpy(logits: Tensor, pairs: Pairs) -> Tensor:
    return torch.from_numpy(logits.numpy()[:, 3])


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (best, ""),
        (by_numpy, " (Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.)"),
    ],
)
def test_metrics_without_a_derivative_are_explained(gpt2_model: Model, metric: Any, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        attribution(gpt2_model, replace(random_pairs(), metric=metric))
    assert str(caught.value) == (
        f"metric '{metric.__name__}' of task 'random', which has no derivative by the logits{why}\n"
        "  expected: a metric made of differentiable torch operations, such as logit_difference\n"
        "  to fix it: do without argmax, detach and numpy in it, or use patching, which needs no derivative"
    )
