"""The attention views of a report: one store of patterns, from which the page draws what is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from headscope.attention import TOKENS, View, crop, safe_json
from headscope.grid import Grid

ROOM, LEAST = 400_000, 60_000
"""The most bytes of patterns in a report, and what they have where figures take most of the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A place on the page where a view is drawn.

    Attributes:
        id: of the place.
        view: which view of the store.
        head: whose pattern; empty: all of the view's.
        name: for those who cannot see it.
        note: the prompt, n, and what is cropped.
    """

    id: str
    view: int
    head: str
    name: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What is kept of a run's views.

    Attributes:
        json: a list of {tokens, causal, heads: {label: pattern}}, fit for a script element.
        kept: the views, in the order of the list.
        dropped: how many had no room.
    """

    json: Markup
    kept: tuple[View, ...]
    dropped: int


def store(views: Sequence[View], *, room: int = ROOM) -> Store:
    """As many views as have room: the first prompt of every task before the second of any.

    Args:
        views: of a run.
        room: bytes.

    Example:
        >>> import numpy as np
        >>> view = View(task="t", tokens=("<b>",), layer_heads=((0, 1),), patterns=np.ones((1, 1, 1)), causal=True)
        >>> str(store([view]).json)
        '[{"tokens":["\\\\u003cb\\\\u003e"],"causal":true,"heads":{"L0H1":[[1]]}}]'
    """
    seen: dict[str, int] = {}
    ranked = []
    for view in views:
        seen[view.task] = seen.get(view.task, -1) + 1
        ranked.append((seen[view.task], view))
    kept, parts, used = [], [], 0
    for _, view in sorted(ranked, key=lambda pair: pair[0]):
        part = safe_json(_entry(crop(view)))
        if used + len(part.encode()) <= room:
            kept.append(view)
            parts.append(part)
            used += len(part.encode()) + 1
    return Store(json=Markup("[" + ",".join(parts) + "]"), kept=tuple(kept), dropped=len(views) - len(kept))


def _entry(view: View) -> dict[str, Any]:
    patterns = {
        Grid.label(*place): [[_short(share) for share in row] for row in pattern.tolist()]
        for place, pattern in zip(view.layer_heads, view.patterns, strict=True)
    }
    return {"tokens": list(view.tokens), "causal": view.causal, "heads": patterns}


def _short(share: float) -> float | int:
    """Three decimals, and no more characters than that needs."""
    value = round(share, 3)
    return int(value) if value in {0, 1} else value


def looks(found: Store, name: str, *, task: str = "", head: str = "") -> tuple[Look, ...]:
    """The places for the views of a task, or of a head on all tasks.

    Args:
        found: the store.
        name: begins the ids.
        task: of these views; empty: of any task.
        head: only views that hold this head, and its pattern alone; empty: all patterns.
    """
    places = []
    for index, view in enumerate(found.kept):
        labels = [Grid.label(*place) for place in view.layer_heads]
        if (task and view.task != task) or (head and head not in labels):
            continue
        size = len(view.tokens)
        note = f"{view.task}, prompt {view.prompt + 1}, {size} tokens (n = 1)"
        note += f"; only the last {TOKENS} are drawn, so a row may sum to less than 1" if size > TOKENS else ""
        whose = head or ", ".join(labels)
        places.append(
            Look(id=f"{name}-v{index}", view=index, head=head, name=f"Attention of {whose}: {note}", note=note)
        )
    return tuple(places)
