"""What a run says of each task, in words and numbers: no more than single-head effects can carry."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.grids import select

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """One head of a finding, as text."""

    head: str
    value: str
    interval: str
    rank: str
    share: str
    q: str
    n: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found on one task.

    Attributes:
        task, status: as in the task table (`ok`, `failed` or `skipped`).
        ability: whether the model does the task, with accuracy, interval and n, or why it was skipped.
        method, score, unit: the score that the heads are ranked by; empty if no causal one was taken.
        top: the first heads by rank.
        summary: how much of the summed absolute single-head effects the first heads hold, and how many heads
            differ from 0.
    """

    task: str
    status: str
    ability: str
    method: str = ""
    score: str = ""
    unit: str = ""
    top: tuple[Top, ...] = ()
    summary: str = ""


def leading(scores: pd.DataFrame, task: str) -> tuple[str, str] | None:
    """The (method, score) that a task's report leads with; None if no causal method gave a number.

    Example:
        >>> leading(pd.DataFrame({"task": ["ioi"], "method": ["ablation"], "score": ["zero"], "value": [0.1]}), "ioi")
        ('ablation', 'zero')
    """
    rows = scores[(scores["task"] == task) & scores["value"].notna()]
    there = set(zip(rows["method"], rows["score"], strict=True))
    return next((pair for pair in LEADING if pair in there), None)


def findings(scores: pd.DataFrame, tasks: pd.DataFrame, *, k: int = 5) -> list[Finding]:
    """What a run says of each of its tasks.

    Args:
        scores: a run's tidy scores.
        tasks: its task table.
        k: how many heads to name.

    Returns:
        One finding per task, in the task table's order.
    """
    return [_finding(scores, row, k) for row in tasks.itertuples(index=False)]


def _finding(scores: pd.DataFrame, row: Any, k: int) -> Finding:
    base = Finding(task=str(row.task), status=str(row.status), ability=ability(row))
    pair = leading(scores, base.task)
    if pair is None:
        return base
    frame = words.loose(select(scores, task=base.task, method=pair[0], score=pair[1]))
    known = frame.dropna(subset="value").sort_values("rank", kind="stable")
    top = known.head(k)
    return replace(
        base,
        method=pair[0],
        score=pair[1],
        unit=str(frame["unit"].iloc[0]),
        top=tuple(_top(head) for head in top.itertuples(index=False)),
        summary=_summary(top, known, len(frame)),
    )


def headline(model: str, found: list[Finding]) -> str:
    """Which tasks the model does, fails, or was not asked, in one or two sentences.

    Example:
        >>> tasks = [Finding(task="ioi", status="ok", ability=""), Finding(task="facts", status="skipped", ability="")]
        >>> headline("mini", tasks)
        'mini does 1 of 2 tasks: ioi. Skipped: facts.'
    """
    names = {state: [item.task for item in found if item.status == state] for state in ("ok", "failed", "skipped")}
    parts = [
        f"{model} does {len(names['ok'])} of {len(found)} tasks"
        + (": " if names["ok"] else "")
        + ", ".join(names["ok"])
    ]
    if names["failed"]:
        parts.append(f"It fails {', '.join(names['failed'])}: effects there are flagged, for they explain a failure")
    if names["skipped"]:
        parts.append(f"Skipped: {', '.join(names['skipped'])}")
    return ". ".join(parts) + "."


def ability(row: Any) -> str:
    """Whether the model does a task, as a sentence with its numbers.

    Example:
        >>> from types import SimpleNamespace
        >>> ability(SimpleNamespace(task="ioi", status="skipped", reason="no names of one token"))
        'Skipped: no names of one token.'
    """
    reason = words.said(row.reason).strip().rstrip(".")
    if row.status == "skipped":
        return f"Skipped: {reason or 'no reason was recorded'}."
    numbers = (
        f"accuracy {words.percent(row.accuracy)}, 95% interval "
        f"{words.percents(row.accuracy_low, row.accuracy_high)}, n = {words.count(row.n)} examples in "
        f"{words.count(row.groups)} groups"
    )
    what = "fails" if row.status == "failed" else "does"
    return f"The model {what} this task: {numbers}" + (f" ({reason})" if reason else "") + "."


def _top(row: Any) -> Top:
    return Top(
        head=Grid.label(int(row.layer), int(row.head)),
        value=words.number(row.value, signed=True),
        interval=words.interval(row.low, row.high, signed=True),
        rank=f"{words.count(row.rank)} [{words.ranks(row.rank_low, row.rank_high)}]",
        share=words.percent(row.share),
        q=words.probability(row.q),
        n=words.count(row.n),
    )


def _summary(top: Any, known: Any, heads: int) -> str:
    parts = []
    if top["share"].notna().all():
        parts.append(
            f"These {len(top)} of {heads} heads hold {words.percent(top['share'].sum())} of the summed absolute "
            "single-head effects."
        )
    if known["q"].notna().any():
        parts.append(
            f"For {int(known['q'].lt(0.05).sum())} of {heads} heads the effect is shown to differ from 0 (q < 0.05)."
        )
    if len(known) < heads:
        parts.append(f"Heads without a number: {heads - len(known)}.")
    return " ".join(parts)
