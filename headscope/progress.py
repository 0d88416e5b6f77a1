"""One progress bar for all long work, and one switch for it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")
LOG = logging.getLogger("headscope")
"""Where the library says what it does, at INFO; it sets no level and no handler of its own."""


def track(items: Iterable[Item], label: str, *, show: bool, unit: str = "step") -> Iterator[Item]:
    """Go through `items` with a progress bar on standard error, in terminals and notebooks.

    Args:
        items: what to go through; its length is shown where it has one.
        label: what is being done, in a word or two.
        show: draw the bar; without it this is plain iteration.
        unit: what one item is called.

    With or without a bar, how long it took is logged at INFO, where it has a label.

    Example:
        >>> list(track([1, 2], "counting", show=False))
        [1, 2]
    """
    began, count = time.monotonic(), 0
    for item in _barred(items, label, unit) if show else items:
        count += 1
        yield item
    if label:
        LOG.info("%s: %d x %s in %.2f s", label, count, unit, time.monotonic() - began)


def _barred(items: Iterable[Item], label: str, unit: str) -> Iterable[Item]:
    from tqdm.auto import tqdm

    total = len(items) if isinstance(items, Sized) else None
    return tqdm(items, desc=label, total=total, unit=unit, leave=False)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Log that something begins, and when it is done how long it took and how much memory the process holds.

    Args:
        what: is done, in a few words.

    Example:
        >>> with step("adding"):
        ...     1 + 1
        2
    """
    if not LOG.isEnabledFor(logging.INFO):
        yield
        return
    import psutil

    LOG.info("%s ...", what)
    began = time.monotonic()
    yield
    held = psutil.Process().memory_info().rss / 2**20
    LOG.info("%s: %.2f s, %.0f MiB", what, time.monotonic() - began, held)
