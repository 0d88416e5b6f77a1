"""Profiles of the leading heads: what they write, whom they act through, and what is said where that cannot be told."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from headscope.contract import table
from headscope.grid import Grid
from headscope.methods import METHODS
from headscope.methods.direct import direct
from headscope.methods.paths import Paths, edges
from headscope.models import Model, load
from headscope.profiles import Profiles, leading, profile, shown, top_heads, views
from headscope.profiles.heads import HEADS
from headscope.profiles.tokens import SOURCES, TOKENS, written
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model


@pytest.fixture(scope="module")
def planted() -> Model:
    plant = Plant(induction=((0, 1), (1, 0)))
    return load(planted_model(plant, grid=Grid(2, 4), vocabulary=40, positions=32, noise=0.02), device="cpu")


@pytest.fixture(scope="module")
def pairs(planted: Model) -> Pairs:
    return TASKS["induction"].build(planted, n=6, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def values(planted: Model, pairs: Pairs) -> dict[str, torch.Tensor]:
    return METHODS["patching"].function(planted, pairs)


@pytest.fixture(scope="module")
def scores(values: dict[str, torch.Tensor], planted: Model, pairs: Pairs) -> pd.DataFrame:
    return table(values, pairs, METHODS["patching"], grid=planted.grid, seed=0)


@pytest.fixture(scope="module")
def found(planted: Model, pairs: Pairs, scores: pd.DataFrame, values: dict[str, torch.Tensor]) -> Profiles:
    examples = {f"induction.patching.{name}": each for name, each in values.items()}
    return profile(planted, {"induction": pairs}, scores, examples=examples)


def ids_only(model: Model, *, width: int = 7, vocabulary: int = 30) -> Pairs:
    """Three random prompts of different lengths, with one answer and one foil each."""
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, vocabulary, (3, width), generator=draw)
    mask = torch.arange(width) < torch.tensor([[width], [width - 1], [width - 3]])
    return Pairs(
        task="random", tokens=tokens, corrupted=tokens.roll(1, 1), mask=mask, groups=torch.arange(3),
        positions={"end": mask.sum(1) - 1}, answers=tokens[:, :1], foils=tokens[:, 1:2],
    )  # fmt: skip


def test_the_heads_are_the_first_of_the_leading_score(scores: pd.DataFrame, found: Profiles) -> None:
    assert leading(scores, "induction") == ("patching", "denoising")
    rows = scores.query("score == 'denoising'")
    order = rows.reindex(rows["value"].abs().sort_values(ascending=False).index)[["layer", "head"]]
    assert found.heads[["layer", "head"]].to_numpy().tolist() == order[:HEADS].to_numpy().tolist()
    assert found.heads["place"].tolist() == list(range(1, HEADS + 1))
    assert top_heads(scores.assign(value=np.nan), "induction").empty
    assert top_heads(scores, "other").empty


def test_the_spread_is_that_of_single_examples(found: Profiles, values: dict[str, torch.Tensor]) -> None:
    for row in found.heads.itertuples():
        own = sorted(values["denoising"][:, row.layer, row.head].tolist())
        assert (row.least, row.most) == pytest.approx((own[0], own[-1]))
        assert row.median == pytest.approx((own[2] + own[3]) / 2)
        assert row.positive == pytest.approx(sum(each > 0 for each in own) / 6)
        assert row.value == pytest.approx(sum(own) / 6)


def test_without_single_examples_the_spread_is_absent(planted: Model, pairs: Pairs, scores: pd.DataFrame) -> None:
    bare = profile(planted, {"induction": pairs}, scores, examples={}).heads
    assert bare[["least", "median", "positive"]].isna().all(axis=None)
    assert set(bare["reason"]) == {"the run keeps no values of single examples"}


def test_tokens_add_up_to_direct_logit_attribution() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, attention_bias=True,
    )  # fmt: skip
    model = load(LlamaForCausalLM(config), device="cpu", check=False)
    each = ids_only(model)
    expected = direct(model, each)["direct"]
    for (layer, head), one in written(model, each, list(model.grid)).items():
        assert one.logits.sum(1).abs().max() < 1e-4, "less the mean over the vocabulary"
        got = one.logits.gather(1, each.answers) - one.logits.gather(1, each.foils)
        torch.testing.assert_close(got[:, 0].double(), expected[:, layer, head], atol=1e-5, rtol=1e-4)


def test_sources_make_up_what_the_head_writes() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16,
    )  # fmt: skip
    model = load(LlamaForCausalLM(config), device="cpu", check=False)
    each = ids_only(model, width=SOURCES)  # so few tokens that all are sources
    same = torch.full_like(each.tokens, 9)  # of one token, so that all parts are read off the same logit
    each = Pairs(
        task="same", tokens=same, corrupted=same, mask=each.mask, groups=each.groups, positions=each.positions,
        answers=each.answers, foils=each.foils,
    )  # fmt: skip
    for one in written(model, each, list(model.grid)).values():
        torch.testing.assert_close(one.copied.sum(1), one.logits[:, 9], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(one.attention.sum(1), torch.ones(3))
        assert (one.attention[2, 1:] == 0).all(), "later tokens and padding are out of sight"


def test_the_induction_head_writes_what_it_attends_to(found: Profiles, pairs: Pairs) -> None:
    copies = found.sources.query("label == 'L1H0' and place == 1")
    assert copies["rank"].tolist() == [1, 1, 1]
    assert (copies["attention"] > 0.9).all()
    assert copies["token"].tolist() == [str(i) for i in pairs.answers[:3, 0].tolist()]
    tokens = found.tokens.query("label == 'L1H0'")
    raised, answers = tokens.query("side == 'raised' and place == 1"), tokens.query("side == 'answer'")
    assert raised["token"].tolist() == answers["token"].tolist()
    assert raised["value"].tolist() == answers["value"].tolist()
    assert tokens.groupby(["prompt", "side"]).size().unstack()["raised"].tolist() == [TOKENS] * 3
    lowered = tokens.query("side == 'lowered' and prompt == 0")
    assert lowered["rank"].tolist() == list(range(40, 40 - TOKENS, -1))


def test_edges_are_those_of_path_patching(found: Profiles, planted: Model, pairs: Pairs) -> None:
    first = found.edges.iloc[0]
    assert first[["task", "sender", "receiver", "through"]].tolist() == ["induction", "L0H1", "L1H0", "k"]
    expected = edges(planted, pairs, ["L0H1"], ["L1H0"], paths=Paths(through=("k",)))
    assert first["value"] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert found.edges["value"].notna().all(), "only pairs between which there is a path"
    assert first["low"] < first["value"] < first["high"]


def test_a_model_that_is_no_sum_says_so() -> None:
    config = BertConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16,
    )  # fmt: skip
    model = load(BertForMaskedLM(config), device="cpu", check=False)
    each = ids_only(model)
    scores = table(METHODS["patching"].function(model, each), each, METHODS["patching"], grid=model.grid, seed=0)
    bare = profile(model, {"random": each}, scores, examples={})
    assert bare.absent("random", "tokens") == "a model that transforms the stream again before the unembedding"
    assert bare.absent("random", "edges") == ""
    assert bare.tokens.empty
    assert len(bare.edges)
    assert len(bare.heads) == 4


def test_a_task_that_nothing_ranks_has_no_profile(planted: Model, pairs: Pairs, scores: pd.DataFrame) -> None:
    bare = profile(planted, {"induction": pairs}, scores[:0], examples={})
    assert bare.absent("induction", "heads") == "no causal method gave a number"
    assert all(frame.empty for frame in bare.frames().values())


def test_views_hold_no_padding(planted: Model) -> None:
    each = ids_only(planted)
    drawn = views(planted, each, [(1, 0), (0, 2)], shown(each))
    assert [len(view.tokens) for view in drawn] == [7, 6, 4]
    for view in drawn:
        np.testing.assert_allclose(view.patterns.sum(-1), 1, atol=1e-5)
    assert views(planted, each, [], shown(each)) == []


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 6))
def test_one_prompt_of_each_group_is_shown(groups: list[int], count: int) -> None:
    ids = torch.ones(len(groups), 1, dtype=torch.long)
    each = Pairs(task="t", tokens=ids, corrupted=ids, mask=ids > 0, groups=torch.tensor(groups), answers=ids, foils=ids)
    seen = list(dict.fromkeys(groups))[:count]
    assert [groups[place] for place in shown(each, count=count).tolist()] == seen
