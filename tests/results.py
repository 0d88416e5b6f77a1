"""A synthetic run for the tests of figures and reports: every kind of row that a real run can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from headscope.attention import View
from headscope.few.outcome import Few
from headscope.probed import Probed
from headscope.profiles import Profiles
from headscope.roles.result import Roles

SCORES = {
    "patching": ("denoising", "noising"),
    "ablation": ("zero", "mean", "resample"),
    "attention": ("previous_token", "first_token", "self", "duplicate", "induction", "entropy", "distance"),
}
UNITS = {"entropy": "nats", "distance": "tokens"}
LEADERS = ("L2H9", "L4H2")
"""Heads of the synthetic run that have a profile."""
HOSTILE = ('<script>alert("x")</script>', "</script>", "<!--", "'\"&", "שלום", "🙂", "\u2028", "<b>bold</b>", "$x^2$")


@dataclass(frozen=True)
class Results:
    identity: Mapping[str, Any]
    scores: pd.DataFrame
    tasks: pd.DataFrame
    views: tuple[View, ...]
    few: Mapping[str, Few] = field(default_factory=dict)
    roles: Roles | None = None
    probes: Probed | None = None
    profiles: Profiles | None = None
    examples: Mapping[str, Tensor] = field(default_factory=dict)
    groups: Mapping[str, Tensor] = field(default_factory=dict)


def one_score(task: str, method: str, score: str, grid: tuple[int, int], *, flagged: bool = False) -> pd.DataFrame:
    """Scores of every head: a few large, the rest small; head L1H1 has no number and head L1H2 no interval."""
    plain = task.removesuffix("".join(HOSTILE))
    rng = np.random.default_rng(sum(map(ord, plain + method + score)))
    layers, heads = grid
    frame = pd.DataFrame({"layer": np.repeat(np.arange(layers), heads), "head": np.tile(np.arange(heads), layers)})
    signed = method != "attention"
    value = rng.normal(0, 0.02, len(frame)) + 0.7 * rng.normal(size=len(frame)) * (rng.random(len(frame)) < 0.08)
    value = value if signed else np.clip(np.abs(value) * 1.5, 0, 1) * (4 if score in UNITS else 1)
    half = 0.02 + 0.1 * np.abs(value)
    frame = frame.assign(model="mini", task=task, method=method, score=score, value=value)
    frame = frame.assign(low=value - half, high=value + half, n=64, groups=8)
    frame["p"] = np.where(np.abs(value) > 0.1, 0.001, 0.5)
    unit = "share of the clean - corrupted logit difference" if signed else UNITS.get(score, "share of attention")
    frame = frame.assign(q=frame["p"] * 2, unit=unit, signed=signed, flagged=flagged, reason="")
    gap = (frame["layer"] == 1) & (frame["head"] == 1)
    frame.loc[gap, ["value", "low", "high", "p", "q"]] = np.nan
    frame.loc[gap, "reason"] = "no example has a <duplicate> token"
    frame.loc[(frame["layer"] == 1) & (frame["head"] == 2), ["low", "high"]] = np.nan
    size = frame["value"].abs()
    frame["rank"] = size.rank(ascending=False)
    frame["rank_low"], frame["rank_high"] = (frame["rank"] - 1).clip(lower=1), frame["rank"] + 2
    frame["share"] = size / size.sum()
    return frame


def task_row(task: str, status: str = "ok", **given: Any) -> dict[str, Any]:
    """One row of the task table."""
    row: dict[str, Any] = {"model": "mini", "task": task, "status": status, "reason": "", "n": 64, "groups": 8}
    row |= {"accuracy": 0.97, "accuracy_low": 0.92, "accuracy_high": 1.0}
    row |= {"logit_difference": 4.2, "logit_difference_low": 3.7, "logit_difference_high": 4.6}
    row |= {"source": "Wang et al. 2022", "corruption": "the second name is replaced", "metric": "logit_difference"}
    return row | given


def view(task: str, tokens: tuple[str, ...], heads: tuple[tuple[int, int], ...], *, causal: bool = True) -> View:
    """A view with random patterns whose rows sum to 1."""
    rng = np.random.default_rng(3)
    logits = 3 * rng.normal(size=(len(heads), len(tokens), len(tokens)))
    if causal:
        logits = np.where(np.tri(len(tokens), dtype=bool), logits, -np.inf)
    weights = np.exp(logits)
    return View(
        task=task, tokens=tokens, layer_heads=heads, patterns=weights / weights.sum(-1, keepdims=True), causal=causal
    )


def profiles_of(task: str, labels: tuple[str, ...], *, bad: str = "") -> Profiles:
    """Profiles of two heads of a task, or more, with one prompt and an edge from the first to the second."""
    places = [tuple(map(int, label.removeprefix("L").split("H"))) for label in labels]
    names = {"task": task, "prompt": 0}
    heads = [
        {"task": task, "layer": layer, "head": head, "label": label, "place": place, "method": "patching",
         "score": "denoising", "unit": "logits", "value": 0.5, "low": 0.4, "high": 0.6, "n": 64, "least": -0.1,
         "lower": 0.2, "median": 0.5, "upper": 0.7, "most": 1.5, "positive": 0.9, "reason": ""}
        for place, ((layer, head), label) in enumerate(zip(places, labels, strict=True), start=1)
    ]  # fmt: skip
    tokens = [
        {**names, "layer": row["layer"], "head": row["head"], "label": row["label"], "side": side, "place": 1,
         "token": f" {side}{bad}", "value": 1.25, "rank": 1}
        for row in heads
        for side in ("raised", "lowered", "answer", "foil")
    ]  # fmt: skip
    sources = [
        {**names, "layer": row["layer"], "head": row["head"], "label": row["label"], "place": 1, "position": 2,
         "token": f" Mary{bad}", "attention": 0.75, "value": 0.9, "rank": 1}
        for row in heads
    ]  # fmt: skip
    edge = {"task": task, "sender": labels[0], "receiver": labels[1], "through": "k", "direction": "noising",
            "value": 0.4, "low": 0.3, "high": 0.5, "n": 16, "groups": 8, "p": 0.001, "q": 0.002, "unit": "logits",
            "reason": ""}  # fmt: skip
    prompt = {**names, "text": f"When Mary{bad}", "answers": " Mary", "foils": " John"}
    frames = [pd.DataFrame(rows) for rows in (heads, [prompt], tokens, sources, [edge])]
    record = {"seconds": 1.0, "absent": {"induction": {"edges": "its parts are not known" + bad}}}
    return Profiles(**dict(zip(("heads", "prompts", "tokens", "sources", "edges"), frames, strict=True)), record=record)


def results(*, grid: tuple[int, int] = (8, 12), hostile: bool = False) -> Results:
    """A run of four tasks: done, done, failed, skipped; with hostile text in every place if asked."""
    bad = "".join(HOSTILE) if hostile else ""
    tasks = [
        task_row("ioi" + bad),
        task_row("induction", source="Olsson et al. 2022" + bad),
        task_row(
            "agreement", "failed", reason="accuracy below chance + 10 points" + bad, accuracy=0.52, accuracy_low=0.4
        ),
        task_row("facts", "skipped", reason="the tokenizer splits every name" + bad),
    ]
    numbers = [name for name in tasks[0] if name.startswith(("accuracy", "logit_difference"))]
    tasks[-1] |= dict.fromkeys([*numbers, "n", "groups"], np.nan)
    frames = [
        one_score(task["task"], method, score, grid, flagged=task["status"] == "failed")
        for task in tasks[:3]
        for method, names in SCORES.items()
        for score in names
    ]
    words = ("<|endoftext|>", "When", "Mary", "and", "John", "went", "to", "the", "store", ",", "John", "gave")
    text = words + (HOSTILE if hostile else ())
    heads = ((0, 3), (2, 5), (6, 1), (7, 11))
    views = (view(tasks[0]["task"], text, heads), view("induction", ("a", "b", "c") * 25, heads[:2], causal=False))
    model = {"name": "mini" + bad, "architecture": "GPT2LMHeadModel", "layers": grid[0], "heads": grid[1]}
    model["self_check"] = {
        "patch with itself, largest change": 0.0,
        "logits against Hugging Face": 1.4e-6,
        "passed": True,
    }
    record = {"command": ["headscope", "analyze", "mini" + bad], "seed": 0, "versions": {"torch": "2.13.0"}}
    return Results(
        {"model": model, **record}, pd.concat(frames, ignore_index=True), pd.DataFrame(tasks), views,
        profiles=profiles_of(tasks[0]["task"], LEADERS, bad=bad),
    )  # fmt: skip
