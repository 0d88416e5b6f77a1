"""One cell as one safetensors file: arrays, what they are, and a checksum over every byte of the file."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headscope.cells.keys import key_of
from headscope.frames import check_plain

SCHEMA = 1
"""Of the files; part of every key."""
LARGEST = 2**31
"""Bytes of the largest cell that is read."""

_NO_SUM = "0" * 64
_SUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')


class Damaged(ValueError):
    """A cell's file that is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """A result with what it is.

    Attributes:
        kind: such as `values`.
        what: everything that determines it; its hash is the key.
        notes: what else must be known of it, as JSON: such as why it is empty.
        arrays: the result.
    """

    kind: str
    what: Mapping[str, Any]
    notes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def key(self) -> str:
        """What the cell is called: 64 hexadecimal digits."""
        return key_of({"schema": SCHEMA, "kind": self.kind, "what": self.what})


def dump(cell: Cell) -> bytes:
    """The file of a cell: safetensors whose metadata hold what it is and the SHA-256 of the file.

    The checksum is of the file with 64 zeros in its own place, so that no byte is outside it.

    Args:
        cell: the result.

    Returns:
        The bytes of the file.

    Example:
        >>> cell = Cell(kind="example", what={"a": 1}, arrays={"x": np.arange(3)})
        >>> parse(dump(cell)).arrays["x"].tolist()
        [0, 1, 2]
    """
    from safetensors.numpy import save

    about = {"schema": SCHEMA, "key": cell.key, "kind": cell.kind, "what": cell.what, "notes": cell.notes}
    arrays = {name: np.ascontiguousarray(array) for name, array in cell.arrays.items()}
    # An array that safetensors holds in another byte order would come back as other numbers.
    arrays = {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in arrays.items()}
    blank = save(arrays, metadata={"about": json.dumps(about), "sha256": _NO_SUM})
    return _with_sum(blank, hashlib.sha256(blank).hexdigest())


def read(path: Path) -> Cell:
    """The cell in a file.

    Args:
        path: the file.

    Raises:
        Damaged: if it is no plain file, larger than `LARGEST`, or as for `parse`.
        OSError: if it cannot be read.
    """
    try:
        check_plain(path, most=LARGEST)
    except ValueError as problem:
        raise Damaged(str(problem)) from problem
    return parse(path.read_bytes())


def parse(data: bytes) -> Cell:
    """What `dump` wrote.

    Args:
        data: the bytes of the file.

    Raises:
        Damaged: if any byte is not as it was written, or the cell is not what its key says.

    Example:
        >>> parse(dump(Cell(kind="example", what={"a": 1}))[:-1])
        Traceback (most recent call last):
        headscope.cells.file.Damaged: the checksum does not fit: the file was cut short or changed
    """
    found = _SUM.search(data, 8, _header_end(data))
    if found is None:
        raise Damaged("there is no checksum in its header: this is no cell of headscope")
    if hashlib.sha256(_with_sum(data, _NO_SUM)).hexdigest().encode() != found[1]:
        raise Damaged("the checksum does not fit: the file was cut short or changed")
    try:
        return _told(data)
    except Damaged:
        raise
    except Exception as problem:  # a checksum is no signature: what else wrote the file may have written anything
        reason = " ".join(str(problem).split())
        raise Damaged(f"it holds no cell ({type(problem).__name__}: {reason:.200})") from problem


def _told(data: bytes) -> Cell:
    from safetensors.numpy import load

    header = json.loads(data[8 : _header_end(data)])
    about = json.loads(header["__metadata__"]["about"])
    if about["schema"] != SCHEMA:
        raise Damaged(f"it is of schema {about['schema']!r:.40}, not {SCHEMA}: another headscope wrote it")
    if not (isinstance(about["kind"], str) and all(isinstance(about[name], dict) for name in ("what", "notes"))):
        raise Damaged("it does not say what it is")
    cell = Cell(kind=about["kind"], what=about["what"], notes=about["notes"], arrays=load(data))
    if cell.key != about["key"]:
        raise Damaged("its key is not the hash of what it says it is")
    return cell


def _header_end(data: bytes) -> int:
    return min(len(data), 8 + int.from_bytes(data[:8], "little"))


def _with_sum(data: bytes, digest: str) -> bytes:
    found = _SUM.search(data, 8, _header_end(data))
    if found is None:
        raise Damaged("there is no checksum in its header: this is no cell of headscope")
    return data[: found.start(1)] + digest.encode() + data[found.end(1) :]
