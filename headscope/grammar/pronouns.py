"""Pronouns whose referent decides the very next word, so that it must be found at the pronoun.

What a person, animal or thing did when spoken of again (`lexicon.HABITS`) never stands in the text itself: the only
place that tells is the antecedent.
"""

from __future__ import annotations

from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import comma, looks, name, noun, past, stop
from headscope.grammar.tree import Document, Node, write


def _sequel(form: str, referent: str, entity: str, rng: Random) -> Node:
    """`She sang.`: the referent's habit after the pronoun."""
    root = past(lex.HABITS[referent], query=True)
    root.left = [Node(form, "PRON", "nsubj", entity=entity, name="pronoun")]
    if rng.random() < 0.4:
        opener = Node(rng.choice(["then", "later", "afterwards", "today", "yesterday", "once"]), "ADV", "advmod")
        root.left.insert(0, opener)
    root.right = [stop()]
    return root


def gender(rng: Random) -> Document:
    """Two people of different gender meet; `he` or `she` then does what that person does."""
    man, woman = rng.choice(lex.MALE), rng.choice(lex.FEMALE)
    first, second = rng.sample([(man, "he"), (woman, "she")], 2)
    referent, form = rng.choice([first, second])
    people = [name(first[0], "nsubj", entity=first[0]), name(second[0], "obj", entity=second[0])]
    together = rng.random() < 0.4
    root = past("went" if together else rng.choice(lex.MET))
    place = noun(
        rng.choice(list(lex.BUILDINGS)), "obl", prep="to" if together else "in" if rng.random() < 0.5 else "near"
    )
    if together:
        people[1].rel, people[1].left = "conj", [Node("and", "CCONJ", "cc")]
        people[0].right.append(people[1])
        root.left, root.right = [people[0]], [place, stop()]
    else:
        root.left, root.right = [people[0]], [people[1], *([place] if rng.random() < 0.7 else []), stop()]
    for person in people:
        if person.form == referent:
            person.name = "antecedent"
    return write("gender", "together" if together else "met", [root, _sequel(form, referent, referent, rng)])


def _because(subject: Node, trait: str, *, first: bool) -> Node:
    """`because it was tired`, or before the nouns `because something was tired`."""
    return Node(
        trait,
        "ADJ",
        "advcl",
        left=[Node("because", "SCONJ", "mark"), subject, Node("was", "AUX", "cop")],
        right=[comma()] if first else [],
    )


def _described(form: str, rel: str, rng: Random, *, prep: str | None = None) -> Node:
    return noun(form, rel, adjectives=looks(rng), prep=prep)


def _scene(kind: str, rng: Random) -> tuple[str, str, Node, bool, str]:
    """The two nouns, the clause about them, whether the first one is meant, and the telling trait."""
    meant_first = rng.random() < 0.5
    if kind == "cross":
        one, other = rng.choice(list(lex.ANIMALS)), rng.choice(list(lex.PLACES))
        verb, prep, rel = rng.choice(["cross", "enter"]), None, "obj"
        trait = rng.choice(lex.TIRED if meant_first else lex.WIDE)
    elif kind == "fit":
        one, other = rng.sample([*lex.THINGS, *lex.CONTAINERS], 2)
        verb, prep, rel = "fit", rng.choice(["in", "into", "inside"]), "obl"
        trait = rng.choice(_LARGE if meant_first else _SMALL)
    else:
        one, other = rng.sample(list(lex.ANIMALS), 2)
        trait = rng.choice(lex.FIERCE if meant_first else lex.AFRAID)
        root = Node(
            rng.choice(lex.CHASED), "VERB", left=[_described(one, "nsubj", rng)], right=[_described(other, "obj", rng)]
        )
        return one, other, root, meant_first, trait
    root = Node(
        verb, "VERB", left=[_described(one, "nsubj", rng), Node("did", "AUX", "aux"), Node("not", "PART", "advmod")]
    )
    root.right = [_described(other, rel, rng, prep=prep)]
    return one, other, root, meant_first, trait


_LARGE = [word for word in lex.LARGE if word not in lex.SMALL]
_SMALL = [word for word in lex.SMALL if word not in lex.LARGE]


def winograd(rng: Random) -> Document:
    """`The dog did not cross the road because it was tired. It barked.`: an attribute tells which noun is meant.

    The attribute comes after the nouns (`cue_last`) or before them (`cue_first`). It fits one kind of noun
    (`cross`), or one of two roles: what does not fit is large and what it does not fit into is small (`fit`), who
    chases is angry and who is chased is afraid (`chase`). In the last two either noun could stand in either place, so
    that the words without their order do not tell. Construction after Levesque et al., "The Winograd Schema
    Challenge" (2012), with words of our own.
    """
    kind = rng.choices(("cross", "fit", "chase"), (2, 3, 5))[0]
    cue_first = rng.random() < 0.5
    one, other, root, meant_first, trait = _scene(kind, rng)
    referent = one if meant_first else other
    subject, last = root.left[0], root.right[0]
    subject.entity, last.entity = one, other
    (subject if meant_first else last).name = "antecedent"
    if cue_first:
        root.left.insert(0, _because(Node("something", "PRON", "nsubj"), trait, first=True))
    else:
        root.right.append(_because(Node("it", "PRON", "nsubj", entity=referent), trait, first=False))
    root.right.append(stop())
    return write(
        "winograd", f"{kind}_cue_{'first' if cue_first else 'last'}", [root, _sequel("it", referent, referent, rng)]
    )
