"""A reproduction that was stopped goes on, and ends to the last bit as if nobody had stopped it."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reproducedcases import QUICK, WHOLE, assert_same, cells_of, random_reader, reproduced
from shells import environment

from headscope.cells import canonical, read_cells
from headscope.deduction import Settings, measuring, removing, steps
from headscope.deduction.measuring import Subject, changes_of, effects_of, forced_of, paths_of, readable_of
from headscope.deduction.paths import Node
from headscope.deduction.removing import Removing, lost_on_chains, lost_on_task, lost_on_text, own_chains_of
from headscope.deduction.study import STEPS
from headscope.deduction.texts import Text
from headscope.errors import RunError, TaskError
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.pipeline import resuming, unfinished, verify
from headscope.reproducing import KIND, Interrupted, open_reproduction, reproduce
from headscope.tasks.chains import Chains, RolePairs, draw_chains, pairs

STUDY = import_module("headscope.deduction.study")
"""The module; the package has a function of that name."""
FIRST = ("ability", "confidence and lens")
"""Steps that are quick, for tests that are not about what is measured."""
CELLS = {"own chains": 1, "gold chains": 1, "lens": 1}
"""Those of these steps."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few sets of heads in a cell, one role, no page, and no plain text, which takes long to draw."""

    def none(*_: Any, **__: Any) -> Text:
        raise TaskError("text", "none", "nothing")

    monkeypatch.setattr(steps, "CORRUPTIONS", ("facts",))
    monkeypatch.setattr(removing, "SETS", 3)
    monkeypatch.setattr(measuring, "BLOCK", 2)
    monkeypatch.setattr("headscope.reproducing.write", lambda *_: None)
    monkeypatch.setattr(steps, "sentences", none)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first steps."""
    # Not item by item, which would put them back in another order.
    monkeypatch.setattr(STUDY, "STEPS", {name: STEPS[name] for name in FIRST})


@pytest.fixture(scope="module")
def reader() -> Model:
    return random_reader()


def stopping(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def places(folder: Path) -> list[Path]:
    return sorted((folder / "cells").rglob("*.safetensors"))


def check_resumed(reader: Model, folder: Path, **asked: Any) -> None:
    """Nothing kept, everything kept, and some of it lost: always the same."""
    plain, kept = reproduced(reader, **asked), reproduced(reader, folder, **asked)
    assert_same(kept, plain)
    every = places(folder)
    assert sum(cells_of(kept)[0].values()) == len(every) > 9
    lost = random.Random(0).sample(every, len(every) // 4)
    for path in lost:
        path.unlink()
    again = reproduced(reader, folder, **asked)
    assert_same(again, plain)
    computed, reused = (sum(found.values()) for found in cells_of(again))
    assert (computed, reused) == (len(lost), len(every) - len(lost)), "what is there is never computed again"
    assert places(folder) == every


def test_what_is_kept_changes_nothing_and_only_what_is_lost_is_measured_again(reader: Model, tmp_path: Path) -> None:
    check_resumed(reader, tmp_path / "run")


@pytest.mark.slow
def test_with_controls_and_every_place_too(reader: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    check_resumed(reader, tmp_path / "run", **WHOLE)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a second model was made although nothing was to be computed on it")

    monkeypatch.setattr(steps, "untrained", never)
    monkeypatch.setattr("headscope.deduction.measuring.role_effects", never)
    again = reproduced(reader, tmp_path / "run", **WHOLE)
    assert cells_of(again)[0] == {}
    assert set(again.circuit.controls["control"]) == {"trained", "untrained", "shuffled"}


# --- what determines a cell


class Noted(Exception):
    """Holds the description of a cell, before anything is computed."""


def noted(kind: str, what: Any, _: Callable[[], Any]) -> Any:
    raise Noted(kind, canonical(what))


def told(measure: Callable[..., Any], *given: Any, name: str = "", **options: Any) -> tuple[str, bytes]:
    """The kind and the description of the first cell of a measurement; no model is made for that."""
    subject = Subject(make=stopping, limits=Limits(), name=name, remember=noted)
    with pytest.raises(Noted) as caught:
        measure(subject, *given, **options)
    return caught.value.args


@pytest.fixture(scope="module")
def chains(reader: Model) -> Chains:
    return draw_chains(reader, n=2, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def facts(reader: Model) -> RolePairs:
    return pairs(reader, corruption="facts", n=3, rng=np.random.default_rng(0))


def other(prompts: Any) -> Any:
    """The same prompts but for the last token of the first."""
    tokens = prompts.tokens.clone()
    tokens[0, int(prompts.mask[0].sum()) - 1] += 1
    return replace(prompts, tokens=tokens)


def test_a_cell_changes_with_all_that_determines_it_and_with_nothing_else(chains: Chains, facts: RolePairs) -> None:
    node, asked = [Node((0, 1), "reading")], Removing(sets=[((0, 0),)], modes=("zero", "resample"), seed=1)
    text = Text(name="text", prompts=chains, reads=chains.mask)
    retold = replace(chains, chains=(replace(chains.chains[0], form="symbolic"), *chains.chains[1:]))
    seen = [
        told(effects_of, facts), told(effects_of, other(facts)), told(effects_of, facts, name="untrained, seed 0"),
        told(effects_of, replace(facts, span=facts.span.roll(1, 1))), told(effects_of, replace(facts, metric="choice")),
        told(changes_of, facts), told(paths_of, facts, node), told(paths_of, facts, [Node((0, 1), "decision")]),
        told(paths_of, facts, [Node((1, 1), "reading")]), told(paths_of, other(facts), node),
        told(forced_of, chains, shots=1), told(forced_of, chains, shots=2), told(forced_of, other(chains), shots=1),
        told(readable_of, chains), told(own_chains_of, chains, asked), told(own_chains_of, retold, asked),
        told(lost_on_chains, chains, asked), told(lost_on_chains, other(chains), asked),
        told(lost_on_chains, chains, replace(asked, seed=2)), told(lost_on_chains, chains, replace(asked, sets=[])),
        told(lost_on_chains, chains, replace(asked, sets=[((0, 1),)])),
        told(lost_on_chains, chains, replace(asked, modes=("resample",))),
        told(lost_on_text, text, asked), told(lost_on_text, replace(text, name="determined words"), asked),
        told(lost_on_text, replace(text, reads=chains.mask.roll(1, 1)), asked), told(lost_on_task, facts, asked),
    ]  # fmt: skip
    assert len(set(seen)) == len(seen)
    whole = facts.select(torch.arange(2))
    assert told(effects_of, whole) == seen[0], "two pairs in a cell: the third is in another"
    assert told(effects_of, replace(facts, notes=("a note",), texts=())) == seen[0]
    assert told(lost_on_chains, chains, replace(asked, modes=("zero",))) == told(lost_on_chains, chains, asked)
    more = replace(asked, sets=[((0, 0),), ((0, 1),), ((1, 0),), ((1, 1),)])
    assert told(lost_on_chains, chains, more) == told(lost_on_chains, chains, replace(more, sets=more.sets[:3]))
    assert told(own_chains_of, chains, asked, able=0.5) == told(own_chains_of, chains, asked)


@pytest.mark.usefixtures("brief")
def test_another_seed_or_model_reuses_nothing_that_it_changes(reader: Model, tmp_path: Path) -> None:
    assert cells_of(reproduced(reader, tmp_path / "run")) == (CELLS, {})
    assert cells_of(reproduced(reader, tmp_path / "run", seed=1)) == (CELLS, {})
    assert cells_of(reproduced(reader, tmp_path / "run", shots=2)) == (
        {"gold chains": 1}, {"own chains": 1, "lens": 1}
    )  # fmt: skip
    assert cells_of(reproduced(reader, tmp_path / "run", refresh=True)) == (CELLS, {})
    with pytest.raises(RunError, match=r"which holds a run of another model \('GPT2LMHeadModel': other weights\)"):
        reproduced(random_reader(1), tmp_path / "run")


@pytest.mark.usefixtures("brief")
def test_a_damaged_cell_is_told_and_measured_again(reader: Model, tmp_path: Path) -> None:
    first = reproduced(reader, tmp_path)
    path = places(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-1])
    again = reproduced(reader, tmp_path)
    assert_same(again, first)
    assert again.identity["cells"]["damaged"][0].endswith(
        "the checksum does not fit: the file was cut short or changed"
    )
    assert sum(cells_of(again)[0].values()) == 1


@pytest.mark.usefixtures("brief")
def test_a_model_whose_weights_cannot_be_seen_is_measured_each_time(
    reader: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headscope.reproducing.determined", lambda _: None)
    found = reproduced(reader, tmp_path)
    assert found.identity["cells"]["not kept"] == [
        "the model's weights cannot be hashed, so nothing tells its results from another's"
    ]
    assert not (tmp_path / "cells").exists()


# --- stops


@pytest.mark.usefixtures("brief")
def test_ctrl_c_keeps_cells_and_says_how_to_go_on(
    reader: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "readable", stopping)
        with pytest.raises(Interrupted) as caught:
            reproduced(reader, tmp_path)
    assert str(caught.value) == (
        "interrupted during step 2 of 2 (confidence and lens)\n  expected: the protocol to go on to its end\n"
        "  to fix it: run the same command again: it goes on where this one stopped"
    )
    assert cells_of(caught.value.found) == ({"own chains": 1, "gold chains": 1}, {})
    assert caught.value.found.identity["complete"] is False
    assert unfinished(tmp_path, "r")
    assert cells_of(reproduced(reader, tmp_path)) == ({"lens": 1}, {"own chains": 1, "gold chains": 1})


@pytest.mark.usefixtures("brief")
def test_nothing_is_left_of_a_model_that_is_refused(reader: Model, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(TaskError, match="in 2 chains of its own 0% of the steps are right"):
            reproduced(reader, tmp_path, regardless=False)
        assert not [path for path in tmp_path.rglob("*") if path.name != ".lock"]
    reproduced(reader, tmp_path)
    with pytest.raises(TaskError, match="in 2 chains of its own 0% of the steps are right"):
        reproduced(reader, tmp_path, regardless=False)  # although they were kept by a study that went on regardless


@pytest.mark.usefixtures("brief")
def test_a_folder_has_one_writer_and_one_kind_of_run(reader: Model, tmp_path: Path) -> None:
    with (
        resuming(tmp_path / "run", kind=KIND),
        pytest.raises(RunError, match=r"run folder .*, which process \d+ on .* is writing"),
    ):
        reproduced(reader, tmp_path / "run")
    reproduced(reader, tmp_path / "run").save(tmp_path / "run")
    with pytest.raises(RunError, match="which already holds a run, of headscope reproduce"), resuming(tmp_path / "run"):
        pass


# --- folders


@pytest.fixture(scope="module")
def once(reader: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a short reproduction leaves it."""
    folder = tmp_path_factory.mktemp("once") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STUDY, "STEPS", {name: STEPS[name] for name in FIRST})
        patch.setattr("headscope.reproducing.write", lambda *_: None)
        return reproduced(reader, folder).save(folder)


