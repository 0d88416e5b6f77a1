"""One number per example from the logits where the metric reads. Higher means better at the task."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.prompts import ABSENT, Pairs

Logits = Float[Tensor, "example vocabulary"]


def _members(logits: Logits, sets: Int[Tensor, "example member"]) -> Float[Tensor, "example member"]:
    """The logits of each example's token set; NaN at its padding."""
    picked = logits.gather(1, sets.clamp(min=0).to(logits.device))
    return picked.masked_fill((sets == ABSENT).to(logits.device), float("nan"))


def logit_difference(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """Mean logit of the answers minus mean logit of the foils, in logits.

    Linear in the residual stream, and sees negative heads, which a probability near 0 or 1 hides (Zhang & Nanda 2024).

    Args:
        logits: at the position where the metric reads.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> logit_difference(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([3.])
    """
    return _members(logits, pairs.answers).nanmean(1) - _members(logits, pairs.foils).nanmean(1)


def probability(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """The probability that the next token is one of the answers, 0 to 1.

    Args:
        logits: at the position where the metric reads.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> probability(torch.tensor([[0.0, 0.0, 0.0, 0.0]]), pairs)
        tensor([0.2500])
    """
    return _members(logits.softmax(-1), pairs.answers).nansum(1)


METRICS: dict[str, Callable[[Logits, Pairs], Float[Tensor, " example"]]] = {
    "logit_difference": logit_difference,
    "probability": probability,
}
UNITS = {"logit_difference": "logits", "probability": "probability"}


def evaluate(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """The metric that the pairs name, in double precision.

    Differences of two nearly equal logits are what every causal score is made of, so nothing is rounded here.

    Args:
        logits: at the position where the metric reads.
        pairs: the examples, in the same order.

    Raises:
        UsageError: if there is no such metric.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> evaluate(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([3.], dtype=torch.float64)
    """
    if pairs.metric not in METRICS:
        raise UsageError(f"metric {pairs.metric!r}", f"one of: {', '.join(METRICS)}", "correct the pairs' metric")
    # Apple's GPUs have no double precision.
    logits = logits.cpu() if logits.device.type == "mps" else logits
    return METRICS[pairs.metric](logits.to(torch.float64), pairs)
