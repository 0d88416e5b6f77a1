"""Winograd pairs: `The ball did not fit in the box because it was too large. The thing that was too large was the`."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from headscope.contract import Task
from headscope.errors import TaskError
from headscope.prompts import Pairs
from headscope.tasks.frames import deal, fill, known
from headscope.tasks.words import Draft, Reader, build_pairs, pool, require_tokenizer

NAME = "winograd"
SOURCE = "Levesque et al. 2012, 'The Winograd Schema Challenge': its construction, with sentences of our own"
CORRUPTION = "the attribute becomes its opposite, in both places, so that it fits the other noun"
_THING = "because {it} was too {cue}. The thing that was too {again} was the"
_BEAST = "because {it} was too {cue}. The one that was too {again} was the"
_ONE = "because {it} was {cue}. The one that was {again} was the"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A sentence in which an attribute tells which of two nouns `it` is.

    Attributes:
        frame: the sentence and its question.
        first: nouns for the first place, each a plausible one with any of the second.
        second: nouns for the second place.
        cues: attributes that fit the first noun, each with its counterpart for the second.
    """

    frame: str
    first: str
    second: str
    cues: tuple[tuple[str, str], ...]


_GOODS, _BOXES = "ball book cup key lamp hat coat clock phone map letter picture", "box bag basket drawer bottle case"
_SIZES = (("large", "small"), ("big", "small"), ("wide", "narrow"), ("long", "short"))
_CARS = "car bus truck train boat bike taxi"
SCENES = (
    Scene(frame=f"The {{first}} did not fit in the {{second}} {_THING}", first=_GOODS, second=_BOXES, cues=_SIZES),
    Scene(frame=f"The {{first}} did not go into the {{second}} {_THING}", first=_BOXES, second=_BOXES, cues=_SIZES),
    Scene(
        frame=f"The {{first}} passed the {{second}} {_ONE}", first=_CARS, second=_CARS,
        cues=(("fast", "slow"), ("quick", "slow")),
    ),
    Scene(
        frame=f"The {{first}} hid from the {{second}} {_ONE}", first="rabbit mouse cat bird frog deer",
        second="lion bear wolf dog fox snake",
        cues=(("afraid", "dangerous"), ("scared", "fierce"), ("frightened", "hungry"), ("nervous", "angry")),
    ),
    Scene(
        frame=f"The {{first}} could not pass under the {{second}} {_THING}", first="truck bus boat ship tractor",
        second="bridge gate arch branch", cues=(("tall", "low"), ("high", "low")),
    ),
    Scene(
        frame=f"The {{first}} could not pull the {{second}} {_BEAST}", first="horse dog cow goat pony",
        second="cart wagon car sled tree", cues=(("weak", "heavy"), ("tired", "heavy"), ("small", "large")),
    ),
    Scene(
        frame=f"The {{first}} did not reach the {{second}} {_THING}", first="ladder rope chain wire",
        second="window roof shelf ceiling", cues=(("short", "high"), ("small", "high")),
    ),
    Scene(
        frame=f"The {{first}} broke under the {{second}} {_THING}", first="table chair shelf bench desk",
        second="stone statue piano box rock", cues=(("weak", "heavy"), ("thin", "heavy")),
    ),
    Scene(
        frame=f"The {{first}} did not cut the {{second}} {_THING}", first="knife saw sword blade",
        second="bread rope meat wood", cues=(("blunt", "hard"), ("dull", "thick"), ("weak", "tough")),
    ),
    Scene(
        frame=f"The {{first}} did not cross the {{second}} {_BEAST}", first="dog cat horse cow goat",
        second="road river street field lake", cues=(("tired", "wide"), ("weak", "wide"), ("slow", "broad")),
    ),
)  # fmt: skip
LEAST = 8

Row = tuple[int, str, str, str, bool]
"""A scene's number, both nouns, the attribute, and whether it fits the second one."""


