"""Probing goes on where it stopped, and what it kept is what it would have computed, to the last bit."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from keptcases import reading, write_bank

import headscope
from headscope import probing
from headscope.cells import Kept, Store
from headscope.errors import UsageError
from headscope.methods.probing import study as studying
from headscope.methods.probing.keeping import described, pack, unpack
from headscope.methods.probing.labels import Labels, prompt_labels
from headscope.methods.probing.results import Directions, Probes
from headscope.methods.probing.settings import Settings
from headscope.methods.probing.study import Outcome, probe
from headscope.models import Model
from headscope.models.determined import determined
from headscope.pipeline import Interrupted, resuming, unfinished
from headscope.probing.keys import of_ability, of_use
from headscope.prompts import Pairs
from headscope.runs import Run, open_run
from headscope.tasks import TASKS

WHOLE = {"ability": 1, "probes": 2, "use": 1}
"""Of two sets of labels, one of which a task turns on."""


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """A few prompts are enough to be equal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headscope.probing.work.TESTED", 12)
        yield


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> probing.Request:
    path = write_bank(tmp_path_factory.mktemp("bank") / "bank.conllu")
    more = {"sites": ["z"], "n": 100, "bits": False, "untrained": False}
    return probing.request(labels=["upos", "number"], treebanks=[path], **more)


@pytest.fixture(scope="module")
def plain(asked: probing.Request) -> Run:
    """Probes that nothing was kept of."""
    return probing.carry_out(reading(), asked, progress=False)


def begin(asked: probing.Request, folder: Path, *, refresh: bool = False, model: Model | None = None) -> Run:
    with resuming(folder, request=probing.wanted_of(asked), refresh=refresh, kind="probe") as home:
        return probing.carry_out(model or reading(), asked, progress=False, home=home)


def assert_same(one: Run, other: Run) -> None:
    """Every table to the last bit, and the record but for its seconds."""
    assert one.probes is not None
    assert other.probes is not None
    for name, frame in one.probes.frames().items():
        pd.testing.assert_frame_equal(frame, other.probes.frames()[name], check_exact=True)
    told, expected = (
        {name: part for name, part in each.probes.record.items() if not name.startswith("seconds")}  # type: ignore[union-attr]
        for each in (one, other)
    )
    assert told == expected


def stopping(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], *, after: int) -> None:
    """An error once so many sets of labels were probed."""
    one, done = studying._study, []

    def until(*given: Any) -> Any:
        if len(done) == after:
            raise error
        done.append(given)
        return one(*given)

    monkeypatch.setattr(studying, "_study", until)


class Killed(Exception):
    """What ends a study in these tests as a kill would."""


# --- runs


