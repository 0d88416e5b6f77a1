"""Tasks answered from the context or from memory: facts, capitals, needles, docstrings, deduction."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from fixtures_tasks import KINDS, reader

from headscope.ability import ability
from headscope.errors import TaskError
from headscope.few.split import split
from headscope.grammar import lexicon as lex
from headscope.models import Model, load
from headscope.prompts import Pairs
from headscope.tasks import deduction, docstring, retrieval
from headscope.tasks.capitals import CAPITALS
from headscope.tasks.deduction import DEDUCTION, DEDUCTION_FACTS, DEDUCTION_PREMISE
from headscope.tasks.docstring import DOCSTRING, DOCSTRING_RANDOM
from headscope.tasks.facts import FACTS
from headscope.tasks.retrieval import RETRIEVAL
from headscope.testing import check_task

ROWS = {
    task.name: task
    for task in (
        FACTS, CAPITALS, RETRIEVAL, DOCSTRING, DOCSTRING_RANDOM, DEDUCTION, DEDUCTION_FACTS, DEDUCTION_PREMISE,
    )
}  # fmt: skip
DOCSTRINGS = ("docstring", "docstring-random")
WORDS = ("gpt2", "words", "bert")
CASES = [(kind, name) for kind in WORDS for name in ROWS if (kind == "words") <= (name not in DOCSTRINGS)]
LABELS = {
    "facts": {"value": "answers", "other": "foils"},
    "capitals": {},
    "retrieval": {"value": "answers", "other": "foils"},
    "docstring": {"c_def": "answers", "d_def": "foils"},
    "docstring-random": {"c_def": "answers"},
    "deduction": {"conclusion": "answers", "other": "foils"},
    "deduction-facts": {"conclusion": "answers", "other": "foils"},
    "deduction-premise": {"fact": "answers", "premise": "answers", "other": "foils"},
}
CHANGED = {
    "facts": {"value", "other"},
    "capitals": {"subject"},
    "retrieval": {"value", "other"},
    "docstring": {"c_def", "d_def"},
    "docstring-random": {"c_def"},
    "deduction": {"conclusion", "other"},
    "deduction-facts": {"fact", "chain"},
    "deduction-premise": {"fact"},
}


def build(name: str, model: Model, n: int = 40, seed: int = 0, **options: int) -> Pairs:
    return ROWS[name].build(model, n=n, rng=np.random.default_rng(seed), **options)


@cache
def forty(kind: str, name: str) -> Pairs:
    return build(name, reader(kind))


def written(model: Model, tokens: torch.Tensor, mask: torch.Tensor) -> str:
    """What a reader of the token ids reads: lower case, one way of spacing, without special tokens."""
    text = model.tokenizer.decode(tokens[mask].tolist(), skip_special_tokens=True).lower()
    text = re.sub(r"\s*([.,:()])\s*", r"\1 ", text)
    return re.sub(r"\s+", " ", text).strip() if model.causal else re.sub(r"[\s.]+$", "", re.sub(r"\s+", " ", text))


def word_of(model: Model, token: int) -> str:
    return model.tokenizer.decode([token]).strip().lower()


# --- what is right after a text, found in another way than the tasks were made


def solve_facts(text: str) -> str:
    *told, asked = re.split(r"\. ", text)
    facts = [re.fullmatch(r"(\w+) (likes|eats|plays|drinks) (\w+)", sentence) for sentence in told]
    assert len(facts) == 4, text
    assert all(facts), text
    answers = {f"{fact[1]} {fact[2]}": fact[3] for fact in facts if fact}
    assert len({*answers.values()}) == 4
    return answers[asked]


def solve_capitals(text: str) -> str:
    forms = (r"the capital of (\w+) is", r"the main city of (\w+) is", r"in (\w+), the capital is")
    found = re.fullmatch(rf"(?:(?:yes|today), )?(?:{'|'.join(forms)}|the people of (\w+) live in)", text)
    assert found, text
    (country,) = filter(None, found.groups())
    return lex.CAPITALS[country]


def solve_retrieval(text: str) -> str:
    found = re.search(r"(the secret word of \w+ is|\w+ likes)$", text)
    assert found, text
    (value,) = re.findall(rf"\b{found[1]} (\w+)\.", text)
    assert len(re.findall(r"(?:secret word of \w+ is|likes) \w+\.", text)) >= 2, "a needle and another of its kind"
    return value


def solve_docstring(text: str) -> str:
    words = re.findall(r"\w+", text)
    assert len(words) == 20, text
    arguments, first, second = words[3:7], words[12], words[16]
    assert [words[i] for i in (0, 2, 7, 11, 15, 19)] == ["def", "self", "return", "param", "param", "param"]
    assert arguments[:2] == [first, second]
    return arguments[2]


def solve_deduction(text: str) -> str:
    found = re.fullmatch(r"facts: (\w+)\. ((?:if \w+ then \w+\. )+)question: (\w+)(?:\. ((?:\w+ so ?)*)|\.)?", text)
    assert found, text
    fact, rules, question, chain = found.groups()
    follows = dict(re.findall(r"if (\w+) then (\w+)", rules))
    said = (chain or "").replace(" so", "").split()
    for step in said:
        assert step == fact
        fact = follows[fact]
    assert question in follows.values()
    return fact


SOLVERS: dict[str, Callable[[str], str]] = {
    "facts": solve_facts,
    "capitals": solve_capitals,
    "retrieval": solve_retrieval,
    "docstring": solve_docstring,
    "docstring-random": solve_docstring,
    "deduction": solve_deduction,
    "deduction-facts": solve_deduction,
    "deduction-premise": solve_deduction,
}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_each_keeps_its_contract(kind: str, name: str) -> None:
    check_task(ROWS[name], reader(kind), labels=LABELS[name])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_answer_is_right_and_the_foil_is_right_in_the_twin(kind: str, name: str) -> None:
    model, pairs = reader(kind), forty(kind, name)
    for i in range(len(pairs)):
        answer, foil = (word_of(model, int(ids[i, 0])) for ids in (pairs.answers, pairs.foils))
        assert SOLVERS[name](written(model, pairs.tokens[i], pairs.mask[i])) == answer
        assert SOLVERS[name](written(model, pairs.corrupted[i], pairs.mask[i])) == foil
        assert answer != foil


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_twin_differs_at_the_named_words_only(kind: str, name: str) -> None:
    pairs = forty(kind, name)
    for i in range(len(pairs)):
        changed = (pairs.tokens[i] != pairs.corrupted[i]).nonzero()[:, 0].tolist()
        assert set(changed) == {int(pairs.positions[place][i]) for place in CHANGED[name]}


@pytest.mark.parametrize("name", ROWS)
def test_four_hundred_prompts_are_different_in_many_balanced_groups(name: str) -> None:
    pairs = build(name, reader("gpt2"), n=400)
    different = {text: set() for text in pairs.texts}
    for text, group in zip(pairs.texts, pairs.groups.tolist(), strict=True):
        different[text].add(group)
    assert len(different) == (336 if name == "capitals" else 400)
    assert all(len(groups) == 1 for groups in different.values()), "equal prompts must not be split"
    sizes = pairs.groups.unique(return_counts=True)[1]
    assert len(sizes) >= 20
    assert sizes.max() - sizes.min() <= 1
    halves = split(pairs, seed=0)  # refuses a prompt that is in both
    assert {*halves.select.texts}.isdisjoint(halves.measure.texts)


@pytest.mark.parametrize("name", ROWS)
def test_two_examples_are_of_two_groups(name: str) -> None:
    for seed in range(3):
        assert build(name, reader("gpt2"), n=2, seed=seed).groups.unique().numel() == 2


@pytest.mark.parametrize("name", sorted({*ROWS} - {"capitals", "retrieval"}))
def test_prompts_of_one_task_are_of_one_length(name: str) -> None:
    assert len(forty("gpt2", name).mask.sum(1).unique()) == 1


@pytest.mark.parametrize(
    ("name", "foil"), [("facts", "other"), ("retrieval", "other"), ("deduction", "other"), ("deduction-facts", "other")]
)
def test_what_was_said_last_is_the_answer_no_more_often_than_the_foil(name: str, foil: str) -> None:
    pairs = build(name, reader("words"), n=400)
    place = "value" if "value" in pairs.positions else "conclusion"
    share = (pairs.positions[place] > pairs.positions[foil]).double().mean()
    assert 0.42 < share < 0.58, "400 coins stay within .5 +- .08 with p > .998"


@pytest.mark.parametrize("name", ["facts", "retrieval", "deduction", "deduction-facts", "docstring"])
def test_answer_and_foil_are_said_equally_often(name: str) -> None:
    pairs = forty("gpt2", name)
    counts = [(pairs.tokens == ids[:, :1]).sum(1) for ids in (pairs.answers, pairs.foils)]
    assert torch.equal(*counts)
    assert (counts[0] == 1).all()


@pytest.mark.parametrize(("name", "back"), [("facts", 1), ("deduction", 1)])
@pytest.mark.parametrize("kind", WORDS)
def test_the_word_that_is_asked_for_is_the_same_token_both_times(kind: str, name: str, back: int) -> None:
    model, pairs = reader(kind), forty(kind, name)
    first = pairs.place("asked" if name == "facts" else "premise")
    last = pairs.end - back - (0 if model.causal else 1)
    assert torch.equal(pairs.tokens.gather(1, first[:, None]), pairs.tokens.gather(1, last[:, None]))


def test_a_docstring_is_python_up_to_its_third_argument() -> None:
    for text in forty("gpt2", "docstring").texts:
        assert re.fullmatch(
            r'def \w+\(self, (\w+), (\w+), \w+, \w+\):\n {4}"""Return \w+ \w+ \w+\n\n'
            r" {4}:param \1: \w+ \w+\n {4}:param \2: \w+ \w+\n {4}:param",
            text,
        )
        compile(f'{text} last: of all\n    """', "text", "exec")


