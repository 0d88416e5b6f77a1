"""Attention scores equal plain loops over Hugging Face's own patterns, and planted heads come first in theirs."""

import math
from collections.abc import Callable
from typing import Any

import oracles
import pytest
import torch
from architectures import HEADS, LAYERS
from fixtures_tasks import random_pairs
from torch import Tensor

from headscope.grid import Grid
from headscope.methods import METHODS
from headscope.methods.attention import attention
from headscope.models import Model, load
from headscope.prompts import Prompts, pad
from headscope.testing import Plant, planted_model

Row = list[float]
SCORES: dict[str, Callable[[Row, list[int], int], float | None]] = {
    "previous_token": lambda row, ids, q: row[q - 1],
    "first_token": lambda row, ids, q: row[0],
    "self": lambda row, ids, q: row[q],
    "duplicate": lambda row, ids, q: some(row, [k for k in range(q) if ids[k] == ids[q]]),
    "induction": lambda row, ids, q: some(row, [k + 1 for k in range(q) if ids[k] == ids[q]]),
    "entropy": lambda row, ids, q: -sum(share * math.log(share) for share in row if share > 0),
    "distance": lambda row, ids, q: sum(share * abs(q - k) for k, share in enumerate(row)),
}


def some(row: Row, keys: list[int]) -> float | None:
    return sum(row[k] for k in keys) if keys else None


def by_loops(pattern: Tensor, ids: list[int]) -> dict[str, float]:
    """Every score of one head on one prompt, from its pattern [query, key]."""
    rows = pattern.double().tolist()
    found = {}
    for name, score in SCORES.items():
        values = [value for q in range(1, len(ids)) if (value := score(rows[q], ids, q)) is not None]
        found[name] = sum(values) / len(values) if values else math.nan
    return found


def repeating(seed: int = 0) -> Prompts:
    """Prompts of uneven lengths in which tokens come back, but for the last one."""
    pairs = random_pairs(n=5, seed=seed)
    tokens = torch.where(pairs.tokens > 0, 3 + pairs.tokens % 5, 0)
    rows = [row[keep].tolist() for row, keep in zip(tokens, pairs.mask, strict=True)]
    rows[-1] = [3, 4, 5]
    tokens, mask = pad(rows, 0)
    return Prompts(task="own", tokens=tokens, mask=mask, groups=torch.arange(5))


def test_scores_equal_plain_loops(model: Model, plain: Any) -> None:
    prompts = repeating()
    found = attention(model, prompts, batch_size=2)
    assert list(found) == list(SCORES)
    for example, length in enumerate(prompts.mask.sum(1).tolist()):
        ids = prompts.tokens[example, :length]
        patterns = oracles.patterns(plain, ids[None])
        for layer in range(LAYERS):
            for head in range(HEADS):
                for name, value in by_loops(patterns[layer][0, head], ids.tolist()).items():
                    ours = float(found[name][example, layer, head])
                    assert ours == pytest.approx(value, abs=1e-5, nan_ok=True), (name, example, layer, head)
    assert found["duplicate"][-1].isnan().all()
    assert found["duplicate"][0].isfinite().all(), "nine tokens of five kinds"


def test_batch_size_and_padding_never_matter(model: Model) -> None:
    prompts = repeating(1)
    whole, single = attention(model, prompts, batch_size=8), attention(model, prompts, batch_size=1)
    for name in whole:
        torch.testing.assert_close(whole[name], single[name], rtol=0, atol=1e-5, equal_nan=True)


PLACES = [(0, 0), (1, 2), (2, 1)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("score", "plant"),
    [
        ("previous_token", lambda place: Plant(previous_token=place)),
        ("first_token", lambda place: Plant(first_token=place)),
        ("duplicate", lambda place: Plant(duplicate_token=place)),
        ("induction", lambda place: Plant(induction=((place[0] - 1, 0), place))),
    ],
)
def test_a_planted_head_comes_first_in_its_score(
    score: str, plant: Callable[[tuple[int, int]], Plant], place: tuple[int, int]
) -> None:
    if score == "induction" and place[0] == 0:
        pytest.skip("an induction head needs a layer below it")
    grid = Grid(layers=3, heads=3)
    model = load(planted_model(plant(place), grid=grid, vocabulary=16, positions=16, noise=0.02), device="cpu")
    generator = torch.Generator().manual_seed(0)
    half = torch.stack([torch.randperm(16, generator=generator)[:7] for _ in range(4)])
    tokens = torch.cat([half, half], 1)
    prompts = Prompts(task="own", tokens=tokens, mask=tokens >= 0, groups=torch.arange(4))
    mean = attention(model, prompts)[score].mean(0)
    best, second = mean.flatten().topk(2)[0].tolist()
    assert divmod(int(mean.argmax()), grid.heads) == place
    assert best > 0.85
    assert best > 1.5 * second


def test_what_each_score_says_of_itself() -> None:
    method = METHODS["attention"]
    units = {score.name: score.unit for score in method.scores}
    assert [*units] == [*SCORES]
    assert units["entropy"] == "nats"
    assert units["distance"] == "tokens"
    assert {units[name] for name in [*units][:5]} == {"share of attention"}
    assert not any(score.signed for score in method.scores)
