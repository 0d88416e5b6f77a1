"""What one would do next: some dim lines after a command, for people at a terminal only."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headscope.cli import names

if TYPE_CHECKING:
    from headscope.runs import Run

MOST = 3
"""Commands that are told."""
LONGEST = 160
"""Characters of a prompt that is told in a command."""
SPECIAL = re.compile(r"^(?:<bos>|<s>|<\|\w+\|>|\[CLS\])\s*|\s*(?:</s>|\[SEP\])$")
"""What the tokenizer puts around a prompt by itself."""
MASK = re.compile(r"\[MASK\]|<mask>")


def program() -> str:
    """This program as it was called: `headscope`, or `python -m headscope` where it is not installed."""
    return "python -m headscope" if Path(sys.argv[0]).parts[-2:] == ("headscope", "__main__.py") else "headscope"


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
    return [opened(folder / "report.html"), explained(run, model, folder), few, command("roles", model)]


def explained(run: Run, model: str, folder: Path) -> str | None:
    """The command that explains one prompt of a run; None where the run holds none that can be typed.

    Args:
        run: with profiles.
        model: as typed.
        folder: where the run is.
    """
    prompts = [] if run.profiles is None else run.profiles.prompts.to_dict("records")
    facts = run.identity["model"]
    words = bool(facts.get("tokenizer"))
    for row in sorted(prompts, key=lambda row: len(row["text"])):
        text = SPECIAL.sub("", row["text"])
        single = not any("," in row[name] or not row[name].strip() for name in ("answers", "foils"))
        masked = facts.get("causal", True) or len(MASK.findall(text)) == 1
        if single and masked and text.isprintable() and 0 < len(text) <= LONGEST and not text.startswith("-"):
            more = ["--token", row["answers"], "--against", row["foils"]] + ([] if words else ["--ids"])
            more += [] if run.roles is None else ["--run", folder]
            return command("explain", model, text, *more)
    return None


def tell(*commands: str | None, quiet: bool = False, as_json: bool = False) -> None:
    """Print the first of these commands, each on a line of its own: it is copied in one piece.

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
    for place, each in enumerate(known[:MOST]):
        shown = plain(f"{'  or' if place else 'next'}: {each}")
        shown.stylize("dim")
        out.print(shown, soft_wrap=True)  # never broken by us
