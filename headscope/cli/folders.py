"""Where a run goes, and names as they are typed."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
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


def candidates(folder: Path, request: str) -> Iterator[Path]:
    """All folders where the same request was stopped before it came to its end, each of which is said; then a free one.

    Args:
        folder: the first choice.
        request: the hash of what is asked.
    """
    from headscope.pipeline import unfinished

    new = free(folder)
    for i in count(1):
        path = folder if i == 1 else folder.with_name(f"{folder.name}-{i}")
        if path == new:
            break
        if unfinished(path, request):
            sys.stderr.write(f"headscope: going on with {path}, which was stopped\n")
            yield path
    yield new


def first_fitting(places: Iterator[Path], begin: Callable[[Path], None]) -> None:
    """Begin in the first folder that holds no other model's run: weights may have changed since it was stopped.

    Args:
        places: folders, best first.
        begin: does the work in one of them.

    Raises:
        OtherModel: if there is no further folder.
    """
    from headscope.pipeline import OtherModel

    refusal: OtherModel | None = None
    for folder in places:
        if refusal is not None:
            sys.stderr.write(f"headscope: its run is of another model, or of other weights: using {folder} instead\n")
        try:
            begin(folder)
        except OtherModel as error:
            refusal = error
        else:
            return
    if refusal is not None:
        raise refusal


@contextlib.contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """What cannot be written as a file is told in three parts; its folder is made.

    Args:
        path: the file.
        option: where it was typed, such as `--figure`.

    Raises:
        PlaceError: if what was typed can be no file.
        RunError: if it cannot be written.
    """
    from headscope.errors import PlaceError, RunError

    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        wrong = isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError))
        told = f"file {str(path)!r}, which cannot be written ({error.strerror or error})"
        expected = "the name of a file in a folder that may be written to, with some 5 MB left"
        raise (PlaceError if wrong else RunError)(told, expected, f"choose another {option}") from error


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
