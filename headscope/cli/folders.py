"""Where a run goes, and names as they are typed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path


def names(values: list[str] | None) -> tuple[str, ...]:
    """The names that an option was given, each once.

    Args:
        values: as typed: the option may be repeated, and its values separated by commas; the name of a file that is
            there may have commas in it.

    Example:
        >>> names(["ioi, induction", "ioi"])
        ('ioi', 'induction')
    """
    parts = (
        name.strip() for value in values or [] for name in ([value] if Path(value).is_file() else value.split(","))
    )
    return tuple(dict.fromkeys(name for name in parts if name))


def default_folder(model: str) -> Path:
    """Where the run of a model goes unless it is said.

    Args:
        model: as typed.

    Example:
        >>> default_folder("openai-community/gpt2").as_posix()
        'runs/gpt2'
    """
    path = Path(model).expanduser()
    return Path("runs") / ((path.resolve() if path.is_dir() else path).name or "model")


def free(folder: Path) -> Path:
    """The folder itself, or with the first number that makes it new.

    Args:
        folder: the first choice.
    """
    tries = (folder if i == 1 else folder.with_name(f"{folder.name}-{i}") for i in count(1))
    return next(path for path in tries if not path.exists() or (path.is_dir() and not any(path.iterdir())))


def for_request(folder: Path, request: str) -> Path:
    """The folder where the same request was stopped before it came to its end, which is said; else the first free one.

    Args:
        folder: the first choice.
        request: the hash of what is asked.
    """
    from headscope.pipeline import unfinished

    new = free(folder)
    numbered = (folder if i == 1 else folder.with_name(f"{folder.name}-{i}") for i in count(1))
    for path in numbered:
        if path == new:
            return new
        if unfinished(path, request):
            sys.stderr.write(f"headscope: going on with {path}, which was stopped\n")
            return path
    return new


@contextlib.contextmanager
def no_litter(folder: Path) -> Iterator[None]:
    """Remove the folders that were made for a run, where nothing came to be in them.

    Args:
        folder: where the run is to go.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()
