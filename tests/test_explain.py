"""A logit as a sum: equal to Hugging Face's own logit, to TransformerLens's parts, and to plain arithmetic."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from architectures import ARCHITECTURES, HEADS, LAYERS, VOCABULARY, tiny
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import headscope
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.decomposition import ACTIVATION, SOFT_CAP, Decomposition, decompose, gap
from headscope.methods.direct import contributions
from headscope.methods.vocabulary import standing
from headscope.models import Model, load
from headscope.testing import Plant, planted_model

SAME = 1e-5
IDS = (5, 9, 3, 44, 17, 8, 60, 2, 90, 31)
TOKENS = torch.tensor([IDS])
LINEAR = settings(
    derandomize=True, max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def named(found: Decomposition, votes: Tensor) -> dict[str, float]:
    """Votes by name; those of biases in layers are added up."""
    made: dict[str, float] = {}
    for part, vote in zip(found.parts, votes.tolist(), strict=True):
        made[part.name] = made.get(part.name, 0.0) + vote
    return made


# --- the sum


@torch.no_grad()
def test_all_parts_add_up_to_the_logit_of_hugging_face(model: Model, plain: Any, architecture: str) -> None:
    at = 4 if architecture == "bert" else 9
    theirs = plain(TOKENS).logits[0, at].double()
    found = headscope.explain(model, IDS, token=int(theirs.argmin()), at=at)
    assert found.logit == pytest.approx(float(theirs.min()), abs=1e-4)
    assert found.votes["logit"].sum() == pytest.approx(found.logit, abs=1e-12)
    assert abs(found.votes["logit"].iloc[-1]) < SAME, "rounding hides something"
    assert found.votes["vote"].sum() == pytest.approx(float(theirs.min() - theirs.mean()), abs=1e-4)
    assert found.token.probability == pytest.approx(float(theirs.softmax(0).min()), rel=1e-4)
    assert found.token.rank == VOCABULARY
    assert found.votes["kind"].eq("head").sum() == LAYERS * HEADS
    assert found.votes["kind"].eq("mlp").sum() == LAYERS


def test_each_head_is_the_sum_of_where_it_looked(model: Model, architecture: str) -> None:
    found = headscope.explain(model, IDS, token=7, against=11, at=3 if architecture == "bert" else 9)
    heads = found.votes[found.votes["kind"] == "head"].set_index("label")
    summed = found.sources.groupby("label")[["logit", "vote", "attention"]].sum().loc[heads.index]
    assert np.abs(summed[["logit", "vote"]] - heads[["logit", "vote"]]).to_numpy().max() < SAME
    assert summed["attention"].sub(1).abs().max() < SAME
    causal = architecture != "bert"
    assert found.sources["position"].max() == 9, (
        "the last token is seen: by a decoder's own position, or from both sides"
    )
    if causal:
        shorter = headscope.explain(model, IDS, token=7, against=11, at=4)
        assert shorter.sources["position"].max() == 4


@pytest.mark.parametrize("architecture", ["gemma2", "bert"], indirect=True)
@LINEAR
@given(token=st.integers(0, 47), against=st.integers(48, 96), at=st.integers(0, 9))
def test_a_difference_is_the_difference_of_its_logits(model: Model, token: int, against: int, at: int) -> None:
    both = headscope.explain(model, IDS, token=token, against=against, at=at).votes
    one, other = (headscope.explain(model, IDS, token=each, at=at).votes for each in (token, against))
    for column in ("logit", "vote"):
        assert (both[column] - (one[column] - other[column])).abs().max() < 1e-9


def test_later_tokens_of_a_decoder_change_nothing(gpt2_model: Model) -> None:
    whole = headscope.explain(gpt2_model, IDS, token=7, at=4)
    cut = headscope.explain(gpt2_model, IDS[:5], token=7)
    assert (whole.votes["logit"] - cut.votes["logit"]).abs().max() < SAME
    assert whole.at == cut.at == 4


def test_large_activations_do_not_spoil_the_sum() -> None:
    """As in GPT-2, where a few entries of the stream are in the thousands."""
    plain = tiny("gpt2")
    with torch.no_grad():
        plain.transformer.wte.weight.mul_(40)
        plain.transformer.h[0].mlp.c_proj.bias[3] += 3000
        logits = plain(TOKENS).logits[0, -1]
    found = headscope.explain(plain, IDS, device="cpu")
    assert float(logits.abs().max()) > 50
    assert found.votes["logit"].iloc[:-1].sum() == pytest.approx(float(logits.max()), abs=1e-4)


def test_half_precision_says_what_it_rounds() -> None:
    found = headscope.explain(tiny("gpt2"), IDS, token=7, dtype="bfloat16", device="cpu")
    left = found.votes["logit"].iloc[-1]
    assert 1e-4 < abs(left) < 0.05
    assert found.notes == (
        f"The model computes in bfloat16: its own logit is {left:+.1e} from the sum of its parts (row rounding).",
    )
    assert found.votes["logit"].sum() == pytest.approx(found.logit, abs=1e-12)


# --- against others' arithmetic


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "gpt_neo", "opt"], indirect=True)
@torch.no_grad()
def test_every_part_is_that_of_transformer_lens(model: Any, plain: Any, architecture: str) -> None:
    found = decompose(model, TOKENS, at=9)
    ours = named(found, found.votes(found.word(7)))
    _, cache = model.bridge.run_with_cache(TOKENS)
    parts, names = cache.get_full_resid_decomposition(
        layer=-1, apply_ln=True, pos_slice=-1, expand_neurons=False, return_labels=True
    )
    norm = {"llama": "model.norm", "gpt_neox": "gpt_neox.final_layer_norm", "opt": "model.decoder.final_layer_norm"}
    weight = plain.get_submodule(norm.get(architecture, "transformer.ln_f")).weight
    head = plain.get_output_embeddings()
    theirs = dict(zip(names, ((parts[:, 0] * weight) @ head.weight[7]).tolist(), strict=True))
    for layer in range(LAYERS):
        assert ours[f"MLP {layer}"] == pytest.approx(theirs[f"{layer}_mlp_out"], abs=SAME)
        for each in range(HEADS):
            assert ours[f"L{layer}H{each}"] == pytest.approx(theirs[f"L{layer}H{each}"], abs=SAME)
    assert ours["token embedding"] == pytest.approx(theirs["embed"], abs=SAME)
    assert ours.get("position embedding", 0.0) == pytest.approx(theirs.get("pos_embed", 0.0), abs=SAME)
    assert ours.get("attention output bias", 0.0) == pytest.approx(theirs["bias"], abs=SAME)


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma2"], indirect=True)
def test_heads_are_those_of_direct_attribution(model: Model) -> None:
    pairs = random_pairs(n=1, padded=False)
    pairs = replace(pairs, answers=pairs.answers[:, :1], foils=pairs.foils[:, :1])
    token, against = int(pairs.answers[0, 0]), int(pairs.foils[0, 0])
    votes = headscope.explain(model, pairs.tokens[0].tolist(), token=token, against=against).votes
    known = contributions(model, pairs, pairs.tokens)
    ours = torch.tensor(votes[votes["kind"] == "head"]["logit"].to_numpy()).view(LAYERS, HEADS)
    # Direct attribution scales by the chord of the soft-cap, which does next to nothing here.
    assert scenes.apart(ours, known.heads[0]) <= 1e-3


def centred(norm: nn.LayerNorm, part: Tensor, whole: Tensor) -> Tensor:
    """A part of what a layer norm reads, by the textbook, without the bias."""
    deviation = (whole.var(unbiased=False) + norm.eps).sqrt()
    return (part - part.mean()) / deviation * norm.weight


@pytest.mark.parametrize("architecture", ["bert"], indirect=True)
@torch.no_grad()
def test_a_head_of_bert_goes_through_every_norm_after_it(model: Model, plain: Any) -> None:
    """The first layer's second head, by hand: through five norms, the dense map and GELU's slope."""
    at, token, read, modules = 4, 7, {}, [*plain.bert.encoder.layer]
    transform = plain.cls.predictions.transform
    norms = [each for layer in modules for each in (layer.attention.output.LayerNorm, layer.output.LayerNorm)]
    watched = [*norms, transform.LayerNorm, transform.dense, modules[0].attention.output.dense]
    handles = [
        module.register_forward_hook(lambda m, i, o: read.update({m: (i[0][0, at].double(), o[0, at].double())}))
        for module in watched
    ]
    plain(TOKENS)
    for handle in handles:
        handle.remove()
    width = plain.config.hidden_size // HEADS
    out = modules[0].attention.output.dense
    part = read[out][0][width : 2 * width] @ out.weight[:, width : 2 * width].double().T
    for norm in norms:
        part = centred(norm, part, read[norm][0])
    x = read[transform.dense][1]
    slope = 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    part = centred(transform.LayerNorm, slope * (transform.dense.weight.double() @ part), read[transform.LayerNorm][0])
    found = decompose(model, TOKENS, at=at)
    ours = named(found, found.votes(found.word(token)))
    assert ours["L0H1"] == pytest.approx(float(part @ plain.cls.predictions.decoder.weight[token].double()), abs=SAME)
    bend = torch.nn.functional.gelu(x) - slope * x
    bend = centred(transform.LayerNorm, bend, read[transform.LayerNorm][0])
    wanted = float(bend @ plain.cls.predictions.decoder.weight[token].double())
    assert ours[ACTIVATION] == pytest.approx(wanted, abs=SAME)
    assert {part.name for part in found.parts if part.kind == "embedding"} == {
        "token embedding", "position embedding", "token type embedding",
    }  # fmt: skip
    assert {part.name for part in found.parts if part.kind == "bias"} == {
        "embedding norm bias", "attention output bias", "attention norm bias", "MLP norm bias", "transform bias",
        "transform norm bias", "unembedding bias",
    }  # fmt: skip


# --- what is not linear


def test_a_soft_cap_is_a_row_of_its_own() -> None:
    plain, free = tiny("gemma2"), tiny("gemma2")
    plain.config.final_logit_softcapping, free.config.final_logit_softcapping = 0.5, None
    capped, raw = (headscope.explain(each, IDS, token=7, device="cpu") for each in (plain, free))
    rows = capped.votes.set_index("part")
    assert rows.loc[SOFT_CAP, "logit"] == pytest.approx(0.5 * math.tanh(raw.logit / 0.5) - raw.logit, abs=SAME)
    assert SOFT_CAP not in set(raw.votes["part"])
    heads = [each.votes[each.votes["kind"] == "head"]["logit"] for each in (capped, raw)]
    assert (heads[0] - heads[1]).abs().max() < SAME, "the cap is spread over the heads"
    assert capped.votes["vote"].sum() == pytest.approx(capped.logit - capped.mean, abs=SAME)
    assert math.isnan(rows.loc[SOFT_CAP, "below"])


@LINEAR
@given(raw=st.floats(-50, 50), off=st.floats(-1, 1), cap=st.none() | st.floats(0.1, 30))
def test_the_gap_is_closed_exactly(raw: float, off: float, cap: float | None) -> None:
    logit = off + (raw if cap is None else cap * math.tanh(raw / cap))
    ends = gap(raw, logit, cap)
    assert raw + sum(value for _, value in ends) == pytest.approx(logit, abs=1e-12)
    assert ends[-1][0].kind == "rounding"
    assert ends[-1][1] == pytest.approx(off, abs=1e-12)


# --- by chance


def test_standing_is_counted_over_the_whole_vocabulary(gpt2_model: Model) -> None:
    found = decompose(gpt2_model, TOKENS, at=9)
    every = torch.stack([found.votes(found.word(token)) for token in range(VOCABULARY)], 1).numpy()
    ours = standing(found, 7)
    others = np.delete(every, 7, axis=1)
    assert ours.n == VOCABULARY - 1
    below = (others < every[:, 7:8]).mean(1)
    assert np.abs(ours.below.numpy() - below).max() < 1e-9
    assert np.abs(ours.vote.numpy() - (every[:, 7] - every.mean(1))).max() < 1e-9
    assert np.abs(ours.spread.numpy() - every.std(1)).max() < SAME
    assert np.abs(ours.z.numpy() - (every[:, 7] - every.mean(1)) / every.std(1)).max() < 1e-3


def test_a_difference_stands_among_differences(gpt2_model: Model) -> None:
    found = decompose(gpt2_model, TOKENS, at=9)
    every = torch.stack([found.votes(found.word(token)) for token in range(VOCABULARY)], 1)
    partners = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(0))
    apart = (every - every[:, partners])[:, partners != torch.arange(VOCABULARY)]
    ours = standing(found, 7, 11)
    assert ours.n == apart.shape[1]
    assert torch.allclose(ours.below, (apart < (every[:, 7] - every[:, 11])[:, None]).double().mean(1))
    assert torch.allclose(ours.spread, apart.square().mean(1).sqrt(), rtol=1e-4)
    assert torch.equal(ours.vote, ours.logit)


def test_a_head_that_says_nothing_has_no_standing() -> None:
    plain = tiny("gpt2")
    with torch.no_grad():
        plain.transformer.h[1].attn.c_proj.weight[8:16] = 0
    found = headscope.explain(plain, IDS, token=7, device="cpu").votes.set_index("label")
    assert found.loc["L1H1", "logit"] == 0
    assert found.loc["L1H1", ["spread", "z", "below"]].astype(float).fillna(-1).tolist() == [0, -1, -1]


# --- a known answer


def planted(sign: float = 1) -> Any:
    plain = planted_model(Plant(induction=((0, 0), (1, 1))), grid=Grid(2, 2), vocabulary=32, positions=32, noise=0.02)
    with torch.no_grad():
        plain.transformer.h[1].attn.c_proj.weight[plain.config.n_embd // 2 :] *= sign
    return plain


def test_an_induction_head_votes_for_what_followed() -> None:
    found = headscope.explain(planted(), [4, 9, 17, 6, 21, 9], device="cpu")
    top = found.top(1).iloc[0]
    assert (found.token.id, found.token.text, top["label"]) == (17, "17", "L1H1")
    assert (top["looked"], top["looked_token"], top["source"]) == (2, "17", 2)
    assert top["attention"] > 0.9
    assert top["source_vote"] > 0.9 * top["vote"]
    assert top["below"] == 1
    worse = headscope.explain(planted(-1), [4, 9, 17, 6, 21, 9], token=17, device="cpu")
    last = worse.votes[worse.votes["kind"] == "head"].sort_values("vote").iloc[0]
    assert (last["label"], last["source"], last["below"]) == ("L1H1", 2, 0)
    assert worse.looked("L1H1")["vote"].idxmin() == 2


# --- what cannot be taken apart


def test_other_architectures_are_refused_with_the_reason() -> None:
    model = load(scenes.random_model(scenes.FALLBACKS["bloom"]()), device="cpu")
    with pytest.raises(UsageError, match=r"^a logit's decomposition in model '.*': architecture 'bloom' cannot be"):
        headscope.explain(model, [1, 2, 3])


def test_every_promised_architecture_is_tested() -> None:
    assert set(ARCHITECTURES) == {
        "gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gpt_neo", "opt", "bert",
    }  # fmt: skip
