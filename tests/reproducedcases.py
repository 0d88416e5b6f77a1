"""A small random model that reads plain words, and reproductions on it that are kept."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from headscope.deduction import Settings
from headscope.deduction.result import FRAMES
from headscope.methods.twins import Limits
from headscope.mini import tokenizer
from headscope.models import Model, load
from headscope.pipeline import resuming
from headscope.reproducing import KIND, Reproduction, carry_out

QUICK: dict[str, Any] = {
    "n": 2, "chains": 2, "measured": 2, "k": 1, "sets": 2, "swept": 0, "controls": 0, "modes": ("zero",), "tasks": (),
    "regardless": True,
}  # fmt: skip
"""Too few of everything to find anything."""
WHOLE: dict[str, Any] = {**QUICK, "n": 4, "swept": 1, "controls": 4, "modes": ("resample", "zero"), "tasks": ("ioi",)}
"""With every step of the study."""


def random_reader(seed: int = 0) -> Model:
    """Two layers of two heads, with the words of the bundled model."""
    words: Any = tokenizer.build()
    config = GPT2Config(
        vocab_size=len(words), n_layer=2, n_head=2, n_embd=8, n_positions=96, bos_token_id=1, eos_token_id=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = GPT2LMHeadModel(config)
    return load(plain, tokenizer=words, device="cpu", check=False)


def reproduced(model: Model, folder: Path | None = None, *, refresh: bool = False, **changes: Any) -> Reproduction:
    """A reproduction, kept in a folder if there is one."""
    settings = Settings(**{**QUICK, **changes})
    if folder is None:
        return carry_out(model, settings, limits=Limits())
    with resuming(folder, request="r", refresh=refresh, kind=KIND) as home:
        return carry_out(model, settings, limits=Limits(), home=home)


def cells_of(found: Reproduction) -> tuple[dict[str, int], dict[str, int]]:
    """How many cells were computed and reused, by kind."""
    return found.identity["cells"]["computed"], found.identity["cells"]["reused"]


def assert_same(one: Reproduction, other: Reproduction) -> None:
    """Every table to the last bit, with the kinds of its columns, and all that is told of them."""
    pd.testing.assert_frame_equal(one.claims, other.claims, check_exact=True)
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(one.circuit, name), getattr(other.circuit, name), check_exact=True)
    first, second = ({**each.circuit.record(), "seconds": list(each.circuit.seconds)} for each in (one, other))
    assert first == second
