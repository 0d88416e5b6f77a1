"""Spoil safetensors and parquet files in what they say about themselves."""

import io
import json
import random
from collections.abc import Sequence
from typing import Any

Draw = random.Random
LENGTHS = (0, 1, 7, 8, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
DTYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "U8",
    "BOOL",
    "F8_E4M3",
    "F8_E8M0",
    "F4",
    "F6_E2M3",
    "C64",
    "X",
    "",
    3,
    None,
)
SHAPES: tuple[Any, ...] = (
    [],
    [0],
    [-1],
    [2**63],
    [2**32, 2**32],
    [1, -4],
    [0, 2**62],
    [1.5],
    ["a"],
    None,
    "ab",
    [1] * 70,
)
OFFSETS: tuple[Any, ...] = (
    [0, 0], [4, 0], [-8, 8], [0, 2**63], [0, 2**64], [8, 2**62], [0], [0, 1, 2], [0.5, 8], None, "ab"
)  # fmt: skip


def length(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """Another length of the header."""
    own = int.from_bytes(data[:8], "little")
    chosen = rng.choice((*LENGTHS, own + 1, max(0, own - 1), own * 2, len(data)))
    return (chosen % 2**64).to_bytes(8, "little") + data[8:]


def header(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """Another type, shape, place or name of a tensor, in a header of the right length."""
    from fuzz.mutating import changed_value

    end = 8 + int.from_bytes(data[:8], "little")
    try:
        content = json.loads(data[8:end])
        name = rng.choice(list(content))
        entry = dict(content[name])
    except (ValueError, TypeError, IndexError, RecursionError):
        return length(rng, data, ())
    change = rng.randrange(6)
    if change == 0:
        entry["dtype"] = rng.choice(DTYPES)
    elif change == 1:
        entry["shape"] = rng.choice((*SHAPES, list(reversed(entry.get("shape") or [2]))))
    elif change == 2:
        entry["data_offsets"] = rng.choice((*OFFSETS, (content[rng.choice(list(content))] or {}).get("data_offsets")))
    elif change == 3:
        content[rng.choice(("", "../x", "x" * 5000, "\0", "__metadata__", "a.b.c"))] = dict(entry)
    elif change == 4:
        del content[name]
    content = changed_value(rng, content) if change == 5 else content if change == 4 else {**content, name: entry}
    text = json.dumps(content).replace('"@deep@"', "[" * 100_000).encode()
    text += b" " * rng.choice((0, 0, -len(text) % 8, 3000))
    return len(text).to_bytes(8, "little") + text + data[end:]


def footer(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """Flips where a parquet file says what is in it: the end."""
    out = bytearray(data)
    size = min(len(out), 8 + int.from_bytes(data[-8:-4], "little"))
    for _time in range(rng.choice((1, 1, 2, 6))):
        if size:
            out[len(out) - 1 - rng.randrange(size)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(out)


def columns(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """A table with other columns, types or rows, in a sound file."""
    import pandas as pd

    try:
        frame: Any = pd.read_parquet(io.BytesIO(data))
        return _changed(rng, frame).to_parquet(index=rng.random() < 0.2)
    except Exception:  # it was spoilt before, or cannot be written so
        return footer(rng, data, ())


def _changed(rng: Draw, frame: Any) -> Any:
    import numpy as np

    name = rng.choice(list(frame.columns))
    count = len(frame)
    values: tuple[Any, ...] = (
        "x", "", None, np.nan, np.inf, 0, -1, 1.5, 2**62, True, b"\xff", "\0", "2024-01-01", "../x", "</script>"
    )  # fmt: skip
    change = rng.randrange(8)
    if change == 0:
        return frame.drop(columns=name)
    if change == 1:
        return frame.rename(columns={name: rng.choice(("", "x", f"{name}s", *frame.columns))})
    if change == 2:
        return frame.assign(**{name: [rng.choice(values)] * count})
    if change == 3:
        return frame.assign(**{name: frame[rng.choice(list(frame.columns))]})
    if change == 4:
        return frame.iloc[: rng.choice((0, 1, count // 2))]
    if change == 5:
        return frame.sample(frac=rng.choice((0.3, 1, 2)), replace=True, random_state=rng.randrange(99))
    if change == 6:
        nested = rng.choice(([[1], [2, 3]], [{"a": 1}, {}], [["a"], []], [None, [None]]))
        return frame.assign(**{name: (nested * count)[:count]})
    kind = rng.choice(("category", "string", "float16", "int8", "datetime64[ns]", "bool", "Int64", "object"))
    return frame.assign(**{name: frame[name].astype(kind)})
