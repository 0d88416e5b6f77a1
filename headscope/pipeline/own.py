"""Methods and tasks of one's own among the names of those that headscope has."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from headscope.contract import Method, Task
from headscope.errors import TaskError
from headscope.methods import METHODS
from headscope.models import Model
from headscope.pipeline.origins import origin
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.tasks.files import is_file

NAME = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)
"""What a method or a task may be called: names of files and of arrays are made of it."""
NEEDED = ("batch_size", "progress")

Problem = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What was given as an object, by its name.

    Attributes:
        tasks: of one's own.
        methods: of one's own.
    """

    tasks: Mapping[str, Task] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)

    def record(self) -> dict[str, dict[str, str | None]]:
        """Kind -> name -> the hash of its source, as JSON; None where that cannot be known. Without empty kinds."""
        functions = {
            "tasks": {name: task.build for name, task in self.tasks.items()},
            "methods": {name: method.function for name, method in self.methods.items()},
        }
        told = {kind: {name: origin(each) for name, each in found.items()} for kind, found in functions.items()}
        return {kind: found for kind, found in told.items() if found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """What was asked for, by names.

    Attributes:
        tasks: names, in order, each once.
        methods: names, in order, each once.
        own: what some of the names stand for.
        problems: given, expected, fix of everything that cannot be used.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    own: Own
    problems: tuple[Problem, ...]


def sort_out(tasks: Iterable[Any], methods: Iterable[Any], before: Own) -> Sorted:
    """Put objects among names under their names.

    Args:
        tasks: names, `Task` objects or finished `Pairs`.
        methods: names or `Method` objects.
        before: what is known already: names may stand for it.

    Example:
        >>> from headscope.methods.patching import PATCHING
        >>> found = sort_out(["ioi", 3], [PATCHING, replace(PATCHING, name="mine")], Own())
        >>> found.tasks, found.methods, list(found.own.methods)
        (('ioi',), ('patching', 'mine'), ['mine'])
        >>> found.problems[0][0]
        'task 3 (int)'
    """
    found: dict[str, dict[str, Any]] = {"task": dict(before.tasks), "method": dict(before.methods)}
    names: dict[str, list[str]] = {"task": [], "method": []}
    problems: list[Problem] = []
    for kind, given in (("task", tasks), ("method", methods)):
        seen: dict[str, Any] = {}
        for each in given:
            if isinstance(each, str):
                names[kind].append(each)
                continue
            wrong = _wrong(kind, each)
            name = str(getattr(each, "task" if isinstance(each, Pairs) else "name", ""))
            if not wrong and seen.get(name, each) is not each:
                wrong = [(f"two {kind}s named {name!r}", "names that differ", _rename(kind, each))]
            problems += wrong
            if not wrong:
                seen[name] = each
                names[kind].append(name)
                if _known(kind).get(name) is not each:
                    found[kind][name] = _fixed(each) if isinstance(each, Pairs) else each
    used = {kind: {name: found[kind][name] for name in each if name in found[kind]} for kind, each in names.items()}
    return Sorted(
        tasks=tuple(dict.fromkeys(names["task"])), methods=tuple(dict.fromkeys(names["method"])),
        own=Own(tasks=used["task"], methods=used["method"]), problems=tuple(problems),
    )  # fmt: skip


def built(task: Task, model: Model, *, n: int, rng: np.random.Generator) -> Pairs:
    """The prompts of a task, under its name.

    Args:
        task: the task.
        model: whose tokenizer they are made for.
        n: how many.
        rng: draws them.

    Raises:
        TaskError: if the task cannot be expressed, or what it makes are no Pairs.
    """
    made: Any = task.build(model, n=n, rng=rng)
    if not isinstance(made, Pairs):
        fix = "let it return headscope.Pairs, such as headscope.pairs makes"
        raise TaskError(f"task {task.name!r}, whose build function gave {type(made).__name__}", "Pairs", fix)
    return made if made.task == task.name else replace(made, task=task.name)


def _known(kind: str) -> Mapping[str, Any]:
    return TASKS if kind == "task" else METHODS


def _wrong(kind: str, given: Any) -> list[Problem]:
    """What is wrong with an object."""
    kinds = (Task, Pairs) if kind == "task" else (Method,)
    if not isinstance(given, kinds):
        words = "a name, FORMAT:PATH, a headscope.contract.Task, or Pairs"
        expected = words if kind == "task" else "a name, or a headscope.contract.Method"
        return [
            (f"{kind} {given!r:.60} ({type(given).__name__})", expected, f"give one, or put it into a {_made(kind)}")
        ]
    name = given.task if isinstance(given, Pairs) else given.name
    if _known(kind).get(name) is given:
        return []
    told: list[Problem] = []
    if not isinstance(name, str) or not NAME.fullmatch(name):
        told.append((f"{kind} of your own named {name!r:.60}", "letters, digits, - and _", _rename(kind, given)))
    elif name in _known(kind) or (kind == "task" and is_file(name)):
        what = f"{kind} {name!r} of your own, which is also the name of one of headscope's"
        told.append((what, "a name that is not taken", _rename(kind, given)))
    return told + (_wrong_method(given) if isinstance(given, Method) else [])


def _wrong_method(method: Method) -> list[Problem]:
    what, check = f"method {method.name!r} of your own", "headscope.testing.check_method says more"
    if not (isinstance(method.needs, type) and issubclass(Pairs, method.needs)):
        kind = getattr(method.needs, "__name__", method.needs)
        return [(f"{what}, which needs {kind}", "a method of Prompts or Pairs, which tasks give", "call it yourself")]
    names = [score.name for score in method.scores]
    if not names or len({*names}) < len(names):
        return [(f"{what} with the scores {names}", "one or more, each with a name of its own", check)]
    try:
        parameters = inspect.signature(method.function).parameters.values()
    except (TypeError, ValueError):
        return [(f"{what}, whose function says nothing of its parameters", "a Python function", check)]
    taken = {each.name for each in parameters}
    needed = [*NEEDED, *(["seed"] if method.seeded else [])]
    missing = [] if any(each.kind is each.VAR_KEYWORD for each in parameters) else [*{*needed} - taken]
    if missing:
        expected = f"(model, prompts, *, {', '.join(needed)})"
        return [(f"{what}, whose function does not take {', '.join(sorted(missing))}", expected, check)]
    return []


def _rename(kind: str, given: Any) -> str:
    what = "pairs, task=" if isinstance(given, Pairs) else f"{kind}, name="
    return f"rename it: dataclasses.replace({what}'my-{kind}')"


def _made(kind: str) -> str:
    return f"headscope.contract.{kind.capitalize()}"


def _fixed(pairs: Pairs) -> Task:
    """Finished pairs as a task: all of them, whatever the number that is asked for."""

    def build(model: Model, *, n: int, rng: np.random.Generator) -> Pairs:
        del n, rng
        ids, width = torch.stack([pairs.tokens, pairs.corrupted]), pairs.tokens.shape[1]
        if width > model.max_length or int(ids.max()) >= model.vocabulary or int(ids.min()) < 0:
            raise TaskError(
                f"pairs {pairs.task!r} of {width} tokens, with ids from {int(ids.min())} to {int(ids.max())}",
                f"at most {model.max_length} tokens, and ids from 0 to {model.vocabulary - 1}, for {model.name!r}",
                "make them for this model: headscope.pairs(model, ...)",
            )
        return pairs

    return Task(name=pairs.task, build=build, source=pairs.source, about="pairs of one's own", needs_words=False)