# --- the bundled model does them


@cache
def mini() -> Model:
    return load("mini")


@pytest.mark.parametrize(
    ("name", "least"),
    [("facts", 1), ("capitals", 1), ("retrieval", 0.85), ("deduction", 1), ("deduction-facts", 1),
     ("deduction-premise", 1)],
)  # fmt: skip
def test_mini_does_them_on_prompts_and_twins(name: str, least: float) -> None:
    row = ability(mini(), build(name, mini(), n=60), seed=0)
    assert row["accuracy"] >= least
    assert row["status"] == "ok"
    assert row["logit_difference"] > 5 > -5 > row["corrupted"], "the twin turns the answer round"


@pytest.mark.parametrize("hops", [2, 3])
@pytest.mark.parametrize("name", ["deduction", "deduction-facts"])
def test_mini_deduces_over_several_steps(name: str, hops: int) -> None:
    model = mini()
    pairs = build(name, model, n=30, hops=hops)
    assert all(text.endswith(" so") and text.count(" so") == hops for text in pairs.texts)
    for i in range(len(pairs)):
        assert solve_deduction(written(model, pairs.tokens[i], pairs.mask[i])) == word_of(model, int(pairs.answers[i]))
        assert solve_deduction(written(model, pairs.corrupted[i], pairs.mask[i])) == word_of(model, int(pairs.foils[i]))
    assert ability(model, pairs, seed=0)["accuracy"] == 1


