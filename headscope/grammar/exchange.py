"""Indirect objects: two people, one of them is named again, the other receives (Wang et al. 2022, section 2)."""

from __future__ import annotations

from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import comma, looks, name, noun, past, stop
from headscope.grammar.tree import Document, Node, write

OPENERS = ("when", "after", "while")
ARRIVALS = ("went to", "were in", "met in", "waited in")


def _opening(first: Node, second: Node, rng: Random) -> Node:
    """`When Mary and John went to the store`, as a clause still without its parent."""
    second.rel, second.left = "conj", [Node("and", "CCONJ", "cc")]
    first.right.append(second)
    word, prep = rng.choice(ARRIVALS).split()
    place = noun(rng.choice(list(lex.BUILDINGS)), "root" if word == "were" else "obl", adjectives=looks(rng), prep=prep)
    mark = Node(rng.choice(OPENERS), "SCONJ", "mark")
    if word == "were":
        place.left = [mark, first, Node("were", "AUX", "cop"), *place.left]
        return place
    return Node(word, "VERB", left=[mark, first], right=[place])


def ioi(rng: Random) -> Document:
    """`When Mary and John went to the store, John gave a drink to Mary.` in both name orders and two sentence forms."""
    indirect, subject = rng.sample(lex.NAMES, 2)
    abba = rng.random() < 0.5
    order = [name(indirect, "nsubj", entity=indirect), name(subject, "nsubj", entity=subject)]
    order[0].name, order[1].name = "io", "s1"
    first, second = order if abba else order[::-1]
    clause = _opening(first, second, rng)
    giver = name(subject, "nsubj", entity=subject)
    giver.name = "s2"
    gift = rng.choice([*lex.THINGS, "drink", "gift", "present"])
    root = past(rng.choice(lex.GAVE))
    receiver = name(indirect, "obl", prep="to", entity=indirect)
    receiver.query, receiver.left[0].name = True, "end"
    root.left, root.right = (
        [giver],
        [noun(gift, "obj", det=rng.choice(["the", "a"]), adjectives=looks(rng)), receiver, stop()],
    )
    kind = "ABBA" if abba else "BABA"
    if rng.random() < 0.3:
        clause.left.pop(0)
        clause.left.insert(0, Node("once", "ADV", "advmod"))
        clause.right.append(stop())
        return write("ioi", kind, [clause, root])
    clause.rel = "advcl"
    clause.right.append(comma())
    root.left.insert(0, clause)
    return write("ioi", kind, [root])
