"""The same numbers: to the last bit with the same command and in shares, to 1e-6 of scale otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cellcases import assert_same

import headscope
from headscope.models import Model
from headscope.pipeline import Plan, Shard, blocks, build_tasks, merge
from headscope.runs import Run

TOLERANCE = 1e-6
"""Of the largest logit, for effects, which are differences of logits; of the largest value of any other score."""
IN_LOGITS = {"patching", "ablation", "attribution", "direct"}
ASKED: dict[str, Any] = {"tasks": ["induction", "ioi"], "n": 18, "roles": False, "progress": False}
"""By all default methods; eighteen examples are two blocks of those that are cut."""


@pytest.fixture(scope="module")
def mini() -> Model:
    return headscope.load("mini", check=False)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
    monkeypatch.setitem(blocks.TARGET, "cpu", 1.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def first(mini: Model) -> Run:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks.TARGET, "cpu", 1.0)
        run = headscope.analyze(mini, **ASKED)
    torch.set_num_threads(before)
    return run


@pytest.fixture(scope="module")
def logit(mini: Model) -> float:
    """The largest logit of the clean prompts."""
    pairs, _ = build_tasks(mini, Plan(tasks=tuple(ASKED["tasks"]), n=ASKED["n"]))
    return max(float(mini.run(each.tokens, each.mask).abs().max()) for each in pairs.values())


def assert_close(run: Run, first: Run, logit: float) -> None:
    assert run.examples.keys() == first.examples.keys()
    for name, values in first.examples.items():
        other = run.examples[name]
        assert torch.equal(values.isnan(), other.isnan()), name
        scale = logit if name.split(".")[1] in IN_LOGITS else float(values.nan_to_num().abs().max())
        assert float((values - other).nan_to_num().abs().max()) <= TOLERANCE * scale, name


@pytest.mark.slow
def test_the_same_command_gives_the_same_bits(mini: Model, first: Run) -> None:
    assert_same(headscope.analyze(mini, **ASKED), first)


@pytest.mark.slow
def test_batches_change_no_number(mini: Model, first: Run, logit: float) -> None:
    assert_close(headscope.analyze(mini, **ASKED, batch_size=5), first, logit)


@pytest.mark.slow
def test_threads_change_no_number(mini: Model, first: Run, logit: float) -> None:
    torch.set_num_threads(2)
    assert_close(headscope.analyze(mini, **ASKED), first, logit)


@pytest.mark.slow
def test_larger_blocks_and_memory_change_no_number(
    mini: Model, first: Run, logit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(blocks.TARGET, "cpu", 1e18)
    assert_close(headscope.analyze(mini, **ASKED, memory=2**23), first, logit)


@pytest.mark.slow
def test_shares_give_the_same_bits(mini: Model, first: Run, tmp_path: Path) -> None:
    for index in (1, 2):
        headscope.analyze(mini, folder=tmp_path / str(index), executor=Shard(index=index, count=2), **ASKED)
    merge(tmp_path / "out", [tmp_path / "1", tmp_path / "2"])
    assert_same(headscope.analyze(mini, folder=tmp_path / "out", **ASKED), first)
