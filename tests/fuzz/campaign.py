"""A campaign: forked processes that each give one reader some thousand inputs, and a record of what came of it."""

import json
import mmap
import os
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fuzz.readers import READERS
from fuzz.running import WAIT, Tally, bounded, made, run, write

BATCH = 20_000
SLOW_BATCH = 500
"""Inputs of one process; of readers that are slow fewer, so that a process that dies costs little."""

Batch = tuple[str, range]


def campaign(
    *, seed: int, inputs: int, names: Sequence[str], out: Path, first: int = 0, jobs: int = 1
) -> dict[str, Tally]:  # fmt: skip
    """Run all readers, in processes of their own.

    Args:
        seed: of the inputs.
        inputs: of all readers together; they are shared out as `Reader.share` says.
        names: keys of `READERS`.
        out: for `result.json`, and the inputs that failed.
        first: the number of the first input of each reader.
        jobs: processes at a time.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts = shared_out(inputs, names)
    sys.stdout.write("inputs of each reader: " + ", ".join(f"{name} {counts[name]:,}" for name in names) + "\n")
    for name in names:
        warm(name)
    sys.stdout.flush()
    began, facts = time.time(), {"seed": seed, "whole": sum(counts.values())}
    batches = [each for name in names for each in _batches(name, first, counts[name])]
    parts = [out / f".job-{job}.json" for job in range(jobs)]
    workers = {_worker(batches[job::jobs], seed, out, part): part for job, part in enumerate(parts)}
    told: set[str] = set()
    while workers:
        time.sleep(0.2)
        for pid in list(workers):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del workers[pid]
        tallies = _together(parts, names)
        for name in [name for name in names if name not in told and tallies[name].inputs >= counts[name]]:
            told.add(name)
            sys.stdout.write(line(name, tallies[name]) + "\n")
            sys.stdout.flush()
        _save(out, tallies, **facts, seconds=time.time() - began)
    tallies = _together(parts, names)
    for name, tally in tallies.items():
        if tally.inputs < counts[name]:
            tally.fail(f"a process of the campaign ended early: {tally.inputs} of {counts[name]} inputs", -1)
        _keep(out, name, tally, seed)
    _save(out, tallies, **facts, seconds=time.time() - began)
    for part in parts:
        part.unlink(missing_ok=True)
    return tallies


def shared_out(inputs: int, names: Sequence[str]) -> dict[str, int]:
    """How many inputs each reader gets: the cheap ones many, each at least one.

    Args:
        inputs: of all together.
        names: keys of `READERS`.
    """
    whole = sum(READERS[name].share for name in names)
    return {name: max(1, round(inputs * READERS[name].share / whole)) for name in names}


def warm(name: str) -> None:
    """Read a reader's sound inputs, which must raise nothing; what it imports is then there for all processes.

    Args:
        name: a key of `READERS`.
    """
    for files in READERS[name].seeds():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "sound")
            place.mkdir()
            write(place, files)
            READERS[name].read(place)


def line(name: str, tally: Tally) -> str:
    """A reader's result in one line."""
    each = 1000 * tally.seconds / max(1, tally.inputs)
    return (
        f"{name:15} {tally.inputs:>9,} inputs  {tally.valid:>8,} valid  {tally.refused:>8,} refused  "
        f"{tally.failed:>5,} FAILED  {each:7.2f} ms each  slowest {tally.slowest[0]:6.2f} s  "
        f"memory +{tally.growth >> 20} MiB  {tally.refusals} messages"
    )


def _batches(name: str, first: int, count: int) -> list[Batch]:
    step = SLOW_BATCH if READERS[name].share < 20_000 else BATCH
    return [(name, range(start, min(start + step, first + count))) for start in range(first, first + count, step)]


def _worker(batches: Sequence[Batch], seed: int, out: Path, part: Path) -> int:
    """Start a process that carries batches out, one after the other, and writes what came of them so far."""
    child = os.fork()
    if child:
        return child
    tallies: dict[str, Tally] = {}
    code = 1
    try:
        for name, numbers in batches:
            tallies.setdefault(name, Tally()).add(_forked(name, seed, numbers, out))
            _write(part, {each: tally.record() for each, tally in tallies.items()})
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _together(parts: Sequence[Path], names: Sequence[str]) -> dict[str, Tally]:
    whole = {name: Tally() for name in names}
    for part in parts:
        for name, record in (json.loads(part.read_text()) if part.exists() else {}).items():
            whole[name].add(_tally(record))
    return whole


def _forked(name: str, seed: int, numbers: range, out: Path) -> Tally:
    """The tally of some inputs; an input that kills the process counts as failed, and the rest goes on after it."""
    whole = Tally()
    shared = mmap.mmap(-1, 8)
    while numbers:
        part = out / f".{os.getpid()}.part"
        child = os.fork()
        if not child:
            _inside(name, seed, numbers, part, shared)
        _, status = os.waitpid(child, 0)
        if status == 0:
            whole.add(_tally(json.loads(part.read_text())))
            part.unlink()
            break
        died = struct.unpack("q", shared[:8])[0]
        whole.fail(f"the process died: wait status {status}", died)
        whole.inputs += died - numbers.start + 1
        numbers = range(died + 1, numbers.stop)
    return whole


def _inside(name: str, seed: int, numbers: range, part: Path, shared: mmap.mmap) -> None:
    import faulthandler

    def say(number: int) -> None:
        shared[:8] = struct.pack("q", number)
        if number % 16 == 0:
            faulthandler.dump_traceback_later(2 * WAIT * READERS[name].seconds + 600, exit=True)

    try:
        bounded()
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            tally = run(name, seed=seed, numbers=numbers, folder=Path(folder), say=say)
        part.write_text(json.dumps(tally.record()))
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def _tally(record: Mapping[str, Any]) -> Tally:
    return Tally(**{**record, "slowest": tuple(record["slowest"])})


def _save(out: Path, tallies: Mapping[str, Tally], **facts: Any) -> None:
    done = sum(tally.inputs for tally in tallies.values())
    failed = sum(tally.failed for tally in tallies.values())
    readers = {name: tally.record() for name, tally in tallies.items()}
    _write(out / "result.json", {**facts, "done": done, "failed": failed, "readers": readers})


def _write(path: Path, record: Any) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=1))
    part.replace(path)


def _keep(out: Path, name: str, tally: Tally, seed: int) -> None:
    """Write the inputs that failed, so that they can be looked at."""
    for what, numbers in tally.failures.items():
        for number in [number for number in numbers if number >= 0]:
            place = out / name / str(number)
            place.mkdir(parents=True, exist_ok=True)
            sound, changed = made(READERS[name], name=name, seed=seed, number=number)
            write(place, {**sound, **changed})
            (place / "FAILURE.txt").write_text(f"{what}\nspoilt: {', '.join(changed)}\n")
