"""Several metrics off one sweep: each is what a sweep of its own gives, and none costs another run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import oracles_attention
import pytest
import scenes
import torch
from architectures import tiny
from torch import Tensor
from torch.nn import functional

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.methods.ablation import ablation
from headscope.methods.attribution import attribution
from headscope.methods.importance import importance
from headscope.methods.integrated import completeness, integrated_gradients
from headscope.methods.mediation import mediation
from headscope.methods.patching import patching, positions
from headscope.methods.paths import path_patching
from headscope.methods.repair import self_repair
from headscope.models import Model, load
from headscope.prompts import ABSENT, EMBEDDING_CONTRAST, LOG_PROBABILITY, Pairs
from headscope.replay import engine

EXACT = 1e-5
OF_SETS = ("probability", "probability_difference", "loss", "kl", "accuracy", "choice")


def first_logit(logits: Tensor, pairs: Pairs) -> Tensor:
    """The logit of the first answer: a metric of one's own."""
    return logits.gather(1, pairs.answers[:, :1].to(logits.device))[:, 0]


def restoring(model: Model, pairs: Pairs, also: Sequence[metrics.Metric] = ()) -> tuple[replay.Run, replay.Edits]:
    """The corrupted run, and each head's clean output to put into it."""
    donor = replay.start(model, pairs, pairs.tokens)
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    return replay.start(model, pairs, pairs.corrupted, also=also), edits


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bert", "phi"])
@pytest.mark.parametrize(
    ("own", "also"),
    [
        ("logit_difference", (*OF_SETS, first_logit)),
        ("kl", ("logit_difference", "choice", EMBEDDING_CONTRAST)),
        (EMBEDDING_CONTRAST, ("logit_difference", "kl")),
        (LOG_PROBABILITY, ("kl", "loss", "accuracy", EMBEDDING_CONTRAST)),
        (first_logit, ("choice",)),
    ],
)
def test_each_metric_is_what_a_sweep_of_its_own_gives(name: str, own: Any, also: Sequence[Any]) -> None:
    whole = name == "phi"  # it runs whole, for its parts are not known
    if whole and own == EMBEDDING_CONTRAST:
        pytest.skip("models that run whole refuse it")
    also = [each for each in also if not (whole and each == EMBEDDING_CONTRAST)]
    model = load(scenes.random_model(scenes.FALLBACKS[name]()) if whole else tiny(name), device="cpu")
    pairs = scenes.pairs(metric=own)
    base, edits = restoring(model, pairs, also)
    found = replay.measure(base, edits)
    assert list(found) == [metrics.name_of(replace(pairs, metric=metric)) for metric in (own, *also)]
    assert list(base.also) == list(found)[1:]
    for metric, (told, values) in zip((own, *also), found.items(), strict=True):
        alone, _ = restoring(model, replace(pairs, metric=metric))
        wanted = replay.replay(alone, edits)
        assert wanted.shape == values.shape == (6, 12)
        assert scenes.apart(values, wanted) <= EXACT, told
        assert scenes.apart(base.also.get(told, base.metric), alone.metric) <= EXACT, told
    assert torch.equal(replay.replay(base, edits), next(iter(found.values())))


def test_the_clean_run_is_no_further_from_itself_than_rounding() -> None:
    for plain in (tiny("gpt2"), tiny("llama"), scenes.random_model(scenes.FALLBACKS["phi"]())):
        model, pairs = load(plain, device="cpu"), scenes.pairs(metric="kl")
        assert replay.start(model, pairs, pairs.tokens).metric.abs().max() <= 1e-9
        assert (replay.start(model, pairs, pairs.corrupted).metric[:5] > 1e-4).all()


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_metrics_equal_torch_on_plain_forwards(name: str) -> None:
    plain, pairs = tiny(name), scenes.pairs()
    pairs = replace(pairs, answers=pairs.answers[:, :1])
    model, rows = load(plain, device="cpu"), torch.arange(6)
    base, edits = restoring(model, pairs, ("kl", "loss", "accuracy", "probability_difference"))
    found = replay.measure(base, edits)
    clean, donor = oracles_attention.run(plain, pairs.tokens, pairs.mask)
    reference = clean[rows, pairs.end].double().log_softmax(-1)
    for edit in (0, 5, 11):
        change = oracles_attention.Change("z", edits.heads[edit], donor.z, pairs.mask)
        logits = oracles_attention.run(plain, pairs.corrupted, pairs.mask, change)[0][rows, pairs.end].double()
        logs, answers = logits.log_softmax(-1), pairs.answers[:, 0]
        chances = logs.exp()
        wanted = {
            "kl": functional.kl_div(logs, reference, log_target=True, reduction="none").sum(1),
            "loss": functional.cross_entropy(logits, answers, reduction="none"),
            "accuracy": (logits.argmax(1) == answers).double(),
            "probability_difference": chances[rows, answers] - chances[rows, pairs.foils[:, 0]],
        }
        for told, values in wanted.items():
            assert scenes.apart(found[told][:, edit], values, base.also[told]) <= 2 * EXACT, told


