"""What an analysis is to do, checked before any weights are loaded."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from headscope.contract import Method, Task
from headscope.errors import UsageError
from headscope.methods import DEFAULT, METHODS
from headscope.metrics import METRICS
from headscope.pipeline.own import Own, sort_out
from headscope.tasks import TASKS, resolve
from headscope.tasks.files import is_file, refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an analysis is to do, checked before any weights are loaded.

    Attributes:
        tasks: names of tasks, or files as `FORMAT:PATH` (see `headscope.tasks.resolve`); none means those of
            `headscope.tasks.DEFAULT` that the model can express. Objects (`Task`, `Pairs`) may be given too, and are
            then called by their names.
        methods: names of methods, or `Method` objects; none means those of `headscope.methods.DEFAULT`.
        metrics: names of metrics; the first takes the place of each task's own, and methods that can (patching and
            ablation) read the others off the same runs. None means each task's own.
        n: examples per task.
        seed: of prompts, resamples and donors.
        batch_size: examples that are held at once.
        memory: bytes for intermediate results; None means half of what is free.
        roles: say what each head does, too.
        own: what was given as an object, by its name.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> Plan(tasks=("ioj",), n=0)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        headscope.errors.UsageError: unknown task 'ioj'; n 0
          expected: tasks: induction, ioi, ...; n from 2
          to fix it: did you mean 'ioi'?; give a whole number in that range
    """

    tasks: tuple[Any, ...] = ()
    methods: tuple[Any, ...] = ()
    metrics: tuple[str, ...] = ()
    n: int = 40
    seed: int = 0
    batch_size: int = 128
    memory: int | None = None
    roles: bool = False
    own: Own = field(default_factory=Own)

    def __post_init__(self) -> None:
        found = sort_out(self.tasks, self.methods, self.own)
        for name in ("tasks", "methods", "own"):
            object.__setattr__(self, name, getattr(found, name))
        files = [name for name in self.tasks if name not in {**TASKS, **self.own.tasks} and is_file(name)]
        plain = [name for name in self.tasks if name not in {*files, *self.own.tasks}]
        methods = [name for name in self.methods if name not in self.own.methods]
        kinds = (("task", plain, TASKS), ("method", methods, METHODS))
        told = [*found.problems]
        told += [
            _known(kind, known, problem) for kind, names, known in kinds for problem in _unknown(kind, names, known)
        ]
        numbers = {"n": (self.n, 2), "batch size": (self.batch_size, 1), "seed": (self.seed, 0)}
        numbers |= {} if self.memory is None else {"memory": (self.memory, 1)}
        told += [
            (f"{name} {value}", f"{name} from {least}", "give a whole number in that range")
            for name, (value, least) in numbers.items()
            if value < least
        ]
        told += [_known("metric", METRICS, problem) for problem in _unknown("metric", self.metrics, METRICS)]
        told += [(error.given, error.expected, error.fix) for error in refusals(files)]
        if told:
            given, expected, fixes = zip(*told, strict=True)
            raise UsageError("; ".join(given), "; ".join(dict.fromkeys(expected)), "; ".join(dict.fromkeys(fixes)))

    @property
    def method_names(self) -> tuple[str, ...]:
        """The names of all methods, each once: the default ones where none is named."""
        return tuple(dict.fromkeys(self.methods or DEFAULT))

    def method(self, name: str) -> Method:
        """A method by its name.

        Args:
            name: one of `method_names`.
        """
        return self.own.methods.get(name) or METHODS[name]

    def task(self, name: str) -> Task:
        """A task by its name.

        Args:
            name: one of `tasks`, or another of headscope's.

        Raises:
            UsageError: if there is no such task, or its file is wrong.
        """
        return self.own.tasks.get(name) or resolve(name)

    def record(self) -> dict[str, Any]:
        """The plan as JSON: of what is own the names, and under `own` the hashes of its sources."""
        told = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "own"}
        own = self.own.record()
        return told | ({"own": own} if own else {})


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
