"""`headscope few`: do a few heads carry each task? Prints the verdicts, writes the run folder and the report."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headscope.cli import complete, hints, names, options
from headscope.cli.finishing import finish, tell_cells
from headscope.cli.options import HOW, WHAT, option
from headscope.cli.resumed import Wanted, in_folder

if TYPE_CHECKING:
    from headscope.pipeline import Home
    from headscope.runs import Run

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope few                         mini, on all that it was trained on\n"
    "  headscope few gpt2 --task ioi         one task\n"
    "  headscope few gpt2 -t ioi --no-twin   faster: no untrained model beside it\n"
    "  headscope few gpt2 -t ioi --ablation mean --json > few.json\n\n"
    "[bold]What is done[/bold], on two halves of the pairs: heads are ranked on one by\n"
    "patching each alone. On the other the top k are ablated together (necessity)\n"
    "and kept alone (sufficiency), for every k up to 10 and up to all heads, beside\n"
    "random sets of heads and the same model with random weights. Single effects\n"
    "concentrate in few heads even there, so that alone proves nothing.\n\n"
    "Stopped in the midst of it, the same command goes on with the first task that\n"
    "was not finished.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Tasks = Annotated[
    list[str] | None,
    options.tasks("Default: induction, ioi, agreement; for mini all that it was trained on."),
]
_Pairs = Annotated[
    int,
    option(
        "-n",
        "--examples",
        panel=WHAT,
        metavar="N",
        span=options.MANY,
        help="Held-out pairs per task, on which heads are measured; as many again select them.",
    ),
]
_Ablation = Annotated[
    str,
    option(
        "--ablation",
        panel=HOW,
        metavar="KIND",
        offer=complete.among(names.ABLATIONS),
        help="What heads are replaced by where the verdict is made: resample (other prompts), mean, zero, "
        "counterfactual (the twin prompt), mean_position, mean_template. The first four are always shown side by side.",
    ),
]
_Sets = Annotated[
    int,
    option(
        "--sets",
        panel=HOW,
        metavar="N",
        span=options.MANY,
        help="Random sets of heads of each size, drawn from all heads and as many from each layer. From 20.",
    ),
]
_NoTwin = Annotated[bool, option("--no-twin", panel=HOW, help="Leave out the same model with random weights.")]
_Out = Annotated[Path | None, options.out("runs/MODEL-few")]
_Json = Annotated[bool, options.as_json("verdicts, criteria, smallest sets, paths")]


def few(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    task: _Tasks = None,
    n: _Pairs = 200,
    seed: options.Seed = 0,
    ablation: _Ablation = "resample",
    sets: _Sets = 100,
    no_twin: _NoTwin = False,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 128,
    memory: options.Memory = None,
    offline: options.Offline = False,
    out: _Out = None,
    refresh: options.Refresh = False,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """Do a few heads of MODEL carry each task? A verdict with its numbers.

    Prints one line and one paragraph for each task, and writes a folder:
    report.html (open it in any browser), few.json, scores.parquet,
    tasks.parquet and run.json.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.judging import carry_out, request
    from headscope.models import load
    from headscope.pipeline import Interrupted, command_line, request_of
    from headscope.replay.memory import parse
    from headscope.tasks.files import split_names

    asked = request(
        tasks=split_names(task or []),
        n=n,
        ablation=ablation,
        sets=sets,
        seed=seed,
        twin=not no_twin,
        batch_size=batch_size,
        memory=None if memory is None else parse(memory),
    )
    wanted = request_of(model, asked.plan, settings=asdict(asked.settings), dtype=dtype, device=device)
    show = not (quiet or as_json) and sys.stderr.isatty()
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    loaded = cache(partial(load, model, **loading))

    def begin(folder: Path, home: Home) -> None:
        try:
            run = carry_out(loaded(), asked, progress=show, command=command_line(), home=home)
        except Interrupted as stop:
            if stop.run.few:
                _finish(stop.run, folder, model, quiet=quiet, as_json=as_json)
            raise
        _finish(run, folder, model, quiet=quiet, as_json=as_json)

    in_folder(Wanted(out, model, "-few", "few", wanted, refresh), begin)


def _finish(run: Run, folder: Path, model: str, *, quiet: bool, as_json: bool) -> None:
    from headscope.cli import verdicts

    show = partial(verdicts.print_verdicts, run)
    finish(run.save, folder, show=show, record=partial(verdicts.as_record, run), quiet=quiet, as_json=as_json)
    tell_cells(run.identity, quiet=quiet or as_json)
    then = (hints.opened(folder / "report.html"), hints.command("analyze", model), hints.command("roles", model))
    hints.tell(*then, quiet=quiet, as_json=as_json)
