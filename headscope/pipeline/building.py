"""The prompts of every task of a plan, and a row for each with what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headscope import provenance
from headscope.errors import HeadscopeError, TaskError, UsageError
from headscope.metrics import under
from headscope.models import Model
from headscope.pipeline.own import built
from headscope.pipeline.planning import Plan
from headscope.prompts import Pairs
from headscope.tasks import DEFAULT

ABSENT_TASK: dict[str, Any] = {
    **dict.fromkeys(("task", "status", "reason", "source", "corruption", "metric", "prompts"), ""),
    **dict.fromkeys(("n", "groups", "accuracy", "accuracy_low", "accuracy_high", "logit_difference"), np.nan),
    **dict.fromkeys(("logit_difference_low", "logit_difference_high"), np.nan),
    **dict.fromkeys(("corrupted", "corrupted_low", "corrupted_high"), np.nan),
}
"""A row of a run's table of tasks before anything is known; `corrupted` is the logit difference after the twins,
`prompts` the fingerprint of the prompts.

`reason` says why a task is skipped or failed, and whatever else must be known to read its numbers."""


def build_tasks(
    model: Model, plan: Plan, *, default: Sequence[str] = DEFAULT
) -> tuple[dict[str, Pairs], dict[str, dict[str, Any]]]:
    """The prompts of every task, and a row for each with its status.

    A task that the model cannot express, or that a metric of the plan does not fit, is skipped with its reason, unless
    the plan names it.

    Args:
        model: whose tokenizer the prompts are made for.
        plan: the tasks, the number of examples and the seed.
        default: tasks for a plan that names none.

    Raises:
        TaskError: if a task that the plan names cannot be expressed or measured by its metrics, or none can.
    """
    pairs: dict[str, Pairs] = {}
    rows: dict[str, dict[str, Any]] = {}
    problems: list[HeadscopeError] = []
    for given in plan.tasks or default:
        task = plan.task(given)
        name = task.name
        rng = np.random.default_rng(provenance.seed_for(plan.seed, name))
        rows[name] = {"task": name, "source": task.source}
        try:
            pairs[name] = under(built(task, model, n=plan.n, rng=rng), plan.metrics)
            rows[name]["prompts"] = provenance.fingerprint(pairs[name])
        except (TaskError, UsageError) as error:
            problems.append(error)
            rows[name] |= {"status": "skipped", "reason": f"{error.given}; expected: {error.expected}"}
    if problems and (plan.tasks or not pairs):
        parts = (dict.fromkeys(getattr(error, part) for error in problems) for part in ("given", "expected", "fix"))
        raise TaskError(*("; ".join(part) for part in parts))
    return pairs, rows


def build_files(model: Model, plan: Plan) -> dict[str, Pairs]:
    """All items of those files in which some have no twin: what such benchmarks report the accuracy of.

    Args:
        model: whose tokenizer the prompts are made for.
        plan: the tasks, the number of examples and the seed.
    """
    found = {}
    for task in map(plan.task, plan.tasks):
        if task.score is not None:
            rng = np.random.default_rng(provenance.seed_for(plan.seed, task.name, "score"))
            found[task.name] = task.score(model, n=plan.n, rng=rng)
    return found


def told_of_file(row: Mapping[str, Any], notes: Sequence[str]) -> str:
    """The accuracy over all items of a file, in words.

    Args:
        row: from `headscope.ability.ability`.
        notes: of the items.
    """
    span = f"[{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}]" if row["groups"] > 1 else "(no interval)"
    return "; ".join([f"accuracy with and without twins {row['accuracy']:.2f} {span}", *notes[1:]])
