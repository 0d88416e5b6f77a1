"""Reading and editing heads equals plain Hugging Face, on every architecture."""

from typing import Any

import oracles
import pytest
import torch
from architectures import D_HEAD, HEADS, LAYERS, LONGEST, VOCABULARY, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope.errors import ModelError, UsageError
from headscope.models import Edit, Model, bridge, load, self_check
from headscope.models.selfcheck import probe

SAME = 1e-5
"""The largest difference allowed, in logits of size about 1 to 10."""


def tokens_of(rows: int, length: int = 11, seed: int = 3) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded_mask(rows: int, length: int = 11) -> Tensor:
    lengths = torch.tensor([length - 3 * (row % 3) for row in range(rows)])
    return torch.arange(length)[None] < lengths[:, None]


def test_logits_equal_hugging_face(model: Model, plain: Any) -> None:
    tokens = tokens_of(3)
    assert (model.run(tokens) - oracles.run(plain, tokens)).abs().max() <= SAME


def test_right_padding_changes_nothing(model: Model, plain: Any) -> None:
    tokens, mask = tokens_of(4), padded_mask(4)
    tokens[~mask] = 0
    together = model.run(tokens, mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        alone = oracles.run(plain, tokens[row : row + 1, :length])[0]
        assert (together[row, :length] - alone).abs().max() <= SAME


def test_padding_ids_do_not_matter(model: Model) -> None:
    tokens, mask = tokens_of(4), padded_mask(4)
    other = torch.where(mask, tokens, (tokens + 5) % VOCABULARY)
    assert torch.equal(model.run(tokens, mask)[mask], model.run(other, mask)[mask])


def test_run_at_reads_one_position_of_run(model: Model) -> None:
    tokens, mask = tokens_of(4), padded_mask(4)
    at = torch.tensor([10, 7, 0, 4])
    whole = model.run(tokens, mask)[torch.arange(4), at]
    assert (model.run_at(tokens, mask, at) - whole).abs().max() <= SAME


def test_run_at_unembeds_only_where_it_reads(model: Model) -> None:
    widths = []
    handle = model.bridge.unembed.hook_out.register_forward_hook(lambda _, __, out: widths.append(out.shape[1]))
    model.run_at(tokens_of(2), None, torch.tensor([4, 5]))
    handle.remove()
    assert widths == [1]


def test_edits_equal_a_hook_before_the_output_projection(model: Model, plain: Any) -> None:
    tokens, mask = tokens_of(3), padded_mask(3)
    generator = torch.Generator().manual_seed(0)
    edits = [
        (layer, heads, torch.randn(3, 11, HEADS, model.d_head, generator=generator))
        for layer in range(LAYERS)
        for heads in [torch.rand(3, HEADS, generator=generator) < 0.5]
    ]
    ours = model.run(tokens, mask, edits=[Edit(layer=a, heads=b, values=c) for a, b, c in edits])
    theirs = oracles.run(plain, tokens, mask, edits)
    assert (ours - theirs)[mask].abs().max() <= SAME
    assert (theirs - oracles.run(plain, tokens, mask))[mask].abs().max() > 0.1


def test_every_single_head_edit_equals_hugging_face(model: Model, plain: Any) -> None:
    tokens, at = tokens_of(2), torch.tensor([10, 10])
    clean = model.run_at(tokens, None, at)
    for layer, head in model.grid:
        heads = torch.arange(HEADS)[None].expand(2, HEADS) == head
        values = torch.zeros(2, 11, HEADS, model.d_head)
        ours = model.run_at(tokens, None, at, edits=[Edit(layer=layer, heads=heads, values=values)])
        theirs = oracles.run(plain, tokens, None, [(layer, heads, values)])[:, -1]
        assert (ours - theirs).abs().max() <= SAME
        assert (ours - clean).abs().max() > 1e-4, "a head without effect cannot fail this test"


def test_an_edit_of_one_example_leaves_the_others_alone(model: Model) -> None:
    tokens = tokens_of(3)
    heads = torch.tensor([[False] * HEADS, [True] * HEADS, [False] * HEADS])
    edit = Edit(layer=1, heads=heads, values=torch.ones(3, 11, HEADS, model.d_head))
    change = (model.run(tokens, edits=[edit]) - model.run(tokens)).abs().amax((1, 2))
    assert change[0] == change[2] == 0
    assert change[1] > 0.01


def test_of_two_edits_of_a_head_the_later_wins(gpt2_model: Model) -> None:
    tokens, heads = tokens_of(1), torch.ones(1, HEADS, dtype=torch.bool)
    one, two = (Edit(layer=0, heads=heads, values=torch.full((1, 11, HEADS, D_HEAD), v)) for v in (1.0, 2.0))
    assert torch.equal(gpt2_model.run(tokens, edits=[one, two]), gpt2_model.run(tokens, edits=[two]))


def test_outputs_equal_the_input_of_the_output_projection(model: Model, plain: Any) -> None:
    tokens, mask = tokens_of(3), padded_mask(3)
    theirs = oracles.outputs(plain, tokens, HEADS, mask)
    ours = model.outputs(tokens, mask)
    assert ours.shape == (LAYERS, 3, 11, HEADS, model.d_head)
    assert (ours - theirs)[:, mask].abs().max() <= SAME


def test_outputs_through_w_o_are_what_attention_adds(model: Model, plain: Any) -> None:
    tokens = tokens_of(2)
    z = oracles.outputs(plain, tokens, HEADS)
    added = torch.einsum("lephd,lhdm->lepm", z, model.W_O)
    for layer, module in enumerate(oracles.projections(plain)):
        with torch.no_grad():
            bias = module(torch.zeros_like(z[layer].flatten(-2)))
            theirs = module(z[layer].flatten(-2)) - bias
        assert (added[layer] - theirs).abs().max() <= SAME
        assert (model.b_O[layer] - bias).abs().max() <= SAME


def test_patterns_equal_hugging_face_and_sum_to_one(model: Model, plain: Any) -> None:
    tokens, mask = tokens_of(3), padded_mask(3)
    theirs = oracles.patterns(plain, tokens, mask)
    found = list(model.patterns(tokens, mask))
    assert [layer for layer, _ in found] == list(range(LAYERS))
    for layer, pattern in found:
        rows = mask[:, None].expand(3, HEADS, 11)
        assert (pattern - theirs[layer])[rows].abs().max() <= SAME
        assert (pattern.sum(-1)[rows] - 1).abs().max() <= SAME
        assert pattern.permute(0, 3, 1, 2)[~mask][:, :, 0].abs().max() <= SAME, "nobody attends to padding"


def test_patterns_hold_few_layers_at_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = tokens_of(2)
    whole = dict(model.patterns(tokens))
    monkeypatch.setattr(bridge, "PATTERN_BUDGET", 1)
    in_steps = dict(model.patterns(tokens))
    assert in_steps.keys() == whole.keys()
    assert all(torch.equal(in_steps[layer], whole[layer]) for layer in whole)


def test_weights_are_hugging_faces(model: Model, plain: Any, architecture: str) -> None:
    width = model.W_E.shape[1]
    kv_heads = 2 if architecture in {"llama", "qwen2", "qwen3", "gemma2"} else HEADS
    assert model.W_Q.shape == (LAYERS, HEADS, width, model.d_head)
    assert model.W_K.shape == model.W_V.shape == (LAYERS, kv_heads, width, model.d_head)
    assert model.W_O.shape == (LAYERS, HEADS, model.d_head, width)
    assert torch.equal(model.W_E, plain.get_input_embeddings().weight)
    assert torch.equal(model.W_U, plain.get_output_embeddings().weight.T)
    for layer in range(LAYERS):
        theirs = query_key_value(plain, layer, architecture)
        for ours, weight in zip((model.W_Q, model.W_K, model.W_V), theirs, strict=True):
            flat = ours[layer].permute(0, 2, 1).reshape(-1, width)
            assert torch.equal(flat, weight)


def query_key_value(plain: Any, layer: int, architecture: str) -> list[Tensor]:
    """The three projections as [head * d_head, d_model], read from Hugging Face's own modules."""
    if architecture == "gpt2":
        return list(plain.transformer.h[layer].attn.c_attn.weight.T.chunk(3))
    if architecture == "gpt_neox":
        fused = plain.gpt_neox.layers[layer].attention.query_key_value.weight
        return [part.reshape(-1, fused.shape[1]) for part in fused.reshape(HEADS, 3, D_HEAD, -1).unbind(1)]
    attention = {
        "gpt_neo": lambda: plain.transformer.h[layer].attn.attention,
        "opt": lambda: plain.model.decoder.layers[layer].self_attn,
        "bert": lambda: plain.bert.encoder.layer[layer].attention.self,
    }.get(architecture, lambda: plain.model.layers[layer].self_attn)()
    names = ("query", "key", "value") if architecture == "bert" else ("q_proj", "k_proj", "v_proj")
    return [getattr(attention, name).weight for name in names]


def test_no_hook_stays_and_no_weight_changes(model: Model) -> None:
    before = {name: value.clone() for name, value in model.bridge.original_model.named_parameters()}
    hooked = hooks_of(model)
    tokens, heads = tokens_of(2), torch.ones(2, HEADS, dtype=torch.bool)
    edit = Edit(layer=0, heads=heads, values=torch.zeros(2, 11, HEADS, model.d_head))
    first = model.run(tokens)
    model.run_at(tokens, None, torch.tensor([3, 4]), edits=[edit])
    model.outputs(tokens)
    next(iter(model.patterns(tokens)))
    with pytest.raises(UsageError):
        model.run(tokens + VOCABULARY, edits=[edit])
    assert hooks_of(model) == hooked, "only TransformerLens's own hooks, which are there from the start"
    assert torch.equal(model.run(tokens), first)
    assert all(torch.equal(value, before[name]) for name, value in model.bridge.original_model.named_parameters())


def hooks_of(model: Model) -> dict[str, int]:
    parts = model.bridge.named_modules()
    return {name: len(part._forward_hooks) + len(part._forward_pre_hooks) for name, part in parts}


def test_results_can_be_written_into_and_carry_no_gradient(gpt2_model: Model) -> None:
    z = gpt2_model.outputs(tokens_of(1))
    z[:] = 0
    assert not z.requires_grad
    assert not gpt2_model.run(tokens_of(1)).requires_grad


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layer=st.integers(0, LAYERS - 1), chosen=st.sets(st.integers(0, HEADS - 1)), length=st.integers(1, LONGEST))
def test_patching_with_self_changes_nothing(gpt2_model: Model, layer: int, chosen: set[int], length: int) -> None:
    tokens = tokens_of(2, length)
    heads = torch.tensor([[head in chosen for head in range(HEADS)]] * 2)
    edit = Edit(layer=layer, heads=heads, values=gpt2_model.outputs(tokens)[layer])
    assert torch.equal(gpt2_model.run(tokens, edits=[edit]), gpt2_model.run(tokens))


