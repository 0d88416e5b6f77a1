"""Reading a run's folder: JSON, parquet and safetensors; nothing in it is executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from headscope.attention import View
from headscope.errors import RunError
from headscope.few.outcome import Few, few_from
from headscope.frames import check_columns, check_members, read_frame
from headscope.probed.result import FRAMES, Probed, probed_from
from headscope.profiles.result import FRAMES as PROFILE_FRAMES
from headscope.profiles.result import Profiles, profiles_from
from headscope.roles.result import Roles, roles_from
from headscope.runs.run import Run

SCHEMA = 1
LARGEST_RECORD = 2**28
"""Bytes of the largest run.json or few.json that is read."""
SCORES = {
    **dict.fromkeys(("task", "method", "score", "unit", "reason"), "text"),
    **dict.fromkeys(("layer", "head", "n", "groups"), "whole number"),
    **dict.fromkeys(("value", "low", "high", "p", "q", "rank", "rank_low", "rank_high", "share"), "number"),
    "signed": "truth value",
}
"""The columns that the table of scores must have, and what is in them."""
TASKS: dict[str, str] = dict.fromkeys(("task", "status", "reason"), "text")
"""The same of the table of tasks."""
FURTHER = {
    **dict.fromkeys(("model", "source", "corruption", "metric", "prompts"), "text"),
    **dict.fromkeys(("n", "groups", "accuracy", "accuracy_low", "accuracy_high", "logit_difference"), "number"),
    **dict.fromkeys(("logit_difference_low", "logit_difference_high"), "number"),
    **dict.fromkeys(("corrupted", "corrupted_low", "corrupted_high"), "number"),
    "flagged": "truth value",
}
"""What is in columns that not every run has."""


def open_run(folder: str | Path) -> Run:
    """Read a run folder back. Nothing in it is executed: JSON, parquet and safetensors only.

    Args:
        folder: what `Run.save` or `headscope analyze` wrote.

    Raises:
        RunError: if it is not a run, is incomplete, or is from a newer headscope.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        record = read_record(folder / "run.json")
        schema = record.pop("schema")
        if schema != SCHEMA:
            raise RunError(
                f"run folder {str(folder)!r} of schema {schema}",
                f"schema {SCHEMA}",
                "open it with the headscope that wrote it (run.json names the version)",
            )
        scores, tasks = (read_frame(folder / f"{name}.parquet") for name in ("scores", "tasks"))
        _check_tables(scores, tasks)
        arrays = load_file(folder / "examples" / "values.safetensors")
        groups = folder / "examples" / "groups.safetensors"  # older runs have none
        groups = load_file(groups) if groups.exists() else {}
        patterns = load_file(folder / "examples" / "views.safetensors")
        views = tuple(_view(view, patterns[str(index)]) for index, view in enumerate(record.pop("views")))
        few = _verdicts(folder, record.pop("few", []))
        roles = _roles(folder, record.pop("roles", None))
        probes = _probes(folder, record.pop("probes", None))
        profiles = _profiles(folder, record.pop("profiles", None))
        record.pop("files", None)
    except RunError:
        raise
    except Exception as error:  # what is no run at all can raise nearly every built-in error, and some libraries' own
        reason = " ".join(str(error).split()) or "no reason given"
        raise RunError(
            f"run folder {str(folder)!r}: {type(error).__name__}: {reason:.600}",
            "a folder written by headscope analyze, with run.json, scores.parquet, tasks.parquet and examples/",
            "check the path, or run the analysis again",
        ) from error
    return Run(
        identity=record, scores=scores, tasks=tasks, examples=arrays, views=views, groups=groups, few=few, roles=roles,
        probes=probes, profiles=profiles,
    )  # fmt: skip


def read_record(path: Path) -> dict[str, Any]:
    """An object of JSON from outside: no pipe, which would never end, and no more than memory holds.

    Args:
        path: the file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, no plain file, or too large.
        TypeError: if it is no object.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is no plain file")
    if (size := path.stat().st_size) > LARGEST_RECORD:
        raise ValueError(f"{path.name} has {size:,} bytes; the largest that is read has {LARGEST_RECORD:,}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as problem:
        raise ValueError(f"{path.name} has too many brackets within brackets") from problem
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} holds no object, but a {type(found).__name__}")
    return found


def _check_tables(scores: pd.DataFrame, tasks: pd.DataFrame) -> None:
    """What everything else relies on: the columns, and heads that a grid can have, each once for each score."""
    for name, frame, kinds in (("scores", scores, SCORES), ("tasks", tasks, TASKS)):
        there = {column: kind for column, kind in FURTHER.items() if column in frame.columns}
        check_columns(frame, there | kinds, name=name)
    for column in ("layer", "head"):
        check_members(scores[column].unique().tolist(), range(10_000), name=f"a {column} in the table scores")
    if scores.duplicated(["task", "method", "score", "layer", "head"]).any():
        raise ValueError("the table scores, which has a head twice")


def _verdicts(folder: Path, names: list[str]) -> dict[str, Few]:
    """The verdicts that the run says it has; runs before there were any say nothing."""
    if not names:
        return {}
    records = read_record(folder / "few.json")
    return {name: few_from(records[name]) for name in names}


def _roles(folder: Path, kept: Mapping[str, Any] | None) -> Roles | None:
    """The roles that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    return roles_from(kept, *(read_frame(folder / f"{name}.parquet") for name in ("roles", "labels")))


def _probes(folder: Path, kept: Mapping[str, Any] | None) -> Probed | None:
    """The probes that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    return probed_from(kept, {name: read_frame(folder / f"{name}.parquet") for name in FRAMES})


def _profiles(folder: Path, kept: Mapping[str, Any] | None) -> Profiles | None:
    """The profiles that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    return profiles_from(kept, {name: read_frame(folder / f"{name}.parquet") for name in PROFILE_FRAMES})


def _view(record: Mapping[str, Any], patterns: Tensor) -> View:
    return View(
        task=record["task"],
        tokens=tuple(record["tokens"]),
        layer_heads=tuple((layer, head) for layer, head in record["layer_heads"]),
        patterns=patterns.numpy(),
        causal=record["causal"],
        prompt=record.get("prompt", 0),
    )
