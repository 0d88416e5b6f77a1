"""One process at a time in a run's folder; the lock of a process that died is open."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from headscope.cells.writing import write_whole
from headscope.errors import RunError
from headscope.frames import read_record

LOCK, HOLDER = ".lock", ".lock.holder"
"""The file that is locked, and the one that says by whom, which goes with the lock."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock.

    The operating system holds it, so it ends with the process, however that ends. File systems over a network that do
    not pass locks on between machines cannot keep two machines apart: there each needs a folder of its own, which
    `headscope merge` unites. Even without a lock no file is ever half there.

    Args:
        folder: made if it does not exist.

    Raises:
        RunError: if another process holds it, with its number, its machine and since when; or if the folder cannot be
            written.

    Example:
        >>> import tempfile
        >>> with locked(Path(tempfile.mkdtemp())):
        ...     pass
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, blocking=False)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"run folder {str(folder)!r}, which {holder(folder)} is writing",
            "a folder that no other process is writing",
            "wait until it is done, choose another --out, or end that process: then the same command goes on",
        ) from None
    except OSError as error:
        raise RunError(
            f"output folder {str(folder)!r}, which cannot be written ({error.strerror or error})",
            "a folder that may be written to, with some 20 MB left",
            "choose another --out, or free some space",
        ) from error
    try:
        # A note for people: a full disk must not end the work for want of it.
        with contextlib.suppress(OSError):
            told = {"pid": os.getpid(), "host": platform.node(), "since": datetime.now(UTC).isoformat(" ", "seconds")}
            write_whole(folder / HOLDER, json.dumps(told).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
            if {path.name for path in folder.iterdir()} == {LOCK}:
                (folder / LOCK).unlink()
        lock.release()


def holder(folder: Path) -> str:
    """Who holds a folder's lock, in words.

    Args:
        folder: the folder.
    """
    try:
        told = read_record(folder / HOLDER, most=1 << 16)
        return f"process {int(told['pid'])} on {str(told['host'])[:64]!r} (since {str(told['since'])[:40]})"
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return "another process"
