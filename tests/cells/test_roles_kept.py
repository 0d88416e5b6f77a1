"""A study of roles goes on where it stopped, and what it kept is what it would have computed, to the last bit."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from keptcases import bank, reading

import headscope
from headscope.cells import Kept, Store, locked
from headscope.classifying import carry_out, request, wanted_of
from headscope.corpora import Treebank
from headscope.errors import RunError, UsageError
from headscope.grid import Grid
from headscope.models import Model
from headscope.models.determined import determined
from headscope.pipeline import Interrupted, Setting, resuming, unfinished
from headscope.pipeline.showing import roles_of
from headscope.roles import Evidence, Roles, Settings, nothing, study
from headscope.roles.causes import effects
from headscope.roles.keeping import Taken, pack, unpack
from headscope.roles.steps import STEPS, Bench
from headscope.roles.tally import Sums, Tally, tally
from headscope.roles.texts import draw
from headscope.runs import Run, open_run

QUICK = Settings(n=24, prompts=40, splits=1, confirm=False)
TAKEN = [f"roles: {name}" for name in STEPS if name != "long text"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Treebank:
    return bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """A random model does no task; the quickest says so as well as others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headscope.roles.steps.IOI", ("induction",))
        patch.setattr("headscope.roles.steps.NEEDLES", ("induction",))
        yield


@pytest.fixture(scope="module")
def plain(text: Treebank) -> Roles:
    """A study that nothing was kept of."""
    return study(reading(), treebanks=[text], settings=QUICK)


def kept_in(folder: Path, model: Model | None = None, *, refresh: bool = False) -> Kept:
    return Kept(store=Store(folder, refresh), facts=determined(model or reading()))


def begin(text: Treebank, kept: Kept, model: Model | None = None, **changes: Any) -> Roles:
    return study(model or reading(), treebanks=[text], settings=replace(QUICK, **changes), kept=kept)


def assert_same(one: Roles, other: Roles) -> None:
    """Every table to the last bit, and the record but for its seconds."""
    for name in ("scores", "labels", "stability"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    assert timeless(one.record) == timeless(other.record)


def timeless(record: Any) -> Any:
    if not isinstance(record, dict):
        return record
    return {name: timeless(part) for name, part in record.items() if name != "seconds"}


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]) -> None:
    def stop(*_: Any) -> Any:
        raise error

    monkeypatch.setitem(STEPS, name, replace(STEPS[name], take=stop))


class Killed(Exception):
    """What ends a study in these tests as a kill would."""


# --- steps


def test_a_killed_study_goes_on_and_ends_as_if_nothing_had_been(
    text: Treebank, plain: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, "weights", Killed)
        with pytest.raises(Killed):
            begin(text, kept_in(tmp_path))
    kept = kept_in(tmp_path)
    assert_same(begin(text, kept), plain)
    assert (kept.store.tally.reused, kept.store.tally.computed) == (TAKEN[:3], TAKEN[3:])
    kept = kept_in(tmp_path)
    for name in STEPS:
        stop_at(monkeypatch, name, Killed)
    assert_same(begin(text, kept), plain)
    assert (kept.store.tally.reused, kept.store.tally.computed) == (TAKEN, [])
    with pytest.raises(Killed):
        begin(text, kept_in(tmp_path, refresh=True))


def test_a_step_that_cannot_be_read_is_tried_again(
    text: Treebank, plain: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any) -> Any:
        raise UsageError("too little memory", "more", "give more")

    others = [name for name in STEPS if name != "windows"]
    with monkeypatch.context() as patch:
        for name in others:
            patch.setitem(STEPS, name, replace(STEPS[name], take=lambda *_: []))
        patch.setitem(STEPS, "windows", replace(STEPS["windows"], take=short))
        kept = kept_in(tmp_path)
        found = begin(text, kept)
    assert found.record["windows"]["reason"] == "too little memory"
    assert found.scores["reason"].unique().tolist() == ["too little memory"]
    assert "roles: windows" not in kept.store.tally.computed
    for name in others:
        monkeypatch.setitem(STEPS, name, replace(STEPS[name], take=lambda *_: pytest.fail("it was kept")))
    found = begin(text, kept := kept_in(tmp_path))
    assert kept.store.tally.computed == ["roles: windows"]
    assert timeless(found.record["windows"]) == timeless(plain.record["windows"])


