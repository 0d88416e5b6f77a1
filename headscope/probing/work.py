"""Probing a loaded model: texts and prompts, the study, and whether the model uses what is read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from headscope import provenance
from headscope.ability import ability
from headscope.cells import Kept, frame_from, frame_in, packed, unpacked
from headscope.contract import COLUMNS
from headscope.errors import HeadscopeError, ModelError, UsageError
from headscope.methods.probing.labels import NAMES, TASK_NAMES, Labels, task_labels
from headscope.methods.probing.results import Probes
from headscope.methods.probing.study import probe as study
from headscope.methods.probing.use import COLUMNS as USED
from headscope.methods.probing.use import MATCHING, use
from headscope.models import Model
from headscope.models.determined import determined
from headscope.models.untrained import untrained as random_twin
from headscope.pipeline import ABSENT_TASK, Home, Interrupted
from headscope.pipeline.keeping import enter, used
from headscope.probed import probed
from headscope.probing.keys import of_ability, of_use
from headscope.probing.request import KIND, Request
from headscope.probing.texts import pairs_of, texts
from headscope.prompts import Labelled, Pairs
from headscope.runs import Run

PROMPTS = 400
"""Prompts of a task whose variable is probed, at most."""

TESTED = 64
"""Other prompts of a task, on which it is tested whether the model uses what a probe reads."""

TOP = 5
"""Heads of a label whose use is tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What all parts of probing a model share.

    Attributes:
        model: the model.
        asked: what to do.
        kept: where each part is kept as soon as it is finished, and found again.
        progress: draw progress bars.
        record: gets what was read, what was left out and why.
    """

    model: Model
    asked: Request
    kept: Kept
    progress: bool
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """What probes are to be fitted on.

    Attributes:
        prompts: gold text; None where none can be read, or none is asked for.
        words: labels of it.
        also: labels of one's own, and of prompts of tasks.
        tasks: these prompts.
        skipped: label -> why it cannot be read.
    """

    prompts: Labelled | None
    words: list[str]
    also: list[Labels]
    tasks: list[Pairs]
    skipped: dict[str, str]


def carry_out(
    model: Model,
    asked: Request,
    *,
    progress: bool = True,
    command: Sequence[str] | None = None,
    home: Home | None = None,
) -> Run:
    """Probe a loaded model.

    Args:
        model: the model.
        asked: what to do.
        progress: draw progress bars.
        command: the command line, for the record.
        home: where every set of labels, and the test of its use, is kept as soon as it is there, and found again; None:
            nothing is kept.

    Raises:
        UsageError: if nothing can be probed.
        RunError: if the folder holds a run of another model.
        Interrupted: at Ctrl-C once a set of labels was probed, with all that were, and what was finished of their use.
    """
    began, home = time.monotonic(), home or Home()
    origin = provenance.record(command=command, seed=asked.seed)
    facts = None if home.folder is None else determined(model)
    work = Work(model=model, asked=asked, kept=Kept(store=home.store, facts=facts), progress=progress)
    given = _given(work)
    enter(home, model, facts)
    found = _probes(work, given)
    work.record["seconds of probes"] = round(time.monotonic() - began, 1)
    tested, complete = _used(work, found) if found.complete else (_nothing(), False)
    work.record["seconds"] = round(time.monotonic() - began, 1)
    identity = {
        "kind": KIND, "model": model.identity, "plan": _plan(asked), "provenance": origin, "complete": complete,
        "wall_seconds": round(time.monotonic() - began, 3), **used(home, facts),
    }  # fmt: skip
    whole = probed(found, grid=model.grid, used=tested, record=work.record, seed=asked.seed)
    nothing = pd.DataFrame(columns=pd.Index([*COLUMNS, "model", "flagged"]))
    tasks = pd.DataFrame(columns=pd.Index([*ABSENT_TASK, "model"]))
    run = Run(identity=identity, scores=nothing, tasks=tasks, probes=whole)
    stopped = partial(Interrupted, run, resumes=home.folder is not None)
    if not found.complete:
        raise stopped(len(found.found), len(asked.labels) + len(asked.files))
    if not complete:
        raise stopped(1, 2)
    return run


def _plan(asked: Request) -> dict[str, Any]:
    banks = [each.name for each in asked.treebanks] or ["the bundled gold set"]
    return {
        "labels": list(asked.labels), "files": [path.name for path in asked.files], "treebanks": banks,
        "sites": list(asked.sites), "kind": asked.kind, "n": asked.n, "seed": asked.seed,
        "untrained": asked.untrained, "use": asked.use, "bits": asked.bits, "batch_size": asked.batch_size,
    }  # fmt: skip


def _given(work: Work) -> Given:
    """All texts and prompts; what the model cannot read is skipped."""
    model, asked = work.model, work.asked
    skipped: dict[str, str] = {}
    words = [label for label in asked.labels if label in NAMES]
    prompts, also = texts(model, asked, words, work.record, skipped)
    tasks: list[Pairs] = []
    for label in asked.labels:
        if label in TASK_NAMES:
            task = TASK_NAMES[label]
            pairs = pairs_of(model, (label, task), min(asked.n, PROMPTS), ("probes", asked.seed), skipped)
            if pairs is not None:
                also.append(task_labels(model, pairs, label))
                tasks.append(pairs)
    words = words if prompts is not None else []
    if not words and not also:
        given = "; ".join(f"label {name!r}: {reason}" for name, reason in skipped.items())
        raise UsageError(given, "one set of labels that this model can read", "give other labels or treebanks")
    return Given(prompts=prompts, words=words, also=also, tasks=tasks, skipped=skipped)


def _probes(work: Work, given: Given) -> Probes:
    """All sets of labels, on the model and its twin; what cannot be made goes into the record."""
    asked, record = work.asked, work.record
    for pairs in given.tasks:
        _able(work, pairs)
    found = study(
        work.model, given.prompts, labels=given.words, also=given.also, sites=asked.sites, kind=asked.kind,
        instances=asked.n, twin=_twin(work), bits=asked.bits, seed=asked.seed, memory=asked.memory,
        batch_size=asked.batch_size, progress=work.progress, kept=work.kept,
    )  # fmt: skip
    record["left out"] = given.skipped | dict(found.skipped)
    record["classes in too few documents"] = {
        label: {name: f"{count} in {groups}" for name, (count, groups) in dropped.items()}
        for label, dropped in found.dropped.items() if dropped
    }  # fmt: skip
    record["notes"] = list(found.notes)
    record["labels"] = {name: each.labels.about for name, each in found.found.items()}
    return found


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=pd.Index(USED))


def _able(work: Work, pairs: Pairs) -> None:
    """Whether the model does a task at all: what is read in its prompts explains no ability otherwise."""
    tasks, asked = work.record.setdefault("tasks", {}), work.asked
    if pairs.task not in tasks:
        row = work.kept.remember(
            "ability", lambda: of_ability(pairs, asked.seed), pack=packed, unpack=unpacked,
            compute=lambda: ability(work.model, pairs, seed=asked.seed, batch_size=asked.batch_size),
        )  # fmt: skip
        tasks[pairs.task] = {name: row[name] for name in ("status", "accuracy", "reason")}


def _twin(work: Work) -> Model | None:
    if not work.asked.untrained:
        work.record["untrained twin"] = "not asked for"
        return None
    try:
        twin = random_twin(work.model, seed=work.asked.seed)
    except HeadscopeError as problem:
        work.record["untrained twin"] = f"none: {problem.given}"
        return None
    work.record["untrained twin"] = twin.name
    return twin


def _matching(work: Work, label: str, skipped: dict[str, str]) -> Pairs | None:
    """Prompts of the first task that turns on a label and that the model does; where it does none, of the first."""
    read: list[Pairs] = []
    for task in MATCHING[label]:
        pairs = pairs_of(work.model, (label, task), TESTED, ("use", work.asked.seed), skipped)
        if pairs is not None:
            _able(work, pairs)
            able = work.record["tasks"][pairs.task]["status"] == "ok"
            read = [pairs, *read] if able else [*read, pairs]
            if able:
                break
    if read:
        skipped.pop(label, None)
    return read[0] if read else None


def _used(work: Work, found: Probes) -> tuple[pd.DataFrame, bool]:
    """Whether the model uses what the strongest heads' probes read, for labels that a task turns on."""
    nothing, asked = _nothing(), work.asked
    if not asked.use or "z" not in asked.sites:
        work.record["use"] = "not asked for" if not asked.use else "not tested: z was not probed"
        return nothing, True
    frames: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    work.record["use"] = skipped
    try:
        for label in (name for name in found.directions if name in MATCHING):
            pairs = _matching(work, label, skipped)
            if pairs is None:
                continue
            try:
                frames.append(_tested(work, found, label, pairs))
            except (UsageError, ModelError) as problem:
                skipped[label] = f"{problem.given}; expected: {problem.expected}"
    except KeyboardInterrupt:
        return pd.concat(frames, ignore_index=True) if frames else nothing, False
    return pd.concat(frames, ignore_index=True) if frames else nothing, True


def _tested(work: Work, found: Probes, label: str, pairs: Pairs) -> pd.DataFrame:
    return work.kept.remember(
        "use", lambda: of_use(found, label, pairs, top=TOP, seed=work.asked.seed),
        lambda: use(work.model, pairs, found, label, top=TOP, seed=work.asked.seed, progress=work.progress),
        pack=lambda frame: {"frame": frame_in(frame)}, unpack=lambda arrays: frame_from(arrays["frame"]),
    )  # fmt: skip
