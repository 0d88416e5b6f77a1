"""`headscope mini`: train the bundled model anew, or measure it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The bundled model: train it anew, or measure it on fresh texts.", no_args_is_help=True)


@app.command("train")
def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, the learning curve and, at the end, model/.")],
    seed: Annotated[int, typer.Option(help="Of the initial weights and of the texts.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; by default those of the recipe.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train the bundled model from scratch. The same command goes on after a stop; about 45 minutes on one core."""
    from headscope.mini.recipe import Recipe
    from headscope.mini.train import train as run

    recipe = Recipe(seed=seed) if steps is None else Recipe(seed=seed, steps=steps)
    target = run(recipe, out, device=device, progress=not quiet)
    sys.stdout.write(f"model: {target}\n")


@app.command("evaluate")
def evaluate(
    model: Annotated[str, typer.Option(help="mini, or the model/ folder of another training.")] = "mini",
    n: Annotated[int, typer.Option("-n", "--examples", min=10, help="Held-out documents per family.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the documents; the card uses 0.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure accuracy on held-out texts of every family, and the best head of every gold pattern."""
    from headscope.mini.evaluate import evaluate as measure
    from headscope.mini.evaluate import print_tables
    from headscope.models import load

    result = measure(load(model, offline=True), n=n, seed=seed)
    if as_json:
        sys.stdout.write(json.dumps(result.as_record(), indent=2, allow_nan=False) + "\n")
    else:
        print_tables(result)
