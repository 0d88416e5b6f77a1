"""What the tables of a run must hold before anything is drawn from them: whoever sent it may have written anything."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from headscope.few.outcome import TABLES, Few
from headscope.frames import check_columns, columns_of
from headscope.grid import Grid, check_heads
from headscope.probed.result import Probed
from headscope.profiles.result import Profiles
from headscope.roles.result import Roles

_SPAN = "{0} {0}_low {0}_high"


def _spans(names: str) -> str:
    return " ".join(_SPAN.format(name) for name in names.split())


ROLES = {
    "roles": columns_of(
        text="role case baseline_name unit reason", whole="layer head n groups", truth="best passed",
        number="value low high baseline null elsewhere p q threshold margin confidence " + _spans("difference"),
    ),
    "labels": columns_of(
        text="role case causal task evidence causal_reason", whole="layer head n",
        number="confidence value baseline stability base_rate " + _spans("effect"),
    ),
}  # fmt: skip
LATER = frozenset(("elsewhere", "causal_reason", "stability", "base_rate", "random_most", "metric", "balanced"))
"""Columns that older runs do not have."""
PROBES = {
    "probes": columns_of(
        text="label site baseline reason", whole="layer head n groups classes", truth="decodable converged",
        number="accuracy low high balanced control majority embedding previous untrained p q bits compression "
        + _spans("selectivity difference"),
    ),
    "used": columns_of(
        text="label task unit at reason", whole="layer head directions n groups", truth="decodable uses",
        number="accuracy metric random random_most p q " + _spans("present used excess swapped"),
    ),
    "best": columns_of(
        text="label site name baseline", whole="layer head n groups decodable_sites sites classes",
        truth="decodable converged",
        number="accuracy low high baseline_accuracy untrained bits compression q " + _spans("difference selectivity"),
    ),
    "curves": columns_of(
        text="label stage site heads baseline", whole="depth n groups",
        number="accuracy low high baseline_accuracy " + _spans("difference"),
    ),
    "depths": columns_of(
        text="label stage site reason", whole="n groups", truth="decodable",
        number=_spans("expected first centre"),
    ),
    "order": columns_of(
        text="site measure order labels", whole="groups", truth="holds", number="share p " + _spans("difference")
    ),
}  # fmt: skip
_HEAD = "layer head place"
PROFILES = {
    "profiles": columns_of(
        text="task label method score unit reason", whole=f"{_HEAD} n",
        number="value low high least lower median upper most positive",
    ),
    "profile_prompts": columns_of(text="task text answers foils", whole="prompt"),
    "profile_tokens": columns_of(text="task label side token", whole=f"{_HEAD} prompt rank", number="value"),
    "profile_sources": columns_of(
        text="task label token", whole=f"{_HEAD} prompt position rank", number="attention value"
    ),
    "profile_edges": columns_of(
        text="task sender receiver through direction unit reason", whole="n groups", number="value low high p q"
    ),
}  # fmt: skip
WORDS = frozenset(("label", "ablation", "measure", "control", "reason", "probe", "members", "criterion", "wanted",
                   "meaning"))  # fmt: skip
"""Columns of a verdict's tables that hold texts; `met` holds yes, no or nothing, all others numbers."""
FACTS: dict[str, type | tuple[type, ...]] = {
    "ablation": str, "direction": str, "metric_unit": str, "k": int, "units": int, "measured": int, "groups": list,
    "claim": (int, float), "sets": int,
}  # fmt: skip


