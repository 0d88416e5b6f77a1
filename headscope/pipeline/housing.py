"""A run in a folder: kept part by part while it is made, and saved at its end or where it is stopped."""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headscope import provenance
from headscope.pipeline.keeping import Home, resuming, warnings_of
from headscope.pipeline.states import Interrupted
from headscope.runs import Run


def told_name(model: Any) -> str:
    """What a model is called where requests are compared.

    Args:
        model: as it was given: a name, a folder or a model.

    Example:
        >>> told_name("mini"), told_name(Path("models/own")), told_name({})
        ('mini', 'models/own', 'dict')
    """
    return str(model) if isinstance(model, str | Path) else type(model).__name__


def content_of(path: Path) -> str | None:
    """The SHA-256 of a file that a request names; None where it cannot be read, which whoever reads it explains.

    Args:
        path: the file.
    """
    try:
        return provenance.digest(path)
    except OSError:
        return None


def housed(
    make: Callable[[Home | None], Run], folder: str | Path | None, *, kind: str, request: str, refresh: bool = False
) -> Run:
    """Make a run, in a folder if one is given, and save it there.

    Args:
        make: makes it; gets where its parts are kept.
        folder: made if it does not exist; None: nothing is written.
        kind: what runs, such as `roles`.
        request: the hash of what is asked.
        refresh: compute everything anew, whatever the folder holds.

    Returns:
        The run. What went wrong with its cells is told by a warning.

    Raises:
        RunError: if the folder cannot be written, is being written by another process, or holds another kind of run.
        Interrupted: at Ctrl-C, with what was finished, which is saved too.
    """
    place = None if folder is None else Path(folder)
    opened = resuming(place, request=request, refresh=refresh, kind=kind) if place else contextlib.nullcontext()
    with opened as home:
        try:
            run = make(home)
        except Interrupted as stop:
            if place:
                stop.run.save(place)
            raise
        if place:
            run.save(place)
    for told in warnings_of(run.identity):
        warnings.warn(told, stacklevel=3)
    return run
