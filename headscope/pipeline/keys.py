"""What determines each kind of result that an analysis keeps."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pandas.util import hash_pandas_object

from headscope import provenance
from headscope.cells import code
from headscope.contract import Method
from headscope.metrics import Metric
from headscope.pipeline.blocks import Block, options_of
from headscope.prompts import Pairs

Facts = Mapping[str, Any] | None
"""What `headscope.models.determined.determined` says of the model; None: nothing can be kept."""


def values(facts: Facts, pairs: Pairs, method: Method, block: Block, *, seed: int, metrics: Sequence[Metric]) -> Any:
    """What determines the values of a block: model, code, prompts, method and options.

    Not: the batch size, memory, threads and progress bars, which change speed and the last digits only.

    Args:
        facts: of the model.
        pairs: all examples of the task.
        method: the method.
        block: which examples and layers.
        seed: of the analysis.
        metrics: further ones.

    Returns:
        A description for the store; None where a function of the user's has part in it that cannot be hashed.
    """
    own = origin(method.function)
    if facts is None or own is None or not isinstance(pairs.metric, str):
        return None
    part = rows_of(pairs, block)
    if not method.across:  # then nothing is drawn from other groups, and what they are called is without effect
        part = replace(part, groups=torch.zeros_like(part.groups))
    options = options_of(method)
    return {
        "model": facts, "code": code(), "prompts": provenance.fingerprint(part),
        "method": [method.name, method.version, own], "layers": block.layers,
        "seed": seed if method.seeded else None,
        "metrics": [str(each) for each in metrics] if "metrics" in options else [],
    }  # fmt: skip


def ability(facts: Facts, pairs: Pairs, *, seed: int) -> Any:
    """What determines how well a model does a task, and what is said of it.

    Args:
        facts: of the model.
        pairs: the examples.
        seed: of the resamples.
    """
    if facts is None or not isinstance(pairs.metric, str):
        return None
    told = [pairs.corruption, list(pairs.notes)]
    return {"model": facts, "code": code(), "prompts": provenance.fingerprint(pairs), "told": told, "seed": seed}


def verdict(facts: Facts, pairs: Pairs, settings: Mapping[str, Any]) -> Any:
    """What determines the verdict on the few heads of a task.

    Args:
        facts: of the model.
        pairs: the examples, both halves.
        settings: of the protocol, as JSON.
    """
    what = ability(facts, pairs, seed=0)
    return None if what is None else {**what, "task": pairs.task, "settings": {**settings}}


def views(facts: Facts, task: str, prompts: str, heads: Sequence[tuple[int, int]]) -> Any:
    """What determines the attention that is shown.

    Args:
        facts: of the model.
        task: what it is called, for that is shown too.
        prompts: the fingerprint of the task's examples.
        heads: which heads.
    """
    shown = {"task": task, "prompts": prompts, "heads": [list(head) for head in heads]}
    return None if facts is None else {"model": facts, "code": code(), **shown}


def profiles(facts: Facts, prompts: Mapping[str, str], scores: pd.DataFrame, *, seed: int) -> Any:
    """What determines the profiles of leading heads.

    Args:
        facts: of the model.
        prompts: task -> the fingerprint of its examples.
        scores: the tables of all cells, from which the heads are taken.
        seed: of intervals.
    """
    if facts is None:
        return None
    hashes: Any = hash_pandas_object
    rows = hashes(scores, index=False)
    table = hashlib.sha256(repr(list(scores.columns)).encode() + rows.to_numpy().tobytes()).hexdigest()
    return {"model": facts, "code": code(), "prompts": dict(prompts), "scores": table, "seed": seed}


def roles(facts: Facts, *, seed: int, data: str) -> Any:
    """What determines the roles that are looked for beside an analysis, before its effects confirm them.

    Args:
        facts: of the model.
        seed: of sentences and prompts.
        data: the hash of the texts that they are looked for in.
    """
    return None if facts is None else {"model": facts, "code": code(), "seed": seed, "data": data}


def origin(function: Any) -> str | None:
    """Where a function comes from: `headscope`, whose sources are hashed anyway, or the hash of its own file.

    Args:
        function: of a method.

    Returns:
        None where there is no file, as of functions typed into a shell: they may change without a trace.

    Example:
        >>> from headscope.methods.patching import patching
        >>> origin(patching), origin(len)
        ('headscope', None)
    """
    home = inspect.unwrap(function)
    if str(getattr(home, "__module__", "")).startswith("headscope."):
        return "headscope"
    try:
        path = Path(inspect.getsourcefile(home) or "")
        return provenance.digest(path) if path.is_file() else None
    except (TypeError, OSError):
        return None


def rows_of(pairs: Pairs, block: Block) -> Pairs:
    """The examples of a block.

    Args:
        pairs: all examples of the task.
        block: which of them.
    """
    start, stop = block.rows
    return pairs if (start, stop) == (0, len(pairs)) else pairs.select(torch.arange(start, stop))
