"""Every file of every reader as something that has no end: refused at once, with no more memory than a bound."""

import json
import os
import re
import resource
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from fuzz import readers, running
from fuzz.campaign import warm
from fuzz.readers import READERS, Reader
from fuzz.running import attempt, bounded, fault_of, signature, write
from fuzz.seeds import Files

from headscope.errors import HeadscopeError, RunError

MIB = 1 << 20
MEMORY, GROWN = 700 * MIB, 256 * MIB
"""Of address space, and of memory: what a process may take for one file."""
SECONDS = 3.0
"""Of the processor."""
HOLE = 1 << 40
DEEP = b"[" * 200_000
LENGTHS = [struct.pack("<Q", size) + b'{"a":1}' for size in (2**60, 2**40, 99_000_000)]
BIG = b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}'

QUICK = ("proofwriter", "cache")


def hole(path: Path) -> None:
    """A file of a terabyte, which takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(HOLE)


def content(data: bytes) -> Callable[[Path], Any]:
    """A file of this content."""
    return lambda path: path.write_bytes(data)


EVERY: dict[str, Callable[[Path], Any]] = {
    "hole": hole, "pipe": os.mkfifo, "folder": Path.mkdir, "empty": content(b""), "nothing": lambda _: None,
    "itself": lambda path: path.symlink_to(path.name), "endless": lambda path: path.symlink_to("/dev/zero"),
}  # fmt: skip
"""What may stand in the place of any file."""
OF_KIND: dict[str, dict[str, Callable[[Path], Any]]] = {
    "json": {"deep": content(DEEP), "digits": content(b'{"a":' + b"9" * 100_000 + b"}"), "list": content(b"[1]")},
    "jsonl": {"deep": content(DEEP), "one line": content(b'{"a": "' + b"x" * 20 * MIB + b'"}')},
    "csv": {"one cell": content(b"a," + b"x" * 20 * MIB), "quote": content(b'a,b\n"' + b"x\n" * 2 * MIB)},
    "conllu": {"one line": content(b"1\t" + b"x" * 20 * MIB), "no end": content(b"1\tx\n" * MIB)},
    "xml": {"deep": content(b"<x>" * 200_000), "one line": content(b"<x>" + b"a" * 20 * MIB)},
    "safetensors": {
        **{f"header {at}": content(data) for at, data in enumerate(LENGTHS)},
        "elements": content(struct.pack("<Q", len(BIG)) + BIG), "deep": content(struct.pack("<Q", len(DEEP)) + DEEP),
    },
    "parquet": {"footer": content(b"PAR1" + b"\0" * 8 + struct.pack("<I", 2**31 - 1) + b"PAR1"),
                "thrift": content(b"PAR1" + b"\x19\xfc\xff\xff\xff\xff\x0f" + struct.pack("<I", 7) + b"PAR1")},
}  # fmt: skip
"""The ending of a file -> what else."""


def outcome(read: Callable[[], Any]) -> tuple[str, int]:
    """What became of reading in a process that may take no more than the bound: a word, and the bytes it took."""
    ends = os.pipe()
    child = os.fork()
    if not child:
        os.close(ends[0])
        told = ""
        try:
            bounded(MEMORY)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            problem = attempt(read, SECONDS)
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if isinstance(problem, HeadscopeError):
                told = fault_of(problem) or "refused"
            else:
                told = "read" if problem is None else f"{signature(problem)}: {problem!s:.200}"
            told = json.dumps([told, grown])
        except BaseException as problem:
            told = json.dumps([f"outside of reading: {problem!r}", 0])
        finally:
            os.write(ends[1], told.encode())
            os._exit(0)
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert said, f"the process died: wait status {status}"
    word, grown = json.loads(said)
    return word, grown


def spoil(place: Path, files: Files, path: str, change: Callable[[Path], Any]) -> None:
    """A sound folder in which one file is something else."""
    write(place, files)
    (place / path).unlink()
    change(place / path)


def one_of_each(reader: Reader) -> list[tuple[Files, str]]:
    """For each name of a file the first sound folder that has it; of cells, whose names are hashes, one."""
    found: dict[str, tuple[Files, str]] = {}
    for files in reader.seeds():
        for path in files:
            if path.endswith(reader.spoil or tuple(files)):
                found.setdefault(re.sub("[0-9a-f]{64}|/[0-9a-f]{2}/", "", path), (files, path))
    return list(found.values())


def check(name: str, folder: Path, every: Mapping[str, Callable[[Path], Any]] = EVERY) -> None:
    warm(name)  # imports and all
    problems = []
    for number, (files, path) in enumerate(one_of_each(READERS[name])):
        for what, change in {**every, **OF_KIND.get(path.rpartition(".")[2], {})}.items():
            place = folder / f"{number}-{what.replace(' ', '-')}"
            place.mkdir()
            spoil(place, files, path, change)
            word, grown = outcome(lambda place=place: READERS[name].read(place))
            if word not in ("read", "refused") or grown > GROWN:
                problems.append(f"{path} as {what}: {word}, {grown / MIB:.0f} MiB")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", QUICK)
def test_files_without_end_are_refused(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(READERS) - set(QUICK)))
def test_files_without_end_are_refused_in_every_folder(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda place: place.read_bytes(), "MemoryError at "),
        (lambda place: b"a" * (60 * MIB), "read, 6"),  # not zeros, which take no memory
        (lambda place: place.stat().st_size > 1 and json.loads("[" * 200_000), "RecursionError at "),
    ],
)
def test_what_is_not_refused_is_found(read: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = Reader(seeds=lambda: [{"in.txt": b"a"}], read=lambda folder: read(folder / "in.txt"), share=1)
    monkeypatch.setitem(readers.READERS, "planted", planted)
    monkeypatch.setattr(running, "WAIT", 0.1)
    monkeypatch.setitem(globals(), "GROWN", 40 * MIB)
    with pytest.raises(AssertionError, match=rf"in\.txt as hole: {told}"):
        check("planted", tmp_path, {"hole": hole})


def test_a_hang_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "WAIT", 0.1)
    os.mkfifo(tmp_path / "in")
    assert outcome(lambda: (tmp_path / "in").read_bytes())[0].startswith("HangError at ")


def test_cells_that_declare_more_than_they_hold_are_damaged() -> None:
    from headscope.cells import Damaged, parse

    for data in (*LENGTHS, struct.pack("<Q", len(BIG)) + BIG, b"", b"\0" * 7):
        with pytest.raises(Damaged):
            parse(data)


def test_a_record_of_the_wrong_kind_is_refused_in_words(tmp_path: Path) -> None:
    from headscope.runs import open_run

    (tmp_path / "run.json").write_bytes(DEEP)
    with pytest.raises(RunError, match=r"run\.json has too many brackets within brackets"):
        open_run(tmp_path)
