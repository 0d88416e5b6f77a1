"""One figure of a run by its name: what the command `headscope picture` draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from plotly import graph_objects as go

from headscope import plots
from headscope.errors import UsageError, meant, refusing
from headscope.few.outcome import Few
from headscope.plots import DARK, LIGHT, Theme, words
from headscope.plots.grids import select
from headscope.plots.probing import together
from headscope.probed import Probed
from headscope.profiles import Profiles
from headscope.profiles.agreement import method_agreement
from headscope.profiles.heads import leading
from headscope.profiles.layers import layer_effects
from headscope.report.results import Results
from headscope.roles.result import Roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be drawn.

    Attributes:
        task: which task; empty: the run's first.
        method, score: which score; empty: the one that the task is led by.
        label: of the figures of probes, and the measure of those of few heads.
        dark: with light ink on a dark ground.
    """

    task: str = ""
    method: str = ""
    score: str = ""
    label: str = ""
    dark: bool = False

    @property
    def theme(self) -> Theme:
        """The colours."""
        return DARK if self.dark else LIGHT


def picture(run: Results, name: str, wanted: Wanted = Wanted()) -> go.Figure:
    """A figure of a run.

    Args:
        run: a run.
        name: a key of `PICTURES`.
        wanted: which task, score or label of it.

    Returns:
        A Figure that has not been shown; `headscope.plots.save_picture` writes it.

    Raises:
        UsageError: if there is no such figure, or the run holds nothing to draw it from.

    Example:
        >>> import pandas as pd
        >>> from headscope.runs import Run
        >>> tasks = pd.DataFrame([{"task": "ioi", "status": "ok", "reason": "", "accuracy": 0.9, "accuracy_low": 0.8,
        ...     "accuracy_high": 1.0, "n": 40, "groups": 40}])
        >>> picture(Run(identity={}, scores=pd.DataFrame(), tasks=tasks), "tasks").layout.meta["title"]
        'Does the model do the tasks?'
    """
    if name not in PICTURES:
        fix = meant(name, PICTURES, "choose one of these")
        raise UsageError(f"picture {name!r}", f"one of: {', '.join(PICTURES)}", fix)
    with refusing(f"a run of which no picture {name!r} can be drawn", "a run as headscope made it"):
        return PICTURES[name](run, wanted)


def _lead(run: Results, wanted: Wanted) -> tuple[str, str, str]:
    """Task, method and score."""
    tasks = list(dict.fromkeys(run.scores["task"])) if len(run.scores) else []
    if not tasks:
        raise _absent("scores", "headscope analyze")
    task = _one_of(wanted.task, tasks) or tasks[0]
    whole = words.loose(run.scores)
    rows = whole[whole["task"] == task]
    rows = rows[rows["method"] == wanted.method] if wanted.method else rows
    rows = rows[rows["score"] == wanted.score] if wanted.score else rows
    first = (str(rows["method"].iloc[0]), str(rows["score"].iloc[0])) if len(rows) else (wanted.method, wanted.score)
    method, score = leading(rows, task) or first
    return task, method, score


def _one_of(task: str, known: Sequence[str]) -> str:
    """The task that is wanted; empty where none is named."""
    if task and task not in known:
        raise UsageError(f"task {task!r}", f"one of: {', '.join(known)}", meant(task, known, "choose one of these"))
    return task


def _heatmap(run: Results, wanted: Wanted) -> go.Figure:
    task, method, score = _lead(run, wanted)
    return plots.heatmap(run.scores, task=task, method=method, score=score, theme=wanted.theme)


def _ranking(run: Results, wanted: Wanted) -> go.Figure:
    task, method, score = _lead(run, wanted)
    return plots.ranking(run.scores, task=task, method=method, score=score, theme=wanted.theme)


def _tasks(run: Results, wanted: Wanted) -> go.Figure:
    return plots.accuracies(run.tasks, theme=wanted.theme)


