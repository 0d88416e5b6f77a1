"""judge(): from a model's name to the verdict on the few heads of every task."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from headscope import provenance
from headscope.ability import ability
from headscope.attention import View
from headscope.cells import packed, row_from, unpacked
from headscope.contract import COLUMNS, Task
from headscope.errors import TaskError, UsageError, together, tried
from headscope.few import Few, Settings, few_heads
from headscope.few.outcome import few_from
from headscope.few.split import LEAST, Halves, split
from headscope.methods.twins import Limits
from headscope.models import Model, load
from headscope.models.determined import determined
from headscope.pipeline import Home, Interrupted, Plan, Setting, assemble, build_tasks, keys, profiled, show
from headscope.pipeline.keeping import enter, used
from headscope.plots.words import loose
from headscope.profiles import Profiles
from headscope.progress import step
from headscope.prompts import Pairs
from headscope.runs import Run
from headscope.runs.checking import check_few
from headscope.tasks import DEFAULT, MINI
from headscope.tasks.files import short


def judge(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    model: Any = "mini",
    *,
    tasks: Sequence[str | Task | Pairs] = (),
    n: int = 200,
    ablation: str = "resample",
    sets: int = 100,
    seed: int = 0,
    twin: bool = True,
    batch_size: int = 128,
    memory: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = False,
    progress: bool = True,
) -> Run:
    """Do a few heads carry each of these tasks? `run.few` holds the verdicts, `headscope.few.few_heads` the protocol.

    Args:
        model: whatever `headscope.load` takes, or a model that it returned.
        tasks: names, or files as FORMAT:PATH (see `headscope list tasks`); by default induction, ioi and agreement, and
            for the bundled model everything that it was trained on. Your own as objects, as for `analyze`.
        n: held-out pairs per task; as many again select the heads.
        ablation: of the sets of heads: resample, mean, zero and others; several kinds are shown beside it.
        sets: random sets of each size, uniform and layer-matched.
        seed: of prompts, halves, random sets and resamples; the same seed gives the same run.
        twin: run the same model with random weights too; its results are kept for the next time.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        progress: draw progress bars on standard error.

    Returns:
        The run; where query heads share keys and values, each task is judged by head and by group. Cost: as told by
        `headscope.few.few_heads`, for every task.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
        Interrupted: at Ctrl-C, with the tasks that were finished.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> planted = planted_model(plant, grid=Grid(2, 4), vocabulary=32, positions=32)
        >>> run = judge(planted, tasks=["induction"], n=12, sets=20, twin=False, device="cpu", progress=False)
        >>> run.few["induction"].label, sorted(run.top(2)["label"])
        ('a few heads are needed, but do not suffice', ['L0H0', 'L1H1'])
    """
    asked = request(
        tasks=tasks, n=n, ablation=ablation, sets=sets, seed=seed, twin=twin, batch_size=batch_size, memory=memory
    )
    loaded = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
    return carry_out(loaded, asked, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be judged: tasks and numbers, and how.

    Attributes:
        plan: tasks, pairs (both halves), seed and what is held at once.
        settings: of the protocol.
    """

    plan: Plan
    settings: Settings


def request(  # noqa: PLR0913 - what users choose
    *,
    tasks: Sequence[str | Task | Pairs] = (),
    n: int = 200,
    ablation: str = "resample",
    sets: int = 100,
    seed: int = 0,
    twin: bool = True,
    batch_size: int = 128,
    memory: int | None = None,
) -> Request:
    """Check what was asked, before any weights are loaded.

    Args:
        tasks: as for `judge`.
        n: as for `judge`.
        ablation: as for `judge`.
        sets: as for `judge`.
        seed: as for `judge`.
        twin: as for `judge`.
        batch_size: as for `judge`.
        memory: as for `judge`.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> request(n=200).plan.n
        400
        >>> request(n=3, sets=5)
        Traceback (most recent call last):
        headscope.errors.UsageError: n 3; sets 5
          expected: n from 5: intervals need 5 groups or more; sets from 20
          to fix it: some 100 give intervals that decide anything; fewer random sets could not show p < .05
    """
    problems: list[UsageError] = []
    if n < LEAST:
        fix = "some 100 give intervals that decide anything"
        problems.append(UsageError(f"n {n}", f"n from {LEAST}: intervals need {LEAST} groups or more", fix))
    counts = {"n": 2 * max(n, LEAST), "batch_size": batch_size, "memory": memory}
    plan = tried(lambda: Plan(tasks=tuple(tasks), seed=max(seed, 0), **counts), problems)
    settings = tried(lambda: Settings(ablation=ablation, sets=sets, seed=seed, twin=twin), problems)
    if plan is None or settings is None or problems:
        raise together(problems)
    return Request(plan=plan, settings=settings)