def build(model: Reader, *, n: int, rng: np.random.Generator) -> Pairs:
    """`n` schemas in which an attribute tells which of two nouns is meant; its opposite means the other noun.

    Where the nouns can change places (what goes into what, what passes what) only their roles tell. Elsewhere the
    attribute may suit one noun better by itself, so that an answer by association counts as right.

    Args:
        model: whose tokenizer the prompts are made for.
        n: examples.
        rng: draws scenes, nouns and attributes.

    Returns:
        Pairs with the positions `first` and `second` (the nouns), `pronoun`, `cue` and `again` (the attribute and its
        repetition, where the twin differs) and `end`, grouped by sentence and nouns.

    Raises:
        TaskError: if the tokenizer does not know the frames' words or cannot write the nouns as single tokens.

    Example:
        >>> from headscope.models import load
        >>> pairs = build(load("mini"), n=2, rng=np.random.default_rng(0))
        >>> pairs.texts[0]
        'The frog hid from the lion because it was nervous. The one that was nervous was the'
    """
    require_tokenizer(model, NAME)
    words = [word for scene in SCENES for word in f"{scene.first} {scene.second}".split()]
    words += [cue for scene in SCENES for pair in scene.cues for cue in pair]
    usable = set(pool(model, dict.fromkeys(words), task=NAME, least=LEAST))
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for row in _rows(model, usable):
        scene, first, second, _, _ = row
        groups.setdefault((scene, min(first, second), max(first, second)), []).append(row)
    if len(groups) < 2:
        raise TaskError(
            f"task {NAME!r} with the tokenizer of {model.name!r}: it can write {len(groups)} of the sentences' nouns "
            f"with their attributes (sentences whose words it knows: {len(_known(model))} of {len(SCENES)})",
            "two or more, with nouns and attributes as single tokens, and such words as 'because', 'too' and 'thing'",
            "leave this task out with --task, or give pairs of your own in this model's words",
        )
    numbered = {row: number for number, rows in enumerate(groups.values()) for row in rows}
    shuffled = [list(groups.values())[int(i)] for i in rng.permutation(len(groups))]
    drafts = [_draft(row, numbered[row], usable, rng) for row in deal(shuffled, n, rng)]
    return build_pairs(model, drafts, task=NAME, source=SOURCE, corruption=CORRUPTION)


def _known(model: Reader) -> list[int]:
    return [i for i, scene in enumerate(SCENES) if known(model, re.sub(r"{\w+}", "it", scene.frame))]


def _rows(model: Reader, usable: set[str]) -> Iterator[Row]:
    for number in _known(model):
        scene = SCENES[number]
        cues = [pair for pair in scene.cues if usable.issuperset(pair)]
        firsts, seconds = ([noun for noun in nouns.split() if noun in usable] for nouns in (scene.first, scene.second))
        fitting = dict.fromkeys((pair[side], side) for pair in cues for side in (False, True))
        for first, second, (cue, side) in product(firsts, seconds, fitting):
            if first != second:
                yield number, first, second, cue, side


def _draft(row: Row, group: int, usable: set[str], rng: np.random.Generator) -> Draft:
    number, first, second, cue, side = row
    scene = SCENES[number]
    opposite = str(rng.choice([pair[not side] for pair in scene.cues if pair[side] == cue and usable.issuperset(pair)]))
    nouns: Sequence[str] = (first, second)
    slots = {"first": first, "second": second, "it": "it"}
    clean, places = fill(scene.frame, slots | dict.fromkeys(("cue", "again"), cue))
    corrupted, _ = fill(scene.frame, slots | dict.fromkeys(("cue", "again"), opposite))
    named = {("pronoun" if name == "it" else name): place for name, place in places.items()}
    return Draft(
        clean=clean, corrupted=corrupted, answers=[nouns[side]], foils=[nouns[not side]], group=group, places=named
    )


WINOGRAD = Task(name=NAME, build=build, source=SOURCE, about="what was too large, the ball or the box? attributes tell")
