"""Files of our own sentences in the published formats."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMES = ("Mary", "John", "Anna", "Peter", "Susan", "Paul", "Laura", "Mark")


def passage(name: str, other: str, number: int) -> str:
    """A passage whose last word occurs twice earlier, as in LAMBADA."""
    return (
        f"{name} had left {number} letters on the table. In the evening, {other} asked whether {name} was home, and "
        f"then {other} went to look for {name}"
    )


def passages(count: int = 12) -> list[str]:
    """Different passages, whose last words are names."""
    return [passage(NAMES[i % 8], NAMES[(i + 1 + i // 8) % 8], i + 2) for i in range(count)]


ALONE = "the wind blew over the hills all night, and nobody dared to leave the lighthouse"
"""A passage whose last word does not occur earlier."""


def lines(path: Path, records: Iterable[Any]) -> Path:
    """Write one JSON value on each line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def question(
    number: int = 0, *, key: str = "B", texts: Iterable[str] = ("a pan", "a nest", "a lake", "an office")
) -> dict:
    """A question as CommonsenseQA's files have it."""
    choices = [{"label": label, "text": text} for label, text in zip("ABCDE", texts, strict=False)]
    stem = f"Where does bird number {number} sleep?"
    return {
        "id": f"q{number}",
        "answerKey": key,
        "question": {"question_concept": "bird", "stem": stem, "choices": choices},
    }


SCHEMAS = [
    ("The bottle did not go into the bag because", "it", "was too big.", ("The bottle", "The bag"), 0),
    ("The bottle did not go into the bag because", "it", "was too small.", ("The bottle", "The bag"), 1),
    ("Mary thanked Susan, for", "she", "had received help.", ("Mary", "Susan"), 0),
    ("Mary thanked Susan, for", "she", "had offered help.", ("Mary", "Susan"), 1),
    ("The red cup broke the green plate when", "it", "fell on top.", ("the cup", "the plate"), 0),
    ("The red cup broke the green plate when", "it", "lay underneath the other one.", ("the cup", "the plate"), 1),
    ("The boat passed the ship since", "it", "was fast.", ("the boat", "the ship"), 0),
    ("The teacher praised the teachers' friend, and", "they", "were glad.", ("the teachers", "the teacher"), 1),
]
"""Two pairs of twins of equal length, one of unequal length, one sentence without twin, and one more."""


def xml(path: Path, schemas: Iterable[Any] = tuple(SCHEMAS)) -> Path:
    """Write schemas as the collection of Davis et al. has them."""
    parts = [
        f"<schema><text><txt1>\n  {before}\n</txt1><pron> {pronoun} </pron><txt2>{after}</txt2></text>"
        f"<quote><quote1></quote1><pron>{pronoun}</pron><quote2>{after}</quote2></quote><answers>"
        f"<answer> {names[0]}</answer><answer>{names[1]} </answer></answers>"
        f"<correctAnswer> {'AB'[right]}{'.' if right else ''} </correctAnswer><source>(own)</source></schema>"
        for before, pronoun, after, names, right in schemas
    ]
    path.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<collection>\n' + "\n".join(parts) + "\n</collection>\n")
    return path


def pronoun_lines(path: Path, schemas: Iterable[Any] = tuple(SCHEMAS)) -> Path:
    """Write schemas as JSONL with the place of the pronoun."""
    records = []
    for before, pronoun, after, names, right in schemas:
        text = f"{before} {pronoun} {after}"
        records.append(
            {"text": text, "pronoun": pronoun, "pronoun_loc": len(before) + 1, "options": list(names), "label": right}
        )
    return lines(path, records)


def blanks(path: Path, schemas: Iterable[Any] = tuple(SCHEMAS)) -> Path:
    """Write schemas as WinoGrande has them."""
    records, number = [], 0
    for index, (before, _, after, names, right) in enumerate(schemas):
        number += index == 0 or names != list(schemas)[index - 1][3]
        records.append(
            {"qID": f"3XYZ-{number}-{1 + index % 2}", "sentence": f"{before} _ {after}", "option1": names[0],
             "option2": names[1], "answer": str(right + 1)}
        )  # fmt: skip
    return lines(path, records)
