"""Which heads have a profile: of each task the first by the score that it is led by."""

from typing import Any

import pandas as pd

HEADS = 6
"""Heads of each task."""

LEADING = (
    ("patching", "denoising"),
    ("patching", "noising"),
    ("ablation", "resample"),
    ("ablation", "mean"),
    ("ablation", "zero"),
    ("attribution", "denoising"),
    ("attribution", "noising"),
)
"""The causal scores that rank the heads where none is named, best first: patched and resampled activations stay on the
model's own ground, and estimates come after what is exact."""


def leading(scores: pd.DataFrame, task: str) -> tuple[str, str] | None:
    """The (method, score) that ranks a task's heads; None if no causal method gave a number.

    Args:
        scores: a run's tidy scores.
        task: one of its tasks.

    Example:
        >>> leading(pd.DataFrame({"task": ["ioi"], "method": ["ablation"], "score": ["zero"], "value": [0.1]}), "ioi")
        ('ablation', 'zero')
    """
    rows: Any = scores[(scores["task"] == task) & scores["value"].notna()]
    there = set(rows[["method", "score"]].drop_duplicates().itertuples(index=False, name=None))
    return next((pair for pair in LEADING if pair in there), None)


def top_heads(scores: pd.DataFrame, task: str, *, k: int = HEADS) -> pd.DataFrame:
    """The first `k` heads of a task with a number, best first: rows of `scores`; none where nothing ranks them.

    Args:
        scores: a run's tidy scores.
        task: one of its tasks.
        k: heads at most.

    Example:
        >>> scores = pd.DataFrame({"task": "ioi", "method": "ablation", "score": "zero", "layer": 0, "head": [0, 1, 2],
        ...                        "value": [0.1, 0.5, float("nan")], "rank": [2, 1, float("nan")]})
        >>> top_heads(scores, "ioi")["head"].tolist()
        [1, 0]
    """
    pair = leading(scores, task)
    if pair is None:
        return scores.iloc[:0]
    known = scores["value"].notna() & (scores["task"] == task)
    rows: Any = scores.loc[known & (scores["method"] == pair[0]) & (scores["score"] == pair[1])]
    return rows.sort_values(["rank", "layer", "head"], kind="stable").head(k).reset_index(drop=True)