def test_the_self_check_measures_and_is_kept(model: Model, architecture: str) -> None:
    found = model.identity["self_check"]
    assert found["logits_equal_hugging_face"] <= 1e-5
    assert (found["causal"] is None) == (architecture == "bert")
    assert all(value is None or value <= 1e-5 for name, value in found.items() if name != "tolerance")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("logits_equal_hugging_face", lambda m: m.bridge.ln_final.weight.data.mul_(1.01)),
        ("heads_sum_to_attention", lambda m: m.bridge.blocks[1].attn.o.hook_out.register_forward_hook(double)),
        ("causal", lambda m: m.bridge.blocks[0].hook_out.register_forward_hook(lambda _, __, x: x.flip(1))),
        ("patterns_sum_to_one", lambda m: m.bridge.blocks[1].attn.hook_pattern.register_forward_hook(double)),
    ],
)
def test_the_self_check_notices(name: str, spoil: Any) -> None:
    plain = tiny("gpt2")
    model = load(plain, check=False)
    reference = oracles.run(plain, probe(VOCABULARY, LONGEST)) if name == "logits_equal_hugging_face" else None
    spoil(model)
    with pytest.raises(ModelError, match=rf"fails the self-check '{name}': [0-9.e-]+\n  expected: at most 0.0001"):
        self_check(model, reference=reference)


