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


def verdict_of_check(identity: Mapping[str, Any]) -> tuple[str, str]:
    """Whether the model passed its self-check, as a state (`ok`, `failed`, `skipped`) and in words.

    Example:
        >>> verdict_of_check({"self_check": {"causal": 0.0, "edit_acts": 3e-7, "tolerance": 1e-4}})
        ('ok', 'passed: 2 checks, largest difference 3e-07 of 0.0001 allowed')
        >>> verdict_of_check({})
        ('skipped', 'not run')
    """
    found = find(identity, "self_check")
    if not isinstance(found, Mapping) or not found:
        return "skipped", "not run"
    known = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "tolerance"
    }
    limit = found.get("tolerance")
    wrong = [name for name, value in known.items() if limit is not None and not value <= limit]
    if wrong or found.get("passed") is False:
        return "failed", f"failed: {', '.join(wrong) or 'see below'}"
    told = f"passed: {len(known)} checks"
    if limit is not None and known:
        told += f", largest difference {max(known.values()):.1g} of {limit:.3g} allowed"
    return "ok", told


def identity_line(identity: Mapping[str, Any]) -> str:
    """What the model is, in a line: architecture, size, precision, device, weights.

    Example:
        >>> identity_line({"model": {"architecture": "GPT2LMHeadModel", "layers": 12, "heads": 12, "dtype": "float32",
        ...                          "parameters": 124439808, "weights_sha256": "b09b36efc38e"}})
        'GPT2LMHeadModel, 12 layers x 12 heads, 124.4 M parameters, float32, weights b09b36efc38e'
    """
    model = find(identity, "model")
    if not isinstance(model, Mapping):
        return ""
    parts = [str(model[name]) for name in ("architecture",) if model.get(name)]
    if model.get("layers") and model.get("heads"):
        parts.append(f"{model['layers']} layers x {model['heads']} heads")
    if model.get("parameters"):
        parts.append(f"{float(model['parameters']) / 1e6:.1f} M parameters")
    parts += [str(model[name]) for name in ("dtype", "device") if model.get(name)]
    if random := model.get("random_weights"):
        names = [random] if isinstance(random, str) else list(random)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        parts.append(f"random weights in {names[0]}{more}")
    if model.get("commit") or model.get("revision"):
        parts.append(f"revision {str(model.get('commit') or model['revision'])[:12]}")
    if model.get("weights_sha256"):
        parts.append(f"weights {str(model['weights_sha256'])[:12]}")
    return ", ".join(parts)


def next_steps(identity: Mapping[str, Any], *, task: str, few: bool, roles: bool) -> list[tuple[str, str]]:
    """What to ask next, as (why, command).

    Args:
        identity: what the run recorded of itself.
        task: a task that the model does; empty where there is none.
        few: whether the run says how many heads are enough.
        roles: whether it says what heads do.

    Example:
        >>> next_steps({"command": ["headscope", "analyze", "my model"]}, task="ioi", few=False, roles=True)[0]
        ('How many heads are enough together?', "headscope few 'my model' --task ioi")
    """
    typed = find(identity, "command")
    words = [str(word) for word in typed] if isinstance(typed, Sequence) and not isinstance(typed, str) else []
    model = words[2] if len(words) > 2 and not words[2].startswith("-") else str(find(identity, "name") or "mini")
    steps = []
    if task and not few:
        steps.append(("How many heads are enough together?", ["headscope", "few", model, "--task", task]))
    if not roles:
        steps.append(("What does each head do?", ["headscope", "roles", model]))
    if few:
        steps.append(("Which heads matter, by every method?", ["headscope", "analyze", model]))
    steps.append(("What can be read off each head?", ["headscope", "probe", model]))
    return [(why, shlex.join(parts)) for why, parts in steps]


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
