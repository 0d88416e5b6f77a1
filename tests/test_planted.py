"""Planted heads attend where they should, at every place of the grid, and the induction pair predicts."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.testing import Plant, planted_model

GRID = Grid(layers=3, heads=3)
PLACES = list(GRID)
VOCABULARY, HALF = 16, 7
LENGTH = 2 * HALF


def build(plant, **options):
    model = planted_model(plant, **{"grid": GRID, "vocabulary": VOCABULARY, "positions": LENGTH} | options)
    model.set_attn_implementation("eager")
    return model


def repeated(seed=0, rows=8):
    """Distinct random tokens, twice: position i >= HALF repeats position i - HALF."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.stack([torch.randperm(VOCABULARY, generator=generator)[:HALF] for _ in range(rows)])
    return torch.cat([half, half], dim=1)


def patterns(model, tokens):
    with torch.no_grad():
        return torch.stack(model(tokens, output_attentions=True).attentions, dim=1)


def least(found, place, *, queries, offset=None, key=None):
    """The least attention of a head from any of `queries`, in any prompt, to the key at an offset or a place."""
    query = torch.as_tensor(list(queries))
    keys = query + offset if offset is not None else torch.full_like(query, key)
    return found[:, place[0], place[1], query, keys].min().item()


ONE_BACK = {"queries": range(1, LENGTH), "offset": -1}
EARLIER_COPY = {"queries": range(HALF, LENGTH), "offset": -HALF}
AFTER_THE_COPY = {"queries": range(HALF, LENGTH), "offset": 1 - HALF}


@pytest.mark.parametrize("place", PLACES)
def test_single_heads_attend_at_every_place(place):
    tokens = repeated()
    assert least(patterns(build(Plant(previous_token=place)), tokens), place, **ONE_BACK) > 0.99
    found = patterns(build(Plant(duplicate_token=place)), tokens)
    assert least(found, place, **EARLIER_COPY) > 0.99
    assert least(found, place, queries=range(HALF), key=0) > 0.99
    found = patterns(build(Plant(first_token=place)), tokens)
    assert least(found, place, queries=range(LENGTH), key=0) > 0.99


@pytest.mark.parametrize(
    "pair", [pair for pair in itertools.product(PLACES, repeat=2) if pair[0][0] < pair[1][0]], ids=str
)
def test_induction_pairs_attend_and_predict_at_every_place(pair):
    model, tokens = build(Plant(induction=pair)), repeated()
    found = patterns(model, tokens)
    assert least(found, pair[0], **ONE_BACK) > 0.99
    assert least(found, pair[1], **AFTER_THE_COPY) > 0.99
    assert least(found, pair[1], queries=range(HALF), offset=0) > 0.99
    logits = model(tokens).logits[:, HALF:-1]
    assert (logits.argmax(-1) == tokens[:, HALF + 1 :]).all()


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.permutations(PLACES), st.integers(0, 1000), st.sampled_from([0.0, 0.02]))
def test_all_roles_together_in_any_order(places, seed, noise):
    pair = next(pair for pair in itertools.combinations(sorted(places[:4]), 2) if pair[0][0] < pair[1][0])
    rest = [place for place in places if place not in pair]
    plant = Plant(previous_token=rest[0], duplicate_token=rest[1], first_token=rest[2], induction=pair)
    model, tokens = build(plant, noise=noise, seed=seed), repeated(seed)
    found = patterns(model, tokens)
    assert least(found, rest[0], **ONE_BACK) > 0.9
    assert least(found, rest[1], **EARLIER_COPY) > 0.9
    assert least(found, rest[2], queries=range(LENGTH), key=0) > 0.9
    assert least(found, pair[0], **ONE_BACK) > 0.9
    assert least(found, pair[1], **AFTER_THE_COPY) > 0.9
    logits = model(tokens).logits[:, HALF:-1]
    assert (logits.argmax(-1) == tokens[:, HALF + 1 :]).float().mean() > 0.98


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=LENGTH))
def test_any_prompt_with_ties_and_immediate_repeats(prompt):
    """All the copies share a head's attention; position 0, which copied itself, is never taken for a match."""
    plant = Plant(duplicate_token=(0, 2), induction=((0, 0), (1, 1)))
    found = patterns(build(plant), torch.tensor([prompt]))[0]
    for query, token in enumerate(prompt):
        copies = [key for key in range(query) if prompt[key] == token] or [0]
        assert found[0, 2, query, copies].sum() > 0.99
        after = [key for key in range(1, query + 1) if prompt[key - 1] == token] or [query]
        assert found[1, 1, query, after].sum() > 0.99


