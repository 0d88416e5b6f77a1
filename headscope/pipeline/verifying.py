"""verify(): is a run's folder what was written, and do its tables follow from its values?"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headscope.cells import Damaged, read_cells
from headscope.deduction import read_circuit
from headscope.deduction.claims import claims
from headscope.errors import RunError
from headscope.frames import read_frame
from headscope.pipeline.sheet import CELLS, read_sheet
from headscope.provenance import digest
from headscope.runs import Run, check_run, kind_of, open_run, read_record
from headscope.runs.opening import LARGEST_ARRAYS

COLUMNS = ["check", "what", "status", "detail"]
OK, WRONG, UNKNOWN = "ok", "wrong", "not recorded"
MEAN = 1e-9
"""How far a mean may be from the one that is computed again, as a part of the score's largest value."""

Line = tuple[str, str, str, str]


def verify(folder: str | Path) -> pd.DataFrame:
    """Check a run's folder: files and cells against their checksums, schema, provenance, and tables against values.

    Checksums find what a disk, a copy or a hand has changed; they are no signature against somebody who changes them
    too. Nothing is written, and nothing in the folder is executed.

    Args:
        folder: what `headscope analyze` wrote, or another command that saves a run.

    Returns:
        One row for each check: `check` (record, file, cell, provenance, mean, claims), `what` (which file), `status`
        (`ok`, `wrong`, or `not recorded` in runs before there were checksums) and `detail`. Cost: reads every file
        once.

    Raises:
        RunError: if there is no run at all.

    Example:
        >>> import tempfile
        >>> verify(tempfile.mkdtemp())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        headscope.errors.PlaceError: run folder ..., which holds no run
          expected: a folder that a headscope command wrote, with run.json or cells in it
          to fix it: check the path, or run the analysis again
    """
    folder = Path(folder)
    check_run(folder, holds=("run.json", CELLS))
    lines = [*_run(folder), *_cells(folder)]
    return pd.DataFrame(lines, columns=COLUMNS)


def _run(folder: Path) -> Iterator[Line]:
    if not (folder / "run.json").is_file():
        yield "record", "run.json", WRONG, "it is not there: the analysis was stopped before it wrote its tables"
        return
    try:
        run = None if kind_of(folder) == "reproduce" else open_run(folder)
        record = read_record(folder / "run.json")
    except (RunError, OSError, ValueError, TypeError) as error:
        yield "record", "run.json", WRONG, str(getattr(error, "given", error))
        yield from _files(folder, _listed(folder))
        return
    yield "record", "run.json", OK, f"schema {record.get('schema', 'not recorded')}"
    yield from _files(folder, record.get("files"))
    yield from _provenance(record)
    yield from _claims(folder) if run is None else _means(run)


def _listed(folder: Path) -> Any:
    try:
        return read_record(folder / "run.json").get("files")
    except (OSError, ValueError, TypeError):
        return None


def _files(folder: Path, files: Any) -> Iterator[Line]:
    if not isinstance(files, Mapping):
        yield "file", "all", UNKNOWN, "no checksums recorded: this run is of an older headscope"
        return
    for name, expected in files.items():
        path = folder / str(name)
        if not _inside(path, folder):
            yield "file", str(name), WRONG, "its name leads out of the folder"
        elif not path.is_file():
            yield "file", str(name), WRONG, "it is not there"
        elif path.stat().st_size > LARGEST_ARRAYS:
            yield "file", str(name), WRONG, f"it has {path.stat().st_size:,} bytes, more than any file of a run"
        else:
            found = digest(path)
            detail = "" if found == expected else f"sha256 {found[:12]}..., recorded {str(expected)[:12]}..."
            yield "file", str(name), WRONG if detail else OK, detail


def _inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a link to itself, a name that no file can have
        return False


def _provenance(record: Mapping[str, Any]) -> Iterator[Line]:
    model, origin = record.get("model") or {}, record.get("provenance") or {}
    wanted = {
        "weights": model.get("weights_sha256"), "versions": origin.get("versions"), "seed": origin.get("seed"),
        "started": origin.get("started"), "complete": record.get("complete"),
    }  # fmt: skip
    absent = [name for name, value in wanted.items() if value is None]
    yield "provenance", "run.json", UNKNOWN if absent else OK, f"without {', '.join(absent)}" if absent else ""


def _means(run: Run) -> Iterator[Line]:
    """Every mean of the table of scores, computed again from the values of its examples."""
    scores: Any = run.scores
    for (task, method, score), rows in scores.groupby(["task", "method", "score"], sort=False):
        name = f"{task}.{method}.{score}"
        if name not in run.examples:
            continue
        values = run.examples[name].double().cpu().numpy()
        places = rows["layer"].to_numpy(int), rows["head"].to_numpy(int)
        if values.ndim != 3 or any(
            part.max(initial=0) >= size for part, size in zip(places, values.shape[1:], strict=True)
        ):
            yield "mean", name, WRONG, f"values of shape {values.shape} for these heads"
            continue
        count = np.isfinite(values).sum(0)
        means = np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)[places]
        told = rows["value"].to_numpy(float)
        scale = max(float(np.abs(np.nan_to_num(means)).max(initial=0)), np.finfo(float).tiny)
        differs = (np.abs(means - told) > MEAN * scale) | (np.isnan(means) != np.isnan(told))
        detail = f"{int(differs.sum())} of {len(told)} means do not follow from the values" if differs.any() else ""
        yield "mean", name, WRONG if detail else OK, detail


def _claims(folder: Path) -> Iterator[Line]:
    """The verdicts of a reproduction, given again on what its tables hold."""
    try:
        told: Any = read_frame(folder / "claims.parquet")
        again: Any = claims(read_circuit(folder / "circuit"))
        # Their words may change from version to version.
        verdicts = (frame[["name", "verdict"]].to_numpy().tolist() for frame in (told, again))
        differs = [one for one, other in zip(*verdicts, strict=True) if one != other]
    except Exception as error:  # what is no such table can raise nearly every built-in error
        yield "claims", "claims.parquet", WRONG, str(getattr(error, "given", f"{type(error).__name__}: {error}"))
        return
    detail = f"{len(differs)} of {len(told)} verdicts do not follow from the tables" if differs else ""
    yield "claims", "claims.parquet", WRONG if detail else OK, detail


def _cells(folder: Path) -> Iterator[Line]:
    if not (folder / CELLS).is_dir():
        return
    there = set()
    for path, cell in read_cells(folder / CELLS):
        there |= set() if isinstance(cell, Damaged) else {path.stem}
        name = f"{CELLS}/{path.parent.name}/{path.name}"
        yield ("cell", name, WRONG, str(cell)) if isinstance(cell, Damaged) else ("cell", name, OK, cell.kind)
    try:
        sheet = read_sheet(folder)
    except RunError as error:
        yield "plan", f"{CELLS}/plan.json", WRONG, error.given
        return
    if sheet is not None:
        missing = sum(block.key not in there for block in sheet.blocks if block.key)
        detail = f"{missing} of {len(sheet.blocks)} blocks are not there: the same command computes them"
        yield "plan", f"{CELLS}/plan.json", UNKNOWN if missing else OK, detail if missing else ""
