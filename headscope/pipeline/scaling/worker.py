"""What a Ray worker does: load the model once, then compute the blocks that it is sent."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from headscope.pipeline.blocks import Block
from headscope.pipeline.planning import Plan
from headscope.pipeline.scoring import Measured, Work, compute, work_of
from headscope.prompts import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How a worker loads the model, as `headscope.load` takes it.

    Attributes:
        name: `mini`, a Hub name, or a folder that is there on every machine.
        revision: of a Hub model.
        device: kind of device.
        dtype: of the weights.
        offline: never use the network.
    """

    name: str
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All that workers need to know of an analysis.

    Attributes:
        source: the model.
        plan: the plan.
        pairs: task -> its examples.
        keyed: blocks have keys, by which each worker checks that it has the same model, prompts and headscope.
        neighbours: workers that share a machine's memory.
        threads: of each worker.
    """

    source: Source
    plan: Plan
    pairs: Mapping[str, Pairs]
    keyed: bool
    neighbours: int
    threads: int


class Worker:
    """A process of its own with the model in it; Ray makes one, and makes it anew where it dies."""

    def __init__(self) -> None:
        self.work: Work | None = None

    def ready(self, task: Task) -> dict[str, Any]:
        """Load the model; who has it.

        Args:
            task: the analysis.

        Raises:
            HeadscopeError: if it cannot be loaded here.
        """
        sha256 = self._work(task).setting.model.identity.get("weights_sha256")
        return {"pid": os.getpid(), "host": platform.node(), "weights_sha256": sha256}

    def compute(self, task: Task, block: Block) -> tuple[tuple[int, str], Measured]:
        """The number of this process and its machine, and the values of a block.

        Args:
            task: the analysis: a worker that was made anew has not seen it before.
            block: one of its blocks.
        """
        return (os.getpid(), platform.node()), compute(self._work(task), block)

    def _work(self, task: Task) -> Work:
        # Not in __init__, where Ray would tell an error's text and not the error.
        if self.work is None:
            self.work = make(task)
        return self.work


def make(task: Task) -> Work:
    """The analysis, in this process.

    Args:
        task: what is known of it.
    """
    import torch

    from headscope.models import load
    from headscope.replay.memory import available

    torch.set_num_threads(task.threads)
    source = task.source
    model = load(
        source.name, revision=source.revision, device=source.device, dtype=source.dtype, offline=source.offline
    )
    # Each would take half of what is free, and together more than there is.
    memory = task.plan.memory or max(2**20, available(model.device) // (2 * task.neighbours))
    return work_of(model, replace(task.plan, memory=memory), task.pairs, keeps=task.keyed)
