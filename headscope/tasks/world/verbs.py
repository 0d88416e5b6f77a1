"""Verbs whose number a noun decides: the twin gives that noun its other number."""

from __future__ import annotations

from random import Random

from headscope.grammar import Document, Word
from headscope.grammar import lexicon as lex
from headscope.tasks.world.sketch import Sketch, put

_OTHER = {**lex.NOUNS, **{many: one for one, many in lex.NOUNS.items()}}
_PLURALS = frozenset(lex.NOUNS.values())
_SINGULAR_FORMS = {"their": ("his", "her"), "themselves": ("himself", "herself")}


def agreement(document: Document, rng: Random) -> list[Sketch]:
    """`The boys near the girl` | `run`: twin `The boy near the girl`.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(agreement(draw("agreement", "test", Random(51)), Random(0))[0])
        The nice man | protects
        The nice men | protect
    """
    verb = document.positions["verb"]
    noun = document.positions["subject"]
    return [] if _counted(document, noun) else [_other_number(document, verb, noun, {"subject": noun})]


def clauses(document: Document, rng: Random) -> list[Sketch]:
    """Any agreeing verb of a sentence; in `the boy and the girl run` the twin says `near` for `and`.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(clauses(draw("clauses", "test", Random(41)), Random(0))[0])
        The strange man | loves
        The strange men | love
    """
    queries = [query.index for query in document.queries]
    if not queries:
        return []
    verb = rng.choice(queries)
    noun = governor(document, verb)
    joined = _children(document, noun, "conj")
    if joined:
        return _one_for_two(document, verb, noun, joined[0], rng)
    places = {"subject": noun, "cue": noun}
    return [] if _counted(document, noun) else [_other_number(document, verb, noun, places)]


def governor(document: Document, verb: int) -> int:
    """The index of the noun that a verb agrees with.

    Args:
        document: its tree.
        verb: index of the verb or copula.
    """
    words = document.words
    predicate = words[verb].head if words[verb].rel == "cop" else verb
    (subject,) = _children(document, predicate, "nsubj")
    return words[predicate].head if words[subject].form == "that" else subject


def _children(document: Document, head: int, rel: str) -> list[int]:
    return [i for i, word in enumerate(document.words) if word.head == head and word.rel == rel]


def _counted(document: Document, noun: int) -> bool:
    """`two boys` has no singular."""
    return bool(_children(document, noun, "nummod"))


def _singular(form: str) -> str:
    return _OTHER[form] if form in _PLURALS else form


def _other_number(document: Document, verb: int, noun: int, places: dict[str, int]) -> Sketch:
    """The noun's other number, with every verb and pronoun that goes by it."""
    form = document.words[noun].form
    forms = {noun: _OTHER[form]} | _other_verbs(document, noun)
    forms |= {i: new for i, word in enumerate(document.words) if (new := _other_pronoun(word, form))}
    twin = put(document.words, forms)
    return Sketch(document=document, cut=verb, twin=twin, places=places, content=(_singular(form),))


def _other_verbs(document: Document, noun: int) -> dict[int, str]:
    """The verbs that agree with a noun, in their other number."""
    agreeing = ((query.index, query.foil) for query in document.queries if query.foil is not None)
    return {index: foil for index, foil in agreeing if governor(document, index) == noun}


def _other_pronoun(word: Word, subject: str) -> str | None:
    """A possessive or reflexive, which always means the subject here, after the subject's number has changed."""
    for plural, singular in _SINGULAR_FORMS.items():
        if word.form == plural:
            return singular[_singular(subject) in lex.WOMEN]
        if word.form in singular and word.upos == "PRON":
            return plural
    return None


def _one_for_two(document: Document, verb: int, noun: int, second: int, rng: Random) -> list[Sketch]:
    """`The boy near the girl runs` for `the boy and the girl run`."""
    (joint,) = _children(document, second, "cc")
    if document.words[noun].form in _PLURALS:
        return []  # then the verb is plural either way
    verbs = _other_verbs(document, noun)
    prepositions = rng.sample(lex.NEAR, len(lex.NEAR))
    return [
        Sketch(
            document=document,
            cut=verb,
            twin=put(document.words, {joint: preposition} | verbs),
            places={"subject": noun, "cue": joint},
            content=(document.words[noun].form,),
        )
        for preposition in prepositions
    ]
