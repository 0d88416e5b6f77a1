"""A cell's key changes with everything that determines its value, and with nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cellcases import planted
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope.cells import Cell, canonical, code, key_of
from headscope.cells.code import PACKAGE, SHOWING, sources
from headscope.contract import Method
from headscope.methods import METHODS
from headscope.models import Model
from headscope.models.determined import determined
from headscope.pipeline import Plan, blocks_of, keys, work_of
from headscope.pipeline.blocks import Block, lay_out
from headscope.prompts import Pairs
from headscope.tasks import TASKS

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
RECORDS = st.dictionaries(st.text(), st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3), max_leaves=6))


@given(RECORDS)
@settings(max_examples=30, derandomize=True, deadline=None)
def test_the_order_of_a_description_does_not_matter(what: dict[str, Any]) -> None:
    assert canonical(dict(reversed(what.items()))) == canonical(what)
    assert key_of(what) != key_of({**what, "one more": 1})


@pytest.mark.parametrize(("what", "error"), [({"a": float("nan")}, ValueError), ({"a": {1: 2}}, TypeError)])
def test_what_equals_nothing_is_no_key(what: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        key_of(what)


def test_the_kind_and_the_description_are_the_key() -> None:
    assert len({Cell(kind=kind, what={"a": a}).key for kind in "xy" for a in (1, 2, "1")}) == 6


# --- blocks of an analysis


def pairs_of(model: Model, n: int = 6, seed: int = 0) -> Pairs:
    return TASKS["induction"].build(model, n=n, rng=np.random.default_rng(seed))


BLOCK = Block(task="induction", method="patching", rows=(0, 4))


def what(model: Model, pairs: Pairs, method: Method, **changes: Any) -> Any:
    block = changes.pop("block", BLOCK)
    asked = keys.Asked(**{"origins": keys.origins({pairs.task: pairs}, [method])} | changes)
    return keys.values(determined(model), pairs, method, block, asked)


def key(model: Model, pairs: Pairs, method: Method, **changes: Any) -> str:
    return key_of(what(model, pairs, method, **changes))


def elsewhere(pairs: Pairs, row: int, name: str) -> Pairs:
    changed = getattr(pairs, name).clone()
    changed.view(len(pairs), -1)[row, -1] += 1
    return replace(pairs, **{name: changed})


CHANGES: dict[str, Callable[[Pairs], Any]] = {
    "a prompt": lambda pairs: {"pairs": elsewhere(pairs, 0, "tokens")},
    "a twin": lambda pairs: {"pairs": elsewhere(pairs, 3, "corrupted")},
    "an answer": lambda pairs: {"pairs": elsewhere(pairs, 1, "answers")},
    "a foil": lambda pairs: {"pairs": elsewhere(pairs, 2, "foils")},
    "a position": lambda pairs: {"pairs": replace(pairs, positions={**pairs.positions, "end": pairs.end - 1})},
    "the metric": lambda pairs: {"pairs": replace(pairs, metric="probability")},
    "a further metric": lambda pairs: {"metrics": ("kl",)},
    "other examples": lambda pairs: {"block": replace(BLOCK, rows=(2, 6))},
    "other layers": lambda pairs: {"block": replace(BLOCK, layers=(0, 1))},
    "the method": lambda pairs: {"method": METHODS["positions"]},
    "its version": lambda pairs: {"method": replace(METHODS["patching"], version=2)},
}
SAME: dict[str, Callable[[Pairs], Any]] = {
    "a prompt of another block": lambda pairs: {"pairs": elsewhere(pairs, 5, "tokens")},
    "the groups, of which nothing is drawn": lambda pairs: {"pairs": replace(pairs, groups=pairs.groups + 1)},
    "texts for people": lambda pairs: {"pairs": replace(pairs, notes=("a note",))},
    "the seed of a method that draws nothing": lambda pairs: {"seed": 1},
}


@pytest.mark.parametrize("name", [*CHANGES, *SAME])
def test_a_key_changes_with_what_determines_the_values(name: str, model: Model) -> None:
    pairs = pairs_of(model)
    plain = {"pairs": pairs, "method": METHODS["patching"]}
    changed = {**CHANGES, **SAME}[name](pairs)
    assert (key(model, **plain) != key(model, **{**plain, **changed})) == (name in CHANGES)


def test_a_method_that_draws_or_means_depends_on_seed_groups_and_all_examples(model: Model) -> None:
    pairs, ablation = pairs_of(model), METHODS["ablation"]
    whole = Block(task="induction", method="ablation", rows=(0, 6))
    plain = key(model, pairs, ablation, block=whole)
    changes = (
        key(model, pairs, ablation, block=whole, seed=1),
        key(model, replace(pairs, groups=pairs.groups // 2), ablation, block=whole),
        key(model, elsewhere(pairs, 5, "tokens"), ablation, block=whole),
    )
    assert plain not in changes


def _weight(model: Model) -> None:
    with torch.no_grad():
        next(iter(model.bridge.parameters())).view(-1)[-1] += 1e-6


def _config(model: Model) -> None:
    model.bridge.original_model.config.layer_norm_epsilon *= 2


def _tokenizer(model: Model) -> None:
    model.identity["tokenizer"] = {"class": "Other"}


def _mode(model: Model) -> None:
    model.identity["weight_mode"] = "processed"


def test_a_model_that_gives_other_numbers_is_another_model(model: Model) -> None:
    own = planted()
    seen = [determined(own)]
    assert seen == [determined(model)], "the same weights, loaded again"
    for change in (_weight, _config, _tokenizer, _mode):
        change(own)
        assert determined(own) not in seen, change
        seen.append(determined(own))


class Elsewhere:
    """A bridge whose weights cannot be seen."""

    def __init__(self, bridge: Any) -> None:
        self.W_Q = bridge.W_Q
        for name in ("W_K", "W_V", "W_O", "W_E", "W_U", "original_model", "cfg", "blocks", "embed", "unembed"):
            setattr(self, name, getattr(bridge, name))


def test_a_model_without_weights_that_can_be_seen_is_not_remembered(model: Model) -> None:
    elsewhere = replace(model, bridge=Elsewhere(model.bridge))
    assert determined(elsewhere) is None
    assert what(elsewhere, pairs_of(model), METHODS["patching"]) is None


def test_a_function_of_the_users_is_part_of_the_key_or_not_remembered(model: Model) -> None:
    pairs, scope = pairs_of(model), {}
    exec("def own(model, pairs, *, batch_size=1, progress=False): return {}", scope)
    exec("def metric(logits, pairs): return logits[:, 0]", scope)
    assert what(model, pairs, replace(METHODS["attention"], function=scope["own"])) is None
    assert what(model, replace(pairs, metric=scope["metric"]), METHODS["patching"]) is None
    assert keys.ability(determined(model), replace(pairs, metric=scope["metric"]), seed=0) is None
    mine = replace(pairs, metric=lambda logits, pairs: logits[:, 0])
    other = replace(pairs, metric=lambda logits, pairs, at=1: logits[:, at])
    assert len({key(model, each, METHODS["patching"]) for each in (pairs, mine, other)}) == 3


# --- the program


def test_the_sources_that_compute_are_hashed_and_those_that_show_are_not(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    for name, text in (("a.py", "x = 1"), ("plots/b.py", "y = 1")):
        (tmp_path / name).write_text(text)
    before = sources(tmp_path)
    (tmp_path / "plots" / "b.py").write_text("y = 2")
    assert sources(tmp_path) == before
    (tmp_path / "a.py").write_text("x = 2")
    assert sources(tmp_path) != before
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert sources(tmp_path) != before
    assert code()["sources"] == sources(PACKAGE)


def test_nothing_that_computes_imports_what_is_left_out() -> None:
    may = {"comparing", "plots", "report", "runs", "cells"}  # the tables of a run, and typing
    above = {"pipeline", "judging", "classifying", "probing", "reproducing", "explaining", "__init__"}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part in SHOWING or part == "__main__":
            continue
        found = re.findall(r"^\s*from headscope\.(\w+)[\w.]* import", path.read_text(encoding="utf-8"), re.MULTILINE)
        used = set(found) & SHOWING
        assert used <= (may if part in above else {"cells"}), path


# --- blocks


def test_blocks_cover_every_example_and_layer_once(model: Model, small: None) -> None:
    pairs = pairs_of(model, 5)
    for method in METHODS.values():
        found = lay_out(method, pairs, model.grid, width=128, device="cpu")
        seen = torch.zeros(5, 2)
        for block in found:
            seen[slice(*block.rows), slice(*(block.layers or (0, 2)))] += 1
        assert (seen == 1).all(), method.name
        assert len({block.rows for block in found}) == (1 if method.across else 3), method.name


def test_the_blocks_of_few_examples_are_among_those_of_more(model: Model, small: None) -> None:
    def asked(n: int) -> set[str]:
        pairs = {"induction": pairs_of(model, n)}
        return {block.key for block in blocks_of(work_of(model, Plan(methods=("patching",), n=n), pairs))}

    assert asked(4) < asked(8)


def test_a_block_of_another_model_is_refused(model: Model) -> None:
    from headscope.errors import RunError
    from headscope.pipeline import compute

    pairs, plan = {"induction": pairs_of(model)}, Plan(methods=("attention",), n=6)
    (block,) = blocks_of(work_of(model, plan, pairs))
    other = planted(noise=0.02)
    with pytest.raises(RunError, match="a block of attention on induction that was laid out for another model"):
        compute(work_of(other, plan, pairs), block)
