"""Pairs from a table of one's own: a data frame, CSV, JSONL or Parquet."""

import difflib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from headscope import provenance
from headscope.errors import UsageError
from headscope.frames import read_frame
from headscope.prompts import Pairs
from headscope.tasks.entries import Job, read_example
from headscope.tasks.files.choosing import joined
from headscope.tasks.files.reading import SHOWN, Faults, csv_rows, is_sound, json_lines, path_of, read_bytes, read_text
from headscope.tasks.own import Metric, settle
from headscope.tasks.words import Reader

COLUMNS = {
    **{"clean": "clean", "corrupted": "corrupted", "answer": "answer", "answers": "answer"},
    **{"foil": "foil", "foils": "foil", "group": "group", "groups": "group"},
}
"""A column's name -> what is in it."""

POSITION = "position:"
"""How the name of a column of positions begins; the position's own name follows."""

Records = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a table of pairs.

    Attributes:
        where: what messages call it.
        row: clean, corrupted, answers and foils, as `headscope.pairs` takes them.
        group: examples of equal groups are resampled together; None where it says nothing.
        places: named positions, as `headscope.pairs` takes them.
    """

    where: str
    row: tuple[Any, Any, list[Any], list[Any]]
    group: Any
    places: dict[str, Any]


def from_table(
    table: Any, model: Reader, *, metric: Metric | None = None, task: str = "own",
    source: str = "",
) -> Pairs:  # fmt: skip
    """Pairs from the rows of a table of one's own; also `Pairs.from_table`.

    Columns: `clean`, `corrupted` and `answer`; where wanted `foil`, `group`, and `position:NAME` for a named position.
    Several answers (or foils) of one prompt are separated by `|`; in JSONL and in frames they may be a list instead,
    and a list of whole numbers is token ids. A position is a word of the clean prompt or a token index from 0; `end` is
    where the metric reads. Rows with equal clean prompts are put into one group, whatever their groups are, so that no
    half of a held-out split knows the other. Texts stay as they are: `NA`, `None` and `01` are words. Answers, metric
    and special tokens are as in `headscope.pairs`.

    Rows are called by the number of the line on which they begin, the header being row 1; those of a frame and of
    Parquet by their number from 0.

    Args:
        table: a data frame, or the path of a CSV (comma, semicolon or tab), JSONL or Parquet file.
        model: whose tokenizer the prompts are made for.
        metric: as for `headscope.pairs`.
        task: what to call them.
        source: where they come from; by default the file's name and sha256.

    Returns:
        Pairs in the order of the rows. Cost: no forward passes.

    Raises:
        UsageError: if the table is ragged, mis-encoded, lacks columns or cells, or contradicts itself: every row at
            once.
        TaskError: if the tokenizer or the model cannot take rows: every row at once.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=9, vocabulary=50, encode=list)
        >>> frame = pd.DataFrame({"clean": [[5, 6]], "corrupted": [[5, 9]], "answer": [[8]], "foil": [[7]]})
        >>> made = from_table(frame, model)
        >>> made.tokens.tolist(), made.answers.tolist(), made.metric
        ([[5, 6]], [[8]], 'logit_difference')
        >>> from_table(frame.drop(columns="answer"), model)
        Traceback (most recent call last):
        headscope.errors.UsageError: table: missing columns: 'answer', beside clean, corrupted, foil
          expected: every column that the format asks for
          to fix it: add the columns, or name the right format
    """
    if isinstance(table, (str, Path)) and not source:
        path = path_of(table)
        source = f"{path.name}, sha256 {provenance.digest(read_bytes(path))[:16]}"
    return make(read(table), model, metric=metric, task=task, source=source)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table of pairs, in words.

    Attributes:
        entries: one for each row.
        notes: columns that were not read, and repeated prompts.
    """

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def read(table: Any) -> Table:
    """The rows of a table of pairs, without looking at any tokenizer.

    Args:
        table: as for `from_table`.

    Raises:
        UsageError: with everything that is wrong with it.
    """
    faults = Faults("table" if isinstance(table, pd.DataFrame) else f"file {str(table)!r}")
    records = read_records(faults, table, COLUMNS, needed=("clean", "corrupted", "answer"))
    foiled = any(not _absent(record.get("foil")) for _, record in records)
    entries = tuple(_entry(faults, where, record, foiled=foiled) for where, record in records)
    if not faults.found:
        _check_contradictions(faults, entries)
    faults.settle()
    names = dict.fromkeys(name for _, record in records for name in record)
    unread = [name for name in names if name and name not in COLUMNS.values() and not name.startswith(POSITION)]
    notes = [f"columns not read: {', '.join(unread)}"] if unread else []
    repeated = len(entries) - len({str(entry.row[0]) for entry in entries})
    notes += [f"{repeated} rows repeat a clean prompt and share its group"] if repeated else []
    return Table(entries, tuple(notes))


