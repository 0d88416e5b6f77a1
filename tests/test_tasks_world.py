"""A task for every family of the bundled model: right by rules read off the text, and by the model itself."""

import itertools
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from fixtures_tasks import reader
from test_tasks import letters

import headscope
from headscope import grammar
from headscope.errors import TaskError
from headscope.grammar import Document, Query
from headscope.grammar import lexicon as lex
from headscope.grammar.splits import draw
from headscope.mini import score
from headscope.prompts import Pairs
from headscope.tasks import DEFAULT, MINI, TASKS
from headscope.tasks.world import FAMILIES, collect
from headscope.tasks.world.sketch import Sketch
from headscope.testing import check_task

SMALL = 16
BY_NAME = {family.name: family for family in FAMILIES}
VERBS = lex.ALONE | lex.WITH_OBJECT | lex.LOVING | lex.REFLEXIVE | lex.GIVING | lex.SAYING | lex.WANTING | {"is": "are"}


@cache
def mini() -> Any:
    return headscope.load("mini", device="cpu")


@cache
def made(task: str, n: int) -> Pairs:
    return TASKS[task].build(mini(), n=n, rng=np.random.default_rng(0))


def words(ids: torch.Tensor) -> list[str]:
    return [mini().tokenizer.decode([int(i)]) for i in ids]


def sketches(family: str, count: int = 30) -> list[Sketch]:
    rng, found = Random(7), []
    while len(found) < count:
        found += BY_NAME[family].twins(grammar.generate(family, rng), rng)[:2]
    return found


# --- what the words before the cut determine, read off them by a rule of each family's own


def _agreement(said: list[str], subject: int) -> str:
    return "plural" if said[subject] in lex.NOUNS.values() or "and" in said else "singular"


def _pronoun(said: list[str]) -> str:
    people = lex.MALE if said[-1] == "he" else lex.FEMALE
    (person,) = (word for word in said if word in people)
    return lex.HABITS[person]


def _winograd(said: list[str]) -> str:
    nouns = [word for word in said if word in lex.ANIMALS | lex.PLACES | lex.THINGS | lex.CONTAINERS]
    scene = "cross" if {"cross", "enter"} & set(said) else "fit" if "fit" in said else "chase"
    first = {"cross": lex.TIRED, "fit": lex.LARGE, "chase": lex.FIERCE}[scene]
    return lex.HABITS[nouns[0 if said[said.index("was") + 1] in first else 1]]


def _ioi(said: list[str]) -> str:
    (once,) = (word for word in said if word in lex.NAMES and said.count(word) == 1)
    return once


def _induction(said: list[str]) -> str:
    return said[said.index(said[-1]) + 1]


def _reversal(said: list[str]) -> str:
    return said[said.index(said[-1]) - 1]


def _duplicate(said: list[str]) -> str:
    return "again" if said[-1] in said[:-1] else ","


def _repetition(said: list[str]) -> str:
    start = said.index("again")
    return said[len(said) - start - 2]


def _fact(said: list[str]) -> str:
    return next(said[i + 2] for i in range(len(said) - 2) if said[i : i + 2] == said[-2:])


def _world(said: list[str]) -> str:
    countries = [word for word in said if word in lex.CAPITALS]
    return lex.CAPITALS[countries[0]] if countries else lex.HABITS[said[-1]]


def _rules(said: list[str]) -> dict[str, str]:
    return {said[i + 1]: said[i + 3] for i, word in enumerate(said) if word == "if"}


def _deduction(said: list[str]) -> str:
    return _rules(said)[said[-2]]


def _paths(said: list[str]) -> tuple[list[list[str]], int]:
    """All simple paths from start to end, and where the title stands."""
    title = said.index("from") - 1
    edges = [(said[i], said[i + 2]) for i in range(0, title, 4)]
    done, open_ = [], [[said[title + 2]]]
    while open_:
        path = open_.pop()
        if path[-1] == said[title + 4]:
            done.append(path)
        else:
            open_ += [[*path, to] for start, to in edges if start == path[-1] and to not in path]
    return done, title


def _graph(said: list[str]) -> str:
    (path,), title = _paths(said)
    steps = said[title + 6 :]
    assert path[: len(steps)] == steps
    return path[len(steps)]


