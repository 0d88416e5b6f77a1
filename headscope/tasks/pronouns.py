"""A gendered pronoun: `Yesterday Mary met Tom near the park. Today Tom says that` -> `he`, not `she`."""

import re
from itertools import product

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.frames import distinct, fill, known
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

NAME = "pronoun"
SOURCE = (
    "gendered pronoun resolution after Mathwin et al. 2023, 'Identifying a Preliminary Circuit for Predicting Gendered "
    "Pronouns in GPT-2 Small', with a second person of the other gender; sentences of our own"
)
CORRUPTION = "the person that the pronoun means becomes one of the other gender, so that the other pronoun is right"
KINDS = {
    "first": "Yesterday {earlier} {met} {distractor} {where} the {place}. Today {antecedent} {says} that",
    "second": "Yesterday {distractor} {met} {earlier} {where} the {place}. Today {antecedent} {says} that",
    "between": "Today {antecedent}, who {met} {distractor} {where} the {place}, {says} that",
}
"""Sentence frames: the person meant was named first, second, or is named once with the other one nearer."""
MET = ("met", "saw", "called", "visited", "helped", "followed", "joined", "thanked")
WHERE = ("near", "in", "behind")
PLACES = ("park", "school", "station", "office", "hotel", "museum", "market", "hospital")
SAYS = ("says", "thinks", "believes", "hopes")
MEN = [name.capitalize() for name in lex.MALE if name not in {"sam", "adam"}]
WOMEN = [name.capitalize() for name in lex.FEMALE]


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` prompts about a man and a woman that end where the pronoun for one of them comes next.

    In a third of them the other person stands nearer. Twins differ in one name: where both people were named before,
    the other one of them takes the clause, else somebody else of the other gender. Genders are those that English most
    often gives to a name.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws frames, names and places.

    Returns:
        Pairs with the positions `antecedent` (the name that the pronoun stands for, where the twin differs), `earlier`
        (its first mention; absent where there is none), `distractor` (the other person) and `end`, grouped by frame:
        order of the names and both verbs.

    Raises:
        TaskError: if the tokenizer cannot write names and pronouns as single tokens or does not know the frames' words.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=2, rng=np.random.default_rng(0))
        >>> pairs.texts[1]
        'Today Laura, who followed Jack in the market, hopes that'
    """
    require_tokenizer(model, NAME)
    pool(model, ("he", "she"), task=NAME, least=2)
    men, women = (pool(model, names, task=NAME, least=4) for names in (MEN, WOMEN))
    words = {"met": MET, "where": WHERE, "place": PLACES, "says": SAYS}
    words = {slot: [word for word in some if known(model, word)] for slot, some in words.items()}
    kinds = [kind for kind, frame in KINDS.items() if known(model, re.sub(r"{\w+}", "", frame))]
    frames = list(product(kinds, words["met"], words["says"]))
    if not (len(frames) > 1 and words["where"] and words["place"]):
        raise TaskError(
            f"task {NAME!r} with the tokenizer of {model.name!r}: it knows the words of {len(frames)} sentence frames",
            "2 or more, of such words as 'Yesterday', 'met', 'near', 'park', 'Today', 'says' and 'that'",
            "leave this task out with --task, or give pairs of your own in this model's words",
        )
    order = rng.permutation(len(frames))

    def draw(index: int) -> Draft:
        group = int(order[index % len(frames)])
        kind, met, says = frames[group]
        slots = {"met": met, "says": says} | {slot: str(rng.choice(words[slot])) for slot in ("where", "place")}
        turn = int(rng.integers(2))
        people = [*rng.choice((men, women)[turn], 1), *rng.choice((women, men)[turn], 2, replace=False)]
        return _draft(kind, [str(name) for name in people], slots, ("he", "she")[turn], group)

    return build_pairs(model, distinct(n, draw), task=NAME, source=SOURCE, corruption=CORRUPTION)


def _draft(kind: str, people: list[str], slots: dict[str, str], pronoun: str, group: int) -> Draft:
    meant, distractor, third = people
    other = third if kind == "between" else distractor
    slots = slots | {"distractor": distractor, "earlier": meant}
    clean, places = fill(KINDS[kind], slots | {"antecedent": meant})
    corrupted, _ = fill(KINDS[kind], slots | {"antecedent": other})
    named = {name: places[name] for name in ("antecedent", "earlier", "distractor") if name in places}
    wrong = "she" if pronoun == "he" else "he"
    return Draft(clean=clean, corrupted=corrupted, answers=[pronoun], foils=[wrong], group=group, places=named)


PRONOUN = Task(name=NAME, build=build, source=SOURCE, about="he or she? the person who is spoken of decides")
