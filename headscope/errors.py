"""The errors that headscope raises on purpose: each says what was given, what was expected, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Made = TypeVar("Made")


class HeadscopeError(Exception):
    """A problem that a user can act on, in three parts.

    Args:
        given: what was given or found, with the offending value quoted.
        expected: what would have been accepted.
        fix: what to do about it, as an instruction.

    Example:
        >>> print(HeadscopeError("task 'ioj'", "one of: ioi", "did you mean 'ioi'?"))
        task 'ioj'
          expected: one of: ioi
          to fix it: did you mean 'ioi'?
    """

    exit_code = 1

    def __init__(self, given: str, expected: str, fix: str) -> None:
        super().__init__(given, expected, fix)
        self.given, self.expected, self.fix = given, expected, fix

    def __str__(self) -> str:
        return f"{self.given}\n  expected: {self.expected}\n  to fix it: {self.fix}"


class UsageError(HeadscopeError):
    """A name, option or argument that headscope does not know or cannot use."""

    exit_code = 2


class ModelError(HeadscopeError):
    """A model that cannot be found, loaded or trusted."""

    exit_code = 2


class TaskError(HeadscopeError):
    """A task that this tokenizer or this model cannot express."""

    exit_code = 2


class RunError(HeadscopeError):
    """A saved run that cannot be read or written."""


class PlaceError(RunError):
    """A path that leads to no run, a folder that is taken, runs that do not fit: what was typed is wrong."""

    exit_code = 2


@contextmanager
def refusing(given: str, expected: str) -> Iterator[None]:
    """What fails on data that was sent, after all checks of it, is refused in three parts; also a decorator.

    Args:
        given: what was to be made of which data.
        expected: what the data should be.

    Raises:
        RunError: for whatever is no error of headscope's own; with HEADSCOPE_DEBUG=1 the fault itself is raised.

    Example:
        >>> with refusing("a report that cannot be drawn", "tables of headscope"):
        ...     1 / 0
        Traceback (most recent call last):
        headscope.errors.RunError: a report that cannot be drawn (ZeroDivisionError: division by zero)
          expected: tables of headscope
          to fix it: check the folder: headscope verify RUN; if it is sound, report this, with the trace that ...
    """
    try:
        yield
    except (HeadscopeError, MemoryError):
        raise
    except Exception as problem:
        if os.environ.get("HEADSCOPE_DEBUG"):
            raise
        reason = " ".join(str(problem).split()) or "no reason given"
        told = "if it is sound, report this, with the trace that HEADSCOPE_DEBUG=1 shows"
        fix = f"check the folder: headscope verify RUN; {told}"
        raise RunError(f"{given} ({type(problem).__name__}: {reason:.300})", expected, fix) from problem


def meant(name: str, known: Iterable[str], otherwise: str) -> str:
    """How to mend a name: the nearest that there is, or what else can be done.

    Args:
        name: what was given.
        known: all names that there are.
        otherwise: said where none is near.

    Example:
        >>> meant("methds", ["models", "tasks", "methods"], "choose one of these")
        "did you mean 'methods'?"
        >>> meant("x", ["models", "tasks", "methods"], "choose one of these")
        'choose one of these'
    """
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), 1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else otherwise


def tried(make: Callable[[], Made], problems: list[UsageError]) -> Made | None:
    """What is made; or None, with the reason among the problems, so that all of them can be told at once.

    Args:
        make: makes it.
        problems: what was wrong so far.

    Example:
        >>> tried(lambda: 3, [])
        3
    """
    try:
        return make()
    except UsageError as error:
        problems.append(error)
        return None


def together(problems: Sequence[UsageError]) -> UsageError:
    """All problems in one error; what several of them say is said once.

    Args:
        problems: one or more.

    Example:
        >>> print(together([UsageError("n 3", "20 or more", "ask for more"), UsageError("k 0", "1", "ask for more")]))
        n 3; k 0
          expected: 20 or more; 1
          to fix it: ask for more
    """
    parts = (dict.fromkeys(getattr(each, part) for each in problems) for part in ("given", "expected", "fix"))
    return UsageError(*("; ".join(part) for part in parts))
