"""What the engine refuses, and what it says; and models whose edits or weights are not what they seem."""

import inspect
from dataclasses import replace
from typing import Any

import pytest
import scenes
import torch
from architectures import tiny
from torch import Tensor
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

from headscope import replay
from headscope.errors import ModelError, UsageError
from headscope.models import Model, load
from headscope.prompts import Pairs
from headscope.replay import Edits


@pytest.fixture(scope="module")
def model() -> Model:
    return load(tiny("gpt2"), device="cpu")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return scenes.pairs()


@pytest.fixture(scope="module")
def runs(model: Model, pairs: Pairs) -> tuple[replay.Base, replay.Base]:
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Base)
    assert isinstance(donor, replay.Base)
    return base, donor


def told(call: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n  expected: " in str(caught.value)
    assert "\n  to fix it: " in str(caught.value)
    return str(caught.value)


def unchecked(given: dict[str, Any]) -> Edits:
    """Made as without jaxtyping's import hook, which would refuse wrong shapes before headscope does."""
    made = object.__new__(Edits)
    fields = {"frozen": None, "frozen_mlps": False, "donors": None} | given
    inspect.unwrap(Edits.__init__)(made, **fields)
    return made


def parts(model: Model, pairs: Pairs, own: Any, other: dict[str, Any]) -> dict[str, Any]:
    heads = replay.single_heads(model.grid)
    at, places = torch.zeros(len(heads), dtype=torch.long), replay.everywhere(pairs.mask)
    return {"site": "z", "heads": heads, "values": own, "places": places, "at": at} | other


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"site": "mlp"}, "site 'mlp'\n  expected: one of: z, q, k, v, pattern"),
        ({"at": torch.zeros(3, dtype=torch.long)}, "12 edits and 3 sets of positions"),
        ({"at": torch.full((12,), 1)}, "edits with sets of positions 1 to 1 of 1\n  expected: counted from 0"),
        ({"heads": torch.ones(12, 3, 5, dtype=torch.bool)}, "heads (12, 3, 5) of torch.bool\n  expected: (12, 3, 4)"),
        ({"places": torch.ones(1, 6, 12, dtype=torch.bool)}, "places (1, 6, 12) of torch.bool\n  expected: (1, 6, 13)"),
        ({"frozen": torch.ones(12, 1, 4, dtype=torch.bool)}, "frozen (12, 1, 4) for heads (12, 3, 4)"),
        ({"values": [torch.zeros(6, 13, 4, 8)]}, "edits with z values none of layer 1\n  expected: (6, 13, 4, 8)"),
        ({"values": [torch.zeros(6, 13, 4, 9)] * 3}, "z values (6, 13, 4, 9) of layer 0\n  expected: (6, 13, 4, 8)"),
        ({"values": torch.zeros(12, 5, 13, 4, 8)}, "z values (12, 5, 13, 4, 8)\n  expected: (12, 6, 13, 4, 8)"),
    ],
)
def test_edits_that_do_not_fit(model: Model, pairs: Pairs, runs: Any, other: Any, words: str) -> None:
    base, donor = runs

    def run() -> Tensor:
        return replay.replay(base, unchecked(parts(model, pairs, donor.z, other)))

    assert words in told(run)


def test_values_of_their_own_are_for_one_layer(model: Model, pairs: Pairs) -> None:
    heads = torch.ones(1, 3, 4, dtype=torch.bool)
    at, values = torch.zeros(1, dtype=torch.long), torch.zeros(1, 6, 13, 4, 8)
    assert "edits of several layers with values of their own\n  expected: one layer each" in told(
        lambda: Edits(**parts(model, pairs, values, {"heads": heads, "at": at}))
    )


def test_heads_that_the_model_lacks(model: Model) -> None:
    assert "head L3H0\n  expected: 3 layers of 4 heads" in told(lambda: replay.head_sets(model.grid, [[(3, 0)]]))


def test_patterns_that_look_ahead(model: Model, pairs: Pairs, runs: Any) -> None:
    base, _ = runs
    even = [torch.full((6, 4, 13, 13), 1 / 13)] * 3
    edits = replay.edits_of(replay.single_heads(model.grid), even, pairs.mask, site="pattern")
    assert "patterns of layer 0 in which positions attend to later ones, in a decoder" in told(
        lambda: replay.replay(base, edits)
    )


