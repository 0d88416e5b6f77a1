"""Writing a run's folder: every file whole or not at all, and a checksum for each."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headscope import report
from headscope.attention import View
from headscope.errors import PlaceError
from headscope.probed.result import FRAMES
from headscope.profiles.result import FRAMES as PROFILE_FRAMES
from headscope.provenance import digest
from headscope.runs.opening import SCHEMA, read_record
from headscope.runs.places import RECORD, check_strangers, unwritable
from headscope.runs.run import Run

REPORT = "report.html"
OPTIONAL = ("few.json", *(f"{name}.parquet" for name in ("roles", "labels", *FRAMES, *PROFILE_FRAMES)))
"""Files that some runs have; those of a run that is written anew and has them no more are removed."""


def save(run: Run, folder: Path) -> Path:
    """Write a run, as `Run.save` says.

    All files are written under other names first and renamed together, `run.json` last: a folder that has it is whole.

    Args:
        run: the run.
        folder: made if it does not exist.

    Raises:
        RunError: if it cannot be written.
    """
    from safetensors import SafetensorError  # its way to say that a disk is full

    staged: dict[str, Path] = {}
    try:
        (folder / "examples").mkdir(parents=True, exist_ok=True)
        for name, write in _files(run):
            staged[name] = folder / f"{name}.part"
            write(staged[name])
        record = _record(run) | {"files": {name: digest(part) for name, part in staged.items()}}
        stale = _stale(folder, record)
        staged[RECORD] = folder / f"{RECORD}.part"
        _write_record(staged[RECORD], record)
        for name, part in staged.items():
            part.replace(folder / name)
        for path in stale:
            path.unlink(missing_ok=True)
        # Last, because it is the largest: a disk that fills up here has cost no number.
        report.write(run, folder / REPORT)
        record["files"] |= {REPORT: digest(folder / REPORT)} if (folder / REPORT).exists() else {}
        _write_record(staged[RECORD], record)
        staged[RECORD].replace(folder / RECORD)
    except (OSError, SafetensorError) as error:
        raise unwritable(folder, error) from error
    finally:
        for part in staged.values():
            part.unlink(missing_ok=True)
    return folder


def check_writable(folder: Path, *, extends: str = "", ours: Iterable[str] = ()) -> None:
    """Raise unless a run can be written to `folder`, before any work is done.

    Args:
        folder: where the run is to go.
        extends: the kind of run that may be there and be extended, such as `analyze`; empty: none may.
        ours: names that may be there without a run, since the command writes them itself.

    Raises:
        PlaceError: if it is a file, holds a run that cannot be extended, or files that are no run's.
        RunError: if it cannot be written.
    """
    if _is_there(folder / RECORD):
        found = kind_of(folder)
        if not extends or found != extends:
            what = f", of headscope {found}" if found and extends else ""
            also = f", or one that holds a run of headscope {extends}" if extends else ""
            raise PlaceError(
                f"output folder {str(folder)!r}, which already holds a run{what}",
                f"a new or empty folder{also}: finished runs of another kind are never written over"
                if extends
                else "a new or empty folder: finished runs are never written over",
                "choose another --out, or delete the folder first",
            )
    probe = folder / f".headscope.{os.getpid()}"  # another process may be asking the same
    try:
        check_strangers(folder, ours=ours)
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("can this folder be written to?\n")
        probe.unlink()
    except OSError as error:
        raise unwritable(folder, error) from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise unwritable(path.parent, error) from error


def kind_of(folder: Path) -> str:
    """Which command wrote a run, such as `analyze`; empty where that cannot be told.

    Args:
        folder: the run's.
    """
    try:
        record = read_record(folder / RECORD)
    except (OSError, ValueError, TypeError):
        return ""
    plan = record.get("plan")
    names = plan if isinstance(plan, dict) else {}
    guesses = {  # before runs said it themselves
        "reproduce": "paper" in record,
        "few": "few" in record or "settings" in record, "probe": "probes" in record,
        "analyze": {"tasks", "methods"} <= set(names), "roles": "roles" in record,
    }  # fmt: skip
    return str(record.get("kind") or next((kind for kind, fits in guesses.items() if fits), ""))


def complete(folder: Path) -> bool:
    """Whether a folder holds a run that came to its end.

    Args:
        folder: the run's.
    """
    try:
        return read_record(folder / RECORD).get("complete") is True
    except (OSError, ValueError, TypeError):
        return False


def _files(run: Run) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """The name of every file but the record and the report, with what writes it."""
    frames = {"scores": run.scores, "tasks": run.tasks}
    frames |= {} if run.roles is None else {"roles": run.roles.scores, "labels": run.roles.labels}
    frames |= run.probes.frames() if run.probes is not None else {}
    frames |= run.profiles.frames() if run.profiles is not None else {}
    for name, frame in frames.items():
        yield f"{name}.parquet", lambda path, frame=frame: frame.to_parquet(path, index=False)
    if run.few:
        verdicts = {name: result.record() for name, result in run.few.items()}
        yield "few.json", lambda path: path.write_text(json.dumps(verdicts) + "\n", "utf-8")
    yield from _arrays(run)


def _arrays(run: Run) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    from safetensors.numpy import save_file

    files = {
        "values": {name: value.cpu().numpy() for name, value in run.examples.items()},
        "views": {str(index): view.patterns for index, view in enumerate(run.views)},
        "groups": {task: groups.cpu().numpy() for task, groups in run.groups.items()},
    }
    for name, arrays in files.items():
        whole = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        yield f"examples/{name}.safetensors", lambda path, whole=whole: save_file(whole, path)


def _record(run: Run) -> dict[str, Any]:
    record = {"schema": SCHEMA, **run.identity, "views": [_view_record(view) for view in run.views]}
    record |= {"few": list(run.few)} if run.few else {}
    record |= {"roles": run.roles.kept()} if run.roles is not None else {}
    record |= {"probes": run.probes.kept()} if run.probes is not None else {}
    record |= {"profiles": run.profiles.kept()} if run.profiles is not None else {}
    return record


def _view_record(view: View) -> dict[str, Any]:
    names = ("task", "tokens", "layer_heads", "causal", "prompt")
    return {name: getattr(view, name) for name in names}


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _stale(folder: Path, record: Mapping[str, Any]) -> list[Path]:
    """Files of the run that is written over, of the same kind, which the new one does not have."""
    try:
        before = read_record(folder / RECORD)
    except (OSError, ValueError, TypeError):
        return []
    if before.get("kind") != record.get("kind") or not isinstance(before.get("files"), dict):
        return []
    return [folder / name for name in OPTIONAL if name in before["files"] and name not in record["files"]]