def check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError unless what a run says of itself is of the kinds that commands and reports take it for.

    Args:
        record: what `run.json` holds beside its tables; a run may lack any part of it.
    """
    parts: dict[str, type] = {"model": dict, "provenance": dict, "plan": dict, "cells": dict, "complete": bool}
    for name, kind in {**parts, "agreement": list}.items():
        _need(isinstance(record.get(name, kind()), kind), f"a record, whose {name!r} is of another kind")
    model, origin = record.get("model", {}), record.get("provenance", {})
    _need(isinstance(model.get("name", ""), str), "a record, whose model's name is no text")
    for name in ("layers", "heads", "parameters"):
        _need(model.get(name) is None or _number(model[name]), f"a record, whose model's {name!r} are no number")
    _need(isinstance(model.get("random_weights") or [], (str, list)), "a record, whose random weights have no names")
    _need(isinstance(model.get("self_check") or {}, dict), "a record, whose self-check is none")
    _need(isinstance(origin.get("command") or [], (str, list)), "a record, whose command is none")


def check_roles(found: Roles) -> None:
    """Raise ValueError unless roles are what a report can be made of.

    Args:
        found: from a run's files.
    """
    check_heads(found.grid.layers, found.grid.heads)
    frames = {"roles": found.scores, "labels": found.labels}
    _check(frames, ROLES)
    for name, frame in frames.items():
        _check_places(frame, found.grid, name=name)
    _need(isinstance(found.record, Mapping), "a record of roles, which is none")


def check_probed(found: Probed) -> None:
    """Raise ValueError unless probes are what a report can be made of.

    Args:
        found: from a run's files.
    """
    check_heads(found.grid.layers, found.grid.heads)
    frames: Any = found.frames()
    _check(frames, PROBES)
    for name in ("probes", "used", "best"):
        heads = frames[name][frames[name]["head"] >= 0] if len(frames[name]) else frames[name]
        _check_places(heads, found.grid, name=name)
    record = found.record
    _need(isinstance(record, Mapping), "a record of probes, which is none")
    for name in ("left out", "classes in too few documents", "tasks"):
        _need(isinstance(record.get(name) or {}, Mapping), f"a record of probes, whose {name!r} is none")
    for name in ("classes in too few documents", "tasks"):
        for each in (record.get(name) or {}).values():
            _need(isinstance(each, Mapping), f"a record of probes, whose {name!r} holds no records")


def check_profiles(found: Profiles) -> None:
    """Raise ValueError unless profiles are what a report can be made of.

    Args:
        found: from a run's files.
    """
    _check(found.frames(), PROFILES)
    absent = found.record.get("absent", {})
    sound = isinstance(absent, Mapping) and all(isinstance(each, Mapping) for each in absent.values())
    _need(sound, "a record of profiles, whose 'absent' is none")


def check_few(found: Few) -> None:
    """Raise ValueError unless a verdict is what a report can be made of.

    Args:
        found: from a run's file.
    """
    for name in ("task", "unit", "label", "text"):
        _need(isinstance(getattr(found, name), str), f"a verdict, whose {name} is no text")
    for name in TABLES:
        frame = getattr(found, name)
        for column in frame.columns if len(frame) else ():
            cells = frame[column].tolist()
            _need(_sound(column, cells), f"a verdict, whose column {column!r} of {name} is of another kind")
    facts = found.facts
    _need(isinstance(facts, Mapping), "a verdict, whose facts are none")
    for name, kind in FACTS.items() if len(found.heads) else ():
        value = facts.get(name)
        _need(
            isinstance(value, kind) and not isinstance(value, bool), f"a verdict, whose fact {name!r} is {value!r:.40}"
        )
    if len(found.heads):
        _need(len(facts["groups"]) == 2, "a verdict, whose fact 'groups' is of other halves than two")
        _need(1 <= facts["k"] <= facts["units"], "a verdict, whose fact 'k' is no number of its heads")


def _sound(column: str, cells: list[Any]) -> bool:
    if column in WORDS:
        return all(isinstance(cell, str) or pd.isna(cell) for cell in cells)
    if column == "met":
        return all(cell is None or isinstance(cell, (bool, int, float)) for cell in cells)
    if column in ("layer", "head"):
        return all(float(cell).is_integer() and 0 <= cell < 10_000 for cell in cells if _number(cell)) and all(
            map(_number, cells)
        )
    return all(map(_number, cells))


def _number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _check(frames: Mapping[str, pd.DataFrame], tables: Mapping[str, Mapping[str, str]]) -> None:
    for name, columns in tables.items():
        frame = frames[name]
        wanted = {each: kind for each, kind in columns.items() if each not in LATER or each in frame.columns}
        check_columns(frame, wanted, name=name)


def _check_places(frame: pd.DataFrame, grid: Grid, *, name: str) -> None:
    for column, size in (("layer", grid.layers), ("head", grid.heads)):
        if len(frame) and not frame[column].between(0, size - 1).all():
            raise ValueError(f"the table {name}, which has a {column} beyond the model's {size}")


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
