"""Is the plan beside the cells one that headscope wrote? Whoever sent the folder may have written anything there."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from headscope.grid import check_heads

_KEY = re.compile(r"(?:[0-9a-f]{64})?")
"""A key leads to a file: no other text may."""
MOST_EXAMPLES = 10_000_000
PARTS = ("model", "facts", "plan", "command", "rows", "groups", "scores", "blocks", "keys", "notes")
_SCORE = {"name": str, "unit": str, "signed": bool, "absent": str}


def check(record: Mapping[str, Any]) -> None:
    """Raise unless a plan has all its parts, each of its kind, and none speaks of what another does not have.

    Args:
        record: from JSON, without its schema.

    Raises:
        ValueError: with the first part that is wrong.

    Example:
        >>> check({"model": 3})
        Traceback (most recent call last):
        ValueError: it has other parts than model, facts, plan, command, rows, groups, scores, blocks, keys, notes
    """
    if set(record) != set(PARTS):
        raise ValueError(f"it has other parts than {', '.join(PARTS)}")
    layers = _model(record["model"])
    _plan(record["plan"])
    _need(record["facts"] is None or isinstance(record["facts"], dict), "facts")
    _need(record["command"] is None or _texts(record["command"]), "command")
    _need(_mapping(record["rows"], lambda row: isinstance(row, dict)), "rows")
    _need(_mapping(record["groups"], _examples), "groups")
    _need(_mapping(record["scores"], _methods), "scores")
    _need(_mapping(record["keys"], lambda each: _mapping(each, _is_key)), "keys")
    _need(_mapping(record["notes"], _texts), "notes")
    for name in ("groups", "scores", "notes", *(() if not record["keys"] else ("keys",))):
        tasks = set().union(*record["keys"].values()) if name == "keys" else set(record[name])
        _need(tasks <= set(record["rows"]), f"{name}, which are of other tasks than its rows")
    _need(set(record["scores"]) <= set(record["groups"]), "scores, which are of other tasks than its groups")
    for task in record["groups"]:
        _need(isinstance(record["rows"][task].get("prompts"), str), f"prompts of {task!r:.40}")
    _need(isinstance(record["blocks"], list), "blocks")
    for block in record["blocks"]:
        _need(_block(block, record, layers), f"block {block!r:.80}")


def _model(model: Any) -> int:
    """The layers of the model."""
    _need(isinstance(model, dict) and isinstance(model.get("name"), str), "model")
    check_heads(model.get("layers"), model.get("heads"))
    return model["layers"]


def _plan(plan: Any) -> None:
    _need(isinstance(plan, dict), "plan")
    for name in ("tasks", "methods", "metrics"):
        _need(_texts(plan.get(name)), f"plan's {name}")
    _need(_whole(plan.get("seed")) and 0 <= plan["seed"] < 2**63, "plan's seed")
    _need(isinstance(plan.get("roles"), bool), "plan's roles")


def _block(block: Any, record: Mapping[str, Any], layers: int) -> bool:
    if not isinstance(block, list) or len(block) != 5:
        return False
    task, method, rows, span, key = block
    if not (isinstance(task, str) and isinstance(method, str) and method in record["scores"].get(task, ())):
        return False
    sizes = [(rows, len(record["groups"][task]))] + ([] if span is None else [(span, layers)])
    return _is_key(key) and all(_range(each, size) for each, size in sizes)


def _range(pair: Any, size: int) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(map(_whole, pair)) and 0 <= pair[0] < pair[1] <= size


def _methods(methods: Any) -> bool:
    return _mapping(methods, lambda scores: isinstance(scores, list) and all(map(_score, scores)))


def _score(score: Any) -> bool:
    return isinstance(score, dict) and set(score) == set(_SCORE) and all(
        isinstance(score[name], kind) for name, kind in _SCORE.items()
    )  # fmt: skip


def _examples(groups: Any) -> bool:
    small = isinstance(groups, list) and 0 < len(groups) <= MOST_EXAMPLES
    return small and all(_whole(each) and -(2**63) <= each < 2**63 for each in groups)


def _mapping(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(fits(each) for each in value.values())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def _need(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(f"it has no sound {what}")
