"""One score of two runs: what is said of each, of both, and of every head."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from headscope.comparing import changes, reading
from headscope.comparing.correlation import Correlation, correlate
from headscope.comparing.draws import Draws
from headscope.comparing.overlap import overlap
from headscope.comparing.profile import profile
from headscope.comparing.reading import Key, Side
from headscope.comparing.result import HEADS
from headscope.errors import UsageError
from headscope.few.concentration import claimed
from headscope.grid import Grid
from headscope.runs import Run

FEW = "fewer than 3 heads have a number in both runs"
SAME = "all heads of a run have the same effect, so there is no order to compare"
"""Why there is no correlation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompting:
    """How the prompts of a task are drawn in both runs.

    Attributes:
        same: both runs measured the very same prompts.
        draws: of both runs, one object where they are the same; None where groups are not known.
        recorded: whether both runs say what their prompts were.
    """

    same: bool
    draws: tuple[Draws, Draws] | None
    recorded: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """One score of two runs.

    Attributes:
        key: task, method and score.
        row: of `Comparison.tasks`.
        heads: rows of `Comparison.heads`; none where heads cannot be matched.
        sides: two rows of `Comparison.sides`.
    """

    key: Key
    row: dict[str, Any]
    heads: pd.DataFrame
    sides: list[dict[str, Any]]


def cell(runs: tuple[Run, Run], key: Key, prompts: Prompting, *, top: int | None, seed: int) -> Cell:
    """All that can be said of one score of two runs.

    Args:
        runs: both.
        key: task, method and score.
        prompts: how the task's prompts are drawn.
        top: heads of the overlap; None: 3 %.
        seed: of flips and permutations.
    """
    sides = [reading.side(run, key) for run in runs]
    draws, reason = prompts.draws, ""
    if draws is None:
        reason = reading.NO_GROUPS
    elif any(
        each.values is None or len(each.values) != len(own.groups) for each, own in zip(sides, draws, strict=True)
    ):
        draws, reason = None, reading.NO_VALUES
    lines = [_line(run, key, each, place, draws) for place, (run, each) in enumerate(zip(runs, sides, strict=True))]
    row: dict[str, Any] = dict(zip(("task", "method", "score"), key, strict=True))
    row |= {"unit": sides[0].rows["unit"].iloc[0], "paired": prompts.same, "matched": sides[0].grid == sides[1].grid}
    row |= {
        f"{name}_{letter}": line[name] for name in ("n", "groups") for letter, line in zip("ab", lines, strict=True)
    }
    row |= {"flagged": any(line["status"] == "failed" for line in lines)}
    heads = pd.DataFrame(columns=list(HEADS))
    if row["matched"]:
        both = ~(np.isnan(sides[0].means) | np.isnan(sides[1].means))
        absent = "; ".join(dict.fromkeys(text for each in sides for text in each.rows["reason"] if text))
        reason = reason if both.sum() >= 3 else f"{FEW}" + (f": {absent}" if absent else "")
        row |= _matched(sides, both, draws, top=top)
        if not reason and np.isnan(row["rho"]):
            reason = SAME
        heads = _heads(key, sides, draws, same=prompts.same, seed=seed)
    else:
        grids = " and ".join(f"{layers} x {count}" for layers, count in (each.grid for each in sides))
        reason = f"heads cannot be matched: layers x heads are {grids}"
    row |= {
        "changed": int(heads["changed"].astype(bool).to_numpy().sum()) if draws and row["matched"] else np.nan,
        "reason": reason,
    }
    return Cell(key=key, row=row, heads=heads, sides=lines)


def _line(run: Run, key: Key, own: Side, place: int, draws: tuple[Draws, Draws] | None) -> dict[str, Any]:
    """What is said of one run alone."""
    task = reading.task_row(run, key[0])
    known = ~np.isnan(own.means)
    values = None if own.values is None else own.values[:, known]
    found = profile(own.means[known], own.layers[known], values, None if draws is None else draws[place])
    line = {**dict(zip(("task", "method", "score"), key, strict=True)), "run": "ab"[place]}
    line |= {"status": task.get("status", ""), **{name: task.get(name, np.nan) for name in ("n", "groups")}}
    line |= {name: task.get(name, np.nan) for name in ("accuracy", "accuracy_low", "accuracy_high")}
    return line | {"layers": own.grid[0], "heads": int(known.sum())} | asdict(found)


def _matched(sides: list[Side], both: Any, draws: tuple[Draws, Draws] | None, *, top: int | None) -> dict[str, Any]:
    """The numbers of two runs of one grid, over the heads that have a number in both."""
    count = int(both.sum())
    found: dict[str, Any] = {"heads": count}
    if count < 3:
        return found | asdict(Correlation(rho=float("nan")))
    k = claimed(count) if top is None else top
    if k > count:
        raise UsageError(f"top {k}", f"1 to {count}, the heads with a number in both runs", "ask for fewer heads")
    means = sides[0].means[both], sides[1].means[both]
    one, other = (each.values for each in sides)
    values = None if draws is None or one is None or other is None else (one[:, both], other[:, both])
    by = "magnitude" if bool(sides[0].rows["signed"].iloc[0]) else "value"
    found |= asdict(correlate(means, values, draws, sides[0].layers[both]))
    return found | asdict(overlap(means, values, draws, k=k, by=by))


def _heads(key: Key, sides: list[Side], draws: tuple[Draws, Draws] | None, *, same: bool, seed: int) -> pd.DataFrame:
    """One row for each head: both effects and ranks, the difference and whether it is shown."""
    first, second = sides
    one, other = first.values, second.values
    frame: Any = pd.DataFrame({"layer": first.layers, "head": first.heads})
    frame["label"] = [
        Grid.label(layer, head) for layer, head in zip(first.layers.tolist(), first.heads.tolist(), strict=True)
    ]
    for letter, each in zip("ab", sides, strict=True):
        for name, column in (("", "value"), ("_low", "low"), ("_high", "high"), ("_rank", "rank")):
            frame[f"{letter}{name}"] = each.rows[column].to_numpy(dtype=float)
    if draws is None or one is None or other is None:
        tested = pd.DataFrame({"difference": second.means - first.means}, columns=["difference", *changes.TESTED])
    elif same:
        tested = changes.paired(one, other, draws[0], seed=seed)
    else:
        tested = changes.unpaired(one, other, draws, seed=seed)
    frame = frame.join(tested)
    frame["changed"] = frame["q"].lt(0.05)
    reasons = zip(first.rows["reason"], second.rows["reason"], strict=True)
    frame["reason"] = ["; ".join(dict.fromkeys(text for text in pair if text)) for pair in reasons]
    frame["unit"] = first.rows["unit"].to_numpy()
    frame = frame.assign(**dict(zip(("task", "method", "score"), key, strict=True)))
    order = np.argsort(-frame["difference"].abs().to_numpy(dtype=float), kind="stable")  # NaN comes last
    return frame.iloc[order][list(HEADS)]
