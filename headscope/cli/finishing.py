"""The end of every command that measures: what was found is printed, kept, and its place is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SCORES = "values"
"""What the cells of scores are called in the record of a run."""


def finish(
    save: Callable[[Path], Path], folder: Path, *, show: Callable[[], None], record: Callable[[Path | None], Any],
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print, save, and say where the report is.

    Tables are printed before anything is written, so that a full disk cannot lose what was measured; and a closed or
    full output cannot lose the folder.

    Args:
        save: writes the result into a folder.
        folder: which.
        show: prints the tables.
        record: the result as JSON, with where it was saved (None if it could not be written).
        quiet: no tables.
        as_json: JSON instead of tables.
    """
    saved = None
    try:
        if not (quiet or as_json):
            show()
    finally:
        try:
            saved = save(folder)
        finally:
            if as_json:
                sys.stdout.write(json.dumps(record(saved), indent=2, allow_nan=False) + "\n")
    if not as_json:
        sys.stdout.write(f"report: {folder / 'report.html'}\n")


def tell_cells(identity: Mapping[str, Any], *, quiet: bool) -> None:
    """Say on standard error what of an analysis was there from before, and what is wrong with its cells.

    Args:
        identity: of a run.
        quiet: only what is wrong.
    """
    from headscope.pipeline import warnings_of

    cells = identity.get("cells", {})
    kinds = {kind for name in ("reused", "computed") for kind in cells.get(name, {})}
    # Of an analysis those of its scores, which are what Ctrl-C counts too.
    told_of = {SCORES} if SCORES in kinds else kinds
    before, new = (sum(cells.get(name, {}).get(kind, 0) for kind in told_of) for name in ("reused", "computed"))
    if before and not quiet:
        sys.stderr.write(f"headscope: {before} of {before + new} cells were there from before (--refresh: anew)\n")
    for told in warnings_of(identity):
        sys.stderr.write(f"headscope: warning: {told}\n")
