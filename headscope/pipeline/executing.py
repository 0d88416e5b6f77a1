"""execute(): a plan on a loaded model, in cells that outlast it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch

from headscope import provenance
from headscope.ability import ability
from headscope.attention import View
from headscope.cells import Cell, Store, packed, row_from
from headscope.contract import COLUMNS
from headscope.methods.agreement import agreements
from headscope.models import Model
from headscope.pipeline import keys, showing
from headscope.pipeline.blocks import Block
from headscope.pipeline.building import ABSENT_TASK, build_files, build_tasks, told_of_file
from headscope.pipeline.halving import in_halves
from headscope.pipeline.keeping import KIND, Home, enter, keep_sheet, restored, used
from headscope.pipeline.planning import Plan
from headscope.pipeline.scoring import Executor, Measured, Work, blocks_of, keep, local, measured, tables, work_of
from headscope.pipeline.sheet import Sheet, scores_of
from headscope.pipeline.states import Interrupted
from headscope.profiles import Profiles
from headscope.prompts import Pairs
from headscope.roles import Roles
from headscope.runs import Run
from headscope.tasks.files import short

Rows = dict[str, dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What an analysis has so far: it is filled step by step, so that Ctrl-C loses none of it.

    Attributes:
        rows: of the table of tasks, by task.
        values: of the blocks that are done.
        tables: of the methods and tasks that are done, with the values behind them; None until they are asked for.
        views, profiles, roles: what is shown of the leading heads, and what heads do.
        stopped: Ctrl-C was pressed.
    """

    rows: Rows
    values: dict[Block, Measured] = field(default_factory=dict)
    tables: tuple[list[pd.DataFrame], dict[str, torch.Tensor]] | None = None
    views: list[View] = field(default_factory=list)
    profiles: Profiles | None = None
    roles: Roles | None = None
    stopped: bool = False


def execute(
    model: Model,
    plan: Plan,
    *,
    progress: bool = True,
    command: Sequence[str] | None = None,
    executor: Executor = local,
    home: Home | None = None,
) -> Run:
    """Carry out a plan on a loaded model: tasks, then methods, then tables, then the heads to show.

    Args:
        model: the model.
        plan: what to do.
        progress: draw progress bars.
        command: the command line, for the record.
        executor: computes blocks; by default one after the other in this process.
        home: where cells are kept and found, from `resuming`; None: nothing is kept.

    Raises:
        TaskError: if a task that the plan names cannot be expressed, or none can.
        RunError: if the folder holds a run of another model.
        Interrupted: at Ctrl-C, with the finished part of the run.
    """
    began, home = time.monotonic(), home or Home()
    record = provenance.record(command=command, seed=plan.seed)
    pairs, rows = build_tasks(model, plan)
    work = work_of(model, plan, pairs, progress=progress, keeps=home.folder is not None)
    enter(home, model, work.facts)
    home.store.tally.unwritten.extend(work.unkept())
    files = build_files(model, plan)
    sheet = sheet_of(work, rows, files, record["command"])
    there = keep_sheet(home, sheet)
    state = Progress(rows=rows)
    try:
        _abilities(work, files, home.store, state)
        measured(work, sheet, home.store, executor, state.values)
        _shown(work, sheet, home.store, state)
    except KeyboardInterrupt:
        state.stopped = True
    if there and restored(home, model, work.facts, sheet):
        keep(work, home.store, state.values)
    run = finished(sheet, state, record, cells=used(home, work.facts), seconds=time.monotonic() - began)
    if state.stopped:
        raise Interrupted(run, len(state.values), len(sheet.blocks), resumes=home.folder is not None)
    return run


def sheet_of(
    work: Work, rows: Rows, files: Mapping[str, Pairs], command: Sequence[str] | None
) -> Sheet:  # fmt: skip
    """The plan of an analysis with all its blocks and keys.

    Args:
        work: what blocks are computed from.
        rows: of the table of tasks.
        files: all items of files, from `build_files`.
        command: the command line, for the record.
    """
    plan, also = work.plan, work.setting.metrics
    names = plan.method_names
    kept = {"ability": work.pairs, "file": files}
    return Sheet(
        model=work.setting.model.identity, facts=work.facts, command=command,
        plan=plan.record() | {"tasks": tuple(map(short, plan.tasks))},
        rows={task: dict(row) for task, row in rows.items()},
        groups={task: each.groups.tolist() for task, each in work.pairs.items()},
        scores={
            task: {name: scores_of(plan.method(name), each, also) for name in names}
            for task, each in work.pairs.items()
        },
        blocks=blocks_of(work),
        keys={kind: _keys(kind, work, each) for kind, each in kept.items()},
        notes={task: list(each.notes) for task, each in files.items()},
    )  # fmt: skip


