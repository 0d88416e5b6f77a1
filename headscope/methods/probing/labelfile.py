"""Labels of one's own, from a table with one row for every word."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from headscope.errors import UsageError
from headscope.methods.probing.labels import Labels
from headscope.prompts import ABSENT, Labelled

COLUMNS = ("sentence", "word", "label")
SHOWN = 5
"""Faults of a kind that a message names."""

LARGEST = 2**28
"""Bytes of the largest file that is read."""

Row = tuple[int, Mapping[str, Any]]


def read_labels(path: str | Path, prompts: Labelled, *, name: str = "") -> Labels:
    """Labels of words from a file of one's own.

    The file is a CSV (with a header) or JSONL with the columns `sentence` (the `sent_id` of a passage: of its first
    sentence), `word` (its number in the passage, from 1) and `label` (empty where the word has none). Every word of
    every passage must have a row: a file that is a row short is shifted more often than it is incomplete.

    Args:
        path: of the file.
        prompts: gold text in a model's tokens.
        name: what to call the labels; by default the file's name.

    Returns:
        The labels of the words that the tokenizer did not lose.

    Raises:
        UsageError: with every fault at once: rows of no passage, words that are missing, given twice or beyond the end
            of their passage, or fewer than two labels.

    Example:
        >>> from headscope.corpora import Passage, Word
        >>> words = (Word(form="Hi", upos="", head=-1, rel="", start=0, end=2),)
        >>> tokens = torch.ones(1, 1, dtype=torch.long)
        >>> prompts = Labelled(task="own", tokens=tokens, mask=tokens > 0, groups=tokens[0],
        ...                    passages=(Passage(text="Hi", words=words, name="one"),), spans=torch.tensor([[[0, 1]]]))
        >>> read_labels("none.csv", prompts)
        Traceback (most recent call last):
        headscope.errors.UsageError: label file 'none.csv', which cannot be read (No such file or directory)
          expected: a CSV or JSONL file
          to fix it: check the path
    """
    rows = _rows(Path(path))
    twice = len(prompts.passages) - len({passage.name for passage in prompts.passages})
    if twice:
        given_text = f"a label file for {len(prompts.passages)} passages, {twice} of which have the name of another"
        raise UsageError(given_text, "a sent_id of its own for every passage", "add sent_id comments to the treebank")
    given: dict[tuple[str, str], str] = {}
    faults: dict[str, list[str]] = {}
    numbers = {(passage.name, str(index + 1)) for passage in prompts.passages for index in range(len(passage.words))}
    names = {passage.name for passage in prompts.passages}
    for line, row in rows:
        missing = [column for column in COLUMNS if row.get(column) is None]
        key = (_shown(row.get("sentence")), _shown(row.get("word")))
        if missing:
            faults.setdefault(f"rows without {', '.join(missing)}", []).append(f"row {line}")
        elif key[0] not in names:
            faults.setdefault("rows of a sentence that is not among the passages", []).append(
                f"row {line}: {key[0]!r:.60}"
            )
        elif key not in numbers:
            faults.setdefault("words beyond their passage", []).append(
                f"row {line}: word {key[1]:.20} of {key[0]!r:.60}"
            )
        elif key in given:
            faults.setdefault("words with two rows", []).append(f"row {line}: word {key[1]:.20} of {key[0]!r:.60}")
        else:
            given[key] = _shown(row["label"]).strip()
    absent = [f"word {word} of {sentence!r}" for sentence, word in _ordered(prompts) if (sentence, word) not in given]
    if absent:
        faults["words without a row"] = absent
    _settle(Path(path), len(rows), len(numbers), faults)
    return _labels(prompts, given, name or Path(path).stem)


def _shown(cell: Any) -> str:
    try:
        return str(cell)
    except (ValueError, RecursionError):  # a number of more digits than are written out, or lists within lists
        return f"a {type(cell).__name__}"


def _ordered(prompts: Labelled) -> list[tuple[str, str]]:
    return [(passage.name, str(index + 1)) for passage in prompts.passages for index in range(len(passage.words))]


def _rows(path: Path) -> list[Row]:
    text = _text(path)
    if path.suffix.lower() not in {".jsonl", ".json", ".ndjson"}:
        return _table(path, text)
    found: list[Row] = []
    for line, content in enumerate(text.split("\n"), start=1):  # not splitlines: a cell may hold other line ends
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            given = f"label file {str(path)!r}, row {line}: no JSON object"
            raise UsageError(given, "one JSON object on every line", "correct this line")
        found.append((line, row))
    return found


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            kind = "is a folder" if path.is_dir() else "is no plain file"
            raise UsageError(
                f"label file {str(path)!r}, which {kind}", "a CSV or JSONL file", "give the path of a file"
            )
        if (size := path.stat().st_size) > LARGEST:
            given = f"label file {str(path)!r} of {size / 2**20:,.0f} MB"
            raise UsageError(given, f"at most {LARGEST / 2**20:,.0f} MB", "leave out rows that are not needed")
        return path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        given = f"label file {str(path)!r}, which cannot be read ({problem.strerror})"
        raise UsageError(given, "a CSV or JSONL file", "check the path") from None
    except ValueError:
        raise UsageError(f"label file {str(path)!r}, which is no UTF-8", "text in UTF-8", "save it as UTF-8") from None


def _table(path: Path, text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as problem:
        given = f"label file {str(path)!r}, row {reader.line_num}: {problem}"
        raise UsageError(given, "a CSV file with a header", "write the table with a CSV writer, or as JSONL") from None


def _settle(path: Path, rows: int, words: int, faults: Mapping[str, list[str]]) -> None:
    if not faults:
        return
    told = []
    for fault, where in faults.items():
        more = f" and {len(where) - SHOWN} more" if len(where) > SHOWN else ""
        told.append(f"{len(where)} {fault} ({'; '.join(where[:SHOWN])}{more})")
    raise UsageError(
        f"label file {str(path)!r} of {rows} rows for {words} words: {'; '.join(told)}",
        "one row for every word of every passage: its sentence (sent_id), its number from 1, and its label",
        "write the file anew from the same treebank; leave the label empty where a word has none",
    )


def _labels(prompts: Labelled, given: Mapping[tuple[str, str], str], name: str) -> Labels:
    rows = [
        (example, prompts.spans[example, index].tolist(), given[passage.name, str(index + 1)], word.form.lower())
        for example, passage in enumerate(prompts.passages)
        for index, word in enumerate(passage.words)
        if given[passage.name, str(index + 1)] and int(prompts.spans[example, index, 0]) != ABSENT
    ]
    classes = {row[2] for row in rows}
    if len(classes) < 2:
        given_text = f"label file for {name!r} with {len(classes)} classes among the words that the tokenizer knows"
        raise UsageError(given_text, "two or more classes to tell apart", "label more words")
    return Labels(
        name=name, about="from a file", prompts=prompts, example=torch.tensor([row[0] for row in rows]),
        spans=torch.tensor([[row[1]] for row in rows]), values=tuple(row[2] for row in rows),
        types=tuple(row[3] for row in rows),
    )  # fmt: skip
