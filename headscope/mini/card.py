"""The bundled model's card: written from measurements, for people (README.md) and for the test (card.json)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from plotly import graph_objects as go

from headscope.mini import gates
from headscope.mini.evaluate import Evaluation, evaluate
from headscope.models import load
from headscope.plots import save_picture
from headscope.plots.words import loose

TEMPLATE = Path(__file__).with_name("card.md")
TRIED = Path(__file__).with_name("tried.md")


def release(training: Path, other: Path, target: Path, *, n: int = 1000, seed: int = 0) -> Evaluation:
    """Measure two trainings and write the first one's model with its card.

    Args:
        training: the folder of the training that ships.
        other: the folder of a training with another seed, for comparison.
        target: gets the model's files, `card.json`, `curve.svg` and `README.md`.
        n: held-out documents per family.
        seed: of the documents.

    Returns:
        The evaluation of the model that ships.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted((training / "model").iterdir()):
        shutil.copyfile(file, target / file.name)
    mine, theirs = (evaluate(load(folder / "model", offline=True), n=n, seed=seed) for folder in (training, other))
    curves = [pd.read_json(folder / "curve.jsonl", lines=True) for folder in (training, other)]
    save_picture(curve_picture(curves[0]), target / "curve.svg")
    recipes = [json.loads((folder / "model" / "recipe.json").read_text()) for folder in (training, other)]
    record = mine.as_record() | {"recipe": recipes[0], "cost": _cost(curves[0])}
    (target / "card.json").write_text(json.dumps(record, indent=1) + "\n")
    (target / "README.md").write_text(_card(mine, theirs, recipes, curves))
    return mine


def curve_picture(curve: pd.DataFrame) -> go.Figure:
    """Document accuracy on the dev split of every family, over training: one row a family.

    Args:
        curve: the lines of `curve.jsonl`.
    """
    families = [name for name in curve.columns if isinstance(curve[name].iloc[0], list)]
    values = [[pair[1] for pair in curve[name]] for name in families]
    steps = [str(step) for step in curve["step"]]
    figure = go.Figure(go.Heatmap(z=values, x=steps, y=families, zmin=0, zmax=1, colorscale="Viridis"))
    figure.update_xaxes(title="training step", tickvals=list(range(len(steps))), ticktext=steps, type="linear")
    figure.update_yaxes(tickvals=list(range(len(families))), ticktext=families, autorange="reversed", type="linear")
    figure.data[0].update(x=list(range(len(steps))), y=list(range(len(families))))
    words = {"title": "mini: share of documents without a wrong word", "note": "dev split, 60 documents a family"}
    return figure.update_layout(meta=words, height=470, margin={"t": 70})


def _cost(curve: pd.DataFrame) -> dict[str, Any]:
    last = curve.iloc[-1]
    return {"steps": int(last["step"]), "tokens": int(last["tokens"]), "minutes": round(float(last["seconds"]) / 60, 1)}


def _card(mine: Evaluation, theirs: Evaluation, recipes: list[dict[str, Any]], curves: list[pd.DataFrame]) -> str:
    costs = [_cost(curve) for curve in curves]
    values = {
        "n": mine.n,
        "seeds": " and ".join(str(recipe["seed"]) for recipe in recipes),
        "missing": "; ".join(mine.missing) or "none: every gate is reached",
        "missing_other": "; ".join(theirs.missing) or "none",
        "cost": " and ".join(
            f"{c['steps']} steps, {c['tokens'] / 1e6:.1f} M tokens, {c['minutes']} minutes" for c in costs
        ),
        "accuracy": _accuracy(mine, theirs),
        "heads": _heads(mine, theirs),
        "relations": _relations(mine),
        "recipe": json.dumps(recipes[0], indent=2),
        "queries": gates.QUERIES,
        "documents": gates.DOCUMENTS,
        "attention": gates.ATTENTION,
        "tried": TRIED.read_text().strip(),
    }
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text = text.replace("{{ " + name + " }}", str(value))
    return text


def _rows(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _accuracy(mine: Evaluation, theirs: Evaluation) -> str:
    both = mine.accuracy.merge(theirs.accuracy, on=["family", "kind"], suffixes=("", "_other"))
    rows = [
        [
            row.family, row.kind, f"{row.queries:.3f} ({row.n_queries})",
            f"{row.documents:.3f} [{row.documents_low:.3f}, {row.documents_high:.3f}] ({row.n_documents})",
            "yes" if row.passed else "**no**", f"{row.queries_other:.3f} / {row.documents_other:.3f}",
        ]
        for row in loose(both).itertuples()
    ]  # fmt: skip
    return _rows(["family", "kind", "per word (n)", "per document [95 %] (n)", "reached", "other seed"], rows)


def _heads(mine: Evaluation, theirs: Evaluation) -> str:
    both = mine.heads.merge(theirs.heads, on="pattern", suffixes=("", "_other"))
    rows = [
        [
            row.pattern, f"L{row.layer}H{row.head}", f"{row.value:.2f}", str(row.heads), str(row.n),
            ("yes" if row.passed else "**no**") if row.gate else "no gate",
            f"L{row.layer_other}H{row.head_other} {row.value_other:.2f}",
        ]
        for row in loose(both).itertuples()
    ]  # fmt: skip
    header = ["pattern", "best head", "mean attention", f"heads >= {gates.ATTENTION}", "n", "reached", "other seed"]
    return _rows(header, rows)


def _relations(mine: Evaluation) -> str:
    rows = [
        [
            row.relation, row.direction.replace("_", " "), f"L{row.layer}H{row.head}", f"{row.value:.2f}",
            f"{row.baseline:.2f}", str(row.n), "yes" if row.passed else "",
        ]
        for row in loose(mine.relations).itertuples() if row.n >= gates.LEAST
    ]  # fmt: skip
    return _rows(["relation", "direction", "best head", "accuracy", "best fixed offset", "n", "counts"], rows)
