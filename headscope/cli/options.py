"""Options that several commands share: their words are the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from headscope.cli import complete, names

WHAT, HOW, OUTPUT = "What to analyse", "How to compute it", "Where it goes"
"""Under which heading of the help an option stands."""
Span = tuple[int | None, int | None]
SEEDS: Span = (None, 2**63 - 1)
"""Seeds that every generator takes; what is below 0 is refused together with whatever else is wrong."""
MANY: Span = (None, 10**6)
"""Numbers of examples that a machine can hold."""


def option(
    *words: str, panel: str | None = None, help: str, metavar: str = " ", span: Span = (None, None),
    offer: Callable[[str], list[str]] | None = None,
) -> Any:  # fmt: skip
    """An option of a command, as all of them are shown.

    Args:
        words: as typed, such as `--seed`; `headscope.cli.command` reads it from a variable of that name too.
        panel: the heading that it stands under.
        help: what it does.
        metavar: what stands for its value; a switch has none.
        span: the smallest and the largest number that are accepted.
        offer: what the shell offers at Tab.
    """
    return typer.Option(
        *words,
        help=help,
        metavar=metavar,
        min=span[0],
        max=span[1],
        show_envvar=False,
        rich_help_panel=panel,
        autocompletion=offer,
    )


def out(default: str) -> Any:
    """`--out`.

    Args:
        default: where the run goes if nothing is said.
    """
    words = f"Folder for the run. Default: {default}, numbered if taken."
    return option("--out", panel=OUTPUT, metavar="FOLDER", help=words)


def as_json(what: str) -> Any:
    """`--json`.

    Args:
        what: what is printed.
    """
    return option("--json", panel=OUTPUT, help=f"Print JSON instead of tables: {what}.")


def tasks(default: str, *, files: str = "or a file as FORMAT:PATH") -> Any:
    """`--task`.

    Args:
        default: what is asked if nothing is said, as a sentence.
        files: how files are given.
    """
    words = f"What the model is asked to do (see headscope list tasks), {files}; repeat, or separate by commas. "
    offer = complete.several(names.TASKS)
    return option("--task", "-t", panel=WHAT, metavar="NAME", offer=offer, help=words + default)


def treebanks(what: str) -> Any:
    """`--treebank`.

    Args:
        what: the annotation beside the trees.
    """
    words = f"Gold trees as CoNLL-U, with {what}; repeat for several. Default: the bundled gold sentences."
    return option("--treebank", panel=WHAT, metavar="FILE", help=words)


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete.models,
        help="[bold]mini[/bold] (bundled), a Hub name such as gpt2, or a Hugging Face directory with safetensors.",
    ),
]
Seed = Annotated[
    int, option("--seed", panel=WHAT, metavar="N", span=SEEDS, help="Of prompts and resamples: one seed, one result.")
]
Device = Annotated[
    str,
    option(
        "--device",
        panel=HOW,
        metavar="NAME",
        offer=complete.among(names.DEVICES),
        help="auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, mps.",
    ),
]
DeviceMap = Annotated[
    str | None,
    option(
        "--device-map",
        panel=HOW,
        metavar="MAP",
        offer=complete.among(names.MAPS),
        help="For a model that one GPU does not hold: auto, balanced or sequential over all GPUs, "
        "or a JSON file with a device for every part.",
    ),
]
MaxMemory = Annotated[
    str | None,
    option(
        "--max-memory",
        panel=HOW,
        metavar="SIZES",
        help="With --device-map: the most that weights take of each device, such as 0=60GiB,1=70GiB.",
    ),
]
Dtype = Annotated[
    str,
    option(
        "--dtype",
        panel=HOW,
        metavar="NAME",
        offer=complete.among(names.DTYPES),
        help="float32, bfloat16 or float16. Small effects need float32.",
    ),
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
Refresh = Annotated[
    bool, option("--refresh", panel=OUTPUT, help="Compute everything anew, whatever the folder already holds.")
]
Quiet = Annotated[
    bool,
    option("--quiet", "-q", panel=OUTPUT, help="No tables and no progress bars: print only where the report is."),
]
Verbose = Annotated[
    bool,
    option("--verbose", "-v", panel=OUTPUT, help="Say what is being done, how long it took, and the memory."),
]
