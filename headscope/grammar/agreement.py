"""Verbs that agree with their subject across attractors, and clauses of many shapes with agreeing verbs."""

from __future__ import annotations

from copy import deepcopy
from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import comma, noun, some_noun, stop, verb
from headscope.grammar.tree import Document, Node, write

_ATTRACTORS = ("no_attractor", "one_attractor", "two_attractors")


def agreement(rng: Random) -> Document:
    """`The boys near the girl wash themselves.`, `... love chess.`: number, gender and taste come from the subject."""
    count = rng.choices((0, 1, 2), (3, 4, 2))[0]
    plural = rng.random() < 0.5
    kind = rng.choices(("reflexive", "favourite", _ATTRACTORS[count]), (3, 4, 3))[0]
    women = rng.random() < 0.5
    pool = {"reflexive": lex.WOMEN if women else lex.MEN, "favourite": lex.PEOPLE}.get(kind, lex.NOUNS)
    subject = some_noun(rng, "nsubj", plural=plural, pool=pool)
    subject.name, subject.entity = "subject", "subject"
    holder = subject
    for _ in range(count):
        attractor = some_noun(rng, "nmod", pool=lex.PEOPLE, prep=rng.choice(lex.NEAR))
        holder.right.append(attractor)
        holder = attractor
    verbs = {"reflexive": lex.REFLEXIVE, "favourite": lex.LOVING}.get(kind, lex.ALONE)
    root = verb(verbs, rng, plural=plural, mark="verb")
    root.left = [subject]
    if kind == "reflexive":
        form = "themselves" if plural else "herself" if women else "himself"
        root.right = [Node(form, "PRON", "obj", entity="subject", query=True)]
    elif kind == "favourite":
        root.right = [Node(_favourite(subject.form), "NOUN", "obj", query=True)]
    elif rng.random() < 0.4:
        root.right = [Node(rng.choice(lex.MANNERS), "ADV", "advmod")]
    root.right.append(stop())
    return write("agreement", kind, [root])


def _favourite(form: str) -> str:
    singular = next((one for one, many in lex.PEOPLE.items() if many == form), form)
    return lex.FAVOURITES[singular]


def transitive(rng: Random) -> Node:
    """Subject, verb, object, sometimes an adverb before the verb."""
    plural = rng.random() < 0.5
    root = verb(lex.WITH_OBJECT, rng, plural=plural)
    root.left = [some_noun(rng, "nsubj", plural=plural, pool=lex.PEOPLE | lex.ANIMALS)]
    if rng.random() < 0.3:
        root.left.append(Node(rng.choice(lex.ADVERBS), "ADV", "advmod"))
    root.right = [some_noun(rng, "obj")]
    return root


def ditransitive(rng: Random) -> Node:
    """Two objects: `the girl gives the boy a red ball`, the second sometimes owned by the subject."""
    plural = rng.random() < 0.5
    women = rng.random() < 0.5
    root = verb(lex.GIVING, rng, plural=plural)
    giver = some_noun(rng, "nsubj", plural=plural, pool=lex.WOMEN if women else lex.MEN)
    giver.entity = "giver"
    thing = noun(rng.choice(list(lex.THINGS)), "obj", det="a", adjectives=(rng.choice(lex.COLOURS),))
    if rng.random() < 0.4:
        owner = "their" if plural else "her" if women else "his"
        thing.left[0] = Node(owner, "PRON", "nmod:poss", entity="giver")
    root.left, root.right = [giver], [some_noun(rng, "iobj", pool=lex.PEOPLE), thing]
    return root


def relative(rng: Random) -> Node:
    """Subject and object relative clauses on the subject: both verbs agree, each with its own noun."""
    plural = rng.random() < 0.5
    subject = some_noun(rng, "nsubj", plural=plural, pool=lex.PEOPLE | lex.ANIMALS)
    if rng.random() < 0.5:
        clause = verb(lex.WITH_OBJECT, rng, plural=plural, rel="acl:relcl")
        clause.left, clause.right = [Node("that", "PRON", "nsubj")], [some_noun(rng, "obj")]
    else:
        other = rng.random() < 0.5
        clause = verb(lex.WITH_OBJECT, rng, plural=other, rel="acl:relcl")
        clause.left = [Node("that", "PRON", "obj"), some_noun(rng, "nsubj", plural=other, pool=lex.PEOPLE)]
    subject.right.append(clause)
    root = verb(lex.ALONE, rng, plural=plural)
    root.left = [subject]
    return root


