"""Which task tells whether a label is used: one that turns on it, and that the model does."""

from typing import Any

import pytest
import torch

from headscope.cells import Kept
from headscope.errors import TaskError
from headscope.grid import Grid
from headscope.methods.probing.use import MATCHING
from headscope.models import Model, load
from headscope.probing import work
from headscope.probing.request import request
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

IDS = torch.ones(4, 2, dtype=torch.long)


def chosen(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, str]
) -> tuple[str | None, dict[str, Any], dict[str, str]]:
    """The task that is taken for coreference, the record and what was skipped; tasks without a state are unreadable."""

    def read(_: Any, wanted: tuple[str, str], *__: Any) -> Pairs | None:
        label, task = wanted
        if task not in states:
            skipped[label] = f"{task} cannot be read"
            return None
        return Pairs(task=task, tokens=IDS, corrupted=IDS, mask=IDS > 0, groups=torch.arange(4), answers=IDS, foils=IDS)

    record: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    monkeypatch.setattr(work, "pairs_of", read)
    measured = {"accuracy": 1.0, "reason": ""}
    monkeypatch.setattr(work, "ability", lambda _, pairs, **__: {"status": states[pairs.task], **measured})
    whole = work.Work(model=model(), asked=request(), kept=Kept(), progress=False, record=record)
    pairs = work._matching(whole, "coreference", skipped)
    return (None if pairs is None else pairs.task), record.get("tasks", {}), skipped


def test_the_first_task_that_the_model_does_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set().union(*MATCHING.values()) <= set(TASKS)
    first, tasks, skipped = chosen(monkeypatch, {"pronoun": "ok", "mini-gender": "ok"})
    assert (first, list(tasks), skipped) == ("pronoun", ["pronoun"], {})
    second, tasks, _ = chosen(monkeypatch, {"pronoun": "failed", "mini-gender": "ok"})
    assert (second, {name: row["status"] for name, row in tasks.items()}) == (
        "mini-gender", {"pronoun": "failed", "mini-gender": "ok"}
    )  # fmt: skip
    assert chosen(monkeypatch, {"mini-gender": "ok"})[::2] == ("mini-gender", {})


def test_where_it_does_none_the_first_that_it_reads_is_taken_and_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    task, tasks, skipped = chosen(monkeypatch, {"pronoun": "failed", "mini-gender": "failed"})
    assert (task, skipped) == ("pronoun", {})
    assert [row["status"] for row in tasks.values()] == ["failed", "failed"]
    task, tasks, skipped = chosen(monkeypatch, {})
    assert (task, tasks, skipped) == (None, {}, {"coreference": "mini-gender cannot be read"})


def test_a_task_that_cannot_be_built_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Pairs:
        raise TaskError("no words", "words", "bring some")

    monkeypatch.setitem(TASKS, "pronoun", work_task(refuse))
    skipped: dict[str, str] = {}
    assert work.pairs_of(model(), ("coreference", "pronoun"), 4, ("use", 0), skipped) is None
    assert skipped == {"coreference": "no words; expected: words"}


def model() -> Model:
    """Any model: it is not looked at."""
    return load(planted_model(Plant(), grid=Grid(1, 2), vocabulary=32, positions=32), device="cpu", check=False)


def work_task(build: Any) -> Any:
    """The task `pronoun` with another way of being built."""
    return type(TASKS["pronoun"])(name="pronoun", build=build, source="own", about="for tests")
