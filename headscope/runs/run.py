"""The result of an analysis: its tables, per-example values and identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int
from torch import Tensor

from headscope import plots, report
from headscope.attention import View
from headscope.errors import UsageError
from headscope.few.outcome import Few
from headscope.grid import Grid
from headscope.probed.result import Probed
from headscope.profiles.result import Profiles
from headscope.roles.result import Roles

Examples = Mapping[str, Float[Tensor, "example layer head"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """The result of an analysis.

    Attributes:
        identity: what `run.json` holds: model, plan, versions, seed, time, whether it is complete.
        scores: one row for each task, method, score, layer and head, with interval, ranks and tests.
        tasks: one row for each task: whether the model does it, or why it was left out.
        examples: `task.method.score` -> the per-example values behind a score.
        groups: task -> the group of every example, which are resampled together.
        views: attention of the top heads on a few prompts of each task.
        few: task -> the verdict on whether a few heads carry it; empty where none was asked for.
        roles: what each head does; None where that was not asked for.
        probes: what can be read off each head and depth; None where that was not asked for.
        profiles: the heads that lead each task, more closely; None where none was made.
    """

    identity: Mapping[str, Any]
    scores: pd.DataFrame
    tasks: pd.DataFrame
    examples: Examples = field(default_factory=dict)
    views: tuple[View, ...] = ()
    groups: Mapping[str, Int[Tensor, " example"]] = field(default_factory=dict)
    few: Mapping[str, Few] = field(default_factory=dict)
    roles: Roles | None = None
    probes: Probed | None = None
    profiles: Profiles | None = None

    def top(
        self, k: int = 8, *, task: str | None = None, method: str | None = None, score: str | None = None
    ) -> pd.DataFrame:
        """The `k` heads of the largest effect in each task, with their intervals.

        Args:
            k: heads per task.
            task: one task; by default all.
            method: ranked by this method; by default the first of `headscope.report.LEADING` that the run has.
            score: ranked by this score of the method.

        Returns:
            Rows of `scores`, task by task in the run's order, best first, with the head's label.

        Raises:
            UsageError: if the run has no such score, or k is below 1.
        """
        if k < 1:
            raise UsageError(f"k {k}", "1 or more heads", "ask for at least one head")
        method, score = self._score(method, score)
        rows = self.scores.loc[(self.scores["method"] == method) & (self.scores["score"] == score)]
        rows = rows if task is None else rows.loc[rows["task"] == task]
        if rows.empty:
            raise UsageError(f"task {task!r}", f"one of: {', '.join(self.scores['task'].unique())}", "correct the task")
        order = {name: place for place, name in enumerate(self.scores["task"].unique())}
        best = rows.assign(place=rows["task"].map(order)).sort_values(["place", "rank", "layer", "head"], kind="stable")
        best = best.drop(columns="place").groupby("task", sort=False).head(k)
        labels = [Grid.label(layer, head) for layer, head in zip(best["layer"], best["head"], strict=True)]
        return best.assign(label=labels).reset_index(drop=True)

    def heatmap(self, task: str | None = None, *, method: str | None = None, score: str | None = None) -> go.Figure:
        """A layer x head picture of one score.

        Args:
            task: which task; by default the first of the run.
            method: which method; by default a causal one.
            score: which of its scores.

        Raises:
            UsageError: if the run has no such score.
        """
        method, score = self._score(method, score)
        return plots.heatmap(self.scores, task=task or str(self.scores["task"].iloc[0]), method=method, score=score)

    def save(self, folder: str | Path) -> Path:
        """Write `run.json`, `scores.parquet`, `tasks.parquet`, `examples/` and `report.html` into a folder.

        Verdicts on a few heads, if there are any, go into `few.json`; roles into `roles.parquet` and `labels.parquet`;
        probes into `probes.parquet` and the other tables of `headscope.probed.result.FRAMES`; profiles of heads into
        those of `headscope.profiles.result.FRAMES`.

        Every file is written under another name first, so that none is ever half there.

        Args:
            folder: made if it does not exist.

        Raises:
            RunError: if it cannot be written.
        """
        from headscope.runs.saving import save

        return save(self, Path(folder))

    def _score(self, method: str | None, score: str | None) -> tuple[str, str]:
        have = list(dict.fromkeys(zip(self.scores["method"], self.scores["score"], strict=True)))
        fits = [(m, s) for m, s in have if method in (None, m) and score in (None, s)]
        if not fits:
            names = ", ".join(f"{m} {s}" for m, s in have) or "none: no task could be measured"
            raise UsageError(f"method {method!r}, score {score!r}", f"one of: {names}", "name a score that the run has")
        return next((pair for pair in report.LEADING if pair in fits), fits[0])
