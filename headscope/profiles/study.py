"""profile(): the heads that lead each task, more closely."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.paths import EDGES, edge_table, edges
from headscope.methods.twins import DEFAULTS, Limits
from headscope.models import Model
from headscope.profiles.heads import top_heads
from headscope.profiles.prompts import prompt_rows, shown
from headscope.profiles.result import Profiles
from headscope.profiles.tokens import SOURCE_COLUMNS, TOKEN_COLUMNS, obstacle, token_rows, written
from headscope.prompts import Pairs

EXAMPLES = 16
"""Examples of each task on which edges are measured: some 50 partial runs for each, of those that change anything."""

QUANTILES = {"least": 0.0, "lower": 0.25, "median": 0.5, "upper": 0.75, "most": 1.0}
HEAD_COLUMNS = [
    *("task", "layer", "head", "label", "place", "method", "score", "unit", "value", "low", "high", "n"),
    *(*QUANTILES, "positive", "reason"),
]

Examples = Mapping[str, Float[Tensor, "example layer head"]]


def profile(
    model: Model,
    pairs: Mapping[str, Pairs],
    scores: pd.DataFrame,
    *,
    examples: Examples,
    seed: int = 0,
    limits: Limits = DEFAULTS,
) -> Profiles:
    """The heads that lead each task, more closely: how their effect spreads, what they write, whom they act through.

    Args:
        model: the model.
        pairs: task -> the examples that were scored.
        scores: the tidy scores of all tasks.
        examples: `task.method.score` -> the values behind them.
        seed: of the intervals of edges.
        limits: how much is done at once; changes speed and memory only.

    Returns:
        Profiles of `headscope.profiles.heads.HEADS` heads a task. Parts that the model does not allow are absent, with
        the reason. Cost: a forward for each prompt that is shown, and about 50 partial runs for each of `EXAMPLES`.

    Example:
        >>> from headscope.methods import METHODS
        >>> from headscope.contract import table
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=4, rng=np.random.default_rng(0))
        >>> values = METHODS["patching"].function(model, pairs)
        >>> scores = table(values, pairs, METHODS["patching"], grid=model.grid, seed=0)
        >>> found = profile(model, {"induction": pairs}, scores, examples={})
        >>> found.edges.iloc[0][["sender", "receiver", "through"]].tolist()
        ['L0H0', 'L1H1', 'k']
    """
    began = time.monotonic()
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in ("heads", "prompts", "tokens", "sources", "edges")}
    absent: dict[str, dict[str, str]] = {}
    for task, each in pairs.items():
        top = top_heads(scores, task)
        if top.empty:
            absent[task] = dict.fromkeys(("heads", "tokens", "edges"), "no causal method gave a number")
            continue
        heads = [(int(layer), int(head)) for layer, head in zip(top["layer"], top["head"], strict=True)]
        prompts = shown(each)
        parts["heads"].append(_spread(top, examples))
        parts["prompts"].append(prompt_rows(model, each, prompts))
        reasons = {}
        try:
            tokens, sources = _words(model, each.select(prompts), prompts, heads)
            parts["tokens"].append(tokens)
            parts["sources"].append(sources)
        except UsageError as refusal:
            reasons["tokens"] = refusal.given
        try:
            parts["edges"].append(_links(model, each, heads, seed=seed, limits=limits))
        except UsageError as refusal:
            reasons["edges"] = refusal.given
        absent |= {task: reasons} if reasons else {}
    record = {"examples_of_edges": EXAMPLES, "absent": absent, "seconds": round(time.monotonic() - began, 3)}
    columns = {
        "heads": HEAD_COLUMNS, "prompts": ["task", "prompt", "text", "answers", "foils"], "tokens": TOKEN_COLUMNS,
        "sources": SOURCE_COLUMNS, "edges": ["task", *EDGES],
    }  # fmt: skip
    frames = {name: _together(found, columns[name]) for name, found in parts.items()}
    return Profiles(**frames, record=record)


def _together(found: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    kept = [frame for frame in found if len(frame)]
    return pd.concat(kept, ignore_index=True).reindex(columns=columns) if kept else pd.DataFrame(columns=columns)


def _spread(top: pd.DataFrame, examples: Examples) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    lines: Any = top.itertuples(index=False)
    for place, row in enumerate(lines, start=1):
        kept = ("task", "layer", "head", "method", "score", "unit", "value", "low", "high", "n")
        line: dict[str, Any] = {name: getattr(row, name) for name in kept}
        line |= {"label": Grid.label(int(row.layer), int(row.head)), "place": place}
        values = examples.get(f"{row.task}.{row.method}.{row.score}")
        own = np.zeros(0) if values is None else values[:, int(row.layer), int(row.head)].double().cpu().numpy()
        own = own[np.isfinite(own)]
        known = len(own) > 0
        line |= {name: float(np.quantile(own, at)) if known else np.nan for name, at in QUANTILES.items()}
        line["positive"] = float((own > 0).mean()) if known else np.nan
        rows.append(line | {"reason": "" if known else "the run keeps no values of single examples"})
    return pd.DataFrame(rows, columns=HEAD_COLUMNS)


def _words(
    model: Model, pairs: Pairs, prompts: Tensor, heads: list[tuple[int, int]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if reason := obstacle(model):
        raise UsageError(reason, "a model that adds up what its heads write", "read patching or ablation")
    return token_rows(model, pairs, prompts, written(model, pairs, heads))


def _links(model: Model, pairs: Pairs, heads: list[tuple[int, int]], *, seed: int, limits: Limits) -> pd.DataFrame:
    """Edges from earlier to later heads, on examples spread evenly over the task."""
    part = pairs.select(torch.arange(0, len(pairs), max(1, len(pairs) // EXAMPLES))[:EXAMPLES])
    values = edges(model, part, heads, heads, limits=limits)
    table = edge_table(values, part, heads, heads, seed=seed)
    # Where the sender is not in an earlier layer there is no path, and so nothing to be absent.
    places = {Grid.label(*head): head[0] for head in heads}
    ends = zip(table["sender"], table["receiver"], strict=True)
    rows: Any = table.loc[[places[sender] < places[receiver] for sender, receiver in ends]]
    return rows.assign(task=pairs.task)
