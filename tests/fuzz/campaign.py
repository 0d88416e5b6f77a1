"""A campaign: forked processes that each give one reader some thousand inputs, and a record of what came of it."""

import json
import mmap
import os
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzz.readers import READERS
from fuzz.running import WAIT, Tally, bounded, made, run, write

BATCH = 20_000
SLOW_BATCH = 500
"""Inputs of one process; of readers that are slow fewer, so that a process that dies costs little."""


def campaign(*, seed: int, inputs: int, names: Sequence[str], out: Path, first: int = 0) -> dict[str, Tally]:
    """Run all readers one after the other, in processes of their own.

    Args:
        seed: of the inputs.
        inputs: of all readers together; they are shared out as `Reader.share` says.
        names: keys of `READERS`.
        out: for `result.json`, and the inputs that failed.
        first: the number of the first input of each reader.
    """
    out.mkdir(parents=True, exist_ok=True)
    whole = sum(READERS[name].share for name in names)
    began, tallies = time.time(), {}
    for name in names:
        warm(name)
    for name in names:
        count = max(1, round(inputs * READERS[name].share / whole))
        tally = tallies[name] = Tally()
        step = SLOW_BATCH if READERS[name].share < 20_000 else BATCH
        for start in range(first, first + count, step):
            tally.add(_forked(name, seed, range(start, min(start + step, first + count)), out))
            _save(out, tallies, seed=seed, seconds=time.time() - began, whole=inputs)
        _keep(out, name, tally, seed)
        sys.stdout.write(line(name, tally) + "\n")
        sys.stdout.flush()
    return tallies


def warm(name: str) -> None:
    """Read a reader's sound inputs, which must raise nothing; what it imports is then there for all processes.

    Args:
        name: a key of `READERS`.
    """
    for files in READERS[name].seeds():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), files)
            READERS[name].read(Path(folder))


def line(name: str, tally: Tally) -> str:
    """A reader's result in one line."""
    each = 1000 * tally.seconds / max(1, tally.inputs)
    return (
        f"{name:14} {tally.inputs:>9,} inputs  {tally.valid:>8,} valid  {tally.refused:>8,} refused  "
        f"{tally.failed:>5,} FAILED  {each:7.2f} ms each  slowest {tally.slowest[0]:6.2f} s  "
        f"memory +{tally.growth >> 20} MiB  {tally.refusals} messages"
    )


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
            whole.add(_tally(part))
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


def _tally(part: Path) -> Tally:
    found: dict[str, Any] = json.loads(part.read_text())
    part.unlink()
    return Tally(**{**found, "slowest": tuple(found["slowest"])})


def _save(out: Path, tallies: dict[str, Tally], **facts: Any) -> None:
    done = sum(tally.inputs for tally in tallies.values())
    failed = sum(tally.failed for tally in tallies.values())
    record = {**facts, "done": done, "failed": failed, "readers": {name: t.record() for name, t in tallies.items()}}
    part = out / "result.json.part"
    part.write_text(json.dumps(record, indent=1))
    part.replace(out / "result.json")


def _keep(out: Path, name: str, tally: Tally, seed: int) -> None:
    """Write the inputs that failed, so that they can be looked at."""
    for what, numbers in tally.failures.items():
        for number in numbers:
            place = out / name / str(number)
            place.mkdir(parents=True, exist_ok=True)
            sound, changed = made(READERS[name], name=name, seed=seed, number=number)
            write(place, {**sound, **changed})
            (place / "FAILURE.txt").write_text(f"{what}\nspoilt: {', '.join(changed)}\n")
