"""`headscope reproduce`: a paper's claims on a model. Prints the table of claims, writes the folder and the report."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import complete, folders, hints, names, options
from headscope.cli.finishing import finish, tell_cells
from headscope.cli.options import HOW, OUTPUT, WHAT, option

if TYPE_CHECKING:
    from headscope.deduction import Settings
    from headscope.deduction.costs import Shape
    from headscope.reproducing import Reproduction

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope reproduce three-percent              mini, in some minutes\n"
    "  headscope reproduce three-percent ./my-model   symbols, if not plain words\n"
    "  headscope reproduce three-percent Qwen/Qwen3-8B --paper --plan   its cost\n"
    "  headscope reproduce three-percent Qwen/Qwen3-8B --paper --dtype bfloat16\n\n"
    "[bold]What is done[/bold] (arXiv 2605.27824): confidence in gold chains of deduction;\n"
    "heads that read what a corruption changes and heads that decide by it; paths\n"
    "among them; their depth; what is lost without them beside random heads, on\n"
    "chains, the model's own chains, other tasks and plain text. Each claim then\n"
    "holds, does not hold, or cannot be tested on this model. A model that cannot\n"
    "do the chains is refused.\n\n"
    "[bold]It goes on where it stopped[/bold]: every cell (some pairs, some sets of\n"
    "heads) is kept as soon as it is measured. After Ctrl-C, a crash or a power cut\n"
    "the same command measures the rest; with another -n, --sets or --controls and\n"
    "the same --out it measures what is new.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Paper = Annotated[
    str,
    typer.Argument(
        metavar="PAPER",
        autocompletion=complete.among(names.PAPERS),
        help="[bold]three-percent[/bold]: arXiv 2605.27824.",
    ),
]
_Own = Annotated[
    bool,
    option(
        "--paper",
        panel=WHAT,
        help="The paper's own settings: 500 pairs, probability, zero ablation, k = 5 (phi-4: 8), symbols.",
    ),
]
_Pairs = Annotated[
    int,
    option(
        "-n",
        "--examples",
        panel=WHAT,
        metavar="N",
        span=options.MANY,
        help="Pairs for each role. Default: 100, or 500 with --paper.",
    ),
]
_Sets = Annotated[int, option("--sets", panel=HOW, metavar="N", help="Random sets of heads of each kind. From 20.")]
_Controls = Annotated[
    int | None,
    option(
        "--controls",
        panel=HOW,
        metavar="N",
        help="Pairs of each role for the controls: an untrained twin (a second model in memory) and exchanged twins. "
        "Default: 30, or 25 with --paper; 0: none.",
    ),
]
_Regardless = Annotated[
    bool, option("--regardless", panel=HOW, help="Go on where the model cannot do the chains; no claim is then tested.")
]
_Plan = Annotated[bool, option("--plan", panel=OUTPUT, help="Print what it would cost, and stop; needs no weights for "
                               "the paper's own models.")]  # fmt: skip
_Out = Annotated[Path | None, options.out("runs/MODEL-three-percent")]
_Json = Annotated[bool, options.as_json("claims, heads")]


def reproduce(  # noqa: PLR0913 - one parameter for each option of the command
    paper: _Paper,
    model: options.Model = "mini",
    own: _Own = False,
    n: _Pairs = 0,
    seed: options.Seed = 0,
    sets: _Sets = 100,
    controls: _Controls = None,
    regardless: _Regardless = False,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 32,
    memory: options.Memory = None,
    offline: options.Offline = False,
    plan: _Plan = False,
    out: _Out = None,
    refresh: options.Refresh = False,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """Do the claims of PAPER hold on MODEL? Claim by claim, with intervals.

    Prints the claims beside what was measured, and writes a folder:
    report.html (open it in any browser), claims.parquet, circuit/ (every
    table) and run.json; and cells/, by which a run that was stopped goes on.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.deduction.costs import describe
    from headscope.methods.twins import Limits
    from headscope.models import load
    from headscope.pipeline import command_line, resuming
    from headscope.replay.memory import parse
    from headscope.reproducing import KIND, Interrupted, carry_out, request, request_of

    settings = request(paper, model, own=own, n=n, sets=sets, controls=controls, seed=seed, regardless=regardless)
    if plan:
        shape = _shape(model, dtype=dtype, device=device, offline=offline)
        sys.stdout.write((_costs_as_json if as_json else describe)(shape, settings, dtype=dtype) + "\n")
        return
    wanted = request_of(model, settings, dtype=dtype, device=device)
    show = not (quiet or as_json) and sys.stderr.isatty()
    limits = Limits(batch_size=batch_size, memory=None if memory is None else parse(memory), progress=show)
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    loaded: Any = None

    def begin(folder: Path) -> None:
        nonlocal loaded
        with folders.no_litter(folder), resuming(folder, request=wanted, refresh=refresh, kind=KIND) as home:
            loaded = load(model, **loading) if loaded is None else loaded
            try:
                found = carry_out(loaded, settings, limits=limits, command=command_line(), home=home)
            except Interrupted as stop:
                if stop.found.circuit.found:
                    _finish(stop.found, folder, quiet, as_json)
                raise
            _finish(found, folder, quiet, as_json)

    place = folders.default_folder(model)
    places = folders.candidates(place.with_name(f"{place.name}-{paper}"), wanted)
    folders.first_fitting(iter([out]) if out else places, begin)


