"""What the shell shows of roles: tables of heads and relations for people, a record for programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from headscope.cli import hints
from headscope.cli.names import TASKS
from headscope.cli.tables import WIDE, console, finite, number, plain, table

if TYPE_CHECKING:
    from headscope.roles.result import Roles
    from headscope.runs import Run

MOST = 24
"""Relations that are printed."""

LISTED = 4
"""Labels of one head that are printed; the report and labels.parquet have all."""

NAMED = 8
"""Relations without instances that are named."""

GOLD = {"syntax": "relation", "coreference": "mention"}
"""Roles whose cases have a table of their own, and what a case of them is."""

HEADS = (
    "After a label its confidence: the share of resamples of the held-out text in which its rule holds. "
    "*: a causal effect on a task confirms it; all others are observed only."
)
RELATIONS = (
    "The best head is chosen on one half of the text and measured on the other, as is its baseline, the best rule that "
    "looks at no head. points: by how many percentage points it exceeds that. shuffled: what the same head "
    "gets if gold targets are exchanged between instances. q: Benjamini-Hochberg over all that the first half puts "
    "forward; -: not put forward."
)


def print_roles(run: Run) -> None:
    """The labels of every head, the best head of every relation, and what could not be measured.

    Args:
        run: with roles.
    """
    from headscope.report.roles import absent_roles, summary

    roles, out = run.roles, console()
    if roles is None:
        return
    out.print(Text("What does each head of ") + plain(run.identity["model"]["name"]) + Text(" do?"), style="bold")
    out.print(plain(summary(roles)))
    _print_heads(roles)
    printed = [_print_relations(roles, role, name) for role, name in GOLD.items()]
    if any(printed):
        out.print(Text(RELATIONS, style="dim"))
    for reason, names in absent_roles(roles).items():
        out.print(plain(f"{', '.join(names)}: not measured, for {reason}"), style="yellow")


def print_summary(run: Run) -> None:
    """How many heads have which roles, in a sentence, and where to learn more.

    Args:
        run: with roles or without.
    """
    if run.roles is None:
        return
    from headscope.report.roles import summary

    out = console()
    out.print(plain(f"roles: {summary(run.roles)} headscope roles says more of them."))


def next_commands(run: Run, model: str) -> list[str]:
    """What one would ask next, as commands.

    Args:
        run: with roles.
        model: as typed.
    """
    if run.roles is None:
        return []
    task = next((task for task in run.roles.labels["task"] if task in TASKS), "")
    found = [hints.command("few", model, "--task", task)] if task else []
    return [hints.command("analyze", model), *found]


def _print_heads(roles: Roles) -> None:
    from headscope.grid import Grid
    from headscope.plots.roles import by_head

    alike: dict[tuple[str, ...], list[tuple[str, list[Any]]]] = {}
    for place, rows in by_head(roles.labels).items():
        alike.setdefault(tuple(_name(row) for row in rows), []).append((Grid.label(*place), rows))
    blank, out = alike.pop((), []), console()
    made = table("heads", "roles", left=("heads", "roles"))
    for names, heads in alike.items():
        labels = [f"{name} {_sure([rows[i] for _, rows in heads])}" for i, name in enumerate(names[:LISTED])]
        labels += [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
        made.add_row(", ".join(head for head, _ in heads), plain("; ".join(labels)))
    if made.row_count:
        out.print(made)
        out.print(Text(HEADS, style="dim"))
    if blank:
        out.print(Text(f"unassigned: {', '.join(head for head, _ in blank)}"))


def _name(row: Any) -> str:
    from headscope.roles.table import title

    return title(row.role, row.case) + ("*" if row.causal == "confirmed" else "")


def _sure(rows: list[Any]) -> str:
    """How sure the same label of several heads is."""
    low, high = (f"{100 * end([row.confidence for row in rows]):.0f}" for end in (min, max))
    return f"{low} %" if low == high else f"{low}-{high} %"


def _print_relations(roles: Roles, role: str, name: str) -> bool:
    from headscope.plots.words import loose

    rows = loose(roles.relations(role))
    known = rows[rows["value"].notna()]
    if known.empty:
        return False
    out = console()
    wide = out.width >= WIDE
    columns = [name, "best head", "accuracy [95 %]", "baseline"]
    columns += ["by", "shuffled", "others look"] if wide else []
    made = table(*columns, "points", "n", *(["q"] if wide else []), "role", left=(name, "by"))
    for row in known.head(MOST).itertuples():
        told = [f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]", f"{row.baseline:.2f}"]
        told += [row.baseline_name, _two(row.null), _two(row.elsewhere)] if wide else []
        cells = [row.case, row.label, *told, _points(row.difference), f"{row.n:.0f}"]
        cells += [number(row.q)] if wide else []
        made.add_row(*(plain(cell) for cell in (*cells, "yes" if row.passed else "no")))
    out.print()
    out.print(made)
    if len(known) > MOST:
        out.print(Text(f"and {len(known) - MOST} more in roles.parquet and the report", style="dim"))
    absent = rows.loc[rows["value"].isna(), "case"].tolist()
    if absent:
        told = ", ".join(absent[:NAMED]) + (f" and {len(absent) - NAMED} more" if len(absent) > NAMED else "")
        out.print(plain(f"too few instances: {told}"), style="yellow")
    return True


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.0f}"


def _two(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def as_record(run: Run, folder: Path | None) -> dict[str, Any]:
    """The same as JSON, with where the run is (None if it could not be written); NaN becomes null.

    Args:
        run: with roles.
        folder: where it was saved.
    """
    record = {
        "model": run.identity["model"]["name"],
        "complete": run.identity["complete"],
        "folder": None if folder is None else str(folder),
        "report": None if folder is None else str(folder / "report.html"),
        **roles_record(run.roles),
    }
    return finite(record)


def roles_record(roles: Roles | None) -> dict[str, Any]:
    """Labels, the best head of every case, and the record, as plain values; nothing where there are no roles.

    Args:
        roles: of a run.
    """
    if roles is None:
        return {}
    from headscope.plots.words import loose
    from headscope.report.roles import summary

    scores = loose(roles.scores)
    best = scores[scores["best"].astype(bool)]
    return {
        "summary": summary(roles),
        "labels": loose(roles.labels).to_dict("records"),
        "best": best.to_dict("records"),
        "stability": loose(roles.stability).to_dict("records"),
        "record": dict(roles.record),
    }
