"""What one would do next: one dim line after a command, for people at a terminal only."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headscope.cli import names

if TYPE_CHECKING:
    from headscope.runs import Run

BETWEEN = "   or: "


def program() -> str:
    """This program as it was called: `headscope`, or `python -m headscope` where it is not installed."""
    return "python -m headscope" if Path(sys.argv[0]).name == "__main__.py" else "headscope"


def command(*words: object) -> str:
    """A command as it can be typed, with this program's name and what needs it quoted.

    Args:
        words: what comes after the program's name.

    Example:
        >>> command("few", "my model", "-t", "ioi").partition("few")[1:]
        ('few', " 'my model' -t ioi")
    """
    return f"{program()} {shlex.join(map(str, words))}"


def opened(path: Path) -> str | None:
    """The command that opens a file with the program for its kind, where this machine has one.

    Args:
        path: the file.
    """
    program = next((name for name in ("xdg-open", "open") if shutil.which(name)), None)
    return None if program is None else shlex.join([program, str(path)])


def after_analysis(run: Run, model: str, folder: Path) -> list[str | None]:
    """What one would do after an analysis.

    Args:
        run: with scores.
        model: as typed.
        folder: where the run is.
    """
    tasks = [row["task"] for row in run.tasks.to_dict("records") if row["status"] == "ok"]
    task = next((task for task in tasks if task in names.TASKS), None)
    few = command("few", model, *(["--task", task] if task else []))
    return [opened(folder / "report.html"), few, command("roles", model)]


def tell(*commands: str | None, quiet: bool = False, as_json: bool = False) -> None:
    """Print as many of these commands as one line holds, the first of them in any case.

    Args:
        commands: the most useful first; None for one that this machine does not have.
        quiet: print nothing.
        as_json: print nothing.
    """
    known = [each for each in commands if each]
    if quiet or as_json or not known or not sys.stdout.isatty():
        return
    from headscope.cli.tables import console, plain

    out = console()
    line = f"next: {known[0]}"
    for each in known[1:]:
        if len(line) + len(BETWEEN) + len(each) <= out.width:
            line += BETWEEN + each
    shown = plain(line)
    shown.stylize("dim")
    # Never broken by us: a command is copied in one piece.
    out.print(shown, soft_wrap=True)
