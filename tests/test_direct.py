"""Direct logit attribution: what heads write adds up to the metric, and equals plain arithmetic and TransformerLens."""

from dataclasses import replace
from typing import Any

import numpy as np
import oracles
import pytest
import scenes
import torch
from architectures import HEADS, tiny
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.direct import DIRECT, contributions, direct, frozen
from headscope.models import Model, load
from headscope.prompts import LOG_PROBABILITY, Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, check_method, planted_model

SAME = 1e-5
ADDING = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gpt_neo", "opt")
NORMS = {
    "gpt2": "transformer.ln_f", "gpt_neox": "gpt_neox.final_layer_norm", "gpt_neo": "transformer.ln_f",
    "opt": "model.decoder.final_layer_norm",
}  # fmt: skip
LINEAR = settings(
    derandomize=True, max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# --- the sum


@pytest.mark.parametrize("architecture", ADDING, indirect=True)
@LINEAR
@given(seed=st.integers(0, 99))
def test_all_contributions_add_up_to_the_metric(model: Model, seed: int) -> None:
    pairs = random_pairs(seed=seed)
    for tokens in (pairs.tokens, pairs.corrupted):
        found = contributions(model, pairs, tokens)
        assert scenes.apart(found.total, found.metric) <= SAME
        parts = (found.heads, found.attention_bias, found.mlp, found.embedding, found.constant)
        assert all(bool(part.isfinite().all()) for part in parts)


def test_capped_logits_add_up_too_when_the_cap_bites() -> None:
    """Answers of one raw logit take the tangent; of two very different ones, the chord."""
    plain = tiny("gemma2")
    plain.config.final_logit_softcapping = 0.1
    model, pairs = load(plain, device="cpu"), random_pairs()
    found = contributions(model, pairs, pairs.tokens)
    assert found.metric.abs().max() < 0.2
    assert scenes.apart(found.total, found.metric) <= SAME
    loose = tiny("gemma2")
    loose.config.final_logit_softcapping = None
    raw = contributions(load(loose, device="cpu"), pairs, pairs.tokens)
    assert raw.metric.abs().max() > 0.4
    same = contributions(model, replace(pairs, foils=pairs.answers), pairs.tokens)
    assert same.total.abs().max() <= SAME
    one = replace(pairs, answers=pairs.answers[:, :1], foils=pairs.foils[:, :1])
    capped, free = (contributions(each, one, one.tokens) for each in (model, load(loose, device="cpu")))
    share = capped.metric / free.metric
    assert scenes.apart(capped.heads, free.heads * share[:, None, None]) <= 1e-4


# --- against plain arithmetic


def held(module: nn.Module, store: list[Tensor]) -> Any:
    return module.register_forward_hook(lambda _module, inputs, _output: store.append(inputs[0].detach()))


def normalised(norm: nn.Module, part: Tensor, whole: Tensor, *, gemma: bool) -> Tensor:
    """A part of what a norm reads, with the norm's scale as it is for the whole, by the textbook."""
    if isinstance(norm, nn.LayerNorm):
        deviation = (whole.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
        return (part - part.mean(-1, keepdim=True)) / deviation * norm.weight
    size = (whole.square().mean(-1, keepdim=True) + (norm.eps if gemma else norm.variance_epsilon)).sqrt()
    return part / size * (1 + norm.weight if gemma else norm.weight)


@pytest.mark.parametrize("architecture", ADDING, indirect=True)
@torch.no_grad()
def test_each_head_is_its_output_through_the_frozen_norm(model: Model, plain: Any, architecture: str) -> None:
    pairs = random_pairs()
    gemma = architecture == "gemma2"
    pairs = replace(pairs, answers=pairs.answers[:, :1], foils=pairs.foils[:, :1])
    last, after = plain.get_submodule(NORMS.get(architecture, "model.norm")), []
    streams: list[Tensor] = []
    handles = [held(last, streams)]
    if gemma:
        after = [layer.post_attention_layernorm for layer in plain.model.layers]
        whole: list[Tensor] = []
        handles += [held(norm, whole) for norm in after]
    z = oracles.outputs(plain, pairs.tokens, HEADS, pairs.mask)
    for handle in handles:
        handle.remove()
    rows = torch.arange(len(pairs))
    direction = plain.lm_head.weight[pairs.answers[:, 0]] - plain.lm_head.weight[pairs.foils[:, 0]]
    found = direct(model, pairs)["direct"]
    for layer, module in enumerate(oracles.projections(plain)):
        weight = module.weight if architecture == "gpt2" else module.weight.T
        for head in range(HEADS):
            width = z.shape[-1]
            written = z[layer, rows, pairs.end, head] @ weight[head * width : (head + 1) * width]
            if gemma:
                written = normalised(after[layer], written, whole[layer][rows, pairs.end], gemma=True)
            seen = normalised(last, written, streams[0][rows, pairs.end], gemma=gemma)
            wanted = (seen * direction).sum(-1)
            # Gemma's logits are capped at 30 in the test model, which does next to nothing to them.
            assert (found[:, layer, head] - wanted).abs().max() <= (1e-3 if gemma else SAME) * float(found.abs().max())


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama"], indirect=True)
def test_direct_equals_transformer_lens(model: Model, plain: Any) -> None:
    from transformer_lens.tools.analysis.direct_logit_attribution import direct_logit_attribution

    pairs = random_pairs(n=3, padded=False)
    pairs = replace(pairs, answers=pairs.answers[:, :1], foils=pairs.foils[:, :1])
    bridge = load(plain, device="cpu").bridge  # a copy: compatibility mode changes the weights
    # By default value biases, which are part of what a head puts out, would be moved to the bias of the whole layer.
    bridge.enable_compatibility_mode(fold_value_biases=False)
    theirs = direct_logit_attribution(
        bridge, pairs.tokens, pairs.answers[:, 0], pairs.foils[:, 0], unit="head", pos=-1
    ).attribution
    heads = theirs[: model.grid.size].detach().T.unflatten(1, (model.grid.layers, model.grid.heads))
    assert scenes.apart(direct(model, pairs)["direct"], heads.double()) <= 1e-4


# --- signs, differences, portions


def test_the_difference_is_clean_less_corrupted(gpt2_model: Model) -> None:
    pairs = random_pairs()
    found = direct(gpt2_model, pairs)
    clean, corrupted = (contributions(gpt2_model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    assert torch.equal(found["direct"], clean.heads)
    assert torch.equal(found["direct_difference"], clean.heads - corrupted.heads)
    assert scenes.apart(clean.total - corrupted.total, clean.metric - corrupted.metric) <= SAME


def test_a_head_that_writes_against_the_answer_is_negative() -> None:
    grid, head = Grid(layers=2, heads=2), (1, 1)
    planted = planted_model(Plant(induction=((0, 0), head)), grid=grid, vocabulary=32, positions=32, noise=0.02)
    pairs = TASKS["induction"].build(load(planted, device="cpu"), n=4, rng=np.random.default_rng(0))
    right = direct(load(planted, device="cpu"), pairs)["direct"]
    width = planted.config.n_embd // 2
    with torch.no_grad():
        planted.transformer.h[1].attn.c_proj.weight[width:] *= -1
    wrong = direct(load(planted, device="cpu"), pairs)["direct"]
    assert (right[:, *head] > 1).all()
    assert (wrong[:, *head] < -1).all()
    assert right.mean(0).abs().flatten().argmax() == wrong.mean(0).abs().flatten().argmax() == 3


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "bert"], indirect=True)
def test_the_contract_is_kept(model: Model) -> None:
    check_method(DIRECT, model, random_pairs())


# --- where there is nothing to take apart


@pytest.mark.parametrize("metric", ["probability", LOG_PROBABILITY])
def test_other_metrics_are_absent_and_refused(gpt2_model: Model, metric: str) -> None:
    pairs = scenes.pairs(metric=metric)
    assert all(value.isnan().all() for value in direct(gpt2_model, pairs).values())
    expect_refusal(gpt2_model, pairs, f"metric '{metric}'")


@pytest.mark.parametrize("architecture", ["bert"], indirect=True)
def test_post_norm_models_are_absent_and_refused(model: Model) -> None:
    pairs = random_pairs()
    assert all(value.isnan().all() for value in direct(model, pairs).values())
    expect_refusal(model, pairs, "a model that transforms the stream again before the unembedding")
    program = replace(model.cut.program, transform=None)
    kind = type("ByHand", (type(model),), {"cut": (program, "")})
    headless = object.__new__(kind)
    headless.__dict__.update(vars(model))
    expect_refusal(headless, pairs, "a model that normalises the stream again after every block")


def test_what_cannot_be_cut_open_is_refused_with_the_reason() -> None:
    model = load(scenes.random_model(scenes.FALLBACKS["bloom"]()), device="cpu")
    with pytest.raises(UsageError, match=r"^direct logit attribution of model '.*': architecture 'bloom' cannot be"):
        direct(model, random_pairs())


def expect_refusal(model: Any, pairs: Pairs, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        contributions(model, pairs, pairs.tokens)
    assert str(caught.value) == (
        f"direct logit attribution of {what}\n  expected: a logit difference, and a model whose residual stream is a "
        "sum of what its parts write\n  to fix it: use patching or attribution"
    )


# --- norms, taken apart by what they do


def gemma_norm(width: int) -> nn.Module:
    norm = Gemma2RMSNorm(width)
    norm.weight.data = torch.randn(width)
    return norm


@pytest.mark.parametrize("width", [8, 9, 32])
@pytest.mark.parametrize(
    ("make", "centred"),
    [(nn.LayerNorm, True), (LlamaRMSNorm, False), (gemma_norm, False), (lambda _: nn.Identity(), False)],
    ids=["LayerNorm", "RMSNorm", "Gemma", "none"],
)
@torch.no_grad()
def test_norms_are_taken_apart(make: Any, centred: bool, width: int) -> None:
    torch.manual_seed(0)
    norm, x, direction = make(width), 3 * torch.randn(5, width) + 1, torch.randn(5, width)
    for parameter in norm.parameters():
        parameter.add_(torch.randn(width))
    found = frozen(norm, x)
    assert found.centred == centred
    whole = (norm(x) * direction).sum(-1)
    assert scenes.apart((x * found.back(direction)).sum(-1) + direction @ found.offset, whole) <= SAME


def test_what_is_no_norm_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        frozen(torch.tanh, torch.randn(2, 8))
    assert str(caught.value) == (
        "a norm that does something else than to centre, scale and shift\n  expected: LayerNorm, RMSNorm or the like\n"
        "  to fix it: use patching or attribution"
    )
