"""The report's section on the few heads of each task: verdict, criteria, figures and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headscope import few, plots
from headscope.few.outcome import Few
from headscope.few.verdict import FEW, NEEDED, UNABLE
from headscope.plots import words
from headscope.plots.few import MEASURES, of
from headscope.report.panels import Panel, panel
from headscope.report.record import facts, without

Cells = tuple[tuple[str, ...], ...]

SIDE_BY_SIDE = {
    "necessity": "necessity",
    "faithfulness": "faithfulness",
    "accuracy_necessity": "accuracy without them",
    "accuracy_faithfulness": "accuracy with them alone",
    "top1_necessity": "likeliest token right without them",
    "top1_faithfulness": "likeliest token right with them alone",
}
"""What is shown of every kind of ablation, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as text: its caption, its column titles, and its rows, each of which begins with its name."""

    caption: str
    titles: tuple[str, ...]
    rows: Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is said of one task.

    Attributes:
        id: of its place on the page.
        title: the task, and what was counted where that is not heads.
        label, text: the verdict in a few words and in a paragraph.
        state: `ok` where a few heads carry it or are needed, `failed` where the model fails the task, else `skipped`.
        tables: criteria, smallest sets, kinds of ablation, probes; those that have rows.
        curves: the measures against the share of heads.
        others: further figures.
        facts: what it was measured with.
    """

    id: str
    title: str
    label: str
    text: str
    state: str
    tables: tuple[Table, ...]
    curves: tuple[Panel, ...]
    others: tuple[Panel, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FewSection:
    """The section: every task's verdict, and what their heads have in common."""

    verdicts: tuple[Verdict, ...]
    shared: tuple[Panel, ...]
    sharers: Table | None

    def figures(self) -> list[Panel]:
        """All its figures, in the page's order."""
        each = [figure for verdict in self.verdicts for figure in (*verdict.curves, *verdict.others)]
        return each + list(self.shared)


def few_section(results: Mapping[str, Few]) -> FewSection | None:
    """The section of a run; None where the run asked for no verdict.

    Args:
        results: a run's results by name.

    Returns:
        Plain text and figures: the page escapes all of it.
    """
    if not results:
        return None
    verdicts = tuple(_verdict(result, name, f"few-{number}") for number, (name, result) in enumerate(results.items()))
    able = [result for result in results.values() if len(result.heads) and result.unit == "head"]
    shared: list[Panel] = []
    if len(able) >= 2:
        shared.append(panel("few-overlap", plots.few_overlap(few.overlaps(able))))
    if len(able) in (2, 3):
        shared.append(panel("few-shared", plots.few_shared(able)))
    return FewSection(verdicts=verdicts, shared=tuple(shared), sharers=_sharers(able))


def _verdict(result: Few, name: str, place: str) -> Verdict:
    measures = [measure for measure in MEASURES if len(of(result.curve, measure, result.ablation))]
    curves = [panel(f"{place}-{measure}", plots.few_curve(result, measure)) for measure in measures]
    others = []
    if {"necessity", "faithfulness"} <= set(measures):
        others.append(panel(f"{place}-tradeoff", plots.few_tradeoff(result)))
    if len(result.heads):
        others.append(panel(f"{place}-halves", plots.few_halves(result)))
    tables = (criteria_table(result), smallest_table(result), ablation_table(result), probes_table(result))
    return Verdict(
        id=place,
        title=name,
        label=result.label,
        text=result.text,
        state=state(result),
        tables=tuple(table for table in tables if table.rows),
        curves=tuple(curves),
        others=tuple(others),
        facts=tuple(facts(without(result.facts, "draws"))),
    )


def state(result: Few) -> str:
    """Whether a few heads carry the task (`ok`), or not (`skipped`), or the model fails it (`failed`).

    Args:
        result: of one task.
    """
    return {FEW: "ok", NEEDED: "ok", UNABLE: "failed"}.get(result.label, "skipped")


def criteria_table(result: Few) -> Table:
    """What the verdict was made by.

    Args:
        result: of one task.
    """
    rows = tuple(
        (row.criterion, _value(row), words.said(row.wanted), _met(row.met), words.said(row.meaning))
        for row in words.loose(result.criteria).itertuples()
    )
    titles = ("criterion", "value [95%]", "wanted", "met", "what it says")
    return Table(caption="What the verdict was made by", titles=titles, rows=rows)


def _met(value: Any) -> str:
    return "not tested" if pd.isna(value) else "yes" if value else "no"


def _value(row: Any, reason: str = "") -> str:
    if pd.isna(row.value):
        return f"absent: {reason}" if reason else "absent"
    return words.number(row.value) + ("" if pd.isna(row.low) else f" {words.interval(row.low, row.high)}")


def smallest_table(result: Few) -> Table:
    """The smallest number of top heads that reaches each target, by every measure, under the verdict's own ablation.

    Args:
        result: of one task.
    """
    table = words.loose(result.smallest)
    targets = sorted(table["target"].dropna().unique())
    rows = []
    for measure in dict.fromkeys(table["measure"]):
        found = {row.target: row for row in of(result.smallest, measure, result.ablation).itertuples()}
        if found:
            rows.append((measure, *(smallest_text(found[at]) if at in found else "" for at in targets)))
    titles = (f"fewest {result.unit}s that reach", *(words.percent(at) for at in targets))
    caption = f"Smallest sets, {result.ablation} ablation: number, share of all {len(result.heads)}, 95% interval"
    return Table(caption=caption, titles=titles, rows=tuple(rows))


def smallest_text(row: Any) -> str:
    """A number of heads with its share and its interval, or why there is none.

    Args:
        row: of a result's `smallest`.
    """
    if pd.isna(row.k):
        return f"none: {words.said(row.reason) or 'not reached'}"
    return f"{words.count(row.k)} ({100 * row.share:.1f}%) [{words.sizes(row.low, row.high)}]"


def ablation_table(result: Few) -> Table:
    """The claimed few and both areas under every kind of ablation, the verdict's own first.

    Args:
        result: of one task.
    """
    kinds = list(dict.fromkeys([result.ablation, *result.curve["ablation"]])) if len(result.curve) else []
    k = result.facts.get("k", 0)
    shown = [name for name in SIDE_BY_SIDE if name in set(result.curve["measure"])]
    areas = list(dict.fromkeys(result.areas["measure"]))
    rows = []
    for kind in kinds:
        cells = [_at(of(result.curve, name, kind), k=k) for name in shown] + [
            _at(of(result.areas, name, kind)) for name in areas
        ]
        if any(cells):
            rows.append((str(kind), *(cell or "not measured" for cell in cells), _ninety(result, kind)))
    caption = f"Kinds of ablation side by side: the top {k} of {len(result.heads)} {result.unit}s [95%], areas, sizes"
    caption += " (all but the first are measured at fewer sizes)" if len(rows) > 1 else ""
    titles = ("ablation", *(SIDE_BY_SIDE[name] for name in shown), *areas, "fewest that keep 90%")
    return Table(caption=caption, titles=titles, rows=tuple(rows))


def _ninety(result: Few, kind: str) -> str:
    rows = of(result.smallest, "faithfulness", kind)
    rows = rows[rows["target"] == 0.9]
    if rows.empty:
        return "not measured"
    # Other kinds than the verdict's are measured at a few sizes: the least that reaches it may lie between them.
    coarse = kind != result.ablation and pd.notna(rows.iloc[0]["k"])
    return ("up to " if coarse else "") + smallest_text(rows.iloc[0])


def _at(rows: Any, *, k: int | None = None) -> str:
    chosen = rows if k is None else rows[rows["k"] == k]
    return _value(chosen.iloc[0], words.said(chosen.iloc[0].get("reason"))) if len(chosen) else ""


def probes_table(result: Few) -> Table:
    """Completeness and minimality.

    Args:
        result: of one task.
    """
    rows = tuple(
        (words.said(row.probe), str(row.members), words.count(row.k), _value(row, words.said(row.reason)))
        for row in words.loose(result.probes).itertuples()
    )
    titles = ("probe", f"{result.unit}s", "k", "value [95%]")
    return Table(caption="Is anything missing, is anything idle?", titles=titles, rows=rows)


def _sharers(results: Sequence[Few]) -> Table | None:
    """Heads that are among the top of more than one task."""
    found: dict[str, list[str]] = {}
    for result in results:
        top = words.loose(result.heads).sort_values("rank", kind="stable").head(result.facts["k"])
        for label in top["label"]:
            found.setdefault(label, []).append(result.task)
    rows = sorted(
        ((label, ", ".join(tasks)) for label, tasks in found.items() if len(tasks) > 1), key=lambda row: row[1]
    )
    if not rows:
        return None
    return Table(caption="Heads that are among the few of several tasks", titles=("head", "tasks"), rows=tuple(rows))
