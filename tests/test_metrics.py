"""Metrics give one finite number per example, or say why not; few columns of the logits give the same as all."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from architectures import VOCABULARY, tiny
from fixtures_tasks import random_pairs, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import headscope
from headscope import metrics
from headscope.errors import UsageError
from headscope.prompts import ABSENT, Pairs


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def answered() -> Pairs:
    """Pairs on tiny GPT-2's token ids whose answers have one to three tokens."""
    return headscope.pairs(
        reader("ids"), [[5, 6, 7], [8, 9, 10, 11, 12], [13, 14]], [[5, 3, 7], [8, 9, 4, 11, 12], [3, 14]],
        answers=[[20, 21, 22], [23], [24, 24]],
    )  # fmt: skip


def logits_at(model: Any, pairs: Pairs) -> Tensor:
    reads = [model.run_at(pairs.tokens, pairs.mask, at.clamp(min=0)) for at in pairs.reads.T]
    return torch.stack(reads, dim=1)


def value_of(pairs: Pairs, metric: Any, logits: Tensor | None = None) -> Tensor:
    given = random_logits(len(pairs)) if logits is None else logits
    return metrics.evaluate(given, replace(pairs, metric=metric))


# --- what they measure


def test_an_answer_of_several_tokens_scores_what_single_forwards_of_hugging_face_add_up_to() -> None:
    plain, pairs = tiny("gpt2"), answered()
    expected = []
    for row, real, answer in zip(pairs.tokens, pairs.mask, pairs.answers, strict=True):
        ids = [int(token) for token in answer if token != ABSENT]
        start = row[real].tolist()[: int(real.sum()) - (len(ids) - 1)]
        total = 0.0
        for place, token in enumerate(ids):
            with torch.no_grad():
                last = plain(torch.tensor([[*start, *ids[:place]]])).logits[0, -1]
            total += float(last.double().log_softmax(-1)[token])
        expected.append(total)
    found = metrics.evaluate(logits_at(reader("ids"), pairs), pairs)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_reads_that_are_absent_are_not_looked_at() -> None:
    pairs = answered()
    logits = random_logits(3, 3)
    spoiled = logits.clone()
    spoiled[pairs.reads == ABSENT] = torch.nan
    assert (pairs.reads == ABSENT).sum() == 3
    assert torch.equal(metrics.evaluate(spoiled, pairs), metrics.evaluate(logits, pairs))


@pytest.mark.parametrize("metric", ["logit_difference", "probability"])
def test_metrics_of_one_position_are_what_plain_arithmetic_gives(metric: str) -> None:
    pairs, logits = random_pairs(), random_logits(4)
    expected = []
    for row, answers, foils in zip(logits.double(), pairs.answers, pairs.foils, strict=True):
        right, wrong = ([int(i) for i in ids if i != ABSENT] for ids in (answers, foils))
        chances = [float(row[i].exp() / row.exp().sum()) for i in right]
        gap = sum(float(row[i]) for i in right) / len(right) - sum(float(row[i]) for i in wrong) / len(wrong)
        expected.append(gap if metric == "logit_difference" else sum(chances))
    torch.testing.assert_close(value_of(pairs, metric, logits), torch.tensor(expected, dtype=torch.float64))


def test_one_read_may_stand_on_an_axis_of_its_own() -> None:
    pairs, logits = random_pairs(), random_logits(4)
    single = replace(pairs, answers=pairs.answers[:, :1])
    for made in (pairs, replace(pairs, metric="probability"), replace(single, metric="log_probability")):
        assert torch.equal(metrics.evaluate(logits, made), metrics.evaluate(logits[:, None], made))
        assert torch.equal(metrics.correct(logits, made), metrics.correct(logits[:, None], made))


def test_an_answer_is_right_where_all_its_tokens_are_the_likeliest() -> None:
    pairs = answered()
    logits = torch.zeros(3, 3, VOCABULARY)
    for example, read in (pairs.reads != ABSENT).nonzero().tolist():
        logits[example, read, pairs.answers[example, read]] = 1
    assert metrics.correct(logits, pairs).tolist() == [True, True, True]
    logits[0, 2, 0] = logits[1, 2, 0] = logits[2, 0, 0] = 2
    assert metrics.correct(logits, pairs).tolist() == [False, True, False]


