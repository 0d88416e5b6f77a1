"""The prompts on which heads are shown, and their attention there."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from headscope.attention import View
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs

PROMPTS = 3
"""Prompts of each task that are shown."""


def shown(pairs: Pairs, *, count: int = PROMPTS) -> Int[Tensor, " chosen"]:
    """The first prompt of each of the first `count` groups: chosen by their place alone, not by what comes out.

    Args:
        pairs: a task's examples.
        count: prompts at most.

    Example:
        >>> ids = torch.ones(4, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=ids, corrupted=ids, mask=ids > 0, groups=torch.tensor([5, 5, 2, 7]),
        ...               answers=ids, foils=ids)
        >>> shown(pairs, count=2).tolist()
        [0, 2]
    """
    groups = pairs.groups.tolist()
    first = {group: place for place, group in reversed(list(enumerate(groups)))}
    return torch.tensor(sorted(first.values())[:count], dtype=torch.long)


def views(model: Model, pairs: Pairs, heads: Sequence[tuple[int, int]], chosen: Int[Tensor, " chosen"]) -> list[View]:
    """The attention of some heads on some prompts, one view for each prompt; none where there are no heads.

    Args:
        model: the model.
        pairs: the prompts.
        heads: (layer, head) of each.
        chosen: which prompts.

    Returns:
        Views without padding. Cost: one forward with attention patterns for each prompt.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> [view.prompt for view in views(model, pairs, [(1, 1)], shown(pairs))]
        [0, 1]
    """
    found = []
    for index in chosen.tolist() if heads else ():
        one = pairs.select(torch.tensor([index]))
        wanted = {layer for layer, _ in heads}
        layers = {
            layer: weights[0].float().cpu().numpy()
            for layer, weights in model.patterns(one.tokens, one.mask)
            if layer in wanted
        }
        found.append(
            View(
                task=pairs.task,
                tokens=tuple(texts(model, one.tokens[0].tolist())),
                layer_heads=tuple(heads),
                patterns=np.stack([layers[layer][head] for layer, head in heads]),
                causal=model.causal,
                prompt=index,
            )
        )
    return found


def texts(model: Model, ids: Sequence[int]) -> list[str]:
    """Tokens as text; their numbers where the model has no tokenizer.

    Args:
        model: the model.
        ids: of its vocabulary.
    """
    return [str(i) if model.tokenizer is None else str(model.tokenizer.decode([i])) for i in ids]


def prompt_rows(model: Model, pairs: Pairs, chosen: Int[Tensor, " chosen"]) -> pd.DataFrame:
    """The prompts as text, with what the metric compares: the columns task, prompt, text, answers and foils.

    Args:
        model: whose tokenizer they are of.
        pairs: a task's examples.
        chosen: which prompts.
    """
    rows = []
    for index in chosen.tolist():
        ids = pairs.tokens[index][pairs.mask[index]].tolist()
        row = {"task": pairs.task, "prompt": index, "text": _text(model, ids)}
        for name, words in (("answers", pairs.answers), ("foils", pairs.foils)):
            known = [i for i in words[index].tolist() if i != ABSENT]
            row[name] = ", ".join(texts(model, known[:4])) + (", ..." if len(known) > 4 else "")
        rows.append(row)
    return pd.DataFrame(rows, columns=["task", "prompt", "text", "answers", "foils"])


def _text(model: Model, ids: list[int]) -> str:
    return " ".join(map(str, ids)) if model.tokenizer is None else str(model.tokenizer.decode(ids))
