"""`headscope mini`: train the bundled model anew, or measure it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import complete, folders, hints, names, options
from headscope.cli.command import Group, register
from headscope.cli.options import option
from headscope.errors import UsageError

app = typer.Typer(
    help="The bundled model: train it anew, or measure it.",
    epilog="[bold]Examples[/bold]\n"
    "  headscope mini evaluate                       the model that ships\n"
    "  headscope mini train --out my-mini            one of your own\n"
    "  headscope mini evaluate --model my-mini/model",
    no_args_is_help=True,
    cls=Group,
)
EPILOG_TRAIN = (
    "[bold]Examples[/bold]\n"
    "  headscope mini train --out my-mini --seed 1   about half an hour on one core\n"
    "  headscope mini train --out quick --steps 200  some minutes; it learns little\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
EPILOG_EVALUATE = (
    "[bold]Examples[/bold]\n"
    "  headscope mini evaluate                       the model that ships\n"
    "  headscope mini evaluate --model my-mini/model --json\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
SEEDS, STEPS, DOCUMENTS = (0, options.SEEDS[1]), (1, options.MANY[1]), (10, options.MANY[1])
"""The numbers that are accepted."""
_Seed = Annotated[int, option("--seed", metavar="N", span=SEEDS, help="Of the initial weights and of the texts.")]
_Steps = Annotated[
    int | None,
    option(
        "--steps",
        metavar="N",
        span=STEPS,
        help="Optimiser steps, and no finish; by default the recipe's.",
    ),
]
_Device = Annotated[
    str, option("--device", metavar="NAME", offer=complete.among(names.DEVICES[1:]), help="cpu or cuda.")
]
_Documents = Annotated[
    int, option("-n", "--examples", metavar="N", span=DOCUMENTS, help="Held-out documents per family.")
]


def train(
    out: Annotated[
        Path, option("--out", metavar="FOLDER", help="Gets checkpoints, the learning curve and, at the end, model/.")
    ],
    seed: _Seed = 0,
    steps: _Steps = None,
    device: _Device = "cpu",
    quiet: Annotated[bool, option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON: where the model is.")] = False,
) -> None:
    """Train the bundled model from scratch: about half an hour on one core.

    Ctrl-C stops it, and the same command goes on from the last checkpoint.
    """
    from headscope.mini.recipe import Recipe
    from headscope.mini.train import train as run
    from headscope.models.loading import _device
    from headscope.runs import check_writable

    device = str(_device(device))
    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps, finish=0)
    with folders.no_litter(out):
        check_writable(out, ours=("checkpoint.safetensors", "checkpoint.partial", "curve.jsonl", "model"))
        target = run(recipe, out, device=device, progress=not (quiet or as_json) and sys.stderr.isatty())
    sys.stdout.write(_as_json({"model": str(target)}) if as_json else f"model: {target}\n")
    hints.tell(hints.command("mini", "evaluate", "--model", target), quiet=quiet, as_json=as_json)


def evaluate(
    model: Annotated[
        str,
        option("--model", metavar="MODEL", offer=complete.models, help="mini, or the model/ folder of a training."),
    ] = "mini",
    n: _Documents = 300,
    seed: Annotated[int, option("--seed", metavar="N", span=SEEDS, help="Of the documents; the card uses 0.")] = 1,
    quiet: Annotated[bool, option("--quiet", "-q", help="No tables: print only what was not reached.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure accuracy on held-out texts of every family, and the best head of every gold pattern."""
    from headscope.cli.tables import finite, print_evaluation
    from headscope.mini.evaluate import evaluate as measure
    from headscope.models import load

    result = measure(load(model, offline=True), n=n, seed=seed)
    if as_json:
        sys.stdout.write(_as_json(finite(result.as_record())))
        return
    print_evaluation(result, quiet=quiet)
    hints.tell(hints.command("analyze", model), quiet=quiet)


def release(
    training: Annotated[Path, typer.Argument(metavar="TRAINING", help="Folder of the training that ships.")],
    other: Annotated[
        Path, typer.Argument(metavar="OTHER", help="Folder of a training with another seed, for comparison.")
    ],
    out: Annotated[Path, option("--out", metavar="FOLDER", help="Gets the model's files and its card.")],
    n: _Documents = 1000,
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only where the card is.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON: where the card is, and what was not reached.")] = False,
) -> None:
    """Measure two trainings and write the first one's model with its card, for people and for the test."""
    from headscope.mini.card import release as write
    from headscope.runs import check_writable

    lost = [str(folder) for folder in (training, other) if not (folder / "model").is_dir()]
    if lost:
        given = "; ".join(f"training {name!r}, which has no folder model" for name in lost)
        raise UsageError(given, "a folder that headscope mini train wrote to its end", "check the path")
    files = [path.name for path in (training / "model").iterdir()]
    with folders.no_litter(out):
        check_writable(out, ours=(*files, "card.json", "curve.svg", "README.md"))
        missing = write(training, other, out, n=n).missing
    card = str(out / "README.md")
    if as_json:
        sys.stdout.write(_as_json({"card": card, "missing": list(missing)}))
        return
    sys.stdout.write(f"card: {card}\n" + ("" if quiet else f"gates not reached: {'; '.join(missing) or 'none'}\n"))


def _as_json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


register(app, "train", train, epilog=EPILOG_TRAIN, below="mini")
register(app, "evaluate", evaluate, epilog=EPILOG_EVALUATE, below="mini")
EPILOG_RELEASE = "[bold]Examples[/bold]\n  headscope mini release my-mini my-mini-2 --out data/mini"
register(app, "release", release, epilog=EPILOG_RELEASE, below="mini")