RULES: dict[str, Callable[[list[str]], str]] = {
    "mini-gender": _pronoun,
    "mini-winograd": _winograd,
    "mini-ioi": _ioi,
    "mini-induction": _induction,
    "mini-reversal": _reversal,
    "mini-duplicate": _duplicate,
    "mini-repetition": _repetition,
    "mini-facts-context": _fact,
    "mini-facts-world": _world,
    "mini-deduction": _deduction,
    "mini-graph": _graph,
}


@pytest.mark.parametrize("task", RULES)
def test_prompt_and_twin_determine_answer_and_foil(task: str) -> None:
    pairs = made(task, SMALL)
    for row, twin, mask, answer, foil in zip(
        pairs.tokens, pairs.corrupted, pairs.mask, words(pairs.answers), words(pairs.foils), strict=True
    ):
        assert RULES[task](words(row[mask])[1:]) == answer
        assert RULES[task](words(twin[mask])[1:]) == foil
        assert answer != foil


@pytest.mark.parametrize("task", ["mini-agreement", "mini-clauses"])
def test_the_verbs_number_is_its_subjects_and_the_foil_is_the_same_verb(task: str) -> None:
    pairs, numbers = made(task, SMALL), set()
    for index, (answer, foil) in enumerate(zip(words(pairs.answers), words(pairs.foils), strict=True)):
        assert VERBS.get(answer) == foil or VERBS.get(foil) == answer
        for ids, verb in ((pairs.tokens[index], answer), (pairs.corrupted[index], foil)):
            number = _agreement(words(ids), int(pairs.positions["subject"][index]))
            assert (verb in VERBS) == (number == "singular")
            numbers.add(number)
    assert numbers == {"singular", "plural"}


def test_two_joined_subjects_become_one() -> None:
    pairs = made("mini-clauses", 40)
    cues = words(pairs.tokens.gather(1, pairs.positions["cue"][:, None]))
    joined = [i for i, cue in enumerate(cues) if cue == "and"]
    assert joined, "the test needs one"
    for i in joined:
        changed = pairs.tokens[i] != pairs.corrupted[i]
        assert changed.nonzero()[:, 0].tolist() == [int(pairs.positions["cue"][i])]
        assert words(pairs.corrupted[i][changed])[0] in lex.NEAR
        assert words(pairs.answers)[i] in VERBS.values()


def test_there_is_one_for_every_family_and_none_is_asked_unless_told() -> None:
    assert tuple(f"mini-{family.replace('_', '-')}" for family in grammar.FAMILIES) == MINI
    assert set(MINI) <= set(TASKS)
    assert not set(MINI) & set(DEFAULT)
    assert all(TASKS[task].about.startswith("mini's world: ") for task in MINI)


@pytest.mark.parametrize("task", MINI)
def test_tasks_keep_the_contract(task: str) -> None:
    check_task(TASKS[task], mini(), n=4)


def test_every_text_is_of_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Document] = []
    for family in FAMILIES:
        spied = replace(family, twins=lambda text, rng, family=family: seen.append(text) or family.twins(text, rng))
        collect.build(spied, mini(), n=2, rng=np.random.default_rng(1))
    assert len(seen) >= 2 * len(FAMILIES)
    assert {document.family for document in seen} == set(grammar.FAMILIES)
    assert {crc32(document.key.encode()) % 20 for document in seen} == {1}


@pytest.mark.parametrize("task", MINI)
def test_prompts_come_once_and_groups_are_many(task: str) -> None:
    pairs = made(task, SMALL)
    group_of = dict(zip(pairs.texts, pairs.groups.tolist(), strict=True))
    assert [group_of[text] for text in pairs.texts] == pairs.groups.tolist(), "equal prompts share a group"
    assert len(pairs.groups.unique()) >= 8
    both = {(text, tuple(twin)) for text, twin in zip(pairs.texts, pairs.corrupted.tolist(), strict=True)}
    assert len(both) == SMALL
    if task != "mini-facts-world":
        assert len(group_of) == SMALL
        assert pairs.notes == ()


def test_a_family_with_few_held_out_texts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "PATIENCE", 25)
    pairs = made("mini-facts-world", 48)
    different = len(set(pairs.texts))
    assert 20 <= different <= 40
    assert pairs.notes == (f"{different} different prompts in 48 examples: few of the held-out part can be written",)


# --- the whole twin is a text of the grammar