def make(table: Table, model: Reader, *, metric: Metric | None = None, task: str = "own", source: str = "") -> Pairs:
    """The rows of a table as Pairs.

    Args:
        table: from `read`.
        model: whose tokenizer the prompts are made for.
        metric: as for `headscope.pairs`.
        task: what to call them.
        source: where they come from.

    Raises:
        TaskError: with every row that the tokenizer or the model cannot take.
    """
    job = Job(model, task, shown=SHOWN)
    entries, foiled = table.entries, any(entry.row[3] for entry in table.entries)
    examples = [read_example(job, each.where, each.row, each.places, foiled=foiled) for each in entries]
    groups = joined([each.group for each in entries], [str(each.row[0]) for each in entries])
    ended = any("end" in entry.places for entry in entries)
    made = settle(job, examples, groups, metric=metric, foiled=foiled, ended=ended, source=source)
    return replace(made, notes=(*made.notes, *table.notes))


def build(table: Table, model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """Some rows of a table as Pairs; all rows are checked.

    Args:
        table: from `read`.
        model: whose tokenizer the prompts are made for.
        n: how many rows; all, if there are not so many.
        rng: draws them.
        task: what to call them.

    Raises:
        TaskError: as for `make`.
    """
    made = make(table, model, task=task)
    if len(made) <= n:
        return made
    chosen = made.select(torch.as_tensor(np.sort(rng.permutation(len(made))[:n])))
    return replace(chosen, notes=(*made.notes, f"{n} of {len(made)} rows, drawn at random"))


def read_records(faults: Faults, table: Any, columns: Mapping[str, str], *, needed: Sequence[str]) -> Records:
    """The rows of a table with its columns under their usual names.

    Args:
        faults: collects what is wrong with the rows and columns.
        table: a frame, or the path of a CSV, JSONL or Parquet file.
        columns: the names that are known -> their usual names.
        needed: usual names that the table must have.
    """
    records = _records(faults, table)
    names = list(dict.fromkeys(name for _, record in records for name in record))
    known = {name: columns.get(name.lower(), name) for name in names}
    have = set(known.values())
    for name in names:
        wrong = known[name] not in columns.values() and not name.startswith(POSITION)
        near = difflib.get_close_matches(name.lower(), columns, 1, cutoff=0.75) if wrong and name else []
        if near and columns[near[0]] not in have:
            faults.say("misspelt columns", f"{name!r}, did you mean {columns[near[0]]!r}?")
            have.add(columns[near[0]])
    for name in {name for name in have if list(known.values()).count(name) > 1}:
        faults.say("columns of one name", repr(name))
    for name in needed if records else ():
        if name not in have:
            faults.say("missing columns", f"{name!r}, beside {', '.join(filter(None, names))}")
    if any(name not in known.values() for name in needed):
        faults.settle()
    return [(where, {known[name]: cell for name, cell in record.items()}) for where, record in records]


def _records(faults: Faults, table: Any) -> Records:
    if isinstance(table, (str, Path)):
        path = path_of(table)
        if read_bytes(path).startswith(b"PAR1"):
            table = _parquet(path)
        else:
            text = read_text(path)
            jsonl = text.lstrip().startswith(("{", "["))
            return json_lines(faults, text) if jsonl else list(csv_rows(faults, text))
    if not isinstance(table, pd.DataFrame):
        raise UsageError(
            f"a table that is a {type(table).__name__}",
            "a pandas DataFrame, or the path of a CSV, JSONL or Parquet file",
            "make one with pandas.DataFrame(rows)",
        )
    names = [str(name) for name in table.columns]
    for name in {name for name in names if names.count(name) > 1}:
        faults.say("columns of one name", repr(name))
    if table.empty:
        faults.say("no rows", "none")
    cells = zip(*(table.iloc[:, at].tolist() for at in range(len(names))), strict=True)
    return [(f"row {number}", dict(zip(names, row, strict=True))) for number, row in enumerate(cells)]


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return read_frame(path)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"file {str(path)!r}: {reason}", "a whole Parquet file", "write it again") from error


