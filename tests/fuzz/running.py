"""Give readers many spoilt inputs, each with a time and a memory bound, and keep what went wrong."""

import faulthandler
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzz.mutating import spoilt
from fuzz.readers import READERS, Reader
from fuzz.seeds import Files

from headscope.errors import HeadscopeError

MEMORY = 2 << 30
"""Bytes of address space that a process may take beyond what it has at the start."""

GROWTH = 400 << 20
"""Bytes by which one input may raise the most that the process has ever held."""

WAIT = 20
LONGEST_MESSAGE = 20_000
KEPT = 3
"""Inputs that are named for each kind of failure."""


class HangError(BaseException):
    """An input took longer than it may; no reader can take it for its own error."""


@dataclass(slots=True)
class Tally:
    """What a reader did with its inputs.

    Attributes:
        inputs: how many there were.
        valid: read without a word.
        refused: refused in three parts.
        failures: what else happened -> the first inputs to which it did.
        failed: how many inputs that were.
        seconds: of all, of the processor.
        slowest: seconds of the processor of the slowest input, and its number.
        growth: bytes by which one input raised the peak of memory, at most.
        refusals: the beginnings of different messages: how deep the inputs reach.
    """

    inputs: int = 0
    valid: int = 0
    refused: int = 0
    failed: int = 0
    failures: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    growth: int = 0
    refusals: int = 0

    def fail(self, what: str, number: int) -> None:
        """Note an input that was neither read nor refused."""
        self.failed += 1
        kept = self.failures.setdefault(what, [])
        if len(kept) < KEPT:
            kept.append(number)

    def add(self, other: "Tally") -> None:
        """Take another tally of the same reader in."""
        for name in ("inputs", "valid", "refused", "failed", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for what, numbers in other.failures.items():
            self.failures[what] = (self.failures.get(what, []) + numbers)[:KEPT]
        self.slowest = max(self.slowest, tuple(other.slowest))
        self.growth, self.refusals = max(self.growth, other.growth), max(self.refusals, other.refusals)

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def made(reader: Reader, *, name: str, seed: int, number: int) -> tuple[Files, Files]:
    """An input: a sound folder, and those of its files that are spoilt.

    Args:
        reader: whose.
        name: its name.
        seed: of the campaign.
        number: of the input; the same three always give the same input.
    """
    rng = random.Random(f"{seed}/{name}/{number}")
    sound = reader.seeds()
    files = rng.choice(sound)
    able = sorted(path for path in files if path.endswith(reader.spoil or tuple(files)))
    chosen = {rng.choice(able) for _ in range(rng.choice((1, 1, 1, 2)))}
    ending = {path: [each for one in sound for key, each in one.items() if key.endswith(path[-4:])] for path in chosen}
    return files, {path: spoilt(rng, path, files[path], ending[path]) for path in sorted(chosen)}


def write(folder: Path, files: Files) -> None:
    """Write files into an empty folder."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def run(name: str, *, seed: int, numbers: range, folder: Path, say: Callable[[int], None] = lambda _: None) -> Tally:
    """Give a reader some inputs.

    Args:
        name: a key of `READERS`.
        seed: of the campaign.
        numbers: of the inputs.
        folder: for its files, on a fast disk; emptied again.
        say: is told each input's number before it is read.
    """
    reader, tally, kinds = READERS[name], Tally(), set()
    place, last = folder / name, None
    began = time.process_time()
    for number in numbers:
        say(number)
        sound, changed = made(reader, name=name, seed=seed, number=number)
        if last is not sound:
            shutil.rmtree(place, ignore_errors=True)
            write(place, sound)
        write(place, changed)
        _one(reader, place, number, tally, kinds)
        write(place, {path: sound[path] for path in changed})
        last = sound
    shutil.rmtree(place, ignore_errors=True)
    tally.seconds, tally.refusals = time.process_time() - began, len(kinds)
    return tally


def _one(reader: Reader, place: Path, number: int, tally: Tally, kinds: set[str]) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    problem = attempt(lambda: reader.read(place), reader.seconds)
    took = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    tally.inputs += 1
    tally.slowest, tally.growth = max(tally.slowest, (took, number)), max(tally.growth, grown)
    if problem is None:
        tally.valid += 1
    elif isinstance(problem, HeadscopeError) and not (unclear := fault_of(problem)):
        tally.refused += 1
        kinds.add(problem.given.replace(str(place), "")[:60])
    else:
        tally.fail(unclear if isinstance(problem, HeadscopeError) else signature(problem), number)
    if grown > GROWTH:
        tally.fail(f"memory: {grown >> 20} MiB more", number)


def attempt(read: Callable[[], Any], seconds: float) -> BaseException | None:
    """What reading raised; None if it raised nothing.

    Args:
        read: reads.
        seconds: of the processor, after which it is stopped; a reader that waits is stopped after `WAIT` times as many.
    """

    def late(*_: object) -> None:
        raise HangError(f"more than {seconds} s")

    def stop() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)

    for clock in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(clock, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAIT * seconds)  # the machine may be busy with something else
    try:
        read()
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        stop()
        return problem
    finally:
        stop()
    return None


def fault_of(problem: HeadscopeError) -> str:
    """What is wrong with the message of a refusal; empty if nothing is."""
    parts = (problem.given, problem.expected, problem.fix)
    if not all(isinstance(part, str) and part.strip() for part in parts):
        return "refusal: a part is empty"
    return "refusal: longer than a screen or ten" if len(str(problem)) > LONGEST_MESSAGE else ""


def signature(problem: BaseException) -> str:
    """The kind of an error and where in headscope it came from, so that equal ones are told once."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if "/headscope/" in frame.filename.replace(os.sep, "/")]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*own[-1:], *frames[-1:]]]
    return f"{type(problem).__name__} at {' < '.join(dict.fromkeys(places))}"


def bounded(memory: int = MEMORY) -> None:
    """Bound what this process may still take, so that an input that asks for more fails here and not elsewhere.

    Args:
        memory: bytes.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
