"""A cell is there whole or not at all; what is damaged is found, told and computed again."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headscope.cells import Cell, Damaged, Store, dump, frame_from, frame_in, packed, parse, read_cells, unpacked
from headscope.cells.writing import leftovers, write_whole

CELL = Cell(
    kind="values", what={"model": "m", "layers": None}, notes={"refused": ""},
    arrays={"a": np.array([[1.5, np.nan]]), "b": np.arange(3, dtype=np.uint8)},
)  # fmt: skip


@given(
    arrays.arrays(
        st.sampled_from([np.dtype(name) for name in ("float64", ">f4", "int64", "uint8", "bool")]),
        arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3),
    )
)
@settings(max_examples=25, derandomize=True, deadline=None)
def test_what_is_read_is_what_was_written(array: np.ndarray) -> None:
    back = parse(dump(Cell(kind="k", what={"a": "é"}, notes={"n": [1]}, arrays={"x": array})))
    assert (back.kind, back.what, back.notes) == ("k", {"a": "é"}, {"n": [1]})
    np.testing.assert_array_equal(back.arrays["x"], array)
    assert back.arrays["x"].dtype == array.dtype.newbyteorder("=")


def test_every_byte_that_is_changed_or_missing_is_found() -> None:
    data = dump(CELL)
    for place in range(len(data)):
        for flip in (0x01, 0x20, 0xFF):
            changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            with pytest.raises(Damaged):
                parse(changed)
        with pytest.raises(Damaged):
            parse(data[:place])
    for longer in (data + b"\0", data + data):
        with pytest.raises(Damaged):
            parse(longer)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b"\0" * 100])
def test_what_is_no_cell_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(Damaged, match="there is no checksum in its header: this is no cell of headscope"):
        parse(data)


def test_a_cell_is_a_safetensors_file_without_pickle(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "cell.safetensors"
    path.write_bytes(dump(CELL))
    np.testing.assert_array_equal(load_file(path)["a"], CELL.arrays["a"])


def test_records_and_tables_come_back_as_they_were() -> None:
    record = {"a": 0.1 + 0.2, "b": [None, "é"], "c": 1e300}
    assert unpacked(packed(record)) == record
    assert np.isnan(unpacked(packed([float("nan")]))[0])
    frame = pd.DataFrame({"x": [1.0, np.nan], "s": ["a", ""], "f": [True, False]})
    pd.testing.assert_frame_equal(frame_from(frame_in(frame)), frame, check_exact=True)


# --- the store


def remembered(store: Store, what: Any = None, value: Any = 1) -> Any:
    return store.remember("k", {"a": 1} if what is None else what, lambda: value, pack=packed, unpack=unpacked)


def test_what_was_computed_once_is_read_the_next_time(tmp_path: Path) -> None:
    assert remembered(Store(tmp_path), value=1) == 1
    again = Store(tmp_path)
    assert remembered(again, value=2) == 1
    assert remembered(again, {"a": 2}, value=3) == 3
    assert (again.tally.counts("reused"), again.tally.counts("computed")) == ({"k": 1}, {"k": 1})


def test_refresh_computes_anew_once(tmp_path: Path) -> None:
    remembered(Store(tmp_path), value=1)
    fresh = Store(tmp_path, refresh=True)
    assert [remembered(fresh, value=value) for value in (2, 3)] == [2, 2]
    assert remembered(Store(tmp_path), value=4) == 2


def test_without_a_folder_or_a_key_nothing_is_kept(tmp_path: Path) -> None:
    nowhere = Store(None)
    assert [remembered(nowhere, value=value) for value in (1, 2)] == [1, 2]
    store = Store(tmp_path)
    found = [store.remember("k", None, lambda v=v: v, pack=packed, unpack=unpacked) for v in (1, 2)]
    assert found == [1, 2]
    assert not list(tmp_path.iterdir())


def only(folder: Path) -> Path:
    (path,) = folder.rglob("*.safetensors")
    return path


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "there is no checksum in its header: this is no cell of headscope"),
        (dump(CELL)[:-3], "the checksum does not fit: the file was cut short or changed"),
        (dump(CELL), "it holds another cell"),
        (dump(Cell(kind="k", what={"a": 1}, arrays=packed(1)))[:-1] + b"2", "the checksum does not fit"),
    ],
)
def test_a_damaged_cell_is_told_and_computed_again(tmp_path: Path, data: bytes, reason: str) -> None:
    remembered(Store(tmp_path), value=1)
    path = only(tmp_path)
    path.write_bytes(data)
    store = Store(tmp_path)
    assert remembered(store, value=1) == 1
    (told,) = store.tally.damaged
    assert told.startswith(f"{path.parent.name}/{path.name}: {reason}")
    assert store.tally.counts("computed") == {"k": 1}
    assert remembered(Store(tmp_path), value=5) == 1, "it is whole again"


def test_a_cell_with_the_wrong_parts_is_told_and_computed_again(tmp_path: Path) -> None:
    Store(tmp_path).keep(Cell(kind="k", what={"a": 1}, arrays={"other": np.zeros(1)}))
    store = Store(tmp_path)
    assert remembered(store, value=7) == 7
    assert "KeyError: 'record.json'" in store.tally.damaged[0]


def test_every_cell_of_a_folder_is_read_or_said_to_be_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for a in range(3):
        remembered(store, {"a": a})
    first, second, _ = sorted(tmp_path.rglob("*.safetensors"))
    first.write_bytes(b"")
    second.rename(second.with_name(f"{'0' * 64}.safetensors"))
    found = [str(cell) if isinstance(cell, Damaged) else cell.kind for _, cell in read_cells(tmp_path)]
    assert sorted(found) == [
        "it has another name", "k", "there is no checksum in its header: this is no cell of headscope",
    ]  # fmt: skip


# --- writing


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "a" / "file"
    write_whole(path, b"before")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, full)
        with pytest.raises(OSError, match="No space left on device"):
            write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_full_disk_costs_the_keeping_and_not_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    store = Store(tmp_path)
    assert remembered(store, value=3) == 3
    assert store.tally.unwritten == ["No space left on device"]
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.skipif(not Path("/dev/shm").is_dir() or os.geteuid() != 0, reason="needs to mount a small disk")
@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    import subprocess

    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("this machine mounts nothing")
    try:
        store = Store(tmp_path)
        for a in range(20):
            store.keep(Cell(kind="k", what={"a": a}, arrays={"x": np.zeros(1000)}))
        assert set(store.tally.unwritten) == {"No space left on device"}
        found = [cell for _, cell in read_cells(tmp_path)]
        assert found
        assert not any(isinstance(cell, Damaged) for cell in found)
        assert not list(leftovers(tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_what_a_dead_process_left_half_written_is_removed(tmp_path: Path) -> None:
    remembered(Store(tmp_path))
    (tmp_path / "ab").mkdir(exist_ok=True)
    half = tmp_path / "ab" / ".cell.safetensors.123.abcd.part"
    half.write_bytes(b"half")
    Store(tmp_path).clean()
    assert not half.exists()
    assert only(tmp_path).exists()