def test_further_metrics_cost_no_further_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    rows: list[int] = []
    last_stream = engine._last_stream

    def counted(base: Any, edits: Any, chunk: Any) -> Tensor:
        rows.append(len(chunk))
        return last_stream(base, edits, chunk)

    monkeypatch.setattr(engine, "_last_stream", counted)
    alone, edits = restoring(model, pairs)
    replay.replay(alone, edits)
    once, rows[:] = sum(rows), []
    base, _ = restoring(model, pairs, OF_SETS)
    replay.measure(base, edits)
    assert sum(rows) == once > 0


def test_further_metrics_of_whole_models_cost_no_further_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(scenes.random_model(scenes.FALLBACKS["phi"]()), device="cpu"), scenes.pairs()
    forwards: list[int] = []
    run_at = type(model).run_at

    def counted(self: Any, tokens: Tensor, *args: Any, **more: Any) -> Tensor:
        forwards.append(len(tokens))
        return run_at(self, tokens, *args, **more)

    monkeypatch.setattr(type(model), "run_at", counted)
    (alone, edits), (base, _) = restoring(model, pairs), restoring(model, pairs, OF_SETS)
    forwards.clear()
    replay.replay(alone, edits)
    once, forwards[:] = list(forwards), []
    replay.measure(base, edits)
    assert forwards == once
    assert sum(once) == 6 * 12


def test_metrics_of_all_the_vocabulary_are_planned_for() -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, edits = restoring(model, pairs)
    plain = replay.plan(base, edits, memory=2**30)
    assert base.reader.numbers == 5 * 32 + 7 * len(metrics.columns(pairs))  # type: ignore[union-attr, arg-type]
    for also, words in ((("choice",), None), (("loss",), 7), (("kl",), 16), (("kl", "accuracy"), 16)):
        wide, _ = restoring(model, pairs, also)
        numbers = base.reader.numbers if words is None else 5 * 32 + words * model.vocabulary
        assert wide.reader.numbers == numbers
        planned = replay.plan(wide, edits, memory=2**30)
        assert planned.rows == plain.rows
        assert (planned.operations > plain.operations) == (words is not None)
    tight = replay.plan(wide, edits, memory=40 * wide.reader.numbers)
    assert tight.peak <= 40 * wide.reader.numbers
    assert len(tight.chunks) > len(planned.chunks)


def test_little_memory_and_halved_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, edits = restoring(model, pairs, ("kl", "choice", "embedding_contrast"))
    wanted = replay.measure(base, edits)
    for name, values in replay.measure(base, edits, memory=1).items():
        assert scenes.apart(values, wanted[name]) <= EXACT
    last_stream = engine._last_stream

    def scarce(base: Any, edits: Any, chunk: Any) -> Tensor:
        if len(chunk) > 3:
            raise MemoryError
        return last_stream(base, edits, chunk)

    monkeypatch.setattr(engine, "_last_stream", scarce)
    for name, values in replay.measure(base, edits).items():
        assert scenes.apart(values, wanted[name]) <= EXACT


# --- the methods


@pytest.mark.parametrize("method", [patching, ablation])
def test_methods_give_each_metric_as_a_call_of_its_own(method: Any) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    plain, found = method(model, pairs), method(model, pairs, metrics=("kl", "accuracy", "logit_difference"))
    assert list(found) == [*plain, *(f"{name}.{metric}" for metric in ("kl", "accuracy") for name in plain)]
    for metric in ("kl", "accuracy"):
        alone = method(model, replace(pairs, metric=metric))
        for name in plain:
            torch.testing.assert_close(found[name], plain[name], rtol=0, atol=1e-6, equal_nan=True)
            torch.testing.assert_close(found[f"{name}.{metric}"], alone[name], rtol=0, atol=1e-6, equal_nan=True)