def test_killed_probes_go_on_and_end_as_if_nothing_had_been(
    asked: probing.Request, plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stopping(patch, Killed, after=1)
        with pytest.raises(Killed):
            begin(asked, folder)
    assert unfinished(folder, probing.wanted_of(asked))
    with monkeypatch.context() as patch:
        patch.setattr("headscope.probing.work.use", interrupted)
        with pytest.raises(Interrupted, match="the same command again: it goes on where this one stopped"):
            begin(asked, folder)
    run = begin(asked, folder)
    assert_same(run, plain)
    assert run.identity["cells"] == {"computed": {"use": 1}, "reused": {"ability": 1, "probes": 2}}
    run.save(folder)
    monkeypatch.setattr(studying, "_study", interrupted)
    monkeypatch.setattr(studying, "read_features", interrupted)
    monkeypatch.setattr("headscope.probing.work.use", interrupted)
    monkeypatch.setattr("headscope.probing.work.ability", interrupted)
    again = begin(asked, folder)
    assert_same(again, plain)
    assert again.identity["cells"] == {"computed": {}, "reused": WHOLE}
    record = open_run(folder).identity
    assert (record["kind"], record["complete"]) == ("probe", True)
    assert set(headscope.verify(folder)["status"]) == {"ok"}
    with pytest.raises(KeyboardInterrupt):
        begin(asked, folder, refresh=True)
    with pytest.raises(KeyboardInterrupt):  # fewer instances
        begin(replace(asked, n=80), folder)


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


# --- the study


@pytest.fixture(scope="module")
def planted(model: Model) -> tuple[Model, Pairs, Labels]:
    pairs = TASKS["induction"].build(model, n=60, rng=np.random.default_rng(0))
    halves = ["low" if answer < 16 else "high" for answer in pairs.answers[:, 0].tolist()]
    return model, pairs, prompt_labels(pairs, halves, name="half")


def study(planted: tuple[Model, Pairs, Labels], kept: Kept | None = None, *more: Labels) -> Probes:
    return probe(planted[0], None, also=[planted[2], *more], sites=["z"], bits=False, kept=kept)


@pytest.fixture(scope="module")
def halves(planted: tuple[Model, Pairs, Labels]) -> Probes:
    return study(planted)


def test_what_cannot_be_probed_costs_no_forward_and_is_no_cell(
    planted: tuple[Model, Pairs, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare = prompt_labels(planted[1], ["a"] * 58 + ["b", "b"], name="rare")
    for expected in ({"probes": 1}, {}):
        kept = Kept(store=Store(tmp_path), facts=determined(planted[0]))
        found = study(planted, kept, rare)
        assert "'b' in 2" in found.skipped["rare"]
        assert kept.store.tally.counts("computed") == expected
        monkeypatch.setattr(studying, "read_features", lambda *_, **__: pytest.fail("all is known"))
    monkeypatch.undo()
    with pytest.raises(UsageError, match="label 'rare': 1 class with examples in 5 or more groups"):
        probe(planted[0], None, also=[rare], kept=Kept(store=Store(tmp_path), facts=determined(planted[0])))


def test_probes_come_back_bit_by_bit(planted: tuple[Model, Pairs, Labels], halves: Probes) -> None:
    found = halves
    result, read = found.found["half"], found.directions["half"]
    frame = found.frame.drop(columns=["q", "decodable"])
    back = unpack(pack(Outcome(found=result, frame=frame, read=read)), planted[2])
    pd.testing.assert_frame_equal(back.frame, frame, check_exact=True)
    assert back.found.labels is planted[2]
    assert back.read is not None
    one, other = result.fitted["z"], back.found.fitted["z"]
    assert (one.kind, one.classes, one.dropped, one.unlabelled) == (
        other.kind, other.classes, other.dropped, other.unlabelled,
    )  # fmt: skip
    for name in ("codes", "fold", "groups", "predictions", "correct", "weights", "bias"):
        assert_tensor(getattr(one, name), getattr(other, name))
    for name in ("penalty", "converged", "constant"):
        assert_tensor(getattr(one.probes, name), getattr(other.probes, name))
    for name in set(Directions.__slots__) - {"label", "classes"}:
        assert_tensor(getattr(read, name), getattr(back.read, name))
    assert (read.label, read.classes) == (back.read.label, back.read.classes)
    assert_tensor(result.best, back.found.best)


def assert_tensor(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda arrays: arrays.pop("z.bias"), "'z.bias'"),
        (lambda arrays: arrays.update({"best": np.zeros(3)}), r"shape \(3,\) where \(60,\)"),
        (lambda arrays: arrays.update({"z.predictions": np.zeros((60, 9), np.int16)}), r"\(60, 9\) where \(60, 4\)"),
    ],
)
def test_arrays_that_do_not_fit_are_no_probes(
    halves: Probes, change: Callable[[dict[str, np.ndarray]], Any], text: str
) -> None:
    found = halves.found["half"]
    arrays = pack(Outcome(found=found, frame=halves.frame, read=halves.directions["half"]))
    change(arrays)
    with pytest.raises((ValueError, LookupError), match=text):
        unpack(arrays, found.labels)


# --- keys

SETTINGS = Settings(sites=("z",), kind="ridge", folds=5, seed=0, bits=False)


CHANGES: dict[str, Callable[[Labels], Any]] = {
    "a label": lambda one: (replace(one, values=("other", *one.values[1:])), SETTINGS, None),
    "a word": lambda one: (replace(one, types=("other", *one.types[1:])), SETTINGS, None),
    "a span": lambda one: (replace(one, spans=one.spans - 1), SETTINGS, None),
    "which prompts": lambda one: (replace(one, example=one.example.flip(0)), SETTINGS, None),
    "fewer instances": lambda one: (one.within(torch.arange(30)), SETTINGS, None),
    "a token": lambda one: (replace(one, prompts=replace(one.prompts, tokens=one.prompts.tokens + 1)), SETTINGS, None),
    "the groups": lambda one: (
        replace(one, prompts=replace(one.prompts, groups=one.prompts.groups // 2)),
        SETTINGS,
        None,
    ),
    "the name": lambda one: (replace(one, name="other"), SETTINGS, None),
    "the sites": lambda one: (one, replace(SETTINGS, sites=("z", "q")), None),
    "the kind": lambda one: (one, replace(SETTINGS, kind="logistic"), None),
    "the folds": lambda one: (one, replace(SETTINGS, folds=4), None),
    "the seed": lambda one: (one, replace(SETTINGS, seed=1), None),
    "bits": lambda one: (one, replace(SETTINGS, bits=True), None),
    "a twin": lambda one: (one, SETTINGS, lambda: {"weights": "a"}),
    "another twin": lambda one: (one, SETTINGS, lambda: {"weights": "b"}),
}  # fmt: skip


def test_every_change_gives_other_probes(planted: tuple[Model, Pairs, Labels]) -> None:
    plain: Any = (planted[2], SETTINGS, None)
    found = [str(described(*each)) for each in (plain, *(change(planted[2]) for change in CHANGES.values()))]
    assert len(set(found)) == len(CHANGES) + 1
    told = replace(planted[2], about="in other words")
    assert described(told, SETTINGS, None) == described(*plain)
    assert described(planted[2], SETTINGS, lambda: None) is None, "a twin that nothing tells from others"


def test_the_test_of_use_depends_on_prompts_and_on_what_was_read(
    planted: tuple[Model, Pairs, Labels], halves: Probes
) -> None:
    _, pairs, _ = planted
    found = halves
    read = found.directions["half"]
    turned = replace(found, directions={"half": replace(read, basis=-read.basis)})
    weaker = replace(found, frame=found.frame.assign(q=0.9))
    asked = [
        of_use(found, "half", pairs, top=5, seed=0), of_use(found, "half", pairs, top=4, seed=0),
        of_use(found, "half", pairs, top=5, seed=1), of_use(turned, "half", pairs, top=5, seed=0),
        of_use(weaker, "half", pairs, top=5, seed=0),
        of_use(found, "half", replace(pairs, tokens=pairs.tokens + 1), top=5, seed=0),
        of_use(found, "half", replace(pairs, metric="probability"), top=5, seed=0),
    ]  # fmt: skip
    assert len(set(map(str, asked))) == len(asked)
    assert asked[0] == of_use(study(planted), "half", pairs, top=5, seed=0)
    assert of_ability(replace(pairs, metric=lambda logits, pairs: logits[:, 0]), 0) is None


def test_the_request_is_the_same_command(asked: probing.Request, tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("sentence,word,label\n")
    plain = replace(asked, files=(own,))
    same = probing.wanted_of(replace(plain, batch_size=1, memory=10**9), model="m")
    assert probing.wanted_of(plain, model="m") == same
    others = [replace(plain, seed=1), replace(plain, treebanks=()), replace(plain, labels=("upos",))]
    assert same not in [*(probing.wanted_of(each, model="m") for each in others), probing.wanted_of(plain, model="n")]
    own.write_text("sentence,word,label\ns0a,1,x\n")
    assert probing.wanted_of(plain, model="m") != same
