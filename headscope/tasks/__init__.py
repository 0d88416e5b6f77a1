"""What models are asked to do: one file a task, one line here."""

import difflib

from headscope.contract import Task
from headscope.errors import UsageError
from headscope.tasks.agreement import AGREEMENT
from headscope.tasks.capitals import CAPITALS
from headscope.tasks.chains.rows import SYMBOLIC
from headscope.tasks.deduction import DEDUCTION, DEDUCTION_FACTS, DEDUCTION_PREMISE
from headscope.tasks.docstring import DOCSTRING, DOCSTRING_RANDOM
from headscope.tasks.facts import FACTS
from headscope.tasks.files import from_file, is_file
from headscope.tasks.gender_bias import GENDER_BIAS
from headscope.tasks.greater_than import GREATER_THAN
from headscope.tasks.induction import INDUCTION
from headscope.tasks.ioi import IOI, IOI_RANDOM, IOI_S2
from headscope.tasks.pronouns import PRONOUN
from headscope.tasks.retrieval import RETRIEVAL
from headscope.tasks.winograd import WINOGRAD
from headscope.tasks.world import MINI, WORLD

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        INDUCTION,
        IOI,
        IOI_S2,
        IOI_RANDOM,
        AGREEMENT,
        GREATER_THAN,
        PRONOUN,
        WINOGRAD,
        GENDER_BIAS,
        FACTS,
        CAPITALS,
        RETRIEVAL,
        DOCSTRING,
        DOCSTRING_RANDOM,
        DEDUCTION,
        DEDUCTION_FACTS,
        DEDUCTION_PREMISE,
        *SYMBOLIC,
        *WORLD,
    )
}

DEFAULT = ("induction", "ioi", "agreement")
"""What `analyze` asks of a model, unless told otherwise: three different abilities, of the bundled one in about a
minute on two CPU cores."""


def resolve(name: str) -> Task:
    """The task of a name: a key of `TASKS`, or `FORMAT:PATH` for a file (see `headscope list tasks`).

    Args:
        name: such as `ioi` or `lambada:test.jsonl`.

    Raises:
        UsageError: if there is no such task, or with everything that is wrong with the file that can be told without a
            tokenizer.

    Example:
        >>> resolve("ioi").name
        'ioi'
    """
    if name in TASKS:
        return TASKS[name]
    if is_file(name):
        return from_file(name)
    near = difflib.get_close_matches(name, TASKS, 1, cutoff=0.4)
    fix = f"did you mean {near[0]!r}?" if near else "see headscope list tasks"
    raise UsageError(f"unknown task {name!r}", f"tasks: {', '.join(TASKS)}; files: FORMAT:PATH", fix)


__all__ = ["DEFAULT", "MINI", "TASKS", "resolve"]
