"""What an analysis is to do, checked before any weights are loaded."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headscope.errors import UsageError
from headscope.methods import METHODS
from headscope.metrics import METRICS
from headscope.tasks import TASKS
from headscope.tasks.files import is_file, refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an analysis is to do, checked before any weights are loaded.

    Attributes:
        tasks: names of tasks, or files as `FORMAT:PATH` (see `headscope.tasks.resolve`); none means those of
            `headscope.tasks.DEFAULT` that the model can express.
        methods: names of methods; none means those of `headscope.methods.DEFAULT`.
        metrics: names of metrics; the first takes the place of each task's own, and methods that can (patching and
            ablation) read the others off the same runs. None means each task's own.
        n: examples per task.
        seed: of prompts, resamples and donors.
        batch_size: examples that are held at once.
        memory: bytes for intermediate results; None means half of what is free.
        roles: say what each head does, too.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> Plan(tasks=("ioj",), n=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        headscope.errors.UsageError: unknown task 'ioj'; n 0
          expected: tasks: induction, ioi, ...; whole numbers in range
          to fix it: did you mean 'ioi'?; at least 2
    """

    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    n: int = 40
    seed: int = 0
    batch_size: int = 128
    memory: int | None = None
    roles: bool = False

    def __post_init__(self) -> None:
        files = [name for name in self.tasks if name not in TASKS and is_file(name)]
        plain = [name for name in self.tasks if name not in files]
        kinds = (("task", plain, TASKS), ("method", self.methods, METHODS))
        told = [
            _known(kind, known, problem) for kind, names, known in kinds for problem in _unknown(kind, names, known)
        ]
        numbers = {"n": (self.n, 2), "batch size": (self.batch_size, 1), "seed": (self.seed, 0)}
        numbers |= {} if self.memory is None else {"memory": (self.memory, 1)}
        told += [
            (f"{name} {value}", "whole numbers in range", f"at least {least}")
            for name, (value, least) in numbers.items()
            if value < least
        ]
        told += [_known("metric", METRICS, problem) for problem in _unknown("metric", self.metrics, METRICS)]
        told += [(error.given, error.expected, error.fix) for error in refusals(files)]
        if told:
            given, expected, fixes = zip(*told, strict=True)
            raise UsageError("; ".join(given), "; ".join(dict.fromkeys(expected)), "; ".join(fixes))


def _known(kind: str, known: dict[str, Any], problem: tuple[str, str]) -> tuple[str, str, str]:
    """A problem with a name, with the names of its kind that there are."""
    given, fix = problem
    return given, f"{kind}s: {', '.join(known)}", fix


def _unknown(kind: str, names: Iterable[str], known: dict[str, Any]) -> list[tuple[str, str]]:
    problems = []
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
            problems.append(
                (f"unknown {kind} {name!r}", f"did you mean {near[0]!r}?" if near else f"see headscope list {kind}s")
            )
    return problems