@pytest.fixture
def saved(once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(once, tmp_path / "run")


def test_a_saved_reproduction_is_verified(saved: Path) -> None:
    found: Any = verify(saved)
    assert set(found["status"]) == {"ok"}
    assert found["check"].value_counts()[["record", "cell", "provenance", "claims"]].tolist() == [1, 3, 1, 1]
    assert found["check"].value_counts()["file"] == 12, "claims, and the circuit's record and ten tables"
    assert not list(saved.rglob("*.part"))
    back = open_reproduction(saved)
    assert not {"schema", "files"} & back.identity.keys()


def wrong(folder: Path) -> dict[str, str]:
    found: Any = verify(folder)
    bad = found[found["status"] == "wrong"]
    return dict(zip(bad["what"], bad["detail"], strict=True))


def test_what_was_changed_afterwards_is_found(saved: Path) -> None:
    back = open_reproduction(saved)
    told = replace(back, claims=back.claims.assign(verdict="holds"))
    told.save(saved)
    assert list(wrong(saved)) == ["claims.parquet"]
    assert wrong(saved)["claims.parquet"] == "8 of 8 verdicts do not follow from the tables"
    back.save(saved)
    (saved / "circuit" / "tokens.parquet").write_bytes(b"PAR1")
    assert wrong(saved)["circuit/tokens.parquet"].startswith("sha256 ")
    assert wrong(saved)["claims.parquet"].startswith("a circuit that cannot be read: ")
    cell = next(path for path, _ in read_cells(saved / "cells"))
    cell.write_bytes(cell.read_bytes()[:-1])
    assert wrong(saved)[f"cells/{cell.parent.name}/{cell.name}"].startswith("the checksum does not fit")


def test_a_reproduction_from_before_there_were_checksums_is_read(saved: Path) -> None:
    record = json.loads((saved / "run.json").read_text())
    older = {name: value for name, value in record.items() if name not in ("schema", "kind", "files", "cells")}
    (saved / "run.json").write_text(json.dumps(older))
    shutil.rmtree(saved / "cells")
    assert open_reproduction(saved).identity == older
    assert wrong(saved) == {}
    (saved / "run.json").write_text(json.dumps({**record, "schema": 2}))
    with pytest.raises(RunError, match=r"of schema 2\n.*expected: schema 1"):
        open_reproduction(saved)


def test_a_save_that_fails_leaves_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    back = open_reproduction(saved)
    monkeypatch.setattr(type(back.circuit), "save", full)
    with pytest.raises(RunError, match=r"which cannot be written \(No space left on device\)"):
        back.save(saved)
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("brief")
def test_the_call_in_python_goes_on_too(reader: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"n": 2, "sets": 20, "regardless": True, "progress": False, "folder": tmp_path / "run"}
    monkeypatch.setattr("headscope.reproducing.request", lambda *_, **__: Settings(**QUICK))
    with monkeypatch.context() as patch:
        patch.setattr(STUDY, "STEPS", {name: STEPS[name] for name in FIRST} | {"heads": stopping})
        with pytest.raises(Interrupted):
            reproduce("three-percent", reader, **asked)
    assert open_reproduction(tmp_path / "run").identity["complete"] is False
    found = reproduce("three-percent", reader, **asked)
    assert cells_of(found) == ({}, CELLS)
    assert open_reproduction(tmp_path / "run").identity == json.loads(json.dumps(dict(found.identity)))


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from reproducedcases import WHOLE, assert_same, cells_of, random_reader, reproduced
from headscope.deduction import measuring, removing
removing.SETS, measuring.BLOCK = 3, 2
folder, model, rng = Path(sys.argv[1]), random_reader(), random.Random(0)
began = time.monotonic()
whole = reproduced(model, folder / "whole", **WHOLE)
took, seen = time.monotonic() - began, []
for _ in range(10):
    child = os.fork()
    if not child:
        reproduced(model, folder / "run", **WHOLE)
        os._exit(0)
    time.sleep(rng.uniform(0.1, 0.5) * took)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen.append(len(list((folder / "run").rglob("*.safetensors"))))
again = reproduced(model, folder / "run", **WHOLE)
assert_same(again, whole)
print(json.dumps([seen, *cells_of(again)]))
"""


@pytest.mark.slow
def test_after_kill_9_at_random_moments_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """Children of a process that is warm are killed, one after the other, and at last one is not."""
    script = KILLED.format(tests=str(Path(__file__).resolve().parents[1]))
    words = [sys.executable, "-c", script, str(tmp_path)]
    answer = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    seen, computed, reused = json.loads(answer.stdout)
    assert seen == sorted(seen), "no cell is lost"
    assert len(set(seen)) > 2, "they were killed at different moments"
    assert sum(reused.values()) == seen[-1]
    names = [[path.name for path in places(tmp_path / name)] for name in ("run", "whole")]
    assert names[0] == names[1]
    assert sum(computed.values()) + seen[-1] == len(names[0])
    assert not list((tmp_path / "run").rglob("*.part"))