def test_values_that_are_not_finite_do_not_pass_as_effects(model: Model, pairs: Pairs, runs: Any) -> None:
    base, donor = runs
    values = [z.clone() for z in donor.z]
    values[1][2, 9] = float("inf")
    edits = replay.edits_of(replay.single_heads(model.grid), values, pairs.mask)
    assert "'logit_difference' of task 'scene', which is NaN or infinite for" in told(
        lambda: replay.replay(base, edits)
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: replace(p, tokens=p.tokens + 90), "token ids from 93 to 186 for model 'GPT2LMHeadModel'"),
        (lambda p: replace(p, tokens=p.tokens - 9), "token ids from -"),
        (lambda p: replace(p, metric="acurracy"), "metric 'acurracy'\n  expected: one of: logit_difference"),
        (lambda p: replace(p, positions={}), "position 'end' of task 'scene'"),
        (
            lambda p: replace(p, positions={"end": p.positions["cue"]}),
            "pairs of task 'scene' whose metric reads where there is no token (examples 2, 5)\n  expected: a",
        ),
        (lambda p: replace(p, positions={"end": torch.full((6,), 9)}), "no token (examples 1, 4)"),
        (lambda p: replace(p, metric=lambda logits, _: logits), "which gives a tensor of shape (6, 97)"),
        (lambda p: replace(p, metric=lambda logits, _: logits[:, 0] / 0), "which is NaN or infinite for examples 0, 1"),
    ],
)
def test_pairs_that_cannot_be_run(model: Model, pairs: Pairs, change: Any, words: str) -> None:
    def run() -> replay.Run:
        changed = change(pairs)
        return replay.start(model, changed, changed.tokens)

    assert words in told(run)


def test_prompts_that_are_too_long(model: Model) -> None:
    tokens = torch.full((2, 33), 5)
    long = Pairs(
        task="long",
        tokens=tokens,
        corrupted=tokens,
        mask=tokens > 0,
        groups=torch.arange(2),
        positions={"end": torch.tensor([32, 32])},
        answers=tokens[:, :1],
        foils=tokens[:, :1] + 1,
    )
    assert "prompts of 33 tokens for model 'GPT2LMHeadModel'\n  expected: at most 32" in told(
        lambda: replay.start(model, long, long.tokens)
    )


def test_tokens_of_other_prompts(model: Model, pairs: Pairs) -> None:
    assert "tokens (5, 13) for pairs of (6, 13)" in told(lambda: replay.start(model, pairs, pairs.tokens[:5]))


def test_models_that_run_whole_say_what_they_cannot_do(pairs: Pairs) -> None:
    model = load(scenes.random_model(scenes.FALLBACKS["phi"]()), device="cpu")
    base = replay.start(model, pairs, pairs.tokens)
    heads = replay.single_heads(model.grid)
    why = "in model 'PhiForCausalLM': architecture 'phi' cannot be started in the middle"
    queries = replay.edits_of(heads, base.z, pairs.mask, site="q")
    assert f"edits of q {why}\n  expected: edits of z" in told(lambda: replay.replay(base, queries))
    assert f"edits of pattern {why}" in told(lambda: base.site("pattern", 0))
    several = torch.ones(1, 3, 4, dtype=torch.bool)
    some = replay.edits_of(several, base.z, replay.named_position(pairs.end, pairs.mask)[0])
    assert f"edits of several layers at some positions {why}" in told(lambda: replay.replay(base, some))
    frozen = replace(some, frozen=torch.zeros(1, 3, 4, dtype=torch.bool))
    assert f"edits of several layers at some positions {why}" in told(lambda: replay.replay(base, frozen))
    misfit = replay.edits_of(heads, base.z, pairs.mask[:, :5])
    assert "edits with places (1, 6, 5)" in told(lambda: replay.replay(base, misfit))


def bridge_of(plain: Any) -> Any:
    wrapped = build_bridge_from_module(plain, type(plain).__name__, hf_config=plain.config, model_name="own")
    return wrapped.eval()


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "bert"])
def test_a_model_that_discards_edits_is_refused(name: str) -> None:
    bridge = bridge_of(tiny(name))
    out = bridge.blocks[1].attn.o

    def deaf(x: Tensor, *_: Any, **__: Any) -> Tensor:
        out.hook_in(x)  # what a hook gives back is dropped
        return out.hook_out(out.original_component(x))

    object.__setattr__(out, "forward", deaf)
    with pytest.raises(ModelError) as caught:
        load(bridge)
    assert "which fails the self-check 'patch_everything_gives_clean'" in str(caught.value)


def test_a_bridge_in_compatibility_mode_gives_its_own_numbers(pairs: Pairs) -> None:
    plain = tiny("gpt2")
    bridge = bridge_of(tiny("gpt2"))
    bridge.enable_compatibility_mode(no_processing=True)
    model = load(bridge)
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    wanted = scenes.expected(plain, pairs, pairs.corrupted, pairs.tokens, edits)
    assert scenes.apart(replay.replay(base, edits), wanted) <= 1e-5


def test_a_bridge_with_a_hook_of_its_own_runs_whole(pairs: Pairs) -> None:
    bridge = bridge_of(tiny("gpt2"))
    model = load(bridge)
    before = replay.start(model, pairs, pairs.tokens)
    assert isinstance(before, replay.Base)
    hook = bridge.blocks[0].hook_mlp_out.register_forward_hook(lambda _module, _inputs, value: value * 0)
    hooked = replay.start(model, pairs, pairs.tokens)
    assert isinstance(hooked, replay.Whole)
    assert model.cut.reason.startswith("this gpt2 model computes something else than its weights say (")
    assert scenes.apart(hooked.metric, scenes.read(model.run(pairs.tokens, pairs.mask), pairs)) <= 1e-5
    assert scenes.apart(before.metric, hooked.metric) > 1e-2
    hook.remove()
    assert torch.equal(replay.start(model, pairs, pairs.tokens).metric, before.metric)
