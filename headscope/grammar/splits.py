"""Which documents a model may learn from, and which are held out: by a hash of their words."""

from __future__ import annotations

from random import Random
from zlib import crc32

from headscope.grammar import Document, generate

SPLITS = ("dev", "test", "train")


def split(document: Document) -> str:
    """`dev` and `test` get a twentieth of all texts each, by a hash of the words; the rest is for training.

    Args:
        document: any document, also one that was made from another by exchanging words.

    Example:
        >>> rng = Random(0)
        >>> sorted({split(generate("ioi", rng)) for _ in range(100)})
        ['dev', 'test', 'train']
    """
    bucket = crc32(document.key.encode()) % 20
    return SPLITS[bucket] if bucket < 2 else "train"


def draw(family: str, part: str, rng: Random) -> Document:
    """A document of a family that belongs to a split; `dev` and `test` cost about 20 documents each.

    Args:
        family: a key of `headscope.grammar.FAMILIES`.
        part: one of `SPLITS`.
        rng: where its randomness comes from.

    Example:
        >>> split(draw("graph", "test", Random(0)))
        'test'
    """
    while True:
        document = generate(family, rng)
        if split(document) == part:
            return document


def held_out(family: str, part: str, count: int, seed: int) -> list[Document]:
    """`count` documents of one split, the same for the same seed.

    Args:
        family: a key of `headscope.grammar.FAMILIES`.
        part: one of `SPLITS`.
        count: how many; a small family repeats some.
        seed: of the documents.

    Example:
        >>> [document.text for document in held_out("facts_world", "test", 2, 0)] == [
        ...     document.text for document in held_out("facts_world", "test", 3, 0)
        ... ][:2]
        True
    """
    rng = Random(f"{seed}:{part}:{family}")
    return [draw(family, part, rng) for _ in range(count)]
