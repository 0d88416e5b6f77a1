"""Real weights: a grouped-query Llama, the bundled mini, and half and double precision."""

from pathlib import Path
from typing import Any

import oracles
import pytest
import scenes
import torch
from architectures import tiny
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AutoModelForCausalLM

from headscope import replay
from headscope.corpora import data_path
from headscope.errors import HeadscopeError
from headscope.models import Model, load
from headscope.prompts import Pairs


def compared(model: Model, plain: Any, pairs: Pairs, heads: list[tuple[int, int]]) -> float:
    """The largest difference from plain Hugging Face over some heads, all positions, both directions."""
    worst = 0.0
    for run, donor in ((pairs.corrupted, pairs.tokens), (pairs.tokens, pairs.corrupted)):
        base, other = replay.start(model, pairs, run), replay.start(model, pairs, donor)
        edits = replay.edits_of(replay.single_heads(model.grid), other.z, pairs.mask)
        found = replay.replay(base, edits).unflatten(1, (model.grid.layers, model.grid.heads))
        z = oracles.outputs(plain, donor, model.grid.heads, pairs.mask)
        for layer, head in heads:
            chosen = (torch.arange(model.grid.heads) == head).expand(len(pairs), -1)
            wanted = scenes.read(oracles.run(plain, run, pairs.mask, [(layer, chosen, z[layer])]), pairs)
            worst = max(worst, scenes.apart(found[:, layer, head], wanted, base.metric))
    return worst


def test_stories260k(shared_data: Path) -> None:
    folder = shared_data / "stories260k"
    model = load(folder, offline=True)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    pairs = scenes.pairs(vocabulary=500)
    assert isinstance(replay.start(model, pairs, pairs.tokens), replay.Base)
    assert compared(model, plain, pairs, [(0, 0), (1, 3), (2, 5), (3, 7), (4, 1), (4, 6)]) <= 1e-5
    for site in ("q", "k", "v", "pattern"):
        base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
        values = [donor.site(site, layer).clone() for layer in range(5)]
        heads = replay.head_sets(model.grid, [[(0, 2)], [(2, 1), (3, 6)], [(4, 7)]])
        edits = replay.edits_of(heads, values, pairs.mask, site=site)
        wanted = scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)
        assert scenes.apart(replay.replay(base, edits), wanted) <= 1e-5


def test_mini() -> None:
    try:
        folder = data_path("mini")
    except HeadscopeError:
        pytest.skip("this checkout has no bundled model")
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model = load("mini")
    pairs = scenes.pairs(vocabulary=model.vocabulary)
    last = model.grid.layers - 1
    assert compared(model, plain, pairs, [(0, 1), (last // 2, 0), (last, 3)]) <= 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close(name: str, dtype: str) -> None:
    plain, pairs = tiny(name), scenes.pairs()
    effects = {}
    for kind in ("float32", dtype):
        model = load(plain, device="cpu", dtype=kind)
        base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
        assert isinstance(base, replay.Base), model.cut.reason
        edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
        effects[kind] = replay.replay(base, edits) - base.metric[:, None]
        assert base.z[0].dtype == getattr(torch, kind)
    assert effects[dtype].dtype == torch.float64
    assert scenes.apart(effects[dtype], effects["float32"], base.metric) <= (0.03 if dtype == "bfloat16" else 0.005)
    assert scenes.apart(effects["float32"], torch.zeros(1), base.metric) > 0.05


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_bridge_in_double_precision(name: str) -> None:
    plain, pairs = tiny(name).double(), scenes.pairs()
    bridge = build_bridge_from_module(
        tiny(name).double(), type(plain).__name__, hf_config=plain.config, model_name="own"
    )
    model = load(bridge.eval())
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Base)
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    wanted = scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)
    assert scenes.apart(replay.replay(base, edits), wanted) <= 1e-6
