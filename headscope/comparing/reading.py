"""What two runs have in common: the scores that both measured, on which prompts, and what differs between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from headscope.errors import UsageError
from headscope.plots.words import loose, said
from headscope.runs import Run

Key = tuple[str, str, str]
"""Task, method and score."""

NO_VALUES = "a run that keeps no per-example values of this score cannot be resampled"
NO_GROUPS = "a run that does not say which examples belong together cannot be resampled; analyse again"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One run's numbers of one score.

    Attributes:
        rows: of the run's scores, head by head in the order of the grid.
        means: of the heads.
        layers, heads: of each row.
        values: the per-example values; None where they were not kept.
    """

    rows: pd.DataFrame
    means: Float[np.ndarray, " head"]
    layers: Int[np.ndarray, " head"]
    heads: Int[np.ndarray, " head"]
    values: Float[np.ndarray, "example head"] | None

    @property
    def grid(self) -> tuple[int, int]:
        """How many layers, and heads in each."""
        return int(self.layers.max()) + 1, int(self.heads.max()) + 1


def side(run: Run, key: Key) -> Side:
    """One run's numbers of one score.

    Args:
        run: which has that score.
        key: task, method and score.
    """
    rows = loose(run.scores)
    task, method, score = key
    rows = rows[(rows["task"] == task) & (rows["method"] == method) & (rows["score"] == score)]
    rows = rows.sort_values(["layer", "head"], ignore_index=True)
    found = Side(
        rows=rows,
        means=rows["value"].to_numpy(dtype=float),
        layers=rows["layer"].to_numpy(dtype=np.int64),
        heads=rows["head"].to_numpy(dtype=np.int64),
        values=None,
    )
    kept = run.examples.get(".".join(key))
    if kept is None or kept.ndim != 3 or not len(kept):
        return found
    if tuple(kept.shape[1:]) != found.grid or kept[0].numel() != len(rows):
        return found
    values = kept.double().cpu().numpy().reshape(len(kept), -1)
    return Side(rows=rows, means=found.means, layers=found.layers, heads=found.heads, values=values)


def keys(run: Run) -> dict[Key, str]:
    """The scores of a run with their units, in its own order.

    Args:
        run: any.
    """
    rows = loose(run.scores)[["task", "method", "score", "unit"]].drop_duplicates(["task", "method", "score"])
    return {(str(t), str(m), str(s)): str(unit) for t, m, s, unit in rows.itertuples(index=False)}


def shared(one: Run, other: Run) -> tuple[list[Key], list[str]]:
    """The scores that both runs have, and what was left out and why.

    Args:
        one: a run.
        other: another.

    Raises:
        UsageError: if they have none in common.
    """
    first, second = keys(one), keys(other)
    both = [key for key in first if key in second and first[key] == second[key]]
    if not both:
        given = "; ".join(f"{name} run: {_listed(found)}" for name, found in (("first", first), ("second", second)))
        units = [f"in {first[key]} and in {second[key]}" for key in first if key in second]
        given += f"; measured {', '.join(dict.fromkeys(units))}" if units else ""
        raise UsageError(
            f"two runs with no score in common ({given})",
            "two runs of one task by one method, in one unit",
            "analyse both models with the same --task and --method",
        )
    left = [
        f"{', '.join(key)}: measured in {first[key]} in the first run and in {second[key]} in the second"
        for key in first
        if key in second and first[key] != second[key]
    ]
    for name, own, rest in (("first", first, second), ("second", second, first)):
        alone = {key: unit for key, unit in own.items() if key not in rest}
        left += [f"{_listed(alone)}: only in the {name} run"] if alone else []
    return both, left


def _listed(found: Mapping[Key, str]) -> str:
    cells: dict[tuple[str, str], list[str]] = {}
    for task, method, score in found:
        cells.setdefault((task, method), []).append(score)
    tasks: dict[str, list[str]] = {}
    for task, method in cells:
        tasks.setdefault(task, []).append(method)
    return "; ".join(f"{task} by {', '.join(methods)}" for task, methods in tasks.items()) or "no scores at all"


def groups_of(run: Run, task: str) -> Int[np.ndarray, " example"] | None:
    """The group of every example of a task; None where the run does not say.

    Runs that were made before groups were kept say it where every example is a group of its own.

    Args:
        run: any.
        task: one that it has measured.
    """
    if task in run.groups:
        return run.groups[task].cpu().numpy().astype(np.int64)
    row = task_row(run, task)
    n = row.get("n", np.nan)
    return np.arange(int(n)) if n == row.get("groups") else None


def task_row(run: Run, task: str) -> Mapping[str, Any]:
    """What a run's table of tasks says of a task; empty where it says nothing.

    Args:
        run: any.
        task: its name.
    """
    rows = run.tasks.loc[run.tasks["task"] == task].to_dict("records")
    return {str(name): value for name, value in rows[0].items()} if rows else {}


def same_prompts(one: Run, other: Run, task: str) -> bool:
    """Whether both runs measured the very same prompts of a task, example by example.

    Args:
        one: a run.
        other: another.
        task: a task of both.
    """
    prints = [said(task_row(run, task).get("prompts")) for run in (one, other)]
    groups = [groups_of(run, task) for run in (one, other)]
    if not prints[0] or prints[0] != prints[1] or groups[0] is None or groups[1] is None:
        return False
    return np.array_equal(groups[0], groups[1])


def differing(one: Run, other: Run) -> pd.DataFrame:
    """What differs between two runs: model, plan, versions, machine.

    Args:
        one: a run.
        other: another.

    Returns:
        Columns `what`, `a`, `b`, as text; times, commands and self-checks are left out, since they always differ.
    """
    flat = [_flat(run.identity) for run in (one, other)]
    names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if not name.startswith(_ALWAYS)]
    rows = [(name, *(each.get(name, "not recorded") for each in flat)) for name in names]
    return pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["what", "a", "b"])


_ALWAYS = (
    "views",
    "agreement",
    "wall_seconds",
    "provenance started",
    "provenance command",
    "model self_check",
    "schema",
)


def _flat(record: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name} ")
        elif isinstance(value, (list, tuple)):
            found[f"{before}{name}"] = ", ".join(map(str, value)) or "default"
        else:
            found[f"{before}{name}"] = "not recorded" if value is None else str(value)
    return found
