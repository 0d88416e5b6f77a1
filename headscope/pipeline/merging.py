"""merge(): the cells of several runs of one model as one run, without the model."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headscope import provenance
from headscope.cells import Cell, Damaged, Store, locked, read_cells, row_from
from headscope.errors import PlaceError, RunError, refusing
from headscope.pipeline import keys, showing
from headscope.pipeline.building import told_of_file
from headscope.pipeline.executing import Progress, finished
from headscope.pipeline.keeping import KIND
from headscope.pipeline.scoring import read_kept, tables
from headscope.pipeline.sheet import CELLS, Sheet, read_sheet, write_sheet
from headscope.roles.brief import confirmed
from headscope.runs import Run, check_run, check_writable, complete

TOLERANCE = 1e-6
"""The largest difference between two computations of one cell, as a part of its largest value: other machines and other
numbers of threads round the last digits otherwise."""

Found = TypeVar("Found")


def merge(out: str | Path, runs: Sequence[str | Path], *, command: Sequence[str] | None = None) -> Run:
    """Unite runs of the same model: parts of one analysis, or other tasks and methods.

    Cells are copied, each checked, and tables are put together from them. The model is not loaded: what no run has is
    left out, and `run.identity["cells"]["missing"]` names it. `headscope analyze --out OUT` with the same options then
    computes that and nothing else.

    Args:
        out: a new or empty folder, or one that holds a run of the same model; it is united with the others.
        runs: folders that `headscope analyze` wrote.
        command: the command line, for the record.

    Returns:
        The run, which is saved in `out`, complete or not.

    Raises:
        PlaceError: if a folder is not there or holds no cells, or models, prompts or options differ.
        RunError: if one cell has two values, or `out` cannot be written.
    """
    out, began = Path(out), provenance.record(command=command, seed=0)
    folders = [Path(each) for each in runs]
    check_writable(out, extends=KIND)
    with locked(out):
        there = [out] if (out / CELLS).is_dir() and out not in folders else []
        sheets = {folder: _sheet(folder) for folder in [*there, *folders]}
        sheet = _united(sheets)
        store, damaged = Store(out / CELLS), []
        for folder in folders:
            damaged += _copy(folder, store)
        run = from_cells(sheet, store, began | {"seed": sheet.plan["seed"]})
        _keep_finished(out, sheets, sheet, run)
        write_sheet(out, sheet)
        if damaged:
            cells = dict(run.identity["cells"]) | {"damaged": damaged}
            run = replace(run, identity=dict(run.identity) | {"cells": cells})
        run.save(out)
    return run


@refusing("cells of which no run can be made", "cells as headscope wrote them")
def from_cells(sheet: Sheet, store: Store, record: Mapping[str, Any]) -> Run:
    """A run of what a store holds of a plan; no model is needed.

    Args:
        sheet: the plan.
        store: the cells.
        record: where the run comes from.
    """
    state = Progress(rows={task: dict(row) for task, row in sheet.rows.items()})
    read_kept(sheet, store, state.values)
    missing = [block.words for block in sheet.blocks if block not in state.values]
    missing += [f"{kind} of {task}" for kind, task in _abilities(sheet, store, state)]
    if not missing:
        missing += _shown(sheet, store, state)
    cells = {"computed": {}, "reused": store.tally.counts("reused")}
    problems = {"missing": missing, "damaged": store.tally.damaged}
    cells |= {name: lines for name, lines in problems.items() if lines}
    run = finished(sheet, state, record, cells={"cells": cells}, seconds=0.0)
    return replace(run, identity=dict(run.identity) | {"complete": not missing, "merged": True})


def _keep_finished(out: Path, sheets: Mapping[Path, Sheet], sheet: Sheet, run: Run) -> None:
    """Another version of headscope does not find what is shown of heads: a finished run is not replaced by less."""
    added = out not in sheets or set(sheet.blocks) != set(sheets[out].blocks)
    if not added and complete(out) and not run.identity["complete"]:
        missing = ", ".join(run.identity["cells"]["missing"])
        raise PlaceError(
            f"run folder {str(out)!r}, which is complete, and to which these runs add nothing; {missing} would be lost",
            "a run of this version of headscope, or runs with other tasks, methods or examples",
            "give another folder to unite them in, or run the analysis again: the folder is then of this version",
        )


def _sheet(folder: Path) -> Sheet:
    check_run(folder, holds=("run.json", CELLS))
    sheet = read_sheet(folder)
    if sheet is None or sheet.facts is None:
        raise PlaceError(
            f"run folder {str(folder)!r}, which holds no cells of an analysis",
            "a folder that headscope analyze wrote, with cells/ in it",
            "give another folder, or run the analysis again",
        )
    return sheet


def _united(sheets: Mapping[Path, Sheet]) -> Sheet:
    """One plan of several: tasks and methods in the order in which they come."""
    (first, sheet), *others = sheets.items()
    for folder, other in others:
        _check_alike(first, sheet, folder, other)
        rows = {**other.rows, **sheet.rows}
        scores = {task: {**other.scores.get(task, {}), **sheet.scores.get(task, {})} for task in rows}
        scores = {
            task: {name: each[name] for name in dict.fromkeys((*sheet.scores.get(task, {}), *each))}
            for task, each in scores.items()
            if each
        }
        blocks = dict.fromkeys((*sheet.blocks, *other.blocks))
        order = [(task, name) for task, each in scores.items() for name in each]
        plan = dict(sheet.plan) | {name: _both(sheet.plan[name], other.plan[name]) for name in ("tasks", "methods")}
        plan |= _own(sheet, other)
        sheet = replace(
            sheet, plan=plan, rows={task: rows[task] for task in dict.fromkeys((*sheet.rows, *other.rows))},
            groups={**other.groups, **sheet.groups}, scores=scores, notes={**other.notes, **sheet.notes},
            blocks=tuple(sorted(blocks, key=lambda block: order.index((block.task, block.method)))),
            keys={kind: {**other.keys.get(kind, {}), **sheet.keys.get(kind, {})} for kind in ("ability", "file")},
        )  # fmt: skip
    return sheet


def _both(one: Sequence[str], other: Sequence[str]) -> list[str]:
    # None named means the default ones, which the names of the other would narrow.
    return list(dict.fromkeys((*one, *other))) if one and other else []


def _own(sheet: Sheet, other: Sheet) -> dict[str, Any]:
    """The sources of what both have of their own, where one of them has any."""
    mine, theirs = sheet.plan.get("own") or {}, other.plan.get("own") or {}
    found = {kind: {**theirs.get(kind, {}), **mine.get(kind, {})} for kind in dict.fromkeys((*mine, *theirs))}
    return {"own": found} if found else {}


def _check_alike(first: Path, sheet: Sheet, folder: Path, other: Sheet) -> None:
    problems = [] if sheet.facts == other.facts else ["the model"]
    problems += [f"the {name}" for name in ("seed", "metrics") if list_of(sheet, name) != list_of(other, name)]
    mine, theirs = (each.plan.get("own", {}).get("methods", {}) for each in (sheet, other))
    problems += [f"the source of method {name!r}" for name in mine.keys() & theirs.keys() if mine[name] != theirs[name]]
    for task in sheet.rows.keys() & other.rows.keys():
        if sheet.rows[task].get("prompts") != other.rows[task].get("prompts"):
            problems.append(f"the prompts of {task}")
    blocks = {(block.task, block.method, block.rows, block.layers): block.key for block in sheet.blocks}
    if not problems and any(
        blocks.get((each.task, each.method, each.rows, each.layers), each.key) != each.key for each in other.blocks
    ):
        problems.append("the version of headscope or of a library below it")
    if problems:
        raise PlaceError(
            f"runs {str(first)!r} and {str(folder)!r}, which differ in {', '.join(problems)}",
            "runs of one model with the same -n, --seed and --metric, by the same versions",
            "run one of them again with the options of the other, or compare them: headscope compare",
        )


def list_of(sheet: Sheet, name: str) -> Any:
    """A part of a plan, in one form before and after JSON.

    Args:
        sheet: the plan.
        name: of the part.
    """
    value = sheet.plan[name]
    return list(value) if isinstance(value, list | tuple) else value


def _copy(folder: Path, store: Store) -> list[str]:
    """Copy the cells of a run; those that are damaged."""
    damaged = []
    for path, cell in read_cells(folder / CELLS):
        if isinstance(cell, Damaged):
            damaged.append(f"{folder.name}/{path.parent.name}/{path.name}: {cell}")
            continue
        known = store.find(cell.key)
        if known is None:
            store.keep(cell)
        elif not _same(known, cell):
            raise RunError(
                f"cell {cell.key[:12]} ({cell.kind}), which has another value in {str(folder)!r} than in a run before",
                f"one value for one cell, to {TOLERANCE:g} of the largest",
                "find out which is wrong: run the analysis of both with --refresh",
            )
    if store.tally.unwritten:
        reason = store.tally.unwritten[0]
        raise RunError(
            f"output folder {str(store.folder)!r}, which cannot be written ({reason})",
            "a folder that may be written to, with room for all cells",
            "choose another one, or free some space",
        )
    return damaged


def _same(one: Cell, other: Cell) -> bool:
    """Whether two computations gave the same numbers; records of seconds and the like are not compared."""
    floats = [{name: a for name, a in cell.arrays.items() if a.dtype.kind == "f"} for cell in (one, other)]
    if floats[0].keys() != floats[1].keys() or one.notes != other.notes:
        return False
    for name, a in floats[0].items():
        b = floats[1][name]
        if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
            return False
        scale = max(float(np.abs(np.nan_to_num(a)).max(initial=0)), np.finfo(np.float64).tiny)
        if float(np.abs(np.nan_to_num(a) - np.nan_to_num(b)).max(initial=0)) > TOLERANCE * scale:
            return False
    return True


class _Missing(Exception):
    """A result that no cell holds and that only the model could give."""


def _absent() -> Any:
    raise _Missing


def _abilities(sheet: Sheet, store: Store, state: Progress) -> list[tuple[str, str]]:
    missing = []
    for kind in ("ability", "file"):
        for task, key in sheet.keys.get(kind, {}).items():
            cell = store.find(key)
            try:
                row = {} if cell is None else row_from(cell.arrays)
                told = told_of_file(row, sheet.notes.get(task, ())) if row and kind == "file" else ""
            except (LookupError, ValueError, TypeError) as error:
                store.tally.damaged.append(f"{key}: {type(error).__name__}: {error!s:.200}")
                row, told = {}, ""
            if not row:
                missing.append((kind, task))
                continue
            store.tally.reused.append(kind)
            if kind == "ability":
                state.rows[task] |= row
            elif "reason" in state.rows[task]:
                state.rows[task]["reason"] += f"; {told}"
    return missing


def _shown(sheet: Sheet, store: Store, state: Progress) -> list[str]:
    frames, _ = state.tables = tables(sheet, state.values)
    scores, seed, missing = showing.together(frames), int(sheet.plan["seed"]), []
    prompts = {task: str(sheet.rows[task]["prompts"]) for task in sheet.groups}

    def got(name: str, read: Callable[[], Found]) -> Found | None:
        with contextlib.suppress(_Missing):
            return read()
        missing.append(name)
        return None

    for task in sheet.groups:
        what = keys.views(sheet.facts, task, prompts[task], showing.heads_of(scores, task))
        state.views += got(f"attention on {task}", lambda what=what: showing.kept_views(store, what, _absent)) or []
    what = keys.profiles(sheet.facts, prompts, scores, seed=seed)
    state.profiles = got("profiles", lambda: showing.kept_profiles(store, what, _absent))
    if sheet.plan["roles"]:
        seen = keys.roles(sheet.facts, seed=seed, data=showing.gold_digest())
        found = got("roles", lambda: showing.kept_roles(store, seen, _absent))
        failed = [task for task, row in state.rows.items() if row.get("status") != "ok"]
        state.roles = None if found is None else confirmed(found, scores, failed=failed)
    return missing
