"""The engine equals plain Hugging Face, one whole forward for each edit, on every architecture and at every site."""

import sys
from typing import Any

import oracles_attention
import pytest
import scenes
import torch
from architectures import tiny

from headscope import metrics, replay
from headscope.models import Edit, Model, load
from headscope.prompts import LOG_PROBABILITY, Pairs
from headscope.replay.edits import SITES

EXACT = 1e-5


def every_head_everywhere(model: Model, pairs: Pairs, site: str) -> replay.Edits:
    everything = torch.ones(1, model.grid.layers, model.grid.heads, dtype=torch.bool)
    return replay.edits_of(everything, [], pairs.mask, site=site)


def by_single_head(model: Model, pairs: Pairs, site: str) -> replay.Edits:
    return replay.edits_of(replay.single_heads(model.grid), [], pairs.mask, site=site)


def of_many_kinds(model: Model, pairs: Pairs, site: str, seed: int) -> replay.Edits:
    """Sets of heads over several layers, at positions of many kinds, with frozen heads in some."""
    draw = torch.Generator().manual_seed(seed)

    def flags(count: int, share: float) -> torch.Tensor:
        return torch.rand(count, model.grid.layers, model.grid.heads, generator=draw) < share

    single = replay.single_heads(model.grid)[torch.randperm(model.grid.size, generator=draw)[:3]]
    heads = torch.cat([single, flags(2, 0.3), flags(1, 1.1)])
    frozen = flags(len(heads), 0.3)
    frozen[torch.rand(len(heads), model.grid.layers, generator=draw) < 0.3] = True
    scattered = torch.rand(2, *pairs.mask.shape, generator=draw) < 0.3
    named = [replay.named_position(pairs.positions[name], pairs.mask) for name in ("end", "cue")]
    places = torch.cat([replay.everywhere(pairs.mask), *named, scattered])
    at = torch.randint(len(places), (len(heads),), generator=draw)
    return replay.Edits(site=site, heads=heads, values=[], places=places, at=at, frozen=frozen if seed % 2 else None)


def measured(model: Model, pairs: Pairs, edits: replay.Edits, memory: int, *, denoise: bool) -> torch.Tensor:
    tokens = (pairs.corrupted, pairs.tokens) if denoise else (pairs.tokens, pairs.corrupted)
    base, donor = (replay.start(model, pairs, each) for each in tokens)
    values = [donor.site(edits.site, layer).clone() for layer in range(model.grid.layers)]
    return replay.replay(base, replaced(edits, values), memory=memory)


def replaced(edits: replay.Edits, values: list[torch.Tensor]) -> replay.Edits:
    parts = {name: getattr(edits, name) for name in ("site", "heads", "places", "at", "frozen")}
    return replay.Edits(**parts, values=values)


@pytest.mark.parametrize("site", SITES)
def test_single_heads(model: Model, plain: Any, site: str) -> None:
    pairs = scenes.pairs()
    edits = by_single_head(model, pairs, site)
    ours = measured(model, pairs, edits, 2**20, denoise=True)
    theirs = scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)
    assert scenes.apart(ours, theirs) <= EXACT
    untouched = theirs[-1:, :1]
    assert scenes.apart(theirs[:-1], replay.start(model, pairs, pairs.corrupted).metric[:-1, None]) > 1e-3
    assert (theirs[-1] - untouched).abs().max() <= 1e-5  # the last twins are equal


