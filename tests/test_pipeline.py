"""analyze(): one plan, one table; what cannot be done is said; Ctrl-C keeps what is finished."""

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import tiny
from closed import closed
from fixtures_tasks import reader

import headscope
from headscope import metrics
from headscope.ability import ability
from headscope.contract import COLUMNS
from headscope.errors import TaskError, UsageError
from headscope.grid import Grid
from headscope.methods import DEFAULT, METHODS
from headscope.models import Model, load
from headscope.pipeline import Interrupted, Plan
from headscope.runs import Run, open_run
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model


def analyze(model: Any, **options: Any) -> Run:
    return headscope.analyze(model, **{"n": 6, "roles": False, "progress": False, **options})


@pytest.fixture(scope="module")
def run() -> Run:
    """Two tasks, all methods, on a random model: no ability, but every part of a run."""
    return analyze(reader("words"), tasks=["ioi", "induction"])


@pytest.fixture(scope="module")
def planted() -> Model:
    model = planted_model(Plant(induction=((0, 1), (1, 0))), grid=Grid(2, 2), vocabulary=40, positions=32)
    return load(model, device="cpu")


# --- the plan


def test_everything_wrong_with_a_plan_is_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        headscope.analyze("no such model", tasks=["ioi", "indction"], methods=["pathcing", "qqq"], n=1, batch_size=0)
    assert str(caught.value) == (
        "unknown task 'indction'; unknown method 'pathcing'; unknown method 'qqq'; n 1; batch size 0\n"
        f"  expected: tasks: {', '.join(TASKS)}; methods: {', '.join(METHODS)}; n from 2; "
        "batch size from 1\n"
        "  to fix it: did you mean 'induction'?; did you mean 'patching'?; see headscope list methods; "
        "give a whole number in that range"
    )
    assert caught.value.exit_code == 2


def test_a_negative_seed_is_explained() -> None:
    wrong = r"^seed -1\n  expected: seed from 0\n  to fix it: give a whole number in that range$"
    with pytest.raises(UsageError, match=wrong):
        Plan(seed=-1)


# --- the tables


def test_the_table_is_tidy_and_complete(run: Run) -> None:
    grid = reader("words").grid
    assert set(run.scores.columns) == {*COLUMNS, "model", "flagged"}
    keys = ["task", "method", "score", "layer", "head"]
    assert not run.scores.duplicated(keys).any()
    per_method = {name: len(METHODS[name].scores) for name in DEFAULT}
    assert len(run.scores) == 2 * sum(per_method.values()) * grid.size
    assert run.scores.groupby("method")["score"].nunique().to_dict() == per_method
    assert run.scores["task"].unique().tolist() == ["ioi", "induction"], "in the plan's order"
    assert (run.scores["model"] == reader("words").name).all()
    unsigned = (run.scores["method"] == "attention") | (run.scores["score"] == "absolute")
    assert run.scores["q"].isna().eq(unsigned | run.scores["value"].isna()).all()


def test_every_value_is_the_mean_of_its_examples(run: Run) -> None:
    assert len(run.examples) == 2 * sum(len(METHODS[name].scores) for name in DEFAULT)
    indexed = run.scores.set_index(["task", "method", "score", "layer", "head"])["value"]
    for name, values in run.examples.items():
        assert values.shape == (6, 2, 4)
        for layer, head in Grid(2, 4):
            mean = values[:, layer, head].double().nanmean().item()
            assert indexed[(*name.split("."), layer, head)] == pytest.approx(mean, nan_ok=True)


def test_values_that_are_absent_have_a_reason(run: Run) -> None:
    absent = run.scores["value"].isna()
    assert (run.scores["reason"] != "").eq(absent).all()
    units = run.scores.groupby(["method", "score"])["unit"].unique().map(list)
    assert units["patching", "denoising"] == ["logits"]
    assert units["attention", "entropy"] == ["nats"]


