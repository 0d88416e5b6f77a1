"""Does a role show in what the model can do? The effect of each head on a task that needs the role."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from headscope import metrics, provenance, statistics
from headscope.ability import ability
from headscope.cells import Kept, Unkept, frame_from, frame_in, packed, unpacked
from headscope.errors import HeadscopeError
from headscope.methods.patching import patching
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.roles.circuits import random_output
from headscope.tasks import TASKS

LEVEL = 0.05
"""The false discovery rate over the heads of a task."""

NO_TASK = "no task tests this role"
CAUSAL = ("causal", "task", "effect", "effect_low", "effect_high", "base_rate", "causal_reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Which tasks need a role.

    Attributes:
        role: the role.
        case: the case, whole or up to a space or colon; empty: every case.
        tasks: the first of them that a model can express and do counts.
        sign: -1 where heads of the role are expected to work against the answer.
        why: what the head does in the task.
    """

    role: str
    case: str = ""
    tasks: tuple[str, ...]
    sign: int = 1
    why: str


_IOI = ("ioi", "mini-ioi")
_INDUCTION = ("induction", "mini-induction")
_PRONOUNS = ("pronoun", "gender-bias", "winograd", "mini-gender", "mini-winograd")
CAUSES = (
    Cause(role="induction", tasks=_INDUCTION, why="it finds what came next before"),
    Cause(role="positional", case="offset -1", tasks=_INDUCTION, why="it tells keys which token stands before them"),
    Cause(role="duplicate", tasks=("ioi", "mini-duplicate"), why="it sees that a name or word comes again"),
    Cause(role="retrieval", tasks=("retrieval", "mini-facts-context"), why="it finds what was said before"),
    Cause(role="copying", tasks=_IOI, why="it writes the name that it attends to"),
    Cause(role="mover", tasks=_IOI, why="it writes the name that it attends to"),
    Cause(role="inhibition", tasks=_IOI, why="it turns movers away from the wrong name"),
    Cause(role="negative", tasks=_IOI, sign=-1, why="it writes against the name that it attends to"),
    Cause(role="suppression", tasks=_IOI, sign=-1, why="it writes against the name that it attends to"),
    Cause(role="syntax", case="nsubj", tasks=("agreement", "mini-agreement"), why="it links verb and subject"),
    Cause(role="coreference", case="pronoun", tasks=_PRONOUNS, why="it links a pronoun to whom it means"),
)
"""Roles and the tasks that need them."""

