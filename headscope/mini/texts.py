"""Which texts the bundled model may learn from, and how they are packed into batches."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple
from zlib import crc32

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.grammar import FAMILIES, Document, generate
from headscope.mini.recipe import Recipe
from headscope.mini.tokenizer import identifiers

SPLITS = ("dev", "test", "train")


class Batch(NamedTuple):
    """Rows of packed documents: a token attends only within its own document."""

    tokens: Int[Tensor, "row position"]
    places: Int[Tensor, "row position"]
    attend: Bool[Tensor, "row 1 query key"]
    targets: Int[Tensor, "row position"]
    weights: Float[Tensor, "row position"]


def split(document: Document) -> str:
    """`dev` and `test` get a twentieth of all texts each, by a hash of the words; the rest is for training."""
    bucket = crc32(document.key.encode()) % 20
    return SPLITS[bucket] if bucket < 2 else "train"


def draw(family: str, part: str, rng: Random) -> Document:
    """A document of a family that belongs to a split."""
    while True:
        document = generate(family, rng)
        if split(document) == part:
            return document


def held_out(family: str, part: str, count: int, seed: int) -> list[Document]:
    """`count` documents of one split, the same for the same seed."""
    rng = Random(f"{seed}:{part}:{family}")
    return [draw(family, part, rng) for _ in range(count)]


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
