"""What the shell shows of verdicts on a few heads: a table and paragraphs for people, a record for programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from headscope.cli.tables import WIDE, console, finite, plain, table

if TYPE_CHECKING:
    from headscope.few import Few
    from headscope.runs import Run

TARGETS = (0.5, 0.8, 0.9)

LEGEND = (
    "of: how many heads there are. keep 50, 80, 90 %: the fewest whose faithfulness reaches it when all others are "
    "ablated, with 95 % interval ('+': some resamples need more). top: what they hold of the summed positive single "
    "effects. stable: mean Jaccard index of the chosen heads under resampling. All but the choice is measured on "
    "held-out pairs."
)


def print_verdicts(run: Run) -> None:
    """One line for each task, then each verdict in words, then what was skipped.

    Args:
        run: with verdicts.
    """
    out = console()
    settings = run.identity["settings"]
    top = f"top {100 * settings['claim']:g} %"
    keep = "keep " if out.width >= WIDE else ""
    made = table("task", "accuracy", "of", *(f"{keep}{100 * at:.0f} %" for at in TARGETS), top, "stable", "verdict",
                 left=("task", "verdict"))  # fmt: skip
    for name, result in run.few.items():
        made.add_row(plain(name), *(Text(cell) for cell in cells(result, wide=out.width >= WIDE)), plain(result.label))
    title = Text("Do a few heads of ") + plain(run.identity["model"]["name"]) + Text(" carry the tasks?")
    out.print(title, style="bold")
    out.print(made)
    if run.few:
        out.print(Text(f"{settings['ablation']} ablation. {LEGEND}", style="dim"))
    for result in run.few.values():
        out.print()
        out.print(plain(result.text))
    for row in run.tasks.to_dict("records"):
        if row["status"] == "skipped":
            out.print(plain(f"{row['task']}: skipped: {row['reason']}"), style="yellow")


def cells(result: Few, *, wide: bool) -> list[str]:
    """A verdict's numbers as text: accuracy, number of units, smallest sets, share of the effects, stability.

    Args:
        result: of one task.
        wide: with intervals.
    """
    accuracy = f"{result.facts['accuracy']:.2f}"
    if result.heads.empty:
        return [accuracy, *["-"] * 6]
    sizes = [smallest(result, target, wide=wide) for target in TARGETS]
    found = result.curve[(result.curve["measure"] == "effect") & (result.curve["k"] == result.facts["k"])]
    value, low, high = (float(found.iloc[0][name]) for name in ("value", "low", "high"))
    share = "-" if math.isnan(value) else f"{100 * value:.0f} %"
    share += f" [{100 * low:.0f}, {100 * high:.0f}]" if wide and not math.isnan(value) else ""
    return [accuracy, str(result.facts["units"]), *sizes, share, f"{result.facts['stability']:.2f}"]


def smallest(result: Few, target: float, *, wide: bool) -> str:
    """The fewest units whose faithfulness reaches a target under the verdict's own ablation.

    Args:
        result: of one task.
        target: such as 0.9.
        wide: with its interval.
    """
    rows = result.smallest
    rows = rows[
        (rows["measure"] == "faithfulness") & (rows["target"] == target) & (rows["ablation"] == result.ablation)
    ]
    if rows.empty or math.isnan(rows.iloc[0]["k"]):
        return "none"
    k, low, high = (float(rows.iloc[0][name]) for name in ("k", "low", "high"))
    if not wide:
        return f"{k:.0f}"
    return f"{k:.0f} [{low:.0f}{'+' if math.isnan(high) else f', {high:.0f}'}]"


def as_record(run: Run, folder: Path | None) -> dict[str, Any]:
    """The same as JSON, with where the run is (None if it could not be written); NaN becomes null.

    Args:
        run: with verdicts.
        folder: where it was saved.
    """
    record = {
        "model": run.identity["model"]["name"],
        "complete": run.identity["complete"],
        "folder": None if folder is None else str(folder),
        "report": None if folder is None else str(folder / "report.html"),
        "tasks": run.tasks.to_dict("records"),
        "few": {name: _record(result) for name, result in run.few.items()},
    }
    return finite(record)


def _record(result: Few) -> dict[str, Any]:
    tables = {name: getattr(result, name).to_dict("records") for name in ("criteria", "smallest", "areas", "probes")}
    few = result.heads.head(result.facts["k"]).to_dict("records") if len(result.heads) else []
    facts = {name: value for name, value in result.facts.items() if name != "draws"}
    told = {"task": result.task, "unit": result.unit, "label": result.label, "text": result.text, "facts": facts}
    return {**told, "heads": few, **tables}
