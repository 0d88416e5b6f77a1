"""Where runs are, and where one may go: one wording for every command that is given a path."""

import errno
import stat
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from headscope.errors import PlaceError, RunError
from headscope.probed.result import FRAMES
from headscope.profiles.result import FRAMES as PROFILE_FRAMES

RECORD = "run.json"
MOST = 200
"""Folders that are looked at for a better name, so that a huge one costs no time."""
SHOWN = 3
"""Names of files that are told."""
TABLES = ("scores", "tasks", "roles", "labels", "claims", "votes", "sources", *FRAMES, *PROFILE_FRAMES)
OURS = frozenset(
    (
        "cells",
        "examples",
        "circuit",
        "few.json",
        "report.html",
        "explanation.html",
        *(f"{each}.parquet" for each in TABLES),
    )
)
"""What headscope writes into a folder before its record is there."""


def check_run(folder: Path, *, holds: Sequence[str] = (RECORD,)) -> None:
    """Raise unless a folder is there, can be read, and holds a run; what is in it is not looked at.

    Args:
        folder: as given.
        holds: files or folders, one of which makes it a run.

    Raises:
        PlaceError: if it is not there, is a file, or holds no run, with the nearest one that does.
        RunError: if it may not be read.

    Example:
        >>> check_run(Path("no/such/run"))
        Traceback (most recent call last):
        headscope.errors.PlaceError: run folder 'no/such/run', which is not there
          expected: a folder that a headscope command wrote, with run.json in it
          to fix it: check the path: runs go to runs/MODEL unless --out says otherwise
    """
    given = f"run folder {str(folder)!r}, which"
    expected = f"a folder that a headscope command wrote, with {' or '.join(holds)} in it"
    try:
        kind = _kind(folder)
        found = kind == "folder" and any(_kind(folder / name) for name in holds)
    except OSError as error:
        fix = "ask whoever owns it for the right to read it"
        raise RunError(
            f"{given} cannot be read ({error.strerror or error})", "a folder that may be read", fix
        ) from error
    if found:
        return
    if not kind:
        otherwise = "check the path: runs go to runs/MODEL unless --out says otherwise"
        raise PlaceError(f"{given} is not there", expected, _near(folder, otherwise))
    if kind == "file":
        own = _holds_run(folder.parent)
        fix = f"give its folder: {str(folder.parent)!r}" if own else "give the folder of a run"
        raise PlaceError(f"{given} is a file", expected, fix)
    raise PlaceError(f"{given} holds {_instead(folder)}", expected, _inside(folder))


def _kind(path: Path) -> str:
    """`folder`, `file`, or nothing where there is none."""
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a name with a null byte
        return ""
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            return ""
        raise


def _holds_run(folder: Path) -> bool:
    try:
        return bool(_kind(folder / RECORD))
    except OSError:
        return False


def _runs_in(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in islice(folder.iterdir(), MOST) if _holds_run(path))
    except (OSError, ValueError):
        return


def _near(folder: Path, otherwise: str) -> str:
    """The run whose name is nearest, beside what was given or in runs/."""
    there = [*_runs_in(folder.parent), *(_runs_in(Path("runs")) if folder.parent != Path("runs") else ())]
    names = [path.name for path in there]
    for name in get_close_matches(folder.name, names, 1, cutoff=0.6):
        return f"did you mean {str(there[names.index(name)])!r}?"
    return otherwise


def _instead(folder: Path) -> str:
    if _kind(folder / "explanation.json"):
        return "an explanation, but no run"
    return "a model, but no run" if _kind(folder / "config.json") else "no run"


def _inside(folder: Path) -> str:
    found = [repr(str(path)) for path in islice(_runs_in(folder), SHOWN)]
    if found:
        return f"give one of those in it: {', '.join(found)}"
    if _kind(folder / "cells"):
        return "it was stopped before it wrote its tables: run the same command again, which goes on"
    return "check the path, or run the analysis again"


def check_strangers(folder: Path, *, ours: Iterable[str] = ()) -> None:
    """Raise if a folder without a run holds what no headscope command wrote: among it a run would get lost.

    Args:
        folder: where a run is to go; it need not exist.
        ours: further names that the command writes itself.

    Raises:
        PlaceError: naming some of the files.
        OSError: if it may not be looked at.
    """
    if not _kind(folder) or any(_kind(folder / name) for name in (RECORD, "cells")):
        return
    own = OURS.union(ours)
    # Hidden files are of the system (.DS_Store), of git, or of a run that was stopped.
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    strange = sorted(name for name in names if name.removesuffix(".part") not in own)
    if not strange:
        return
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    raise PlaceError(
        f"output folder {str(folder)!r}, which holds other files ({', '.join(strange[:SHOWN])}{more})",
        "a new or empty folder, or one with a run that can be extended",
        f"choose another --out, such as {str(folder / 'run')!r}",
    )


def unwritable(folder: Path, error: Exception) -> RunError:
    """What to say of a folder that cannot be written.

    Args:
        folder: the run's.
        error: what the system says.
    """
    if getattr(error, "errno", None) in (errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG):
        what = f"which can be no folder ({getattr(error, 'strerror', error)})"
        return PlaceError(f"output folder {str(folder)!r}, {what}", "a new or empty folder", "choose another --out")
    return RunError(
        f"output folder {str(folder)!r}, which cannot be written ({getattr(error, 'strerror', None) or error})",
        "a folder that may be written to, with some 20 MB left",
        "choose another --out, or free some space",
    )
