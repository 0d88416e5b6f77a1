"""headscope plan: what it counts is what the model has and what sweeps run."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cellcases import planted
from shells import save

import headscope
from headscope import replay
from headscope.cli import main
from headscope.errors import ModelError, UsageError
from headscope.methods import METHODS
from headscope.mini import tokenizer
from headscope.models.outline import outline
from headscope.pipeline import Plan, build_tasks
from headscope.pipeline.scaling.costs import COSTS, cost_of
from headscope.pipeline.scaling.estimating import Rate, estimate
from headscope.tasks import TASKS

RATE = Rate(operations=1e10, call=0.0, source="given")


def test_an_outline_is_the_model_without_its_weights() -> None:
    found, model = outline("mini"), headscope.load("mini", check=False)
    for name in ("grid", "d_head", "vocabulary", "max_length", "causal", "frame", "name"):
        assert getattr(found, name) == getattr(model, name), name
    assert found.parameters == model.identity["parameters"]
    assert found.identity["tokenizer"] == model.identity["tokenizer"]
    plan = Plan(tasks=("induction", "ioi"), n=4)
    told, loaded = ([row["prompts"] for row in build_tasks(each, plan)[1].values()] for each in (found, model))
    assert told == loaded, "the very prompts of the analysis"


def test_every_method_has_a_cost() -> None:
    assert set(COSTS) == set(METHODS)
    own = METHODS["patching"].__class__(
        name="own", function=dict, needs=METHODS["patching"].needs, scores=(), source="", about=""
    )
    mini = outline("mini")
    pairs = TASKS["induction"].build(mini, n=2, rng=np.random.default_rng(0))
    assert cost_of(mini, pairs, own, batch_size=2) is None


@pytest.mark.parametrize("task", ["induction", "ioi"])
def test_operations_of_patching_are_those_that_replay_lays_out(task: str) -> None:
    model, mini = headscope.load("mini", check=False), outline("mini")
    pairs = TASKS[task].build(mini, n=4, rng=np.random.default_rng(0))
    clean, corrupted = (replay.start(model, pairs, each) for each in (pairs.tokens, pairs.corrupted))
    heads = replay.single_heads(model.grid)
    laid = [
        replay.plan(base, replay.edits_of(heads, other.z, pairs.mask), memory=2**30).operations
        for base, other in ((corrupted, clean), (clean, corrupted))
    ]
    told = cost_of(mini, pairs, METHODS["patching"], batch_size=4)
    assert told is not None
    assert told.operations == pytest.approx(sum(laid), rel=0.35)


def test_more_workers_take_less_time_until_one_cell_is_the_rest() -> None:
    plan = Plan(tasks=("induction",), methods=("patching", "attention"), n=8)
    hours = [estimate(outline("mini"), plan, workers=count, rate=RATE).hours for count in (1, 2, 100)]
    assert hours[0] > hours[1] == hours[2] > 0.9 * hours[0]
    with pytest.raises(UsageError, match="workers 0\n  expected: at least 1 worker"):
        estimate(outline("mini"), plan, workers=0, rate=RATE)


def test_a_folder_without_weights_is_enough_and_absurd_ones_are_refused(tmp_path: Path) -> None:
    planted().bridge.original_model.config.save_pretrained(tmp_path)
    assert outline(str(tmp_path)).grid.size == 4
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_layer": 10**9}))
    with pytest.raises(ModelError, match=r"whose config\.json asks for num_hidden_layers 1000000000"):
        outline(str(tmp_path))


@pytest.fixture
def hub(tmp_path: Path, cache: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Hub with one model, me/words, and the files that are fetched from it."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import filter_repo_objects

    source = save(tmp_path / "source", tokenizer.build())
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    names, fetched = sorted(path.name for path in source.iterdir()), []
    target = cache / "models--me--words" / "snapshots" / "0123abcd"

    def download(name: str, *, local_files_only: bool = False, **asked: Any) -> str:
        if name != "me/words" or (local_files_only and not target.exists()):
            raise LocalEntryNotFoundError("not there")
        if not local_files_only:
            patterns = {each: asked[each] for each in ("allow_patterns", "ignore_patterns")}
            target.mkdir(parents=True, exist_ok=True)
            for each in filter_repo_objects(names, **patterns):
                if not (target / each).exists():
                    fetched.append(each)
                    shutil.copy(source / each, target / each)
        return str(target)

    facts = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *_, **__: facts))
    return fetched


def test_of_a_model_of_the_hub_no_weights_are_fetched_until_it_is_loaded(hub: list[str]) -> None:
    for _ in range(2):
        assert outline("me/words").tokenizer is not None
        assert "config.json" in hub
        assert not [name for name in hub if name.endswith((".safetensors", ".bin"))]
    before = len(hub)
    assert headscope.load("me/words", device="cpu", check=False).grid == outline("me/words").grid
    assert hub[before:] == ["model.safetensors"], "and nothing twice"
    assert outline("me/words", offline=True).grid.layers == 2


def test_what_is_in_the_cache_without_weights_is_enough_for_a_plan_and_not_for_an_analysis(hub: list[str]) -> None:
    outline("me/words")
    assert outline("me/words", offline=True).parameters > 0
    with pytest.raises(ModelError, match=r"model 'me/words': no directory of that name, and me/words not in the cache"):
        headscope.load("me/words", offline=True)
    assert "model.safetensors" not in hub


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["headscope", "plan", "mini", "-t", "induction", "-m", "patching", "-n", "8", "--flops", "1e9"]
    told = {}
    for more in ("--json", "--quiet", "--seed=0"):
        monkeypatch.setattr("sys.argv", [*words, more])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        told[more] = capsys.readouterr().out
    record = json.loads(told["--json"])
    assert (record["cells"], record["rows"][0]["runs"]) == (1, 1552.0)
    assert record["hours"] == pytest.approx(record["operations"] / 1e9 / 3600)
    assert told["--quiet"].count("\n") == 1
    assert told["--quiet"].startswith("time: ")
    assert "1,552" in told["--seed=0"]
    assert "memory of a worker" in told["--seed=0"]
