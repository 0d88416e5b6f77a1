"""One progress bar for all long work, and one switch for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, *, show: bool, unit: str = "step") -> Iterator[Item]:
    """Go through `items` with a progress bar on standard error, in terminals and notebooks.

    Args:
        items: what to go through; its length is shown where it has one.
        label: what is being done, in a word or two.
        show: draw the bar; without it this is plain iteration.
        unit: what one item is called.

    Example:
        >>> list(track([1, 2], "counting", show=False))
        [1, 2]
    """
    if not show:
        yield from items
        return
    from tqdm.auto import tqdm

    total = len(items) if isinstance(items, Sized) else None
    yield from tqdm(items, desc=label, total=total, unit=unit, leave=False)
