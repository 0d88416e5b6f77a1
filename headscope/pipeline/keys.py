"""What determines each kind of result that an analysis keeps."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import torch
from pandas.util import hash_pandas_object

from headscope import provenance
from headscope.cells import code
from headscope.contract import Method
from headscope.metrics import Metric
from headscope.pipeline.blocks import Block, options_of
from headscope.pipeline.origins import origin
from headscope.prompts import Pairs

Facts = Mapping[str, Any] | None
"""What `headscope.models.determined.determined` says of the model; None: nothing can be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What else determines values.

    Attributes:
        seed: of the analysis.
        metrics: further ones.
        origins: what functions are, by method, and by task for its metric, where it is a function. They are looked up
            once, before anything runs: a file that is edited in the meantime does not change what runs.
    """

    seed: int = 0
    metrics: Sequence[Metric] = ()
    origins: Mapping[str, str | None] = field(default_factory=dict)


def values(facts: Facts, pairs: Pairs, method: Method, block: Block, asked: Asked) -> Any:
    """What determines the values of a block: model, code, prompts, method and options.

    Not: the batch size, memory, threads and progress bars, which change speed and the last digits only.

    Args:
        facts: of the model.
        pairs: all examples of the task.
        method: the method.
        block: which examples and layers.
        asked: what else.

    Returns:
        A description for the store; None where a function of the user's has part in it that cannot be hashed.
    """
    own, metric = asked.origins.get(_method(method.name)), asked.origins.get(_metric(pairs.task))
    if facts is None or own is None or (not isinstance(pairs.metric, str) and metric is None):
        return None
    part = rows_of(pairs, block)
    if not method.across:  # then nothing is drawn from other groups, and what they are called is without effect
        part = replace(part, groups=torch.zeros_like(part.groups))
    options = options_of(method)
    return {
        "model": facts, "code": code(), "prompts": provenance.fingerprint(part),
        "method": [method.name, method.version, own], "layers": block.layers,
        "seed": asked.seed if method.seeded else None, "metric": metric,
        "metrics": [str(each) for each in asked.metrics] if "metrics" in options else [],
    }  # fmt: skip


def origins(pairs: Mapping[str, Pairs], methods: Sequence[Method]) -> dict[str, str | None]:
    """What the functions of an analysis are, as `Asked` has them.

    Args:
        pairs: task -> its examples.
        methods: all methods.

    Returns:
        None for those whose results cannot be kept.
    """
    found = {_method(method.name): origin(method.function) for method in methods}
    return found | {_metric(task): origin(each.metric) for task, each in pairs.items() if callable(each.metric)}


def _method(name: str) -> str:
    return f"method {name!r}"


def _metric(task: str) -> str:
    return f"the metric of task {task!r}"


def ability(facts: Facts, pairs: Pairs, *, seed: int) -> Any:
    """What determines how well a model does a task, and what is said of it.

    Args:
        facts: of the model.
        pairs: the examples.
        seed: of the resamples.
    """
    metric = None if isinstance(pairs.metric, str) else origin(pairs.metric)
    if facts is None or (not isinstance(pairs.metric, str) and metric is None):
        return None
    told = [pairs.corruption, list(pairs.notes)]
    what = {"model": facts, "code": code(), "prompts": provenance.fingerprint(pairs), "told": told, "seed": seed}
    return what | ({} if metric is None else {"metric": metric})


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


def rows_of(pairs: Pairs, block: Block) -> Pairs:
    """The examples of a block.

    Args:
        pairs: all examples of the task.
        block: which of them.
    """
    start, stop = block.rows
    return pairs if (start, stop) == (0, len(pairs)) else pairs.select(torch.arange(start, stop))
