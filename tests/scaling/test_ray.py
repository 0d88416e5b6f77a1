"""Ray: the numbers of one process, also when a worker is killed or hangs in the midst of a cell."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cellcases import assert_same, planted
from shells import environment

import headscope
from headscope.cli import main
from headscope.errors import UsageError
from headscope.methods import METHODS
from headscope.models import Model
from headscope.pipeline import OnRay, Plan, Work, blocks, blocks_of, build_tasks, execute, local, work_of
from headscope.pipeline.scaling import cluster, spread
from headscope.pipeline.scaling.worker import Worker
from headscope.prompts import Pairs
from headscope.runs import Run, open_run
from headscope.tasks import TASKS

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


def failing(harm: str) -> type[Worker]:
    """Workers that never come through with one cell: memory runs out, or they die each time."""

    class Failing(Worker):
        def compute(self, task: Any, block: Any) -> Any:
            if (block.method, block.rows, block.layers) == ("patching", (0, 16), (0, 1)):
                if harm == "memory":
                    raise MemoryError("no room")
                os._exit(1)
            return super().compute(task, block)

    return Failing


ASKED = ("mini", "-t", "induction", "-n", "32", "-m", "patching,attention", "--no-roles")


def at_the_shell(monkeypatch: pytest.MonkeyPatch, capfd: Any, *words: str) -> tuple[Any, str]:
    """Run a command in this process; its exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["headscope", "analyze", *ASKED, *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(("harm", "why"), [("memory", "MemoryError: no room"), ("dies", "its worker died 2 times")])
def test_a_cell_that_fails_for_good_is_named_and_the_others_are_kept(
    harm: str, why: str, alone: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Any
) -> None:
    monkeypatch.setitem(blocks.TARGET, "cpu", 1.0)
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
    words = ("--out", str(tmp_path / "run"), "-q")
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "Worker", failing(harm))
        patch.setattr(cluster, "LOST", 1)
        code, told = at_the_shell(monkeypatch, capfd, *words, "--ray", "local", "--workers", "2")
    assert code == 1
    assert told.endswith(
        f"headscope: 1 cell that no worker could compute: patching of induction, examples 1 to 16, layers 0 to 0: "
        f"{why}\n"
        "  expected: workers that come to an end with every cell; the others are kept\n"
        "  to fix it: give fewer --workers, a smaller --batch-size or --memory, or a longer --cell-timeout, and run "
        "the same command again\n"
    ), told
    code, told = at_the_shell(monkeypatch, capfd, *words)
    assert code == 0
    run = open_run(tmp_path / "run")
    assert run.identity["cells"]["reused"]["values"] == 13
    assert run.identity["cells"]["computed"]["values"] == 1
    pd.testing.assert_frame_equal(run.scores, alone.scores.assign(model="mini"), check_exact=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_at_the_shell_gives_the_numbers_of_one_process(alone: Run, mini: Model, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    words = ("analyze", *ASKED, "--ray", "local", "--workers", "2", "--out", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-m", "headscope", *words], capture_output=True, text=True, check=False, timeout=500,
        cwd=tmp_path, env=environment(OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "headscope: Ray: 2 cells by 2 workers on " in done.stderr
    run, one = open_run(tmp_path / "run"), execute(mini, PLAN, progress=False)
    assert run.examples.keys() == one.examples.keys() == alone.examples.keys()
    for name, values in one.examples.items():
        scale = float(values.nan_to_num().abs().max())
        assert float((values - run.examples[name]).nan_to_num().abs().max()) <= 1e-6 * scale, name


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


def own(model: Model, pairs: Pairs, *, batch_size: int = 1, progress: bool = False) -> dict[str, torch.Tensor]:
    """A method that no worker has."""
    del batch_size, progress
    return {"reach": torch.ones(len(pairs), model.grid.layers, model.grid.heads)}


OWN = replace(METHODS["attention"], name="reach", function=own, scores=METHODS["attention"].scores[:1])
OWN = replace(OWN, scores=(replace(OWN.scores[0], name="reach"),))


def test_what_workers_do_not_have_is_computed_here_and_the_rest_is_sent(
    mini: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def spreading(executor: OnRay, work: Work, blocks: Any, source: Any) -> Any:
        plan = spread.for_workers(work.plan, blocks)
        sent.append((plan.tasks, plan.methods, source.name, [block.method for block in blocks]))
        yield from local(replace(work, plan=plan), blocks)

    monkeypatch.setattr(OnRay, "_spread", spreading)
    mine = replace(TASKS["induction"].build(mini, n=4, rng=np.random.default_rng(0)), task="mine")
    executor = OnRay()
    run = execute(mini, replace(PLAN, tasks=(mine,), methods=("attention", OWN)), progress=False, executor=executor)
    assert sent == [((), ("attention",), "mini", ["attention"])]
    assert executor.told == {"here": 1}
    assert set(run.scores["method"]) == {"attention", "reach"}


def test_a_task_with_a_metric_of_ones_own_stays_here(mini: Model) -> None:
    mine = replace(TASKS["induction"].build(mini, n=4, rng=np.random.default_rng(0)), task="mine")
    for pairs, sent in ((mine, True), (replace(mine, metric=lambda logits, _: logits[:, 0]), False)):
        plan = replace(PLAN, tasks=(pairs,), methods=("attention",))
        work = work_of(mini, plan, build_tasks(mini, plan)[0], keeps=False)
        assert [spread.can_be_sent(work, block) for block in blocks_of(work)] == [sent]


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
