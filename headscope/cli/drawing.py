"""`headscope picture`: one figure of a saved run as a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import complete, folders, names, options
from headscope.cli.options import OUTPUT, WHAT, option

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope picture runs/gpt2 heatmap --task ioi --out ioi.svg\n"
    "  headscope picture runs/gpt2 ranking -t ioi -m ablation -s zero --out a.html\n"
    "  headscope picture runs/gpt2 roles --dark --out roles.svg\n\n"
    "Of an analysis: heatmap, ranking, tasks, agreement, layers, edges, attention,\n"
    "roles, role-layers. Of headscope roles: roles, role-layers, syntax,\n"
    "coreference. Of headscope few: few, few-tradeoff, few-halves. Of headscope\n"
    "probe: depth, probe-heads, probe-use. SVG and HTML need nothing further; PNG\n"
    "needs the extra png (kaleido) and Chrome.\n\n"
    "Exit codes: 0 done, 1 failed (a damaged run), 2 bad input."
)


def picture(  # noqa: PLR0913 - one parameter for each option of the command
    run: Annotated[
        Path, typer.Argument(metavar="RUN", autocompletion=complete.runs, help="A folder that headscope wrote.")
    ],
    name: Annotated[str, typer.Argument(metavar="PICTURE", help="Which: see below.")] = "heatmap",
    task: Annotated[
        str,
        option(
            "--task", "-t", panel=WHAT, metavar="NAME", offer=complete.among(names.TASKS), help="Default: the first."
        ),
    ] = "",
    method: Annotated[
        str,
        option(
            "--method", "-m", panel=WHAT, metavar="NAME", offer=complete.among(names.METHODS),
            help="Default: the causal one that the task is led by.",
        ),
    ] = "",
    score: Annotated[str, option("--score", "-s", panel=WHAT, metavar="NAME", help="Of the method.")] = "",
    label: Annotated[
        str, option("--label", panel=WHAT, metavar="NAME", help="Of probes; or the measure of few: necessity, ...")
    ] = "",
    dark: Annotated[bool, option("--dark", panel=OUTPUT, help="Light ink on a dark ground.")] = False,
    out: Annotated[
        Path, option("--out", panel=OUTPUT, metavar="FILE", help="Ending in .svg, .html or .png.")
    ] = Path("picture.svg"),
    quiet: Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="Print nothing.")] = False,
    as_json: Annotated[bool, options.as_json("title, note and path")] = False,
) -> None:  # fmt: skip
    """Draw one figure of RUN, as it stands in its report."""
    from headscope.cli.tables import console, plain
    from headscope.plots import save_picture
    from headscope.report.pictures import Wanted
    from headscope.report.pictures import picture as drawn
    from headscope.runs import open_run

    wanted = Wanted(task=task, method=method, score=score, label=label, dark=dark)
    figure: Any = drawn(open_run(run), name, wanted)
    with folders.writing(out, "--out"):
        path = save_picture(figure, out)
    if as_json:
        record = {"picture": str(path), "title": figure.layout.meta["title"], "note": figure.layout.meta["note"]}
        sys.stdout.write(json.dumps(record) + "\n")
    elif not quiet:
        console().print(plain(f"picture: {path}"), soft_wrap=True)
