"""What must hold whatever is edited: no order, budget or earlier sweep matters, and what cannot change does not run."""

from typing import Any

import pytest
import scenes
import torch
from architectures import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from headscope import replay
from headscope.models import Model, load
from headscope.prompts import LOG_PROBABILITY, Pairs
from headscope.replay.edits import SITES
from headscope.replay.engine import replay as follow

SAME = 1e-6


def edits_on(base: replay.Base, donor: replay.Base, pairs: Pairs, site: str, seed: int) -> replay.Edits:
    """Single heads and sets, at all positions or one."""
    layers, heads = len(base.program.blocks), base.program.heads
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.rand(6, layers, heads, generator=draw) < 0.2
    chosen[:3] = torch.eye(layers * heads, dtype=torch.bool).view(-1, layers, heads)[
        torch.randperm(12, generator=draw)[:3]
    ]
    places = torch.cat([replay.everywhere(pairs.mask), replay.each_position(pairs.mask)])
    values = [donor.site(site, layer).clone() for layer in range(layers)]
    at = torch.randint(len(places), (6,), generator=draw) * (torch.rand(6, generator=draw) < 0.5)
    return replay.Edits(site=site, heads=chosen, values=values, places=places, at=at)


@pytest.fixture(scope="module", params=["gpt2", "qwen3", "bert"])
def two_runs(request: pytest.FixtureRequest) -> tuple[Model, Pairs, replay.Base, replay.Base]:
    model, pairs = load(tiny(request.param), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Base)
    assert isinstance(donor, replay.Base)
    return model, pairs, base, donor


@settings(derandomize=True, deadline=None, max_examples=10)
@given(site=st.sampled_from(SITES), seed=st.integers(0, 99), memory=st.sampled_from([1, 2**15, 2**18]))
def test_neither_order_nor_memory_matters(two_runs: Any, site: str, seed: int, memory: int) -> None:
    model, pairs, base, donor = two_runs
    edits = edits_on(base, donor, pairs, site, seed)
    wanted = replay.replay(base, edits, memory=2**30)
    assert scenes.apart(replay.replay(base, edits, memory=memory), wanted) <= SAME
    turned = torch.randperm(len(edits), generator=torch.Generator().manual_seed(seed))
    shuffled = replay.Edits(
        site=site, heads=edits.heads[turned], values=edits.values, places=edits.places, at=edits.at[turned]
    )
    assert scenes.apart(replay.replay(base, shuffled, memory=memory), wanted[:, turned]) <= SAME
    rows = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:4]
    part = pairs.select(rows)
    width = part.mask.shape[1]
    few, other = (replay.start(model, part, tokens) for tokens in (part.corrupted, part.tokens))
    values = [other.site(site, layer).clone() for layer in range(model.grid.layers)]
    places = edits.places[:, rows, :width]
    again = replay.Edits(site=site, heads=edits.heads, values=values, places=places, at=edits.at)
    assert scenes.apart(replay.replay(few, again, memory=memory), wanted[rows]) <= SAME * 5


@pytest.mark.parametrize("site", SITES)
def test_a_run_patched_with_itself_runs_nothing(two_runs: Any, site: str) -> None:
    _, pairs, base, _ = two_runs
    edits = edits_on(base, base, pairs, site, 3)
    layout = replay.plan(base, edits, memory=2**20)
    assert layout.chunks == ()
    assert layout.unchanged == len(edits) * len(pairs)
    assert torch.equal(replay.replay(base, edits), base.metric[:, None].expand(-1, len(edits)))


def test_what_was_run_before_changes_nothing(two_runs: Any) -> None:
    model, pairs, base, donor = two_runs
    parts = {
        "base": [*base.residual, *base.z, *base.k, *base.v, base.last, base.metric],
        "donor": [*donor.residual, *donor.z, *donor.k, *donor.v, donor.metric],
        "weights": list(model.bridge.original_model.parameters()),
    }
    before = {name: [each.clone() for each in tensors] for name, tensors in parts.items()}
    hooks = _hooks(model)
    first = [replay.replay(base, edits_on(base, donor, pairs, site, 5), memory=2**17) for site in SITES]
    again = [replay.replay(base, edits_on(base, donor, pairs, site, 5), memory=2**17) for site in reversed(SITES)]
    for one, other in zip(first, reversed(again), strict=True):
        assert torch.equal(one, other)
    for name, tensors in parts.items():
        for one, other in zip(tensors, before[name], strict=True):
            assert torch.equal(one, other), name
    assert _hooks(model) == hooks


def _hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.bridge.modules())


def test_nothing_before_a_change_runs() -> None:
    model, pairs = load(tiny("llama"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    layout = replay.plan(base, edits, memory=1)
    last = model.grid.layers - 1
    for chunk in layout.chunks:
        example, layer = int(chunk.example), chunk.layer
        begin, end = int(pairs.first_difference[example]), int(pairs.end[example])
        assert (chunk.start, chunk.stop) == ((end if layer == last else begin), end + 1)
        assert layer == int(edits.heads[int(chunk.edit)].any(1).nonzero()[0])
    assert len(layout.chunks) == model.grid.size * 5  # the sixth twins are equal
    assert layout.unchanged == model.grid.size


def test_changes_after_what_is_read_have_no_effect() -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    after = (torch.arange(scenes.WIDTH) > pairs.end[:, None]) & pairs.mask
    assert after[3].any()  # the fourth is read before its end
    for site in SITES:
        values = [donor.site(site, layer).clone() for layer in range(model.grid.layers)]
        edits = replay.edits_of(replay.single_heads(model.grid), values, after, site=site)
        assert replay.plan(base, edits, memory=2**20).chunks == ()
        assert torch.equal(replay.replay(base, edits), base.metric[:, None].expand(-1, len(edits)))


def test_a_change_between_two_reads_leaves_the_first_alone() -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs(metric=LOG_PROBABILITY)
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    second = replay.named_position(pairs.reads[:, 1], pairs.mask)
    edits = replay.Edits(
        site="z",
        heads=replay.single_heads(model.grid),
        values=donor.z,
        places=second,
        at=torch.zeros(model.grid.size, dtype=torch.long),
    )
    alone = replay.replay(base, edits, memory=1)  # each from its second read on, not from the first of any
    changed = alone - base.metric[:, None]
    one_token = (pairs.answers != -1).sum(1) == 1
    assert changed[one_token].abs().max() == 0
    assert changed[0].abs().max() > 1e-3
    wanted = scenes.expected(tiny("gpt2"), pairs, pairs.corrupted, pairs.tokens, edits)
    assert scenes.apart(alone, wanted) <= 1e-5


def test_the_last_layer_runs_only_where_the_metric_reads(two_runs: Any) -> None:
    model, pairs, base, donor = two_runs
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    chunks = replay.plan(base, edits, memory=2**30).chunks
    assert {chunk.narrow for chunk in chunks} == {model.grid.layers - 1}


@pytest.mark.parametrize("site", ["z", "k", "pattern"])
def test_operations_are_those_that_torch_counts(two_runs: Any, site: str) -> None:
    _, pairs, base, donor = two_runs
    edits = edits_on(base, donor, pairs, site, 8)
    layout = replay.plan(base, edits, memory=2**30)
    follow(base, edits, layout=layout)  # what is computed once for all sweeps is there now
    with FlopCounterMode(display=False) as counter:
        follow(base, edits, layout=layout)
    assert 0.7 <= layout.operations / counter.get_total_flops() <= 1.3
    text = layout.describe()
    assert text.startswith("36 counterfactual runs (6 edits x 6 examples): ")
    assert "MiB at once beside the model and the base run" in text