def test_the_self_check_notices_edits_that_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.BridgeModel, "_replace", lambda _model, _edit: lambda _z: None)
    with pytest.raises(ModelError, match="fails the self-check 'patch_everything_gives_clean'"):
        load(tiny("gpt2"))


def double(_module: Any, _inputs: Any, value: Tensor) -> Tensor:
    return value * 2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda m: m.run(torch.zeros(1, 40, dtype=torch.long)),
            "prompts of 40 tokens.*\n  expected: at most 32 tokens",
        ),
        (lambda m: m.run(torch.tensor([[3, 97]])), "token ids from 3 to 97.*\n  expected: ids from 0 to 96"),
        (lambda m: m.run(torch.tensor([[-1, 5]])), "token ids from -1 to 5"),
        (
            lambda m: m.run_at(torch.tensor([[3, 4]]), None, torch.tensor([2])),
            "positions 2 to 2 in prompts of 2 tokens",
        ),
        (
            lambda m: m.run(torch.tensor([[3, 4]]), edits=[edit_of(layer=7)]),
            "an edit of layer 7\n  expected: layers 0-2",
        ),
        (
            lambda m: m.run(torch.tensor([[3, 4]]), edits=[edit_of(length=3)]),
            r"values \(1, 3, 4, 8\)\n.*\(1, 2, 4, 8\)",
        ),
        (lambda m: m.encode("text"), "which has no tokenizer\n  expected: token ids"),
    ],
)
def test_bad_input_is_explained(gpt2_model: Model, call: Any, text: str) -> None:
    with pytest.raises((ModelError, UsageError), match=text):
        call(gpt2_model)


def edit_of(*, layer: int = 0, length: int = 2) -> Edit:
    return Edit(layer=layer, heads=torch.ones(1, HEADS, dtype=torch.bool), values=torch.zeros(1, length, HEADS, D_HEAD))
