"""analyze(): from a model's name to a run."""

import contextlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headscope.contract import Method, Task
from headscope.models import load
from headscope.pipeline.executing import execute
from headscope.pipeline.keeping import request_of, resuming, warnings_of
from headscope.pipeline.planning import Plan
from headscope.pipeline.scaling.spread import executor_of
from headscope.pipeline.scoring import Executor
from headscope.pipeline.states import Interrupted
from headscope.prompts import Pairs
from headscope.runs import Run


def analyze(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    model: Any = "mini",
    *,
    tasks: Sequence[str | Task | Pairs] | Task | Pairs = (),
    methods: Sequence[str | Method] | Method = (),
    metrics: Sequence[str] = (),
    n: int = 40,
    seed: int = 0,
    batch_size: int = 128,
    memory: int | None = None,
    roles: bool = True,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
    refresh: bool = False,
    executor: str | Executor = "local",
) -> Run:
    """Score every attention head of a model on every task by every method.

    Args:
        model: whatever `headscope.load` takes, or a model that it returned.
        tasks: names, or files such as `lambada:test.jsonl` (see `headscope list tasks`); by default induction, ioi and
            agreement, if the model can express them. Your own as objects: a `headscope.contract.Task`, or finished
            `headscope.Pairs`, all of which are used, whatever `n`.
        methods: names (see `headscope list methods`); by default those of `headscope.methods.DEFAULT`. Your own as
            objects: a `headscope.contract.Method`.
        metrics: names (see `headscope list metrics`); the first instead of each task's own, the others as further
            scores of patching and ablation, such as `denoising.kl`, without a second sweep.
        n: examples per task; intervals shrink with its square root.
        seed: of prompts, resamples and donors; the same seed gives the same run.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        roles: say what each head does, too: `run.roles`, from few sentences (`headscope.classify` takes more).
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        progress: draw progress bars on standard error.
        folder: where the run is saved, and where every part of it is kept as soon as it is finished: the same call goes
            on where one before it stopped, and further tasks, methods or examples cost only themselves. A run of the
            same model that is there is extended: its tables become those of this call. None: nothing is written.
        refresh: compute everything anew, whatever the folder holds.
        executor: computes the scores: `local`, in this process; `ray`, in one worker for each processor or GPU of this
            machine, each with the model; `OnRay(...)` of `headscope.pipeline`, which also knows clusters and limits; or
            `Shard(...)`, which computes one share, for `headscope.merge`.

    Returns:
        The run. Cost: about 5 x heads forwards for each task and example with all methods.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
        RunError: if the folder cannot be written, is being written by another process, or holds another kind of run.
        Interrupted: at Ctrl-C, with the finished part of the run.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> planted = planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32)
        >>> run = analyze(planted, tasks=["induction"], methods=["patching"], n=4, device="cpu", progress=False)
        >>> sorted(run.top(2)["label"])
        ['L0H0', 'L1H1']
    """
    asked: Any = [
        (each,) if isinstance(each, str | Task | Pairs | Method) else tuple(each) for each in (tasks, methods)
    ]
    plan = Plan(
        tasks=asked[0], methods=asked[1], metrics=tuple(metrics), n=n, seed=seed, batch_size=batch_size,
        memory=memory, roles=roles,
    )  # fmt: skip
    chosen = executor_of(executor, str(model) if isinstance(model, str | Path) else "", offline=offline)
    typed = model if isinstance(model, str | Path) else type(model).__name__
    request = request_of(str(typed), plan, dtype=dtype, device=device)
    place = None if folder is None else Path(folder)
    with resuming(place, request=request, refresh=refresh) if place else contextlib.nullcontext() as home:
        loaded: Any = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
        try:
            run = execute(loaded, plan, progress=progress, executor=chosen, home=home)
        except Interrupted as stop:
            if place and len(stop.run.scores):
                stop.run.save(place)
            raise
        if place:
            run.save(place)
    for told in warnings_of(run.identity):
        warnings.warn(told, stacklevel=2)
    return run


def command_line() -> list[str]:
    """The command that was typed, for the record."""
    return ["headscope", *sys.argv[1:]]
