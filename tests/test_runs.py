"""A run: what it answers, and that its folder comes back equal or says why it cannot."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import headscope
from headscope.errors import RunError, UsageError
from headscope.grid import Grid
from headscope.models import load
from headscope.profiles import FRAMES as PROFILES
from headscope.runs import Run, check_writable, open_run
from headscope.testing import Plant, planted_model

ARRAYS = [f"examples/{name}.safetensors" for name in ("groups", "values", "views")]
TABLES = ["scores", "tasks", *PROFILES]
FILES = [*ARRAYS, "run.json", *(f"{name}.parquet" for name in TABLES)]


@pytest.fixture(scope="module")
def run() -> Run:
    model = planted_model(Plant(induction=((0, 1), (1, 2))), grid=Grid(2, 3), vocabulary=40, positions=32, noise=0.02)
    return headscope.analyze(
        load(model, device="cpu"), n=6, methods=["patching", "attention"], roles=False, progress=False
    )


@pytest.fixture(scope="module")
def written(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.save(tmp_path_factory.mktemp("runs") / "new" / "run")


@pytest.fixture
def folder(run: Run, written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((written / name).read_bytes())
    return tmp_path


# --- asking


def test_the_top_heads_come_best_first_with_their_labels(run: Run) -> None:
    best = run.top(3)
    rows = run.scores.query("method == 'patching' and score == 'denoising'")
    order = rows.reindex(rows["value"].abs().sort_values(ascending=False).index)[:3]
    assert best["label"].tolist() == [
        f"L{layer}H{head}" for layer, head in zip(order["layer"], order["head"], strict=True)
    ]
    assert set(best["label"][:2]) == {"L0H1", "L1H2"}
    assert best["rank"].tolist() == [1, 2, 3]
    assert best["value"].tolist() == order["value"].tolist()
    assert (best["low"] <= best["value"]).all()
    assert len(run.top(99)) == 6


def test_heads_are_ranked_by_what_is_asked(run: Run) -> None:
    assert run.top(1, method="attention", score="induction")["label"].tolist() == ["L1H2"]
    assert run.top(1, score="previous_token")["label"].tolist() == ["L0H1"]
    assert set(run.top(1, method="attention")["score"]) == {"previous_token"}
    assert set(run.top(1, score="noising")["score"]) == {"noising"}


def test_heads_without_a_number_come_last(run: Run) -> None:
    scores = run.scores.copy()
    best = (scores["method"] == "patching") & (scores["rank"] == 1)
    scores.loc[best, ["value", "rank"]] = np.nan
    assert replace(run, scores=scores).top(6)["value"].isna().tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda run: run.top(0), "k 0\n  expected: 1 or more heads\n  to fix it: ask for at least one head"),
        (lambda run: run.top(task="ioi"), "task 'ioi'\n  expected: one of: induction\n  to fix it: correct the task"),
        (
            lambda run: run.top(method="patching", score="zero"),
            "method 'patching', score 'zero'\n  expected: one of: patching denoising, patching noising, attention "
            "previous_token, attention first_token, attention self, attention duplicate, attention induction, "
            "attention entropy, attention distance\n  to fix it: name a score that the run has",
        ),
    ],
)
def test_what_the_run_does_not_have_is_explained(run: Run, ask: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(run)
    assert str(caught.value) == text


def test_the_heatmap_holds_the_values(run: Run) -> None:
    for options in ({}, {"score": "noising"}, {"task": "induction", "method": "attention", "score": "entropy"}):
        asked = {"method": "patching", "score": "denoising", **options}
        rows = run.scores.query(f"method == {asked['method']!r} and score == {asked['score']!r}")
        drawn = [trace for trace in run.heatmap(**options).data if trace.type == "heatmap"]
        grids = [np.array(trace.z, dtype=float) for trace in drawn]
        expected = rows["value"].to_numpy().reshape(2, 3)
        assert any(grid.shape == (2, 3) and np.allclose(grid, expected) for grid in grids)
    with pytest.raises(UsageError, match="task 'ioi', which these scores do not have"):
        run.heatmap("ioi")


# --- saving and opening


def test_a_saved_run_comes_back_equal(run: Run, written: Path) -> None:
    back = open_run(written)
    pd.testing.assert_frame_equal(back.scores, run.scores, check_exact=True)
    pd.testing.assert_frame_equal(back.tasks, run.tasks, check_exact=True)
    assert back.identity == json.loads(json.dumps(run.identity))
    assert back.examples.keys() == run.examples.keys()
    for name, value in run.examples.items():
        assert torch.equal(back.examples[name].nan_to_num(-9), value.cpu().nan_to_num(-9))
        assert back.examples[name].dtype == value.dtype
    assert {task: groups.tolist() for task, groups in back.groups.items()} == {"induction": list(range(6))}
    for one, other in zip(back.views, run.views, strict=True):
        for name in ("task", "tokens", "layer_heads", "causal", "prompt"):
            assert getattr(one, name) == getattr(other, name)
        np.testing.assert_array_equal(one.patterns, other.patterns)
    assert back.top(2).equals(run.top(2))
    assert back.profiles is not None
    assert run.profiles is not None
    assert back.profiles.record == run.profiles.record
    for name, frame in run.profiles.frames().items():
        assert len(frame)
        pd.testing.assert_frame_equal(back.profiles.frames()[name], frame, check_exact=True)


def test_the_folder_holds_what_is_promised_and_no_pickle(written: Path) -> None:
    found = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert found == sorted([*FILES, "report.html"])
    for name in FILES:
        assert not (written / name).read_bytes().startswith(b"\x80"), "the first byte of a pickle"


def test_a_finished_run_is_not_written_over(written: Path) -> None:
    with pytest.raises(RunError) as caught:
        check_writable(written)
    assert str(caught.value) == (
        f"output folder {str(written)!r}, which already holds a run\n"
        "  expected: a new or empty folder: finished runs are never written over\n"
        "  to fix it: choose another --out, or delete the folder first"
    )


def test_a_new_folder_is_writable_and_stays_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


UNWRITABLE = (
    "output folder {folder!r}, which cannot be written ({reason})\n"
    "  expected: a folder that may be written to, with some 20 MB left\n"
    "  to fix it: choose another --out, or free some space"
)


@pytest.mark.parametrize(
    "attempt",
    [check_writable, lambda folder: Run(identity={}, scores=pd.DataFrame(), tasks=pd.DataFrame()).save(folder)],
)
def test_a_file_in_place_of_the_folder_is_explained(attempt: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError) as caught:
        attempt(tmp_path / "run")
    assert str(caught.value).startswith(f"output folder {str(tmp_path / 'run')!r}, which can be no folder (")
    assert str(caught.value).endswith(")\n  expected: a new or empty folder\n  to fix it: choose another --out")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "writer", ["pandas.DataFrame.to_parquet", "safetensors.numpy.save_file", "pathlib.Path.write_text"]
)
def test_a_full_disk_is_explained_and_leaves_no_half_file(
    run: Run, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    def full(*_: Any, **__: Any) -> None:
        if writer.startswith("safetensors"):
            raise SafetensorError("Error while serializing: IoError(No space left on device)")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headscope.report.write", lambda _run, path: path)
    monkeypatch.setattr(writer, full)
    with pytest.raises(RunError) as caught:
        run.save(tmp_path / "run")
    reason = (
        "Error while serializing: IoError(No space left on device)" if "safe" in writer else "No space left on device"
    )
    assert str(caught.value) == UNWRITABLE.format(folder=str(tmp_path / "run"), reason=reason)
    assert not list((tmp_path / "run").rglob("*.part"))
    assert not (tmp_path / "run" / "run.json").exists(), "written last, so that a folder with it is whole"


def spoil(name: str, data: bytes | None) -> Any:
    def change(folder: Path) -> None:
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)

    return change


def edit(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        record = json.loads((folder / "run.json").read_text()) | changes
        (folder / "run.json").write_text(
            json.dumps({name: value for name, value in record.items() if value is not None})
        )

    return change


@pytest.mark.parametrize(
    "change",
    [
        spoil("run.json", b"{"),
        spoil("run.json", b"\xff\xfe"),
        spoil("run.json", b"[1, 2]"),
        spoil("run.json", b"{}"),
        edit(schema=None),
        edit(views=None),
        edit(views=[{"task": "t"}]),
        edit(views=3),
        spoil("scores.parquet", None),
        spoil("scores.parquet", b"PAR1"),
        spoil("tasks.parquet", b"garbage" * 50),
        spoil("examples/values.safetensors", b"garbage" * 50),
        spoil("examples/views.safetensors", None),
        spoil("examples/views.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    ],
)
def test_a_folder_that_is_no_run_is_explained(folder: Path, change: Any) -> None:
    change(folder)
    with pytest.raises(RunError) as caught:
        open_run(folder)
    assert caught.value.given.startswith(f"run folder {str(folder)!r}: ")
    assert caught.value.expected == (
        "a folder written by headscope analyze, with run.json, scores.parquet, tasks.parquet and examples/"
    )
    assert caught.value.fix == "check the path, or run the analysis again"


@pytest.mark.parametrize("name", ["scores.parquet", "tasks.parquet", "examples/views.safetensors"])
def test_a_file_that_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RunError) as caught:
        open_run(folder)
    assert caught.value.given.startswith(f"run folder {str(folder)!r}: ")
    assert name in caught.value.given
    assert caught.value.exit_code == 1


def test_a_folder_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run folder .*none.*, which is not there\n"):
        open_run(tmp_path / "none")


def test_a_run_of_another_schema_is_explained(folder: Path) -> None:
    edit(schema=2)(folder)
    with pytest.raises(RunError) as caught:
        open_run(folder)
    assert str(caught.value) == (
        f"run folder {str(folder)!r} of schema 2\n  expected: schema 1\n"
        "  to fix it: open it with the headscope that wrote it (run.json names the version)"
    )


@pytest.mark.parametrize(
    ("table", "column", "text"), [("scores", "flagged", "truth values"), ("tasks", "groups", "numbers")]
)
def test_a_column_of_another_kind_is_refused(folder: Path, table: str, column: str, text: str) -> None:
    path = folder / f"{table}.parquet"
    pd.read_parquet(path).assign(**{column: "some"}).to_parquet(path)
    with pytest.raises(RunError, match=f"the table {table}, whose column '{column}' is no column of {text}"):
        open_run(folder)
