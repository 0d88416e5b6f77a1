"""What a run says of each task, in words and numbers: no more than single-head effects can carry."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from headscope.few.outcome import Few
from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.grids import select
from headscope.profiles.heads import leading


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
        accuracy: the same in short, for a task that the model does and of which nothing else is to be known.
        method, score, unit: the score that the heads are ranked by; empty if no causal one was taken.
        top: the first heads by rank.
        many: how many heads matter, as far as it was measured.
        sure: how sure the choice of heads is.
        summary: how much of the summed absolute single-head effects the first heads hold.
    """

    task: str
    status: str
    ability: str
    accuracy: str = ""
    method: str = ""
    score: str = ""
    unit: str = ""
    top: tuple[Top, ...] = ()
    many: str = ""
    sure: str = ""
    summary: str = ""


def findings(
    scores: pd.DataFrame, tasks: pd.DataFrame, *, few: Mapping[str, Few] | None = None, k: int = 5
) -> list[Finding]:
    """What a run says of each of its tasks.

    Args:
        scores: a run's tidy scores.
        tasks: its task table.
        few: its verdicts on few heads, by task.
        k: how many heads to name.

    Returns:
        One finding per task, in the task table's order.
    """
    rows = words.loose(tasks).itertuples(index=False)
    return [_finding(scores, row, k, (few or {}).get(str(row.task))) for row in rows]


def _finding(scores: pd.DataFrame, row: Any, k: int, few: Few | None) -> Finding:
    base = Finding(task=str(row.task), status=str(row.status), ability=ability(row), accuracy=_accuracy(row))
    pair = leading(scores, base.task)
    if pair is None:
        return replace(base, many=f"{few.label}." if few is not None else "")
    frame = words.loose(select(scores, task=base.task, method=pair[0], score=pair[1]))
    known = frame.dropna(subset="value").sort_values("rank", kind="stable")
    top = known.head(k)
    return replace(
        base,
        method=pair[0],
        score=pair[1],
        unit=str(frame["unit"].iloc[0]),
        top=tuple(_top(head) for head in top.itertuples(index=False)),
        many=many_of(few) if few is not None else _singly(known, len(frame)),
        sure=_sure(top, few),
        summary=_summary(top, known, len(frame)),
    )


def many_of(result: Few) -> str:
    """How many heads carry a task, from its verdict on few heads.

    Args:
        result: the verdict.
    """
    size = len(result.heads)
    told = f"{result.label[:1].upper()}{result.label[1:]}."
    rows = words.loose(result.smallest)
    known = len(rows) > 0
    for measure, verb in (("faithfulness", "To keep 90% with them alone"), ("necessity", "To lose 50% without them")):
        target = 0.9 if measure == "faithfulness" else 0.5
        own = rows[(rows["measure"] == measure) & (rows["ablation"] == result.ablation) & (rows["target"] == target)]
        if known and len(own):
            row = own.iloc[0]
            found = "not reached" if pd.isna(row["k"]) else f"{words.count(row['k'])} of {size} {result.unit}s"
            span = "" if pd.isna(row["k"]) else f" [{words.sizes(row['low'], row['high'])}]"
            told += f" {verb}: {found}{span}."
    return f"{told} ({result.ablation} ablation, held-out prompts)"


def _singly(known: Any, heads: int) -> str:
    if not known["q"].notna().any():
        return "Not tested: too few groups of examples for a test."
    found = int(known["q"].lt(0.05).sum())
    return f"{found} of {heads} heads are shown to have an effect by themselves (q < 0.05)."


def _sure(top: Any, few: Few | None) -> str:
    if top.empty:
        return ""
    parts = []
    if top["rank_high"].notna().all():
        held = int((top["rank_high"] <= len(top)).sum())
        parts.append(f"{held} of these {len(top)} stay among the first {len(top)} (95% interval of the rank)")
    if few is not None and not pd.isna(few.facts.get("stability", float("nan"))):
        parts.append(f"resampled prompts choose the same heads to {words.number(few.facts['stability'])} (Jaccard)")
    parts.append(f"n = {words.counted(top['n'])} examples in {words.counted(top['groups'])} groups")
    told = "; ".join(parts)
    return f"{told[:1].upper()}{told[1:]}."


def _accuracy(row: Any) -> str:
    if row.status != "ok" or row.accuracy != row.accuracy or words.said(row.reason):
        return ""
    span = words.percents(row.accuracy_low, row.accuracy_high)
    n, groups = words.count(row.n), words.count(row.groups)
    return f"Accuracy {words.percent(row.accuracy)} {span}, n = {n} ({groups} groups)."


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
    if len(known) < heads:
        parts.append(f"Heads without a number: {heads - len(known)}.")
    return " ".join(parts)
