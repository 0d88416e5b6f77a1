"""Ray itself: started or found, measured, and left as it was."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headscope.errors import RunError, UsageError
from headscope.models import Model
from headscope.pipeline.scaling.worker import Worker

STORE = 2**28
"""Bytes of memory that a Ray of our own has for what is sent around: prompts and values, which are small."""
BESIDE = 2**30
"""Bytes that a worker takes beside the weights, about."""
LOST = 3
"""How often Ray starts a block again whose worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How an analysis is spread.

    Attributes:
        workers: how many.
        threads: of each.
        neighbours: workers on one machine, at most.
        gpus: of each.
    """

    workers: int
    threads: int
    neighbours: int
    gpus: int = 0


@contextlib.contextmanager
def session(address: str) -> Iterator[Any]:
    """Ray, connected; one that is started here ends here, one that runs is left running.

    Args:
        address: `local`, `auto` or `HOST:PORT`.

    Raises:
        UsageError: if Ray is not installed.
        RunError: if it cannot be started or reached.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError as problem:
        fix = "install it: pip install 'headscope[ray]'"
        raise UsageError("--ray, without the package ray", "Ray, an extra of headscope", fix) from problem
    own = not ray.is_initialized()
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send statistics over the network
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        started = {"include_dashboard": False, "object_store_memory": STORE} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **started)
        except Exception as problem:  # Ray raises nearly every built-in error here
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
            expected = "local, auto, or the HOST:PORT of a Ray cluster that runs, of the same version"
            given = f"Ray at {address!r}, which does not start or answer: {reason}"
            raise RunError(given, expected, "check the address: ray status") from problem
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


def size_of(ray: Any, model: Model, workers: int | None) -> Size:
    """How many workers there can be, and what each has.

    Args:
        ray: connected.
        model: what each of them loads.
        workers: as asked; None: as many as make sense.

    Raises:
        RunError: if the cluster has no machine for a worker.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = int(sum(node.get("GPU", 0) for node in nodes)) if model.device.type == "cuda" else 0
    if not nodes or (model.device.type == "cuda" and not gpus):
        what = "processor" if not nodes else "GPU, for a model on one"
        fix = "add some, or load the model with --device cpu"
        raise RunError(f"a Ray cluster without a {what}", "machines of the kind that the model is on", fix)
    weights = 4 * int(model.identity.get("parameters") or 0)
    fitting = [max(1, int(node.get("memory", 0) // (BESIDE + 2 * weights))) for node in nodes]
    possible = gpus or sum(min(int(node["CPU"]), most) for node, most in zip(nodes, fitting, strict=True))
    count = workers or possible
    processors = [int(node["CPU"]) for node in nodes]
    threads = max(1, min(min(processors), sum(processors) // count))
    return Size(
        workers=count, threads=threads, neighbours=min(count, max(each // threads for each in processors)),
        gpus=1 if gpus else 0,
    )  # fmt: skip


def maker(ray: Any, size: Size, *, offline: bool) -> Callable[[], Any]:
    """What makes a worker: a process of its own, with its threads, offline where this one is.

    Args:
        ray: connected.
        size: of each worker.
        offline: workers never use the network.
    """
    there = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HOME", "HF_HUB_CACHE")
    settings = {name: os.environ[name] for name in there if name in os.environ}
    settings |= {"OMP_NUM_THREADS": str(size.threads)} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    remote = ray.remote(Worker).options(
        num_cpus=size.threads, num_gpus=size.gpus, max_restarts=-1, max_task_retries=LOST,
        runtime_env={"env_vars": settings},
    )  # fmt: skip
    return remote.remote