@pytest.mark.parametrize("family", [name for name in BY_NAME if name != "duplicate"])
def test_the_model_finds_the_whole_twin_as_determined_as_a_text_of_its_own(family: str) -> None:
    twins = []
    for sketch in sketches(family):
        old, new = ([word.form for word in each] for each in (sketch.document.words, sketch.twin))
        queries = (
            Query(q.index, old[q.index]) if q.foil is not None and new[q.index] != old[q.index] else q
            for q in sketch.document.queries
        )
        twins.append(replace(sketch.document, words=sketch.twin, queries=tuple(queries)))
    accuracy = score.summary(score.right(score.reader(mini()), twins, mini().tokenizer.get_vocab()))
    assert accuracy.n_queries >= 30
    assert accuracy.queries >= 0.98


def test_a_twins_chain_follows_its_rules_and_its_verdict_is_true() -> None:
    verdicts = set()
    for sketch in sketches("deduction", 60):
        said = [word.form for word in sketch.twin]
        rules, question = _rules(said), said[said.index("question") + 2]
        said = said[said.index("question") + 4 :]
        chain = said[:-3:2]
        assert set(said[1:-3:2]) <= {"so"}
        assert all(rules[one] == two for one, two in itertools.pairwise(chain))
        assert (chain[-1] == question) or chain[-1] not in rules, "it stops where it must"
        assert said[-3:] == ["answer", "yes" if question in chain else "no", "."]
        others = {premise: then for premise, then in rules.items() if premise not in chain}
        assert not set(others.values()) & set(rules), "other rules lead nowhere"
        verdicts.add((said[-2], [word.form for word in sketch.document.words][-2]))
    assert ("no", "yes") in verdicts


def test_a_twins_path_is_the_only_one_and_is_said_to_its_end() -> None:
    for sketch in sketches("graph", 20):
        said = [word.form for word in sketch.twin]
        (path,), title = _paths(said)
        assert said[title + 6 : -1] == path
        asked = slice(title, title + 6)
        assert said[asked] == [word.form for word in sketch.document.words][asked], "only the edges tell"


def test_a_duplicates_twin_is_a_list_with_every_repeat_marked_and_no_other() -> None:
    marks = set()
    for sketch in sketches("duplicate", 24):
        said = [word.form for word in sketch.twin]
        items = [item.split() for item in " ".join(said).removesuffix(" .").split(" , ")]
        before: set[str] = set()
        for item in items:
            assert item[1:] == (["again"] if item[0] in before else [])
            before.add(item[0])
        marks.add((sketch.document.words[sketch.cut].form, said[sketch.cut]))
    assert marks == {("again", ","), (",", "again")}


def test_pronouns_after_the_cut_go_with_the_twins_subject() -> None:
    pronouns = {"themselves", "himself", "herself", "his", "her", "their"}
    found = set()
    for sketch in [*sketches("agreement", 80), *sketches("clauses", 150)]:
        changed = [(one.form, two.form) for one, two in zip(sketch.document.words, sketch.twin, strict=True)]
        found |= {pair for pair in changed if pair[0] in pronouns}
        assert all(one != two for one, two in changed if one in pronouns), "its subject is the noun that changed"
        if sketch.twin[sketch.places["subject"]].form in {*lex.WOMEN}:
            assert not {"himself", "his"} & {two for _, two in changed}
    assert {("themselves", "herself"), ("themselves", "himself"), ("herself", "themselves")} <= found
    assert found & {("their", "his"), ("their", "her"), ("his", "their"), ("her", "their")}


def test_a_held_out_twin_is_chosen_where_there_is_one() -> None:
    rng, offered = Random(1), []
    while "test" not in [sketch.part for sketch in offered[1:]]:
        offered = BY_NAME["winograd"].twins(draw("winograd", "test", rng), rng)
    work = collect._Work(model=mini())
    assert collect._take(work, offered, worn=0)
    held = [sketch for sketch in offered if sketch.part == "test"]
    assert work.drafts[0].corrupted in {str(sketch).split("\n")[1].rsplit(" | ")[0] for sketch in held}