def test_the_pair_is_what_predicts():
    plant = Plant(previous_token=(1, 0), duplicate_token=(0, 2), first_token=(2, 2), induction=((0, 1), (2, 0)))
    model, tokens = build(plant), repeated()
    right = tokens[:, HALF + 1 :, None]

    def probability():
        with torch.no_grad():
            return model(tokens).logits[:, HALF:-1].softmax(-1).gather(-1, right).mean().item()

    whole, lost = probability(), {}
    for layer, head in GRID:
        d_head = model.config.n_embd // GRID.heads
        output = model.get_parameter(f"transformer.h.{layer}.attn.c_proj.weight")
        kept = output.detach().clone()
        with torch.no_grad():
            output[head * d_head : (head + 1) * d_head] = 0
        lost[layer, head] = whole - probability()
        with torch.no_grad():
            output.copy_(kept)
    assert whole > 0.95
    assert min(lost[0, 1], lost[2, 0]) > 0.8
    assert 0 < max(abs(lost[place]) for place in ((1, 0), (0, 2), (2, 2))) < 0.05
    assert all(lost[place] == 0 for place in GRID if place not in plant.named().values())


def test_layer_norm_changes_nothing_at_the_start():
    model, tokens = build(Plant()), repeated()
    stream = model.transformer.wte(tokens) + model.transformer.wpe(torch.arange(LENGTH))
    torch.testing.assert_close(model.transformer.h[0].ln_1(stream), stream, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2, 12])
def test_other_sizes(heads):
    plant = Plant(induction=((0, heads - 1), (1, 0)))
    model = build(plant, grid=Grid(2, heads), vocabulary=20, positions=15)
    tokens = repeated()
    assert (model(tokens).logits[:, HALF:-1].argmax(-1) == tokens[:, HALF + 1 :]).all()


def test_other_heads_are_inert_or_seeded_noise():
    tokens = repeated()
    with torch.no_grad():
        assert build(Plant())(tokens).logits.abs().max() < 1e-12
    plant = Plant(first_token=(0, 0))
    one, same, other = (build(plant, noise=0.02, seed=seed).state_dict() for seed in (1, 1, 2))
    name = "transformer.h.1.attn.c_attn.weight"
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one[name], other[name])
    assert one[name].std().item() == pytest.approx(0.02, rel=0.05)


def test_building_leaves_the_callers_random_state():
    before = torch.get_rng_state()
    build(Plant(previous_token=(0, 0)), noise=0.02)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Plant(induction=((1, 0), (1, 2))),
            "induction pair L1H0, L1H2\n  expected: an induction head in a later layer than its previous-token head\n"
            "  to fix it: move L1H2 to layer 2 or above",
        ),
        (
            lambda: Plant(previous_token=(0, 1), induction=((0, 1), (1, 2))),
            "L0H1 for previous_token and for induction_previous\n  expected: one role per head\n"
            "  to fix it: choose another head",
        ),
        (
            lambda: build(Plant(first_token=(3, 0))),
            "head L3H0\n  expected: layers 0-2 and heads 0-2\n  to fix it: both are counted from 0",
        ),
        (
            lambda: build(Plant(), positions=1),
            "vocabulary 16, positions 1\n  expected: 2 or more of each\n"
            "  to fix it: heads need something to tell apart",
        ),
    ],
)
def test_errors_say_what_to_do(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == text
