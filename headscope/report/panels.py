"""The report's figures: which there are, where they stand, and their JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import pandas as pd
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from headscope.attention import escape_json, escape_script, safe_json
from headscope.plots import DARK, LIGHT, accuracies, heatmap, ranking, with_roles, words
from headscope.plots.theme import colourscale
from headscope.profiles.heads import leading

BUDGET, ALL = 1_200_000, 1_350_000
"""The most bytes of figures, and of figures with patterns: with the two libraries (6.1 MB) and the tables the report
stays below 8 MB."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure and the words above it; `least` pixels across are needed to read it, 0 where any will do."""

    id: str
    title: str
    note: str
    flag: str
    figure: go.Figure
    least: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """The heatmaps of one method on one task."""

    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """All figures of one task; the method that the report leads with comes first."""

    task: str
    ranking: Panel | None
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Panels:
    """All figures of a report; `brief` if hover texts were left out for size."""

    accuracies: Panel | None
    sections: tuple[Section, ...]
    brief: bool

    def figures(self) -> list[Panel]:
        """All of them, in the page's order."""
        found = [self.accuracies] if self.accuracies else []
        for section in self.sections:
            found += [section.ranking] if section.ranking else []
            found += [each for method in section.methods for each in method.panels]
        return found


def panels(scores: pd.DataFrame, tasks: pd.DataFrame, *, roles: Mapping[str, str]) -> Panels:
    """The figures of a run's scores, task by task.

    Args:
        scores: a run's tidy scores.
        tasks: its task table.
        roles: head -> what it does, for the hover texts; empty where that was not asked.
    """
    names = [str(task) for task in tasks["task"]]
    sections = tuple(_section(scores, task, number, roles) for number, task in enumerate(names))
    accuracy = panel("accuracies", accuracies(tasks)) if words.loose(tasks)["accuracy"].notna().any() else None
    return Panels(accuracy, sections, brief=False)


def fitted(drawn: Panels, further: Sequence[Panel], *, room: int = BUDGET) -> tuple[Panels, Markup]:
    """All figures of a page as JSON; where they have no room, the heatmaps of scores keep head and value only.

    Args:
        drawn: the figures of the scores.
        further: those of other sections.
        room: bytes.
    """
    rest, whole = draw(further), draw(drawn.figures())
    if len(rest) + len(whole) <= room:
        return drawn, _joined(rest, whole)
    for each in drawn.figures():
        heatmaps: Any = each.figure.select_traces(selector={"type": "heatmap"})
        for trace in heatmaps:
            if trace.meta != "absent":
                trace.update(customdata=None, hovertemplate="L%{y}H%{x}: %{z:.3g}<extra></extra>")
    return replace(drawn, brief=True), _joined(rest, draw(drawn.figures()))


def _joined(one: Markup, other: Markup) -> Markup:
    parts = [each[1:-1] for each in (one, other) if len(each) > 2]
    return Markup("{" + ",\n".join(parts) + "}")


def _section(scores: pd.DataFrame, task: str, number: int, roles: Mapping[str, str]) -> Section:
    whole = words.loose(scores)
    rows, lead = whole[whole["task"] == task], leading(scores, task)
    methods: dict[str, list[str]] = {}
    for method, score in rows[["method", "score"]].drop_duplicates().itertuples(index=False):
        methods.setdefault(method, []).append(score)
    order = sorted(methods, key=lambda name: lead is None or name != lead[0])
    drawn = []
    for i, method in enumerate(order):
        maps = [heatmap(rows, task=task, method=method, score=score) for score in methods[method]]
        found = [panel(f"t{number}-m{i}-s{j}", with_roles(each, roles)) for j, each in enumerate(maps)]
        drawn.append(Method(method, tuple(found)))
    first = None
    if lead:
        first = panel(f"t{number}-ranking", with_roles(ranking(rows, task=task, method=lead[0], score=lead[1]), roles))
    return Section(task, first, tuple(drawn))


def panel(name: str, figure: go.Figure) -> Panel:
    """A figure that stands under words of the page instead of its own title.

    Args:
        name: its id on the page.
        figure: one of `headscope.plots`.
    """
    meta: Any = figure.layout.meta  # pyright: ignore[reportAttributeAccessIssue]
    figure.update_layout(title=None, margin={"t": 26, "r": 8})
    return Panel(name, meta["title"], meta["note"], meta["flag"], figure, int(meta.get("least", 0)))


def draw(figures: Iterable[Panel]) -> Markup:
    """Figures as JSON {id: {data, layout}} that can stand inside a script element.

    Args:
        figures: of a page.
    """
    parts = []
    for each in figures:
        body: Any = each.figure.to_json()
        parts.append(f"{json.dumps(each.id)}:{escape_json(body)}")
    return Markup("{" + ",\n".join(parts) + "}")


def themes() -> Markup:
    """Both themes as JSON, for the script that redraws when the reader's colour scheme changes."""
    both = {
        name: {
            **asdict(theme),
            "scales": {
                "diverging": colourscale(theme.diverging),
                "sequential": colourscale(theme.sequential),
                "absent": colourscale((theme.absent, theme.absent)),
                "blank": colourscale((theme.rule, theme.rule)),
                "muted": colourscale((theme.paper, theme.muted)),
                **{f"roles-{i}": colourscale((theme.paper, colour)) for i, colour in enumerate(theme.roles)},
            },
        }
        for name, theme in (("light", LIGHT), ("dark", DARK))
    }
    return Markup(safe_json(both))


@cache
def plotly_script() -> Markup:
    """plotly.js as one script that an inline element can hold."""
    return Markup(escape_script(get_plotlyjs()))
