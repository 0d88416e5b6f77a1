"""The same command goes on where it stopped, and its tables are those of a run that nobody stopped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cellcases import METHODS as NAMES
from cellcases import analyze, assert_same, cells, files_of, planted

from headscope.errors import RunError
from headscope.methods import METHODS
from headscope.models import Model
from headscope.pipeline import Interrupted, Plan, blocks, execute, request_of, resuming, unfinished
from headscope.pipeline.scoring import local
from headscope.runs import Run, open_run

WHOLE = {"ability": 1, "values": 11, "views": 1, "profiles": 1}
"""Of six examples in blocks of two, and a layer: six of patching, two of ablation, three of attention."""


@pytest.fixture(scope="module")
def whole(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run that nobody stopped, in small blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks.TARGET, "cpu", 1.0)
        patch.setattr("headscope.pipeline.blocks.ROWS", (2,))
        patch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
        folder = tmp_path_factory.mktemp("whole") / "run"
        run = analyze(model, folder)
    return run, folder


class Stop(Exception):
    """What kills an analysis in these tests."""


def stopping_after(count: int, error: type[BaseException]) -> Any:
    """An executor that computes some blocks and then fails."""

    def some(work: Any, wanted: Any) -> Any:
        for index, found in enumerate(local(work, wanted)):
            if index == count:
                raise error
            yield found

    return some


PLAN = Plan(tasks=("induction",), methods=NAMES, n=6)


def begin(model: Model, folder: Path, executor: Any) -> Run:
    request = request_of("planted", PLAN)
    with resuming(folder, request=request) as home:
        return execute(model, PLAN, progress=False, executor=executor, home=home)


def copy(source: Path, target: Path, *, keep: int) -> None:
    """A run folder as a kill leaves it: the plan, some cells, one half of a cell, and no table."""
    target.mkdir(parents=True)
    found = sorted((source / "cells").rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    for path in found[:keep]:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    (target / "cells").mkdir(exist_ok=True)
    for name in ("plan.json", "request.json"):
        (target / "cells" / name).write_bytes((source / "cells" / name).read_bytes())
    (target / "cells" / ".x.safetensors.1.ab.part").write_bytes(b"half")


@pytest.mark.usefixtures("small")
def test_the_parts_of_a_run_are_those_that_were_laid_out(whole: tuple[Run, Path]) -> None:
    run, folder = whole
    assert cells(run) == (WHOLE, {})
    assert open_run(folder).identity["complete"] is True
    assert not (folder / ".lock.holder").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [5, pytest.param(range(14), marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(
    whole: tuple[Run, Path], model: Model, tmp_path: Path, count: int | range
) -> None:
    for kept in count if isinstance(count, range) else (count,):
        folder = tmp_path / str(kept) / "run"
        copy(whole[1], folder, keep=kept)
        run = analyze(model, folder)
        assert_same(run, whole[0])
        computed, reused = cells(run)
        assert (sum(computed.values()), sum(reused.values())) == (sum(WHOLE.values()) - kept, kept)
        assert files_of(folder) == files_of(whole[1])
        assert not list(folder.rglob("*.part"))


@pytest.mark.usefixtures("small")
def test_ctrl_c_and_errors_keep_the_blocks_that_are_done(whole: tuple[Run, Path], model: Model, tmp_path: Path) -> None:
    request = request_of("planted", PLAN)
    with pytest.raises(Stop):
        begin(model, tmp_path / "run", stopping_after(3, Stop))
    assert unfinished(tmp_path / "run", request)
    assert not unfinished(tmp_path / "run", request_of("planted", replace(PLAN, n=7)))
    with pytest.raises(Interrupted) as caught:
        begin(model, tmp_path / "run", stopping_after(3, KeyboardInterrupt))
    assert str(caught.value) == (
        "interrupted after 6 of 11 cells\n  expected: the analysis to go on to its end\n"
        "  to fix it: run the same command again: it goes on where this one stopped"
    )
    assert caught.value.run.identity["cells"] == {
        "computed": {"values": 3}, "reused": {"ability": 1, "values": 3},
    }  # fmt: skip
    assert set(caught.value.run.scores["method"]) == {"patching"}
    run = begin(model, tmp_path / "run", local)
    assert cells(run)[1] == {"ability": 1, "values": 6}
    assert_same(run, whole[0])


@pytest.mark.usefixtures("small")
def test_with_more_examples_and_methods_only_what_is_new_is_computed(
    whole: tuple[Run, Path], model: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    copy(whole[1], folder, keep=99)
    more = analyze(model, folder, n=8, methods=[*NAMES, "direct"])
    computed, reused = cells(more)
    assert reused == {"values": 9}, "of patching and attention; all of ablation looks at all examples"
    assert computed["values"] == 2 + 2 + 1 + 4
    assert (more.tasks["n"] == 8).all()
    fewer = analyze(model, folder)
    assert cells(fewer) == ({}, WHOLE)
    assert_same(fewer, whole[0])
    assert set(open_run(folder).scores["method"]) == set(NAMES), "the tables are those of the last command"


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_blocks_change_no_value_beyond_rounding(whole: tuple[Run, Path], model: Model) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headscope.pipeline.blocks.ROWS", (4096,))
        patch.setitem(blocks.TARGET, "cpu", 1e18)
        run = analyze(model)
    for name, values in whole[0].examples.items():
        scale = values.nan_to_num().abs().max()
        assert (values - run.examples[name]).nan_to_num().abs().max() <= 1e-6 * scale, name


@pytest.mark.usefixtures("small")
def test_a_damaged_cell_is_told_and_computed_again(whole: tuple[Run, Path], model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(whole[1], folder, keep=99)
    spoilt = sorted((folder / "cells").rglob("*.safetensors"))[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="1 damaged cell, computed again: .*: the checksum does not fit"):
        run = analyze(model, folder)
    assert_same(run, whole[0])
    assert len(open_run(folder).identity["cells"]["damaged"]) == 1
    assert sum(cells(run)[0].values()) == 1


@pytest.mark.usefixtures("small")
def test_what_the_clock_says_does_not_matter(whole: tuple[Run, Path], model: Model, tmp_path: Path) -> None:
    import os

    folder = tmp_path / "run"
    copy(whole[1], folder, keep=99)
    for place, path in enumerate(folder.rglob("*")):
        os.utime(path, (0, 2**33 if place % 2 else 0))
    assert cells(analyze(model, folder)) == ({}, WHOLE)


# --- what is refused


def test_a_folder_of_another_model_is_refused_and_left_alone(whole: tuple[Run, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    copy(whole[1], folder, keep=99)
    before = sorted(path.name for path in folder.rglob("*.safetensors"))
    with pytest.raises(RunError) as caught:
        analyze(planted(noise=0.02), folder)
    assert str(caught.value) == (
        f"output folder {str(folder)!r}, which holds a run of another model ('GPT2LMHeadModel': other weights) than "
        "'GPT2LMHeadModel'\n  expected: a new or empty folder, or one of the same command and model: weights, "
        "configuration, dtype, device and tokenizer\n  to fix it: choose another --out, or delete the folder first"
    )
    assert sorted(path.name for path in folder.rglob("*.safetensors")) == before


@pytest.mark.parametrize(("record", "kind"), [({"few": ["ioi"]}, "few"), ({"kind": "roles"}, "roles"), ({}, "")])
def test_a_run_of_another_command_is_never_written_over(
    record: dict[str, Any], kind: str, model: Model, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError) as caught:
        analyze(model, tmp_path)
    what = f", of headscope {kind}" if kind else ""
    assert str(caught.value) == (
        f"output folder {str(tmp_path)!r}, which already holds a run{what}\n  expected: a new or empty folder, or one "
        "that holds a run of headscope analyze: finished runs of another kind are never written over\n"
        "  to fix it: choose another --out, or delete the folder first"
    )
    assert json.loads((tmp_path / "run.json").read_text()) == record


@pytest.mark.slow
def test_a_method_of_ones_own_is_computed_each_time(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope: dict[str, Any] = {"attention": METHODS["attention"].function}
    exec("def own(model, pairs, *, batch_size=1, progress=False): return attention(model, pairs)", scope)
    monkeypatch.setitem(METHODS, "attention", replace(METHODS["attention"], function=scope["own"]))
    for _ in range(2):
        with pytest.warns(UserWarning, match="could not be kept for the next time: method 'attention', whose source"):
            assert cells(analyze(model, tmp_path / "run", methods=["attention"]))[0]["values"] == 1


def test_an_old_run_of_another_model_is_refused_and_one_of_the_same_extended(model: Model, tmp_path: Path) -> None:
    old = Path(__file__).resolve().parents[1] / "data" / "run-schema-1"
    record = json.loads((old / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        RunError, match=r"which holds a run of another model \('GPT2LMHeadModel': other weights_sha256\)"
    ):
        analyze(model, tmp_path)
    record["model"]["weights_sha256"] = model.identity["weights_sha256"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    analyze(model, tmp_path, methods=["attention"])
    assert set(open_run(tmp_path).scores["method"]) == {"attention"}


def test_verdicts_on_few_heads_are_kept_task_by_task(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope import judging

    asked = judging.request(tasks=["induction"], n=6, sets=20, twin=False)

    def begin() -> Run:
        with resuming(tmp_path / "run", request="r", kind="few") as home:
            return judging.carry_out(model, asked, progress=False, home=home)

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("headscope.judging.profiled", stop)
        with pytest.raises(Interrupted, match="the same command again: it goes on where this one stopped"):
            begin()
    assert unfinished(tmp_path / "run", "r")
    monkeypatch.setattr("headscope.judging.few_heads", stop)
    run = begin()
    assert cells(run) == ({}, {"ability": 1, "few": 1})
    assert run.few["induction"].task == "induction"
    assert run.identity["complete"] is True
    run.save(tmp_path / "run")
    with pytest.raises(RunError, match="which already holds a run, of headscope few\n"):
        analyze(model, tmp_path / "run")
