"""Gold text for a study: sentences drawn from treebanks, and windows of consecutive ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headscope import provenance
from headscope.corpora import Passage, Treebank, windows

WINDOW = 90
"""Words of a window; Clark et al. 2019 cut documents to 128 pieces."""

RUN = 8
"""Sentences of a document that are drawn together, where there are enough documents: the fewer, the more groups."""

Drawn = tuple[Treebank, ...]


def draw(treebanks: Sequence[Treebank], *, n: int, seed: int) -> Drawn:
    """At most `n` sentences of several treebanks, each with its share, in their order.

    Runs of consecutive sentences are drawn, so that windows of them still are text: `RUN` of each of as many documents
    as that takes, or more of each where there are too few documents.

    Args:
        treebanks: with gold trees.
        n: sentences in all.
        seed: of the draw.

    Returns:
        The treebanks with the drawn sentences; documents carry their treebank's name, so that none of two is mistaken
        for one.

    Example:
        >>> bank = Treebank(name="own", sentences=tuple(Passage(text=str(i), words=()) for i in range(9)))
        >>> len(draw([bank], n=4, seed=0)[0].sentences)
        4
    """
    total = sum(len(bank.sentences) for bank in treebanks)
    found = []
    for number, bank in enumerate(treebanks):
        share = len(bank.sentences) if total <= n else max(1, round(n * len(bank.sentences) / total))
        rng = np.random.default_rng(provenance.seed_for(seed, "sentences", str(number)))
        chosen = tuple(_named(bank, index, number) for index in _some(bank, share, rng))
        found.append(replace(bank, sentences=chosen))
    return tuple(found)


def _some(bank: Treebank, count: int, rng: np.random.Generator) -> list[int]:
    documents: dict[str, list[int]] = {}
    for index, each in enumerate(bank.sentences):
        # A sentence without a document is one of its own.
        documents.setdefault(each.document or f"\n{index}", []).append(index)
    # The shortest first: what they lack goes to the longer ones.
    names = sorted(_enough(documents, count, rng), key=lambda name: len(documents[name]))
    chosen: list[int] = []
    for at, name in enumerate(names):
        whole = documents[name]
        taken = min(len(whole), -(-(count - len(chosen)) // (len(names) - at)))
        first = int(rng.integers(len(whole) - taken + 1))
        chosen += whole[first : first + taken]
    return sorted(chosen)


def _enough(documents: dict[str, list[int]], count: int, rng: np.random.Generator) -> list[str]:
    """Documents, in random order, until runs of `RUN` sentences of each are enough."""
    order, names, room = list(documents), [], count
    for place in rng.permutation(len(documents)):
        if room <= 0:
            break
        names.append(order[place])
        room -= min(RUN, len(documents[names[-1]]))
    return names


def _named(bank: Treebank, index: int, number: int) -> Passage:
    sentence = bank.sentences[index]
    # A sentence without a document is one of its own, and must not be joined with the next.
    return replace(sentence, document=f"{number} {bank.name}/{sentence.document or f'sentence {index}'}")


def sentences(drawn: Drawn) -> tuple[Passage, ...]:
    """All sentences, treebank by treebank.

    Args:
        drawn: from `draw`.
    """
    return tuple(each for bank in drawn for each in bank.sentences)


def digest(treebanks: Sequence[Treebank]) -> str:
    """The SHA-256 of all that is annotated in some treebanks: equal where a study of them would be.

    Args:
        treebanks: whole ones, or what `draw` made of them.

    Example:
        >>> one, other = (Treebank(name="own", sentences=(Passage(text=text, words=()),)) for text in "ab")
        >>> digest([one]) == digest([one]) != digest([other])
        True
    """
    sha = hashlib.sha256()
    for bank in treebanks:
        sha.update(repr((bank.name, len(bank.sentences))).encode())
        for each in bank.sentences:
            sha.update(repr(each).encode())
    return sha.hexdigest()


def stretches(drawn: Drawn, *, longest: int) -> tuple[Passage, ...]:
    """Windows of consecutive sentences of at least two; a document of one sentence gives none.

    Args:
        drawn: from `draw`.
        longest: words of a window.
    """
    found = (each for bank in drawn for each in windows(bank, longest=longest))
    return tuple(each for each in found if len(each.starts) > 1)
