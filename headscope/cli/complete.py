"""What the shell offers at Tab. Nothing here imports torch: an answer must come before a finger leaves the key."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from headscope.cli import names

MOST = 200
"""Folders that are looked at, so that a Tab in a huge one does not hang."""


def among(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion of an option that takes one of some words.

    Args:
        words: all of them.

    Example:
        >>> among(["cpu", "cuda"])("cu")
        ['cuda']
    """

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def several(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion of an option that takes words separated by commas: the last of them is completed.

    Args:
        words: all of them; those that were already given are not offered again.

    Example:
        >>> several(["ioi", "induction"])("ioi,i")
        ['ioi,induction']
    """

    def complete(incomplete: str) -> list[str]:
        *given, last = incomplete.split(",")
        before = "".join(f"{word}," for word in given)
        return [before + word for word in words if word.startswith(last) and word not in given]

    return complete


def models(incomplete: str) -> list[str]:
    """Bundled models and short names, models in the Hub's cache, and model folders.

    Args:
        incomplete: what was typed so far.
    """
    found = [*names.MODELS, *_cached(), *_folders(incomplete, "config.json")]
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Folders of saved runs: those that begin with what was typed, and all in `runs/`.

    Args:
        incomplete: what was typed so far.
    """
    found = [*_folders(incomplete, "run.json"), *_folders("runs/", "run.json")]
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete)]


def _cached() -> Iterator[str]:
    """Full names of the models in the Hub's cache, where its own client would look for them."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or home)
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    with contextlib.suppress(OSError, RuntimeError):
        for path in islice(cache.expanduser().glob("models--*"), MOST):
            yield path.name.removeprefix("models--").replace("--", "/")


def _folders(incomplete: str, mark: str) -> Iterator[str]:
    """Folders that begin with what was typed and hold a file, as they would be typed."""
    head, _, _ = incomplete.rpartition("/")
    start = f"{head}/" if "/" in incomplete else ""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        base = Path(start or ".").expanduser()
        for path in sorted(islice(base.iterdir(), MOST)):
            if (path / mark).is_file():
                yield start + path.name
