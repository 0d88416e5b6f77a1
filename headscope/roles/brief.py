"""Roles beside an analysis: fewer sentences, and causes from the effects that were measured there anyway."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from headscope.cells import Kept
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.roles.causes import Effects, confirm
from headscope.roles.result import Roles
from headscope.roles.settings import Settings
from headscope.roles.study import study

SENTENCES, PROMPTS = 300, 48
"""Of such a study: enough for common relations, in some ten seconds on the bundled model."""

METHOD, SCORE = "patching", "noising"
"""Whose effects say what a head does for a task: what is lost with the head's output from the corrupted twin."""


def brief(model: Model, scores: pd.DataFrame, *, failed: Iterable[str] = (), seed: int, limits: Limits) -> Roles:
    """What each head does, in short; `headscope.roles.study.study` with fewer sentences and prompts.

    Labels are confirmed by the effects of `patching` on the tasks that the analysis has run, where they need the role;
    no further task is run.

    Args:
        model: the model.
        scores: of the analysis.
        failed: tasks that the model cannot do: their effects say nothing.
        seed: of sentences, prompts, halves and resamples.
        limits: what is held at once, and progress bars.

    Returns:
        Roles; `record["causes"]` names the tasks.
    """
    return confirmed(observed(model, seed=seed, limits=limits), scores, failed=failed)


def observed(model: Model, *, seed: int, limits: Limits, kept: Kept | None = None) -> Roles:
    """What each head does, in short, as far as looking tells: what of `brief` depends on no analysis.

    Args:
        model: the model.
        seed: of sentences, prompts, halves and resamples.
        limits: what is held at once, and progress bars.
        kept: where every step is kept as soon as it is finished, and found again; None: nothing is kept.

    Returns:
        Roles; after Ctrl-C with `record["complete"]` False.
    """
    settings = Settings(n=SENTENCES, prompts=PROMPTS, seed=seed, confirm=False, splits=1)
    return study(model, settings=settings, limits=limits, kept=kept)


def confirmed(found: Roles, scores: pd.DataFrame, *, failed: Iterable[str] = ()) -> Roles:
    """Observed roles with the effects of an analysis.

    Args:
        found: from `observed`.
        scores: of the analysis.
        failed: tasks that the model cannot do: their effects say nothing.

    Returns:
        Roles; `record["causes"]` names the tasks.
    """
    measured = effects_of(scores, failed=failed)
    record = dict(found.record) | {"causes": {"tasks": list(measured.frames), "absent": dict(measured.absent)}}
    return Roles(
        grid=found.grid, scores=found.scores, labels=confirm(found.labels, measured), stability=found.stability,
        record=record,
    )  # fmt: skip


def effects_of(scores: pd.DataFrame, *, failed: Iterable[str] = ()) -> Effects:
    """The effects of an analysis as `headscope.roles.causes.confirm` reads them.

    Args:
        scores: of the analysis.
        failed: tasks that the model cannot do.

    Example:
        >>> scores = pd.DataFrame({"task": ["ioi"], "method": ["patching"], "score": ["noising"], "layer": [0],
        ...                        "head": [1], "value": [0.5], "low": [0.4], "high": [0.6], "q": [0.001]})
        >>> effects_of(scores).frames["ioi"]["effect"].tolist(), effects_of(scores, failed=["ioi"]).absent
        ([0.5], {'ioi': 'the model is not above chance at it'})
    """
    rows: Any = scores.loc[(scores["method"] == METHOD) & (scores["score"] == SCORE)]
    frames = {str(task): part.rename(columns={"value": "effect"}) for task, part in rows.groupby("task", sort=False)}
    cannot = dict.fromkeys(failed, "the model is not above chance at it")
    return Effects(frames={task: part for task, part in frames.items() if task not in cannot}, absent=cannot)
