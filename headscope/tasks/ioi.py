"""Indirect object identification: `When Mary and John went to the store, John gave a drink to` -> `Mary`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.grammar import lexicon as lex
from headscope.prompts import Pairs
from headscope.tasks.frames import distinct
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

Name = Literal["ioi", "ioi-s2", "ioi-random"]
SOURCE = "Wang et al. 2022, 'Interpretability in the Wild' (arXiv 2211.00593), section 2; sentences of our own"
PRACTICE = f"{SOURCE}; twins by symmetric token replacement (Zhang & Nanda 2024, arXiv 2309.16042)"
CORRUPTIONS: dict[Name, str] = {
    "ioi": "three unrelated names (p_ABC): the sentence stays, who gives to whom is lost",
    "ioi-s2": "the second mention of the subject becomes the indirect object, so that the other one receives",
    "ioi-random": "two other people in the same roles: who gives to whom stays, all names are others",
}
NOTES: dict[Name, tuple[str, ...]] = {
    "ioi": (),
    "ioi-s2": (
        "twins are equal up to S2, so heads show nothing before it; S2 alone missed at least 2 of the 3 name "
        "movers of GPT-2-small (Zhang & Nanda 2024)",
    ),
    "ioi-random": ("the repeated name stands at one place in both twins, so what tells only where shows nothing",),
}
FRAMES = tuple(product(("When", "After", "While"), ("went to", "were in", "met in"), lex.GAVE, ("ABBA", "BABA")))


def build(model: Reader, *, n: int, rng: np.random.Generator, task: Name = "ioi") -> Pairs:
    """`n` prompts from 126 sentence frames, in both name orders; the indirect object is set against the subject.

    The prompts of the three tasks are the same, their twins differ. `ioi` has three unrelated names, so all that the
    prompt tells of the answer is lost. `ioi-s2` swaps S2: it becomes the indirect object, and the answer flips.
    `ioi-random` has a prompt of the task itself, about two people drawn at random: the same place repeats, other names
    stand there. What shows under one may hide under another: corrupting S2 alone missed at least 2 of the 3 name movers
    of GPT-2-small, and corrupting S1 and IO the S-inhibition heads (Zhang & Nanda 2024).

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws frames, names, places and gifts.
        task: which twin: `ioi`, `ioi-s2` or `ioi-random`.

    Returns:
        Pairs with the positions `io`, `s1`, `s2` and `end`, grouped by frame.

    Raises:
        TaskError: if the tokenizer cannot write the names as single tokens, or there is no such twin.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=32, vocabulary=50, encode=list)
        >>> build(model, n=4, rng=np.random.default_rng(0))
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'ioi' on 'ids', which has no tokenizer
          expected: a model that reads words
          to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids
    """
    if task not in CORRUPTIONS:
        raise TaskError(f"task={task!r}", f"one of: {', '.join(CORRUPTIONS)}", "correct the name of the twin")
    require_tokenizer(model, task)
    names = pool(model, [name.capitalize() for name in lex.NAMES], task=task, least=10)
    places = pool(
        model, ("store", "park", "school", "station", "office", "hotel", "museum", "house"), task=task, least=2
    )
    gifts = pool(model, ("drink", "book", "ring", "letter", "map", "gift", "picture", "ball"), task=task, least=2)
    order = rng.permutation(len(FRAMES))

    def draw(index: int) -> Draft:
        chosen = [str(name) for name in rng.choice(names, 5, replace=False)]
        return _draft(int(order[index % len(FRAMES)]), chosen, (str(rng.choice(places)), str(rng.choice(gifts))), task)

    pairs = build_pairs(model, distinct(n, draw), task=task, source=_source(task), corruption=CORRUPTIONS[task])
    return replace(pairs, notes=(*pairs.notes, *NOTES[task]))


def _source(task: Name) -> str:
    return SOURCE if task == "ioi" else PRACTICE


def _draft(group: int, names: Sequence[str], nouns: tuple[str, str], task: Name) -> Draft:
    indirect, subject, *others = names
    opener, arrival, gave, kind = FRAMES[group]
    place, gift = nouns

    def ordered(receiver: str, giver: str) -> tuple[str, str]:
        return (receiver, giver) if kind == "ABBA" else (giver, receiver)

    def write(one: str, two: str, giver: str) -> str:
        return f"{opener} {one} and {two} {arrival} the {place}, {giver} {gave} the {gift} to"

    first, second = ordered(indirect, subject)
    clean = write(first, second, subject)
    twins: dict[Name, str] = {
        "ioi": write(*others),
        "ioi-s2": write(first, second, indirect),
        "ioi-random": write(*ordered(others[0], others[1]), others[1]),
    }
    starts = {
        "first": len(opener) + 1,
        "second": len(f"{opener} {first} and "),
        "s2": clean.index(f", {subject} {gave}") + 2,
    }
    named = {"io": "first" if kind == "ABBA" else "second", "s1": "second" if kind == "ABBA" else "first", "s2": "s2"}
    spans = {name: (starts[at], starts[at] + len(indirect if name == "io" else subject)) for name, at in named.items()}
    return Draft(clean=clean, corrupted=twins[task], answers=[indirect], foils=[subject], group=group, places=spans)


def _task(name: Name, about: str) -> Task:
    return Task(name=name, build=partial(build, task=name), source=_source(name), about=about)


IOI = _task("ioi", "who receives? the name that was not repeated")
IOI_S2 = _task("ioi-s2", "the same, against a twin in which the other name is repeated")
IOI_RANDOM = _task("ioi-random", "the same, against a twin about two other people")