def test_effects_by_loss_count_as_those_by_log_probability() -> None:
    """Lower is better, so a fall is positive: all methods count the way that helps."""
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric=LOG_PROBABILITY)
    loss = replace(pairs, metric="loss")
    assert loss.consecutive
    methods = (patching, ablation, positions, mediation, path_patching, self_repair, attribution, integrated_gradients)
    for method in (*methods, lambda *args: {"ends": completeness(*args)}):
        wanted = method(model, pairs)
        for name, values in method(model, loss).items():
            torch.testing.assert_close(values, wanted[name], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert attribution(model, pairs)["noising"].abs().max() > 1e-3


def test_restoring_the_clean_output_brings_the_run_nearer_to_the_clean_one() -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric="kl")
    found = patching(model, pairs)
    corrupted = replay.start(model, pairs, pairs.corrupted).metric
    assert (found["denoising"] <= corrupted[:, None, None] + 1e-9).all()  # a divergence cannot fall below 0
    assert (found["noising"] >= -1e-9).all()  # nor can the clean run come nearer to itself


@pytest.mark.parametrize("metric", ["accuracy", "choice"])
@pytest.mark.parametrize("method", [attribution, integrated_gradients, importance])
def test_methods_that_follow_slopes_refuse_counts(method: Any, metric: str) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric=metric)
    with pytest.raises(UsageError) as caught:
        method(model, pairs)
    told = str(caught.value).splitlines()
    assert told[0].startswith(f"metric {metric!r} of task 'scene', which has no derivative by the logits")
    assert told[1:] == [
        "  expected: a metric made of differentiable torch operations, such as logit_difference",
        "  to fix it: do without argmax, detach and numpy in it, or use patching, which needs no derivative",
    ]


@pytest.mark.parametrize("method", [attribution, importance])
def test_slopes_of_kl_at_the_clean_run_are_refused(method: Any) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric="kl")
    with pytest.raises(UsageError) as caught:
        method(model, pairs)
    assert str(caught.value) == (
        "the slope of metric 'kl' of task 'scene' at the clean run, where it is always 0\n"
        "  expected: slopes at other runs, or a metric that can rise and fall there, such as logit_difference\n"
        "  to fix it: use patching for this metric, or attribution(..., scores=['denoising'])"
    )


def test_slopes_of_kl_elsewhere_estimate_patching() -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric="kl")
    found = attribution(model, pairs, scores=["denoising"])["denoising"].flatten()
    exact = patching(model, pairs)["denoising"].flatten()
    assert torch.corrcoef(torch.stack([found, exact]))[0, 1] > 0.5
    assert integrated_gradients(model, pairs)["integrated"].abs().max() > 1e-4


# --- what is refused


def unfoiled(pairs: Pairs) -> Pairs:
    return replace(pairs, foils=torch.full_like(pairs.foils, ABSENT))


@pytest.mark.parametrize(
    ("change", "also", "words"),
    [
        (lambda p: p, ["klll"], "metric 'klll'\n  expected: one of: logit_difference"),
        (unfoiled, [], "metric 'logit_difference' of task 'scene', which has no foils (in examples 0, 1, 2, 3, 4 and"),
        (
            lambda p: unfoiled(replace(p, metric="kl")),
            ["choice"],
            "metric 'choice' of task 'scene', which has no foils",
        ),
        (lambda p: p, [LOG_PROBABILITY], "under the metric 'log_probability', whose prompts do not go on with"),
        (lambda _: scenes.pairs(metric=LOG_PROBABILITY), ["probability"], "for answers of several consecutive tokens"),
    ],
)
@pytest.mark.parametrize("name", ["gpt2", "phi"])
def test_metrics_that_do_not_fit(name: str, change: Any, also: list[str], words: str) -> None:
    plain = scenes.random_model(scenes.FALLBACKS[name]()) if name == "phi" else tiny(name)
    model, pairs = load(plain, device="cpu"), change(scenes.pairs())
    for call in (
        lambda: replay.start(model, pairs, pairs.tokens, also=also),
        lambda: patching(model, pairs, metrics=also),
        lambda: ablation(model, pairs, metrics=also),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert words in str(caught.value)
        assert "\n  expected: " in str(caught.value)
        assert "\n  to fix it: " in str(caught.value)


def test_models_that_run_whole_refuse_embeddings_as_a_further_metric() -> None:
    model, pairs = load(scenes.random_model(scenes.FALLBACKS["phi"]()), device="cpu"), scenes.pairs()
    with pytest.raises(UsageError, match="metric 'embedding_contrast' for model 'PhiForCausalLM'"):
        replay.start(model, pairs, pairs.tokens, also=["kl", EMBEDDING_CONTRAST])
