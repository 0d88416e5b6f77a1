"""Greater-than: `The war lasted from the year 1732 to the year 17` -> `33` or later, not `32` or earlier."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.prompts import Pairs
from headscope.tasks.frames import deal, fill
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

NAME = "greater-than"
SOURCE = "Hanna et al. 2023, 'How does GPT-2 compute greater-than?' (arXiv 2305.00586); nouns of our own"
CORRUPTION = "the first year ends in 01, after which nearly every year of the century is later"
METRIC = "probability_difference"
FRAME = "The {noun} lasted from the year {first}{year} to the year {century}"
NOUNS = (
    "war siege reign strike drought project trial journey voyage famine plague rebellion revolution campaign "
    "expedition feud truce alliance conflict dispute exile occupation construction marriage friendship partnership "
    "crisis dynasty peace treaty search investigation experiment study reform career contract debate storm blockade "
    "embargo pilgrimage protest struggle trade uprising quarrel quest restoration mission monopoly boycott invasion"
).split()
CENTURIES = range(11, 18)
STARTS = range(2, 99)


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` prompts that leave a span of years open; every later year of the century is an answer, all others foils.

    The metric is the probability of all answers minus that of all foils (Hanna et al. 2023): answers are
    the two-digit tokens above the first year's last two digits, foils those up to them. The task's accuracy compares
    mean logits of the two sets.

    Args:
        model: a decoder whose tokenizer writes `1732` as `17` and `32`.
        n: examples.
        rng: draws nouns and years.

    Returns:
        Pairs with the positions `noun`, `year` (the first year's last two digits, where the twin has 01) and `end`,
        grouped by those digits.

    Raises:
        TaskError: if the model is an encoder, or its tokenizer writes years or nouns otherwise.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=32, vocabulary=50, encode=list)
        >>> build(model, n=4, rng=np.random.default_rng(0))
        Traceback (most recent call last):
        headscope.errors.TaskError: task 'greater-than' on 'ids', which has no tokenizer
          expected: a model that reads words
          to fix it: load it with its tokenizer, choose --task induction, or give Pairs of token ids
    """
    require_tokenizer(model, NAME)
    if not model.causal:
        raise TaskError(
            f"task {NAME!r} on {model.name!r}, an encoder",
            "a model that goes on within a word, with a year's last two digits",
            "leave this task out with --task for encoders",
        )
    written = {century: _endings(model, century) for century in CENTURIES}
    digits = {ending: token for endings in written.values() for ending, token in endings.items()}
    years = [
        [(century, f"{year:02d}") for century, endings in written.items() if {"01", f"{year:02d}"} <= endings.keys()]
        for year in STARTS
    ]
    rows = [found for year, found in zip(STARTS, years, strict=True) if found and _sides(digits, f"{year:02d}")]
    if len(rows) < 2:
        raise TaskError(
            f"task {NAME!r} with the tokenizer of {model.name!r}: {len(rows)} of {len(STARTS)} years are two tokens of "
            f"two digits ('1732' is {', '.join(map(repr, _pieces(model, '1732')))})",
            "a tokenizer that writes a year as GPT-2's does, '1732' as '17' and '32'",
            "leave this task out with --task, or give pairs of your own in this model's tokens",
        )
    nouns = pool(model, NOUNS, task=NAME, least=2)
    rng.shuffle(rows)
    drafts = [_draft(*row, digits) for row in deal([list(product(nouns, found)) for found in rows], n, rng)]
    pairs = build_pairs(model, drafts, task=NAME, source=SOURCE, corruption=CORRUPTION)
    return replace(pairs, metric=METRIC)


def _pieces(model: Reader, year: str) -> list[str]:
    ids = model.tokenizer(f"a {year}", add_special_tokens=False)["input_ids"]
    before = model.tokenizer("a", add_special_tokens=False)["input_ids"]
    return [model.tokenizer.decode([token]).strip() for token in ids[len(before) :]]


def _endings(model: Reader, century: int) -> dict[str, int]:
    """Last two digits -> their token, for the years of a century that are two tokens of two digits."""
    found = {}
    for ending in (f"{year:02d}" for year in range(100)):
        if _pieces(model, f"{century}{ending}") == [str(century), ending]:
            found[ending] = model.tokenizer(f"a {century}{ending}", add_special_tokens=False)["input_ids"][-1]
    return found


def _sides(digits: Mapping[str, int], year: str) -> bool:
    """Whether there are tokens for later years and for earlier ones."""
    return min(digits) <= year < max(digits)


def _draft(noun: str, year: tuple[int, str], digits: Mapping[str, int]) -> Draft:
    century, ending = year
    slots = {"noun": noun, "first": str(century), "year": ending, "century": str(century)}
    clean, places = fill(FRAME, slots)
    corrupted, _ = fill(FRAME, slots | {"year": "01"})
    answers = [token for late, token in sorted(digits.items()) if late > ending]
    foils = [token for early, token in sorted(digits.items()) if early <= ending]
    named = {name: places[name] for name in ("noun", "year")}
    return Draft(clean=clean, corrupted=corrupted, answers=answers, foils=foils, group=int(ending), places=named)


GREATER_THAN = Task(
    name=NAME,
    build=build,
    source=SOURCE,
    about="until which year? one later than the first",
)
