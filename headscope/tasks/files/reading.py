"""Reading files that people give: what is wrong with them, told for every row at once."""

import codecs
import csv
import difflib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from headscope.errors import UsageError
from headscope.tasks.entries import told

SHOWN = 10
"""Rows that a message names for each fault."""

LARGEST = 2**30
"""Bytes of the largest file that is read: a larger one is no such file, or would fill the memory."""

FAULTS: dict[str, tuple[str, str]] = {
    "bytes that are no UTF-8": (
        "text in UTF-8",
        "save the file as UTF-8, such as with: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    ),
    "broken JSON": ("one JSON object on every line", "correct these lines, or leave them out"),
    "broken XML": ("well-formed XML", "fetch the file again"),
    "broken quotes": (
        'cells with commas or quotes in double quotes, and quotes in them doubled: "a ""b"", c"',
        "write the table with a CSV writer, or as JSONL",
    ),
    "ragged rows": (
        "as many cells in every row as in the header",
        "put cells with commas into double quotes, and leave empty cells empty",
    ),
    "columns of one name": ("each column once", "rename or leave out all but one"),
    "missing columns": ("every column that the format asks for", "add the columns, or name the right format"),
    "misspelt columns": ("names of columns as they are known", "rename them"),
    "no rows": ("one row or more", "give rows"),
    "empty cells": ("a cell with text wherever the format asks for one", "fill them in, or leave the rows out"),
    "cells of another kind": (
        "text in double quotes, or what the format says",
        "write numbers that are words as text, token ids as lists of whole numbers",
    ),
    "contradictions": (
        "the same right answers wherever the same clean prompt stands",
        "leave one of the rows out, or separate answers that are all right by |",
    ),
    "no published format": ("a file in a format that headscope list tasks names", "name the right format"),
    "unknown choices": ("a right answer that is one of the choices", "correct these rows"),
    "repeated choices": ("choices with different labels", "correct these rows"),
    "no answers": ("right answers", "take the development file: the test file is published without answers"),
    "nothing to predict": ("texts of two words or more, of which the last is predicted", "leave these rows out"),
    "templates": ("templates with {} once, where the subject stands", "correct these rows"),
    "blanks": ("one blank, written _", "correct these rows"),
}
"""What can be wrong with the rows of a file: for each what was expected and what to do."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong so far with one file or table.

    Attributes:
        name: what messages call it.
        found: fault -> the rows that have it.
    """

    name: str
    found: dict[str, list[str]] = field(default_factory=dict)

    def say(self, fault: str, where: str) -> None:
        """Note one row.

        Args:
            fault: a key of `FAULTS`.
            where: the row, and what is wrong there.
        """
        self.found.setdefault(fault, []).append(where)

    def settle(self) -> None:
        """Raise UsageError with all that was noted, if anything was.

        Example:
            >>> faults = Faults("file 'mine.csv'")
            >>> for row in (4, 9):
            ...     faults.say("ragged rows", f"row {row}: 2 cells, not 3")
            >>> faults.settle()
            Traceback (most recent call last):
            headscope.errors.UsageError: file 'mine.csv': ragged rows: row 4: 2 cells, not 3; row 9: 2 cells, not 3
              expected: as many cells in every row as in the header
              to fix it: put cells with commas into double quotes, and leave empty cells empty
        """
        if self.found:
            given, expected, fix = told(self.found, FAULTS, SHOWN)
            raise UsageError(f"{self.name}: {given}", expected, fix)


def path_of(place: str | Path) -> Path:
    """A path in which `~` is the home folder; that of an unknown user stays as it is.

    Args:
        place: as it was typed.
    """
    return Path(os.path.expanduser(place))  # noqa: PTH111 - Path's own raises where there is no such user


def is_sound(text: str) -> bool:
    r"""Whether a text can be written in UTF-8: half of a surrogate pair cannot, and no tokenizer reads it.

    Args:
        text: any text.

    Example:
        >>> is_sound("caf\u00e9"), is_sound("\ud800")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Args:
        path: of a plain file; a pipe is refused, for files are read more than once.

    Raises:
        UsageError: if it is not there, no plain file, too large, empty or cannot be read.
    """
    try:
        _check_plain(path)
        if path.stat().st_size > LARGEST:
            size = f"{path.stat().st_size / 2**30:.1f} GiB"
            _refuse(path, f"has {size}", "at most 1 GiB", "leave out rows that are not needed")
        data = path.read_bytes()
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})", "a file that may be read", "check its permissions")
    if not data.strip():
        _refuse(path, "is empty", "one row or more", "check the path, or fetch the file again")
    return data


