"""merge(): parts of a run are the run; verify(): whatever is changed is found; old folders open and verify."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellcases import analyze, assert_same, cells

import headscope
from headscope.cells import Cell, parse, read_cells
from headscope.cells import dump as dumped
from headscope.errors import RunError
from headscope.models import Model
from headscope.pipeline import merge, verify
from headscope.runs import Run, open_run

OLD = Path(__file__).resolve().parents[1] / "data" / "run-schema-1"


@pytest.fixture(scope="module")
def parts(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Path]:
    """A run, and two that hold its methods; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
        analyze(model, folder / "a", methods=["patching"])
        analyze(model, folder / "b", methods=["attention", "attribution"])
        return analyze(model, methods=["patching", "attention", "attribution"]), folder / "a", folder / "b"


def test_merged_parts_are_the_whole(parts: tuple[Run, Path, Path], model: Model, tmp_path: Path) -> None:
    whole, one, other = parts
    run = merge(tmp_path / "out", [one, other])
    np.testing.assert_array_equal(run.scores["value"], whole.scores["value"])
    assert run.identity["cells"]["missing"] == ["profiles"], "which look at all scores together"
    assert open_run(tmp_path / "out").identity["complete"] is False
    again = analyze(model, tmp_path / "out", methods=["patching", "attention", "attribution"])
    assert cells(again) == ({"profiles": 1}, {"ability": 1, "values": 3, "views": 1})
    assert_same(again, whole)
    assert merge(tmp_path / "out", [one]).identity["complete"] is True
    assert (verify(tmp_path / "out")["status"] == "ok").all()


def test_a_finished_run_is_not_replaced_by_less(
    parts: tuple[Run, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(parts[1], tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_bytes()
    monkeypatch.setattr("headscope.pipeline.keys.code", lambda: {"sources": "of another version", "libraries": {}})
    wrong = r"out', which is complete, and to which these runs add nothing; .*profiles.* would be lost"
    with pytest.raises(RunError, match=wrong):
        merge(tmp_path / "out", [parts[1]])
    assert (tmp_path / "out" / "run.json").read_bytes() == before


def spoil(folder: Path, change: Any) -> None:
    path = next(path for path, cell in read_cells(folder / "cells") if isinstance(cell, Cell) and cell.kind == "values")
    cell = parse(path.read_bytes())
    path.write_bytes(dumped(Cell(kind=cell.kind, what=cell.what, notes=cell.notes, arrays=change(dict(cell.arrays)))))


def test_two_values_of_one_cell_are_an_error_and_rounding_is_none(
    parts: tuple[Run, Path, Path], tmp_path: Path
) -> None:
    one = parts[1]
    for name, factor in (("rounded", 1 + 1e-9), ("other", 1.001)):
        shutil.copytree(one, tmp_path / name)
        spoil(tmp_path / name, lambda arrays, by=factor: {key: array * by for key, array in arrays.items()})
    assert merge(tmp_path / "fine", [one, tmp_path / "rounded"]).identity["complete"] is True
    with pytest.raises(RunError) as caught:
        merge(tmp_path / "out", [one, tmp_path / "other"])
    assert f"(values), which has another value in {str(tmp_path / 'other')!r} than in a run before" in str(caught.value)
    assert "expected: one value for one cell, to 1e-06 of the largest" in str(caught.value)


def test_a_damaged_cell_is_left_out_and_named(parts: tuple[Run, Path, Path], tmp_path: Path) -> None:
    shutil.copytree(parts[1], tmp_path / "a")
    path = next(path for path, cell in read_cells(tmp_path / "a" / "cells") if getattr(cell, "kind", "") == "values")
    path.write_bytes(path.read_bytes()[:-1])
    run = merge(tmp_path / "out", [tmp_path / "a"])
    assert run.identity["cells"]["missing"] == ["patching of induction, examples 1 to 6"]
    assert "the checksum does not fit" in run.identity["cells"]["damaged"][0]
    assert run.scores.empty


def test_runs_that_do_not_belong_together_are_refused(parts: tuple[Run, Path, Path], tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "the seed, the prompts of induction": lambda sheet: (
            sheet["plan"].update(seed=1), sheet["rows"]["induction"].update(prompts="others")
        ),
        "the model": lambda sheet: sheet["facts"].update(weights="others"),
        "the version of headscope or of a library below it": lambda sheet: sheet["blocks"][0].__setitem__(4, 64 * "0"),
    }  # fmt: skip
    for name, told in enumerate(changes):
        folder = Path(shutil.copytree(parts[1], tmp_path / str(name)))
        sheet = json.loads((folder / "cells" / "plan.json").read_text())
        changes[told](sheet)
        (folder / "cells" / "plan.json").write_text(json.dumps(sheet))
        with pytest.raises(RunError, match=f"which differ in {told}\n"):
            merge(tmp_path / "out", [parts[1], folder])
    with pytest.raises(RunError, match="which holds no cells"):
        merge(tmp_path / "out", [OLD])


# --- verify


def test_a_run_is_as_it_was_written(parts: tuple[Run, Path, Path]) -> None:
    found = verify(parts[1])
    assert set(found["status"]) == {"ok"}
    assert set(found["check"]) == {"record", "file", "provenance", "mean", "cell", "plan"}
    assert set(found.loc[found["check"] == "file", "what"]) >= {"scores.parquet", "report.html"}


def _byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _mean(folder: Path) -> None:
    run = open_run(folder)
    run.scores.loc[0, "value"] += 1e-3
    run.save(folder)


def _record(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["files"] |= {"../outside": "0" * 64}
    (folder / "run.json").write_text(json.dumps(record))


SPOILT = [
    (lambda folder: _byte(folder / "report.html"), "file", "report.html"),
    (lambda folder: (folder / "tasks.parquet").unlink(), "record", "run.json"),
    (lambda folder: _byte(next((folder / "cells").rglob("*.safetensors"))), "cell", "cells/"),
    (lambda folder: (folder / "cells" / "plan.json").write_text("{"), "plan", "cells/plan.json"),
    (lambda folder: (folder / "run.json").unlink(), "record", "run.json"),
    (_mean, "mean", "induction.patching.denoising"),
    (_record, "file", "../outside"),
]


@pytest.mark.parametrize(("change", "check", "what"), SPOILT)
def test_what_is_changed_is_found(
    change: Any, check: str, what: str, parts: tuple[Run, Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts[1], tmp_path / "run"))
    change(folder)
    found = verify(folder)
    wrong = found[found["status"] == "wrong"]
    assert (check, True) in {(line.check, line.what.startswith(what)) for line in wrong.itertuples()}, found


def test_a_run_of_an_older_headscope_opens_and_says_that_nothing_was_recorded() -> None:
    run = open_run(OLD)
    assert run.identity["complete"] is True
    assert set(run.scores["method"]) == {"patching", "ablation", "attention"}
    assert run.top(2)["label"].tolist() == ["L0H0", "L1H1"]
    found = verify(OLD)
    assert not (found["status"] == "wrong").any()
    assert found.loc[found["check"] == "file", "detail"].tolist() == [
        "no checksums recorded: this run is of an older headscope"
    ]


def test_no_run_at_all_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="which holds no run\n"):
        headscope.verify(tmp_path)
