"""`headscope compare`: two saved runs side by side, as tables, JSON or a picture."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import complete, folders, hints, names, options
from headscope.cli.options import option

if TYPE_CHECKING:
    from headscope.comparing import Comparison

SHOWN = 8
"""Heads of each score that are printed: those that differ most."""
LEFT = ("task", "run", "status")

LEGEND = (
    "rank correlation: Spearman's, of all heads' mean effects, with the interval of what other prompts, as many, would "
    "give. reliability: of each run with a repetition of itself on other prompts; without noise: corrected for it. "
    "Jaccard: shared heads over heads in either top, with its range in 95 % of resamples. mean depth: of the absolute "
    "effects, 0 the first layer, 1 the last. difference: B - A with its 95 % interval; q: Benjamini-Hochberg."
)
EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope compare runs/gpt2 runs/my-finetuned-gpt2\n"
    "  headscope compare runs/mini runs/mini-2 -t ioi --top 5\n"
    "  headscope compare runs/a runs/b --figure scatter.html\n\n"
    "Analyse both with the same --task, --method, -n and --seed: then they are\n"
    "compared prompt by prompt, which shows much smaller changes.\n"
    "Exit codes: 0 done, 1 failed (a damaged run), 2 bad input."
)


def _run_argument(help: str) -> Any:
    return typer.Argument(metavar="RUN", autocompletion=complete.runs, help=help)


_Tasks = Annotated[
    list[str] | None,
    option(
        "--task",
        "-t",
        metavar="NAME",
        offer=complete.several(names.TASKS),
        help="Only this task; repeat, or separate by commas.",
    ),
]
_Methods = Annotated[
    list[str] | None,
    option(
        "--method",
        "-m",
        metavar="NAME",
        offer=complete.several(names.METHODS),
        help="All scores of this method; repeat, or separate by commas.",
    ),
]


def compare(  # noqa: PLR0913 - one parameter for each option of the command
    run_a: Annotated[Path, _run_argument("A folder that headscope analyze wrote.")],
    run_b: Annotated[Path, _run_argument("Another.")],
    task: _Tasks = None,
    method: _Methods = None,
    everything: Annotated[
        bool, option("--all", help="Every score of both runs, not only the leading causal one of each task.")
    ] = False,
    top: Annotated[
        int | None, option("--top", metavar="K", help="Heads of the overlap. Default: 3 % of them, at least one.")
    ] = None,
    seed: Annotated[
        int, option("--seed", metavar="N", span=options.SEEDS, help="Of resamples, halves and permutations.")
    ] = 0,
    figure: Annotated[
        Path | None,
        option("--figure", metavar="FILE", help="Draw A against B, .html or .png; one file for each task."),
    ] = None,
    quiet: Annotated[bool, option("--quiet", "-q", help="No tables: print only where the figures are.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON instead of tables: all heads.")] = False,
) -> None:
    """Compare two runs: two models of one shape, two revisions, or two seeds.

    Says how far the ranks of the heads agree and how much of that is noise,
    which top heads are shared, and which heads changed, with intervals.
    """
    from headscope.comparing import compare as compared
    from headscope.errors import UsageError

    if seed < 0:
        raise UsageError(f"seed {seed}", "a whole number, 0 or more", "write for example --seed 0")
    _check_ending(figure)
    only = not (everything or method)
    found = compared(
        run_a, run_b, tasks=folders.names(task), methods=folders.names(method), leading=only, top=top, seed=seed
    )
    pictures = [] if figure is None else _draw(found, figure)
    if as_json:
        sys.stdout.write(json.dumps(record(found, pictures), indent=2, allow_nan=False) + "\n")
        return
    if not quiet:
        _print(found)
    for path in pictures:
        sys.stdout.write(f"figure: {path}\n")
    if not pictures:
        hints.tell(hints.command("compare", run_a, run_b, "--figure", "compared.html"), quiet=quiet)


def _check_ending(figure: Path | None) -> None:
    from headscope.errors import UsageError

    if figure is not None and figure.suffix.lower() not in (".html", ".png"):
        raise UsageError(f"a picture ending in {figure.suffix!r}", ".html or .png", "choose one of these endings")


def _draw(found: Comparison, path: Path) -> list[Path]:
    """One picture for each task's leading score; with several tasks, its name goes before the ending."""
    from headscope.plots import save_picture
    from headscope.plots.words import loose

    rows = loose(found.tasks)
    tasks = rows.loc[rows["leading"] & rows["matched"], "task"].tolist()
    written = []
    for task in tasks:
        target = path if len(tasks) == 1 else path.with_name(f"{path.stem}-{task}{path.suffix}")
        with folders.writing(target, "--figure"):
            written.append(save_picture(found.figure(task), target))
    return written


def record(found: Comparison, pictures: list[Path]) -> dict[str, Any]:
    """A comparison as plain values for JSON; what is absent is None.

    Args:
        found: the comparison.
        pictures: what was drawn.
    """
    from headscope.cli.tables import finite

    whole = {
        "names": list(found.names),
        "notes": list(found.notes),
        "left_out": list(found.left_out),
        "seed": found.seed,
        "figures": [str(path) for path in pictures],
        **{name: getattr(found, name).to_dict("records") for name in ("differs", "tasks", "sides", "heads")},
    }
    return finite(whole)


