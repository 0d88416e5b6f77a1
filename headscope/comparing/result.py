"""What a comparison of two runs found."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from headscope import plots
from headscope.errors import UsageError
from headscope.plots import Theme, words

HEADS = (
    *("task", "method", "score", "layer", "head", "label", "a", "a_low", "a_high", "b", "b_low", "b_high"),
    *("difference", "low", "high", "n", "p", "q", "changed", "a_rank", "b_rank", "unit", "reason"),
)
"""The columns of `Comparison.heads`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Two runs, A and B, side by side.

    Attributes:
        names: of both, such as `A: gpt2`.
        differs: what differs between their identities: `what`, `a`, `b`.
        tasks: one row for each task, method and score of both. `rho` is Spearman's rank correlation of the mean effects
            of the heads with its 95 % interval, `rho_layers` what is left of it with heads matched at random within
            layers, `reliability_a` and `reliability_b` what each run's would be with a repetition of itself on other
            prompts, `corrected` the correlation without that noise; `jaccard` is the overlap of the top `k` heads with
            its 95 % range, `chance` its expectation for random heads and `chance_p` how likely so many shared heads are
            by chance; `changed` counts heads with q < .05. `paired`: both measured the same prompts. `matched`: the
            grids are equal. `leading`: the score to begin with. What is absent is NaN, with its `reason`.
        sides: two rows for each of those, one for each run: its accuracy, how much of the summed absolute effects its
            top 3 % of heads hold (`top_share`), and their mean relative `depth` (0 first layer, 1 last).
        heads: one row for each head and score, the largest difference first: effects `a` and `b` with intervals and
            ranks, their `difference` (B - A) with interval, p, and q over the heads.
        left_out: what only one run has.
        notes: what must be known to read the numbers.
        seed: of resamples, flips and permutations.
    """

    names: tuple[str, ...]
    differs: pd.DataFrame = field(repr=False)
    tasks: pd.DataFrame = field(repr=False)
    sides: pd.DataFrame = field(repr=False)
    heads: pd.DataFrame = field(repr=False)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seed: int = 0

    def changed(self, task: str | None = None) -> pd.DataFrame:
        """The heads whose effect is shown to differ (q < .05), largest difference first.

        Args:
            task: one task; by default all.
        """
        rows = self.heads.loc[self.heads["changed"].astype(bool)]
        return rows if task is None else rows.loc[rows["task"] == task]

    def describe(self) -> str:
        """The comparison in words: a paragraph for each task's leading score, then what must be known."""
        rows = words.loose(self.tasks)
        lines = [f"{' and '.join(self.names)}."]
        lines += [self._sentence(row) for row in rows[rows["leading"]].to_dict("records")]
        lines += self.notes
        lines += [f"Left out: {text}." for text in self.left_out]
        return "\n".join(lines)

    def figure(
        self,
        task: str | None = None,
        *,
        method: str | None = None,
        score: str | None = None,
        theme: Theme = plots.LIGHT,
    ) -> go.Figure:
        """Every head's effect in A (to the right) against B (upwards); the heads that changed are named.

        Args:
            task: which; by default the first.
            method: by default that of the task's leading score.
            score: by default the leading one, or the first of the method.
            theme: `plots.LIGHT` or `plots.DARK`.

        Raises:
            UsageError: if there is no such score, or heads cannot be matched.
        """
        row = self._row(task, method, score)
        if not row["matched"]:
            raise UsageError(row["reason"], "two models with equal numbers of layers and heads", "read .sides instead")
        return plots.scatter(
            self.heads, task=row["task"], method=row["method"], score=row["score"], names=self.names, theme=theme
        )

    def _row(self, task: str | None, method: str | None, score: str | None) -> dict[str, Any]:
        rows = words.loose(self.tasks).sort_values("leading", ascending=False, kind="stable")
        first = self.tasks["task"].iloc[0] if task is None else task
        fits = rows[(rows["task"] == first)]
        for name, asked in (("method", method), ("score", score)):
            fits = fits if asked is None else fits[fits[name] == asked]
        if fits.empty:
            have = "; ".join(" / ".join(key) for key in self.tasks[["task", "method", "score"]].itertuples(index=False))
            asked = f"task {first!r}, method {method!r}, score {score!r}"
            raise UsageError(asked, f"one of: {have}", "name a score that both runs have")
        return fits.to_dict("records")[0]

    def _sentence(self, row: dict[str, Any]) -> str:
        prompts = f"the same {row['n_a']:.0f}" if row["paired"] else f"{row['n_a']:.0f} and other {row['n_b']:.0f}"
        start = f"{row['task']} ({row['method']}, {row['score'].replace('_', ' ')}; {prompts} prompts"
        if not row["matched"] or pd.isna(row["rho"]):
            return f"{start}): {row['reason']}."
        parts = [f"{start}, {row['heads']:.0f} heads): rank correlation {_span(row, 'rho')}"]
        if pd.notna(row["corrected"]):
            reach = (
                "so the order differs by no more than noise" if row["corrected_high"] >= 1 else "so the order differs"
            )
            parts.append(f"{_span(row, 'corrected')} without the noise of the prompts, {reach}")
        shared = f"{row['shared']:.0f} of the top {row['k']:.0f} shared"
        parts.append(f"{shared} (Jaccard {_span(row, 'jaccard')}; {row['chance']:.2f} by chance)")
        if pd.notna(row["changed"]):
            parts.append(f"{row['changed']:.0f} heads changed (q < .05)" + self._most(row))
        return "; ".join(parts) + (f". {row['reason']}." if row["reason"] else ".")

    def _most(self, row: dict[str, Any]) -> str:
        rows = self.changed(row["task"])
        rows = rows.loc[(rows["method"] == row["method"]) & (rows["score"] == row["score"])]
        if rows.empty:
            return ""
        first = rows.to_dict("records")[0]
        limits = words.interval(first["low"], first["high"], signed=True)
        return f", most {first['label']}: {words.number(first['difference'], signed=True)} {limits} {first['unit']}"


def _span(row: dict[str, Any], name: str) -> str:
    limits = "" if pd.isna(row[f"{name}_low"]) else f" [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
    return f"{row[name]:.2f}{limits}"
