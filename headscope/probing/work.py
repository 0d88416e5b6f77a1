"""Probing a loaded model: texts and prompts, the study, and whether the model uses what is read."""

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd

from headscope import provenance
from headscope.ability import ability
from headscope.contract import COLUMNS
from headscope.errors import HeadscopeError, ModelError, UsageError
from headscope.methods.probing.labels import NAMES, TASK_NAMES, task_labels
from headscope.methods.probing.results import Probes
from headscope.methods.probing.study import probe as study
from headscope.methods.probing.use import COLUMNS as USED
from headscope.methods.probing.use import MATCHING, use
from headscope.models import Model
from headscope.models.untrained import untrained as random_twin
from headscope.pipeline import ABSENT_TASK, Interrupted
from headscope.probed import probed
from headscope.probing.request import Request
from headscope.probing.texts import pairs_of, texts
from headscope.prompts import Pairs
from headscope.runs import Run

PROMPTS = 400
"""Prompts of a task whose variable is probed, at most."""

TESTED = 64
"""Other prompts of a task, on which it is tested whether the model uses what a probe reads."""

TOP = 5
"""Heads of a label whose use is tested."""


def carry_out(model: Model, asked: Request, *, progress: bool = True, command: Sequence[str] | None = None) -> Run:
    """Probe a loaded model.

    Args:
        model: the model.
        asked: what to do.
        progress: draw progress bars.
        command: the command line, for the record.

    Raises:
        UsageError: if nothing can be probed.
        Interrupted: at Ctrl-C once a set of labels was probed, with all that were, and what was finished of their use.
    """
    began = time.monotonic()
    origin = provenance.record(command=command, seed=asked.seed)
    record: dict[str, Any] = {}
    found = _probes(model, asked, record, progress=progress)
    record["seconds of probes"] = round(time.monotonic() - began, 1)
    used, complete = _used(model, asked, found, record, progress=progress) if found.complete else (_nothing(), False)
    record["seconds"] = round(time.monotonic() - began, 1)
    banks = [each.name for each in asked.treebanks] or ["the bundled gold set"]
    plan = {
        "labels": list(asked.labels), "files": [path.name for path in asked.files], "treebanks": banks,
        "sites": list(asked.sites), "kind": asked.kind, "n": asked.n, "seed": asked.seed,
        "untrained": asked.untrained, "use": asked.use, "bits": asked.bits, "batch_size": asked.batch_size,
    }  # fmt: skip
    identity = {
        "model": model.identity, "plan": plan, "provenance": origin, "complete": complete,
        "wall_seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
    kept = probed(found, grid=model.grid, used=used, record=record, seed=asked.seed)
    nothing = pd.DataFrame(columns=pd.Index([*COLUMNS, "model", "flagged"]))
    tasks = pd.DataFrame(columns=pd.Index([*ABSENT_TASK, "model"]))
    run = Run(identity=identity, scores=nothing, tasks=tasks, probes=kept)
    if not found.complete:
        raise Interrupted(run, len(found.found), len(asked.labels) + len(asked.files), unit="labels")
    if not complete:
        raise Interrupted(run, 1, 2, unit="steps")
    return run


def _probes(model: Model, asked: Request, record: dict[str, Any], *, progress: bool) -> Probes:
    """All sets of labels, on the model and its twin; what cannot be made goes into the record."""
    skipped: dict[str, str] = {}
    words = [label for label in asked.labels if label in NAMES]
    prompts, also = texts(model, asked, words, record, skipped)
    for label in asked.labels:
        if label in TASK_NAMES:
            task = TASK_NAMES[label]
            pairs = pairs_of(model, (label, task), min(asked.n, PROMPTS), ("probes", asked.seed), skipped)
            if pairs is not None:
                also.append(task_labels(model, pairs, label))
                _able(model, pairs, asked, record)
    if prompts is None:
        words = []
    if not words and not also:
        given = "; ".join(f"label {name!r}: {reason}" for name, reason in skipped.items())
        raise UsageError(given, "one set of labels that this model can read", "give other labels or treebanks")
    twin = _twin(model, asked, record)
    found = study(
        model, prompts, labels=words, also=also, sites=asked.sites, kind=asked.kind, instances=asked.n, twin=twin,
        bits=asked.bits, seed=asked.seed, memory=asked.memory, batch_size=asked.batch_size, progress=progress,
    )  # fmt: skip
    record["left out"] = skipped | dict(found.skipped)
    record["classes in too few documents"] = {
        label: {name: f"{count} in {groups}" for name, (count, groups) in dropped.items()}
        for label, dropped in found.dropped.items() if dropped
    }  # fmt: skip
    record["notes"] = list(found.notes)
    record["labels"] = {name: each.labels.about for name, each in found.found.items()}
    return found


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=pd.Index(USED))


def _able(model: Model, pairs: Pairs, asked: Request, record: dict[str, Any]) -> None:
    """Whether the model does a task at all: what is read in its prompts explains no ability otherwise."""
    tasks = record.setdefault("tasks", {})
    if pairs.task not in tasks:
        row = ability(model, pairs, seed=asked.seed, batch_size=asked.batch_size)
        tasks[pairs.task] = {name: row[name] for name in ("status", "accuracy", "reason")}


def _twin(model: Model, asked: Request, record: dict[str, Any]) -> Model | None:
    if not asked.untrained:
        record["untrained twin"] = "not asked for"
        return None
    try:
        twin = random_twin(model, seed=asked.seed)
    except HeadscopeError as problem:
        record["untrained twin"] = f"none: {problem.given}"
        return None
    record["untrained twin"] = twin.name
    return twin


def _matching(
    model: Model, label: str, asked: Request, record: dict[str, Any], skipped: dict[str, str]
) -> Pairs | None:
    """Prompts of the first task that turns on a label and that the model does; where it does none, of the first."""
    read: list[Pairs] = []
    for task in MATCHING[label]:
        pairs = pairs_of(model, (label, task), TESTED, ("use", asked.seed), skipped)
        if pairs is not None:
            _able(model, pairs, asked, record)
            able = record["tasks"][pairs.task]["status"] == "ok"
            read = [pairs, *read] if able else [*read, pairs]
            if able:
                break
    if read:
        skipped.pop(label, None)
    return read[0] if read else None


def _used(
    model: Model, asked: Request, found: Probes, record: dict[str, Any], *, progress: bool
) -> tuple[pd.DataFrame, bool]:
    """Whether the model uses what the strongest heads' probes read, for labels that a task turns on."""
    nothing = _nothing()
    if not asked.use or "z" not in asked.sites:
        record["use"] = "not asked for" if not asked.use else "not tested: z was not probed"
        return nothing, True
    frames: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    record["use"] = skipped
    try:
        for label in (name for name in found.directions if name in MATCHING):
            pairs = _matching(model, label, asked, record, skipped)
            if pairs is None:
                continue
            try:
                frame = use(model, pairs, found, label, top=TOP, seed=asked.seed, progress=progress)
            except (UsageError, ModelError) as problem:
                skipped[label] = f"{problem.given}; expected: {problem.expected}"
                continue
            frames.append(frame)
    except KeyboardInterrupt:
        return pd.concat(frames, ignore_index=True) if frames else nothing, False
    return pd.concat(frames, ignore_index=True) if frames else nothing, True