def _print(found: Comparison) -> None:
    from rich.text import Text

    from headscope.cli.tables import console, plain, table

    out = console()
    out.print(plain(" and ".join(found.names)), style="bold")
    if len(found.differs):
        differs = table("what differs", "A", "B", left=("what differs", "A", "B"))
        for row in found.differs.to_dict("records"):
            differs.add_row(plain(row["what"]), plain(_short(row["a"])), plain(_short(row["b"])))
        out.print(differs)
    else:
        out.print(Text("Nothing that was recorded of the two runs differs."))
    for note in found.notes:
        out.print(plain(note), style="yellow")
    _print_sides(found)
    for row in found.tasks.to_dict("records"):
        out.print()
        _print_score(found, {str(name): value for name, value in row.items()})
    for text in found.left_out:
        out.print(plain(f"left out: {text}"), style="yellow")
    out.print(Text(LEGEND, style="dim"))


def _short(text: str) -> str:
    """Hashes by their first 12 digits, as people compare them."""
    digits = len(text) == 64 and all(character in "0123456789abcdef" for character in text)
    return text[:12] if digits else text


def _span(value: float, low: float, high: float) -> str:
    from headscope.cli.tables import number

    return number(value) + ("" if math.isnan(low) else f" [{number(low)}, {number(high)}]")


def _print_sides(found: Comparison) -> None:
    from headscope.cli.tables import WIDE, console, number, plain, table
    from headscope.plots.words import loose

    rows = loose(found.sides)
    wide = console().width >= WIDE
    unit = " [95 %]" if wide else ""
    made = table("task", "run", "status", f"accuracy{unit}", f"top 3 % hold{unit}", f"mean depth{unit}", "n", left=LEFT)
    leading = loose(found.tasks)
    leading = {
        tuple(key) for key in leading.loc[leading["leading"], ["task", "method", "score"]].itertuples(index=False)
    }
    for row in rows.to_dict("records"):
        if (row["task"], row["method"], row["score"]) in leading:
            names = ("accuracy", "top_share", "depth")
            spans = [_span(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in names]
            cells = spans if wide else [number(row[name]) for name in names]
            n = "-" if math.isnan(row["n"]) else f"{row['n']:.0f}"
            made.add_row(plain(row["task"]), row["run"].upper(), plain(row["status"]), *cells, n)
    console().print(made)


def _print_score(found: Comparison, row: dict[str, Any]) -> None:
    from rich.text import Text

    from headscope.cli.tables import console, number, plain

    out = console()
    prompts = (
        f"the same {row['n_a']:.0f} prompts"
        if row["paired"]
        else f"{row['n_a']:.0f} and other {row['n_b']:.0f} prompts"
    )
    title = f"{row['task']}: {row['method']}, {row['score']} (in {row['unit']}; {prompts})"
    out.print(plain(title), style="bold")
    if row["reason"]:
        out.print(plain(f"{row['reason']}"), style="yellow")
    if not row["matched"] or math.isnan(row["rho"]):
        return
    out.print(_agreement(row))
    if math.isnan(row["changed"]):
        return
    changed = f"{row['changed']:.0f} of {row['heads']:.0f} heads changed (q < .05)"
    out.print(Text(f"{changed}; the {min(SHOWN, int(row['heads']))} that differ most:"))
    out.print(_heads(found, row, number))


def _agreement(row: dict[str, Any]) -> Any:
    from headscope.cli.tables import number, table

    noise = f"A {number(row['reliability_a'])}, B {number(row['reliability_b'])}"
    corrected = _span(row["corrected"], row["corrected_low"], row["corrected_high"])
    lines = {
        "rank correlation": _span(row["rho"], row["rho_low"], row["rho_high"]),
        "  matched at random within layers": number(row["rho_layers"]),
        "  reliability": noise,
        "  without noise": "too unreliable to say" if math.isnan(row["corrected"]) else corrected,
        f"top {row['k']:.0f} heads: shared": f"{row['shared']:.0f}",
        "  Jaccard index": _span(row["jaccard"], row["jaccard_low"], row["jaccard_high"]),
        "  Jaccard index by chance": number(row["chance"]),
    }
    made = table("agreement", "value [95 %]", left=("agreement", "value [95 %]"))
    for name, value in lines.items():
        made.add_row(name, value)
    return made


def _heads(found: Comparison, row: dict[str, Any], number: Any) -> Any:
    from headscope.cli.tables import table
    from headscope.plots.words import loose

    rows = loose(found.heads)
    for name in ("task", "method", "score"):
        rows = rows[rows[name] == row[name]]
    made = table("head", "A", "B", "difference [95 %]", "q", "rank A", "rank B", left=("head",))
    for head in rows.head(SHOWN).to_dict("records"):
        ranks = ["-" if math.isnan(head[name]) else f"{head[name]:.0f}" for name in ("a_rank", "b_rank")]
        difference = _span(head["difference"], head["low"], head["high"])
        made.add_row(head["label"], number(head["a"]), number(head["b"]), difference, number(head["q"]), *ranks)
    return made