@pytest.mark.parametrize(("seed", "site"), [*enumerate(SITES * 2)])
def test_sets_positions_and_frozen_heads(
    model: Model, plain: Any, seed: int, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few rows would otherwise all run together, from the first position on.
    monkeypatch.setattr(sys.modules["headscope.replay.plan"], "CPU_TOKENS", (1, 40, 2048)[seed % 3])
    pairs = scenes.pairs(seed=seed, metric=(LOG_PROBABILITY, "probability", "logit_difference")[seed // 2 % 3])
    edits = of_many_kinds(model, pairs, site, seed)
    denoise = seed % 2 == 0
    tokens, donor = (pairs.corrupted, pairs.tokens) if denoise else (pairs.tokens, pairs.corrupted)
    ours = measured(model, pairs, edits, (1, 2**17, 2**30)[seed // 3 % 3], denoise=denoise)
    assert scenes.apart(ours, scenes.expected(plain, pairs, tokens, donor, edits)) <= EXACT


@pytest.mark.parametrize("site", SITES)
def test_every_head_everywhere_still_leaves_the_embeddings(model: Model, plain: Any, site: str) -> None:
    pairs = scenes.pairs()
    edits = every_head_everywhere(model, pairs, site)
    ours = measured(model, pairs, edits, 2**20, denoise=True)
    assert scenes.apart(ours, scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)) <= EXACT
    if site == "z":
        clean = replay.start(model, pairs, pairs.tokens).metric
        rows = torch.arange(len(pairs))
        same = pairs.tokens[rows, pairs.end] == pairs.corrupted[rows, pairs.end]
        assert scenes.apart(ours[same, 0], clean[same]) <= EXACT
        assert (ours[~same, 0] - clean[~same]).abs().min() > 1e-3


def test_by_position(model: Model, plain: Any) -> None:
    pairs = scenes.pairs()
    heads = replay.single_heads(model.grid)[torch.tensor([1, 6, 11])].repeat_interleave(scenes.WIDTH, 0)
    at, places = torch.arange(scenes.WIDTH).repeat(3), replay.each_position(pairs.mask)
    edits = replay.Edits(site="z", heads=heads, values=[], places=places, at=at)
    ours = measured(model, pairs, edits, 2**20, denoise=True)
    assert scenes.apart(ours, scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)) <= EXACT


@pytest.mark.parametrize("name", scenes.VARIANTS)
def test_other_kinds_of_a_family(name: str) -> None:
    plain = scenes.random_model(scenes.VARIANTS[name]())
    model = load(plain, device="cpu")
    pairs = scenes.pairs()
    for site, seed in (("z", 1), ("k", 2), ("pattern", 3)):
        edits = of_many_kinds(model, pairs, site, seed)
        ours = measured(model, pairs, edits, 2**18, denoise=True)
        assert isinstance(replay.start(model, pairs, pairs.tokens), replay.Base)
        assert scenes.apart(ours, scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)) <= EXACT


@pytest.mark.parametrize("name", scenes.FALLBACKS)
def test_models_that_are_not_cut_open_run_whole(name: str) -> None:
    plain = scenes.random_model(scenes.FALLBACKS[name]())
    model, pairs = load(plain, device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Whole)
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    plain_scores = torch.stack([_one_whole_forward(model, pairs, donor, edit) for edit in range(len(edits))], 1)
    assert scenes.apart(replay.replay(base, edits), plain_scores) <= EXACT


def _one_whole_forward(model: Model, pairs: Pairs, donor: replay.Run, edit: int) -> torch.Tensor:
    layer, head = divmod(edit, model.grid.heads)
    heads = (torch.arange(model.grid.heads) == head).expand(len(pairs), -1)
    change = Edit(layer=layer, heads=heads, values=donor.z[layer])
    return scenes.read(model.run(pairs.corrupted, pairs.mask, edits=[change]), pairs)


def test_values_of_their_own(model: Model, plain: Any) -> None:
    """Each edit's own values, once in full and once as numbers of donors."""
    pairs = scenes.pairs()
    base = replay.start(model, pairs, pairs.corrupted)
    draw = torch.Generator().manual_seed(0)
    shape = (5, *pairs.mask.shape, model.grid.heads, model.d_head)
    given = torch.randn(shape, generator=draw)
    heads = torch.zeros(3, model.grid.layers, model.grid.heads, dtype=torch.bool)
    heads[0, 0, 1] = heads[1, 2, 3] = heads[2, 1] = True
    donors = torch.randint(5, (3, len(pairs)), generator=draw)
    rows = torch.arange(len(pairs))
    parts = {
        "site": "z",
        "heads": heads,
        "places": replay.everywhere(pairs.mask),
        "at": torch.zeros(3, dtype=torch.long),
    }
    own = given[donors, rows]
    full = replay.replay(base, replay.Edits(values=own, **parts))
    pool = given.transpose(0, 1).flatten(0, 1)  # donor number: example * 5 + which
    numbered = replay.replay(base, replay.Edits(values=pool, donors=rows * 5 + donors, **parts), memory=1)
    assert scenes.apart(numbered, full) <= 1e-6
    for edit in range(3):
        change = oracles_attention.Change("z", heads[edit], [own[edit]] * model.grid.layers, pairs.mask)
        logits, _ = oracles_attention.run(plain, pairs.corrupted, pairs.mask, change)
        assert scenes.apart(full[:, edit], scenes.read(logits, pairs)) <= EXACT


def test_no_edits_at_all(model: Model) -> None:
    pairs = scenes.pairs()
    base = replay.start(model, pairs, pairs.tokens)
    none = replay.edits_of(replay.head_sets(model.grid, []), base.z, pairs.mask)
    empty = replay.edits_of(replay.head_sets(model.grid, [[]]), base.z, pairs.mask)
    assert replay.replay(base, none).shape == (len(pairs), 0)
    assert torch.equal(replay.replay(base, empty)[:, 0], base.metric)


def test_with_all_else_frozen_a_head_acts_on_the_logits_alone() -> None:
    """Path patching's direct effect in closed form: the head's change times W_O is all that is added."""
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Base)
    heads = replay.single_heads(model.grid)
    edits = replay.Edits(
        site="z",
        heads=heads,
        values=donor.z,
        places=replay.everywhere(pairs.mask),
        at=torch.zeros(len(heads), dtype=torch.long),
        frozen=torch.ones_like(heads),
        frozen_mlps=True,
    )
    found = replay.replay(base, edits)
    rows = torch.arange(len(pairs))
    for index, (layer, head) in enumerate(model.grid):
        change = (donor.z[layer] - base.z[layer])[rows, pairs.end, head] @ model.W_O[layer, head]
        logits = model.cut.program.logits(model.cut.program.norm(base.last[:, 0] + change))
        assert scenes.apart(found[:, index], metrics.evaluate(logits, pairs)) <= EXACT
