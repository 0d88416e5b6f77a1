"""A folder of cells: what was computed once is read the next time, if nothing that determines it has changed."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headscope.cells.file import Cell, Damaged, dump, read
from headscope.cells.writing import leftovers, write_whole

Made = TypeVar("Made")

ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class Tally:
    """What a store was used for in this process.

    Attributes:
        computed: the kind of every result that was computed.
        reused: the kind of every result that was read.
        damaged: file and reason of every cell that could not be used.
        unwritten: why results could not be kept.
    """

    computed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)

    def counts(self, name: str) -> dict[str, int]:
        """How many of each kind.

        Args:
            name: `computed` or `reused`.
        """
        return dict(Counter(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of cells.

    Attributes:
        folder: where they are, each as `ab/KEY.safetensors`; None: nothing is kept, and everything is computed.
        refresh: nothing that was there before is used.
        tally: what it was used for.
    """

    folder: Path | None
    refresh: bool = False
    tally: Tally = field(default_factory=Tally)
    _own: set[str] = field(default_factory=set, repr=False)

    def place(self, key: str) -> Path:
        """The file of a cell.

        Args:
            key: its name.

        Raises:
            ValueError: if nothing is kept.
        """
        if self.folder is None:
            raise ValueError("a store without a folder has no places")
        return self.folder / key[:2] / f"{key}{ENDING}"

    def find(self, key: str) -> Cell | None:
        """A cell that is there and whole; None, and a line in the tally, where it is damaged.

        Args:
            key: its name.
        """
        if self.folder is None or (self.refresh and key not in self._own):
            return None
        path = self.place(key)
        try:
            cell = read(path)
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as error:
            self.tally.damaged.append(f"{path.parent.name}/{path.name}: {error}")
            return None
        if cell.key != key:
            self.tally.damaged.append(f"{path.parent.name}/{path.name}: it holds another cell")
            return None
        return cell

    def keep(self, cell: Cell) -> None:
        """Write a cell; a disk that is full costs the keeping, not the result, and a line in the tally.

        Args:
            cell: the result.
        """
        if self.folder is None:
            return
        try:
            write_whole(self.place(cell.key), dump(cell))
            self._own.add(cell.key)
        except OSError as error:
            self.tally.unwritten.append(error.strerror or str(error))

    def remember(
        self, kind: str, what: Mapping[str, Any] | None, compute: Callable[[], Made], *,
        pack: Callable[[Made], Mapping[str, np.ndarray]], unpack: Callable[[Mapping[str, np.ndarray]], Made],
    ) -> Made:  # fmt: skip
        """A result: read if it is there, else computed and kept.

        Args:
            kind: what it is called in the record.
            what: everything that determines it; None: it is computed each time, for not all of that is known.
            compute: computes it.
            pack: makes arrays of it.
            unpack: makes it of its arrays.

        Returns:
            The result, equal to what `compute` gave the first time.
        """
        key = "" if what is None else Cell(kind=kind, what=what).key
        if what is not None and (cell := self.find(key)) is not None:
            try:
                made = unpack(cell.arrays)
            except MemoryError:
                raise
            except Exception as error:  # what is not of headscope's making can raise nearly every built-in error
                self.tally.damaged.append(f"{key[:2]}/{key}{ENDING}: {type(error).__name__}: {error}")
            else:
                self.tally.reused.append(kind)
                return made
        made = compute()
        self.tally.computed.append(kind)
        if what is None or self.folder is None:
            return made
        try:
            arrays = pack(made)
        except OSError as error:
            self.tally.unwritten.append(error.strerror or str(error))
            return made
        self.keep(Cell(kind=kind, what=what, arrays=arrays))
        # As the next process will have it: a table may come back with other types of columns.
        return unpack(arrays)

    def clean(self) -> None:
        """Remove what processes that died have left half-written; only for who holds the folder's lock."""
        if self.folder is not None and self.folder.is_dir():
            for path in leftovers(self.folder):
                with contextlib.suppress(OSError):
                    path.unlink()


def read_cells(folder: Path) -> Iterator[tuple[Path, Cell | Damaged]]:
    """Every cell of a folder, or what is wrong with it.

    Args:
        folder: of cells.
    """
    for path in sorted(folder.glob(f"??/*{ENDING}")):
        try:
            cell = read(path)
            found = (
                cell if path.stem == cell.key and path.parent.name == cell.key[:2] else Damaged("it has another name")
            )
        except Damaged as error:
            found = error
        except OSError as error:
            found = Damaged(f"it cannot be read ({error.strerror or error})")
        yield path, found
