"""Where a result comes from: versions, code state, time, digests of data, and seeds derived by name.

Nothing personal is recorded: no host or user name, no absolute path.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from headscope.errors import UsageError

PACKAGES = (
    "headscope",
    "torch",
    "transformers",
    "transformer-lens",
    "tokenizers",
    "numpy",
    "pandas",
    "scipy",
    "plotly",
    "circuitsvis",
)
"""The distributions whose versions a result may depend on."""

_CHECKOUT = Path(__file__).resolve().parent.parent
_BLOCK = 1 << 20


def record(*, command: Sequence[str] | None = None, seed: int) -> dict[str, Any]:
    """What is needed to repeat a run, as far as it is not the model or the task.

    Cost: reads package metadata without importing the packages, and asks git twice.

    Args:
        command: the command line as typed, if there was one. Absolute paths in it are shortened: to the working
            directory where they lie in it, else to their last part.
        seed: the run's own seed, from which `seed_for` derives all others.

    Returns:
        A JSON-able record: started (UTC, ISO 8601), command, seed, versions (None where a package is not
        installed), python, platform, and git (commit and whether tracked files were changed; None outside a
        checkout of headscope).

    Example:
        >>> facts = record(command=["headscope", "analyze", "mini"], seed=0)
        >>> facts["command"], facts["seed"], sorted(facts)
        (['headscope', 'analyze', 'mini'], 0, ['command', 'git', 'platform', 'python', 'seed', 'started', 'versions'])
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": None if command is None else [_without_places(word) for word in command],
        "seed": seed,
        "versions": {name: _version(name) for name in PACKAGES},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "git": _git(_CHECKOUT),
    }


def digest(data: bytes | Path) -> str:
    """The SHA-256 of bytes or of a file's content, in hexadecimal.

    Raises:
        OSError: if the file cannot be read.

    Example:
        >>> digest(b"abc")[:16]
        'ba7816bf8f01cfea'
    """
    sha = hashlib.sha256()
    if isinstance(data, bytes):
        sha.update(data)
    else:
        with data.open("rb") as file:
            while block := file.read(_BLOCK):
                sha.update(block)
    return sha.hexdigest()


def fingerprint(item: Any) -> str:
    """The SHA-256 of all arrays in a record: equal where two runs measured the very same prompts in the same order.

    Names, types and shapes count, and what metric is asked for; texts and other words about the arrays do not.

    Args:
        item: a dataclass of tensors or arrays, of mappings of them and of such dataclasses: prompts.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import torch
        >>> from headscope.prompts import Prompts
        >>> one, other = (Prompts(task="t", tokens=torch.tensor([[5, last]]), mask=torch.ones(1, 2) > 0,
        ...                       groups=torch.arange(1)) for last in (6, 7))
        >>> fingerprint(one) == fingerprint(one) != fingerprint(other)
        True
    """
    sha = hashlib.sha256()
    for name, value in sorted(_arrays(item, "").items()):
        sha.update(f"{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    metric = getattr(item, "metric", "")
    sha.update(str(getattr(metric, "__name__", metric)).encode())
    return sha.hexdigest()


def _arrays(item: Any, name: str) -> dict[str, Any]:
    if hasattr(item, "detach"):
        item = item.detach().cpu().numpy()
    if hasattr(item, "tobytes"):
        return {name: item}
    if is_dataclass(item):
        item = {part.name: getattr(item, part.name) for part in fields(item)}
    if not isinstance(item, Mapping):
        return {}
    found: dict[str, Any] = {}
    for part, value in item.items():
        found |= _arrays(value, f"{name}.{part}")
    return found


def seed_for(seed: int, *names: str) -> int:
    """A seed of its own for every cell of a run, such as (model, task, method).

    It depends on the seed and the names alone, so cells give the same numbers in any order, alone or together, on
    any machine. Python's own hash() would not: it changes from process to process.

    Args:
        seed: the run's seed, 0 or more.
        names: what names the cell; their order and their limits count.

    Returns:
        A number from 0 to 2^63 - 1, which numpy's and torch's generators accept.

    Raises:
        UsageError: for a negative seed.

    Example:
        >>> seed_for(0, "mini", "ioi") == seed_for(0, "mini", "ioi") != seed_for(0, "mini", "induction")
        True
    """
    if seed < 0:
        raise UsageError(f"seed {seed}", "a whole number, 0 or more", "write for example --seed 0")
    return int.from_bytes(hashlib.sha256(json.dumps([seed, *names]).encode()).digest()[:8], "big") >> 1


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(checkout: Path) -> dict[str, Any] | None:
    # An installed headscope may lie inside a checkout of something else, whose commit would mean nothing.
    if not (checkout / ".git").exists():
        return None
    commit = _ask_git(checkout, "rev-parse", "HEAD")
    # Untracked files are left out: run folders and notes change no result.
    changed = _ask_git(checkout, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None or changed is None else {"commit": commit, "dirty": bool(changed)}


def _ask_git(checkout: Path, *words: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(checkout), *words]
    # A git hook sets GIT_DIR, which would win over -C.
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=surroundings, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _without_places(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={_without_places(value)}"
    if ":" in word and "," in word:
        return ",".join(map(_without_places, word.split(",")))
    kind, colon, place = word.partition(":")
    if colon and len(kind) > 1 and kind.isidentifier() and not place.startswith("//"):
        return f"{kind}:{_without_places(place)}"  # a task's file, such as lambada:/home/me/test.jsonl
    path = Path(word).expanduser() if word.startswith("~") else Path(word)
    if path.is_absolute():
        try:
            return str(path.relative_to(Path.cwd()))
        except ValueError:
            return path.name
    # A record may be read, and a path written, under the other kind of system.
    other = PurePosixPath(word) if sys.platform == "win32" else PureWindowsPath(word)
    return other.name if other.is_absolute() else word