def _keys(kind: str, work: Work, pairs: Mapping[str, Pairs]) -> dict[str, str]:
    found = {task: keys.ability(work.facts, each, seed=work.plan.seed) for task, each in pairs.items()}
    return {task: Cell(kind=kind, what=what).key for task, what in found.items() if what is not None}


def _abilities(work: Work, files: Mapping[str, Pairs], store: Store, state: Progress) -> None:
    plan, model = work.plan, work.setting.model

    def judged(pairs: Pairs) -> Callable[[int], dict[str, Any]]:
        return lambda size: ability(model, pairs, seed=plan.seed, batch_size=size)

    def row(kind: str, pairs: Pairs) -> dict[str, Any]:
        what = keys.ability(work.facts, pairs, seed=plan.seed)
        return store.remember(
            kind, what, lambda: in_halves(judged(pairs), min(plan.batch_size, len(pairs)), model.device),
            pack=packed, unpack=row_from,
        )  # fmt: skip

    for task, pairs in work.pairs.items():
        state.rows[task] |= row("ability", pairs)
    for task, pairs in files.items():
        state.rows[task]["reason"] += f"; {told_of_file(row('file', pairs), pairs.notes)}"


def _shown(work: Work, sheet: Sheet, store: Store, state: Progress) -> None:
    """What is shown of the heads that lead, once all values are there: an executor may have left some to others."""
    if len(state.values) < len(sheet.blocks):
        return
    frames, examples = state.tables = tables(sheet, state.values)
    scores, setting, facts, seed = showing.together(frames), work.setting, work.facts, work.plan.seed
    prompts = {task: str(state.rows[task]["prompts"]) for task in work.pairs}
    for task, pairs in work.pairs.items():
        what = keys.views(facts, task, prompts[task], showing.heads_of(scores, task))
        state.views += showing.kept_views(store, what, lambda each=pairs: showing.show(setting, each, frames))
    what = keys.profiles(facts, prompts, scores, seed=seed)
    state.profiles = showing.kept_profiles(
        store, what, lambda: showing.profiled(setting, work.pairs, frames, examples, seed=seed)
    )
    if work.plan.roles:
        failed = [task for task, row in state.rows.items() if row.get("status") != "ok"]
        state.roles = showing.roles_of(setting, store, facts, scores, failed=failed, seed=seed)
        state.stopped = not state.roles.record["complete"]


def finished(
    sheet: Sheet, state: Progress, record: Mapping[str, Any], *, cells: Mapping[str, Any], seconds: float
) -> Run:  # fmt: skip
    """The run of what is there.

    Args:
        sheet: the plan.
        state: what was measured.
        record: where it comes from, from `headscope.provenance.record`.
        cells: what was computed and reused.
        seconds: how long it took.
    """
    frames, examples = state.tables or tables(sheet, state.values)
    whole = len(state.values) == len(sheet.blocks)
    identity = {
        "kind": KIND, "model": dict(sheet.model), "plan": dict(sheet.plan), "provenance": record,
        "complete": whole and not state.stopped, "wall_seconds": round(seconds, 3), "agreement": agreements(examples),
        **cells,
    }  # fmt: skip
    run = assemble(str(sheet.model["name"]), identity, state.rows, frames, examples, tuple(state.views))
    groups = {task: torch.tensor(list(each), dtype=torch.long) for task, each in sheet.groups.items()}
    return replace(run, groups=groups, roles=state.roles, profiles=state.profiles)


def assemble(
    name: str, identity: dict[str, Any], rows: Mapping[str, Mapping[str, Any]], frames: list[pd.DataFrame],
    examples: Mapping[str, torch.Tensor], views: tuple[View, ...],
) -> Run:  # fmt: skip
    """A run of what was measured; tasks without a status were not reached.

    Args:
        name: the model's.
        identity: what `run.json` is to hold.
        rows: of the table of tasks, by task.
        frames: of the scores, one for each cell.
        examples: the values behind them.
        views: attention of the top heads.
    """
    stopped = {"status": "skipped", "reason": "the analysis was interrupted before this task was measured"}
    lines = [{**ABSENT_TASK, **({} if "status" in row else stopped), **row} for row in rows.values()]
    tasks = pd.DataFrame(lines).assign(model=name)
    scores = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
    failed = tasks.loc[tasks["status"] == "failed", "task"]
    scores = scores.assign(model=name, flagged=scores["task"].isin(failed))
    return Run(identity=identity, scores=scores, tasks=tasks, examples=examples, views=views)
