"""What a method and a task must be, and how per-example values become a tidy table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from headscope import metrics, statistics
from headscope.grid import Grid
from headscope.prompts import Pairs, Prompts

Values = Mapping[str, Float[Tensor, "example layer head"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One score of a method.

    Attributes:
        name: its name in tables, such as `denoising`.
        meaning: what a high value means, in a sentence.
        unit: of the values; None where the task's metric gives it.
        signed: effects, centred at 0, are ranked by magnitude; shares of attention by value.
        absent: why an example can say nothing of a head.
    """

    name: str
    meaning: str
    unit: str | None = None
    signed: bool = True
    absent: str = "no example says anything of this head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way of scoring heads: a plain function with the facts about it.

    Attributes:
        name: its name at the shell.
        function: `(model, prompts, *, batch_size, progress[, memory][, seed][, metrics][, layers]) -> {score: [example,
            layer, head]}`; with `metrics` it also returns the scores of `with_metrics`, with `layers` it computes those
            layers alone and leaves the others NaN.
        needs: the kind of prompts it works on.
        scores: what it returns, in order.
        source: paper and equation.
        about: one line for `headscope list methods`.
        seeded: whether it takes a seed.
        version: raised when the numbers it gives change.
        across: whether an example's value may depend on the other examples: on their mean, or on one that is drawn
            among them. Where it does not, an analysis computes, keeps and reuses its examples in blocks.
    """

    name: str
    function: Callable[..., Values]
    needs: type[Prompts]
    scores: tuple[Score, ...]
    source: str
    about: str
    seeded: bool = False
    version: int = 1
    across: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a model is asked to do: a plain function with the facts about it.

    Attributes:
        name: its name at the shell.
        build: `(model, *, n, rng) -> Pairs`, from the model's tokenizer.
        source: the paper it follows.
        about: one line for `headscope list tasks`.
        needs_words: it cannot be put into bare token ids.
        score: `(model, *, n, rng) -> Pairs`, of items with and without a twin, where some have none: only their
            accuracy is measured. None where every item has a twin.
    """

    name: str
    build: Callable[..., Pairs]
    source: str
    about: str
    needs_words: bool = True
    score: Callable[..., Pairs] | None = None


def further_name(score: str, metric: str = "") -> str:
    """What a score is called by a further metric: `{score}.{metric}`; the task's own metric is not named.

    Args:
        score: its own name.
        metric: the further metric's; empty: the task's own.

    Example:
        >>> further_name("noising", "kl"), further_name("noising")
        ('noising.kl', 'noising')
    """
    return f"{score}.{metric}" if metric else score


def with_metrics(method: Method, prompts: Pairs, also: Sequence[metrics.Metric]) -> Method:
    """The method with each of its scores once more for each further metric, in the metric's unit.

    Args:
        method: whose function takes `metrics`.
        prompts: what it is given.
        also: the further metrics.

    Raises:
        UsageError: if there is no such metric, or it does not fit the answers.

    Example:
        >>> import torch
        >>> ids = torch.ones(4, 2, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=ids, corrupted=ids, mask=ids > 0, groups=torch.arange(4), answers=ids,
        ...               foils=ids)
        >>> score = Score(name="noising", meaning="it helps")
        >>> method = Method(name="m", function=dict, needs=Pairs, scores=(score,), source="own", about="an example")
        >>> [(each.name, each.unit) for each in with_metrics(method, pairs, ["kl"]).scores]
        [('noising', None), ('noising.kl', 'nats')]
    """
    scores = list(method.scores)
    for each in metrics.further(prompts, also):
        name, unit = metrics.name_of(each), metrics.unit_of(each)
        told = f", by {name}" + ("; counted so that a fall is positive" if metrics.sign_of(each) < 0 else "")
        scores += [
            replace(score, name=further_name(score.name, name), meaning=score.meaning + told, unit=unit)
            for score in method.scores
            if score.unit is None
        ]
    return replace(method, scores=tuple(scores))


def table(values: Values, prompts: Prompts, method: Method, *, grid: Grid, seed: int) -> pd.DataFrame:
    """Per-example values as tidy rows: one for each score, layer and head.

    Args:
        values: `{score: [example, layer, head]}` from the method's function.
        prompts: what the method was given; their groups are resampled together.
        method: the facts about the method.
        grid: the model's layers and heads.
        seed: of the resamples, which all scores and heads share.

    Returns:
        Columns `task, method, score, layer, head, value, low, high, n, groups, p, q, rank, rank_low, rank_high, share,
        unit, signed, reason`: mean over examples, 95 % interval, sign-flip p and Benjamini-Hochberg q over the heads
        of one score. Cost: no forward passes.

    Example:
        >>> import torch
        >>> ids = torch.ones(4, 2, dtype=torch.long)
        >>> prompts = Prompts(task="t", tokens=ids, mask=ids > 0, groups=torch.arange(4))
        >>> score = Score(name="reach", meaning="looks far", unit="tokens", signed=False)
        >>> method = Method(name="m", function=dict, needs=Prompts, scores=(score,), source="own", about="an example")
        >>> values = {"reach": torch.tensor([1.0, 3.0]).expand(4, 1, 2)}
        >>> frame = table(values, prompts, method, grid=Grid(layers=1, heads=2), seed=0)
        >>> frame[["head", "value", "unit", "rank"]].to_numpy().tolist()
        [[0, 1.0, 'tokens', 2.0], [1, 3.0, 'tokens', 1.0]]
    """
    unit_of_task = metrics.unit_of(prompts) if isinstance(prompts, Pairs) else ""
    frames = []
    layers, heads = np.array(list(grid)).T
    for score in method.scores:
        if score.name not in values:
            continue
        flat = values[score.name].double().cpu().numpy().reshape(len(prompts), grid.size)
        summary = statistics.summarise(
            flat, prompts.groups.cpu().numpy(), seed=seed, rank_by="magnitude" if score.signed else "value"
        )
        frame = pd.DataFrame({"layer": layers, "head": heads}).join(summary)
        if not score.signed:  # a share of attention is never negative, so a test against 0 would say nothing
            frame[["p", "q"]] = np.nan
        unit = score.unit or unit_of_task
        frame = frame.assign(task=prompts.task, method=method.name, score=score.name, unit=unit)
        frame["signed"] = score.signed
        frame["reason"] = np.where(frame["value"].isna(), score.absent, "")
        frames.append(frame)
    return pd.concat(frames, ignore_index=True).loc[:, COLUMNS]


COLUMNS = [
    *("task", "method", "score", "layer", "head", "value", "low", "high", "n", "groups"),
    *("p", "q", "rank", "rank_low", "rank_high", "share", "unit", "signed", "reason"),
]
