"""Blocks on Ray: one model in each worker, one block at a time in each, results kept by the process that asked."""

import contextlib
import platform
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from headscope.errors import HeadscopeError, RunError, UsageError
from headscope.models import Model
from headscope.pipeline.blocks import Block
from headscope.pipeline.origins import is_ours, origin
from headscope.pipeline.own import Own
from headscope.pipeline.planning import Plan
from headscope.pipeline.scaling import cluster
from headscope.pipeline.scaling.worker import Source, Task
from headscope.pipeline.scoring import Executor, Measured, Work, local
from headscope.progress import track

HUNG = 2
"""How often a block is tried that takes too long."""
TICK = 1.0
"""Seconds between two looks at the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRay:
    """An executor that computes blocks on Ray.

    Each worker loads the model once and computes one block at a time, so that no more blocks are in flight than there
    are workers. This process alone writes results: no disk is shared. A worker that dies costs its block, which Ray
    computes again on a new one; a worker that hangs does, if `cell_timeout` is given. The prompts are sent along; the
    model is not: every machine must find it under the same name or path, and each worker checks by its hash that it has
    the same weights. What only this process knows, methods and metrics of one's own, is computed here after the rest.

    Attributes:
        name: of the model, as `headscope.load` takes it; empty: what the loaded model says it is.
        address: `local`: workers on this machine; `auto`, or `HOST:PORT`: those of a cluster that runs.
        workers: how many; None: one for each GPU where the model is on one, else one for each processor, as far as
            memory allows.
        cell_timeout: seconds after which a worker that is still at one block is killed; None: never. To load the model
            again after a worker was lost counts.
        offline: workers never use the network.
        told: what was done, after the last block: `workers`, `cells`, `lost`, `timed_out`, `hosts`, and how many blocks
            were computed `here`.

    Raises:
        UsageError: if a number is out of range.
    """

    name: str = ""
    address: str = "local"
    workers: int | None = None
    cell_timeout: float | None = None
    offline: bool = False
    told: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        wrong = [("workers", self.workers, 1), ("cell timeout", self.cell_timeout, 1)]
        given = [f"{name} {value}" for name, value, least in wrong if value is not None and not value >= least]
        if given:
            raise UsageError("; ".join(given), "at least 1 worker, at least 1 second for a cell", "give more")

    def __call__(self, work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Measured]]:
        """Compute blocks, each given as soon as it is done.

        Args:
            work: what they are computed from.
            blocks: which.

        Raises:
            UsageError: if Ray is not installed, or the model cannot be sent to workers.
            RunError: if a worker has other weights, or a block failed; all others are computed first.
        """
        source = source_of(work.setting.model, self.name, offline=self.offline)
        sent = [block for block in blocks if can_be_sent(work, block)]
        self.told["here"] = len(blocks) - len(sent)
        failure = (yield from self._spread(work, sent, source)) if sent else None
        yield from local(work, [block for block in blocks if block not in sent])
        if failure is not None:
            raise failure

    def _spread(
        self, work: Work, blocks: Sequence[Block], source: Source
    ) -> Generator[tuple[Block, Measured], None, RunError | None]:
        with cluster.session(self.address) as ray:
            size = cluster.size_of(ray, work.setting.model, self.workers)
            tasks = {block.task for block in blocks}
            task = Task(
                source=source, plan=for_workers(work.plan, blocks), neighbours=size.neighbours, threads=size.threads,
                pairs={name: pairs for name, pairs in work.pairs.items() if name in tasks},
                keyed=any(block.key for block in blocks),
            )  # fmt: skip
            make = cluster.maker(ray, size, offline=self.offline)
            pool = Pool(ray, make, ray.put(task), weights=weights_of(work.setting.model), timeout=self.cell_timeout)
            pool.start(min(size.workers, len(blocks)))
            try:
                found = _Sized(pool.results(blocks), len(blocks))
                yield from track(found, "cells on Ray", show=work.setting.progress, unit="cell")
            finally:
                self.told.update(pool.summary())
        return pool.failure() if pool.failed else None


def executor_of(given: str | Executor, name: str, *, offline: bool) -> Executor:
    """An executor by its name; one on Ray also learns how the model was named.

    Args:
        given: `local`, `ray` or an executor.
        name: of the model, as it is loaded; empty for a loaded one.
        offline: workers never use the network.

    Raises:
        UsageError: for another name.

    Example:
        >>> executor_of("ray", "mini", offline=True).name
        'mini'
    """
    if isinstance(given, OnRay) and not given.name:
        return replace(given, name=name, offline=given.offline or offline, told=given.told)
    if not isinstance(given, str):
        return given
    if given not in ("local", "ray"):
        raise UsageError(f"executor {given!r}", "local, ray, OnRay(...) or Shard(...)", "use one of them")
    return local if given == "local" else OnRay(name=name, offline=offline)


def source_of(model: Model, name: str = "", *, offline: bool = False) -> Source:
    """How workers load the same model.

    Args:
        model: the loaded model.
        name: as it was loaded; empty: found out.
        offline: never use the network.

    Raises:
        UsageError: if it is a live model, of a folder whose path is not known, or spread over several devices.
    """
    identity = model.identity
    if identity.get("device_map"):
        raise UsageError(
            f"model {model.name!r}, which lies over several devices, for workers on Ray",
            "a model that one device of each worker holds",
            "leave Ray and the device_map out, or share the work by Shard (--shard), each part with its own device_map",
        )
    dtype, kind = str(identity.get("dtype") or "float32"), str(identity.get("source") or "live model")
    revision = None
    if not name and kind in ("bundled", "package", "hub"):
        name, revision = str(identity["name"]), identity.get("commit") or identity.get("revision")
    if not name:
        raise UsageError(
            f"a {kind} ({model.name!r}) for workers in other processes",
            "the name or folder of a model, which every worker can load",
            "give the folder as text" if kind == "directory" else "save it, with its tokenizer, by "
            "save_pretrained(FOLDER), and give the folder as text",
        )  # fmt: skip
    return Source(name=name, revision=revision, device=model.device.type, dtype=dtype, offline=offline)


def weights_of(model: Model) -> str | None:
    """The hash of a model's weights as they were loaded; None where they were made otherwise.

    Args:
        model: the model.
    """
    return model.identity.get("weights_sha256")


def can_be_sent(work: Work, block: Block) -> bool:
    """Whether another process has all functions that a block is computed by.

    Args:
        work: of the analysis.
        block: one of its blocks.
    """
    return is_ours(origin(work.plan.method(block.method).function)) and isinstance(work.pairs[block.task].metric, str)


def for_workers(plan: Plan, blocks: Sequence[Block]) -> Plan:
    """A plan with the methods of some blocks alone; the prompts of their tasks are sent by themselves.

    Args:
        plan: of the analysis.
        blocks: those that workers compute.
    """
    names = dict.fromkeys(block.method for block in blocks)
    own = Own(methods={name: plan.method(name) for name in names})
    return replace(plan, tasks=(), methods=tuple(names), own=own)


def _words(error: Exception) -> str:
    if isinstance(error, HeadscopeError):
        return f"{error.given}; expected: {error.expected}"
    first = str(error).strip().splitlines()[-1:]
    return ": ".join([type(error).__name__, *first])[:300]


class _Sized:
    """Results whose number is known, for the progress bar."""

    def __init__(self, items: Iterator[tuple[Block, Measured]], count: int) -> None:
        self.items, self.count = items, count

    def __iter__(self) -> Iterator[tuple[Block, Measured]]:
        return self.items

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class _Running:
    actor: Any
    block: Block
    attempt: int
    began: float


class Pool:
    """Workers, and what each is at."""

    def __init__(
        self, ray: Any, make: Callable[[], Any], task: Any, *, weights: str | None, timeout: float | None
    ) -> None:  # fmt: skip
        self.ray, self.make, self.task, self.weights, self.timeout = ray, make, task, weights, timeout
        self.loading: dict[Any, Any] = {}
        self.running: dict[Any, _Running] = {}
        self.idle: list[Any] = []
        self.queue: deque[tuple[Block, int]] = deque()
        self.seen: dict[Any, tuple[int, str]] = {}
        self.failed: list[tuple[Block, str]] = []
        self.hosts: set[str] = set()
        self.done = self.lost = self.timed_out = self.size = 0

    def start(self, count: int) -> None:
        """Begin to load the model in more workers.

        Args:
            count: of them.
        """
        self.size += count
        for _ in range(count):
            actor = self.make()
            self.loading[actor.ready.remote(self.task)] = actor

    def results(self, blocks: Sequence[Block]) -> Iterator[tuple[Block, Measured]]:
        """Each block as soon as it is done.

        Args:
            blocks: which.
        """
        self.queue.extend((block, 1) for block in blocks)
        while self.queue or self.running:
            done, _ = self.ray.wait([*self.loading, *self.running], num_returns=1, timeout=TICK)
            for ref in done:
                if ref in self.loading:
                    self._welcome(ref)
                elif (found := self._finished(ref)) is not None:
                    yield found
            self._kill_hung()
            while self.idle and self.queue:
                actor, (block, attempt) = self.idle.pop(), self.queue.popleft()
                self.running[actor.compute.remote(self.task, block)] = _Running(actor, block, attempt, time.monotonic())

    def summary(self) -> dict[str, Any]:
        """What was done."""
        counts = {"workers": self.size, "cells": self.done, "lost": self.lost, "timed_out": self.timed_out}
        return {**counts, "hosts": sorted(self.hosts)}

    def failure(self) -> RunError:
        """What is told of the blocks that failed."""
        words = [f"{each.words}: {why}" for each, why in self.failed]
        more = f"; and {len(words) - 3} more" if len(words) > 3 else ""
        return RunError(
            f"{len(words)} cell{'s' * (len(words) > 1)} that no worker could compute: {'; '.join(words[:3])}{more}",
            "workers that come to an end with every cell; the others are kept",
            "give fewer --workers, a smaller --batch-size or --memory, or a longer --cell-timeout, and run the same "
            "command again",
        )

    def _welcome(self, ref: Any) -> None:
        actor = self.loading.pop(ref)
        told = self._got(ref)
        if isinstance(told, str):
            expected, fix = "a worker that can load the model", "give fewer --workers, or each of them more memory"
            raise RunError(f"a worker that died while it loaded the model ({told})", expected, fix)
        if self.weights != told["weights_sha256"]:
            raise RunError(
                f"a worker on {told['host']!r} whose model has other weights than the one here",
                "the same files under the same name on every machine",
                "copy them there, or give a folder that all machines share",
            )
        self.seen[actor] = told["pid"], told["host"]
        self.hosts.add(told["host"])
        self.idle.append(actor)

    def _finished(self, ref: Any) -> tuple[Block, Measured] | None:
        job = self.running.pop(ref)
        try:
            told = self._got(ref)
        except Exception as error:  # whatever the block did not come through with must not cost the others
            self.failed.append((job.block, _words(error)))
            self.idle.append(job.actor)
            return None
        if isinstance(told, str):
            self.lost += cluster.LOST + 1
            self.failed.append((job.block, f"its worker died {cluster.LOST + 1} times"))
            self._replace(job.actor)
            return None
        worker, measured = told
        self.lost += worker != self.seen[job.actor]
        self.seen[job.actor] = worker
        self.hosts.add(worker[1])
        self.done += 1
        self.idle.append(job.actor)
        return job.block, measured

    def _got(self, ref: Any) -> Any:
        """A worker's answer; the reason, as text, if it is dead for good."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(ref)
        except errors.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, HeadscopeError | MemoryError) else error) from None
        except errors.RayActorError as error:
            return type(error).__name__

    def _kill_hung(self) -> None:
        if self.timeout is None:
            return
        late = [ref for ref, job in self.running.items() if time.monotonic() - job.began > self.timeout]
        finished = self.ray.wait(late, num_returns=len(late), timeout=0)[0] if late else []
        for ref in set(late) - set(finished):
            job = self.running.pop(ref)
            self.timed_out += 1
            if job.attempt < HUNG:
                self.queue.append((job.block, job.attempt + 1))
            else:
                self.failed.append((job.block, f"longer than {self.timeout:g} s, {HUNG} times"))
            self._replace(job.actor)

    def _replace(self, actor: Any) -> None:
        self.ray.kill(actor, no_restart=True)
        if (told := self.seen.pop(actor, None)) and told[1] == platform.node():
            # A process that hangs in the kernel, or is stopped, does not hear Ray, and would keep its processor.
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(told[0])
                if process.name().startswith("ray::"):
                    process.kill()
        if self.queue:
            self.size -= 1
            self.start(1)
