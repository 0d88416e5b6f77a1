"""The texts that the bundled model learns from, packed into batches."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.grammar import FAMILIES, Document
from headscope.grammar.splits import draw
from headscope.mini.recipe import Recipe
from headscope.mini.tokenizer import identifiers


class Batch(NamedTuple):
    """Rows of packed documents: a token attends only within its own document."""

    tokens: Int[Tensor, "row position"]
    places: Int[Tensor, "row position"]
    attend: Bool[Tensor, "row 1 query key"]
    targets: Int[Tensor, "row position"]
    weights: Float[Tensor, "row position"]


def _stream(mixture: dict[str, float], rng: Random) -> Iterator[Document]:
    families, weights = list(FAMILIES), [mixture[family] for family in FAMILIES]
    while True:
        yield draw(rng.choices(families, weights)[0], "train", rng)


def batch(recipe: Recipe, step: int, mixture: dict[str, float], ids: dict[str, int]) -> Batch:
    """The batch of one step: documents packed first-fit into rows, each counting its positions from 0."""
    rng = Random(f"{recipe.seed}:train:{step}")
    rows: list[list[Document]] = [[] for _ in range(recipe.rows)]
    room = [recipe.length] * recipe.rows
    budget = int(recipe.rows * recipe.length * 0.97)
    for document in _stream(mixture, rng):
        size = len(document.words) + 2
        row = next((index for index, left in enumerate(room) if left >= size), None)
        if row is None:
            break
        rows[row].append(document)
        room[row] -= size
        budget -= size
        if budget < 0:
            break
    return _lay_out(recipe, rows, ids)


def _lay_out(recipe: Recipe, rows: list[list[Document]], ids: dict[str, int]) -> Batch:
    shape = (recipe.rows, recipe.length)
    tokens, places = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    owner = torch.full(shape, -1, dtype=torch.long)
    targets, weights = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    for row, documents in enumerate(rows):
        start = 0
        for number, document in enumerate(documents):
            line = identifiers(document, ids)
            stop = start + len(line)
            tokens[row, start:stop] = torch.tensor(line)
            places[row, start:stop] = torch.arange(len(line))
            owner[row, start:stop] = number
            targets[row, start : stop - 1] = tokens[row, start + 1 : stop]
            weights[row, start : stop - 1] = recipe.free
            weights[row, stop - 2] = 1.0
            for query in document.queries:
                weights[row, start + query.index] = 1.0
            start = stop
    same = owner[:, :, None] == owner[:, None, :]
    causal = torch.ones(recipe.length, recipe.length, dtype=torch.bool).tril()
    return Batch(tokens, places, (same & causal)[:, None], targets, weights)