def _absent(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)) or cell is pd.NaT


def _entry(faults: Faults, where: str, record: Mapping[str, Any], *, foiled: bool) -> Entry:
    prompts = [_prompt(faults, where, name, record.get(name)) for name in ("clean", "corrupted")]
    answers = _members(faults, where, "answer", record.get("answer"))
    foils = _members(faults, where, "foil", record.get("foil")) if foiled else []
    places = {}
    for name, cell in record.items():
        if name.startswith(POSITION):
            places[name.removeprefix(POSITION)] = _place(faults, where, name, cell)
    group = record.get("group")
    if not isinstance(group, Hashable):
        faults.say("cells of another kind", f"{where}: 'group' is {group!r:.40}")
        group = None
    return Entry(where, (prompts[0], prompts[1], answers, foils), None if _absent(group) else group, places)


def _prompt(faults: Faults, where: str, name: str, cell: Any) -> Any:
    cell = cell.tolist() if isinstance(cell, np.ndarray) else cell
    if _absent(cell) or cell == []:
        faults.say("empty cells", f"{where}: {name!r}")
    elif not _readable(cell):
        faults.say("cells of another kind", f"{where}: {name!r} is {cell!r:.40}")
    return cell


def _readable(cell: Any) -> bool:
    return is_sound(cell) if isinstance(cell, str) else _ids(cell)


def _ids(cell: Any) -> bool:
    return isinstance(cell, (list, tuple)) and all(_whole(each) for each in cell)


def _whole(cell: Any) -> bool:
    return isinstance(cell, Integral) and not isinstance(cell, bool)


def _members(faults: Faults, where: str, name: str, cell: Any) -> list[Any]:
    """The answers (or foils) of a cell, as `headscope.pairs` takes them."""
    cell = cell.tolist() if isinstance(cell, np.ndarray) else cell
    if isinstance(cell, str):
        found: list[Any] = cell.split("|")
    elif isinstance(cell, (list, tuple)):
        found = [list(cell)] if _ids(cell) and len(cell) else list(cell)
    else:
        found = [] if _absent(cell) else [cell]
    if not found or any(_absent(each) or each == [] for each in found):
        faults.say("empty cells", f"{where}: {name!r}" + (f" has an empty part in {cell!r:.40}" if found else ""))
    elif strange := [each for each in found if not _readable(each)]:
        faults.say("cells of another kind", f"{where}: {name!r} is {strange[0]!r:.40}")
    return found


def _place(faults: Faults, where: str, name: str, cell: Any) -> int | str | None:
    if _absent(cell):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # pandas makes a column of whole numbers with gaps so
    if isinstance(cell, str):
        # No prompt has a place of so many digits, and Python would not read many more.
        return int(cell) if cell.strip().isdecimal() and len(cell) < 20 else cell.strip()
    if not _whole(cell):
        faults.say("cells of another kind", f"{where}: {name!r} is {cell!r:.40}")
        return None
    return int(cell)


def _check_contradictions(faults: Faults, entries: Sequence[Entry]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(str(entry.row[0]), entry)
        ours, theirs = (sorted({str(each).strip() for each in one.row[2]}) for one in (entry, other))
        if ours != theirs:
            faults.say("contradictions", f"{entry.where}: {' | '.join(ours)}, but {other.where}: {' | '.join(theirs)}")