def _agreement(run: Results, wanted: Wanted) -> go.Figure:
    task, _, _ = _lead(run, wanted)
    own = run.groups.get(task)
    groups = None if own is None else own.cpu().numpy().astype(np.int64)
    frame = method_agreement(run.scores, task, examples=run.examples, groups=groups)
    return plots.method_agreement(frame, task=task, theme=wanted.theme)


def _layers(run: Results, wanted: Wanted) -> go.Figure:
    task, method, score = _lead(run, wanted)
    own = run.groups.get(task)
    groups = None if own is None else own.cpu().numpy().astype(np.int64)
    rows = select(run.scores, task=task, method=method, score=score)
    frame = layer_effects(rows, values=run.examples.get(f"{task}.{method}.{score}"), groups=groups)
    return plots.layer_profile(frame, task=task, theme=wanted.theme)


def _edges(run: Results, wanted: Wanted) -> go.Figure:
    profiles: Profiles | None = run.profiles
    if profiles is None or profiles.edges.empty:
        raise _absent("edges between heads", "headscope analyze")
    return plots.head_edges(profiles.edges, task=wanted.task or str(profiles.edges["task"].iloc[0]), theme=wanted.theme)


def _attention(run: Results, wanted: Wanted) -> go.Figure:
    if not run.views:
        raise _absent("attention", "headscope analyze")
    task = _one_of(wanted.task, list(dict.fromkeys(view.task for view in run.views)))
    view = next(view for view in run.views if task in ("", view.task))
    return plots.pattern(view, theme=wanted.theme)


def _roles(run: Results) -> Roles:
    if run.roles is None:
        raise _absent("roles", "headscope roles")
    return run.roles


def _few(run: Results, wanted: Wanted) -> Few:
    if not run.few:
        raise _absent("verdicts on few heads", "headscope few")
    return run.few[_one_of(wanted.task, list(run.few)) or next(iter(run.few))]


def _probes(run: Results) -> Probed:
    if run.probes is None:
        raise _absent("probes", "headscope probe")
    return run.probes


def _depth(run: Results, wanted: Wanted) -> go.Figure:
    probed = _probes(run)
    return plots.probe_depth(probed, (wanted.label,) if wanted.label else together(probed)[0], theme=wanted.theme)


def _probe_heads(run: Results, wanted: Wanted) -> go.Figure:
    probed = _probes(run)
    return plots.probe_grid(probed, wanted.label or str(probed.probes["label"].iloc[0]), theme=wanted.theme)


def _absent(what: str, command: str) -> UsageError:
    return UsageError(f"a run without {what}", f"a run of {command}", f"run {command}, or draw another picture")


PICTURES: dict[str, Callable[[Results, Wanted], go.Figure]] = {
    "heatmap": _heatmap,
    "ranking": _ranking,
    "tasks": _tasks,
    "agreement": _agreement,
    "layers": _layers,
    "edges": _edges,
    "attention": _attention,
    "roles": lambda run, wanted: plots.role_grid(_roles(run), theme=wanted.theme),
    "role-layers": lambda run, wanted: plots.role_profile(_roles(run), theme=wanted.theme),
    "syntax": lambda run, wanted: plots.role_relations(_roles(run), role="syntax", theme=wanted.theme),
    "coreference": lambda run, wanted: plots.role_relations(_roles(run), role="coreference", theme=wanted.theme),
    "few": lambda run, wanted: plots.few_curve(_few(run, wanted), wanted.label or "faithfulness", theme=wanted.theme),
    "few-tradeoff": lambda run, wanted: plots.few_tradeoff(_few(run, wanted), theme=wanted.theme),
    "few-halves": lambda run, wanted: plots.few_halves(_few(run, wanted), theme=wanted.theme),
    "depth": _depth,
    "probe-heads": _probe_heads,
    "probe-use": lambda run, wanted: plots.probe_use(_probes(run), theme=wanted.theme),
}
"""What can be drawn, by name."""
