"""Controlled English with gold trees, coreference, named positions and determined words.

Every family is a function `Random -> Document`. The bundled model is trained on these texts, and the same sentences, in
plain words that any tokenizer reads, are a gold set for syntax and coreference.

Example:
    >>> from random import Random
    >>> document = generate("agreement", Random(0))
    >>> document.words[document.positions["verb"]].upos
    'VERB'
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

from headscope.grammar import lexicon as lex
from headscope.grammar.agreement import agreement, clauses, repetition
from headscope.grammar.exchange import ioi
from headscope.grammar.facts import facts_context, facts_world
from headscope.grammar.pronouns import gender, winograd
from headscope.grammar.reasoning import deduction, graph
from headscope.grammar.sequences import duplicate, induction, reversal
from headscope.grammar.tree import Document, Query, Word

FAMILIES: dict[str, Callable[[Random], Document]] = {
    "agreement": agreement,
    "clauses": clauses,
    "gender": gender,
    "winograd": winograd,
    "ioi": ioi,
    "induction": induction,
    "reversal": reversal,
    "duplicate": duplicate,
    "repetition": repetition,
    "facts_context": facts_context,
    "facts_world": facts_world,
    "deduction": deduction,
    "graph": graph,
}


def generate(family: str, rng: Random) -> Document:
    """One document of a family.

    Args:
        family: a key of `FAMILIES`.
        rng: where its randomness comes from.
    """
    return FAMILIES[family](rng)


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word that a document can contain, sorted."""
    words: set[str] = set()
    for table in (
        lex.NOUNS,
        lex.CONTAINERS,
        lex.PLACES,
        lex.BUILDINGS,
        lex.ALONE,
        lex.WITH_OBJECT,
        lex.LOVING,
        lex.REFLEXIVE,
    ):
        words |= set(table) | set(table.values())
    for table in (lex.GIVING, lex.SAYING, lex.WANTING, lex.HABITS, lex.CAPITALS):
        words |= set(table) | set(table.values())
    for pool in (
        lex.NAMES,
        lex.COLOURS,
        lex.FOODS,
        lex.SPORTS,
        lex.DRINKS,
        lex.TRAITS,
        lex.LOOKS,
        lex.ADVERBS,
        lex.MANNERS,
    ):
        words |= set(pool)
    for pool in (
        lex.NUMBERS,
        lex.GAVE,
        lex.MET,
        lex.NEAR,
        lex.TIRED,
        lex.WIDE,
        lex.LARGE,
        lex.SMALL,
        lex.FIERCE,
        lex.AFRAID,
        lex.CHASED,
        lex.FUNCTION_WORDS,
    ):
        words |= set(pool)
    words |= {
        "plays",
        "eats",
        "drinks",
        "drink",
        "gift",
        "present",
        "met",
        "waited",
        "were",
    }
    return tuple(sorted(words))


__all__ = ["FAMILIES", "Document", "Query", "Word", "generate", "vocabulary"]