def test_any_answer_of_a_set_is_right() -> None:
    pairs = random_pairs()
    logits = torch.zeros(4, VOCABULARY)
    for example, token in ((0, pairs.answers[0, 0]), (1, pairs.answers[1, 1]), (2, pairs.foils[2, 0])):
        logits[example, token] = 1
    assert metrics.correct(logits, pairs)[:3].tolist() == [True, True, False]


def test_gradients_go_through_every_metric() -> None:
    for pairs, reads in ((random_pairs(), ()), (replace(random_pairs(), metric="probability"), ()), (answered(), (3,))):
        logits = random_logits(len(pairs), *reads).double().requires_grad_()
        (gradient,) = torch.autograd.grad(metrics.evaluate(logits, pairs).sum(), logits)
        assert gradient.isfinite().all()
        assert (gradient.flatten(1) != 0).any(1).all()


# --- only the columns that are needed


@settings(derandomize=True, max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 6), metric=st.sampled_from(["logit_difference", "probability"]))
def test_the_columns_that_a_metric_needs_give_what_all_give(seed: int, n: int, metric: str) -> None:
    pairs, logits = replace(random_pairs(n=n, seed=seed), metric=metric), random_logits(n, seed=seed)
    columns = metrics.columns(pairs)
    chosen = logits if columns is None else logits[:, columns]
    small = metrics.compact(pairs, columns)
    assert torch.equal(metrics.evaluate(chosen, small), metrics.evaluate(logits, pairs))
    if columns is not None:
        ids = {int(token) for sets in (pairs.answers, pairs.foils) for token in sets.flatten() if token != ABSENT}
        assert columns.tolist() == sorted(ids)
    part = torch.tensor([n - 1])
    assert torch.equal(metrics.evaluate(chosen[part], small.select(part)), metrics.evaluate(logits, pairs)[part])


def test_other_metrics_need_every_column() -> None:
    pairs = random_pairs()
    for metric in ("probability", first_logit):
        assert metrics.columns(replace(pairs, metric=metric)) is None
    assert metrics.columns(answered()) is None
    assert torch.equal(metrics.compact(answered(), None).answers, answered().answers)


def test_texts_are_dropped_where_answers_count_columns() -> None:
    pairs = replace(random_pairs(), texts=("a", "b", "c", "d"))
    assert metrics.compact(pairs, metrics.columns(pairs)).texts == ()


def test_columns_that_lack_an_answer_are_refused() -> None:
    pairs = random_pairs()
    with pytest.raises(UsageError) as caught:
        metrics.compact(pairs, pairs.answers[pairs.answers != ABSENT].unique())
    assert str(caught.value) == (
        "columns without some of the foils of task 'random'\n"
        "  expected: every token whose logit the metric needs\n"
        "  to fix it: give headscope.metrics.columns(pairs)"
    )


# --- metrics of one's own


def first_logit(logits: Tensor, pairs: Pairs) -> Tensor:
    """The logit of the first answer."""
    return logits.gather(1, pairs.answers[:, :1])[:, 0]


def test_a_function_can_be_the_metric() -> None:
    pairs, logits = random_pairs(), random_logits(4)
    own = replace(pairs, metric=first_logit)
    assert torch.equal(metrics.evaluate(logits, own), logits.double().gather(1, pairs.answers[:, :1])[:, 0])
    assert torch.equal(metrics.evaluate(logits[:, None], own), metrics.evaluate(logits, own))
    assert torch.equal(value_of(pairs, lambda logits, _: logits[:, 0] > 0, logits), (logits[:, 0] > 0).double())


class Scaled:
    """A metric that is an object and knows its unit."""

    unit = "points"

    def __call__(self, logits: Tensor, pairs: Pairs) -> Tensor:
        return 100 * first_logit(logits, pairs)


@pytest.mark.parametrize(
    ("metric", "name", "unit"),
    [
        ("logit_difference", "logit_difference", "logits"),
        ("probability", "probability", "probability"),
        (first_logit, "first_logit", "units of first_logit"),
        (partial(first_logit), "first_logit", "units of first_logit"),
        (Scaled(), "Scaled", "points"),
        (lambda logits, _: logits[:, 0], "<lambda>", "units of <lambda>"),
    ],
)
def test_every_metric_has_a_name_and_a_unit(metric: Any, name: str, unit: str) -> None:
    pairs = replace(random_pairs(), metric=metric)
    assert (metrics.name_of(pairs), metrics.unit_of(pairs)) == (name, unit)
    assert metrics.evaluate(random_logits(4), pairs).shape == (4,)


