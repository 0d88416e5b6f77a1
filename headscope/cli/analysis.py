"""`headscope analyze`: score every head, print the top ones, write the run folder and the report."""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headscope.runs import Run

Names = Annotated[list[str] | None, typer.Option(metavar="NAME", help="")]
TOP = 8


def analyze(  # noqa: PLR0913 - one parameter for each option of the command
    model: Annotated[
        str,
        typer.Argument(help="[bold]mini[/bold] (bundled), a Hub name such as gpt2, or a local Hugging Face directory."),
    ] = "mini",
    task: Annotated[
        list[str] | None,
        typer.Option("--task", "-t", help="What the model is asked to do; repeat or separate by commas. Default: all that it can read."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="How heads are scored; repeat or separate by commas. Default: all."),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--examples", help="Examples per task: intervals shrink with its square root.")] = 64,
    seed: Annotated[int, typer.Option(help="Of prompts and resamples: the same seed gives the same run.")] = 0,
    device: Annotated[str, typer.Option(help="auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16. Small effects need float32.")] = "float32",
    batch_size: Annotated[int, typer.Option(help="Rows per forward pass: changes speed and memory only.")] = 128,
    out: Annotated[Path | None, typer.Option(help="Folder for the run. Default: runs/MODEL, numbered if taken.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars; print only where the run is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of tables.")] = False,
) -> None:
    """Score every attention head of MODEL and say which ones matter, with intervals.

    [bold]Examples[/bold]

        headscope analyze                                  the bundled model, every task and method

        headscope analyze gpt2 --task ioi -n 128           one task, tighter intervals

        headscope analyze ./my-model --offline --out runs/mine

    Writes run.json, scores.parquet, tasks.parquet, examples/ and report.html, and prints where they are.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.pipeline import Interrupted, Plan, command_line, execute
    from headscope.runs import check_writable

    plan = Plan(tasks=_names(task), methods=_names(method), n=n, seed=seed, batch_size=batch_size)
    folder = out or _free(Path("runs") / Path(model).name)
    check_writable(folder)
    show = not (quiet or as_json) and sys.stderr.isatty()
    try:
        run = execute(_load(model, device, dtype, offline), plan, progress=show, command=command_line())
    except Interrupted as stop:
        if len(stop.run.scores):
            _finish(stop.run, folder, quiet=quiet, as_json=as_json)
        raise
    _finish(run, folder, quiet=quiet, as_json=as_json)


def _names(values: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for value in values or [] for name in value.split(",") if name.strip()))


def _free(folder: Path) -> Path:
    """The folder itself, or with the first number that makes it new."""
    tries = (folder if i == 1 else folder.with_name(f"{folder.name}-{i}") for i in count(1))
    return next(path for path in tries if not (path / "run.json").exists())


def _load(model: str, device: str, dtype: str, offline: bool) -> Any:
    from headscope.models import load

    return load(model, device=device, dtype=dtype, offline=offline)


def _finish(run: Run, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Print first, so that a full disk cannot lose what was measured; then write, then say where."""
    from headscope.cli import tables

    if not (quiet or as_json):
        tables.print_tasks(run)
        tables.print_top(run, TOP)
    if as_json:
        sys.stdout.write(json.dumps(tables.as_record(run, TOP, folder), indent=2, allow_nan=False) + "\n")
    run.save(folder)
    if not as_json:
        sys.stdout.write(f"report: {folder / 'report.html'}\n")