# --- other tokenizers


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("task", MINI)
def test_other_models_get_them_with_single_tokens_exchanged(task: str, kind: str) -> None:
    model: Any = reader(kind)
    pairs = TASKS[task].build(model, n=3, rng=np.random.default_rng(0))
    read = model.tokenizer
    assert len(pairs) == len(pairs.texts) == 3
    assert read.unk_token_id in (None, read.bos_token_id) or not (pairs.tokens == read.unk_token_id).any()
    changed = ((pairs.tokens != pairs.corrupted) & pairs.mask).sum(1)
    for index, text in enumerate(pairs.texts):
        both = (each[index][pairs.mask[index]] for each in (pairs.tokens, pairs.corrupted))
        one, two = (re.findall(r"[a-z]+|[.,:]", read.decode(each, skip_special_tokens=True).lower()) for each in both)
        assert one[: len(text.split())] == re.findall(r"[a-z]+|[.,:]", text.lower())[: len(text.split())]
        assert sum(a != b for a, b in zip(one, two, strict=True)) == changed[index] > 0
    ends = pairs.tokens.gather(1, pairs.end[:, None])[:, 0]
    answers = [read.decode(row) for row in pairs.answers]
    if kind == "bert":
        assert (ends == read.mask_token_id).all()
    else:
        assert torch.equal(pairs.end, pairs.mask.sum(1) - 1)
        assert all(re.fullmatch(r" [A-Za-z]+|,", answer) for answer in answers), "with the space that it has in a text"


def test_a_tokenizer_that_cannot_write_the_words_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "PATIENCE", 7)
    model = letters()
    with pytest.raises(TaskError) as caught:
        TASKS["mini-gender"].build(model, n=4, rng=np.random.default_rng(0))
    assert str(caught.value) == (
        f"task 'mini-gender' with the tokenizer of {model.name!r}: it can write none of 7 held-out texts of mini's "
        "world (7 times an answer that is not a token of its own)\n"
        "  expected: a tokenizer that writes plain English words as single tokens, and a context that is long enough\n"
        "  to fix it: leave this task out with --task, or take mini, whose words these are"
    )


def test_a_context_that_is_too_short_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "PATIENCE", 10)
    whole = mini()
    short: Any = SimpleNamespace(
        name="short", tokenizer=whole.tokenizer, causal=True, max_length=6, vocabulary=whole.vocabulary,
        encode=whole.encode,
    )  # fmt: skip
    with pytest.raises(TaskError, match=r"'short': it can write none .* \(\d+ times a prompt of more than 6 tokens\)"):
        TASKS["mini-ioi"].build(short, n=4, rng=np.random.default_rng(0))
    pairs = TASKS["mini-agreement"].build(short, n=4, rng=np.random.default_rng(0))
    assert pairs.tokens.shape[1] <= 6, "those that fit are taken"


def test_a_model_without_tokenizer_is_explained() -> None:
    with pytest.raises(TaskError, match=r"task 'mini-graph' on '.*', which has no tokenizer\n  expected: a model that"):
        TASKS["mini-graph"].build(reader("ids"), n=4, rng=np.random.default_rng(0))


# --- the model does every one of them, and the twin turns its answer round


def _measured(task: str, n: int) -> dict[str, float]:
    model, pairs = mini(), made(task, n)
    clean, twin = (model.run_at(tokens, pairs.mask, pairs.end) for tokens in (pairs.tokens, pairs.corrupted))
    before, after = (
        (logits.gather(1, pairs.answers) - logits.gather(1, pairs.foils))[:, 0] for logits in (clean, twin)
    )
    return {
        "n": n,
        "groups": len(pairs.groups.unique()),
        "accuracy": (before > 0).float().mean().item(),
        "logit_difference": before.mean().item(),
        "corrupted": after.mean().item(),
        "turned": (after < 0).float().mean().item(),
        "top1": (clean.argmax(1) == pairs.answers[:, 0]).float().mean().item(),
        "tokens": pairs.mask.sum(1).float().mean().item(),
    }


def _assert_done(found: dict[str, float], task: str) -> None:
    assert found["accuracy"] >= 0.95
    assert found["turned"] >= 0.95
    assert found["corrupted"] < -0.8 * found["logit_difference"] < -4
    if task not in {"mini-agreement", "mini-clauses"}:  # there any verb of the right number may come
        assert found["top1"] >= 0.95


@pytest.mark.parametrize("task", MINI)
def test_the_bundled_model_does_it_and_the_twin_turns_its_answer_round(task: str) -> None:
    _assert_done(_measured(task, SMALL), task)


@pytest.mark.slow
def test_the_bundled_model_does_all_of_them_on_200_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    found = {task: _measured(task, 200) for task in MINI}
    heads = ("n", "groups", "accuracy", "logit_difference", "corrupted", "turned", "top1", "tokens")
    lines = [" | ".join(["task".ljust(20), *heads])]
    lines += [" | ".join([task.ljust(20), *(f"{row[name]:.3g}" for name in heads)]) for task, row in found.items()]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    for task, row in found.items():
        _assert_done(row, task)
        assert row["groups"] >= 20
