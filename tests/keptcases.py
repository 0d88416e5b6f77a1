"""What the tests of kept roles and probes share: a tiny model that reads words, and documents for it."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headscope.corpora import Treebank, read_treebank
from headscope.mini import tokenizer
from headscope.models import Model, load

LINE = "{0}\t{1}\t_\t{2}\t_\t{3}\t{4}\t{5}\t_\t{6}\n"


@cache
def reading(seed: int = 0) -> Model:
    """Two layers of two random heads that read plain English words."""
    words = tokenizer.build()
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=len(words), n_positions=128, initializer_range=0.3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = GPT2LMHeadModel(config)
    return load(plain, tokenizer=words, device="cpu", check=False)


def write_bank(path: Path, *, documents: int = 12, verb: str = "sees") -> Path:
    """Documents of two sentences, with numbers of nouns."""
    text = ""
    for number in range(documents):
        noun, feats = ("dog", "Number=Sing") if number % 2 else ("dogs", "Number=Plur")
        words = [
            ("The", "DET", "_", 2, "det"), (noun, "NOUN", feats, 3, "nsubj"), (verb, "VERB", "_", 0, "root"),
            ("the", "DET", "_", 5, "det"), ("cat", "NOUN", "Number=Sing", 3, "obj"), (".", "PUNCT", "_", 3, "punct"),
        ]  # fmt: skip
        text += f"# newdoc id = d{number}\n"
        for part in "ab":
            text += f"# sent_id = s{number}{part}\n# text = The {noun} {verb} the cat.\n"
            for place, (form, upos, more, head, relation) in enumerate(words, start=1):
                space = "SpaceAfter=No" if form == "cat" else "_"
                text += LINE.format(place, form, upos, more, head, relation, space)
            text += "\n"
    path.write_text(text, encoding="utf-8")
    return path


def bank(folder: Path, **options: Any) -> Treebank:
    """The same, read."""
    return read_treebank(write_bank(folder / "bank.conllu", **options))
