"""How an explanation is written: rows for JSON, and files that are never half there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from headscope.errors import PlaceError, RunError
from headscope.runs import check_writable


def written(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under another name first, so that it is never half there.

    Args:
        path: the file.
        write: writes to a path.

    Raises:
        RunError: if it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        given = f"{str(path)!r}, which cannot be written ({error.strerror or error})"
        wrong = PlaceError if isinstance(error, (FileExistsError, NotADirectoryError)) else RunError
        raise wrong(given, "a place that may be written to", "choose another, or free some space") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return path


def check_free(folder: Path | None, page: Path | None) -> None:
    """Raise unless an explanation can be written, before any work is done.

    Args:
        folder: where `save` is to write, or None; it must hold no explanation and no run.
        page: where `save_html` is to write, or None; a page that is there is replaced.

    Raises:
        PlaceError: if one of them is taken, or cannot be what it is to be.
        RunError: if one of them cannot be written.
    """
    if folder is not None and (folder / "explanation.json").exists():
        given = f"output folder {str(folder)!r}, which already holds an explanation"
        raise PlaceError(given, "a new or empty folder", "choose another --out, or delete the folder first")
    if folder is not None:
        check_writable(folder)
    if page is not None and page.is_dir():
        raise PlaceError(f"page {str(page)!r}, which is a folder", "the name of a file", "write --html FOLDER/why.html")
    if page is not None:
        probe = page.with_name(page.name + ".headscope")
        written(probe, lambda path: path.write_text("can this be written?\n")).unlink()


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame as rows that JSON can hold: what is absent becomes None.

    Args:
        frame: any.

    Example:
        >>> plain_rows(pd.DataFrame({"a": [1.5, float("nan")], "b": pd.array([1, None], dtype="Int64")}))
        [{'a': 1.5, 'b': 1}, {'a': None, 'b': None}]
    """
    return [
        {
            str(name): None if pd.isna(value) else value.item() if hasattr(value, "item") else value
            for name, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
