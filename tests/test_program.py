"""Cutting models open: every part computes what the model computes, and what cannot be trusted is not used."""

import math
from dataclasses import replace
from typing import Any

import oracles_attention
import pytest
import scenes
import torch
from architectures import ARCHITECTURES, D_HEAD, HEADS, LAYERS, tiny
from torch.utils.flop_counter import FlopCounterMode
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import BertConfig, BertLMHeadModel, OPTConfig

from headscope import replay
from headscope.models import Model, cutting, load
from headscope.models.cutting import cut, last_stream, whole
from headscope.models.families import FAMILIES, activation, linear, part
from headscope.models.program import Program, Projection, attend, pattern, repeated, visible
from headscope.replay.plan import whole_forward


@pytest.fixture(scope="module")
def gpt2() -> Model:
    return load(tiny("gpt2"), device="cpu")


def program_of(model: Any) -> Program:
    program, reason = model.cut
    assert program is not None, reason
    return program


def test_whole_runs_equal_hugging_face(model: Model, plain: Any) -> None:
    pairs, program = scenes.pairs(), program_of(model)
    theirs, _ = oracles_attention.run(plain, pairs.tokens, pairs.mask)
    ours = whole(program, pairs.tokens, pairs.mask)
    assert scenes.apart(ours[pairs.mask], theirs[pairs.mask]) <= 1e-5
    some = torch.tensor([3, 50, 96])
    hidden = program.norm(last_stream(program, pairs.tokens, pairs.mask))
    assert scenes.apart(program.logits(hidden, some)[pairs.mask], theirs[..., some][pairs.mask]) <= 1e-5


def test_what_a_run_keeps_equals_hugging_face(model: Model, plain: Any, architecture: str) -> None:
    pairs = scenes.pairs()
    base = replay.start(model, pairs, pairs.tokens)
    assert isinstance(base, replay.Base)
    _, seen = oracles_attention.run(plain, pairs.tokens, pairs.mask)
    for layer in range(LAYERS):
        for site in ("z", "q", "k", "v"):
            ours, theirs = base.site(site, layer), getattr(seen, site)[layer]
            ours = repeated(ours, HEADS) if site in {"k", "v"} else ours
            if site == "q" and architecture == "opt":
                ours = ours * D_HEAD**-0.5  # Hugging Face's OPT scales queries, and not scores
            assert scenes.apart(ours[pairs.mask], theirs[pairs.mask]) <= 1e-5, (site, layer)
        real = pairs.mask[:, None, :].expand(-1, HEADS, -1)
        assert scenes.apart(base.pattern(layer)[real], seen.pattern[layer][real]) <= 1e-5
        assert base.residual[layer].shape == (*pairs.mask.shape, program_of(model).d_model)


def test_every_architecture_is_known() -> None:
    assert {*ARCHITECTURES, "mistral"} <= {*FAMILIES}


def test_weights_are_views_of_the_models_own(model: Model) -> None:
    owned = {value.untyped_storage().data_ptr() for value in model.bridge.original_model.parameters()}
    for block in program_of(model).blocks:
        for projection in (block.query, block.key, block.value, block.out):
            assert projection.weight.untyped_storage().data_ptr() in owned
    assert program_of(model).unembed.weight.untyped_storage().data_ptr() in owned


def test_operations_are_those_that_torch_counts(model: Model) -> None:
    tokens = torch.full((1, 16), 5)
    program = program_of(model)
    with FlopCounterMode(display=False) as counter:
        whole(program, tokens, tokens > 0)
    counted = counter.get_total_flops()
    assert 0.8 <= whole_forward(program, 16) / counted <= 1.25


# --- parts


def test_projections() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(3, 5), torch.randn(2, 4, 3)
    assert torch.allclose(linear(layer)(x), layer(x), atol=1e-6)
    assert linear(layer).operations == 30
    bare = Projection(weight=layer.weight.detach().T)
    assert torch.allclose(bare(x), x @ layer.weight.T, atol=1e-6)


def test_activations_are_the_same_function() -> None:
    from transformers.activations import ACT2FN

    x = torch.linspace(-6, 6, 101)
    for name in ("gelu_new", "gelu", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "quick_gelu", "gelu_python"):
        assert (activation(ACT2FN[name])(x) - ACT2FN[name](x)).abs().max() <= 1e-5, name


def test_parts_are_found_through_wrappers(gpt2: Model) -> None:
    assert part(gpt2.bridge.original_model, "transformer.h.1.ln_1").weight.shape == (32,)
    assert part(gpt2.bridge.original_model, "transformer.h.1.nothing") is None


