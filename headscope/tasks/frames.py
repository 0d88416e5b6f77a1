"""Prompts from sentence frames: filled slots with their places, and draws that repeat no prompt while there are others.

A prompt that comes twice tells nothing new, and in both halves of a split it would leak.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import TypeVar

import numpy as np

from headscope.tasks.words import Draft, Reader, compose, unseen

Row = TypeVar("Row")

TRIES = 100
"""Draws for one example before a prompt is allowed to come again."""


def fill(frame: str, words: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """A frame's text and where each of its slots stands in it.

    Args:
        frame: text with slots in braces, each slot at most once.
        words: slot -> what stands there.

    Returns:
        The text, and slot -> its (start, end) characters.

    Example:
        >>> fill("The {subject} near the {other}", {"subject": "boys", "other": "girl"})
        ('The boys near the girl', {'subject': (4, 8), 'other': (18, 22)})
    """
    parts: list[str | tuple[str, str]] = []
    for plain, slot, _, _ in Formatter().parse(frame):
        parts += [plain] if slot is None else [plain, (slot, words[slot])]
    return compose(*parts)


def known(reader: Reader, text: str) -> bool:
    """Whether a tokenizer has a token for every word of a text.

    Args:
        reader: whose tokenizer.
        text: words as they stand in a sentence.

    Example:
        >>> from types import SimpleNamespace
        >>> def tokenizer(text, add_special_tokens):
        ...     return {"input_ids": [0 if word == "it" else 1 for word in text.split()]}
        >>> tokenizer.unk_token_id, tokenizer.bos_token_id = 0, 1
        >>> reader = SimpleNamespace(
        ...     name="tiny", tokenizer=tokenizer, causal=True, max_length=9, vocabulary=2, encode=list
        ... )
        >>> known(reader, "that is"), known(reader, "it is")
        (True, False)
    """
    unknown = reader.tokenizer.unk_token_id
    if unknown is None or unknown == reader.tokenizer.bos_token_id:  # GPT-2's, which reads everything
        return True
    return unknown not in reader.tokenizer(text, add_special_tokens=False)["input_ids"]


def deal(groups: Sequence[Sequence[Row]], n: int, rng: np.random.Generator) -> list[Row]:
    """`n` rows: one of each group in turn, and no row again before all of them have come.

    Args:
        groups: rows of each group; the groups come in the order that is given, rows in random order.
        n: how many rows.
        rng: shuffles the rows of each group.

    Example:
        >>> deal([["a", "b"], ["c"]], 5, np.random.default_rng(0))
        ['a', 'c', 'b', 'a', 'c']
    """
    piles = [[group[int(i)] for i in rng.permutation(len(group))] for group in groups]
    height = max(len(pile) for pile in piles)
    once = [pile[level] for level in range(height) for pile in piles if level < len(pile)]
    return [once[index % len(once)] for index in range(n)]


def distinct(n: int, make: Callable[[int], Draft]) -> list[Draft]:
    """`n` drafts with different prompts, as far as chance finds any.

    Args:
        n: how many.
        make: the draft with a number, drawn anew at every call.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> make = lambda index: Draft(clean=str(rng.choice(list("abc"))), corrupted="", answers=[], foils=[], group=0)
        >>> sorted(draft.clean for draft in distinct(3, make))
        ['a', 'b', 'c']
    """
    seen: set[str] = set()
    return [unseen(partial(make, index), seen, tries=TRIES) for index in range(n)]