def _check_plain(path: Path) -> None:
    if path.is_dir():
        _refuse(path, "is a folder", "the path of a file", "name a file in it")
    if not path.exists():
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, 1)
        meant = f"did you mean {str(path.with_name(near[0]))!r}?" if near else "check the path"
        _refuse(path, "does not exist", "the path of a file", meant)
    if not path.is_file():
        _refuse(path, "is no plain file", "a plain file, for it is read twice", "write what it gives to a file")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte-order mark.

    Args:
        path: as for `read_bytes`.

    Raises:
        UsageError: as for `read_bytes`, or if it is no text or not in UTF-8: then with every row that is not.
    """
    data = read_bytes(path)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        _refuse(path, "is in UTF-16", *FAULTS["bytes that are no UTF-8"])
    if b"\0" in data or data.startswith((b"\x1f\x8b", b"PK\x03\x04", b"%PDF")):
        _refuse(path, "is binary or compressed", "a text file in UTF-8", "unpack it, or export it as CSV or JSONL")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        _tell_bytes(path, data)
        raise


def _tell_bytes(path: Path, data: bytes) -> None:
    faults = Faults(f"file {str(path)!r}")
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            shown = line[max(0, error.start - 12) : error.start + 1]
            faults.say("bytes that are no UTF-8", f"row {number}: byte {line[error.start]:#04x} in {shown!r}")
    faults.settle()


def _refuse(path: Path, given: str, expected: str, fix: str) -> NoReturn:
    raise UsageError(f"file {str(path)!r}, which {given}", expected, fix)


def json_lines(faults: Faults, text: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with the number of its line; empty lines are passed over.

    Args:
        faults: collects lines that are no objects.
        text: the file's content.

    Example:
        >>> json_lines(Faults("f"), '{"text": "a b"}\\n\\n{"text": "c d"}')
        [('row 1', {'text': 'a b'}), ('row 3', {'text': 'c d'})]
    """
    if text.lstrip().startswith("["):
        faults.say("broken JSON", "row 1: a list, not one object on each line (jq -c '.[]' OLD > NEW makes it so)")
        return []
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: a text may hold other line ends
        if not line.strip():
            continue
        where = f"row {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            faults.say("broken JSON", f"{where}: {getattr(error, 'msg', 'too deep or too long')}{column}")
            continue
        if "\\u" in line and not is_sound(json.dumps(record, ensure_ascii=False)):
            faults.say("broken JSON", f"{where}: half of a surrogate pair")
        elif isinstance(record, dict):
            rows.append((where, record))
        else:
            faults.say("broken JSON", f"{where}: no object: {line.strip():.40}")
    if not rows and not faults.found:
        faults.say("no rows", "nothing but empty lines")
    return rows


def csv_rows(faults: Faults, text: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header, every cell as it is written, each with the line where it begins.

    Cells are separated by what separates the header: comma, semicolon or tab. Nothing is taken for a number or for
    missing: `NA`, `None`, `null` and `01` are texts. The header is row 1.

    Args:
        faults: collects ragged rows, broken quotes and repeated columns.
        text: the file's content.

    Example:
        >>> csv_rows(Faults("f"), 'clean,answer\\n"a, b",NA\\n')
        [('row 2', {'clean': 'a, b', 'answer': 'NA'})]
    """
    lines = _cells(faults, text)
    header = [name.strip() for name in next(lines, (1, [""]))[1]]
    for name in {name for name in header if header.count(name) > 1}:
        faults.say("columns of one name", repr(name))
    rows = []
    for number, cells in lines:
        if len(cells) == len(header):
            rows.append((f"row {number}", dict(zip(header, cells, strict=True))))
        else:
            faults.say("ragged rows", f"row {number}: {len(cells)} cells, not {len(header)}")
    if not rows and not faults.found:
        faults.say("no rows", "only a header")
    return rows


def _cells(faults: Faults, text: str) -> Iterator[tuple[int, list[str]]]:
    first = text.lstrip().partition("\n")[0]
    comma = max(",;\t", key=first.count)  # the first of equals
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.say("broken quotes", f"row {number}: {error}")
            continue
        if cells:
            yield number, cells