def test_windows_and_masks(gpt2: Model) -> None:
    block = program_of(gpt2).blocks[0]
    at = torch.tensor([0, 2, 4])
    assert visible(block, at, 5, causal=False) is None
    seen = visible(block, at, 5, causal=True)
    assert seen is not None
    assert seen.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    local = visible(replace(block, window=2), at[None], 5, causal=True)
    assert local is not None
    assert local.int().tolist() == [[[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]]


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_attention_spelt_out(gpt2: Model, softcap: float | None) -> None:
    block = replace(program_of(gpt2).blocks[0], softcap=softcap, scale=0.7)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, length, heads, 3, generator=draw) for length, heads in ((2, 4), (5, 2), (5, 2)))
    seen = visible(block, torch.tensor([2, 4]), 5, causal=True)
    z, weights = attend(block, q, k, v, seen), pattern(block, q, repeated(k, 4), seen)
    for row in range(2):
        for head in range(4):
            for index, place in enumerate((2, 4)):
                scores = [0.7 * float(q[row, index, head] @ k[row, key, head // 2]) for key in range(place + 1)]
                scores = scores if softcap is None else [softcap * math.tanh(score / softcap) for score in scores]
                exponents = [math.exp(score) for score in scores]
                shares = torch.tensor([each / sum(exponents) for each in exponents])
                assert (weights[row, head, index, : place + 1] - shares).abs().max() <= 1e-6
                assert weights[row, head, index, place + 1 :].abs().sum() == 0
                assert (z[row, index, head] - shares @ v[row, : place + 1, head // 2]).abs().max() <= 1e-6


def test_rotation_in_a_long_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "PLACES", 4)
    pairs, plain = scenes.pairs(), tiny("llama")
    program = program_of(load(plain, device="cpu"))
    for tokens in (pairs.tokens[:, :3], pairs.tokens, pairs.tokens[:, :5]):
        mask = pairs.mask[:, : tokens.shape[1]]
        theirs, _ = oracles_attention.run(plain, tokens, mask)
        assert scenes.apart(whole(program, tokens, mask)[mask], theirs[mask]) <= 1e-5


# --- what is not trusted


@pytest.mark.parametrize("name", scenes.FALLBACKS)
def test_unknown_architectures_have_no_program(name: str) -> None:
    program, reason = load(scenes.random_model(scenes.FALLBACKS[name]()), device="cpu").cut  # type: ignore[attr-defined]
    assert program is None
    assert reason == f"architecture {name!r} cannot be started in the middle"


def test_a_bert_that_is_a_decoder_is_not_run_as_an_encoder() -> None:
    config = BertConfig(**{**scenes.architectures._COMMON, "is_decoder": True})
    torch.manual_seed(0)
    model: Any = load(BertLMHeadModel(config).eval(), device="cpu")
    assert model.cut.program is None
    assert model.cut.reason.startswith("this bert model computes something else than its weights say (")


def test_a_layout_that_is_not_known_has_no_program() -> None:
    sizes = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97}
    config = OPTConfig(**sizes, max_position_embeddings=32, word_embed_proj_dim=16, do_layer_norm_before=False)
    model: Any = load(scenes.random_model(config), device="cpu")
    assert model.cut.program is None
    assert model.cut.reason.startswith("this opt model is not laid out as expected (")


def test_a_program_that_computes_something_else_is_not_used(gpt2: Model) -> None:
    bridge: Any = gpt2.bridge
    found = cut(bridge, check=lambda _: 0.02, tolerance=1e-4)
    assert found.program is None
    assert found.reason == "this gpt2 model computes something else than its weights say (2.0e-02 apart)"
    assert cut(bridge, check=lambda _: float("nan"), tolerance=1e-4).program is None


def test_it_is_cut_once_and_again_when_weights_change() -> None:
    model: Any = load(tiny("gpt_neox"), device="cpu")
    pairs, first = scenes.pairs(), model.cut
    for use in (model.run, model.outputs, lambda *given: list(model.patterns(*given))):
        use(pairs.tokens, pairs.mask)
    replay.start(model, pairs, pairs.tokens)
    assert model.cut is first
    layer = model.bridge.blocks[1].attn
    with torch.no_grad():
        layer.q.weight.mul_(2)  # the model's own, a copy of what was fused
    _equals_the_model(model)
    assert model.cut is not first
    second = model.cut
    replaced = torch.nn.Linear(32, 32)
    layer.o.set_original_component(replaced)
    _equals_the_model(model)
    assert model.cut is not second


def _equals_the_model(model: Any) -> None:
    pairs = scenes.pairs()
    base = replay.start(model, pairs, pairs.tokens)
    assert isinstance(base, replay.Base)
    assert scenes.apart(base.metric, scenes.read(model.run(pairs.tokens, pairs.mask), pairs)) <= 1e-5


def test_compatibility_mode_after_cutting(gpt2: Model) -> None:
    plain = tiny("gpt2")
    bridge = build_bridge_from_module(tiny("gpt2"), type(plain).__name__, hf_config=plain.config, model_name="own")
    model: Any = load(bridge.eval())
    first = model.cut
    bridge.enable_compatibility_mode()
    pairs = scenes.pairs()
    metric = replay.start(model, pairs, pairs.tokens).metric
    assert model.cut is not first
    assert scenes.apart(metric, scenes.read(model.run(pairs.tokens, pairs.mask), pairs)) <= 1e-5


def test_cutting_leaves_nothing_behind() -> None:
    model: Any = load(tiny("llama"), device="cpu")
    weights = {name: value.clone() for name, value in model.bridge.original_model.named_parameters()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.bridge.modules()]
    program_of(model)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.bridge.modules()]
    for name, value in model.bridge.original_model.named_parameters():
        assert torch.equal(value, weights[name])
