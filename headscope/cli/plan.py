"""`headscope plan`: what an analysis will cost, before any weights are loaded."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

from headscope.cli import analysis, folders, options
from headscope.cli.options import HOW, option

if TYPE_CHECKING:
    from headscope.pipeline.scaling.estimating import Estimate

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope plan gpt2 -n 256                 on this machine\n"
    "  headscope plan ./my-model --workers 8      on eight like it\n"
    "  headscope plan ./my-model --flops 100e12   on one accelerator\n"
    "  headscope plan ./my-model --json           for a program\n\n"
    "Reads config.json and the tokenizer, no weights. Hours are those of the\n"
    "scores of heads alone, and an estimate: single methods can be off by half;\n"
    "with --flops, as good as that number.\n"
    "Exit codes: 0 done, 1 failed, 2 bad input."
)
_Workers = Annotated[
    int, option("--workers", panel=HOW, metavar="N", help="Processes or machines, each as fast as this one.")
]
_Rate = Annotated[
    float | None,
    option(
        "--flops",
        panel=HOW,
        metavar="N",
        help="Floating-point operations a second that a worker reaches, such as 100e12. Default: measured here.",
    ),
]
_Quiet = Annotated[bool, option("--quiet", "-q", panel=options.OUTPUT, help="Print only the time.")]
_Json = Annotated[bool, options.as_json("a row for each task and method, memory, hours")]


def plan(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    task: analysis._Tasks = None,
    method: analysis._Methods = None,
    metric: analysis._Metrics = None,
    n: analysis._Examples = 40,
    seed: options.Seed = 0,
    workers: _Workers = 1,
    flops: _Rate = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 128,
    offline: options.Offline = False,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Say what headscope analyze with the same options will cost.

    Cells, forwards, floating-point operations, memory of a worker, and hours.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.errors import UsageError
    from headscope.models.outline import outline
    from headscope.pipeline import Plan
    from headscope.pipeline.scaling.estimating import Rate, estimate
    from headscope.tasks.files import split_names

    if flops is not None and not 0 < flops < float("inf"):
        raise UsageError(f"--flops {flops:g}", "operations a second, above 0", "give a number such as 100e12")
    asked = Plan(
        tasks=split_names(task or []), methods=folders.names(method), metrics=folders.names(metric), n=n, seed=seed,
        batch_size=batch_size,
    )  # fmt: skip
    rate = None if flops is None else Rate(operations=flops, call=0.0, source="given")
    kind = "cpu" if device == "auto" else device.partition(":")[0]
    found = estimate(outline(model, offline=offline), asked, workers=workers, rate=rate, dtype=dtype, device=kind)
    if as_json:
        sys.stdout.write(json.dumps(_record(found), indent=2, allow_nan=False) + "\n")
    else:
        _show(found, quiet=quiet)


def _record(found: Estimate) -> dict[str, Any]:
    rows: Any = found.frame.astype(object).where(found.frame.notna(), None).to_dict("records")
    frame: Any = found.frame
    model = {name: getattr(found.outline, name) for name in ("name", "parameters", "d_model", "vocabulary")}
    return {
        "model": model | {"layers": found.outline.grid.layers, "heads": found.outline.grid.heads},
        "cells": int(frame["cells"].sum()), "operations": float(frame["operations"].sum()),
        "hours": found.hours, "workers": found.workers, "memory": found.memory,
        "rate": {"operations": found.rate.operations, "source": found.rate.source}, "skipped": found.skipped,
        "rows": rows,
    }  # fmt: skip


def _show(found: Estimate, *, quiet: bool) -> None:
    from headscope.cli.tables import console, number, plain

    frame: Any = found.frame
    out, people = console(), f"{found.workers} worker{'s' * (found.workers > 1)}"
    if not quiet:
        _show_parts(found, out)
        parts = ", ".join(f"{name} {number(size / 1e9)} GB" for name, size in found.memory.items())
        out.print(plain(f"memory of a worker: {number(sum(found.memory.values()) / 1e9)} GB ({parts})"))
    told = (
        f"time: {_time(found.hours * 3600)} for {int(frame['cells'].sum())} cells on {people}, at "
        f"{found.rate.operations:.1e} operations a second each ({found.rate.source})"
    )
    out.print(plain(told), soft_wrap=quiet)
    if not quiet:
        told = (
            "The scores of heads alone; roles, profiles and the report come on top. Single methods can be off by half."
        )
        out.print(plain(told))


def _show_parts(found: Estimate, out: Any) -> None:
    from headscope.cli.tables import plain, table

    shape = found.outline
    told = f"{shape.name}: {shape.grid.layers} layers of {shape.grid.heads} heads, {shape.parameters:,} parameters"
    out.print(plain(told))
    made = table("task", "method", "examples", "cells", "forwards", "FLOPs", "time", left=("task", "method"))
    for row in found.frame.to_dict("records"):
        known = row["operations"] == row["operations"]
        cost = (f"{row['runs']:,.0f}", f"{row['operations']:.1e}", _time(row["seconds"])) if known else ("-",) * 3
        made.add_row(*map(plain, (row["task"], row["method"], row["examples"], row["cells"], *cost)))
    out.print(made)
    for name, why in found.skipped.items():
        out.print(plain(f"left out: {name}: {why}"))
    unknown = sorted(set(found.frame.loc[found.frame["seconds"].isna(), "method"]))
    if unknown:
        out.print(plain(f"cost not known: {', '.join(unknown)}"))


def _time(seconds: float) -> str:
    """A length of time in words."""
    units = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= 2 * size), (1.0, "s"))
    return f"{seconds / size:.3g} {unit}"
