"""Spoil a file the way files are spoilt: bytes, lines, cells, JSON values, elements, headers and columns."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from fuzz import packed

PIECES = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n\n",
    b"\xe2\x80\xa8", b"\x85", b"\xe2\x80\xae", "שלום".encode(), "🙂".encode(), b"e\xcc\x81" * 40, b"\t", b",", b'"',
    b'""', b"'", b"{}", b"[]", b"|", b"_", b"#", b"<", b"&", b"-", b"(", b")", b"\\u0000", b"\\ud800", b"nan",
    b"NaN", b"-Infinity", b"1e999", b"0", b"-1", b"1.5", b"4294967296", b"9223372036854775808", b"1" * 400, b"9" * 5000,
    b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"PAR1", b"%PDF", b"\x80\x04\x95", b" ", b"\xc2\xa0", b"/../../etc/passwd",
    b"<x9>",
)  # fmt: skip
"""What turns up in files by mistake or by malice."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, float("nan"), float("inf"), 1e308, 2**31, 2**63, -(2**63), 10**30, "",
    " ", "a", "A", "0", "1", "\0", "\ud800", "_", "{}", "{0}", "|", "...", "\u2028", "\u202e", "x" * 3000, "true",
    "Unknown", [], {}, [[]], [None], [1, 2, 3], ["a", "b"], {"a": 1}, {"": ""}, list(range(300)), ["a"] * 300,
    "../../../etc/passwd", "/etc/passwd", "is not " * 40, "(" * 60, "<x9>", "</script><x9>",
)  # fmt: skip
"""What may stand in place of any JSON value."""

DEEP = "@deep@"
"""Stands for 100,000 brackets until the JSON is written."""

LONGEST = 1 << 21
"""Bytes; what has grown beyond is cut off, so that every input is quick to write."""

Draw = random.Random
Pool = Sequence[bytes]


def spoilt(rng: Draw, name: str, data: bytes, pool: Pool) -> bytes:
    """One file with one to three faults.

    Args:
        rng: chooses them.
        name: the file's; its ending says what is in it.
        data: its content.
        pool: contents of other files of that kind, to splice in.
    """
    own = KINDS.get(name.rpartition(".")[2], ())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tools = own if own and rng.random() < 0.7 else ANY
        data = rng.choice(tools)(rng, data, pool)[:LONGEST]
    # What a checksum keeps out is tried now and then; what it lets through, from who knows how it is made, mostly.
    return packed.signed(data) if name.endswith(".safetensors") and rng.random() < 0.8 else data


def _place(rng: Draw, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 16, 200)))


