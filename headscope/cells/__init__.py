"""Results that survive: each under a key of everything that determines it, written whole or not at all.

>>> import pathlib, tempfile
>>> store = Store(pathlib.Path(tempfile.mkdtemp()))
>>> work = lambda: {"answer": 42}
>>> for _ in range(2):
...     found = store.remember("example", {"question": "?"}, work, pack=packed, unpack=unpacked)
>>> found, store.tally.counts("computed"), store.tally.counts("reused")
({'answer': 42}, {'example': 1}, {'example': 1})
"""

from headscope.cells.code import code
from headscope.cells.file import Cell, Damaged, dump, parse
from headscope.cells.kept import Kept, Unkept
from headscope.cells.keys import canonical, key_of
from headscope.cells.lock import locked
from headscope.cells.packing import frame_from, frame_in, packed, row_from, unpacked
from headscope.cells.store import Store, Tally, read_cells
from headscope.cells.writing import write_whole

__all__ = [
    "Cell",
    "Damaged",
    "Kept",
    "Store",
    "Tally",
    "Unkept",
    "canonical",
    "code",
    "dump",
    "frame_from",
    "frame_in",
    "key_of",
    "locked",
    "packed",
    "parse",
    "read_cells",
    "row_from",
    "unpacked",
    "write_whole",
]