def _shape(model: str, *, dtype: str, device: str, offline: bool) -> Shape:
    from headscope.deduction.costs import Shape, shape_of
    from headscope.models import load

    shape = shape_of(model)
    if shape is None:
        loaded = load(model, device=device, dtype=dtype, offline=offline, check=False)
        identity: Any = loaded.identity
        shape = Shape(
            loaded.name, loaded.grid, identity["d_model"], float(identity["parameters"]), identity["architecture"]
        )
    return shape


def _costs_as_json(shape: Shape, settings: Settings, *, dtype: str) -> str:
    from headscope.cli.tables import finite
    from headscope.deduction.costs import cost, describe

    told = describe(shape, settings, dtype=dtype)
    record = {"model": shape.name, **cost(shape, settings, dtype=dtype), "text": told}
    return json.dumps(finite(record), indent=2, allow_nan=False)


def _finish(found: Reproduction, folder: Path, quiet: bool, as_json: bool) -> None:
    show, record = partial(print_claims, found), partial(as_record, found)
    finish(found.save, folder, show=show, record=record, quiet=quiet, as_json=as_json)
    tell_cells(found.identity, quiet=quiet or as_json)
    hints.tell(hints.opened(folder / "report.html"), hints.command("cite", folder), quiet=quiet, as_json=as_json)


def print_claims(found: Reproduction) -> None:
    """The claims beside what was measured, and what people must know to read them.

    Args:
        found: a reproduction.
    """
    from rich.text import Text

    from headscope.cli.tables import console, plain, table
    from headscope.report.reproduction import summary

    out = console()
    out.print(Text("Do the claims hold on ") + plain(found.circuit.model.get("name", "")) + Text("?"), style="bold")
    out.print(plain(summary(found.claims)))
    names = ("the paper says", "measured here", "verdict")
    made = table(*names, left=names)
    for row in found.claims.to_dict("records"):
        measured = f"{row['measured']}\ncontrols: {row['controls']}"
        told = (row["claim"], measured, f"{row['verdict']}: {row['why']}")
        made.add_row(*map(plain, told), end_section=True)
    out.print(made)
    if found.circuit.stopped:
        out.print(plain(f"incomplete: stopped during {found.circuit.stopped}"), style="bold red")
    for note in found.circuit.notes:
        out.print(plain(f"note: {note}"), style="yellow")


def as_record(found: Reproduction, folder: Path | None) -> dict[str, Any]:
    """The same as JSON, with where it is (None if it could not be written); NaN becomes null.

    Args:
        found: a reproduction.
        folder: where it was saved.
    """
    from headscope.cli.tables import finite
    from headscope.report.reproduction import summary

    circuit = found.circuit
    return finite(
        {
            "model": circuit.model.get("name", ""),
            "folder": None if folder is None else str(folder),
            "report": None if folder is None else str(folder / "report.html"),
            "complete": not circuit.stopped,
            "stopped": circuit.stopped,
            "summary": summary(found.claims),
            "claims": found.claims.to_dict("records"),
            "selected": circuit.record()["selected"],
            "share": circuit.share,
            "k": circuit.k,
            "notes": list(circuit.notes),
        }
    )
