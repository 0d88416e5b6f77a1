"""Can the model do a task at all? Its accuracy, its metric, and whether they are above chance."""

from dataclasses import replace
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from headscope import metrics, statistics
from headscope.models import Model
from headscope.progress import step
from headscope.prompts import ABSENT, Pairs


def ability(model: Model, pairs: Pairs, *, seed: int, batch_size: int = 128) -> dict[str, Any]:
    """How well the model does a task: accuracy and metric with 95 % group-bootstrap intervals.

    Where every example has foils, the accuracy is `headscope.metrics.choice`: one answer must beat each of its foils,
    and chance is 1 / (1 + foils); the mean of several answers must beat the mean of the foils, and chance is one half.
    Elsewhere the model chooses among all its tokens: the likeliest must be an answer, and
    under `log_probability` every token of the answer must be the likeliest given those before it; there is no logit
    difference then, and the reason tells the mean metric.

    The task is failed when the interval of the accuracy reaches down to chance. Where all answers are right, or all
    wrong, resamples show no spread: there the limits of the accuracy are Wilson's, with groups as trials.

    Args:
        model: the model.
        pairs: the examples.
        seed: of the resamples.
        batch_size: examples that are held at once; changes speed and memory only.

    Returns:
        A row of the run's table of tasks. Cost: 2 forwards for each example and position that the metric reads.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> row = ability(model, TASKS["induction"].build(model, n=8, rng=np.random.default_rng(0)), seed=0)
        >>> row["accuracy"], row["status"]
        (1.0, 'ok')
    """
    foiled = has_foils(pairs)
    # What is chosen is judged by logits, whatever the effects are measured in.
    judged = replace(pairs, metric="logit_difference") if foiled else pairs
    with step(f"{pairs.task}: how well the model does it"):
        value, good = _judge(model, pairs.tokens, judged, batch_size)
        twin, _ = _judge(model, pairs.corrupted, judged, batch_size)
    columns = torch.stack([good, value, twin], dim=1).numpy()
    summary = statistics.summarise(columns, pairs.groups.numpy(), seed=seed)
    row: dict[str, Any] = {
        "n": len(pairs),
        "groups": len(pairs.groups.unique()),
        "corruption": pairs.corruption,
        "metric": metrics.name_of(pairs),
    }
    measured = summary.to_dict("records")
    names = ("accuracy", "logit_difference", "corrupted") if foiled else ("accuracy",)
    for name, line in zip(names, measured, strict=False):
        row |= {name: line["value"], f"{name}_low": line["low"], f"{name}_high": line["high"]}
    if row["groups"] >= 2 and row["accuracy"] in (0, 1):
        row["accuracy_low"], row["accuracy_high"] = _wilson(row["accuracy"], row["groups"])
    told = list(pairs.notes)
    if not foiled:
        means = f"{measured[1]['value']:.3g} {metrics.unit_of(pairs)}, {measured[2]['value']:.3g} after the twins"
        told.append(f"mean {metrics.name_of(pairs)} {means}")
    verdict = _verdict(row, chance=_chance(pairs) if foiled else 1 / model.vocabulary)
    return row | {"status": "failed" if verdict else "ok", "reason": "; ".join([*verdict, *told])}


def has_foils(pairs: Pairs) -> bool:
    """Whether every example has foils that its answers can be set against.

    Args:
        pairs: the examples.
    """
    whole = pairs.consecutive and bool(((pairs.answers != ABSENT).sum(1) > 1).any())
    return not whole and bool((pairs.foils != ABSENT).any(1).all())


def _chance(pairs: Pairs) -> float:
    single = (pairs.answers != ABSENT).sum(1) == 1
    foils = (pairs.foils != ABSENT).sum(1)
    return float(torch.where(single, 1 / (1 + foils), 0.5).mean())


def _judge(model: Model, tokens: Tensor, pairs: Pairs, batch_size: int) -> tuple[Tensor, Tensor]:
    """The metric after these tokens, and 1 where an example is right: by choice, or at every token of the answer."""
    right = "choice" if has_foils(pairs) else "accuracy"
    values, good = [], []
    for rows in torch.arange(len(pairs)).split(batch_size):
        part = pairs.select(rows)
        judged = replace(part, metric=right)  # it reads every token of a consecutive answer, whatever the metric
        own = tokens[rows, : part.tokens.shape[1]]
        reads = [model.run_at(own, part.mask, at.clamp(min=0)) for at in judged.reads.T]
        logits = torch.stack(reads, dim=1)
        clean = model.run_at(part.tokens, part.mask, part.end) if part.metric == metrics.KL else None
        values.append(metrics.evaluate(logits if part.by_token else logits[:, :1], part, reference=clean).cpu())
        good.append(metrics.evaluate(logits if judged.by_token else logits[:, :1], judged).cpu())
    return torch.cat(values), torch.cat(good)


def _verdict(row: dict[str, Any], *, chance: float) -> list[str]:
    """Why the task counts as failed; empty where it does not."""
    if row["accuracy_low"] > chance:
        return []
    above = ".50" if chance == 0.5 else f"1 in {1 / chance:.0f}"
    what = "has no interval (all examples are of one group)" if row["groups"] < 2 else f"is not above chance ({above})"
    return [f"accuracy {row['accuracy']:.2f} {what}: its head effects explain no ability"]


def _wilson(share: float, trials: int) -> tuple[float, float]:
    limits = binomtest(round(share * trials), trials).proportion_ci(confidence_level=0.95, method="wilson")
    return float(limits.low), float(limits.high)
