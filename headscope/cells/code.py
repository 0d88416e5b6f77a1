"""Which program a result comes from."""

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]

SHOWING = frozenset({"cells", "cli", "comparing", "mini", "plots", "report", "runs", "testing"})
"""Parts of the package that show, keep or compare results and compute none of those that are kept: to reword a help
text must not cost anybody hours. `tests/cells/test_keys.py` holds them to it."""

LIBRARIES = ("numpy", "scipy", "tokenizers", "torch", "transformer-lens", "transformers")
"""Whose versions may change a number."""


@lru_cache(maxsize=1)
def code() -> dict[str, Any]:
    """The sources that compute results, and the versions of the libraries below them.

    Computed once in a process. Cost: reads some 2 MB.

    Returns:
        `sources` (SHA-256 over the names and contents of the package's Python files, but for those that only show
        results) and `libraries` (versions; None for one that is not installed).

    Example:
        >>> len(code()["sources"]), "torch" in code()["libraries"]
        (64, True)
    """
    return {"sources": sources(PACKAGE), "libraries": {name: _version(name) for name in LIBRARIES}}


def sources(package: Path) -> str:
    """The SHA-256 over a package's Python files, but for those of `SHOWING`.

    Args:
        package: its folder.
    """
    sha = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0].removesuffix(".py") not in SHOWING:
            data = path.read_bytes()
            sha.update(f"{place.as_posix()} {len(data)}\n".encode() + data)
    return sha.hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
