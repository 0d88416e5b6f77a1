"""What the tasks in words say: prompts are parsed again, and their twins, answers and groups worked out anew."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from fixtures_tasks import reader
from fixtures_words import OURS, READERS, at, build, cases, changed, clean, placed, said, twin
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope import metrics
from headscope.few.split import split
from headscope.tasks import TASKS, gender_bias, greater_than
from headscope.tasks.frames import deal, distinct, fill
from headscope.tasks.words import Draft

# --- any task: how many prompts, and in which groups


@pytest.mark.parametrize("task", [task for task in OURS if task not in ("ioi-s2", "ioi-random")])  # as ioi's: below
def test_four_hundred_prompts_differ_and_come_in_many_small_groups(task: str) -> None:
    pairs = build(task, "gpt2", n=400)
    assert len(set(pairs.texts)) == 400
    assert pairs.notes == tuple(note for note in pairs.notes if "different prompts" not in note)
    sizes = Counter(pairs.groups.tolist())
    assert len(sizes) >= 20
    assert max(sizes.values()) <= 20
    assert [abs(len(half) - 200) <= 20 for half in split(pairs, seed=0)] == [True, True], "and no prompt is in both"


@pytest.mark.parametrize("task", OURS)
def test_two_prompts_are_of_two_groups_and_the_seed_decides_which(task: str) -> None:
    for seed in range(3):
        pairs = build(task, "gpt2", n=2, seed=seed)
        assert len(pairs.groups.unique()) == 2
    again = TASKS[task].build(reader("gpt2"), n=2, rng=np.random.default_rng(2))
    assert (again.texts, again.tokens.tolist(), again.corrupted.tolist()) == (
        pairs.texts,
        pairs.tokens.tolist(),
        pairs.corrupted.tolist(),
    )
    assert len({build(task, "gpt2", n=2, seed=seed).texts for seed in range(3)}) > 1


def test_prompts_that_must_come_again_share_a_group_and_the_note_says_how_many() -> None:
    pairs = build("winograd", "words", n=60)
    groups: dict[str, set[int]] = {}
    for text, group in zip(pairs.texts, pairs.groups.tolist(), strict=True):
        groups.setdefault(text, set()).add(group)
    assert all(len(found) == 1 for found in groups.values())
    assert pairs.notes == ("48 different prompts among 60 examples: the tokenizer has words for no more",)
    assert build("winograd", "words", n=48).notes == ()


# --- indirect object identification


IOI = r"(?P<frame>\w+ (?P<one>\w+) and (?P<two>\w+) .*, (?P<giver>\w+) \w+ the \w+ to)"


@pytest.mark.parametrize(("task", "kind"), cases("ioi-s2", "ioi-random"))
def test_the_three_ioi_tasks_share_their_prompts(task: str, kind: str) -> None:
    plain, pairs = build("ioi", kind), build(task, kind)
    assert plain.texts == pairs.texts
    assert torch.equal(plain.tokens, pairs.tokens)
    assert torch.equal(plain.answers, pairs.answers)
    assert torch.equal(plain.foils, pairs.foils)
    assert all(torch.equal(plain.positions[name], pairs.positions[name]) for name in ("io", "s1", "s2", "end"))
    assert plain.corruption != pairs.corruption
    assert len(pairs.notes) == 1


@pytest.mark.parametrize("kind", READERS["ioi-s2"])
def test_the_s2_twin_repeats_the_other_name_and_the_answer_flips(kind: str) -> None:
    pairs = build("ioi-s2", kind)
    for index in range(len(pairs)):
        found = re.fullmatch(IOI, twin(pairs, kind, index))
        assert found
        receiver = ({found["one"], found["two"]} - {found["giver"]}).pop()
        assert said(kind, pairs.answers[index]) == [found["giver"]], "now it is the indirect object who gives"
        assert said(kind, pairs.foils[index]) == [receiver]
        assert changed(pairs, index) == placed(pairs, index, "s2")
    assert torch.equal(pairs.first_difference, pairs.positions["s2"])


@pytest.mark.parametrize("kind", READERS["ioi-random"])
def test_the_random_twin_is_the_same_prompt_about_two_other_people(kind: str) -> None:
    pairs = build("ioi-random", kind)
    for index in range(len(pairs)):
        ours, other = (re.fullmatch(IOI, made(pairs, kind, index)) for made in (clean, twin))
        assert ours
        assert other
        assert not {other["one"], other["two"]} & {ours["one"], ours["two"]}
        assert (other["giver"] == other["one"]) == (ours["giver"] == ours["one"])
        assert other["giver"] in {other["one"], other["two"]}
        assert changed(pairs, index) == placed(pairs, index, "io", "s1", "s2")


# --- greater-than


def test_the_answers_are_the_later_years_and_the_foils_the_others() -> None:
    pairs = build("greater-than", "gpt2", n=200)
    form = re.compile(r"the (\w+) lasted from the year (\d\d)(\d\d) to the year (\d\d)")
    centuries = set()
    for index in range(len(pairs)):
        found = form.fullmatch(clean(pairs, "gpt2", index))
        assert found
        noun, century, year, until = found.groups()
        assert century == until
        assert form.fullmatch(twin(pairs, "gpt2", index)).groups() == (noun, century, "01", until)
        later = {f"{number:02d}" for number in range(int(year) + 1, 100)}
        assert set(said("gpt2", pairs.answers[index])) == later
        assert set(said("gpt2", pairs.foils[index])) == {f"{number:02d}" for number in range(1, 100)} - later
        assert (at(pairs, "gpt2", "noun", index), at(pairs, "gpt2", "year", index)) == (noun, year)
        assert int(pairs.groups[index]) == int(year)
        assert changed(pairs, index) == placed(pairs, index, "year")
        centuries.add(int(century))
    assert centuries == set(range(11, 18))
    assert pairs.metric == "probability_difference"
    assert {noun for noun in greater_than.NOUNS if Counter(greater_than.NOUNS)[noun] > 1} == set()


def test_a_model_that_knows_nothing_of_years_gets_the_difference_of_the_counts() -> None:
    pairs = build("greater-than", "gpt2", n=6)
    size = reader("gpt2").vocabulary
    year = pairs.groups.double()
    assert metrics.evaluate(torch.zeros(6, size), pairs) == pytest.approx((99 - year - year) / size)


# --- gender bias


@pytest.mark.parametrize(("task", "kind"), cases("gender-bias"))
def test_half_of_the_professions_lean_each_way_and_the_twin_goes_against_them(task: str, kind: str) -> None:
    pairs = build(task, kind)
    leaning = Counter()
    for index in range(len(pairs)):
        profession, clause = re.fullmatch(
            r"the (\w+) (.+ (?:that|because|when|after))", clean(pairs, kind, index)
        ).groups()
        hers = profession in gender_bias.HERS
        assert hers != (profession in gender_bias.HIS)
        leaning[hers] += 1
        right, wrong, anti = ("she", "he", "man") if hers else ("he", "she", "woman")
        assert (said(kind, pairs.answers[index]), said(kind, pairs.foils[index])) == ([right], [wrong])
        assert twin(pairs, kind, index) == f"the {anti} {clause}"
        assert at(pairs, kind, "profession", index) == profession
        assert changed(pairs, index) == placed(pairs, index, "profession")
    assert leaning == {True: 30, False: 30}, "a model that always says he has accuracy .5"
    assert pairs.notes == gender_bias.NOTES


def test_each_profession_is_a_group_and_stands_once_in_the_lists() -> None:
    pairs = build("gender-bias", "gpt2", n=400)
    named = [text.split()[1] for text in pairs.texts]
    assert len({*zip(named, pairs.groups.tolist(), strict=True)}) == len({*named}) == len(pairs.groups.unique())
    assert len({*gender_bias.HERS, *gender_bias.HIS}) == len(gender_bias.HERS) + len(gender_bias.HIS)
    assert len(set(gender_bias.CLAUSES)) == len(gender_bias.CLAUSES)


def test_the_fall_of_the_metric_is_the_log_of_the_papers_odds_ratio() -> None:
    pairs = build("gender-bias", "gpt2", n=8)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 8, reader("gpt2").vocabulary, generator=generator, dtype=torch.float64)
    p = logits.softmax(-1)
    rows = torch.arange(8)
    odds = [p[i][rows, pairs.foils[:, 0]] / p[i][rows, pairs.answers[:, 0]] for i in (0, 1)]
    total = odds[1] / odds[0] - 1  # Vig et al. 2020: y(x') / y(x) - 1
    fall = metrics.evaluate(logits[0], pairs) - metrics.evaluate(logits[1], pairs)
    assert fall.numpy() == pytest.approx(torch.log1p(total).numpy())


# --- frames


@settings(derandomize=True, max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), n=st.integers(1, 60), seed=st.integers(0, 99))
def test_no_row_is_dealt_again_before_all_were(sizes: list[int], n: int, seed: int) -> None:
    groups = [[(group, row) for row in range(size)] for group, size in enumerate(sizes)]
    rows = deal(groups, n, np.random.default_rng(seed))
    counts = Counter(rows)
    assert len(rows) == n
    assert len(counts) == min(n, sum(sizes))
    assert max(counts.values()) - min([*counts.values(), *([0] if n < sum(sizes) else [])]) <= 1
    assert [group for group, _ in rows[: len(sizes)]] == list(range(min(n, len(sizes))))


def test_draws_go_on_until_a_prompt_is_new_and_give_up_in_the_end() -> None:
    calls = Counter()

    def make(index: int) -> Draft:
        calls[index] += 1
        return Draft(clean="ab"[calls[index] > 5 and index == 1], corrupted="", answers=[], foils=[], group=0)

    assert [draft.clean for draft in distinct(3, make)] == ["a", "b", "a"]
    assert calls == {0: 1, 1: 6, 2: 100}


def test_a_frame_is_filled_and_its_slots_found() -> None:
    text, places = fill("{a}, who {b} it", {"a": "Tom", "b": "saw", "unused": "x"})
    assert text == "Tom, who saw it"
    assert {name: text[low:high] for name, (low, high) in places.items()} == {"a": "Tom", "b": "saw"}
