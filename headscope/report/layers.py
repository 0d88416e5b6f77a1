"""The report's section on where in depth effects lie."""

import numpy as np
import pandas as pd

from headscope import plots
from headscope.plots import words
from headscope.plots.grids import select
from headscope.profiles import Profiles
from headscope.profiles.heads import leading
from headscope.profiles.layers import layer_effects
from headscope.report.agreement import Examples, Groups
from headscope.report.panels import Panel, panel


def layer_panels(scores: pd.DataFrame, *, examples: Examples, groups: Groups) -> tuple[Panel, ...]:
    """The absolute effects of every task by layer, by the score that the task is led by.

    Args:
        scores: a run's tidy scores.
        examples: `task.method.score` -> the values behind them.
        groups: task -> the group of every example.
    """
    found = []
    for number, task in enumerate(words.loose(scores)["task"].unique().tolist()):
        pair = leading(scores, task)
        if pair is None:
            continue
        rows = select(scores, task=task, method=pair[0], score=pair[1])
        own = groups.get(task)
        members = None if own is None else own.cpu().numpy().astype(np.int64)
        frame = layer_effects(rows, values=examples.get(".".join((task, *pair))), groups=members)
        found.append(panel(f"layers-{number}", plots.layer_profile(frame, task=task)))
    return tuple(found)


def edge_panels(profiles: Profiles | None) -> tuple[Panel, ...]:
    """The strongest edges among the leading heads of every task.

    Args:
        profiles: of a run.
    """
    if profiles is None:
        return ()
    rows = words.loose(profiles.edges)
    tasks = list(dict.fromkeys(rows["task"]))
    return tuple(panel(f"edges-{at}", plots.head_edges(rows, task=task)) for at, task in enumerate(tasks))