def adjective(rng: Random) -> Node:
    """Copular clauses: `the old dogs near the house are happy`."""
    plural = rng.random() < 0.5
    subject = some_noun(rng, "nsubj", plural=plural)
    if rng.random() < 0.6:
        subject.right.append(some_noun(rng, "nmod", prep=rng.choice(lex.NEAR)))
    right, wrong = ("are", "is") if plural else ("is", "are")
    copula = Node(right, "AUX", "cop", query=True, foil=wrong)
    root = Node(rng.choice(lex.TRAITS + lex.LOOKS), "ADJ", "root", left=[subject, copula])
    if rng.random() < 0.3:
        root.right.append(Node(rng.choice(lex.TRAITS), "ADJ", "conj", left=[Node("and", "CCONJ", "cc")]))
    return root


def prepositional(rng: Random) -> Node:
    """An intransitive verb with a place, sometimes at the front."""
    plural = rng.random() < 0.5
    root = verb(lex.ALONE, rng, plural=plural)
    subject = some_noun(rng, "nsubj", plural=plural, pool=lex.PEOPLE | lex.ANIMALS)
    place = noun(rng.choice(list(lex.BUILDINGS | lex.PLACES)), "obl", prep=rng.choice(lex.NEAR))
    if rng.random() < 0.3:
        root.left = [place, comma(), subject]
    else:
        root.left, root.right = [subject], [place]
    return root


def embedded(rng: Random) -> Node:
    """Complement clauses: `the boys say that the dog runs`, `the girl wants to help the king`."""
    plural = rng.random() < 0.5
    if rng.random() < 0.5:
        root = verb(lex.SAYING, rng, plural=plural)
        inner = prepositional(rng) if rng.random() < 0.5 else transitive(rng)
        inner.rel = "ccomp"
        inner.left.insert(0, Node("that", "SCONJ", "mark"))
    else:
        root = verb(lex.WANTING, rng, plural=plural)
        base = rng.choice(list(lex.WITH_OBJECT.values()))
        inner = Node(base, "VERB", "xcomp", left=[Node("to", "PART", "mark")], right=[some_noun(rng, "obj")])
    root.left, root.right = [some_noun(rng, "nsubj", plural=plural, pool=lex.PEOPLE)], [inner]
    return root


def coordinated(rng: Random) -> Node:
    """Two subjects joined by `and` take a plural verb; sometimes `will` and a base form instead."""
    first = some_noun(rng, "nsubj", pool=lex.PEOPLE)
    second = some_noun(rng, "conj", pool=lex.PEOPLE)
    second.left.insert(0, Node("and", "CCONJ", "cc"))
    first.right.append(second)
    if rng.random() < 0.3:
        base = rng.choice(list(lex.WITH_OBJECT.values()))
        root = Node(base, "VERB", left=[first, Node("will", "AUX", "aux")], right=[some_noun(rng, "obj")])
    else:
        root = verb(lex.ALONE, rng, plural=True)
        root.left, root.right = [first], [Node(rng.choice(lex.MANNERS), "ADV", "advmod")]
    return root


SHAPES = {
    "transitive": transitive,
    "ditransitive": ditransitive,
    "relative": relative,
    "adjective": adjective,
    "prepositional": prepositional,
    "embedded": embedded,
    "coordinated": coordinated,
}


_JOINED = ("coordinated", "adjective")
"""Drawn twice as often: the word that decides the verb's number stands at many distances."""


def clauses(rng: Random) -> Document:
    """One sentence of a random shape (see `SHAPES`) whose present-tense verbs agree."""
    kind = rng.choices(list(SHAPES), [2 if shape in _JOINED else 1 for shape in SHAPES])[0]
    root = SHAPES[kind](rng)
    root.right.append(stop())
    return write("clauses", kind, [root])


def repetition(rng: Random) -> Document:
    """One or two sentences of different shapes, `again:`, and the same sentences word for word.

    Common words come several times, so only what stood before them tells what comes next.
    """
    chosen = rng.sample(list(SHAPES), rng.choice((1, 2)))
    roots = [SHAPES[kind](rng) for kind in chosen]
    for root in roots:
        root.right.append(stop())
    copies = deepcopy(roots)
    for copy in copies:
        for node in copy.reading():
            node.query, node.foil = True, None
    copies[0].left = [Node("again", "ADV", "advmod"), stop(":"), *copies[0].left]
    return write("repetition", "one_sentence" if len(roots) == 1 else "two_sentences", [*roots, *copies])
