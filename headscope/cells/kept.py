"""A store with what everything in it depends on, for work that is done far below the folder that it is kept in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from headscope.cells.code import code
from headscope.cells.store import Store

Made = TypeVar("Made")


class Unkept(Exception):
    """Raised with a result that is not to be kept, since it may be another the next time: for want of memory, say.

    Args:
        result: what is given all the same.
    """

    def __init__(self, result: Any) -> None:
        super().__init__("a result that is not kept")
        self.result = result


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where results of one model are kept, and what of the model determines them.

    Attributes:
        store: the cells; by default none is kept.
        facts: from `headscope.models.determined.determined`; None: nothing tells the model from others, and everything
            is computed.
    """

    store: Store = field(default_factory=lambda: Store(None))
    facts: Mapping[str, Any] | None = None

    def remember(
        self, kind: str, what: Callable[[], Mapping[str, Any] | None], compute: Callable[[], Made], *,
        pack: Callable[[Made], Mapping[str, np.ndarray]], unpack: Callable[[Mapping[str, np.ndarray]], Made],
    ) -> Made:  # fmt: skip
        """A result: read if it is there, else computed and kept; an error or Ctrl-C keeps nothing.

        Args:
            kind: what it is called in the record.
            what: what determines it beside the model and the program, found out only where something is kept; None: it
                is computed each time.
            compute: computes it; raises `Unkept` with a result that is none to keep.
            pack: makes arrays of it.
            unpack: makes it of its arrays.

        Returns:
            The result, equal to what `compute` gave the first time.

        Example:
            >>> import pathlib, tempfile
            >>> from headscope.cells.packing import packed, unpacked
            >>> kept = Kept(store=Store(pathlib.Path(tempfile.mkdtemp())), facts={"weights": "abc"})
            >>> for seed in (0, 1, 0):
            ...     found = kept.remember("sum", lambda: {"seed": seed}, lambda: seed + 1, pack=packed, unpack=unpacked)
            >>> found, kept.store.tally.counts("computed"), kept.store.tally.counts("reused")
            (1, {'sum': 2}, {'sum': 1})
        """
        try:
            return self.store.remember(kind, self._whole(what), compute, pack=pack, unpack=unpack)
        except Unkept as stop:
            return stop.result

    def _whole(self, what: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
        if self.facts is None or self.store.folder is None or (own := what()) is None:
            return None
        return {"model": self.facts, "code": code(), **own}
