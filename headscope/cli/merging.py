"""`headscope merge` and `headscope verify`: runs that are united, and runs that are checked."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import folders, options
from headscope.cli.finishing import finish, tell_cells

if TYPE_CHECKING:
    from headscope.runs import Run

TOP = 8
"""Heads of each task that are printed."""
LINES = 20
"""Faults that are printed one by one."""
EPILOG_MERGE = (
    "[bold]Examples[/bold]\n"
    "  headscope merge runs/all runs/part-1 runs/part-2\n"
    "  headscope merge runs/gpt2 runs/gpt2-ioi runs/gpt2-induction\n\n"
    "The model is not loaded. What no run has is named, with the command that\n"
    "computes it and nothing else. Exit codes: 0 done, 1 failed (a damaged\n"
    "cell, a full disk), 2 bad input (no run, runs that do not fit)."
)
EPILOG_VERIFY = (
    "[bold]Examples[/bold]\n"
    "  headscope verify runs/gpt2\n"
    "  headscope verify runs/gpt2 --json > checks.json\n\n"
    "Exit codes: 0 all is as it was written, 1 something is wrong, 2 no run."
)
_Json = Annotated[bool, options.as_json("what was checked, and what is wrong")]
_Quiet = Annotated[bool, options.option("--quiet", "-q", panel=options.OUTPUT, help="Print only what is wrong.")]
_MergeJson = Annotated[bool, options.as_json("tasks, top heads, paths")]


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or one with a run of the same model.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that headscope analyze wrote.")],
    quiet: options.Quiet = False,
    as_json: _MergeJson = False,
) -> None:
    """Unite RUNs of one model: parts of one analysis, or other tasks and methods.

    Checks and copies their cells, and writes tables and report from them.
    """
    from headscope.cli import labels, tables
    from headscope.pipeline import command_line
    from headscope.pipeline import merge as united

    with folders.no_litter(out):
        run = united(out, runs, command=command_line())

    def show() -> None:
        tables.print_tasks(run)
        tables.print_top(run, TOP)
        labels.print_summary(run)

    record = partial(tables.as_record, run, TOP)
    finish(lambda folder: folder, out, show=show, record=record, quiet=quiet, as_json=as_json)
    tell_cells(run.identity, quiet=True)
    _tell_missing(run, out)


def _tell_missing(run: Run, out: Path) -> None:
    missing = run.identity["cells"].get("missing", [])
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        words = ["headscope", "analyze", "MODEL", "--out", str(out)]
        sys.stderr.write(
            f"headscope: not there yet: {'; '.join(missing[:3])}{more}\n"
            f"  computed, and nothing else, by: {shlex.join(words)}, with the options of the runs\n"
        )


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that headscope wrote.")],
    quiet: Annotated[
        bool, options.option("--quiet", "-q", panel=options.OUTPUT, help="Print only what is wrong.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Check RUN: checksums of files and cells, schema, provenance, and tables.

    Every mean is computed again from the values of its examples. Nothing is
    written. Checksums find damage; they are no signature.
    """
    from rich.text import Text

    from headscope.cli.tables import console, plain
    from headscope.pipeline.verifying import OK, WRONG
    from headscope.pipeline.verifying import verify as checked

    found: Any = checked(run)
    wrong = found[found["status"] == WRONG]
    if as_json:
        record = {"folder": str(run), "sound": wrong.empty, "checks": found.to_dict("records")}
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
    else:
        out, lines = console(), found.to_dict("records")
        for check in () if quiet else found["check"].unique():
            rows = found[found["check"] == check]
            out.print(plain(f"{check}: {int((rows['status'] == OK).sum())} of {len(rows)} ok"))
        for line in [line for line in lines if line["status"] != OK][:LINES]:
            style = "red" if line["status"] == WRONG else "yellow"
            out.print(Text(_told(line)), style=style)
    if len(wrong):
        raise typer.Exit(1)


def _told(line: dict[str, Any]) -> str:
    return f"{line['status']}: {line['check']} {line['what']}: {line['detail']}"
