"""What is shown of the heads that lead each task: their attention, their profiles, and what heads do beside that."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from headscope.attention import View
from headscope.cells import Kept, Store, frame_from, frame_in, packed, unpacked
from headscope.contract import COLUMNS
from headscope.corpora.files import data_path
from headscope.errors import HeadscopeError
from headscope.methods.twins import Limits
from headscope.pipeline import keys
from headscope.pipeline.states import Setting
from headscope.profiles import Profiles, profile, profiles_from, shown, top_heads, views
from headscope.prompts import Pairs
from headscope.roles import Roles
from headscope.roles.brief import confirmed, observed
from headscope.roles.result import roles_from
from headscope.runs.checking import check_profiles, check_roles

Arrays = Mapping[str, np.ndarray]


def show(setting: Setting, pairs: Pairs, frames: list[pd.DataFrame]) -> list[View]:
    """The attention of a task's top heads on a few of its prompts; none where no method ranks heads.

    Args:
        setting: the model and how to run it.
        pairs: the task's examples.
        frames: the tables of all cells.
    """
    return views(setting.model, pairs, heads_of(pd.concat(frames), pairs.task), shown(pairs))


def heads_of(scores: pd.DataFrame, task: str) -> list[tuple[int, int]]:
    """The heads of a task that are shown.

    Args:
        scores: the tables of all cells.
        task: one of the tasks.
    """
    top = top_heads(scores, task)
    return [(int(layer), int(head)) for layer, head in zip(top["layer"], top["head"], strict=True)]


def profiled(
    setting: Setting, pairs: Mapping[str, Pairs], frames: list[pd.DataFrame], examples: Mapping[str, Tensor], *,
    seed: int,
) -> Profiles:  # fmt: skip
    """The profiles of the heads that lead each task.

    Args:
        setting: the model and how to run it.
        pairs: the examples of every task.
        frames: the tables of all cells.
        examples: the values behind them.
        seed: of the intervals.
    """
    limits = Limits(batch_size=setting.batch_size, memory=setting.memory, progress=setting.progress)
    return profile(setting.model, pairs, together(frames), examples=examples, seed=seed, limits=limits)


def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all cells as one.

    Args:
        frames: of each.
    """
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept) if kept else pd.DataFrame(columns=COLUMNS)


def kept_views(store: Store, what: Any, compute: Callable[[], list[View]]) -> list[View]:
    """The attention of a task's top heads, remembered.

    Args:
        store: where.
        what: determines it.
        compute: computes it.
    """
    return store.remember("views", what, compute, pack=_views_in, unpack=_views_from)


def kept_profiles(store: Store, what: Any, compute: Callable[[], Profiles]) -> Profiles:
    """The profiles of leading heads, remembered.

    Args:
        store: where.
        what: determines them.
        compute: computes them.
    """
    return store.remember("profiles", what, compute, pack=_profiles_in, unpack=_profiles_from)


def kept_roles(store: Store, what: Any, compute: Callable[[], Roles]) -> Roles:
    """The roles of heads as they are observed, remembered if the study came to its end.

    Args:
        store: where.
        what: determines them.
        compute: computes them.
    """

    def whole() -> Roles:
        found = compute()
        if not found.record["complete"]:  # Ctrl-C in the midst of it
            raise Unfinished(found)
        return found

    try:
        return store.remember("roles", what, whole, pack=_roles_in, unpack=_roles_from)
    except Unfinished as stop:
        return stop.roles


class Unfinished(Exception):
    """A study of roles that was stopped; `roles` holds what it has."""

    def __init__(self, roles: Roles) -> None:
        super().__init__("a study of roles that was stopped")
        self.roles = roles


def roles_of(
    setting: Setting, store: Store, facts: keys.Facts, scores: pd.DataFrame, *, failed: Sequence[str], seed: int
) -> Roles:  # fmt: skip
    """What each head does, in short; what is observed is remembered, and confirmed by the effects of this analysis.

    Args:
        setting: the model and how to run it.
        store: where it is remembered.
        facts: what determines the model's numbers.
        scores: the tables of all cells.
        failed: tasks that the model cannot do.
        seed: of sentences and prompts.
    """
    limits = Limits(batch_size=min(setting.batch_size, 32), memory=setting.memory, progress=setting.progress)
    what = keys.roles(facts, seed=seed, data=gold_digest())
    steps = Kept(store=store, facts=facts)  # so that a stop in the midst of them costs one
    found = kept_roles(store, what, lambda: observed(setting.model, seed=seed, limits=limits, kept=steps))
    return confirmed(found, scores, failed=failed)


@lru_cache(maxsize=1)
def gold_digest() -> str:
    """The SHA-256 over the texts that roles are looked for in; computed once in a process."""
    sha = hashlib.sha256()
    try:
        for path in sorted(data_path("gold").rglob("*")):
            if path.is_file():
                sha.update(path.name.encode() + path.read_bytes())
    except HeadscopeError:
        return ""
    return sha.hexdigest()


def _views_in(found: list[View]) -> dict[str, np.ndarray]:
    names = ("task", "tokens", "layer_heads", "causal", "prompt")
    arrays = {str(place): np.asarray(view.patterns) for place, view in enumerate(found)}
    return packed([{name: getattr(view, name) for name in names} for view in found]) | arrays


def _views_from(arrays: Arrays) -> list[View]:
    return [
        View(
            task=str(line["task"]), tokens=tuple(line["tokens"]), causal=bool(line["causal"]),
            prompt=int(line["prompt"]),
            layer_heads=tuple((int(layer), int(head)) for layer, head in line["layer_heads"]),
            patterns=arrays[str(place)],
        )
        for place, line in enumerate(unpacked(arrays))
    ]  # fmt: skip


def _profiles_in(found: Profiles) -> dict[str, np.ndarray]:
    return packed(found.kept()) | {name: frame_in(frame) for name, frame in found.frames().items()}


def _profiles_from(arrays: Arrays) -> Profiles:
    frames = {name: frame_from(array) for name, array in arrays.items() if array.ndim == 1 and name != "record.json"}
    found = profiles_from(unpacked(arrays), frames)
    check_profiles(found)
    return found


def _roles_in(found: Roles) -> dict[str, np.ndarray]:
    return packed(found.kept()) | {"scores": frame_in(found.scores), "labels": frame_in(found.labels)}


def _roles_from(arrays: Arrays) -> Roles:
    found = roles_from(unpacked(arrays), frame_from(arrays["scores"]), frame_from(arrays["labels"]))
    check_roles(found)
    return found
