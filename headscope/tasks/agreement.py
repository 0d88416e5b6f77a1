"""Subject-verb agreement across attractors: `The boys near the girl` -> `are`, not `is`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.frames import distinct, fill, known
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

SOURCE = (
    "Linzen et al. 2016, 'Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies'; sentences of our own"
)
CORRUPTION = "the subject's other number; the attractors stay"
VERBS = (("is", "are"), ("was", "were"), ("has", "have"), ("runs", "run"), ("works", "work"), ("plays", "play"))
NEAR = ("near", "behind", "beside")
LOOKS = ("old", "tall", "young", "rich", "poor", "famous", "strong", "smart", "happy", "quiet")
CLAUSE = {"sees": "see", "knows": "know", "loves": "love", "helps": "help", "likes": "like", "follows": "follow"}
KINDS = {
    "none": "The {look} {subject}",
    "one": "The {subject} {near} the {attractor}",
    "two": "The {subject} {near} the {other} {beyond} the {attractor}",
    "clause": "The {subject} that the {attractor} {deed}",
}
"""Sentence frames with no attractor, one and two in prepositional phrases, and one in a relative clause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What this tokenizer can write."""

    groups: Sequence[tuple[str, str]]
    attractors: Sequence[str]
    near: Sequence[str]
    looks: Sequence[str]
    deeds: Sequence[tuple[str, str]]
    verbs: Sequence[tuple[str, str]]


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` noun phrases whose verb comes next, with 0 to 2 attractors between the two.

    A quarter each has no attractor, one or two in prepositional phrases, and one in a relative clause (`The boys that
    the girl sees`), where the tokenizer has the words. Every noun's number is drawn by itself. The metric is the mean
    logit of the verbs in the right number minus that of the same verbs in the wrong one.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws frames, nouns, prepositions and numbers.

    Returns:
        Pairs with the positions `subject`, `attractor` (the last one; absent where there is none) and `end`, grouped
        by subject noun and frame.

    Raises:
        TaskError: if the tokenizer cannot write the nouns and verbs as single tokens.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=2, rng=np.random.default_rng(0))
        >>> pairs.texts
        ('The famous mothers', 'The drivers that the judges follow')
    """
    require_tokenizer(model, "agreement")
    words = _words(model)
    order = rng.permutation(len(words.groups))

    def draw(index: int) -> Draft:
        return _draft(int(order[index % len(order)]), words, rng)

    return build_pairs(model, distinct(n, draw), task="agreement", source=SOURCE, corruption=CORRUPTION)


def _words(model: Reader) -> _Words:
    people = set(pool(model, [*lex.PEOPLE, *lex.PEOPLE.values()], task="agreement", least=8))
    forms = set(pool(model, dict.fromkeys(form for pair in VERBS for form in pair), task="agreement", least=4))
    verbs = [pair for pair in VERBS if set(pair) <= forms]
    nouns = [one for one, many in lex.PEOPLE.items() if {one, many} <= people]
    attractors = [noun for noun in nouns if noun in lex.WORKERS]
    near, looks = ([word for word in words if known(model, word)] for words in (NEAR, LOOKS))
    deeds = [pair for pair in CLAUSE.items() if known(model, " ".join(("that", *pair)))]
    usable = {"none": looks, "one": near, "two": near, "clause": deeds}
    kinds = [kind for kind in KINDS if usable[kind]]
    if not (verbs and len(attractors) > 2 and kinds):
        raise TaskError(
            f"task 'agreement' with the tokenizer of {model.name!r}: {len(verbs)} verbs, {len(nouns)} nouns of which "
            f"{len(attractors)} name a trade, and words for {len(kinds)} of {len(KINDS)} frames",
            "a verb and three trades with singular and plural as single tokens, such as 'is' and 'are', 'doctor' and "
            "'doctors', and the words of a frame",
            "leave this task out with --task, or give pairs of your own in this model's words",
        )
    groups = [(noun, kind) for noun in nouns for kind in kinds]
    return _Words(groups=groups, attractors=attractors, near=near, looks=looks, deeds=deeds, verbs=verbs)


def _draft(group: int, words: _Words, rng: np.random.Generator) -> Draft:
    def pick(choices: Sequence[str]) -> str:
        return choices[int(rng.integers(len(choices)))]

    subject, kind = words.groups[group]
    plural, many, more = (bool(number) for number in rng.integers(2, size=3))
    last, other = rng.choice([noun for noun in words.attractors if noun != subject], 2, replace=False).tolist()
    slots = {"attractor": lex.PEOPLE[last] if many else last, "other": lex.PEOPLE[other] if more else other}
    if kind == "none":
        slots = {"look": pick(words.looks)}
    elif kind == "clause":
        slots["deed"] = words.deeds[int(rng.integers(len(words.deeds)))][many]
    else:
        slots |= {"near": pick(words.near), "beyond": pick(words.near)}
    forms = (subject, lex.PEOPLE[subject])
    clean, places = fill(KINDS[kind], slots | {"subject": forms[plural]})
    corrupted, _ = fill(KINDS[kind], slots | {"subject": forms[not plural]})
    right, wrong = ([pair[number] for pair in words.verbs] for number in (plural, not plural))
    named = {name: places[name] for name in ("subject", "attractor") if name in places}
    return Draft(clean=clean, corrupted=corrupted, answers=right, foils=wrong, group=group, places=named)


AGREEMENT = Task(
    name="agreement",
    build=build,
    source=SOURCE,
    about="singular or plural verb? the subject decides, not the nearest noun",
)
