"""Methods and tasks of one's own: given as objects beside names, kept under their source, refused with a reason."""

import functools
import json
import linecache
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cellcases import cells

import headscope
from headscope.contract import Method, Score, Task
from headscope.errors import PlaceError, TaskError, UsageError
from headscope.judging import request
from headscope.methods import METHODS
from headscope.methods.patching import patching
from headscope.models import Model
from headscope.pipeline import Plan, Shard, keys, merge
from headscope.pipeline.origins import is_ours, origin
from headscope.prompts import Labelled, Pairs
from headscope.runs import Run, open_run


@pytest.fixture(autouse=True)
def _nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither attention nor profiles of leading heads, which take longer than all else here."""
    monkeypatch.setattr("headscope.pipeline.executing._shown", lambda *_: None)


def constant(value: float, shape: tuple[int, ...] = ()) -> Callable[..., Any]:
    """A function that gives the same number everywhere."""

    def own(model: Model, pairs: Pairs, *, batch_size: int = 1, progress: bool = False) -> dict[str, torch.Tensor]:
        del batch_size, progress
        return {"reach": torch.full(shape or (len(pairs), model.grid.layers, model.grid.heads), value)}

    return own


REACH = Method(
    name="reach", function=constant(1.0), needs=Pairs, source="own", about="an example", across=False,
    scores=(Score(name="reach", meaning="looks far", unit="tokens", signed=False),),
)  # fmt: skip


def pairs_of(n: int = 4, task: str = "follow", **given: Any) -> Pairs:
    """What followed an earlier copy of the last token; in its twin another one did."""
    rows = torch.stack([torch.arange(1, 5) + 4 * row for row in range(n)])
    twins = rows[:, [0, 3, 2, 1]]
    return Pairs(
        task=task, tokens=torch.cat([rows, rows[:, :1]], 1), corrupted=torch.cat([twins, twins[:, :1]], 1),
        mask=torch.ones(n, 5, dtype=torch.bool), groups=torch.arange(n), answers=rows[:, 1:2], foils=twins[:, 1:2],
        positions={"end": torch.full((n,), 4)}, source="own", corruption="another order", **given,
    )  # fmt: skip


FOLLOW = Task(name="follow", build=lambda model, *, n, rng: pairs_of(n), source="own", about="what came next?")


def analyze(model: Any, folder: Path | None = None, **options: Any) -> Run:
    given = {"tasks": [FOLLOW], "methods": [REACH], "n": 4, "roles": False, "progress": False}
    return headscope.analyze(model, folder=folder, **{**given, **options})


# --- in an analysis


def test_objects_stand_beside_names(model: Model) -> None:
    mine = pairs_of(3, "mine", metric=lambda logits, pairs: logits[:, 0])
    run = analyze(model, tasks=[FOLLOW, "induction", mine], methods=[REACH, "attention"], n=5)
    assert dict(zip(run.tasks["task"], run.tasks["n"], strict=True)) == {"follow": 5, "induction": 5, "mine": 3}
    assert set(run.scores["method"]) == {"reach", "attention"}
    assert (run.scores.loc[run.scores["method"] == "reach", "value"] == 1).all()
    one = analyze(model, tasks=FOLLOW, methods=REACH)
    assert (list(one.tasks["task"]), set(one.scores["method"])) == (["follow"], {"reach"})
    assert analyze(model, tasks="induction", methods=METHODS["attention"]).tasks["task"].tolist() == ["induction"]


def test_what_is_own_is_kept_under_its_source_and_named_in_the_record(model: Model, tmp_path: Path) -> None:
    assert cells(analyze(model, tmp_path / "run")) == ({"ability": 1, "values": 1}, {})
    assert cells(analyze(model, tmp_path / "run"))[1] == {"ability": 1, "values": 1}
    same = replace(REACH, function=constant(1.0))
    assert cells(analyze(model, tmp_path / "run", methods=[same]))[1]["values"] == 1
    other = replace(REACH, function=constant(2.0))
    run = analyze(model, tmp_path / "run", methods=[other])
    assert cells(run) == ({"values": 1}, {"ability": 1})
    assert (run.scores["value"] == 2).all()
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert (plan["tasks"], plan["methods"]) == (["follow"], ["reach"])
    assert plan["own"] == {"tasks": {"follow": origin(FOLLOW.build)}, "methods": {"reach": origin(other.function)}}
    assert open_run(tmp_path / "run").scores.equals(run.scores)
    assert "own" not in Plan(tasks=("ioi",), methods=(METHODS["patching"],)).record()
    assert request(tasks=[FOLLOW]).plan.record()["own"] == {"tasks": plan["own"]["tasks"]}


def test_a_function_that_cannot_be_told_from_others_is_said_once_and_not_shared(model: Model, tmp_path: Path) -> None:
    held = replace(REACH, function=functools.partial(REACH.function, batch_size=object()))
    with pytest.warns(
        UserWarning, match="^results could not be kept for the next time: method 'reach', whose source "
    ) as told:
        assert cells(analyze(model, tmp_path / "run", methods=[held]))[0]["values"] == 1
    assert len(told) == 1
    with pytest.raises(UsageError) as caught:
        analyze(model, tmp_path / "share", methods=[held], executor=Shard(index=1, count=2))
    assert str(caught.value) == (
        "a share of an analysis with method 'reach', whose source or a value in it cannot be told from another\n"
        "  expected: results that can be kept and united\n"
        "  to fix it: write the function into a file and import it, or compute the whole in one process"
    )


def test_runs_of_other_sources_are_not_merged(model: Model, tmp_path: Path) -> None:
    analyze(model, tmp_path / "a")
    analyze(model, tmp_path / "b", methods=[replace(REACH, name="near")])
    assert merge(tmp_path / "both", [tmp_path / "a", tmp_path / "b"]).identity["plan"]["own"].keys() == {
        "tasks", "methods",
    }  # fmt: skip
    analyze(model, tmp_path / "c", methods=[replace(REACH, function=constant(2.0))])
    with pytest.raises(PlaceError, match="which differ in the source of method 'reach'\n"):
        merge(tmp_path / "all", [tmp_path / "a", tmp_path / "c"])


# --- what is refused


def refused(tasks: Any = (), methods: Any = ()) -> str:
    with pytest.raises(UsageError) as caught:
        Plan(tasks=tasks, methods=methods)
    return str(caught.value)


def test_names_that_clash_are_refused() -> None:
    assert refused(methods=(replace(REACH, name="patching"),)) == (
        "method 'patching' of your own, which is also the name of one of headscope's\n"
        "  expected: a name that is not taken\n"
        "  to fix it: rename it: dataclasses.replace(method, name='my-method')"
    )
    assert refused((pairs_of(task="own"), pairs_of(task="own"))) == (
        "two tasks named 'own'\n  expected: names that differ\n"
        "  to fix it: rename it: dataclasses.replace(pairs, task='my-task')"
    )
    assert "task 'lambada' of your own, which is also" in refused((pairs_of(task="lambada"),))
    assert refused((replace(FOLLOW, name="a.b/c"),)).startswith(
        "task of your own named 'a.b/c'\n  expected: letters, digits, - and _\n"
    )
    twice = Plan(tasks=(FOLLOW, "follow", FOLLOW), methods=(REACH, REACH))
    assert (twice.tasks, twice.methods) == (("follow",), ("reach",))
    other = replace(REACH, about="another")
    assert replace(twice, methods=(other,)).method("reach") is other
    assert replace(twice, tasks=("ioi",), n=3).own.record().keys() == {"methods"}


def test_everything_else_that_is_wrong_is_said_at_once() -> None:
    def silent(model: Any, pairs: Any) -> Any: ...

    wrong = (
        replace(REACH, name="a", needs=Labelled),
        replace(REACH, name="b", function=silent, seeded=True),
        replace(REACH, name="c", scores=()),
        3,
    )
    told = refused((pairs_of,), (*wrong, "pathcing"))
    for part in (
        "task <function pairs_of at ",
        " (function); method 'a' of your own, which needs Labelled; method 'b' of your own, whose function does not "
        "take batch_size, progress, seed; method 'c' of your own with the scores []; method 3 (int); unknown method "
        "'pathcing'\n",
        "a name, FORMAT:PATH, a headscope.contract.Task, or Pairs; a method of Prompts or Pairs, which tasks give; "
        "(model, prompts, *, batch_size, progress, seed); one or more, each with a name of its own; a name, or a "
        "headscope.contract.Method; methods: patching, ",
        "to fix it: give one, or put it into a headscope.contract.Task; call it yourself; ",
    ):  # fmt: skip
        assert part in told


def test_what_breaks_its_contract_costs_nobody_else_anything(model: Model) -> None:
    wide = replace(REACH, name="wide", function=constant(1.0, (4, 2)))
    run = analyze(model, methods=[wide, REACH])
    assert run.scores.loc[run.scores["method"] == "wide", "reason"].unique().tolist() == [
        "method 'wide', which gave reach as torch.float32 of shape (4, 2); expected: floats of shape "
        "[example, layer, head] = (4, 2, 2); to fix it: correct the function: headscope.testing.check_method says more"
    ]
    assert run.scores.loc[run.scores["method"] == "reach", "value"].notna().all()
    with pytest.raises(TaskError, match=r"task 'none', whose build function gave NoneType\n  expected: Pairs\n"):
        analyze(model, tasks=[Task(name="none", build=lambda model, *, n, rng: None, source="own", about="")])
    other = replace(FOLLOW, name="other")
    assert analyze(model, tasks=[other]).tasks["task"].tolist() == ["other"], "whatever its pairs are called"
    with pytest.raises(TaskError) as caught:
        analyze(model, tasks=[pairs_of(9)])
    assert str(caught.value) == (
        "pairs 'follow' of 5 tokens, with ids from 1 to 36\n  expected: at most 32 tokens, and ids from 0 to 31, for "
        "'GPT2LMHeadModel'\n  to fix it: make them for this model: headscope.pairs(model, ...)"
    )


# --- what a function is


def typed(text: str, name: str, **scope: Any) -> Any:
    """A function as a notebook has it: its text is known, but in no file."""
    place = f"<cell {abs(hash(text))}>"
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    exec(compile(text, place, "exec"), scope)
    return scope[name]


CELL = "def own(model, pairs, *, batch_size=1, progress=False):\n    return helper(pairs) * SCALE\n"
HELPER = "def helper(pairs):\n    return len(pairs)\n"


def test_a_function_of_a_notebook_is_its_text_and_all_that_it_names() -> None:
    helper, longer = typed(HELPER, "helper"), typed(HELPER.replace("len", "2 * len"), "helper")
    told = [
        origin(typed(CELL, "own", helper=helper, SCALE=1)),
        origin(typed(CELL, "own", helper=longer, SCALE=1)),
        origin(typed(CELL, "own", helper=helper, SCALE=2)),
        origin(typed(CELL, "own", helper=helper, SCALE=torch.ones(2))),
        origin(typed(CELL, "own", helper=helper, SCALE={"a": [1, (2.0, None)], "b": {3}})),
        origin(typed(CELL.replace("=1", "=2"), "own", helper=helper, SCALE=1)),
    ]
    assert None not in told
    assert len({*told}) == len(told)
    assert told[0] == origin(typed(CELL, "own", helper=typed(HELPER, "helper"), SCALE=1, other=3))
    assert origin(typed(CELL, "own", helper=helper, SCALE=object())) is None, "it may change without a trace"
    scope: dict[str, Any] = {}
    exec(HELPER, scope)
    assert origin(scope["helper"]) is None, "there is no text"


def test_a_function_of_a_file_is_the_file_and_what_it_was_made_with(tmp_path: Path) -> None:
    ones = [origin(constant(value)) for value in (1.0, 1.0, 2.0)]
    assert ones[0] == ones[1] != ones[2]
    own = []
    for text in (HELPER, HELPER + "x = 1\n"):
        path = tmp_path / "own.py"
        path.write_text(text)
        scope: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), scope)
        own.append(origin(scope["helper"]))
    assert None not in own
    assert own[0] != own[1]


def test_headscopes_own_functions_are_named_and_what_wraps_them_is_not_taken_for_them() -> None:
    @functools.wraps(patching)
    def louder(*given: Any, **named: Any) -> Any:
        return {name: 2 * value for name, value in patching(*given, **named).items()}

    assert origin(patching) == "headscope.methods.patching.patching"
    for method in METHODS.values():
        assert is_ours(origin(method.function)), method.name
    around = [origin(functools.partial(METHODS[name].function, memory=1)) for name in ("patching", "ablation")]
    assert not any(map(is_ours, (origin(louder), *around)))
    assert len({origin(louder), *around}) == 3


def test_a_file_that_is_edited_while_an_analysis_runs_changes_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def edited(function: Any) -> str:
        asked.append(str(function))
        return f"{len(asked):064}"

    monkeypatch.setattr(keys, "origin", edited)
    run = analyze(model, tmp_path / "run", tasks=[FOLLOW, "induction"], methods=[REACH, "attention"])
    assert cells(run)[0]["values"] == 4
    assert len(asked) == 2
