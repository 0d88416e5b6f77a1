"""Sound folders of what headscope itself keeps and reads again: cells, reproductions, caches, checkpoints."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from fuzz.seeds import Files, contents

TIMES = {"seconds": 1.0, "wall_seconds": 1.0, "started": "2026-01-01 00:00:00+00:00"}
"""What differs from one analysis to the next; an input that is named by its number must not."""


@contextmanager
def _no_pages() -> Iterator[None]:
    with patch("headscope.report.write"), patch("headscope.reproducing.write"):
        yield


@cache
def analysed() -> list[Files]:
    """An analysis with all its cells, its plan and its request."""
    from cellcases import analyze, planted

    with TemporaryDirectory() as folder, _no_pages():
        analyze(planted(), Path(folder, "run"), methods=["patching", "attention"], n=4)
        found = sorted(contents(Path(folder, "run")).items())
    return [{path: _timeless(path, data) for path, data in found if not Path(path).name.startswith(".")}]


def _timeless(path: str, data: bytes) -> bytes:
    from headscope.cells import Cell, packed, parse, unpacked
    from headscope.cells import dump as dumped
    from headscope.cells.packing import RECORD

    if path.endswith(".json"):
        return json.dumps(_without_time(json.loads(data)), indent=2).encode()
    if not path.startswith("cells/") or not path.endswith(".safetensors"):
        return data
    cell = parse(data)
    if RECORD not in cell.arrays:
        return data
    arrays = {**cell.arrays, **packed(_without_time(unpacked(cell.arrays)))}
    return dumped(Cell(kind=cell.kind, what=cell.what, notes=cell.notes, arrays=arrays))


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: TIMES[name] if name in TIMES and not isinstance(each, dict) else _without_time(each)
                for name, each in value.items()}  # fmt: skip
    return [_without_time(each) for each in value] if isinstance(value, list) else value


@cache
def cells() -> list[Files]:
    """Each cell of that analysis, of a study of roles and of a verdict on few heads, in a folder of its own."""
    import rolecases
    from fewcases import invented

    from headscope.cells import Cell, packed
    from headscope.cells import dump as dumped
    from headscope.grid import Grid
    from headscope.pipeline.showing import _roles_in

    found = {path: data for path, data in analysed()[0].items() if path.endswith(".safetensors") and "cells/" in path}
    arrays = {"roles": _roles_in(rolecases.invented(grid=Grid(2, 2))), "few": packed({"ioi": invented().record()})}
    for kind, held in arrays.items():
        cell = Cell(kind=kind, what={"seed": 0, "task": "ioi"}, arrays=held)
        found[f"cells/{cell.key[:2]}/{cell.key}.safetensors"] = dumped(cell)
    return [{path: data} for path, data in found.items()]


@cache
def notes() -> list[Files]:
    """What says who writes a folder, what was asked, and what there is."""
    holder = {"pid": 4711, "host": "node-1", "since": "2026-01-01 00:00:00+00:00"}
    run = {name: analysed()[0][name] for name in ("run.json", "cells/request.json")}
    return [{**run, ".lock.holder": json.dumps(holder).encode()}]


@cache
def reproductions() -> list[Files]:
    """A reproduction of which every claim holds."""
    from claimcases import circuit

    from headscope.deduction.claims import claims
    from headscope.reproducing import PAPERS, Reproduction

    identity = {"kind": "reproduce", "paper": PAPERS["three-percent"], "model": {"name": "m"}, "seed": 0}
    made = circuit()
    with TemporaryDirectory() as folder, _no_pages():
        return [contents(Reproduction(identity=identity, circuit=made, claims=claims(made)).save(folder))]


@cache
def small_runs() -> list[Files]:
    """A run with everything that a report shows, of few heads and scores, so that its report is drawn quickly."""
    from dataclasses import replace

    import pandas as pd
    import torch
    from fewcases import invented as few
    from probecases import invented as probes
    from results import one_score, profiles_of, task_row, view
    from rolecases import invented as roles

    from headscope.grid import Grid
    from headscope.runs import Run

    scores = pd.concat([one_score("ioi", *each, (2, 3)) for each in (("patching", "denoising"), ("attention", "self"))])
    model = {"name": "mini", "layers": 2, "heads": 3, "self_check": {"causal": 0.0, "tolerance": 1e-4}}
    held = roles(grid=Grid(2, 3))
    kept = held.scores[held.scores["case"].isin(["nsubj to head", "offset -1", "pronoun", ""])]
    run = Run(
        identity={"kind": "analyze", "model": model, "seed": 0, "command": ["headscope", "analyze", "mini"]},
        scores=scores, tasks=pd.DataFrame([task_row("ioi")]), views=(view("ioi", ("a", "b", "c"), ((0, 1), (1, 2))),),
        examples={"ioi.patching.denoising": torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(0))},
        groups={"ioi": torch.arange(8) // 2}, few={"ioi": few()}, roles=replace(held, scores=kept),
        probes=probes.__wrapped__(profiles={"upos": (0.5, 0.8, 0.9), "number": (0.5, 0.7, 0.75)}),
        profiles=profiles_of("ioi", ("L0H1", "L1H2")),
    )  # fmt: skip
    with TemporaryDirectory() as folder, _no_pages():
        return [contents(run.save(Path(folder)))]


@cache
def caches() -> list[Files]:
    """What `headscope few` keeps of a model with random weights."""
    import numpy as np
    from safetensors.numpy import save

    names = {"select": (6, 4), "measure": (6, 4), "total": (6, 1), "without": (3, 6), "alone": (3, 6)}
    rng = np.random.default_rng(0)
    return [{"0a.safetensors": save({name: rng.normal(size=shape) for name, shape in names.items()})}]


@cache
def learner() -> tuple[Any, Any, Any]:
    """A model of one layer, its optimiser after a step, and their recipe."""
    import torch

    from headscope.mini.recipe import Recipe
    from headscope.mini.train import _optimiser, initial_model

    recipe = Recipe(steps=3, finish=1, rows=6, layers=1, heads=2, width=8, inner=8, warm_up=2)
    model = initial_model(recipe, 12)
    optimiser = _optimiser(model, recipe)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    return model, optimiser, recipe


@cache
def checkpoints() -> list[Files]:
    """A training that was stopped."""
    from headscope.mini import checkpoint

    model, optimiser, recipe = learner()
    state = {**checkpoint.fresh(recipe), "step": 2, "learnt": {"ioi": 0.5}, "tokens": 99, "curve": [{"step": 2}]}
    with TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), model, optimiser, state)
        return [{"checkpoint.safetensors": Path(folder, "checkpoint.safetensors").read_bytes()}]


@cache
def outlines() -> list[Files]:
    """Configurations without weights, the first with a tokenizer."""
    from fuzz.seeds import models

    return [{path: data for path, data in each.items() if not path.endswith(".safetensors")} for each in models()[:3]]


@cache
def texts() -> list[Files]:
    """A text as a file."""
    return [{"in.txt": ("Mary met John. Caf\u00e9s are open.\n" * 20).encode()}]