def test_what_memory_had_no_room_for_is_no_step(
    text: Treebank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_in(monkeypatch)
    short = nothing("mover", "", layers=2, heads=2, reason="ioi: 3 GB of memory, of which 1 GB is free")
    monkeypatch.setitem(STEPS, "movers", replace(STEPS["movers"], take=lambda *_: [short]))
    for _ in range(2):
        kept = kept_in(tmp_path)
        assert begin(text, kept).scores["reason"].unique().tolist() == [short.reason]
        assert "roles: movers" not in kept.store.tally.computed + kept.store.tally.reused


def bench(text: Treebank, **changes: Any) -> Bench:
    asked = replace(QUICK, n=20, **{name: value for name, value in changes.items() if name != "text"})
    drawn = draw((changes.get("text", text),), n=asked.n, seed=asked.seed)
    return Bench(model=reading(), settings=asked, drawn=drawn, limits=headscope.methods.twins.Limits())


CHANGES: dict[str, tuple[Callable[[Treebank], dict[str, Any]], set[str]]] = {
    "more sentences": (lambda _: {"n": 22}, {"sentences", "windows"}),
    "other sentences": (
        lambda text: {"text": replace(text, sentences=text.sentences[::-1])}, {"sentences", "windows"}
    ),
    "one relation": (
        lambda text: {"text": replace(text, sentences=tuple(
            replace(each, words=(replace(each.words[0], rel="amod"), *each.words[1:])) for each in text.sentences
        ))}, {"sentences", "windows"},
    ),
    "the seed": (lambda _: {"seed": 1}, {"random tokens", "sentences", "windows", "weights", "movers", "retrieval"}),
    "more prompts": (lambda _: {"prompts": 50}, {"random tokens", "movers", "retrieval"}),
    "causes": (lambda _: {"confirm": True, "splits": 2}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_takes_the_steps_anew_that_depend_on_it(name: str, text: Treebank) -> None:
    change, expected = CHANGES[name]
    one = bench(text)
    asked = replace(QUICK, **({"n": 20} | {key: value for key, value in change(text).items() if key != "text"}))
    drawn = draw((change(text).get("text", text),), n=asked.n, seed=asked.seed)
    other = replace(one, settings=asked, drawn=drawn)
    assert {step for step, each in STEPS.items() if each.what(one) != each.what(other)} == expected


def test_the_long_text_is_known_by_its_content(text: Treebank, tmp_path: Path) -> None:
    path, what = tmp_path / "long.txt", STEPS["long text"].what
    found = []
    for content in ("one", "two", "one"):
        path.write_text(content)
        found.append(what(replace(bench(text), settings=replace(QUICK, long_text=path))))
    assert found[0] == found[2] != found[1]
    assert str(tmp_path) not in str(found)
    path.unlink()
    assert what(replace(bench(text), settings=replace(QUICK, long_text=path))) is None, "nothing is kept under no name"


def test_another_model_finds_nothing(text: Treebank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STEPS:
        monkeypatch.setitem(STEPS, name, replace(STEPS[name], take=lambda *_: []))
    begin(text, kept_in(tmp_path))
    other = reading(seed=1)
    kept = kept_in(tmp_path, other)
    begin(text, kept, other)
    assert (kept.store.tally.reused, kept.store.tally.computed) == ([], TAKEN)


# --- causes


def test_effects_are_kept_task_by_task(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [("induction", "random tokens"), ("mover", "ioi"), ("sink", "first token")]
    plain = effects(model, wanted, n=8)
    for place in range(2):
        kept = kept_in(tmp_path, model)
        found = effects(model, wanted, n=8, kept=kept)
        assert found.absent == plain.absent
        assert list(found.frames) == ["induction"]
        pd.testing.assert_frame_equal(found.frames["induction"], plain.frames["induction"], check_exact=True)
        assert kept.store.tally.counts("reused" if place else "computed") == {"roles: causes": 2}
        monkeypatch.setattr("headscope.roles.causes.able", lambda *_, **__: pytest.fail("it was kept"))
    monkeypatch.undo()
    kept = kept_in(tmp_path, model)
    effects(model, wanted[:1], n=8, seed=1, kept=kept)
    effects(model, wanted[:1], n=9, kept=kept)
    assert kept.store.tally.reused == []


# --- packing


def evidence(rng: np.random.Generator, instances: int, *, holes: bool) -> Evidence:
    def values(*shape: int) -> torch.Tensor:
        found = torch.from_numpy(rng.choice([0.0, 1.0, -0.0, 0.3], size=shape)).float()
        return torch.where(torch.from_numpy(rng.random(shape) < 0.3), torch.nan, found) if holes else found

    groups = torch.from_numpy(rng.integers(0, 4, instances))
    if not instances:
        return Evidence(role="syntax", values=values(0, 2, 3), groups=groups, reason="none")
    return Evidence(
        role="syntax", case="é to head", values=values(instances, 2, 3), null=values(instances, 2, 3), groups=groups,
        baselines={"b": values(instances), "a": values(instances)}, also={"share": values(2, 3)},
    )  # fmt: skip


@given(st.integers(0, 2**32), st.integers(0, 9), st.booleans())
@settings(max_examples=6, derandomize=True, deadline=None)
def test_sums_come_back_bit_by_bit_and_lie_in_memory_as_before(seed: int, instances: int, holes: bool) -> None:
    case = tally(evidence(np.random.default_rng(seed), instances, holes=holes))
    back = unpack(pack(Taken(told={"a": [1]}, cases=(case, case))), Grid(2, 3))
    assert back.told == {"a": [1]}
    for each in back.cases:
        assert_equal(each, case)
        assert list(each.baselines) == list(case.baselines), "the first of equal ones is chosen"


def assert_equal(one: Tally, other: Tally) -> None:
    for name in ("role", "case", "unit", "reason"):
        assert getattr(one.about, name) == getattr(other.about, name)
    assert one.baselines.keys() == other.baselines.keys()
    pairs: list[tuple[Any, Any]] = [(one.about.also[name], each) for name, each in other.about.also.items()]
    pairs += [(one.about.groups, other.about.groups)]
    pairs += [(getattr(one, name), getattr(other, name)) for name in ("value", "count", "names")]
    sums = [(each, other.baselines[name]) for name, each in one.baselines.items()]
    for mine, theirs in [*sums, *([] if other.null is None else [(one.null, other.null)])]:
        assert isinstance(mine, Sums)
        pairs += [(getattr(mine, name), getattr(theirs, name)) for name in Sums.__slots__]
    for mine, theirs in pairs:
        assert (mine.dtype, mine.shape, mine.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
        assert [stride == 0 for stride in mine.strides] == [stride == 0 for stride in theirs.strides] or not mine.size


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda arrays: arrays.pop("0"), "'0'"),
        (lambda arrays: arrays.update({"0": np.zeros((2, 5))}), "array 0 of shape"),
        (lambda arrays: arrays.update({"0": np.array(["a"])}), "kept as"),
    ],
)
def test_arrays_that_do_not_fit_are_no_step(change: Callable[[dict[str, np.ndarray]], Any], text: str) -> None:
    arrays = pack(Taken(told={}, cases=(tally(evidence(np.random.default_rng(0), 9, holes=False)),)))
    change(arrays)
    with pytest.raises((ValueError, LookupError), match=text):
        unpack(arrays, Grid(2, 3))


# --- runs


def steps_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that cost nothing."""
    for name in STEPS:
        monkeypatch.setitem(STEPS, name, replace(STEPS[name], take=lambda *_: []))


def test_a_run_in_a_folder_goes_on_and_says_what_was_there(
    text: Treebank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(treebanks=[text], n=40, confirm=False)
    wanted = wanted_of(asked, model="m")

    def run() -> Run:
        with resuming(tmp_path / "run", request=wanted, kind="roles") as home:
            return carry_out(reading(), asked, progress=False, home=home)

    steps_in(monkeypatch)
    with monkeypatch.context() as patch:
        stop_at(patch, "movers", KeyboardInterrupt)
        with pytest.raises(Interrupted) as caught:
            run()
    assert str(caught.value).startswith("interrupted after 4 of 6 cells\n")
    assert str(caught.value).endswith("run the same command again: it goes on where this one stopped")
    assert unfinished(tmp_path / "run", wanted)
    assert not unfinished(
        tmp_path / "run", wanted_of(replace(asked, settings=replace(asked.settings, seed=1)), model="m")
    )
    found = run().save(tmp_path / "run")
    record = open_run(found).identity
    assert (record["kind"], record["complete"]) == ("roles", True)
    assert record["cells"] == {"computed": dict.fromkeys(TAKEN[4:], 1), "reused": dict.fromkeys(TAKEN[:4], 1)}
    checks = headscope.verify(tmp_path / "run")
    assert set(checks["status"]) == {"ok"}
    assert set(checks.loc[checks["check"] == "cell", "detail"]) == set(TAKEN)
    with locked(tmp_path / "run"), pytest.raises(RunError, match=r"which process \d+ on .* is writing"):
        headscope.classify(reading(), treebanks=[text], n=40, folder=tmp_path / "run")
    with pytest.raises(RunError, match="which already holds a run, of headscope roles\n"):
        headscope.probe(reading(), folder=tmp_path / "run")
    with pytest.raises(RunError, match=r"which holds a run of another model .*: other weights"):
        headscope.classify(reading(seed=1), treebanks=[text], n=40, folder=tmp_path / "run")
    again = headscope.classify(
        reading(), treebanks=[text], n=40, confirm=False, folder=tmp_path / "run", refresh=True, progress=False
    )
    assert again.identity["cells"]["reused"] == {}


def test_roles_beside_an_analysis_are_kept_step_by_step(
    text: Treebank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_in(monkeypatch)
    monkeypatch.setattr(sys.modules["headscope.roles.study"], "gold_treebank", lambda: text)
    scores = pd.DataFrame(columns=["task", "method", "score"])
    facts, setting = determined(reading()), Setting(reading(), 32, None, False)

    def roles(store: Store) -> Roles:
        return roles_of(setting, store, facts, scores, failed=(), seed=0)

    with monkeypatch.context() as patch:
        stop_at(patch, "retrieval", KeyboardInterrupt)
        assert roles(Store(tmp_path)).record["complete"] is False
    store = Store(tmp_path)
    assert roles(store).record["complete"] is True
    assert (store.tally.reused, store.tally.computed) == (TAKEN[:5], [TAKEN[5], "roles"])
    store = Store(tmp_path)
    roles(store)
    assert (store.tally.reused, store.tally.computed) == (["roles"], [])