# --- a needle's length and depth


@pytest.mark.parametrize("length", [45, 64])
def test_a_needles_text_is_as_long_as_asked(length: int) -> None:
    lengths = build("retrieval", reader("gpt2"), length=length).mask.sum(1)
    assert lengths.max() <= length < lengths.min() + 12, "shorter by less than a sentence"


def test_needles_stand_at_all_depths_of_a_long_text_and_never_first() -> None:
    pairs = build("retrieval", reader("bert"), n=200, length=400)
    depth = pairs.positions["value"] / pairs.mask.sum(1)
    assert all(((low <= depth) & (depth < low + 0.2)).sum() > 20 for low in (0, 0.2, 0.4, 0.6, 0.8))
    assert not any(text.startswith("The secret") for text in pairs.texts)
    assert all(text.count("The secret word of") == 5 for text in pairs.texts), "four needles and the question"


def test_a_length_that_cannot_be_is_explained() -> None:
    for length in (20, 65):
        with pytest.raises(TaskError) as caught:
            build("retrieval", reader("gpt2"), length=length)
        assert re.fullmatch(
            rf"task 'retrieval' on 'GPT2LMHeadModel': prompts of {length} tokens, context 64\n"
            r"  expected: at least 4\d tokens, for two needles, a question and a sentence, and at most the context\n"
            r"  to fix it: give another length, or choose a task with shorter prompts",
            str(caught.value),
        )


# --- what cannot be expressed


@pytest.mark.parametrize("name", ROWS)
def test_words_need_a_tokenizer(name: str) -> None:
    with pytest.raises(TaskError) as caught:
        build(name, reader(KINDS[-1]))
    assert str(caught.value) == (
        f"task {name!r} on {reader('ids').name!r}, which has no tokenizer\n  expected: a model that reads words\n"
        "  to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids"
    )


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_the_bundled_words_cannot_write_python(name: str) -> None:
    text = (
        rf"^task '{name}' with the tokenizer of 'GPT2LMHeadModel': 3 of 53 words are single tokens \(not: 'name', .*\n"
        "  expected: at least 12 different single-token words, such as 'name'\n"
        "  to fix it: leave this task out with --task, or give pairs of your own in this model's words$"
    )
    with pytest.raises(TaskError, match=text):
        build(name, reader("words"))


def test_options_that_are_none_are_explained() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(
        TaskError, match=r"^deduction with task='deduction', hops=4\n  expected: task: one of deduction"
    ):
        deduction.build(reader("words"), n=2, rng=rng, hops=4)
    with pytest.raises(TaskError, match=r"^deduction with task='rules', hops=1\n"):
        deduction.build(reader("words"), n=2, rng=rng, task="rules")
    with pytest.raises(
        TaskError, match=r"^docstring with task='doc'\n  expected: one of docstring, docstring-random\n"
    ):
        docstring.build(reader("words"), n=2, rng=rng, task="doc")


def test_a_needle_takes_a_form_that_the_tokenizer_has_words_for() -> None:
    assert all("The secret word of" in text for text in build("retrieval", reader("bert"), n=4).texts)
    assert all(text.endswith(" likes") for text in build("retrieval", reader("words"), n=4).texts)
    assert {*retrieval.NEEDLES} == {"The secret word of {} is", "{} likes"}
