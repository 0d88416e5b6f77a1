"""analyze(): from a model's name to a run, in cells that are kept as soon as they are finished."""

from headscope.pipeline.blocks import Block
from headscope.pipeline.building import ABSENT_TASK, build_tasks
from headscope.pipeline.entry import analyze, command_line
from headscope.pipeline.executing import assemble, execute
from headscope.pipeline.keeping import Home, OtherModel, request_of, resuming, unfinished, warnings_of
from headscope.pipeline.merging import merge
from headscope.pipeline.planning import Plan
from headscope.pipeline.scaling.shards import Shard
from headscope.pipeline.scaling.spread import OnRay
from headscope.pipeline.scoring import Executor, Measured, Work, blocks_of, compute, local, score, work_of
from headscope.pipeline.showing import profiled, show
from headscope.pipeline.states import Interrupted, Setting
from headscope.pipeline.verifying import verify

__all__ = [
    "ABSENT_TASK",
    "Block",
    "Executor",
    "Home",
    "Interrupted",
    "Measured",
    "OnRay",
    "OtherModel",
    "Plan",
    "Setting",
    "Shard",
    "Work",
    "analyze",
    "assemble",
    "blocks_of",
    "build_tasks",
    "command_line",
    "compute",
    "execute",
    "local",
    "merge",
    "profiled",
    "request_of",
    "resuming",
    "score",
    "show",
    "unfinished",
    "verify",
    "warnings_of",
    "work_of",
]
