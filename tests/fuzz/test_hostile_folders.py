"""Folders that headscope opens again, as somebody else may have written them: refused in words, or read as damaged."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fuzz import packed
from fuzz.campaign import campaign, shared_out
from fuzz.guided import GUIDED
from fuzz.readers import READERS
from safetensors.numpy import load, save

from headscope.cells import Cell, Damaged, Store, dump, parse
from headscope.cells.lock import HOLDER, holder
from headscope.deduction.checking import TABLES, check_circuit
from headscope.errors import HeadscopeError, RunError, UsageError, refusing
from headscope.grid import Grid
from headscope.models import Model
from headscope.pipeline import keeping
from headscope.pipeline.sheet import read_sheet
from headscope.runs import open_run

OLD = Path(__file__).resolve().parents[1] / "data" / "run-schema-1"


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        change(pd.read_parquet(folder / f"{name}.parquet")).to_parquet(folder / f"{name}.parquet", index=False)

    return spoil


def record(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        told = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(told | changes))

    return spoil


def values(folder: Path) -> None:
    path = folder / "examples" / "values.safetensors"
    path.write_bytes(save({name: array.reshape(-1) for name, array in load(path.read_bytes()).items()}))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (table("scores", lambda frame: frame.assign(layer=9_999, head=np.arange(len(frame)))), "10000 layers of "),
        (table("scores", lambda frame: frame.assign(head=frame["head"] - 1)), "-1 as a head in the table scores"),
        (table("scores", lambda frame: frame.drop(columns="unit")), "the table scores, which lacks 'unit'"),
        (
            table("tasks", lambda frame: frame.assign(accuracy="much")),
            "whose column 'accuracy' is no column of numbers",
        ),
        (record(model="m"), "a record, whose 'model' is of another kind"),
        (record(model={"name": "m", "heads": "many"}), "a record, whose model's 'heads' are no number"),
        (record(complete="yes"), "a record, whose 'complete' is of another kind"),
        (values, "which are no numbers by example, layer and head"),
    ],
)
def test_a_run_that_no_report_could_show_is_not_opened(
    spoil: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(OLD, tmp_path / "run"))
    open_run(folder)
    spoil(folder)
    with pytest.raises(RunError) as caught:
        open_run(folder)
    assert told in caught.value.given


def test_what_fails_all_the_same_is_refused_and_shown_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    @refusing("a report that cannot be drawn", "tables")
    def draw(problem: Exception) -> None:
        raise problem

    with pytest.raises(RunError, match=r"^a report that cannot be drawn \(KeyError: 'n'\)\n  expected: tables\n"):
        draw(KeyError("n"))
    for problem in (UsageError("a", "b", "c"), MemoryError()):
        with pytest.raises(type(problem)):
            draw(problem)
    monkeypatch.setenv("HEADSCOPE_DEBUG", "1")
    with pytest.raises(KeyError):
        draw(KeyError("n"))


# --- cells


def other(about: Callable[[dict[str, Any]], object]) -> bytes:
    """A cell that says something else of itself, with the right checksum."""
    data = dump(Cell(kind="example", what={"a": 1}, arrays={"x": np.arange(3.0)}))
    end = 8 + int.from_bytes(data[:8], "little")
    content = json.loads(data[8:end])
    told = json.loads(content["__metadata__"]["about"])
    content["__metadata__"]["about"] = about(told) if callable(about) else about
    return packed.signed(packed._headed(content, data[end:]))


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (lambda told: json.dumps(told | {"notes": []}), "it does not say what it is"),
        (lambda told: json.dumps(told | {"kind": 3}), "it does not say what it is"),
        (lambda told: json.dumps(told | {"what": {"a": 2}}), "its key is not the hash of what it says it is"),
        (lambda told: json.dumps(told | {"schema": 2}), "it is of schema 2, not 1: another headscope wrote it"),
        (lambda told: json.dumps({"schema": 1}), r"it holds no cell \(KeyError: 'kind'\)"),
        (lambda _: "[" * 200_000, r"it holds no cell \(RecursionError: "),
        (lambda _: "", r"it holds no cell \(JSONDecodeError: "),
    ],
)
def test_a_cell_with_a_right_checksum_and_a_wrong_content_is_damaged(about: Any, told: str) -> None:
    with pytest.raises(Damaged, match=told):
        parse(other(about))


def test_a_cell_that_is_no_plain_file_is_damaged_and_computed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.place("ab" + "0" * 62)
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/zero")
    assert store.find("ab" + "0" * 62) is None
    assert store.tally.damaged[0].endswith(".safetensors is no plain file")


def test_what_cannot_be_made_of_a_cell_is_computed_again(tmp_path: Path) -> None:
    store, what = Store(tmp_path), {"a": 1}
    store.keep(Cell(kind="example", what=what, arrays={"x": np.arange(3)}))

    def unpack(arrays: Any) -> int:
        return len(arrays["x"]) if len(arrays["x"]) == 1 else arrays["x"].nothing

    found = store.remember("example", what, lambda: 7, pack=lambda _: {"x": np.arange(1)}, unpack=unpack)
    assert (found, len(store.tally.damaged)) == (1, 1)
    assert "AttributeError" in store.tally.damaged[0]


# --- notes beside cells


@pytest.mark.parametrize("told", ['{"pid": 1e999, "host": "a", "since": "b"}', "[" * 100_000, "[1]", "\x00"])
def test_a_holder_that_says_nothing_is_another_process(told: str, tmp_path: Path) -> None:
    (tmp_path / HOLDER).write_text(told)
    assert holder(tmp_path) == "another process"


@pytest.mark.parametrize("facts", ["facts", [1], 3, {"weights": "others"}])
def test_a_request_of_another_kind_is_that_of_another_model(facts: Any, tmp_path: Path, gpt2_model: Model) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "request.json").write_text(json.dumps({"kind": "analyze", "facts": facts, "model": "m"}))
    with pytest.raises(HeadscopeError, match=r"which holds a run of another model \('m': other weights\) than '"):
        keeping.enter(keeping.Home(folder=tmp_path), gpt2_model, {"weights": "00"})


SHEET: dict[str, Any] = {
    "schema": 1, "model": {"name": "m", "layers": 2, "heads": 2}, "facts": {},
    "plan": {"tasks": [], "methods": [], "metrics": [], "seed": 0, "roles": False}, "command": None,
    "rows": {"t": {"prompts": "00"}}, "groups": {"t": [0, 0, 1]},
    "scores": {"t": {"m": [{"name": "s", "unit": "u", "signed": True, "absent": ""}]}},
    "blocks": [["t", "m", [0, 3], None, "0" * 64]], "keys": {"ability": {"t": "1" * 64}}, "notes": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"blocks": [["t", "m", [0, 3], None, "../../../etc/passwd"]]}, "it has no sound block"),
        ({"blocks": [["t", "m", [0, 4], None, ""]]}, "it has no sound block"),
        ({"blocks": [["t", "m", [0, 3], [0, 3], ""]]}, "it has no sound block"),
        ({"blocks": [["t", "x", [0, 3], None, ""]]}, "it has no sound block"),
        ({"keys": {"ability": {"t": "../x"}}}, "it has no sound keys"),
        ({"keys": {"ability": {"x": ""}}}, "it has no sound keys, which are of other tasks than its rows"),
        ({"groups": {"t": [0, 2**64]}}, "it has no sound groups"),
        ({"groups": {"t": [0], "x": [0]}}, "it has no sound groups, which are of other tasks than its rows"),
        ({"model": {"name": "m", "layers": 10**9, "heads": 10**9}}, "1000000000 layers of 1000000000 heads"),
        ({"plan": {}}, "it has no sound plan's tasks"),
        ({"rows": {"t": {}}}, "it has no sound prompts of 't'"),
        ({"other": 1}, "it has other parts than model, "),
        ({"schema": [1]}, "schema [1], not 1"),
    ],
)
def test_a_plan_that_headscope_would_not_write_is_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "plan.json").write_text(json.dumps(SHEET | change))
    if not told:
        found = read_sheet(tmp_path)
        assert found is not None
        assert found.blocks[0].key == "0" * 64
        return
    with pytest.raises(RunError) as caught:
        read_sheet(tmp_path)
    assert told in caught.value.given
    assert caught.value.expected == "what headscope analyze writes there"


# --- others


def test_a_circuit_of_other_heads_than_its_grid_is_refused() -> None:
    kinds = {"text": "x", "whole number": 1, "number": 0.5, "truth value": True}
    frames = {name: pd.DataFrame({each: [kinds[kind]] for each, kind in columns.items()})
              for name, columns in TABLES.items()}  # fmt: skip
    parts: dict[str, Any] = {"settings": {}}
    check_circuit(Grid(2, 2), frames, parts)
    for grid, changed, told in (
        (Grid(1, 2), {}, "the table heads, which has a layer beyond the model's 1"),
        (Grid(10**6, 10**6), {}, "1000000 layers of 1000000 heads"),
        (Grid(2, 2), {"settings": {"claim": "3 %"}}, "setting claim '3 %'"),
        (Grid(2, 2), {"k": None}, "k None"),
    ):
        with pytest.raises(ValueError, match=told):
            check_circuit(grid, frames, parts | changed)


def test_a_cache_of_other_shapes_is_not_used(tmp_path: Path) -> None:
    from headscope.few.shadow import _read

    sound = {name: np.zeros((3, 1 if name == "total" else 2))
             for name in ("select", "measure", "total", "without", "alone")}  # fmt: skip
    for change, fits in (({}, True), ({"total": np.zeros((3, 2))}, False), ({"select": np.zeros(3)}, False),
                         ({"alone": np.zeros((3, 2), int)}, False)):  # fmt: skip
        (tmp_path / "a").write_bytes(save(sound | change))
        assert (_read(tmp_path / "a") is not None) == fits


@pytest.mark.slow
def test_a_changed_checkpoint_is_refused(tmp_path: Path) -> None:
    from fuzz import kept

    from headscope.mini.checkpoint import restore

    model, optimiser, recipe = kept.learner()
    data = kept.checkpoints()[0]["checkpoint.safetensors"]
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(data)
    assert restore(tmp_path, model, optimiser, recipe)["step"] == 2
    earlier = data.replace(b'\\"step\\": 2', b'\\"step\\":-2')
    for changed, told in ((data[:-1], "SafetensorError: "), (earlier, "a state with another step")):
        path.write_bytes(changed)
        with pytest.raises(UsageError, match=told) as caught:
            restore(tmp_path, model, optimiser, recipe)
        assert caught.value.expected == "what headscope mini train wrote"


# --- the campaign


def test_processes_share_a_campaign_and_find_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = ["cache", "long-text"]
    found = [campaign(seed=1, inputs=60, names=names, out=tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2)]
    assert "inputs of each reader: cache 40, long-text 20" in capfd.readouterr().out
    assert [each.failures for tallies in found for each in tallies.values()] == [{}] * 4
    for name, count in shared_out(60, names).items():
        one, two = (each[name] for each in found)
        assert (one.inputs, one.valid, one.refused, one.failed) == (two.inputs, two.valid, two.refused, 0)
        assert one.inputs == count
    told = json.loads((tmp_path / "2" / "result.json").read_text())
    assert (told["done"], told["whole"], told["failed"]) == (60, 60, 0)


def test_every_reader_has_a_share_and_cheap_ones_most() -> None:
    counts = shared_out(1_000_000, list(READERS))
    assert sum(counts.values()) == 1_000_000
    assert min(counts.values()) >= 400
    assert counts["conllu"] == max(counts.values())


def test_readers_that_are_guided_are_written_in_python() -> None:
    assert set(GUIDED) < set(READERS)
    for name, each in GUIDED.items():
        assert all(find_spec(module) is not None for module in each.code), name
    for name in ("conllu", "labels", "pairs", "proofwriter"):
        assert any(path.endswith(GUIDED[name].file) for files in READERS[name].seeds() for path in files)


def test_a_cell_that_was_changed_keeps_a_right_checksum() -> None:
    data = dump(Cell(kind="example", what={"a": 1}, arrays={"x": np.arange(3.0)}))
    changed = bytearray(data)
    changed[-1] ^= 1
    with pytest.raises(Damaged, match="the checksum does not fit"):
        parse(bytes(changed))
    assert parse(packed.signed(bytes(changed))).arrays["x"][-1] != 2.0
    assert packed.signed(data) == data
    assert packed.signed(b"\x08" + b"\0" * 20) == b"\x08" + b"\0" * 20
