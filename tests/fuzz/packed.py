"""Spoil safetensors and parquet files in what they say about themselves, and in what they hold."""

import hashlib
import io
import json
import random
import re
from collections.abc import Sequence
from typing import Any

Draw = random.Random
SUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
NUMBERS: tuple[Any, ...] = (0.0, -1.0, 1e-320, 1e30, 1e308, float("nan"), float("inf"), float("-inf"))
TEXTS: tuple[Any, ...] = (
    "", " ", "x", None, "</script><x9>", "{{ 7 * 7 }}", "\0", "L1H1", "L9H99", "\u2028", "x" * 3000, "ioi",
)  # fmt: skip
LENGTHS = (0, 1, 7, 8, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
DTYPES = (
    "F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "X", "", 3, None,
)  # fmt: skip
SHAPES: tuple[Any, ...] = (
    [], [0], [-1], [2**63], [2**32, 2**32], [1, -4], [0, 2**62], [1.5], ["a"], None, "ab", [1] * 70,
)  # fmt: skip
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
        own = entry.get("shape")
        entry["shape"] = rng.choice((*SHAPES, own[::-1] if isinstance(own, list) else [2]))
    elif change == 2:
        other = content[rng.choice(list(content))]
        entry["data_offsets"] = rng.choice((*OFFSETS, other.get("data_offsets") if isinstance(other, dict) else other))
    elif change == 3:
        content[rng.choice(("", "../x", "x" * 5000, "\0", "__metadata__", "a.b.c"))] = dict(entry)
    elif change == 4:
        del content[name]
    content = changed_value(rng, content) if change == 5 else content if change == 4 else {**content, name: entry}
    return _headed(content, data[end:], spaces=rng.choice((0, 0, 7, 3000)))


def about(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """Another part of what a cell of headscope says of itself, which is JSON within the JSON of the header."""
    from fuzz.mutating import changed_value

    end = 8 + int.from_bytes(data[:8], "little")
    try:
        content = json.loads(data[8:end])
        told = json.loads(content["__metadata__"]["about"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return header(rng, data, ())
    content["__metadata__"]["about"] = json.dumps(changed_value(rng, told)).replace('"@deep@"', "[" * 100_000)
    return _headed(content, data[end:])


def _headed(content: Any, rest: bytes, *, spaces: int = 0) -> bytes:
    """A safetensors file of this header, as compact as the library writes it."""
    text = json.dumps(content, separators=(",", ":")).replace('"@deep@"', "[" * 100_000).encode()
    text += b" " * (-len(text) % 8 if spaces == 7 else spaces)
    return len(text).to_bytes(8, "little") + text + rest


def arrays(rng: Draw, data: bytes, _: Sequence[bytes]) -> bytes:
    """Other numbers, shapes or types in a sound file; in an array of bytes, another text or table."""
    import numpy as np
    from fuzz.mutating import spoilt
    from safetensors.numpy import load, save

    try:
        found = load(data)
        own = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__")
        name = rng.choice(sorted(found))
        array = found[name]
        if array.dtype == np.uint8 and array.ndim == 1 and rng.random() < 0.8:
            content = array.tobytes()
            inner = spoilt(rng, f"in.{'parquet' if content.startswith(b'PAR1') else 'json'}", content, ())
            found[name] = np.frombuffer(inner, np.uint8)
        else:
            found[name] = np.ascontiguousarray(_other(rng, array))
        return save(found, metadata=own)
    except Exception:  # it was spoilt before, or cannot be written so
        return header(rng, data, ())


def _other(rng: Draw, array: Any) -> Any:
    import numpy as np

    if not array.size:
        return np.zeros(rng.choice(((1,), (0, 3), (2, 2))), array.dtype)
    change = rng.randrange(6)
    if change == 0:
        return array.reshape(-1)
    if change == 1:
        return array.T
    if change == 2:
        return array[: rng.randrange(len(array) + 1)]
    if change == 3:
        return np.concatenate([array, array], axis=rng.randrange(array.ndim))
    with np.errstate(all="ignore"):
        if change == 4:
            return array.astype(rng.choice((np.float16, np.float64, np.int8, np.int64, np.bool_, np.uint8)))
        other = array.astype(np.float64) if array.dtype.kind != "f" else array.copy()
        places = [rng.randrange(other.size) for _ in range(rng.choice((1, 1, 3, other.size)))]
        other.reshape(-1)[places] = rng.choice(NUMBERS)
        return other


def signed(data: bytes) -> bytes:
    """A cell of headscope with the checksum that it would have if it had been written so; other files as they are.

    Args:
        data: the file.
    """
    found = SUM.search(data, 8, min(len(data), 8 + int.from_bytes(data[:8], "little")))
    if found is None:
        return data
    start, end = found.span(1)
    own = hashlib.sha256(data[:start] + b"0" * 64 + data[end:]).hexdigest().encode()
    return data[:start] + own + data[end:]


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
        "x", "", None, np.nan, np.inf, 0, -1, 1.5, 2**62, True, b"\xff", "\0", "2024-01-01", "../x", "</script><x9>"
    )  # fmt: skip
    change = rng.choice((*range(8), 8, 8, 8))
    if change == 8:  # single cells
        column = frame[name].astype(object)
        kind = TEXTS if any(isinstance(value, str) for value in column) else NUMBERS
        for place in [rng.randrange(count) for _ in range(rng.choice((1, 1, 3)))] if count else ():
            column.iloc[place] = rng.choice(kind)
        return frame.assign(**{name: column.astype(float) if kind is NUMBERS else column})
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
