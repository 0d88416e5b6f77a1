"""The folder in which a command begins, or goes on with what an earlier one has left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headscope.cli import folders

if TYPE_CHECKING:
    from headscope.pipeline import Home


class Wanted(NamedTuple):
    """Where a run is to go.

    Attributes:
        out: the folder that was asked for; None: one in `runs/`.
        model: as typed, which names that one.
        ending: of its name, such as `-roles`.
        kind: what runs, such as `roles`.
        request: the hash of what is asked.
        refresh: compute everything anew.
    """

    out: Path | None
    model: str
    ending: str
    kind: str
    request: str
    refresh: bool

    def places(self) -> Iterator[Path]:
        """The folders that it may go to, best first."""
        if self.out is not None:
            return iter([self.out])
        place = folders.default_folder(self.model)
        return folders.candidates(place.with_name(place.name + self.ending), self.request)


def in_folder(wanted: Wanted, begin: Callable[[Path, Home], None]) -> None:
    """Begin in the first folder that holds no other model's run, alone in it.

    Args:
        wanted: where the run is to go.
        begin: does the work in a folder, with what is kept there.
    """
    from headscope.pipeline import resuming

    def alone(folder: Path) -> None:
        opened = resuming(folder, request=wanted.request, refresh=wanted.refresh, kind=wanted.kind)
        with folders.no_litter(folder), opened as home:
            begin(folder, home)

    folders.first_fitting(wanted.places(), alone)
