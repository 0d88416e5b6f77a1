"""What the shell shows of probes: tables of labels, depths and use for people, a record for programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from headscope.cli import hints
from headscope.cli.tables import WIDE, console, finite, number, plain, table

if TYPE_CHECKING:
    from headscope.probed import Probed
    from headscope.runs import Run

BEST = (
    "best: chosen on one half of the documents, measured on the other (accuracy, over). over: points over the best of "
    "commonest class, own embedding, embedding of the word before. selectivity: points over a control task. q: "
    "Benjamini-Hochberg over all sites and labels. heads: how many of them exceed the baseline (q <= .05)."
)
DEPTHS = (
    "Depth in blocks passed. gained: mean depth at which accuracy over the baseline is gained. 90 %: first depth with "
    "90 % of the most, late by chance where a signal is weak. held: mean depth weighted by it."
)
USED = (
    "present: selectivity, in points. used: what the task's metric loses when the probe's directions are taken out of "
    "the head's output; random: the same for random directions; q over the heads of a label. uses: present with its "
    "whole interval above 0, q <= .05, and more than random."
)


def print_probes(run: Run) -> None:
    """The best head and depth for every label, the depths, the verdict on their order, and what is used.

    Args:
        run: with probes.
    """
    from headscope.report.probing import absent, summary

    probed, out = run.probes, console()
    if probed is None:
        return
    out.print(
        Text("What can be read off the heads of ") + plain(run.identity["model"]["name"]) + Text("?"), style="bold"
    )
    if told := summary(probed):
        out.print(plain(told))
    _print_best(probed)
    _print_depths(probed)
    out.print(plain(probed.hierarchy.verdict))
    _print_used(probed)
    if told := absent(probed):
        out.print(plain(told), style="yellow")


def next_commands(run: Run, model: str) -> list[str]:
    """What one would ask next, as commands.

    Args:
        run: with probes.
        model: as typed.
    """
    whole = [] if run.identity["plan"].get("use") else [hints.command("probe", model)]
    return [*whole, hints.command("roles", model)]


def _rows(frame: Any) -> list[Any]:
    return list(frame.itertuples(index=False)) if len(frame) else []


def _print_best(probed: Probed) -> None:
    out = console()
    wide = out.width >= WIDE
    names = ["label", "best", "accuracy [95 %]", "over [95 %]", "selectivity"]
    names += ["untrained", "bits", "q"] if wide else []
    made = table(*names, "n", "heads", left=("label", "best"))
    for row in _rows(probed.best):
        cells = [
            row.label, row.name + ("" if row.site in {"z", "resid"} else f" ({row.site})"),
            f"{_two(row.accuracy)} [{_two(row.low)}, {_two(row.high)}]",
            f"{_points(row.difference)} [{_points(row.difference_low)}, {_points(row.difference_high)}]",
            _points(row.selectivity),
        ]  # fmt: skip
        cells += [_two(row.untrained), number(row.bits), number(row.q)] if wide else []
        cells += [str(row.n), f"{row.decodable_sites} of {row.sites}" if row.head >= 0 else ""]
        made.add_row(*map(plain, cells))
    out.print(made)
    out.print(Text(BEST, style="dim"))


def _print_depths(probed: Probed) -> None:
    out = console()
    sites = list(dict.fromkeys(probed.hierarchy.depths["site"]))
    site = "resid" if "resid" in sites else sites[0]
    made = table("label", "stage", "gained [95 %]", "90 % [95 %]", "held [95 %]", "groups", left=("label", "stage"))
    for row in _rows(probed.hierarchy.depths):
        if row.site == site:
            cells = [_depth(row, name) for name in ("expected", "first", "centre")]
            made.add_row(*map(plain, (row.label, row.stage or "-", *cells, row.groups)))
    out.print()
    where = "in the residual stream" if site == "resid" else f"by the best head of each layer ({site})"
    out.print(Text(f"At which depth, {where}", style="bold"))
    out.print(made)
    out.print(Text(DEPTHS, style="dim"))


def _depth(row: Any, name: str) -> str:
    value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    return "-" if math.isnan(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _print_used(probed: Probed) -> None:
    if probed.used.empty:
        return
    from headscope.grid import Grid

    out = console()
    wide = out.width >= WIDE
    names = ["label", "task", "head", "present", "used [95 %]", "random"]
    made = table(*names, *(["swapped"] if wide else []), "q", *(["n"] if wide else []), "uses", left=("label", "task"))
    for row in _rows(probed.used):
        cells = [row.label, row.task, Grid.label(int(row.layer), int(row.head)), _points(row.present)]
        cells += [f"{number(row.used)} [{number(row.used_low)}, {number(row.used_high)}]", number(row.random)]
        cells += [number(row.swapped)] if wide else []
        cells += [number(row.q), *([str(row.n)] if wide else []), "yes" if row.uses else "no"]
        made.add_row(*map(plain, cells))
    out.print()
    out.print(Text("Does the model use it?", style="bold"))
    out.print(made)
    out.print(Text(USED, style="dim"))


def _points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.0f}"


def _two(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def as_record(run: Run, folder: Path | None) -> dict[str, Any]:
    """The same as JSON, with where the run is (None if it could not be written); NaN becomes null.

    Args:
        run: with probes.
        folder: where it was saved.
    """
    record: dict[str, Any] = {
        "model": run.identity["model"]["name"],
        "complete": run.identity["complete"],
        "folder": None if folder is None else str(folder),
        "report": None if folder is None else str(folder / "report.html"),
    }
    if run.probes is not None:
        from headscope.report.probing import summary

        frames = run.probes.frames()
        record |= {"summary": summary(run.probes), "verdict": run.probes.hierarchy.verdict}
        record |= {name: frame.to_dict("records") for name, frame in frames.items() if name != "probes"}
        record |= {"record": dict(run.probes.record)}
    return finite(record)
