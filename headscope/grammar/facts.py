"""Facts that the context gives, and facts that must be remembered."""

from __future__ import annotations

from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.phrases import case, comma, name, noun, past, stop
from headscope.grammar.tree import Document, Node, write

ATTRIBUTES = {"likes": lex.COLOURS, "eats": lex.FOODS, "plays": lex.SPORTS, "drinks": lex.DRINKS}


def _fact(person: str, attribute: str, value: str, *, asked: bool) -> Node:
    """`Mary eats rice.`; when asked, its words are named and the value is a query."""
    root = Node(attribute, "VERB", left=[name(person, "nsubj", entity=person)])
    thing = Node(value, "NOUN", "obj", query=asked)
    root.right = [thing, stop()]
    if asked:
        root.name = "end"
    return root


def facts_context(rng: Random) -> Document:
    """Several people's facts, then one of them again: one attribute, or several (`mixed`: attribute x name)."""
    mixed = rng.random() < 0.65
    attributes = rng.sample(list(ATTRIBUTES), rng.randint(2, 3) if mixed else 1)
    people = rng.sample(lex.NAMES, rng.randint(2, 3) if mixed else rng.randint(3, 5))
    values = {attribute: rng.sample(ATTRIBUTES[attribute], len(people)) for attribute in attributes}
    cells = [(person, attribute, values[attribute][i]) for i, person in enumerate(people) for attribute in attributes]
    rng.shuffle(cells)
    sentences = [_fact(*cell, asked=False) for cell in cells]
    asked = rng.sample(cells, 2)
    for cell in asked:
        sentences.append(_fact(*cell, asked=True))
    source = sentences[cells.index(asked[-1])]
    source.right[0].name = "value"
    return write("facts_context", "mixed" if mixed else "single", sentences)


def _capital(country: str, city: str, template: int) -> Node:
    """Four ways to say which city is a country's capital; the city comes last."""
    answer = Node(city, "PROPN", "root", query=True)
    land = Node(country, "PROPN", "nmod", left=[case("of")])
    if template == 0:
        answer.left = [noun("capital", "nsubj"), Node("is", "AUX", "cop")]
        answer.left[0].right = [land]
        return answer
    if template == 1:
        answer.left = [noun("city", "nsubj"), Node("is", "AUX", "cop")]
        answer.left[0].left.insert(1, Node("main", "ADJ", "amod"))
        answer.left[0].right = [land]
        return answer
    if template == 2:
        land.rel, land.left = "obl", [case("in")]
        answer.left = [land, comma(), noun("capital", "nsubj"), Node("is", "AUX", "cop")]
        return answer
    people = noun("people", "nsubj", det="the")
    people.right = [land]
    answer.rel, answer.left = "obl", [case("in")]
    return Node("live", "VERB", left=[people], right=[answer])


OPENERS = (None, "yesterday", "today", "then", "later")
"""What a habit text starts with; `once` would not do, since indirect-object texts start with it too."""


def _habit(who: str, template: int) -> Node:
    """What someone or something does, said outright: `Yesterday the dog barked.`"""
    subject = Node(who, "PROPN", "nsubj") if who in lex.NAMES else noun(who, "nsubj")
    opener = OPENERS[template]
    # Without an opener the text might as well go on to whom the person met.
    root = past(lex.HABITS[who], query=opener is not None)
    root.left = [*([Node(opener, "ADV", "advmod")] if opener else []), subject]
    return root


def facts_world(rng: Random) -> Document:
    """Facts of this world: capitals, and what each person, animal and thing does."""
    if rng.random() < 0.4:
        country = rng.choice(list(lex.CAPITALS))
        kind, root = "capital", _capital(country, lex.CAPITALS[country], rng.randrange(4))
        if rng.random() < 0.3:
            root.left.insert(0, Node(rng.choice(["today", "yes"]), "ADV", "advmod"))
            root.left.insert(1, comma())
    else:
        kind, root = "habit", _habit(rng.choice(list(lex.HABITS)), rng.randrange(len(OPENERS)))
    root.right.append(stop())
    return write("facts_world", kind, [root])
