"""Ray: the numbers of one process, also when a worker is killed or hangs in the midst of a cell."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cellcases import assert_same, planted

import headscope
from headscope.errors import UsageError
from headscope.models import Model
from headscope.pipeline import OnRay, Plan, blocks, blocks_of, build_tasks, execute, work_of
from headscope.pipeline.scaling import cluster, spread
from headscope.runs import Run

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(tasks=("induction",), methods=("patching", "attention"), n=32)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    found = pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield found
        found.shutdown()


@pytest.fixture(scope="module")
def mini() -> Model:
    return headscope.load("mini", check=False)


@pytest.fixture(scope="module")
def alone(mini: Model) -> Iterator[Run]:
    """The same in this process, with as many threads as a worker has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(blocks.TARGET, "cpu", 1.0)  # sixteen examples a block
        yield execute(mini, PLAN, progress=False)
    torch.set_num_threads(before)


def on_ray(mini: Model, executor: OnRay, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(blocks.TARGET, "cpu", 1.0)
    return execute(mini, PLAN, progress=False, executor=executor)


def harm_once(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """The first worker that is seen at a cell is sent a signal."""
    harmed: list[int] = []
    usual = spread.Pool._kill_hung

    def look(pool: spread.Pool) -> None:
        at_work = [job.actor for ref, job in pool.running.items() if not pool.ray.wait([ref], timeout=0)[0]]
        if at_work and not harmed:
            harmed.append(pool.seen[at_work[0]][0])
            os.kill(harmed[0], number)
        usual(pool)

    monkeypatch.setattr(spread.Pool, "_kill_hung", look)
    return harmed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("harm", ["none", "killed", "hangs"])
def test_two_workers_give_the_numbers_of_one_process(
    harm: str, alone: Run, mini: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = OnRay(workers=2, cell_timeout=60 if harm == "hangs" else None)
    harmed = [] if harm == "none" else harm_once(monkeypatch, signal.SIGKILL if harm == "killed" else signal.SIGSTOP)
    run = on_ray(mini, executor, monkeypatch)
    assert_same(run, alone)
    assert run.identity["complete"] is True
    told = executor.told
    laid = len(blocks_of(work_of(mini, PLAN, build_tasks(mini, PLAN)[0], keeps=False)))
    assert (told["cells"], told["lost"], told["timed_out"]) == (laid, int(harm == "killed"), int(harm == "hangs"))
    assert len(harmed) == int(harm != "none")
    assert not any(Path(f"/proc/{pid}").exists() for pid in harmed)


# --- what is refused


def test_without_ray_the_extra_is_named(mini: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError) as caught:
        headscope.analyze(mini, tasks=["induction"], methods=["attention"], n=2, roles=False, progress=False,
                          executor="ray")  # fmt: skip
    assert str(caught.value) == (
        "--ray, without the package ray\n  expected: Ray, an extra of headscope\n"
        "  to fix it: install it: pip install 'headscope[ray]'"
    )


def test_what_workers_cannot_load_is_refused(mini: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spread.source_of(mini).name == "mini"
    with pytest.raises(UsageError) as caught:
        spread.source_of(planted())
    assert str(caught.value) == (
        "a live model ('GPT2LMHeadModel') for workers in other processes\n  expected: the name or folder of a model, "
        "which every worker can load\n  to fix it: save it, with its tokenizer, by save_pretrained(FOLDER), and give "
        "the folder as text"
    )
    monkeypatch.setattr("headscope.pipeline.keys.origin", lambda _: None)
    work = work_of(mini, PLAN, build_tasks(mini, PLAN)[0], keeps=False)
    with pytest.raises(UsageError, match="methods of your own for workers in other processes: patching, attention\n"):
        spread.refuse_own_methods(work)


def test_numbers_out_of_range_and_other_executors_are_refused() -> None:
    with pytest.raises(UsageError, match=r"workers 0; cell timeout 0\.5\n  expected: at least 1 worker"):
        OnRay(workers=0, cell_timeout=0.5)
    with pytest.raises(UsageError, match="executor 'spark'\n  expected: local, ray, OnRay"):
        headscope.analyze("mini", executor="spark")


class Cluster:
    """As much of Ray as the sizes depend on."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.found = [{"Alive": True, "Resources": node} for node in nodes]

    def nodes(self) -> list[dict[str, Any]]:
        return self.found


@pytest.mark.parametrize(
    ("nodes", "asked", "workers", "threads", "neighbours"),
    [
        ([{"CPU": 2, "memory": 2**34}], None, 2, 1, 2),
        ([{"CPU": 8, "memory": 2**34}], 2, 2, 4, 2),
        ([{"CPU": 8, "memory": 2**30 * 3}], None, 2, 4, 2),
        ([{"CPU": 2, "memory": 2**34}] * 3, 2, 2, 2, 1),
    ],
)
def test_workers_fit_the_cluster(
    nodes: list[dict[str, float]], asked: int | None, workers: int, threads: int, neighbours: int, mini: Model
) -> None:
    size = cluster.size_of(Cluster(*nodes), mini, asked)
    assert (size.workers, size.threads, size.neighbours, size.gpus) == (workers, threads, neighbours, 0)
