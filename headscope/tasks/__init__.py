"""What models are asked to do: one file a task, one line here."""

from headscope.contract import Task
from headscope.tasks.agreement import AGREEMENT
from headscope.tasks.induction import INDUCTION
from headscope.tasks.ioi import IOI

TASKS: dict[str, Task] = {task.name: task for task in (INDUCTION, IOI, AGREEMENT)}

__all__ = ["TASKS"]
