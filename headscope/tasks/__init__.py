"""What models are asked to do: one file a task, one line here."""

from headscope.contract import Task
from headscope.tasks.agreement import AGREEMENT
from headscope.tasks.induction import INDUCTION
from headscope.tasks.ioi import IOI

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        INDUCTION,
        IOI,
        AGREEMENT,
    )
}

DEFAULT = ("induction", "ioi", "agreement")
"""What `analyze` asks of a model, unless told otherwise: three different abilities, in a minute on the bundled one."""

__all__ = ["DEFAULT", "TASKS"]
