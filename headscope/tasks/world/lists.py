"""What was there before: random words again, backwards or noticed, and sentences again. The twin has other sources."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from random import Random

from headscope.grammar import Document
from headscope.grammar import lexicon as lex
from headscope.tasks.world.sketch import Sketch, put, swap

_DETERMINED = 8
"""A new word is followed by a comma for sure only among the first items (see `grammar.sequences.duplicate`)."""

_OFFERED = 8
"""New words for one place that one text offers: some of those texts will be held out too."""


def induction(document: Document, rng: Random) -> list[Sketch]:
    """`red dog map cup ... red` | `dog`: the twin exchanges the first `dog` with a later word of the list.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(induction(draw("induction", "test", Random(20)), Random(0))[0])
        Sarah young kind angry dog Sarah young | kind
        Sarah young dog angry kind Sarah young | dog
    """
    words, again = document.words, document.queries[0].index - 1
    length = len(document.queries) + 1
    first = next(i for i, word in enumerate(words) if word.form == words[again].form)
    step = rng.randrange(1, length - 1)  # a later word must be left
    places = {"earlier": first + step - 1, "source": first + step}
    return [
        Sketch(
            document=document,
            cut=again + step,
            twin=swap(words, (first + step, first + later), (again + step, again + later)),
            places=places | {"other": first + later},
            content=(words[again + step].form,),
        )
        for later in rng.sample(range(step + 1, length), length - step - 1)
    ]


def reversal(document: Document, rng: Random) -> list[Sketch]:
    """`red dog map cup back cup map` | `dog`: the twin exchanges the first `dog` with a word before it.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(reversal(draw("reversal", "test", Random(2)), Random(0))[0])
        Lake wise case back case | wise
        Wise lake case back case | lake
    """
    words, length = document.words, len(document.queries)
    last = len(words) - 1
    source = rng.randrange(1, length - 1)
    return [
        Sketch(
            document=document,
            cut=last - source,
            twin=swap(words, (source, before), (last - source, last - before)),
            places={"earlier": source + 1, "source": source, "other": before},
            content=(words[source].form,),
        )
        for before in rng.sample(range(source), source)
    ]


def duplicate(document: Document, rng: Random) -> list[Sketch]:
    """`dog, tree, dog` | `again`: the twin has another word for the first `dog`; or it makes a new word a repeat.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(duplicate(draw("duplicate", "test", Random(29)), Random(0))[0])
        Laura, patient, golf | ,
        Laura, golf, golf | again
    """
    repeats = rng.random() < 0.5
    items = [i for i, word in enumerate(document.words) if word.form not in {",", "again", "."}]
    ends = [i for i in items[1:-1][: _DETERMINED - 1] if (document.words[i + 1].form == "again") == repeats]
    if not ends:
        return []
    return (_noticed if repeats else _unnoticed)(document, items, rng.choice(ends), rng)


def _noticed(document: Document, items: list[int], end: int, rng: Random) -> list[Sketch]:
    """A repeat, whose one earlier copy the twin replaces."""
    words = document.words
    copies = [i for i in items if i < end and words[i].form == words[end].form]
    if len(copies) > 1:
        return []
    fresh = rng.sample([form for form in lex.PLAIN if form not in {word.form for word in words}], _OFFERED)
    twins = (put(words, {copies[0]: form}) for form in fresh)
    shortened = (twin[: end + 1] + twin[end + 2 :] for twin in twins)  # without `again`
    return [_heard(document, copies[0], end, twin) for twin in shortened]


def _unnoticed(document: Document, items: list[int], end: int, rng: Random) -> list[Sketch]:
    """A new word, which the twin also puts in the place of an earlier one that is said once."""
    words = document.words
    said = [word.form for word in words]
    once = [i for i in items if i < end and said.count(said[i]) == 1]
    twins = {i: put(words, {i: said[end]}) for i in rng.sample(once, len(once))}
    mark = put(words[end + 1 : end + 2], {0: "again"})
    return [_heard(document, i, end, twin[: end + 1] + mark + twin[end + 1 :]) for i, twin in twins.items()]


def _heard(document: Document, earlier: int, end: int, twin: tuple) -> Sketch:
    content = (document.words[end + 1].form, document.words[end].form)
    return Sketch(document=document, cut=end + 1, twin=twin, places={"earlier": earlier}, content=content)


def repetition(document: Document, rng: Random) -> list[Sketch]:
    """`The boy sees the girl. Again: the` | `boy`: the twin exchanges two words of one class in what is repeated.

    Args:
        document: of the family.
        rng: draws where it is cut, and the order of the twins.

    Example:
        >>> from headscope.grammar.splits import draw
        >>> print(repetition(draw("repetition", "test", Random(15)), Random(0))[0])
        The little heavy ball is shy. Again: the | little
        The heavy little ball is shy. Again: the | heavy
    """
    words = document.words
    length = (len(words) - 2) // 2
    shift = length + 2  # `again` and `:` stand between
    sketches = []
    for one, two in combinations([i for i in range(1, length) if word_class(words[i].form)], 2):
        if word_class(words[one].form) != word_class(words[two].form) or words[one].form == words[two].form:
            continue
        twin = swap(words, (one, two), (one + shift, two + shift))
        if any(twin[i].form == twin[i + 1].form for i in range(length)):
            continue  # `the old old dog` is no sentence of this grammar
        places = {"earlier": one - 1, "source": one, "other": two}
        content = (words[one].form,)
        sketches.append(Sketch(document=document, cut=one + shift, twin=twin, places=places, content=content))
    return rng.sample(sketches, len(sketches))


@cache
def word_class(form: str) -> frozenset[tuple[int, int]]:
    """What a word of a clause could be exchanged with: the tables it stands in, and its number there.

    Args:
        form: as it stands in the sentence.

    Example:
        >>> word_class("boys") == word_class("kings") != word_class("king"), word_class("the")
        (True, frozenset())
    """
    return frozenset(
        (index, number)
        for index, table in enumerate(_TABLES)
        for number, forms in enumerate((table, table.values()) if isinstance(table, dict) else (table,))
        if form in forms
    )


_TABLES = (
    *(lex.MEN, lex.WOMEN, lex.WORKERS, lex.ANIMALS, lex.THINGS, lex.BUILDINGS | lex.PLACES),
    *(lex.ALONE, lex.WITH_OBJECT, lex.GIVING, lex.SAYING, lex.WANTING),
    *(lex.LOOKS, lex.ADVERBS, lex.MANNERS, lex.NUMBERS, lex.NEAR),
)