def test_a_log_probability_is_in_nats() -> None:
    assert (metrics.name_of(answered()), metrics.unit_of(answered())) == ("log_probability", "nats")
    assert metrics.METRICS.keys() == metrics.UNITS.keys()


# --- what is refused


@pytest.mark.parametrize(
    ("metric", "fix"),
    [("probabilty", "did you mean 'probability'?"), ("kl", "correct the pairs' metric")],
)
@pytest.mark.parametrize("function", [metrics.unit_of, metrics.columns, partial(metrics.evaluate, random_logits(4))])
def test_a_metric_that_does_not_exist_is_explained(function: Callable[[Pairs], Any], metric: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        function(replace(random_pairs(), metric=metric))
    assert str(caught.value) == (
        f"metric {metric!r}\n  expected: one of: logit_difference, probability, log_probability, embedding_contrast; "
        f"or a function (logits [example, vocabulary], pairs) -> [example]\n  to fix it: {fix}"
    )


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        (lambda logits, _: logits, f"a tensor of shape (4, {VOCABULARY})"),
        (lambda logits, _: logits[:3, 0], "a tensor of shape (3,)"),
        (lambda logits, _: logits.mean(), "a tensor of shape ()"),
        (lambda logits, _: float(logits.mean()), "a float"),
        (lambda *_: None, "a NoneType"),
    ],
)
def test_a_metric_of_the_wrong_shape_is_explained(metric: Any, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        value_of(random_pairs(), metric)
    assert str(caught.value) == (
        f"metric '<lambda>' of task 'random', which gives {found}\n"
        "  expected: one number for each of 4 examples: a tensor of shape (4,)\n"
        "  to fix it: let it return one value for each row of the logits, such as logits[:, 5]"
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_metric_that_is_not_finite_is_explained(bad: float) -> None:
    logits, pairs = random_logits(4), random_pairs()
    assert (pairs.answers[[1, 3]] != ABSENT).all(), "one of several answers is enough"
    logits[1, pairs.answers[1, 0]] = logits[3, pairs.answers[3, 0]] = bad
    with pytest.raises(UsageError) as caught:
        metrics.evaluate(logits, pairs)
    assert str(caught.value) == (
        "metric 'logit_difference' of task 'random', which is NaN or infinite for examples 1, 3\n"
        "  expected: a finite number for each of 4 examples\n"
        "  to fix it: give every example the answers and foils that the metric compares, and see that the model's own "
        "logits are finite"
    )


def test_a_probability_of_broken_logits_is_not_nought() -> None:
    logits = random_logits(4)
    logits[2, 0] = torch.nan
    with pytest.raises(UsageError, match="'probability' of task 'random', which is NaN or infinite for example 2"):
        value_of(random_pairs(), "probability", logits)


def test_an_example_without_foils_has_no_logit_difference() -> None:
    pairs = random_pairs()
    foils = pairs.foils.masked_fill((torch.arange(4) == 2)[:, None], ABSENT)
    with pytest.raises(UsageError, match="which is NaN or infinite for example 2\n"):
        metrics.evaluate(random_logits(4), replace(pairs, foils=foils))


@pytest.mark.parametrize(
    ("make", "shape", "expected"),
    [
        (random_pairs, (3,), "[4, 1, vocabulary] or [4, vocabulary]: one row for each example"),
        (random_pairs, (4, 2), "[4, 1, vocabulary] or [4, vocabulary]: one row for each example"),
        (answered, (3,), "[3, 3, vocabulary]: one row for each example"),
        (answered, (3, 2), "[3, 3, vocabulary]: one row for each example"),
    ],
)
def test_logits_of_other_positions_are_refused(make: Any, shape: tuple[int, ...], expected: str) -> None:
    pairs = make()
    with pytest.raises(UsageError) as caught:
        inspect.unwrap(metrics.evaluate)(random_logits(*shape), pairs)
    assert str(caught.value) == (
        f"logits of shape {(*shape, VOCABULARY)} for metric {metrics.name_of(pairs)!r} of task {pairs.task!r}\n"
        f"  expected: {expected} and position that it reads\n"
        "  to fix it: take the model's logits at the positions pairs.reads"
    )
