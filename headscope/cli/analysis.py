"""`headscope analyze`: score every head, print the top ones, write the run folder and the report."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headscope.runs import Run

TOP = 8
"""Heads of each task that are printed."""

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope analyze                          the bundled model, default tasks\n"
    "  headscope analyze gpt2 --task ioi -n 128   one task, tighter intervals\n"
    "  headscope analyze ./my-model --offline     a local Hugging Face directory\n"
    "  headscope analyze gpt2 -t ioi,induction -m patching --json > top.json\n\n"
    "Every option has an environment variable, such as HEADSCOPE_ANALYZE_DEVICE.\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C, which keeps\n"
    "the tasks and methods that were finished."
)
_WHAT, _HOW, _OUTPUT = "What to analyse", "How to compute it", "Where it goes"


def _option(*names: str, panel: str, help: str, metavar: str = " ", envvar: list[str] | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, envvar=envvar, show_envvar=False, rich_help_panel=panel)


_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="[bold]mini[/bold] (bundled), a Hub name such as gpt2, or a Hugging Face directory with safetensors.",
    ),
]
_Tasks = Annotated[
    list[str] | None,
    _option(
        "--task",
        "-t",
        panel=_WHAT,
        metavar="NAME",
        help="What the model is asked to do (see headscope list tasks); repeat, or separate by commas. "
        "Default: induction, ioi, agreement, where it can read them.",
    ),
]
_Methods = Annotated[
    list[str] | None,
    _option(
        "--method",
        "-m",
        panel=_WHAT,
        metavar="NAME",
        help="How heads are scored (see headscope list methods); repeat, or separate by commas. "
        "Default: patching, ablation, attention, attribution, direct.",
    ),
]
_Examples = Annotated[
    int,
    _option(
        "-n",
        "--examples",
        panel=_WHAT,
        metavar="N",
        envvar=["HEADSCOPE_ANALYZE_N", "HEADSCOPE_ANALYZE_EXAMPLES"],
        help="Examples per task: time grows with it, intervals shrink with its square root.",
    ),
]
_Seed = Annotated[
    int, _option("--seed", panel=_WHAT, metavar="N", help="Of prompts and resamples: one seed, one result.")
]
_Device = Annotated[
    str,
    _option(
        "--device",
        panel=_HOW,
        metavar="NAME",
        help="auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, mps.",
    ),
]
_Dtype = Annotated[
    str,
    _option("--dtype", panel=_HOW, metavar="NAME", help="float32, bfloat16 or float16. Small effects need float32."),
]
_BatchSize = Annotated[
    int,
    _option(
        "--batch-size", panel=_HOW, metavar="N", help="Examples held at once: less memory if smaller, same results."
    ),
]
_Memory = Annotated[
    str | None,
    _option(
        "--memory",
        panel=_HOW,
        metavar="SIZE",
        help="Memory for intermediate results beside the model, such as 512M or 4G. Default: half of what is free.",
    ),
]
_Offline = Annotated[bool, _option("--offline", panel=_HOW, help="Never use the network.")]
_Out = Annotated[
    Path | None,
    _option(
        "--out", panel=_OUTPUT, metavar="FOLDER", help="Folder for the run. Default: runs/MODEL, numbered if taken."
    ),
]
_Quiet = Annotated[
    bool,
    _option("--quiet", "-q", panel=_OUTPUT, help="No tables and no progress bars: print only where the report is."),
]
_Json = Annotated[
    bool,
    _option(
        "--json",
        panel=_OUTPUT,
        envvar=["HEADSCOPE_ANALYZE_JSON"],
        help="Print JSON instead of tables: tasks, top heads, paths.",
    ),
]


def analyze(  # noqa: PLR0913 - one parameter for each option of the command
    model: _Model = "mini",
    task: _Tasks = None,
    method: _Methods = None,
    n: _Examples = 40,
    seed: _Seed = 0,
    device: _Device = "auto",
    dtype: _Dtype = "float32",
    batch_size: _BatchSize = 128,
    memory: _Memory = None,
    offline: _Offline = False,
    out: _Out = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Score every attention head of MODEL and say which ones matter, with intervals.

    Prints how well the model does each task and its top heads, and writes a
    folder: report.html (open it in any browser), scores.parquet, tasks.parquet,
    examples/ and run.json.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.models import load
    from headscope.pipeline import Interrupted, Plan, command_line, execute
    from headscope.replay.memory import parse
    from headscope.runs import check_writable

    plan = Plan(
        tasks=_names(task),
        methods=_names(method),
        n=n,
        seed=seed,
        batch_size=batch_size,
        memory=None if memory is None else parse(memory),
    )
    folder = out or _free(_default_folder(model))
    show = not (quiet or as_json) and sys.stderr.isatty()
    with _no_litter(folder):
        check_writable(folder)
        loaded = load(model, device=device, dtype=dtype, offline=offline)
        try:
            run = execute(loaded, plan, progress=show, command=command_line())
        except Interrupted as stop:
            if len(stop.run.scores):
                _finish(stop.run, folder, quiet=quiet, as_json=as_json)
            raise
        _finish(run, folder, quiet=quiet, as_json=as_json)


def _names(values: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for value in values or [] for name in value.split(",") if name.strip()))


def _default_folder(model: str) -> Path:
    path = Path(model).expanduser()
    return Path("runs") / ((path.resolve() if path.is_dir() else path).name or "model")


def _free(folder: Path) -> Path:
    """The folder itself, or with the first number that makes it new."""
    tries = (folder if i == 1 else folder.with_name(f"{folder.name}-{i}") for i in count(1))
    return next(path for path in tries if not path.exists() or (path.is_dir() and not any(path.iterdir())))


@contextlib.contextmanager
def _no_litter(folder: Path) -> Iterator[None]:
    """Remove the folders that were made for a run, where nothing came to be in them."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()


def _finish(run: Run, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Tables are printed before anything is written, so that a full disk cannot lose what was measured."""
    from headscope.cli import tables

    saved = None
    try:
        if not (quiet or as_json):
            tables.print_tasks(run)
            tables.print_top(run, TOP)
            tables.print_absent(run)
    finally:  # and a closed or full output cannot lose the folder
        try:
            saved = run.save(folder)
        finally:
            if as_json:
                sys.stdout.write(json.dumps(tables.as_record(run, TOP, saved), indent=2, allow_nan=False) + "\n")
    if not as_json:
        sys.stdout.write(f"report: {folder / 'report.html'}\n")
