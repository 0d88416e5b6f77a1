"""Reading a run's folder: JSON, parquet and safetensors; nothing in it is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from headscope.attention import View
from headscope.errors import PlaceError, RunError
from headscope.few.outcome import Few, few_from
from headscope.frames import LARGEST_RECORD as LARGEST_RECORD
from headscope.frames import check_columns, check_members, check_plain, columns_of, read_frame, read_record
from headscope.grid import MOST_HEADS, check_heads
from headscope.probed.result import FRAMES, Probed, probed_from
from headscope.profiles.result import FRAMES as PROFILE_FRAMES
from headscope.profiles.result import Profiles, profiles_from
from headscope.roles.result import Roles, roles_from
from headscope.runs.checking import check_few, check_probed, check_profiles, check_record, check_roles
from headscope.runs.places import check_run
from headscope.runs.run import Run

SCHEMA = 1
LARGEST_ARRAYS = 2**34
"""Bytes of the largest file of per-example values that is read."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SCORES = columns_of(
    text="task method score unit reason", whole="layer head n groups", truth="signed",
    number="value low high p q rank rank_low rank_high share",
)  # fmt: skip
"""The columns that the table of scores must have, and what is in them."""
TASKS = columns_of(text="task status reason")
"""The same of the table of tasks."""
FURTHER = columns_of(
    text="model source corruption metric prompts", truth="flagged",
    number="n groups accuracy accuracy_low accuracy_high logit_difference logit_difference_low logit_difference_high "
    "corrupted corrupted_low corrupted_high",
)  # fmt: skip
"""What is in columns that not every run has."""


def open_run(folder: str | Path) -> Run:
    """Read a run folder back. Nothing in it is executed: JSON, parquet and safetensors only.

    Args:
        folder: what `Run.save` or `headscope analyze` wrote.

    Raises:
        PlaceError: if it is not there, or holds no run of this kind.
        RunError: if it cannot be read, is damaged, or is from a newer headscope.
    """
    folder = Path(folder)
    check_run(folder)
    try:
        record = read_record(folder / "run.json")
        if "paper" in record:
            raise PlaceError(
                f"run folder {str(folder)!r}, which holds a reproduction",
                "a run of headscope analyze, few, roles, probe or hierarchy",
                "look at its report.html, or open it in Python with headscope.reproducing.open_reproduction",
            )
        schema = record.pop("schema")
        if schema != SCHEMA:
            raise RunError(
                f"run folder {str(folder)!r} of schema {schema!r:.40}",
                f"schema {SCHEMA}",
                "open it with the headscope that wrote it (run.json names the version)",
            )
        scores, tasks = (read_frame(folder / f"{name}.parquet") for name in ("scores", "tasks"))
        _check_tables(scores, tasks)
        arrays, patterns = (_arrays(folder / "examples" / f"{name}.safetensors") for name in ("values", "views"))
        groups = folder / "examples" / "groups.safetensors"  # older runs have none
        groups = _arrays(groups) if groups.exists() else {}
        _check_arrays(arrays, groups)
        views = tuple(_view(view, patterns[str(index)]) for index, view in enumerate(record.pop("views")))
        few = _verdicts(folder, record.pop("few", []))
        roles = _roles(folder, record.pop("roles", None))
        probes = _probes(folder, record.pop("probes", None))
        profiles = _profiles(folder, record.pop("profiles", None))
        record.pop("files", None)
        check_record(record)
    except RunError:
        raise
    except Exception as error:  # what is no run at all can raise nearly every built-in error, and some libraries' own
        raise RunError(
            f"run folder {str(folder)!r}: {_reason(error, folder):.600}",
            "a folder written by headscope analyze, with run.json, scores.parquet, tasks.parquet and examples/",
            "check the path, or run the analysis again",
        ) from error
    return Run(
        identity=record, scores=scores, tasks=tasks, examples=arrays, views=views, groups=groups, few=few, roles=roles,
        probes=probes, profiles=profiles,
    )  # fmt: skip


def _reason(error: Exception, folder: Path) -> str:
    """Why a run cannot be read, on one line."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        place = Path(error.filename)
        name = place.relative_to(folder) if place.is_relative_to(folder) else place
        return f"{name.as_posix()} is not there"
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'}"


def _check_tables(scores: Any, tasks: pd.DataFrame) -> None:
    """What everything else relies on: the columns, and heads that a grid can have, each once for each score."""
    for name, frame, kinds in (("scores", scores, SCORES), ("tasks", tasks, TASKS)):
        there = {column: kind for column, kind in FURTHER.items() if column in frame.columns}
        check_columns(frame, there | kinds, name=name)
    if len(scores):
        for column in ("layer", "head"):
            check_members([int(scores[column].min())], range(MOST_HEADS), name=f"a {column} in the table scores")
        # Figures have a cell for each head that there could be.
        check_heads(int(scores["layer"].max()) + 1, int(scores["head"].max()) + 1)
    if scores.duplicated(["task", "method", "score", "layer", "head"]).any():
        raise ValueError("the table scores, which has a head twice")


def _arrays(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    check_plain(path, most=LARGEST_ARRAYS)
    return load_file(path)


def _check_arrays(values: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> None:
    for name, each in values.items():
        if each.dim() != 3 or each.dtype not in FLOATS:
            raise ValueError(f"values of {name!r:.80}, which are no numbers by example, layer and head")
    for name, each in groups.items():
        if each.dim() != 1 or each.dtype != torch.int64:
            raise ValueError(f"groups of {name!r:.80}, which are no whole number for each example")


def _verdicts(folder: Path, names: list[str]) -> dict[str, Few]:
    """The verdicts that the run says it has; runs before there were any say nothing."""
    if not names:
        return {}
    records = read_record(folder / "few.json")
    found = {str(name): few_from(records[name]) for name in names}
    for each in found.values():
        check_few(each)
    return found


def _roles(folder: Path, kept: Mapping[str, Any] | None) -> Roles | None:
    """The roles that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    found = roles_from(kept, *(read_frame(folder / f"{name}.parquet") for name in ("roles", "labels")))
    check_roles(found)
    return found


def _probes(folder: Path, kept: Mapping[str, Any] | None) -> Probed | None:
    """The probes that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    found = probed_from(kept, {name: read_frame(folder / f"{name}.parquet") for name in FRAMES})
    check_probed(found)
    return found


def _profiles(folder: Path, kept: Mapping[str, Any] | None) -> Profiles | None:
    """The profiles that the run says it has; runs before there were any say nothing."""
    if kept is None:
        return None
    found = profiles_from(kept, {name: read_frame(folder / f"{name}.parquet") for name in PROFILE_FRAMES})
    check_profiles(found)
    return found


def _view(record: Mapping[str, Any], patterns: Tensor) -> View:
    return View(
        task=str(record["task"]),
        tokens=tuple(map(str, record["tokens"])),
        layer_heads=tuple((int(layer), int(head)) for layer, head in record["layer_heads"]),
        patterns=patterns.numpy(),
        causal=bool(record["causal"]),
        prompt=int(record.get("prompt", 0)),
    )