def test_the_same_seed_gives_the_same_run_and_another_does_not(run: Run) -> None:
    model = reader("words")
    options: dict[str, Any] = {"tasks": ["ioi"], "methods": ["ablation"]}
    first, again, other = (
        analyze(model, seed=seed, batch_size=size, **options) for seed, size in ((0, 5), (0, 5), (1, 5))
    )
    pd.testing.assert_frame_equal(first.scores, again.scores, check_exact=True)
    pd.testing.assert_frame_equal(first.tasks, again.tasks, check_exact=True)
    assert not first.scores["value"].equals(other.scores["value"])
    whole = run.scores.query("task == 'ioi' and method == 'ablation'").reset_index(drop=True)
    pd.testing.assert_frame_equal(first.scores[["value"]], whole[["value"]], rtol=0, atol=1e-5)


def test_the_identity_says_how_to_repeat_the_run(run: Run) -> None:
    assert run.identity["plan"] == {
        "tasks": ("ioi", "induction"), "methods": (), "metrics": (), "n": 6, "seed": 0, "batch_size": 128,
        "memory": None, "roles": False,
    }  # fmt: skip
    assert run.identity["complete"] is True
    assert run.identity["model"] == reader("words").identity
    assert run.identity["provenance"]["versions"]["torch"] == version("torch")


def test_a_name_given_twice_is_measured_once() -> None:
    once = analyze(reader("ids"), tasks=["induction", "induction"], methods=["attention", "attention"])
    assert not once.scores.duplicated(["task", "method", "score", "layer", "head"]).any()
    assert len(once.tasks) == 1


def test_a_live_model_is_loaded(planted: Model) -> None:
    run = analyze(planted.bridge, tasks=["induction"], methods=["patching"], device="cpu")
    assert run.scores["value"].notna().all()


# --- tasks


def test_a_task_that_the_model_does_is_not_flagged_and_shows_its_heads(planted: Model) -> None:
    run = analyze(planted)
    rows = run.tasks.set_index("task")
    assert rows["status"].to_dict() == {"induction": "ok", "ioi": "skipped", "agreement": "skipped"}
    for task in ("ioi", "agreement"):
        assert rows.loc[task, "reason"] == (
            f"task {task!r} on {planted.name!r}, which has no tokenizer; expected: a model that reads words"
        )
        assert np.isnan(rows.loc[task, "accuracy"])
    # Wilson's lower limit for k of k is k / (k + z^2): no resample of 6 right answers shows any spread.
    assert rows.loc["induction", ["accuracy", "accuracy_high", "n"]].tolist() == pytest.approx([1, 1, 6])
    assert rows.loc["induction", "accuracy_low"] == pytest.approx(6 / (6 + 1.959964**2))
    assert rows.loc["induction", "corrupted"] < 0 < rows.loc["induction", "logit_difference"]
    assert not run.scores["flagged"].any()
    assert set(run.top(2)["label"]) == {"L0H1", "L1H0"}
    assert [view.prompt for view in run.views] == [0, 1, 2]
    for view in run.views:
        assert view.task == "induction"
        assert {(0, 1), (1, 0)} <= set(view.layer_heads)
        np.testing.assert_allclose(view.patterns.sum(-1), 1, atol=1e-5)


def test_a_failed_task_is_flagged_in_every_row(monkeypatch: pytest.MonkeyPatch, planted: Model) -> None:
    build = TASKS["induction"].build

    def turned(model: Any, *, n: int, rng: Any) -> Any:
        pairs = build(model, n=n, rng=rng)
        return replace(pairs, answers=pairs.foils, foils=pairs.answers)

    monkeypatch.setitem(TASKS, "induction", replace(TASKS["induction"], build=turned))
    run = analyze(planted, tasks=["induction"], methods=["patching"])
    assert run.tasks.loc[0, "status"] == "failed"
    reason = "accuracy 0.00 is not above chance (.50): its head effects explain no ability"
    assert run.tasks.loc[0, "reason"] == reason
    assert run.scores["flagged"].all()


def test_a_task_of_one_group_is_not_said_to_be_below_chance(planted: Model) -> None:
    pairs = TASKS["induction"].build(planted, n=6, rng=np.random.default_rng(0))
    row = ability(planted, replace(pairs, groups=torch.zeros(6, dtype=torch.long)), seed=0, batch_size=8)
    assert np.isnan(row["accuracy_low"])
    said = "accuracy 1.00 has no interval (all examples are of one group): its head effects explain no ability"
    assert (row["status"], row["reason"]) == ("failed", said)


