"""Noun phrases, clauses and small parts that the families share, each with its gold relations."""

from __future__ import annotations

from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.tree import Node


def stop(mark: str = ".") -> Node:
    """Sentence-final punctuation."""
    return Node(mark, "PUNCT", "punct")


def comma() -> Node:
    """A comma."""
    return Node(",", "PUNCT", "punct")


def case(word: str) -> Node:
    """A preposition before its noun."""
    return Node(word, "ADP", "case")


def article(word: str, following: str) -> Node:
    """`the`, or `a`/`an` as the following word asks."""
    form = word if word == "the" else ("an" if following[0] in "aeiou" else "a")
    return Node(form, "DET", "det")


def noun(
    form: str, rel: str, *, det: str | None = "the", adjectives: tuple[str, ...] = (), prep: str | None = None
) -> Node:
    """A noun phrase: preposition, article, adjectives, noun."""
    left = [case(prep)] if prep else []
    if det:
        left.append(article(det, adjectives[0] if adjectives else form))
    left += [Node(word, "ADJ", "amod") for word in adjectives]
    return Node(form, "NOUN", rel, left=left)


def name(form: str, rel: str, *, prep: str | None = None, entity: str | None = None) -> Node:
    """A person's name, with a preposition if one is given."""
    return Node(form, "PROPN", rel, left=[case(prep)] if prep else [], entity=entity)


def inflected(forms: dict[str, str], rng: Random, *, plural: bool) -> tuple[str, str]:
    """A noun or verb drawn from a singular -> plural table (verbs: 3rd person -> base), as (right form, wrong form)."""
    singular = rng.choice(list(forms))
    return (forms[singular], singular) if plural else (singular, forms[singular])


def verb(forms: dict[str, str], rng: Random, *, plural: bool, rel: str = "root", mark: str | None = None) -> Node:
    """A present-tense verb that agrees with its subject: a query against the wrong number."""
    right, wrong = inflected(forms, rng, plural=plural)
    return Node(right, "VERB", rel, query=True, foil=wrong, name=mark)


def looks(rng: Random) -> tuple[str, ...]:
    """No adjective, one or two."""
    return tuple(rng.sample(lex.LOOKS, rng.choices((0, 1, 2), (5, 4, 1))[0]))


def some_noun(
    rng: Random, rel: str, *, plural: bool | None = None, pool: dict[str, str] | None = None, prep: str | None = None
) -> Node:
    """A random noun phrase with `the`, sometimes with one or two adjectives, sometimes a number when plural."""
    many = rng.random() < 0.5 if plural is None else plural
    form, _ = inflected(pool or lex.NOUNS, rng, plural=many)
    adjectives = looks(rng)
    phrase = noun(form, rel, adjectives=adjectives, prep=prep)
    if many and rng.random() < 0.15:
        phrase.left.insert(len(phrase.left) - len(adjectives), Node(rng.choice(lex.NUMBERS), "NUM", "nummod"))
    return phrase


def past(form: str, rel: str = "root", *, query: bool = False) -> Node:
    """A past-tense verb."""
    return Node(form, "VERB", rel, query=query)