def _flip(rng: Draw, data: bytes, _: Pool) -> bytes:
    out = bytearray(data)
    for _time in range(rng.choice((1, 1, 3, 20))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _insert(rng: Draw, data: bytes, _: Pool) -> bytes:
    start, end = _place(rng, data)
    piece = rng.choice(PIECES) * rng.choice((1, 1, 1, 1, 1, 2, 2, 300))
    return data[:start] + piece + data[rng.choice((start, end)) :]


def _delete(rng: Draw, data: bytes, _: Pool) -> bytes:
    start, end = _place(rng, data)
    return data[:start] + data[end:]


def _truncate(rng: Draw, data: bytes, _: Pool) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _repeat(rng: Draw, data: bytes, _: Pool) -> bytes:
    start, end = _place(rng, data)
    return data[:start] + data[start:end] * rng.choice((2, 2, 2, 3, 10, 10, 50, 2000)) + data[end:]


def _splice(rng: Draw, data: bytes, pool: Pool) -> bytes:
    other = rng.choice(pool) if pool else data
    start, end = sorted((rng.randrange(len(other) + 1), rng.randrange(len(other) + 1)))
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[rng.choice((at, min(len(data), at + end - start))) :]


def _reencode(rng: Draw, data: bytes, _: Pool) -> bytes:
    text = data.decode("utf-8", "replace")
    name = rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig", "utf-7"))
    return rng.choice((text.encode(name, "replace"), data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r"), b""))


def _numbers(rng: Draw, data: bytes, _: Pool) -> bytes:
    """Other numbers in place of one that is there."""
    found = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", data[:60_000])]
    if not found:
        return data
    start, end = rng.choice(found)
    number = rng.choice((b"0", b"-1", b"1", b"2", b"99999999999", b"1e9", b"0.5", b"01", b"1" * 5000, b"NaN", b""))
    return data[:start] + number + data[end:]


def _lines(rng: Draw, data: bytes, pool: Pool) -> bytes:
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    other = rng.choice(pool).split(b"\n") if pool else rows
    changed = {
        "drop": lambda: rows[:at] + rows[at + 1 :],
        "twice": lambda: [*rows[:at], rows[at], *rows[at:]],
        "swap": lambda: [*rows[:at], *rows[at:][::-1]],
        "other": lambda: [*rows[:at], rng.choice(other), *rows[at + 1 :]],
        "many": lambda: rows[:at] + [rows[at]] * rng.choice((3, 20, 20, 400)) + rows[at + 1 :],
        "join": lambda: [*rows[:at], b"".join(rows[at : at + 2]), *rows[at + 2 :]],
    }
    return b"\n".join(rng.choice(list(changed.values()))())


def _cells(rng: Draw, data: bytes, _: Pool) -> bytes:
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    mark = rng.choice((b"\t", b"\t", b",", b"|", b"=", b" "))
    cells = rows[at].split(mark)
    where = rng.randrange(len(cells))
    changed = (
        [*cells[:where], rng.choice(PIECES), *cells[where + 1 :]],
        [*cells[:where], rng.choice(cells), *cells[where + 1 :]],
        [*cells[:where], *cells[where + 1 :]],
        [*cells[:where], b"", *cells[where:]],
        [*cells[:where], cells[where] * 30, *cells[where + 1 :]],
        [*cells[:where], str(rng.randrange(-2, 12)).encode(), *cells[where + 1 :]],
        [*cells[:where], rng.choice((b"(e1-person", b"e1)", b"(e1", b"1-2", b"2.1", b"Entity=(e1[1/2]-x)", b"_")),
         *cells[where + 1 :]],
    )  # fmt: skip
    return b"\n".join([*rows[:at], mark.join(rng.choice(changed)), *rows[at + 1 :]])


def changed_value(rng: Draw, value: Any) -> Any:
    """A JSON value with one part of it spoilt.

    Args:
        rng: chooses the part and the fault.
        value: any JSON value.
    """
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.12:
        return DEEP if rng.random() < 0.01 else rng.choice(VALUES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        deeper = [*value[:at], changed_value(rng, value[at]), *value[at + 1 :]]
        return rng.choice(
            (deeper, deeper, deeper, value[:at], [*value, value[at]], value[::-1], dict.fromkeys("ab", value))
        )
    name = rng.choice(list(value))
    deeper = {**value, name: changed_value(rng, value[name])}
    without = {key: each for key, each in value.items() if key != name}
    renamed = {(f"{key}s" if key == name else key): each for key, each in value.items()}
    other = {**value, name: rng.choice(list(value.values()))}
    return rng.choice((deeper, deeper, deeper, deeper, without, renamed, other,
                       {**value, rng.choice(("", "a", "0", "__class__")): value[name]}, [value]))  # fmt: skip


def _dumped(rng: Draw, value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}"), ("[", "")))
    text = text.replace(f'"{DEEP}"', f"{opened * 100_000}1{closed * 100_000}")
    if rng.random() < 0.05:
        text = re.sub(r"(\"\w+\": )", r"\1null, \1", text, count=1)  # one key twice
    return text.encode("utf-8", rng.choice(("surrogatepass", "replace")))


def _json(rng: Draw, data: bytes, _: Pool) -> bytes:
    """One value of a JSON file, or of one line of a JSONL file."""
    rows = data.split(b"\n") if data.lstrip()[:1] == b"{" and data.count(b"\n{") else [data]
    at = rng.randrange(len(rows))
    try:
        value = json.loads(rows[at])
    except (ValueError, RecursionError):
        return _flip(rng, data, ())
    return b"\n".join([*rows[:at], _dumped(rng, changed_value(rng, value)), *rows[at + 1 :]])


LAUGHS = b'<!DOCTYPE c [<!ENTITY a "ha">' + b"".join(
    b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in range(ord("b"), ord("n"))
)
PROLOGUES = (
    LAUGHS + b"]>",
    b'<!DOCTYPE c [<!ENTITY m SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE c SYSTEM "http://127.0.0.1/x.dtd">',
    b'<!DOCTYPE c [<!ENTITY m "' + b"x" * 20_000 + b'">]>',
    b'<?xml version="1.0" encoding="UTF-16"?>', b'<?xml version="1.1" encoding="no-such"?>', b"<?pi?>", b"<!-- -- -->",
)  # fmt: skip


def _xml(rng: Draw, data: bytes, _: Pool) -> bytes:
    tags = [match.span() for match in re.finditer(rb"</?\w+/?>", data[:60_000])]
    if not tags:
        return data
    (start, end), (other, last) = rng.choice(tags), rng.choice(tags)
    inside = rng.choice(
        (b"&m;", b"&m;" * 3000, b"&a;", b"&#0;", b"&#xD800;", b"<![CDATA[", b"<schema>" * 20, b"<x>" * 50_000)
    )
    return rng.choice((
        rng.choice(PROLOGUES) + data.partition(b"?>")[2],
        rng.choice(PROLOGUES) + data.partition(b"?>")[2].replace(b"</pron>", inside + b"</pron>", 1),
        data[:start] + data[end:],
        data[:start] + data[other:last] + data[end:],
        data[:end] + inside + data[end:],
        data[:start] + data[start:end].replace(b">", b' a="1" b="\x01">') + data[end:],
    ))  # fmt: skip


ANY: tuple[Callable[[Draw, bytes, Pool], bytes], ...] = (
    _flip, _flip, _insert, _insert, _delete, _truncate, _repeat, _splice, _reencode, _numbers,
)  # fmt: skip
_TEXT = (_lines, _cells, _cells, _numbers, _insert)
KINDS: dict[str, tuple[Callable[[Draw, bytes, Pool], bytes], ...]] = {
    "conllu": _TEXT, "csv": _TEXT, "tsv": _TEXT, "txt": _TEXT, "json": (_json,), "jsonl": (_json, _json, _lines),
    "xml": (_xml, _xml, _lines), "parquet": (packed.columns, packed.footer, packed.footer),
    "safetensors": (packed.header, packed.header, packed.length, packed.about, packed.arrays, packed.arrays),
}  # fmt: skip
"""The ending of a file -> what is done to its content, beside what is done to bytes."""
