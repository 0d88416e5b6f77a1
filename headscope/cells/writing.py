"""Files that are there whole or not at all, whatever stops the machine in between."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
"""How the names of files end that are being written; one that is left over belongs to a process that died."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name in the same folder, make sure that it is on the disk, and rename it.

    Args:
        path: its name; the folders above it are made.
        data: its content.

    Raises:
        OSError: if it cannot be written; then nothing has changed.
    """
    made = _made(path.parent)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        # After a rename it is gone; and where the disk fails, the first error is the one to tell.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    for folder in (path.parent, *made):
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk, where the system can do that.

    Args:
        folder: the folder.
    """
    # Windows opens no folders, and some network file systems sync none.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def leftovers(folder: Path) -> Iterator[Path]:
    """What processes that died have left half-written.

    Args:
        folder: with all below it.
    """
    yield from (path for path in folder.rglob(f".*{PART}") if path.is_file())


def _made(folder: Path) -> list[Path]:
    """Make a folder; the folders in which a new name has come to be."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [each.parent for each in missing]
