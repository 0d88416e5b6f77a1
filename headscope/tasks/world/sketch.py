"""A document of the bundled model's world, cut before a determined word, and the twin that determines another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import ne

from headscope.grammar import Document, Word
from headscope.grammar import lexicon as lex
from headscope.grammar.splits import split
from headscope.tasks.words import Draft

PROPER = frozenset({*lex.NAMES, *lex.CAPITALS, *lex.CAPITALS.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A prompt and its twin, still as words of the grammar.

    Attributes:
        document: the whole text; the prompt is what stands before `cut`, the answer the word at it.
        cut: index of a word that the words before it determine.
        twin: the twin's whole text, with as many words before `cut`; the foil is its word there.
        places: name -> index of a word before `cut`.
        content: what the example is about; with the document's kind it makes the group.
    """

    document: Document
    cut: int
    twin: tuple[Word, ...]
    places: Mapping[str, int]
    content: tuple[str, ...]

    def __str__(self) -> str:
        """Prompt and twin in a line each, with the word that each determines."""
        draft = written(self, 0)
        return "\n".join(
            f"{text} | {str(word).strip()}"
            for text, word in ((draft.clean, draft.answers[0]), (draft.corrupted, draft.foils[0]))
        )

    @property
    def exchanged(self) -> int:
        """How many words of the prompt the twin changes."""
        return sum(map(ne, self.document.words[: self.cut], self.twin[: self.cut]))

    @property
    def part(self) -> str:
        """Which split the twin's whole text belongs to."""
        return split(replace(self.document, words=self.twin))


def put(words: tuple[Word, ...], forms: Mapping[int, str]) -> tuple[Word, ...]:
    """Words with other forms in some places.

    Args:
        words: of a document.
        forms: index -> the word to stand there.

    Example:
        >>> [word.form for word in put((Word("the", "DET", 1, "det"), Word("dog", "NOUN", -1, "root")), {1: "cat"})]
        ['the', 'cat']
    """
    return tuple(
        replace(word, form=forms[i], upos=_upos(forms[i], word)) if i in forms else word for i, word in enumerate(words)
    )


def swap(words: tuple[Word, ...], *places: tuple[int, int]) -> tuple[Word, ...]:
    """Words with the two of each pair of places exchanged.

    Args:
        words: of a document.
        places: pairs of indices.

    Example:
        >>> row = tuple(Word(form, "NOUN", -1, "list") for form in "abcd")
        >>> "".join(word.form for word in swap(row, (0, 1), (2, 3)))
        'badc'
    """
    forms = {}
    for one, other in places:
        forms |= {one: words[other].form, other: words[one].form}
    return put(words, forms)


def rename(words: tuple[Word, ...], one: str, other: str, *, before: int | None = None) -> tuple[Word, ...]:
    """Words in which two forms are exchanged wherever they stand.

    Args:
        words: of a document.
        one: a form.
        other: another.
        before: leave the words from this index on as they are.

    Example:
        >>> row = tuple(Word(form, "NOUN", -1, "list") for form in "abca")
        >>> "".join(word.form for word in rename(row, "a", "b", before=3))
        'baca'
    """
    other_of = {one: other, other: one}
    return put(words, {i: other_of[word.form] for i, word in enumerate(words[:before]) if word.form in other_of})


def _upos(form: str, word: Word) -> str:
    """A name is written with a capital wherever it comes to stand, and what was no name is not."""
    if form in PROPER:
        return "PROPN"
    return "NOUN" if word.upos == "PROPN" else word.upos


def written(sketch: Sketch, group: int) -> Draft:
    """A sketch in ordinary spelling; answer and foil with the space before them, which a comma has not.

    Args:
        sketch: words.
        group: the number of its group.
    """
    clean, spans, answer = _spelled(sketch.document, sketch.cut)
    corrupted, _, foil = _spelled(replace(sketch.document, words=sketch.twin), sketch.cut)
    places = {name: spans[index] for name, index in sketch.places.items()}
    return Draft(clean=clean, corrupted=corrupted, answers=[answer], foils=[foil], group=group, places=places)


def _spelled(document: Document, cut: int) -> tuple[str, list[tuple[int, int]], str]:
    """The text before a word, where each of its words stands in it, and how the word goes on from there."""
    text, spans, spelling = "", [], document.spelling()
    for space, form in spelling[:cut]:
        start = len(text) + space
        text += f" {form}" if space else form
        spans.append((start, start + len(form)))
    space, form = spelling[cut]
    return text, spans, f" {form}" if space else form
