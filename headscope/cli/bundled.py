"""`headscope mini`: train the bundled model anew, or measure it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The bundled model: train it anew, or measure it.", no_args_is_help=True)


def _option(*names: str, help: str, metavar: str = " ", least: int | None = None, envvar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, min=least, envvar=envvar, show_envvar=False)


@app.command("train")
def train(
    out: Annotated[
        Path, _option("--out", metavar="FOLDER", help="Gets checkpoints, the learning curve and, at the end, model/.")
    ],
    seed: Annotated[int, _option("--seed", metavar="N", least=0, help="Of the initial weights and of the texts.")] = 0,
    steps: Annotated[
        int | None,
        _option(
            "--steps",
            metavar="N",
            least=1,
            help="Optimiser steps, and no finish; by default the recipe's.",
        ),
    ] = None,
    device: Annotated[str, _option("--device", metavar="NAME", help="cpu or cuda.")] = "cpu",
    quiet: Annotated[bool, _option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train the bundled model from scratch: about half an hour on one core.

    Ctrl-C stops it, and the same command goes on from the last checkpoint.
    """
    from headscope.mini.recipe import Recipe
    from headscope.mini.train import train as run
    from headscope.runs import check_writable

    check_writable(out)
    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps, finish=0)
    target = run(recipe, out, device=device, progress=not quiet and sys.stderr.isatty())
    sys.stdout.write(f"model: {target}\n")


@app.command("evaluate")
def evaluate(
    model: Annotated[
        str, _option("--model", metavar="MODEL", help="mini, or the model/ folder of another training.")
    ] = "mini",
    n: Annotated[int, _option("-n", "--examples", metavar="N", least=10, help="Held-out documents per family.")] = 300,
    seed: Annotated[int, _option("--seed", metavar="N", least=0, help="Of the documents; the card uses 0.")] = 1,
    as_json: Annotated[
        bool, _option("--json", envvar="HEADSCOPE_MINI_EVALUATE_JSON", help="Print JSON instead of tables.")
    ] = False,
) -> None:
    """Measure accuracy on held-out texts of every family, and the best head of every gold pattern."""
    from headscope.cli.tables import finite, print_evaluation
    from headscope.mini.evaluate import evaluate as measure
    from headscope.models import load

    result = measure(load(model, offline=True), n=n, seed=seed)
    if as_json:
        sys.stdout.write(json.dumps(finite(result.as_record()), indent=2, allow_nan=False) + "\n")
    else:
        print_evaluation(result)


@app.command("release")
def release(
    training: Annotated[Path, typer.Argument(help="Folder of the training that ships.")],
    other: Annotated[Path, typer.Argument(help="Folder of a training with another seed, for comparison.")],
    out: Annotated[Path, _option("--out", metavar="FOLDER", help="Gets the model's files and its card.")],
    n: Annotated[int, _option("-n", "--examples", metavar="N", least=10, help="Held-out documents per family.")] = 1000,
) -> None:
    """Measure two trainings and write the first one's model with its card, for people and for the test."""
    from headscope.mini.card import release as write

    missing = write(training, other, out, n=n).missing
    sys.stdout.write(f"card: {out / 'README.md'}\ngates not reached: {'; '.join(missing) or 'none'}\n")