OF_TASKS = frozenset({"mover", "inhibition", "suppression"})
"""Roles whose case may be a task: a mover of `ioi` is tested on `ioi`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Effects:
    """What each head does for the tasks that could be asked of the model.

    Attributes:
        frames: task -> columns `layer, head, effect, low, high, n, groups, p, q, unit`, a row for each head.
        absent: task -> why it says nothing of this model.
    """

    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def first(self, tasks: Sequence[str]) -> str:
        """The first of some tasks that says something; empty where none does.

        Args:
            tasks: their names.
        """
        return next((task for task in tasks if task in self.frames), "")


@dataclass(frozen=True, eq=False, kw_only=True)
class Able:
    """The first of several tasks that a model can express and do.

    Attributes:
        pairs: its examples; None where there is none.
        absent: why each task before it, or every task, says nothing of this model.
    """

    pairs: Pairs | None
    absent: Mapping[str, str]


def cause_of(role: str, case: str = "") -> Cause | None:
    """The tasks that need a role; None where no task does.

    Args:
        role: the role.
        case: its case.

    Example:
        >>> cause_of("syntax", "nsubj:pass to head").tasks
        ('agreement', 'mini-agreement')
        >>> cause_of("mover", "mini-facts-context").tasks, cause_of("positional", "offset -2")
        (('mini-facts-context',), None)
    """
    for row in CAUSES:
        if row.role == role and (not row.case or case == row.case or case.startswith((f"{row.case} ", f"{row.case}:"))):
            return replace(row, tasks=(case,)) if role in OF_TASKS and case in TASKS else row
    return None


def able(
    model: Model, tasks: Sequence[str], *, n: int = 40, seed: int = 0, use: str = "", batch_size: int = 32
) -> Able:
    """The first of some tasks that a model can express and is above chance at.

    Args:
        model: the model.
        tasks: their names, in the order in which they are tried.
        n: examples.
        seed: of the examples.
        use: what they are for; other uses of one seed draw other examples.
        batch_size: rows per forward pass; changes speed and memory only.

    Returns:
        Its examples, and why the tasks before it say nothing. Cost: two forwards for each example and task.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> found = able(model, ["ioi", "induction"], n=8)
        >>> found.pairs.task, found.absent
        ('induction', {'ioi': "task 'ioi' on 'GPT2LMHeadModel', which has no tokenizer"})
    """
    absent: dict[str, str] = {}
    for name in tasks:
        if reason := random_output(model):
            absent[name] = reason
            continue
        rng = np.random.default_rng(provenance.seed_for(seed, name, *filter(None, [use])))
        try:
            pairs = TASKS[name].build(model, n=n, rng=rng)
            row = ability(model, pairs, seed=seed, batch_size=batch_size)
        except HeadscopeError as error:
            absent[name] = error.given
            continue
        if row["status"] == "ok":
            return Able(pairs=pairs, absent=absent)
        absent[name] = str(row["reason"])
    return Able(pairs=None, absent=absent)


def effects(
    model: Model,
    wanted: Iterable[tuple[str, str]],
    *,
    n: int = 40,
    seed: int = 0,
    limits: Limits | None = None,
    kept: Kept | None = None,
) -> Effects:
    """What each head does for the tasks that some roles need, each by the first task that the model can do.

        effect = (denoising + noising) / 2      see `headscope.methods.patching`; positive where the head helps

    Noising alone misses heads that others stand in for, as those that move names; denoising alone misses heads that
    need others (Heimersheim & Nanda 2024, section 3). Prompts are others than those on which roles of a task were seen.

    Args:
        model: the model.
        wanted: roles with their cases.
        n: examples of each task.
        seed: of the examples and resamples.
        limits: what is held at once, and progress bars; changes speed and memory only.
        kept: where the effects on every task are kept as soon as they are there, and found again; None: nothing is.

    Returns:
        A table for each task, with q over all heads of the model; and for the others why there is none. Cost: two
        counterfactual runs for each head, for each example of each task.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> found = effects(model, [("induction", "random tokens"), ("sink", "first token")], n=8)
        >>> (found.frames["induction"]["effect"] > 1).tolist(), found.absent
        ([True, False, False, True], {})
    """
    limits, kept = limits or Limits(), kept or Kept()
    causes = [cause for role, case in dict.fromkeys(wanted) if (cause := cause_of(role, case)) is not None]
    frames: dict[str, pd.DataFrame] = {}
    absent: dict[str, str] = {}
    for tasks in dict.fromkeys(cause.tasks for cause in causes):
        left = [task for task in tasks if task not in absent]
        if Effects(frames=frames).first(left[:1]):
            continue
        asked = {"tasks": left, "known": [task for task in left if task in frames], "n": n, "seed": seed}
        found = kept.remember(
            "roles: causes", partial(dict, asked), partial(_effects, model, asked, limits), pack=_pack, unpack=_unpack
        )
        absent |= found.absent
        frames |= found.frames
    return Effects(frames=frames, absent=absent)


def _effects(model: Model, asked: Mapping[str, Any], limits: Limits) -> Effects:
    """What each head does for the first of some tasks that the model can do, unless that is known."""
    seed, rows = asked["seed"], limits.batch_size
    found = able(model, asked["tasks"], n=asked["n"], seed=seed, use="causes", batch_size=rows or 32)
    frames: dict[str, pd.DataFrame] = {}
    if found.pairs is not None and found.pairs.task not in asked["known"]:
        frames[found.pairs.task] = _frame(model, found.pairs, seed, limits)
    measured = Effects(frames=frames, absent=found.absent)
    if any("memory" in why for why in found.absent.values()):  # of which there may be more the next time
        raise Unkept(measured)
    return measured


def _pack(found: Effects) -> dict[str, np.ndarray]:
    frames = {str(place): frame_in(frame) for place, frame in enumerate(found.frames.values())}
    return packed({"tasks": list(found.frames), "absent": dict(found.absent)}) | frames


def _unpack(arrays: Mapping[str, np.ndarray]) -> Effects:
    told = unpacked(arrays)
    frames = {str(task): frame_from(arrays[str(place)]) for place, task in enumerate(told["tasks"])}
    return Effects(frames=frames, absent={str(task): str(why) for task, why in told["absent"].items()})


def _frame(model: Model, pairs: Pairs, seed: int, limits: Limits) -> pd.DataFrame:
    both = patching(model, pairs, batch_size=limits.batch_size, progress=limits.progress)
    values = (both["denoising"] + both["noising"]) / 2
    flat = values.double().cpu().numpy().reshape(len(pairs), model.grid.size)
    layers, heads = np.array(list(model.grid)).T
    told = statistics.summarise(flat, pairs.groups.cpu().numpy(), seed=seed).rename(columns={"value": "effect"})
    frame = pd.DataFrame({"layer": layers, "head": heads}).join(told)
    frame["unit"] = metrics.unit_of(pairs)
    return frame.loc[:, ["layer", "head", "effect", "low", "high", "n", "groups", "p", "q", "unit"]]


def confirm(labels: pd.DataFrame, found: Effects) -> pd.DataFrame:
    """Labels with what a task that needs the role says of the head.

    `confirmed`: the head's effect has the role's sign (against the answer for `negative` and `suppression`, else for
    it) with q <= .05 over all heads of the task. `not confirmed`: the task was run, and it has not. A head may well do
    what its label says and have no effect alone, where others do it too. `observed only`: no task needs the role, or
    the model cannot express or do it.

    Args:
        labels: columns `layer`, `head`, `role` and `case`; rows of the role `unassigned` stay without a verdict.
        found: from `effects`.

    Returns:
        The same rows with the columns `causal`, `task`, `effect`, `effect_low`, `effect_high`, `base_rate` (the share
        of all the model's heads that would be confirmed, whatever they do; all NaN where there is no task) and
        `causal_reason` (empty where it is confirmed). Cost: no forward passes.

    Example:
        >>> frame = pd.DataFrame({"layer": [0], "head": [1], "effect": [2.0], "low": [1.0], "high": [3.0], "q": [0.01]})
        >>> labels = pd.DataFrame({"layer": [0, 0], "head": [1, 1], "role": ["induction", "sink"], "case": ["", ""]})
        >>> told = confirm(labels, Effects(frames={"induction": frame}))
        >>> told[["role", "causal", "task", "causal_reason"]].to_numpy().tolist()
        [['induction', 'confirmed', 'induction', ''], ['sink', 'observed only', '', 'no task tests this role']]
    """
    told = [
        _verdict(cause_of(role, case), (layer, head), found) if role != "unassigned" else _none("", "")
        for layer, head, role, case in labels[["layer", "head", "role", "case"]].itertuples(index=False)
    ]
    return labels.assign(**{name: [line[name] for line in told] for name in CAUSAL})


def _verdict(cause: Cause | None, place: tuple[int, int], found: Effects) -> dict[str, object]:
    if cause is None:
        return _none("observed only", NO_TASK)
    task = found.first(cause.tasks)
    if not task:
        told = "; ".join(f"{name}: {found.absent.get(name, 'not measured')}" for name in cause.tasks)
        return _none("observed only", told)
    frame = found.frames[task]
    row = frame.loc[(frame["layer"] == place[0]) & (frame["head"] == place[1])].iloc[0]
    if np.isnan(row["effect"]):
        return _none("observed only", f"no example of {task} says anything of this head")
    against = ["its effect has the other sign"] if row["effect"] * cause.sign < 0 else []
    unsure = [] if row["q"] <= LEVEL else [f"q {row['q']:.2g}"]
    passing = (frame["effect"] * cause.sign > 0) & (frame["q"] <= LEVEL)
    return {
        "causal": "not confirmed" if against or unsure else "confirmed", "task": task, "effect": row["effect"],
        "effect_low": row["low"], "effect_high": row["high"], "base_rate": float(passing.to_numpy().mean()),
        "causal_reason": "; ".join(against + unsure),
    }  # fmt: skip


def _none(causal: str, reason: str) -> dict[str, object]:
    nothing = dict.fromkeys(("effect", "effect_low", "effect_high", "base_rate"), float("nan"))
    return {"causal": causal, "task": "", **nothing, "causal_reason": reason}
