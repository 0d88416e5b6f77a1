"""The folder in which an analysis is kept while it runs, so that the same command can go on where it stopped."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headscope.cells import Store, key_of, locked, write_whole
from headscope.errors import PlaceError
from headscope.models import Model
from headscope.pipeline.planning import Plan
from headscope.pipeline.sheet import CELLS, NAME, Sheet, write_sheet
from headscope.runs import check_writable, complete, read_record

KIND = "analyze"
"""What `run.json` says it is a run of."""
RECORD, ASKED = "run.json", "request.json"
"""What a run is; and, beside its cells, what was asked of which model."""
SPEED_ONLY = ("batch_size", "memory")


class OtherModel(PlaceError):
    """A folder that holds a run of another model, or of the same one with other weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where an analysis is kept.

    Attributes:
        folder: the run's; None: nothing is kept.
        store: its cells.
        request: the hash of what was asked.
        kind: what runs.
    """

    folder: Path | None = None
    store: Store = field(default_factory=lambda: Store(None))
    request: str = ""
    kind: str = KIND


@contextlib.contextmanager
def resuming(folder: Path, *, request: str = "", refresh: bool = False, kind: str = KIND) -> Iterator[Home]:
    """Open a folder for a run, alone in it: new, or with what an earlier one has left.

    Args:
        folder: made if it does not exist.
        request: the hash of what is asked.
        refresh: compute everything anew.
        kind: what runs, such as `analyze`.

    Raises:
        PlaceError: if the folder holds another kind of run, or other files.
        RunError: if the folder cannot be written, or another process is writing it.
    """
    check_writable(folder, extends=kind)
    with locked(folder):
        store = Store(folder / CELLS, refresh)
        store.clean()
        yield Home(folder=folder, store=store, request=request, kind=kind)


def request_of(model: str, plan: Plan, **more: Any) -> str:
    """The hash of what was asked: the same command asks the same.

    Args:
        model: as typed.
        plan: the plan.
        more: whatever else changes the numbers, such as how the model is loaded.
    """
    asked = {name: value for name, value in plan.record().items() if name not in SPEED_ONLY}
    return key_of({"model": model, "plan": asked, "more": more})


def unfinished(folder: Path, request: str) -> bool:
    """Whether a folder holds a run of the same request that has not come to its end.

    Args:
        folder: a run's.
        request: from `request_of`.
    """
    return _asked(folder).get("request") == request and not complete(folder)


def enter(home: Home, model: Model, facts: Mapping[str, Any] | None) -> None:
    """Note in a folder what is asked of which model, now that it is known to make sense.

    A disk that is full costs the note, not the run.

    Args:
        home: where the run is to be kept.
        model: the model.
        facts: what determines its numbers.

    Raises:
        PlaceError: if the folder is of another model, or holds cells of another kind of run: one folder, one of each.
    """
    if home.folder is None:
        return
    before = _asked(home.folder)
    _check_older(home.folder, model, before)
    if before and (before.get("facts") != facts or before.get("kind") != home.kind):
        told, own = before.get("facts"), facts or {}
        told = told if isinstance(told, dict) else {}
        differ = [name for name in own if told.get(name) != own[name]] or ["facts"]
        what = (
            f"the cells of headscope {before.get('kind')!s:.40}"
            if before.get("kind") != home.kind
            else f"a run of another model ({before.get('model')!r:.80}: other {', '.join(differ)}) than {model.name!r}"
        )
        other = PlaceError if before.get("kind") != home.kind else OtherModel
        raise other(
            f"output folder {str(home.folder)!r}, which holds {what}",
            "a new or empty folder, or one of the same command and model: weights, configuration, dtype, device and "
            "tokenizer",
            "choose another --out, or delete the folder first",
        )
    _note(home, model, facts)


def _note(home: Home, model: Model, facts: Mapping[str, Any] | None) -> None:
    if home.folder is None:
        return
    record = {"kind": home.kind, "request": home.request, "model": model.name, "facts": facts}
    try:
        write_whole(home.folder / CELLS / ASKED, (json.dumps(record) + "\n").encode())
    except OSError as error:
        home.store.tally.unwritten.append(error.strerror or str(error))


def _check_older(folder: Path, model: Model, before: Mapping[str, Any]) -> None:
    """A run from before there were cells says only in its record of which model it is."""
    try:
        told = {} if before else read_record(folder / RECORD).get("model") or {}
    except (OSError, ValueError, TypeError):
        return
    told = told if isinstance(told, dict) else {}
    names = ("weights_sha256", "weights_hashed", "weight_mode", "dtype")
    differ = [name for name in names if told and told.get(name) != model.identity.get(name)]
    if differ:
        raise OtherModel(
            f"output folder {str(folder)!r}, which holds a run of another model ({told.get('name')!r:.80}: other "
            f"{', '.join(differ)}) than {model.name!r}",
            "a new or empty folder, or one of the same model",
            "choose another --out, or delete the folder first",
        )


def _asked(folder: Path) -> dict[str, Any]:
    try:
        return read_record(folder / CELLS / ASKED)
    except (OSError, ValueError, TypeError):
        return {}


def keep_sheet(home: Home, sheet: Sheet) -> bool:
    """Write the plan beside its cells; a disk that is full costs that, not the analysis.

    Args:
        home: where it is kept.
        sheet: the plan.

    Returns:
        Whether it was written.
    """
    if home.folder is None:
        return False
    try:
        write_sheet(home.folder, sheet)
    except OSError as error:
        home.store.tally.unwritten.append(error.strerror or str(error))
        return False
    return True


def restored(home: Home, model: Model, facts: Mapping[str, Any] | None, sheet: Sheet) -> bool:
    """Write what stands beside the cells once more where somebody has deleted the folder while it was written.

    Args:
        home: where it is kept.
        model: the model.
        facts: what determines its numbers.
        sheet: the plan.

    Returns:
        Whether that was so.
    """
    if home.folder is None or (home.folder / CELLS / NAME).is_file():
        return False
    _note(home, model, facts)
    keep_sheet(home, sheet)
    home.store.tally.unwritten.append("the folder was deleted while it was written, and made anew")
    return True


def used(home: Home, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the record of a run says of its cells: how many were computed and reused, and what went wrong.

    Args:
        home: where it is kept.
        facts: what determines the model's numbers.

    Returns:
        Empty where nothing is kept.
    """
    if home.folder is None:
        return {}
    tally = home.store.tally
    told: dict[str, Any] = {"computed": tally.counts("computed"), "reused": tally.counts("reused")}
    problems = {"damaged": tally.damaged, "not kept": list(dict.fromkeys(tally.unwritten))}
    told |= {name: lines for name, lines in problems.items() if lines}
    if facts is None:
        told["not kept"] = ["the model's weights cannot be hashed, so nothing tells its results from another's"]
    return {"cells": told}


def warnings_of(identity: Mapping[str, Any]) -> Sequence[str]:
    """What people should be told of a run's cells: damage, and what could not be kept.

    Args:
        identity: of a run.

    Example:
        >>> warnings_of({"cells": {"damaged": ["ab/abc.safetensors: cut short"]}})
        ['1 damaged cell, computed again: ab/abc.safetensors: cut short']
    """
    cells = identity.get("cells", {})
    damaged, lost = cells.get("damaged", []), cells.get("not kept", [])
    told = [f"{len(damaged)} damaged cell{'s' * (len(damaged) > 1)}, computed again: {damaged[0]}"] if damaged else []
    return told + ([f"results could not be kept for the next time: {'; '.join(lost)}"] if lost else [])
