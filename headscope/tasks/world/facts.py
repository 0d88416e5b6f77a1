"""Facts of the text, whose values the twin exchanges, and of the world, where the twin asks about another thing."""

from __future__ import annotations

from random import Random

from headscope.grammar import Document
from headscope.grammar import lexicon as lex
from headscope.tasks.world.sketch import Sketch, put, rename

_OFFERED = 12
"""Other things to ask about that one text offers: some of those texts will be held out too."""


def facts_context(document: Document, rng: Random) -> list[Sketch]:
    """`Mary eats rice. John eats corn. ... Mary eats` | `rice`: in the twin it is John who eats rice.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(facts_context(draw("facts_context", "test", Random(2)), Random(0))[0])
        Kate eats beans. Ben eats salad. Alice eats rice. Kate eats beans. Alice eats | rice
        Kate eats beans. Ben eats rice. Alice eats salad. Kate eats beans. Alice eats | salad
    """
    words, end = document.words, document.positions["end"]
    value, cut = document.positions["value"], end + 1
    told = [start + 2 for start in document.starts[:-2]]  # the last two sentences ask
    others = [i for i in told if words[i - 1].form == words[end].form and i != value]
    return [
        Sketch(
            document=document,
            cut=cut,
            twin=rename(words, words[value].form, words[other].form),
            places={"subject": value - 2, "value": value, "other": other, "asked": end - 1},
            content=(words[value].form,),
        )
        for other in rng.sample(others, len(others))
    ]


def facts_world(document: Document, rng: Random) -> list[Sketch]:
    """`The capital of France is` | `Paris`: twin `Italy`; `Then the dog` | `barked`: twin `cat`.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(facts_world(draw("facts_world", "test", Random(39)), Random(0))[0])
        Today Tom | sang
        Today Sarah | jumped
    """
    if not document.queries:
        return []
    words, cut = document.words, document.queries[-1].index
    if document.kind == "capital":
        subject = next(i for i, word in enumerate(words) if word.form in lex.CAPITALS)
        known = lex.CAPITALS
    else:
        subject = cut - 1
        known = {
            who: did for who, did in lex.HABITS.items() if (who in lex.NAMES) == (words[subject].form in lex.NAMES)
        }
    others = [form for form, fact in known.items() if fact != words[cut].form]
    return [
        Sketch(
            document=document,
            cut=cut,
            twin=put(words, {subject: other, cut: known[other]}),
            places={"subject": subject},
            content=(words[cut].form,),
        )
        for other in rng.sample(others, _OFFERED)
    ]
