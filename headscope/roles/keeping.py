"""What a step of a study found, as arrays and back: no pickle, and every number to its last bit."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headscope.cells import packed, unpacked
from headscope.grid import Grid
from headscope.roles.tally import About, Sums, Tally

Arrays = Mapping[str, np.ndarray]

WHOLE, EQUAL, SPREAD = "whole", "equal", "spread"
"""How an array is kept: as it is; as one column, where all heads have the same numbers; and as one column which is all
that it was in memory, too."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """What a step found.

    Attributes:
        told: what is told of it, as JSON.
        cases: its evidence, as sums over groups.
    """

    told: Mapping[str, Any]
    cases: tuple[Tally, ...]


class Writer:
    """Arrays under names, each once: those of one role's cases often count the same instances."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[Any, str] = {}

    def put(self, array: np.ndarray) -> list[str]:
        """Where an array is found again.

        Args:
            array: numbers; of two dimensions with a column for each head.
        """
        form = _form(array)
        whole = _narrow(np.ascontiguousarray(array if form == WHOLE else array[:, :1]))
        mark = whole.dtype.str, whole.shape, hashlib.sha256(whole.tobytes()).digest()
        name = self._names.setdefault(mark, str(len(self._names)))
        self.arrays.setdefault(name, whole)
        return [name, form, array.dtype.name]


def _form(array: np.ndarray) -> str:
    if array.ndim != 2 or array.shape[1] < 2 or not len(array):
        return WHOLE
    if array.strides[1] == 0:
        return SPREAD
    bits = np.ascontiguousarray(array).view(f"u{array.itemsize}")  # 0 and -0 are not the same bits
    return EQUAL if bool((bits == bits[:, :1]).all()) else WHOLE


def _narrow(array: np.ndarray) -> np.ndarray:
    """Counts in fewer bytes, where each comes back as it was."""
    if array.dtype not in (np.float64, np.int64) or not len(array) or not np.abs(array).max() < 2**15:
        return array
    small = array.astype(np.int16)
    return small if small.astype(array.dtype).tobytes() == array.tobytes() else array


class Reader:
    """The arrays of a cell as they were before they were kept.

    Args:
        arrays: of the cell.
        units: how many heads there are.
    """

    def __init__(self, arrays: Arrays, units: int) -> None:
        self.arrays, self.units = arrays, units
        self._made: dict[tuple[str, str, str], np.ndarray] = {}

    def get(self, place: Any, *, columns: bool = True) -> np.ndarray:
        """An array, shared by all who had the same.

        Args:
            place: what `Writer.put` gave.
            columns: it has a column for each head.

        Raises:
            ValueError: if it has another shape.
            LookupError: if it is not there.
        """
        name, form, kind = place
        if (name, form, kind) not in self._made:
            self._made[name, form, kind] = self._wide(self.arrays[name], form, np.dtype(kind))
        array = self._made[name, form, kind]
        if array.ndim != 1 + columns or (columns and array.shape[1] != self.units):
            raise ValueError(f"array {name} of shape {array.shape} for {self.units} heads")
        return array

    def _wide(self, array: np.ndarray, form: str, kind: np.dtype) -> np.ndarray:
        if kind.kind not in "fi" or array.dtype.kind not in "fi":
            raise ValueError(f"an array of {array.dtype} kept as {kind}")
        array = array.astype(kind, copy=False)
        if form == WHOLE:
            return array
        if array.ndim != 2 or array.shape[1] != 1:
            raise ValueError(f"an array of shape {array.shape} where a column is expected")
        wide = np.broadcast_to(array, (len(array), self.units))
        return wide if form == SPREAD else np.ascontiguousarray(wide)


def pack(taken: Taken) -> dict[str, np.ndarray]:
    """What a step found, as arrays.

    Args:
        taken: what it found.
    """
    writer = Writer()
    cases = [_case_in(writer, each) for each in taken.cases]
    return packed({"told": dict(taken.told), "cases": cases}) | writer.arrays


def unpack(arrays: Arrays, grid: Grid) -> Taken:
    """What `pack` was given.

    Args:
        arrays: of a cell.
        grid: the model's layers and heads.

    Raises:
        LookupError: if a part is missing.
        ValueError: if a part is of another shape.
        TypeError: if a part is of another kind.
    """
    record, reader = unpacked(arrays), Reader(arrays, grid.size)
    return Taken(told=dict(record["told"]), cases=tuple(_case_from(reader, each, grid) for each in record["cases"]))


_WORDS = ("role", "case", "unit", "reason")
_COLUMNS, _ROWS = ("value", "reference", "count"), ("alone", "known")


def _case_in(writer: Writer, case: Tally) -> dict[str, Any]:
    about = case.about
    words = {name: getattr(about, name) for name in _WORDS}
    return words | {
        "groups": writer.put(about.groups),
        "also": {name: writer.put(each.ravel()) for name, each in about.also.items()},
        "value": writer.put(case.value), "count": writer.put(case.count), "names": writer.put(case.names),
        "baselines": {name: _sums_in(writer, each) for name, each in case.baselines.items()},
        "null": None if case.null is None else _sums_in(writer, case.null),
    }  # fmt: skip


def _sums_in(writer: Writer, sums: Sums) -> dict[str, list[str]]:
    return {name: writer.put(getattr(sums, name)) for name in (*_COLUMNS, *_ROWS)}


def _case_from(reader: Reader, record: Mapping[str, Any], grid: Grid) -> Tally:
    names = reader.get(record["names"], columns=False)
    also = {
        str(name): reader.get(place, columns=False).reshape(grid.layers, grid.heads)
        for name, place in record["also"].items()
    }
    sums = {str(name): _sums_from(reader, each, len(names)) for name, each in record["baselines"].items()}
    null = None if record["null"] is None else _sums_from(reader, record["null"], len(names))
    value, count = (_columns(reader, record[name], len(names)) for name in ("value", "count"))
    about = About(
        **{name: str(record[name]) for name in _WORDS}, groups=reader.get(record["groups"], columns=False), also=also
    )
    return Tally(about=about, value=value, count=count, baselines=sums, null=null, names=names)


def _sums_from(reader: Reader, record: Mapping[str, Any], groups: int) -> Sums:
    columns = {name: _columns(reader, record[name], groups) for name in _COLUMNS}
    rows = {name: reader.get(record[name], columns=False) for name in _ROWS}
    if any(len(row) != groups for row in rows.values()):
        raise ValueError(f"sums of {[len(row) for row in rows.values()]} groups where there are {groups}")
    return Sums(**columns, **rows)


def _columns(reader: Reader, place: Any, groups: int) -> np.ndarray:
    array = reader.get(place)
    if len(array) != groups:
        raise ValueError(f"sums of {len(array)} groups where there are {groups}")
    return array
