"""Prompts of the tasks in words, read back from their tokens in one spelling for all tokenizers."""

import re
from functools import cache

import numpy as np
import torch
from fixtures_tasks import reader

from headscope.prompts import ABSENT, Pairs
from headscope.tasks import TASKS

OURS = ("ioi", "ioi-s2", "ioi-random", "agreement", "greater-than", "pronoun", "winograd", "gender-bias")
READERS = {
    "pronoun": ("gpt2", "bert", "words"),
    "winograd": ("gpt2", "bert", "words"),
    "gender-bias": ("gpt2", "bert"),
    "ioi-s2": ("gpt2", "bert", "words"),
    "ioi-random": ("gpt2", "bert", "words"),
}


@cache
def build(task: str, kind: str, n: int = 60, seed: int = 0) -> Pairs:
    return TASKS[task].build(reader(kind), n=n, rng=np.random.default_rng(seed))


def cases(*tasks: str) -> list[tuple[str, str]]:
    return [(task, kind) for task in tasks for kind in READERS[task]]


def spoken(kind: str, ids: torch.Tensor) -> str:
    """Token ids as lower-case words with plain spaces, so that all tokenizers read alike."""
    model = reader(kind)
    special = set(model.tokenizer.all_special_ids)
    text = model.tokenizer.decode([i for i in ids.tolist() if i not in special]).lower()
    return re.sub(r"\s+([.,])", r"\1", text).strip()


def clean(pairs: Pairs, kind: str, index: int) -> str:
    return spoken(kind, pairs.tokens[index][pairs.mask[index]]).removesuffix("." if kind == "bert" else "")


def twin(pairs: Pairs, kind: str, index: int) -> str:
    return spoken(kind, pairs.corrupted[index][pairs.mask[index]]).removesuffix("." if kind == "bert" else "")


def at(pairs: Pairs, kind: str, position: str, index: int) -> str:
    return spoken(kind, pairs.tokens[index, pairs.positions[position][index]][None])


def said(kind: str, ids: torch.Tensor) -> list[str]:
    return [spoken(kind, token[None]) for token in ids[ids != ABSENT]]


def changed(pairs: Pairs, index: int) -> set[int]:
    return set((pairs.tokens[index] != pairs.corrupted[index]).nonzero()[:, 0].tolist())


def placed(pairs: Pairs, index: int, *names: str) -> set[int]:
    return {int(pairs.positions[name][index]) for name in names}
