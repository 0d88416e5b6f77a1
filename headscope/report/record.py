"""What a run recorded of itself, as rows of a table."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def find(record: Mapping[str, Any], name: str) -> Any:
    """The first value under `name`, here or in the records within; None if there is none.

    Example:
        >>> find({"provenance": {"seed": 3}}, "seed")
        3
    """
    if name in record:
        return record[name]
    inner = (find(value, name) for value in record.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def without(record: Any, *names: str) -> dict[str, Any]:
    """The record less some of its entries; a plain value becomes a record of its name.

    Example:
        >>> without({"a": 1, "b": 2}, "b"), without("gpt2")
        ({'a': 1}, {'name': 'gpt2'})
    """
    if not isinstance(record, Mapping):
        return {"name": record}
    return {name: value for name, value in record.items() if name not in names}


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A nested record as (name, text) rows, in its own order.

    Example:
        >>> facts({"seed": 0, "versions": {"torch": "2.13.0"}, "names": ["a", "b"]})
        [('seed', '0'), ('versions: torch', '2.13.0'), ('names', 'a, b')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {inner}", text) for inner, text in facts(value)]
        else:
            rows.append((str(name), plain(value)))
    return rows


def plain(value: Any) -> str:
    """A recorded value as text.

    Example:
        >>> plain(1.5e-07), plain(None), plain(True), plain(float("nan"))
        ('1.5e-07', 'not recorded', 'yes', 'absent')
    """
    if value is None:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "absent" if math.isnan(value) else f"{value:.3g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value)
    return str(value)


def self_check(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The model's self-check as rows; none if it was not run.

    Example:
        >>> self_check({"model": {"self_check": {"logits equal Hugging Face's": 1e-6}}})
        [("logits equal Hugging Face's", '1e-06')]
    """
    found = find(identity, "self_check")
    return facts(found) if isinstance(found, Mapping) else []


def command(identity: Mapping[str, Any]) -> str:
    """The command that repeats the run, quoted for a shell; empty if none was recorded.

    Example:
        >>> command({"provenance": {"command": ["headscope", "analyze", "my model"]}})
        "headscope analyze 'my model'"
    """
    found = find(identity, "command")
    if isinstance(found, str) or not isinstance(found, Sequence):
        return found or ""
    return shlex.join(str(part) for part in found)