def carry_out(
    model: Model,
    asked: Request,
    *,
    progress: bool = True,
    command: Sequence[str] | None = None,
    home: Home | None = None,
) -> Run:
    """Judge every task on a loaded model.

    Args:
        model: the model.
        asked: what to do.
        progress: draw progress bars.
        command: the command line, for the record.
        home: where each task's verdict is kept as soon as it is there, and found again; None: nothing is kept.

    Raises:
        TaskError: if a task that the request names cannot be expressed or has too few pairs, or none can.
        RunError: if the folder holds a run of another model.
        Interrupted: at Ctrl-C, with the tasks that were finished.
    """
    began, home = time.monotonic(), home or Home()
    plan, record = asked.plan, provenance.record(command=command, seed=asked.plan.seed)
    bundled = model.identity.get("source") == "bundled"
    pairs, rows = build_tasks(model, plan, default=MINI if bundled else DEFAULT)
    measured = _halves(pairs, rows, asked)
    setting = Setting(model, plan.batch_size, plan.memory, progress)
    facts = None if home.folder is None else determined(model)
    enter(home, model, facts)
    results: dict[str, Few] = {}
    frames: list[pd.DataFrame] = []
    views: list[View] = []
    profiles: Profiles | None = None
    stopped = False
    try:
        for task, half in measured.items():
            row = home.store.remember(
                "ability", keys.ability(facts, half, seed=plan.seed), pack=packed, unpack=row_from,
                compute=lambda half=half: ability(model, half, seed=plan.seed, batch_size=plan.batch_size),
            )  # fmt: skip
            found = home.store.remember(
                "few", keys.verdict(facts, pairs[task], asdict(asked.settings)), pack=_packed, unpack=_unpacked,
                compute=lambda task=task, row=row: _results(setting, pairs[task], asked.settings, row),
            )  # fmt: skip
            frames += [scores(result) for result in found.values() if result.unit == "head"]
            views += show(setting, half, frames[-1:]) if frames else []
            # Last, and together: a task is finished or it is not there at all.
            rows[task] |= row
            results |= found
        profiles = profiled(setting, measured, frames, {}, seed=plan.seed)
    except KeyboardInterrupt:
        stopped = True
    identity = {
        "kind": "few", "model": model.identity, "plan": plan.record() | {"tasks": tuple(map(short, plan.tasks))},
        "settings": asdict(asked.settings), "provenance": record, "complete": not stopped,
        "wall_seconds": round(time.monotonic() - began, 3), **used(home, facts),
    }  # fmt: skip
    run = assemble(model.name, identity, rows, [frame for frame in frames if len(frame)], {}, tuple(views))
    run = replace(run, few=results, profiles=profiles)
    if stopped:
        done = len({result.task for result in results.values()})
        raise Interrupted(run, done, len(measured), resumes=home.folder is not None)
    return run


def _packed(found: dict[str, Few]) -> dict[str, np.ndarray]:
    return packed({name: result.record() for name, result in found.items()})


def _unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, Few]:
    found = {str(name): few_from(record) for name, record in unpacked(arrays).items()}
    for each in found.values():
        check_few(each)
    return found


def _halves(pairs: dict[str, Pairs], rows: dict[str, dict[str, Any]], asked: Request) -> dict[str, Pairs]:
    """The measuring half of every task; tasks that cannot be split are skipped, unless they were named."""
    found: dict[str, Halves] = {}
    problems: list[UsageError] = []
    for task, each in pairs.items():
        try:
            found[task] = split(each, seed=asked.settings.seed)
        except UsageError as error:
            problems.append(error)
            rows[task] |= {"status": "skipped", "reason": f"{error.given}; expected: {error.expected}"}
    if problems and (asked.plan.tasks or not found):
        parts = (dict.fromkeys(getattr(each, part) for each in problems) for part in ("given", "expected", "fix"))
        raise TaskError(*("; ".join(part) for part in parts))
    return {task: halves.measure for task, halves in found.items()}


def _results(setting: Setting, pairs: Pairs, settings: Settings, able: dict[str, Any]) -> dict[str, Few]:
    """The verdict on a task; one more over key/value groups where query heads share them."""
    limits = Limits(batch_size=setting.batch_size, memory=setting.memory, progress=setting.progress)
    with step(f"{pairs.task}: do a few heads carry it"):
        found = {pairs.task: few_heads(setting.model, pairs, settings=settings, limits=limits, able=able)}
    if setting.model.identity.get("key_value_heads") not in (None, setting.model.grid.heads):
        by_group = replace(settings, unit="group")
        grouped = few_heads(setting.model, pairs, settings=by_group, limits=limits, able=able)
        found[f"{pairs.task} (groups)"] = grouped
    return found


def scores(result: Few) -> pd.DataFrame:
    """The held-out effects of single heads as rows of a run's scores; what was not tested there is NaN.

    Args:
        result: of one task, by head.
    """
    heads, facts = loose(result.heads).sort_values(["layer", "head"], ignore_index=True), result.facts
    if heads.empty:
        return pd.DataFrame(columns=COLUMNS)
    size = heads["value"].abs()
    frame = heads[["layer", "head", "value", "low", "high"]].assign(
        task=result.task,
        method="patching",
        score=facts["direction"],
        n=facts["measured"],
        groups=facts["groups"][1],
        rank=size.rank(ascending=False, method="min"),
        share=size / size.sum() if size.sum() > 0 else np.nan,
        unit=facts["metric_unit"],
        signed=True,
        reason="",
        **dict.fromkeys(("p", "q", "rank_low", "rank_high"), np.nan),
    )
    return frame.loc[:, COLUMNS]
