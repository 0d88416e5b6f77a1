"""Tables and records that other people wrote: read within bounds of memory, and checked for what they must hold."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from io import IOBase
from pathlib import Path
from typing import Any

import pandas as pd

MOST_ROWS = 5_000_000
"""Rows of the longest table that is read; a run of a model with 10,000 heads has some 100,000."""

LARGEST = 2**29
"""Bytes of a table in memory."""

LARGEST_RECORD = 2**26
"""Bytes of the largest record of JSON that is read: in memory it is some twenty times as large."""

_PIECE = 2**27
_KINDS = {
    "text": pd.api.types.is_string_dtype,
    "number": pd.api.types.is_numeric_dtype,
    "whole number": pd.api.types.is_integer_dtype,
    "truth value": pd.api.types.is_bool_dtype,
}


def check_plain(path: Path, *, most: int) -> None:
    """Raise unless a path is a file that has an end: no pipe or device, and no larger than what it may hold.

    Args:
        path: the file.
        most: bytes.

    Raises:
        OSError: if it cannot be looked at.
        ValueError: if it is no plain file, or too large.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError(f"{path.name} is no plain file")
    if size > most:
        raise ValueError(f"{path.name} has {size:,} bytes; the largest that is read has {most:,}")


def read_record(path: Path, *, most: int | None = None) -> dict[str, Any]:
    """An object of JSON from outside: no pipe, which would never end, and no more than memory holds.

    Args:
        path: the file.
        most: bytes; by default `LARGEST_RECORD`.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, no plain file, or too large.
        TypeError: if it is no object.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "run.json").write_text('{"schema": 1}')
        ...     read_record(Path(folder, "run.json"))
        {'schema': 1}
    """
    check_plain(path, most=LARGEST_RECORD if most is None else most)
    try:
        found = json.loads(path.read_bytes().decode("utf-8"))
    except RecursionError as problem:
        raise ValueError(f"{path.name} has too many brackets within brackets") from problem
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} holds no object, but a {type(found).__name__}")
    return found


def read_frame(source: str | Path | IOBase) -> pd.DataFrame:
    """A parquet table from outside.

    A file of a few kilobytes can stand for a table of terabytes, so its rows are counted first, and then read in small
    pieces for as long as they fit.

    Args:
        source: the path of the file, or what holds its bytes.

    Raises:
        FileNotFoundError: if it is not there; other errors of the disk likewise.
        ValueError: with one line that says why it is no table that can be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = Path(folder, "a.parquet")
        ...     pd.DataFrame({"head": [3, 1]}).to_parquet(place)
        ...     read_frame(place)["head"].tolist()
        [3, 1]
    """
    try:
        return _read(source)
    except OSError as problem:
        if problem.errno is not None:
            raise
        raise ValueError(_reason(problem)) from problem
    except Exception as problem:  # pyarrow and pandas raise nearly every built-in error, and pyarrow's own
        raise ValueError(_reason(problem)) from problem


def _read(source: str | Path | IOBase) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(source, (str, Path)) and Path(source).exists() and not Path(source).is_file():
        raise ValueError(f"{Path(source).name} is no plain file")
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(Path(source).open("rb")) if isinstance(source, (str, Path)) else source
        file = stack.enter_context(pq.ParquetFile(stream))
        if file.metadata.num_rows > MOST_ROWS:
            raise ValueError(f"a table of {file.metadata.num_rows:,} rows; the longest that is read has {MOST_ROWS:,}")
        pieces, size, rows = [], 0, 0
        for piece in file.iter_batches(_rows(file.metadata), use_threads=False):
            size, rows = size + piece.nbytes, rows + len(piece)
            if size > LARGEST or rows > MOST_ROWS:
                raise ValueError(f"a table of more than {LARGEST / 2**20:.0f} MiB in memory")
            pieces.append(piece)
        return pa.Table.from_batches(pieces, schema=file.schema_arrow).to_pandas()


def _rows(metadata: Any) -> int:
    """Rows of a piece: a text that stands in the file once may stand in every row of the table."""
    groups = (metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    return min(1024, max(64, _PIECE // max(1, max(groups, default=1))))


def columns_of(*, text: str = "", whole: str = "", number: str = "", truth: str = "") -> dict[str, str]:
    """The columns of a table and their kinds, as `check_columns` takes them.

    Args:
        text: names of columns of texts, with spaces between them.
        whole: of whole numbers.
        number: of numbers.
        truth: of truth values.

    Example:
        >>> columns_of(text="task unit", truth="flagged")
        {'task': 'text', 'unit': 'text', 'flagged': 'truth value'}
    """
    named = {"text": text, "whole number": whole, "number": number, "truth value": truth}
    return {name: kind for kind, names in named.items() for name in names.split()}


def check_columns(frame: pd.DataFrame, kinds: Mapping[str, str], *, name: str) -> None:
    """Raise ValueError unless a table has these columns, of these kinds.

    Args:
        frame: the table; one without rows may have columns of any kind.
        kinds: column -> `text`, `number`, `whole number` or `truth value`.
        name: what to call the table.

    Raises:
        ValueError: with every column that is missing, is there twice or is of another kind.

    Example:
        >>> check_columns(pd.DataFrame({"head": ["a"]}), {"head": "whole number", "layer": "number"}, name="scores")
        Traceback (most recent call last):
        ValueError: the table scores, whose column 'head' is no column of whole numbers; which lacks 'layer'
    """
    problems: list[str] = []
    for column, kind in kinds.items():
        count = list(frame.columns).count(column)
        if count != 1:
            problems.append(f"which lacks {column!r}" if not count else f"which has {column!r} {count} times")
        elif len(frame) and not _is(frame[column], kind):
            problems.append(f"whose column {column!r} is no column of {kind}s")
    if problems:
        raise ValueError(f"the table {name}, {'; '.join(problems)}")


def check_members(found: Any, allowed: Sequence[Any], *, name: str) -> None:
    """Raise ValueError unless every value is among those that may be.

    Args:
        found: values.
        allowed: those that may be.
        name: what they are.

    Raises:
        ValueError: with the first that may not be.

    Example:
        >>> check_members([1, 7], range(4), name="a layer")
        Traceback (most recent call last):
        ValueError: 7 as a layer
    """
    for value in found:
        if value not in allowed:
            raise ValueError(f"{value!r:.40} as {name}")


def _is(column: Any, kind: str) -> bool:
    if kind == "number" and pd.api.types.is_bool_dtype(column):
        return False
    if kind == "text" and isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return bool(_KINDS[kind](column)) and not (kind in ("text", "whole number", "truth value") and column.isna().any())


def _reason(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    told = [] if type(problem) is ValueError and lines else [type(problem).__name__]
    return ": ".join([*told, *(line[:300] for line in lines[:1])])
