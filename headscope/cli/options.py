"""Options that several commands share: their words are the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

WHAT, HOW, OUTPUT = "What to analyse", "How to compute it", "Where it goes"
"""Under which heading of the help an option stands."""


def option(*names: str, panel: str, help: str, metavar: str = " ", envvar: list[str] | None = None) -> Any:
    """An option of a command, as all of them are shown.

    Args:
        names: as typed, such as `--seed`.
        panel: the heading that it stands under.
        help: what it does.
        metavar: what stands for its value; a switch has none.
        envvar: environment variables that give it, where they are not named after it.
    """
    return typer.Option(*names, help=help, metavar=metavar, envvar=envvar, show_envvar=False, rich_help_panel=panel)


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="[bold]mini[/bold] (bundled), a Hub name such as gpt2, or a Hugging Face directory with safetensors.",
    ),
]
Seed = Annotated[int, option("--seed", panel=WHAT, metavar="N", help="Of prompts and resamples: one seed, one result.")]
Device = Annotated[
    str,
    option(
        "--device",
        panel=HOW,
        metavar="NAME",
        help="auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, mps.",
    ),
]
Dtype = Annotated[
    str,
    option("--dtype", panel=HOW, metavar="NAME", help="float32, bfloat16 or float16. Small effects need float32."),
]
BatchSize = Annotated[
    int,
    option("--batch-size", panel=HOW, metavar="N", help="Examples held at once: less memory if smaller, same results."),
]
Memory = Annotated[
    str | None,
    option(
        "--memory",
        panel=HOW,
        metavar="SIZE",
        help="Memory for intermediate results beside the model, such as 512M or 4G. Default: half of what is free.",
    ),
]
Offline = Annotated[bool, option("--offline", panel=HOW, help="Never use the network.")]
Out = Annotated[
    Path | None,
    option("--out", panel=OUTPUT, metavar="FOLDER", help="Folder for the run. Default: runs/MODEL, numbered if taken."),
]
Quiet = Annotated[
    bool,
    option("--quiet", "-q", panel=OUTPUT, help="No tables and no progress bars: print only where the report is."),
]
