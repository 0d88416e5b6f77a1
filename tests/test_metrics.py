"""Metrics give one finite number per example, or say why not; few columns of the logits give the same as all.

Their oracles are SciPy and torch.nn.functional, which headscope does not use for them.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import scipy.special
import torch
from architectures import VOCABULARY, tiny
from fixtures_tasks import random_pairs, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

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


def test_the_probability_difference_is_what_scipy_gives() -> None:
    pairs, logits = random_pairs(), random_logits(4)
    chances = scipy.special.softmax(logits.double().numpy(), axis=1)
    expected = [
        sum(row[int(i)] for i in right if i != ABSENT) - sum(row[int(i)] for i in wrong if i != ABSENT)
        for row, right, wrong in zip(chances, pairs.answers, pairs.foils, strict=True)
    ]
    found = value_of(pairs, "probability_difference", logits)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_loss_is_the_cross_entropy() -> None:
    pairs, logits = random_pairs(), random_logits(4)
    single = replace(pairs, answers=pairs.answers[:, :1])
    wanted = functional.cross_entropy(logits.double(), single.answers[:, 0], reduction="none")
    torch.testing.assert_close(value_of(single, "loss", logits), wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        value_of(pairs, "loss", logits), -value_of(pairs, "probability", logits).log(), rtol=1e-12, atol=0
    )


def test_the_loss_of_an_answer_of_several_tokens_is_the_sum_of_their_cross_entropies() -> None:
    pairs, logits = answered(), random_logits(3, 3)
    each = functional.cross_entropy(
        logits.double().flatten(0, 1), pairs.answers.flatten(), ignore_index=ABSENT, reduction="none"
    )
    found = value_of(pairs, "loss", logits)
    torch.testing.assert_close(found, each.view(3, 3).sum(1), rtol=1e-12, atol=0)
    assert torch.equal(found, -metrics.evaluate(logits, pairs))


@settings(derandomize=True, max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_kl_is_what_torch_and_scipy_give(seed: int, scale: float) -> None:
    pairs = replace(random_pairs(seed=seed), metric="kl")
    run, clean = (scale * random_logits(4, seed=seed + more) for more in (0, 1))
    found = metrics.evaluate(run, pairs, reference=clean)
    one, other = (each.double().log_softmax(-1) for each in (clean, run))
    wanted = functional.kl_div(other, one, log_target=True, reduction="none").sum(1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
    by_scipy = scipy.special.rel_entr(one.exp().numpy(), other.exp().numpy()).sum(1)
    torch.testing.assert_close(found, torch.from_numpy(by_scipy), rtol=1e-6, atol=1e-12)
    assert (found > 0).all()
    assert metrics.evaluate(clean, pairs, reference=clean).tolist() == [0, 0, 0, 0]
    # A shift of all logits of a prompt changes no probability.
    torch.testing.assert_close(metrics.evaluate(run + 5, pairs, reference=clean - 3), found, rtol=1e-4, atol=1e-6)


def test_a_token_that_the_clean_run_rules_out_has_no_part_in_kl() -> None:
    pairs, clean, run = replace(random_pairs(), metric="kl"), random_logits(4), random_logits(4, seed=1)
    clean[:, 7] = -torch.inf
    kept = torch.arange(VOCABULARY) != 7
    found = metrics.evaluate(run, pairs, reference=clean)
    p, q = clean.double().softmax(-1)[:, kept], run.double().softmax(-1)[:, kept]
    torch.testing.assert_close(found, (p * (p / q).log()).sum(1), rtol=1e-12, atol=0)


def test_kl_without_the_clean_run_is_refused() -> None:
    pairs = replace(random_pairs(), metric="kl")
    wrong = (torch.zeros(3, VOCABULARY), f"logits of shape (3, {VOCABULARY})")
    for reference, found in ((None, "no logits"), wrong):
        with pytest.raises(UsageError) as caught:
            inspect.unwrap(metrics.evaluate)(random_logits(4), pairs, reference=reference)
        assert str(caught.value) == (
            f"{found} of the clean run for metric 'kl' of task 'random'\n"
            f"  expected: its logits at 'end', of shape (4, {VOCABULARY}), which this metric compares with\n"
            "  to fix it: give them as `reference`, or use a method that runs on headscope.replay, which computes them"
        )


def test_accuracy_and_choice_are_noughts_and_ones() -> None:
    pairs = random_pairs()
    logits = torch.zeros(4, VOCABULARY)
    for example, token in ((0, pairs.answers[0, 0]), (1, pairs.answers[1, 1]), (2, pairs.foils[2, 0])):
        logits[example, token] = 1
    assert value_of(pairs, "accuracy", logits)[:3].tolist() == [1, 1, 0]
    assert torch.equal(value_of(pairs, "accuracy", logits) == 1, metrics.correct(logits, pairs))
    assert value_of(pairs, "choice", logits).tolist() == [1, 1, 0, 0]  # a tie is no choice
    logits[1, 0] = 2  # something else altogether is the likeliest
    assert (value_of(pairs, "accuracy", logits)[1], value_of(pairs, "choice", logits)[1]) == (0, 1)
    for example, (row, answers, foils) in enumerate(zip(random_logits(4), pairs.answers, pairs.foils, strict=True)):
        own, others = row[answers[answers >= 0]], row[foils[foils >= 0]]
        chosen = own[0] > others.max() if len(own) == 1 else own.mean() > others.mean()
        assert value_of(pairs, "choice")[example] == chosen, "one answer must beat every foil; a set, on average"


def test_the_accuracy_of_an_answer_of_several_tokens_needs_them_all() -> None:
    pairs = replace(answered(), metric="accuracy")
    assert pairs.consecutive
    assert pairs.reads.shape == (3, 3)
    logits = torch.zeros(3, 3, VOCABULARY)
    for example, read in (pairs.reads != ABSENT).nonzero().tolist():
        logits[example, read, pairs.answers[example, read]] = 1
    logits[0, 2, 0] = 2
    spoiled = logits.masked_fill((pairs.reads == ABSENT)[..., None], torch.nan)
    assert metrics.evaluate(spoiled, pairs).tolist() == [0, 1, 1]
    assert metrics.correct(spoiled, pairs).tolist() == [False, True, True]


@pytest.mark.parametrize("metric", ["accuracy", "choice"])
def test_counts_have_no_derivative(metric: str) -> None:
    logits = random_logits(4).requires_grad_()
    assert not value_of(random_pairs(), metric, logits).requires_grad


@pytest.mark.parametrize("metric", ["probability_difference", "loss", "kl"])
def test_gradients_are_those_of_finite_differences(metric: str) -> None:
    pairs, clean = replace(random_pairs(), metric=metric), random_logits(4, seed=1).double()

    def value(logits: Tensor) -> Tensor:
        return metrics.evaluate(logits, pairs, reference=clean)

    assert torch.autograd.gradcheck(value, random_logits(4).double().requires_grad_(), fast_mode=True)


def test_lower_is_better_for_loss_and_kl_only() -> None:
    signs = {name: metrics.sign_of(replace(random_pairs(), metric=name)) for name in metrics.METRICS
             if name != "log_probability"}  # fmt: skip
    assert {name for name, sign in signs.items() if sign < 0} == {"loss", "kl"}
    assert metrics.sign_of(answered()) == metrics.sign_of(replace(random_pairs(), metric=first_logit)) == 1
    assert metrics.signs(random_pairs(), ["kl", "kl", "logit_difference", first_logit]) == {
        "logit_difference": 1, "kl": -1, "first_logit": 1,
    }  # fmt: skip


# --- only the columns that are needed


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 6),
    metric=st.sampled_from(["logit_difference", "choice", "probability", "accuracy"]),
)
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
    for metric in ("probability", "loss", "kl", "accuracy", first_logit):
        assert metrics.columns(replace(pairs, metric=metric)) is None
    assert metrics.columns(answered()) is None
    assert torch.equal(metrics.compact(answered(), None).answers, answered().answers)


def test_texts_are_dropped_where_answers_count_columns() -> None:
    pairs = replace(random_pairs(), texts=("a", "b", "c", "d"))
    assert metrics.compact(pairs, metrics.columns(pairs)).texts == ()


def test_the_embedding_metric_needs_no_column() -> None:
    pairs = replace(random_pairs(), metric="embedding_contrast")
    assert metrics.columns(pairs).tolist() == []  # type: ignore[union-attr]
    assert torch.equal(metrics.compact(pairs, torch.tensor([3])).answers, pairs.answers)


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
    assert metrics.METRICS.keys() == metrics.UNITS.keys() == metrics.BETTER.keys()


# --- what is refused


@pytest.mark.parametrize(
    ("metric", "fix"),
    [("probabilty", "did you mean 'probability'?"), ("bleu", "correct the pairs' metric")],
)
@pytest.mark.parametrize("function", [metrics.unit_of, metrics.columns, partial(metrics.evaluate, random_logits(4))])
def test_a_metric_that_does_not_exist_is_explained(function: Callable[[Pairs], Any], metric: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        function(replace(random_pairs(), metric=metric))
    assert str(caught.value) == (
        f"metric {metric!r}\n  expected: one of: logit_difference, probability, probability_difference, "
        "log_probability, loss, kl, accuracy, choice, embedding_contrast; "
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


@pytest.mark.parametrize("metric", ["probability_difference", "choice"])
def test_an_example_without_foils_is_not_measured_against_nothing(metric: str) -> None:
    pairs = random_pairs()
    pairs = replace(pairs, foils=pairs.foils.masked_fill((torch.arange(4) == 2)[:, None], ABSENT))
    with pytest.raises(UsageError, match=f"metric '{metric}' of task 'random', which is NaN or infinite for example 2"):
        value_of(pairs, metric)
    with pytest.raises(UsageError) as caught:
        metrics.check(replace(pairs, metric=metric))
    assert str(caught.value) == (
        f"metric '{metric}' of task 'random', which has no foils (in example 2)\n  expected: foils in every example\n"
        "  to fix it: give them, or take a metric that needs none, such as log_probability or kl"
    )


@pytest.mark.parametrize("metric", ["probability", "loss", "accuracy", "log_probability"])
def test_an_example_without_answers_has_no_value(metric: str) -> None:
    pairs = random_pairs()
    pairs = replace(pairs, answers=pairs.answers[:, :1].masked_fill((torch.arange(4) == 1)[:, None], ABSENT))
    with pytest.raises(UsageError, match="which is NaN or infinite for example 1"):
        value_of(pairs, metric)
    with pytest.raises(UsageError, match=r"which has no answers \(in example 1\)(.|\n)*needs none, such as kl$"):
        metrics.check(replace(pairs, metric=metric))
    metrics.check(replace(pairs, metric="kl"))


@pytest.mark.parametrize("metric", ["accuracy", "loss", "probability"])
def test_broken_logits_are_not_wrong_answers(metric: str) -> None:
    for bad in (torch.nan, torch.inf):
        logits = random_logits(4)
        logits[2, 0] = bad
        with pytest.raises(UsageError, match="which is NaN or infinite for example 2"):
            value_of(random_pairs(), metric, logits)


@pytest.mark.parametrize("metric", ["logit_difference", "probability", "probability_difference", "choice"])
def test_several_consecutive_tokens_are_no_set_of_answers(metric: str) -> None:
    pairs = replace(answered(), metric=metric, foils=torch.ones(3, 1, dtype=torch.long))
    for measure in (metrics.check, partial(metrics.evaluate, random_logits(3))):
        with pytest.raises(UsageError) as caught:
            measure(pairs)
        assert str(caught.value) == (
            f"metric {metric!r} of task 'own', for answers of several consecutive tokens (examples 0, 2)\n"
            "  expected: a metric of whole answers: accuracy, kl, log_probability, loss\n"
            "  to fix it: take one of these, or pairs whose answers are single tokens"
        )


def test_a_set_of_answers_has_no_log_probability() -> None:
    for find in (lambda pairs: metrics.further(pairs, ["log_probability"]),
                 lambda pairs: metrics.under(pairs, ["log_probability"])):  # fmt: skip
        with pytest.raises(UsageError, match="under the metric 'log_probability', whose prompts do not go on with"):
            find(random_pairs())


def test_further_metrics_need_names_of_their_own() -> None:
    with pytest.raises(UsageError) as caught:
        metrics.further(random_pairs(), [lambda logits, _: logits[:, 0], lambda logits, _: logits[:, 1]])
    assert str(caught.value) == (
        "two metrics of one name, '<lambda>', of task 'random'\n"
        "  expected: a name for each, under which its scores are told apart\n"
        "  to fix it: give functions with different names, not lambdas"
    )


def test_all_of_several_metrics_are_checked_before_anything_runs() -> None:
    pairs = random_pairs()
    assert metrics.under(pairs, []) is pairs
    assert metrics.under(pairs, ["loss", "kl"]).metric == "loss"
    with pytest.raises(UsageError, match="metric 'kll'"):
        metrics.under(pairs, ["loss", "kll"])
    with pytest.raises(UsageError, match="metric 'choice' of task 'random', which has no foils"):
        metrics.under(replace(pairs, foils=torch.full((4, 1), ABSENT)), ["kl", "choice"])


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
