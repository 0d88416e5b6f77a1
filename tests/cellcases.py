"""What the tests of cells share: a tiny model, small blocks, and tables that must be equal to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import headscope
from headscope.grid import Grid
from headscope.models import Model, load
from headscope.runs import Run
from headscope.testing import Plant, planted_model

METHODS = ("patching", "ablation", "attention")


def planted(**changes: Any) -> Model:
    """A model of two layers of two heads, of which two make an induction circuit."""
    given = {"grid": Grid(2, 2), "vocabulary": 32, "positions": 32, "noise": 0.01} | changes
    return load(planted_model(Plant(induction=((0, 0), (1, 1))), **given), device="cpu", check=False)


def analyze(model: Model, folder: Path | None = None, **options: Any) -> Run:
    """A small analysis."""
    given = {"tasks": ["induction"], "methods": METHODS, "n": 6, "roles": False, "progress": False}
    return headscope.analyze(model, folder=folder, **{**given, **options})


def cells(run: Run) -> tuple[dict[str, int], dict[str, int]]:
    """How many cells were computed and reused."""
    return run.identity["cells"]["computed"], run.identity["cells"]["reused"]


def assert_same(one: Run, other: Run) -> None:
    """Every table and every value, to the last bit."""
    pd.testing.assert_frame_equal(one.scores, other.scores, check_exact=True)
    pd.testing.assert_frame_equal(one.tasks, other.tasks, check_exact=True)
    assert one.examples.keys() == other.examples.keys()
    for name, values in one.examples.items():
        assert torch.equal(values.nan_to_num(-9), other.examples[name].nan_to_num(-9)), name
    for mine, theirs in zip(one.views, other.views, strict=True):
        assert (mine.tokens, mine.layer_heads) == (theirs.tokens, theirs.layer_heads)
        np.testing.assert_array_equal(mine.patterns, theirs.patterns)
    if one.profiles is not None and other.profiles is not None:
        for name, frame in one.profiles.frames().items():
            pd.testing.assert_frame_equal(frame, other.profiles.frames()[name], check_exact=True, check_dtype=False)


def files_of(folder: Path) -> dict[str, bytes]:
    """The tables of a run, byte by byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}
