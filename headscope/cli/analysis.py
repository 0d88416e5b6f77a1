"""`headscope analyze`: score every head, print the top ones, write the run folder and the report."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from headscope.cli import complete, folders, hints, names, options, spreading
from headscope.cli.finishing import finish, tell_cells
from headscope.cli.options import WHAT, option

if TYPE_CHECKING:
    from headscope.runs import Run

TOP = 8
"""Heads of each task that are printed."""

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope analyze                          the bundled model, default tasks\n"
    "  headscope analyze gpt2 --task ioi -n 128   one task, tighter intervals\n"
    "  headscope analyze ./my-model --offline     a local Hugging Face directory\n"
    "  headscope analyze gpt2 -t lambada:test.jsonl   a task from a file\n"
    "  headscope analyze gpt2 -t ioi,induction -m patching --json > top.json\n\n"
    "[bold]It goes on where it stopped[/bold]: every cell (a method on a task)\n"
    "is kept as soon as it is finished. After Ctrl-C, a crash or a power cut the\n"
    "same command computes the rest; with more -n, -t or -m and the same --out it\n"
    "computes what is new.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Tasks = Annotated[
    list[str] | None,
    options.tasks(
        "Default: induction, ioi, agreement, where it can read them.",
        files="or a file as FORMAT:PATH, such as lambada:test.jsonl or pairs:mine.csv",
    ),
]
_Methods = Annotated[
    list[str] | None,
    option(
        "--method",
        "-m",
        panel=WHAT,
        metavar="NAME",
        offer=complete.several(names.METHODS),
        help="How heads are scored (see headscope list methods); repeat, or separate by commas. "
        "Default: patching, ablation, attention, attribution, direct.",
    ),
]
_Metrics = Annotated[
    list[str] | None,
    option(
        "--metric",
        panel=WHAT,
        metavar="NAME",
        offer=complete.several(names.METRICS),
        help="What effects are measured in (see headscope list metrics); repeat, or separate by commas: the first "
        "instead of each task's own, the others as further scores of patching and ablation, in the same runs. "
        "Default: each task's own.",
    ),
]
_Examples = Annotated[
    int,
    option(
        "-n",
        "--examples",
        panel=WHAT,
        metavar="N",
        span=options.MANY,
        help="Examples per task: time grows with it, intervals shrink with its square root.",
    ),
]
_NoRoles = Annotated[
    bool, option("--no-roles", panel=WHAT, help="Leave out what each head does (headscope roles says more of it).")
]
_Json = Annotated[bool, options.as_json("tasks, top heads, paths")]
_Out = Annotated[Path | None, options.out("runs/MODEL")]


def analyze(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    task: _Tasks = None,
    method: _Methods = None,
    metric: _Metrics = None,
    n: _Examples = 40,
    no_roles: _NoRoles = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 128,
    memory: options.Memory = None,
    offline: options.Offline = False,
    shard: spreading.Shard = None,
    ray: spreading.Ray = None,
    workers: spreading.Workers = None,
    cell_timeout: spreading.CellTimeout = None,
    out: _Out = None,
    refresh: options.Refresh = False,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """Score every attention head of MODEL and say which ones matter, with intervals.

    Prints how well the model does each task and its top heads with their roles,
    and writes a folder: report.html (open it in any browser), scores.parquet,
    tasks.parquet, roles.parquet, labels.parquet, examples/ and run.json; and
    cells/, by which a run that was stopped, or is extended, goes on.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.models import load
    from headscope.pipeline import Interrupted, Plan, command_line, execute, request_of, resuming
    from headscope.replay.memory import parse
    from headscope.tasks.files import split_names

    plan = Plan(
        tasks=split_names(task or []),
        methods=folders.names(method),
        metrics=folders.names(metric),
        n=n,
        seed=seed,
        batch_size=batch_size,
        memory=None if memory is None else parse(memory),
        roles=not no_roles,
    )
    chosen = spreading.executor(
        model, shard=shard, ray=ray, workers=workers, timeout=cell_timeout, offline=offline
    )  # fmt: skip
    request = request_of(model, plan, dtype=dtype, device=device)
    place = folders.default_folder(model)
    chosen_place = out or (spreading.folder_of_shard(place, shard) if shard else None)
    show = not (quiet or as_json) and sys.stderr.isatty()
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    loaded: Any = None

    def begin(folder: Path) -> None:
        nonlocal loaded
        with folders.no_litter(folder), resuming(folder, request=request, refresh=refresh) as home:
            loaded = load(model, **loading) if loaded is None else loaded
            try:
                run = execute(loaded, plan, progress=show, command=command_line(), executor=chosen, home=home)
            except Interrupted as stop:
                if len(stop.run.scores):
                    _finish(stop.run, folder, model, quiet=quiet, as_json=as_json)
                raise
            _finish(run, folder, model, quiet=quiet, as_json=as_json)
            spreading.tell(chosen, folder, quiet=quiet)

    folders.first_fitting(iter([chosen_place]) if chosen_place else folders.candidates(place, request), begin)


def _finish(run: Run, folder: Path, model: str, *, quiet: bool, as_json: bool) -> None:
    from headscope.cli import labels, tables

    def show() -> None:
        tables.print_tasks(run)
        tables.print_top(run, TOP)
        labels.print_summary(run)
        tables.print_absent(run)

    finish(run.save, folder, show=show, record=partial(tables.as_record, run, TOP), quiet=quiet, as_json=as_json)
    tell_cells(run.identity, quiet=quiet or as_json)
    hints.tell(*hints.after_analysis(run, model, folder), quiet=quiet, as_json=as_json)
