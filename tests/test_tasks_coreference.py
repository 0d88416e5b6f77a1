"""Pronouns and Winograd pairs: prompts are parsed again, and who is meant is worked out anew."""

import re
from collections import Counter

import pytest
from fixtures_words import at, build, cases, changed, clean, placed, said, twin

from headscope.grammar import lexicon as lex
from headscope.prompts import ABSENT
from headscope.tasks import pronouns, winograd

MEN, WOMEN = set(lex.MALE), set(lex.FEMALE)

# --- a gendered pronoun


MEETING = (
    r"(?:yesterday (?P<one>\w+) \w+ (?P<two>\w+) (?:near|in|behind) the \w+\. today (?P<meant>\w+) \w+ that)"
    r"|(?:today (?P<who>\w+), who \w+ (?P<near>\w+) (?:near|in|behind) the \w+, \w+ that)"
)


def parse_meeting(text: str) -> tuple[str, str, str]:
    """Kind of frame, who is meant, and the other person."""
    found = re.fullmatch(MEETING, text)
    assert found, text
    if found["who"]:
        return "between", found["who"], found["near"]
    other = ({found["one"], found["two"]} - {found["meant"]}).pop()
    return ("first" if found["meant"] == found["one"] else "second"), found["meant"], other


@pytest.mark.parametrize(("task", "kind"), cases("pronoun"))
def test_the_pronoun_is_that_of_the_person_who_speaks(task: str, kind: str) -> None:
    pairs = build(task, kind)
    kinds = Counter()
    for index in range(len(pairs)):
        form, meant, other = parse_meeting(clean(pairs, kind, index))
        kinds[form, meant in MEN] += 1
        right, wrong = ("he", "she") if meant in MEN else ("she", "he")
        assert (said(kind, pairs.answers[index]), said(kind, pairs.foils[index])) == ([right], [wrong])
        assert {meant in MEN, other in MEN} == {True, False}, "a man and a woman"
        assert {meant, other} <= MEN | WOMEN
        assert at(pairs, kind, "antecedent", index) == meant
        assert at(pairs, kind, "distractor", index) == other
        if form == "between":
            assert int(pairs.positions["earlier"][index]) == ABSENT
            assert pairs.positions["antecedent"][index] < pairs.positions["distractor"][index]
        else:
            assert at(pairs, kind, "earlier", index) == meant
            assert pairs.positions["earlier"][index] < pairs.positions["antecedent"][index]
    assert set(kinds) == {(form, man) for form in pronouns.KINDS for man in (True, False)}


@pytest.mark.parametrize(("task", "kind"), cases("pronoun"))
def test_the_pronoun_of_the_twin_is_the_other_one(task: str, kind: str) -> None:
    pairs = build(task, kind)
    for index in range(len(pairs)):
        form, meant, other = parse_meeting(clean(pairs, kind, index))
        shape, now, beside = parse_meeting(twin(pairs, kind, index))
        assert said(kind, pairs.foils[index]) == ["he" if now in MEN else "she"]
        assert changed(pairs, index) == placed(pairs, index, "antecedent")
        if form == "between":
            assert shape == form
            assert now not in {meant, other}
            assert beside == other
        else:
            assert (now, beside) == (other, meant), "the two exchange their parts"


# --- Winograd pairs


FITS = {
    "did not fit": ("large big wide long", "small narrow short"),
    "did not go": ("large big wide long", "small narrow short"),
    "passed": ("fast quick", "slow"),
    "hid": ("afraid scared frightened nervous", "dangerous fierce hungry angry"),
    "could not pass": ("tall high", "low"),
    "could not pull": ("weak tired small", "heavy large"),
    "did not reach": ("short small", "high"),
    "broke": ("weak thin", "heavy"),
    "did not cut": ("blunt dull weak", "hard thick tough"),
    "did not cross": ("tired weak slow", "wide broad"),
}
"""Which attribute fits the first noun and which the second, written down anew."""
SCHEMA = re.compile(
    r"the (?P<first>\w+) (?P<verb>did not \w+|could not \w+|\w+) .*?the (?P<second>\w+) because it was (?P<too>too )?"
    r"(?P<cue>\w+)\. the (?:thing|one) that was (?:too )?(?P<again>\w+) was the"
)


def parse_schema(text: str) -> tuple[str, str, dict[str, str]]:
    """Who is meant, who is not, and the parts."""
    found = SCHEMA.fullmatch(re.sub(r" (?:in|into|from|under) the ", " the ", text))
    assert found, text
    first, second = FITS[found["verb"]]
    sides = (found["cue"] in first.split(), found["cue"] in second.split())
    assert sum(sides) == 1, found["cue"]
    assert found["cue"] == found["again"]
    nouns = (found["first"], found["second"])
    return nouns[sides[1]], nouns[sides[0]], found.groupdict()


@pytest.mark.parametrize(("task", "kind"), cases("winograd"))
def test_the_attribute_tells_which_noun_is_meant_and_its_opposite_the_other(task: str, kind: str) -> None:
    pairs = build(task, kind, n=200 if kind == "gpt2" else 40)
    verbs, sides = set(), Counter()
    for index in range(len(pairs)):
        meant, other, parts = parse_schema(clean(pairs, kind, index))
        assert said(kind, pairs.answers[index]) == [meant]
        assert said(kind, pairs.foils[index]) == [other]
        assert parse_schema(twin(pairs, kind, index))[:2] == (other, meant)
        assert changed(pairs, index) == placed(pairs, index, "cue", "again")
        assert [at(pairs, kind, name, index) for name in ("first", "second", "pronoun", "cue", "again")] == [
            parts["first"], parts["second"], "it", parts["cue"], parts["cue"]
        ]  # fmt: skip
        verbs.add(parts["verb"])
        sides[meant == parts["first"]] += 1
    assert verbs == (set(FITS) if kind != "words" else {"hid"})
    assert min(sides.values()) >= 0.35 * len(pairs), "the first noun is not always meant"


def test_both_orders_of_two_nouns_are_one_group() -> None:
    pairs = build("winograd", "gpt2", n=400)
    found: dict[tuple[str, frozenset[str]], set[int]] = {}
    for index, text in enumerate(pairs.texts):
        _, _, parts = parse_schema(text.lower())
        key = (parts["verb"], frozenset((parts["first"], parts["second"])))
        found.setdefault(key, set()).add(int(pairs.groups[index]))
    assert all(len(groups) == 1 for groups in found.values())
    assert len(found) == len(pairs.groups.unique())
    exchanged = [key for key in found if key[0] == "passed"]
    assert exchanged


def test_every_attribute_of_a_scene_has_a_counterpart_and_one_side() -> None:
    for scene in winograd.SCENES:
        first, second = ({pair[side] for pair in scene.cues} for side in (0, 1))
        assert not first & second
        assert all(words.split() == list(dict.fromkeys(words.split())) for words in (scene.first, scene.second))
