"""What determines a training run of the bundled model."""

from __future__ import annotations

from dataclasses import dataclass, field

from headscope.grammar import FAMILIES

WEIGHTS: dict[str, float] = {
    "agreement": 1.0,
    "clauses": 1.0,
    "gender": 0.8,
    "winograd": 2.0,
    "ioi": 1.0,
    "induction": 3.0,
    "reversal": 2.0,
    "duplicate": 0.9,
    "repetition": 1.5,
    "facts_context": 1.6,
    "facts_world": 0.6,
    "deduction": 1.2,
    "graph": 1.4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a training run depends on; it is written beside the weights.

    Attributes:
        seed: of the initial weights and of the texts; step `i` draws its texts from `(seed, i)` alone.
        steps: optimiser steps.
        rows, length: a step reads `rows` rows of `length` tokens, each packed with whole documents.
        layers, heads, width, inner, positions: the GPT-NeoX architecture.
        rotary, theta: the share of each head's dimensions that rotate, and the base of their frequencies: the rest
            is free to match words at any distance.
        distance: standard deviation of the initial query and key biases in the rotated dimensions. With them a head
            prefers some distances whatever the words are, as with GPT-2's positions that start as sinusoids.
        spread: standard deviation of the initial weights.
        rate, warm_up, floor, decay: AdamW's peak rate, its linear warm-up, the share of the rate at the
            end of the cosine, and weight decay on matrices.
        finish, finish_rate, finish_weights: steps after the cosine, whose rate falls from `finish_rate` to the
            floor, and how many times more often they draw some families: those that are right word by word before
            they are right as whole documents.
        free: loss weight of a word that its context does not determine (determined words have 1).
        weights: how often each family is drawn; scaled while training by how much there is left to learn.
    """

    seed: int = 0
    steps: int = 3600
    rows: int = 42
    length: int = 64
    layers: int = 6
    heads: int = 16
    width: int = 192
    inner: int = 384
    positions: int = 128
    rotary: float = 0.5
    theta: float = 100.0
    distance: float = 1.5
    spread: float = 0.05
    rate: float = 2e-3
    warm_up: int = 300
    floor: float = 0.04
    decay: float = 0.1
    finish: int = 400
    finish_rate: float = 4e-4
    finish_weights: dict[str, float] = field(default_factory=lambda: {"duplicate": 12.0})
    free: float = 0.1
    weights: dict[str, float] = field(default_factory=lambda: {family: WEIGHTS[family] for family in FAMILIES})
