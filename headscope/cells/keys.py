"""The name of a result: the hash of everything that determines it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(what: Mapping[str, Any]) -> bytes:
    """A description as bytes: equal descriptions give equal bytes, whatever the order of their parts.

    Args:
        what: names, numbers, texts, lists and mappings of them; no NaN, which equals nothing.

    Returns:
        JSON with sorted names and no spaces.

    Raises:
        TypeError: if a part is of another kind, or a name is no text: 1 and "1" would be the same.
        ValueError: for NaN and infinities.

    Example:
        >>> canonical({"b": 1, "a": [2.0, None]})
        b'{"a":[2.0,null],"b":1}'
    """
    _check(what)
    return json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def key_of(what: Mapping[str, Any]) -> str:
    """The SHA-256 of a description.

    Args:
        what: as for `canonical`.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
        True
    """
    return hashlib.sha256(canonical(what)).hexdigest()


def _check(part: Any) -> None:
    if isinstance(part, Mapping):
        for name, value in part.items():
            if not isinstance(name, str):
                raise TypeError(f"{name!r} names a part of a key: names must be texts")
            _check(value)
    elif isinstance(part, list | tuple):
        for value in part:
            _check(value)
