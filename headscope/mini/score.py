"""Does the bundled model do its texts? Accuracy per determined word and per whole document."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from headscope.grammar import Document
from headscope.mini.tokenizer import PAD, identifiers
from headscope.models import Model
from headscope.prompts import pad

Reader = Callable[[Tensor, Tensor], Tensor]
"""From token ids and mask to logits at every position, on the CPU."""


class Accuracy(NamedTuple):
    """Shares of right queries and of documents without a wrong one, with their counts."""

    queries: float
    documents: float
    n_queries: int
    n_documents: int


def reader(model: Model) -> Reader:
    """How a loaded model reads."""
    return lambda tokens, mask: model.run(tokens, mask).cpu()


def training_reader(model: GPTNeoXForCausalLM) -> Reader:
    """How a model in training reads: padding stands at the right, where a causal model cannot see it."""
    return lambda tokens, _: model(tokens.to(model.device), use_cache=False).logits.float().cpu()


def right(read: Reader, documents: list[Document], ids: dict[str, int]) -> list[list[bool]]:
    """For each document, which queries the model gets right.

    A query is right if its word has the highest logit of the whole vocabulary; one with a foil (the other
    number of a verb), if its word has a higher logit than the foil.
    """
    order = sorted(range(len(documents)), key=lambda i: len(documents[i].words))
    answers: list[list[bool]] = [[] for _ in documents]
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        tokens, mask = pad([identifiers(documents[i], ids) for i in chosen], ids[PAD])
        with torch.inference_mode():
            logits = read(tokens, mask)
        for row, i in enumerate(chosen):
            answers[i] = _answers(logits[row], documents[i], ids)
    return answers


def _answers(logits: Tensor, document: Document, ids: dict[str, int]) -> list[bool]:
    answers = []
    for query in document.queries:
        scores, word = logits[query.index], ids[document.words[query.index].form]  # token i stands before word i
        best = int(scores.argmax()) == word if query.foil is None else scores[word] > scores[ids[query.foil]]
        answers.append(bool(best))
    return answers


def summary(answers: list[list[bool]]) -> Accuracy:
    """Accuracy over the documents that have a query."""
    answers = [each for each in answers if each]
    flat = [ok for each in answers for ok in each]
    return Accuracy(
        sum(flat) / max(1, len(flat)), sum(map(all, answers)) / max(1, len(answers)), len(flat), len(answers)
    )