def test_another_metric_changes_the_effects_and_their_unit_but_not_the_accuracy(
    monkeypatch: pytest.MonkeyPatch, planted: Model
) -> None:
    build = TASKS["induction"].build
    options: dict[str, Any] = {"tasks": ["induction"], "methods": ["patching"]}
    plain = analyze(planted, **options)
    monkeypatch.setitem(
        TASKS,
        "induction",
        replace(TASKS["induction"], build=lambda m, n, rng: replace(build(m, n=n, rng=rng), metric="probability")),
    )
    run = analyze(planted, **options)
    assert set(run.scores["unit"]) == {metrics.UNITS["probability"]} == {"probability"}
    assert run.scores["value"].abs().max() <= 1
    columns = ["accuracy", "accuracy_low", "logit_difference", "corrupted"]
    pd.testing.assert_frame_equal(run.tasks[columns], plain.tasks[columns])


def test_a_named_task_that_cannot_be_expressed_stops_the_run(planted: Model) -> None:
    with pytest.raises(TaskError, match=r"task 'ioi' on .*, which has no tokenizer"):
        analyze(planted, tasks=["induction", "ioi"])


def test_no_task_at_all_stops_the_run() -> None:
    short = load(planted_model(Plant(first_token=(0, 0)), grid=Grid(1, 1), vocabulary=40, positions=8), device="cpu")
    with pytest.raises(TaskError, match="which has no tokenizer"):
        analyze(short)


# --- Ctrl-C


def stopping(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_keeps_the_finished_cells(monkeypatch: pytest.MonkeyPatch, planted: Model, tmp_path: Any) -> None:
    monkeypatch.setitem(METHODS, "ablation", replace(METHODS["ablation"], function=stopping))
    methods = ["patching", "ablation", "attention"]
    with pytest.raises(Interrupted) as caught:
        analyze(planted, tasks=["induction"], methods=methods)
    assert str(caught.value) == (
        "interrupted after 1 of 3 cells\n  expected: the analysis to go on to its end\n"
        "  to fix it: what was finished is kept; give fewer tasks, methods or examples for a shorter run"
    )
    assert caught.value.exit_code == 130
    kept = open_run(caught.value.run.save(tmp_path / "run"))
    assert kept.identity["complete"] is False
    assert kept.scores["method"].unique().tolist() == ["patching"]
    assert kept.scores["value"].notna().all()
    assert set(kept.examples) == {"induction.patching.denoising", "induction.patching.noising"}
    assert kept.tasks.loc[0, "status"] == "ok"


def test_ctrl_c_before_anything_is_finished_still_leaves_a_readable_run(
    monkeypatch: pytest.MonkeyPatch, planted: Model, tmp_path: Any
) -> None:
    monkeypatch.setattr("headscope.pipeline.executing.ability", stopping)
    with pytest.raises(Interrupted, match="interrupted after 0 of 5 cells") as caught:
        analyze(planted)
    kept = open_run(caught.value.run.save(tmp_path / "run"))
    assert len(kept.scores) == 0
    assert kept.identity["complete"] is False
    rows = kept.tasks.set_index("task")
    assert rows.loc["induction", "reason"] == "the analysis was interrupted before this task was measured"
    assert rows.loc["ioi", "reason"].startswith("task 'ioi' on ")
    assert set(rows["status"]) == {"skipped"}
    with pytest.raises(UsageError, match="one of: none: no task could be measured"):
        kept.top()


def test_a_method_that_does_not_fit_the_model_says_so_and_leaves_the_others_alone() -> None:
    model = closed()
    run = analyze(model, tasks=["induction"], methods=["patching", "attribution"], n=4)
    absent = run.scores["method"] == "attribution"
    assert run.scores.loc[absent, "value"].isna().all()
    assert run.scores.loc[absent, "reason"].str.contains("architecture 'own' cannot be started in the middle").all()
    known = analyze(load(tiny("gpt2"), device="cpu"), tasks=["induction"], methods=["patching"], n=4)
    both = [frame.loc[frame["method"] == "patching", "value"].to_numpy() for frame in (run.scores, known.scores)]
    np.testing.assert_allclose(*both, atol=1e-5)
