"""Tables and records as arrays, which is all that a cell holds: no pickle."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from headscope.frames import read_frame

RECORD = "record.json"
"""The array that holds a record's text."""


def packed(record: Any) -> dict[str, np.ndarray]:
    """A record of plain values as an array of bytes; NaN stays NaN, and every float comes back as it was.

    Args:
        record: what JSON can hold, and NaN.

    Example:
        >>> unpacked(packed({"a": [1, 0.1]}))
        {'a': [1, 0.1]}
    """
    return {RECORD: _bytes(json.dumps(record).encode())}


def unpacked(arrays: Mapping[str, np.ndarray]) -> Any:
    """What `packed` was given.

    Args:
        arrays: of a cell.

    Raises:
        LookupError: if there is no record in it.
        ValueError: if it is no JSON.
    """
    try:
        return json.loads(arrays[RECORD].tobytes())
    except RecursionError as problem:
        raise ValueError("a record with too many brackets within brackets") from problem


def row_from(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `packed` was given, where that is the row of a table: texts, numbers and truth values by name.

    Args:
        arrays: of a cell.

    Raises:
        LookupError: if there is no record in it.
        ValueError: if it is something else.

    Example:
        >>> row_from(packed({"accuracy": 0.5}))
        {'accuracy': 0.5}
        >>> row_from(packed([1]))
        Traceback (most recent call last):
        ValueError: a record that is no row of a table
    """
    found = unpacked(arrays)
    if not isinstance(found, dict) or not all(
        each is None or isinstance(each, (str, int, float)) for each in found.values()
    ):
        raise ValueError("a record that is no row of a table")
    return found


def frame_in(frame: pd.DataFrame) -> np.ndarray:
    """A table as the bytes of a parquet file.

    Args:
        frame: with columns of one type each.

    Example:
        >>> frame_from(frame_in(pd.DataFrame({"a": [1, 2], "b": ["x", None]})))["a"].tolist()
        [1, 2]
    """
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return _bytes(buffer.getvalue())


def frame_from(array: np.ndarray) -> pd.DataFrame:
    """What `frame_in` was given.

    Args:
        array: of a cell.
    """
    return read_frame(io.BytesIO(array.tobytes()))


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype=np.uint8)
