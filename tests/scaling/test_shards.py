"""--shard: shares cover every block once, cost about the same, and are the whole again once they are merged."""

from pathlib import Path

import pytest
from cellcases import METHODS, analyze, assert_same, cells, planted

from headscope.cli import folders, spreading
from headscope.errors import UsageError
from headscope.models import Model
from headscope.pipeline import Plan, Shard, blocks, blocks_of, build_tasks, merge, work_of
from headscope.pipeline.scaling.shards import parse_shard, shares


@pytest.fixture(scope="module")
def model() -> Model:
    return planted()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two examples a block, and a layer a block; no report."""
    monkeypatch.setitem(blocks.TARGET, "cpu", 1.0)
    monkeypatch.setattr(blocks, "ROWS", (2,))
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))


def test_shares_cover_all_blocks_once_and_cost_about_the_same(model: Model) -> None:
    plan = Plan(tasks=("induction",), methods=METHODS, n=12)
    work = work_of(model, plan, build_tasks(model, plan)[0], keeps=False)
    laid = blocks_of(work)
    for count in (1, 2, 3, len(laid) + 2):
        found = shares(work, laid, count)
        assert sorted(map(repr, (block for each in found for block in each))) == sorted(map(repr, laid))
        assert found == shares(work, laid, count)
    two = [sum(block.method == "patching" for block in each) for each in shares(work, laid, 2)]
    assert abs(two[0] - two[1]) <= 1


def test_merged_shares_are_the_whole_to_the_last_bit(model: Model, tmp_path: Path) -> None:
    whole = analyze(model)
    parts = [analyze(model, tmp_path / str(index), executor=Shard(index=index, count=3)) for index in (1, 2, 3)]
    assert sum(cells(part)[0]["values"] for part in parts) == 11
    assert [part.identity["complete"] for part in parts] == [False] * 3
    merged = merge(tmp_path / "out", [tmp_path / str(index) for index in (1, 2, 3)])
    assert merged.identity["cells"]["missing"] == ["attention on induction", "profiles"], "which look at all scores"
    run = analyze(model, tmp_path / "out")
    assert cells(run)[0] == {"views": 1, "profiles": 1}
    assert_same(run, whole)


def test_a_share_that_is_begun_again_computes_nothing_twice(model: Model, tmp_path: Path) -> None:
    first = cells(analyze(model, tmp_path / "run", executor=Shard(index=2, count=3)))
    again = cells(analyze(model, tmp_path / "run", executor=Shard(index=2, count=3)))
    assert again == ({}, first[0])


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_shares_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shard(text)
    assert str(caught.value) == (
        f"shard {text!r}\n  expected: I/K, with I from 1 to K, such as 1/8\n"
        "  to fix it: give the share, and how many there are"
    )
    assert parse_shard(" 4 / 4") == (4, 4)
    with pytest.raises(UsageError, match="shard '3/2'"):
        Shard(index=3, count=2)


def test_words_at_the_shell() -> None:
    ask = {"shard": None, "ray": None, "workers": None, "timeout": None, "offline": False}
    with pytest.raises(UsageError) as caught:
        spreading.executor("mini", **(ask | {"workers": 2, "timeout": 3.0}))
    assert str(caught.value).startswith("--workers and --cell-timeout without --ray\n  expected: workers of Ray\n")
    assert spreading.folder_of_shard(folders.default_folder("a/b"), "2/4") == Path("runs/b-2-of-4")
    both = spreading.executor("mini", **(ask | {"shard": "1/2", "ray": "local"}))
    assert isinstance(both, Shard)
    assert both.within.name == "mini"
