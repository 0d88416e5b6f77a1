"""What the shell shows of a run: tables for people, records for programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscope.contract import COLUMNS
from headscope.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from headscope.runs import Run


def _console() -> Console:
    console = Console()
    # A log has no width of its own: rich would fold tables at 80 columns there.
    return console if console.is_terminal else Console(width=120)


def _interval(value: float, low: float, high: float, digits: int = 2) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def print_tasks(run: Run) -> None:
    """Each task with the model's accuracy, or why it has none."""
    table = Table(title=f"Does {run.identity['model']['name']} do the tasks?", title_justify="left")
    for name in ("task", "status", "accuracy, 2 choices [95 %]", "logit difference", "corrupted", "n", "groups"):
        table.add_column(name, justify="left" if name in {"task", "status"} else "right")
    for row in run.tasks.to_dict("records"):
        measured = row["status"] != "skipped" and not math.isnan(row["accuracy"])
        cells = [
            _interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) if measured else "-"
            for name in ("accuracy", "logit_difference", "corrupted")
        ]
        sizes = [str(int(row[name])) if measured else "-" for name in ("n", "groups")]
        table.add_row(row["task"], str(row["status"]), *cells, *sizes)
    console = _console()
    console.print(table)
    for row in run.tasks.to_dict("records"):
        if row.get("reason"):
            console.print(Text(f"{row['task']}: {row['reason']}", style="yellow"))


def print_top(run: Run, k: int) -> None:
    """The top heads of each task, with effect, interval, rank interval and share of the total effect."""
    try:
        top = run.top(k)
    except UsageError:
        return
    console = _console()
    for task, rows in top.groupby("task", sort=False):
        console.print(_ranking(str(task), rows))


def _ranking(task: str, rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    flag = "  (the model fails this task)" if first["flagged"] else ""
    title = f"{task}: top heads by {first['method']}, {first['score']}, in {first['unit']}; n = {first['n']}{flag}"
    table = Table(title=title, title_justify="left")
    for name in ("head", "effect [95 %]", "rank [95 %]", "share of summed |effect|", "q"):
        table.add_column(name, justify="left" if name == "head" else "right")
    for row in rows.to_dict("records"):
        rank = "-" if math.isnan(row["rank_low"]) else f"{row['rank']:.0f} [{row['rank_low']:.0f}, {row['rank_high']:.0f}]"
        share = "-" if math.isnan(row["share"]) else f"{row['share']:.1%}"
        q = "-" if math.isnan(row["q"]) else f"{row['q']:.3f}"
        table.add_row(row["label"], _interval(row["value"], row["low"], row["high"], 3), rank, share, q)
    return table


def as_record(run: Run, k: int, folder: Path) -> dict[str, Any]:
    """The same as JSON: tasks, top heads, where the run is; NaN becomes null."""
    try:
        top = run.top(k)[["label", *COLUMNS, "flagged"]].to_dict("records")
    except UsageError:
        top = []
    return {
        "model": run.identity["model"]["name"],
        "complete": run.identity["complete"],
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "tasks": [_plain(row) for row in run.tasks.to_dict("records")],
        "top": [_plain(row) for row in top],
    }


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    values = {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}
