"""The replay engine: what would the metric be if these heads had put out something else?

>>> import numpy as np
>>> from headscope import replay
>>> from headscope.grid import Grid
>>> from headscope.models import load
>>> from headscope.tasks import TASKS
>>> from headscope.testing import Plant, planted_model
>>> plant = Plant(induction=((0, 0), (1, 1)))
>>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
>>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
>>> clean, corrupted = replay.start(model, pairs, pairs.tokens), replay.start(model, pairs, pairs.corrupted)
>>> edits = replay.edits_of(replay.single_heads(model.grid), clean.z, pairs.mask)
>>> restored = replay.replay(corrupted, edits) - corrupted.metric[:, None]
>>> (restored.mean(0) > 1).tolist()
[True, False, False, True]
"""

from headscope.replay.base import Base, run
from headscope.replay.edits import (
    Edits,
    each_position,
    edits_of,
    everywhere,
    head_sets,
    named_position,
    on_grid,
    single_heads,
)
from headscope.replay.engine import streams
from headscope.replay.front import Run, budget, example_bytes, measure, portions, replay, start
from headscope.replay.plan import Chunk, Plan, plan, whole_forward
from headscope.replay.reading import Reader
from headscope.replay.whole import Whole, read, run_whole

__all__ = [
    "Base",
    "Chunk",
    "Edits",
    "Plan",
    "Reader",
    "Run",
    "Whole",
    "budget",
    "each_position",
    "edits_of",
    "everywhere",
    "example_bytes",
    "head_sets",
    "measure",
    "named_position",
    "on_grid",
    "plan",
    "portions",
    "read",
    "replay",
    "run",
    "run_whole",
    "single_heads",
    "start",
    "streams",
    "whole_forward",
]
