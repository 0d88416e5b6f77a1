"""What each metric is: a plain function of the logits where it reads."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.prompts import ABSENT, EMBEDDING_CONTRAST, LOG_PROBABILITY, Pairs

Logits = Float[Tensor, "example vocabulary"]
Reads = Float[Tensor, "example read vocabulary"]
KL = "kl"
"""The metric that compares with the clean run's logits."""


def _sum(values: Logits, sets: Int[Tensor, "example member"]) -> Float[Tensor, " example"]:
    """The sum of the values of each example's token set; what is not in it, NaN included, is not looked at.

    NaN where the set is empty: a sum of nothing would pass for a number.
    """
    sets = sets.to(values.device)
    total = values.gather(1, sets.clamp(min=0)).masked_fill(sets == ABSENT, 0.0).sum(1)
    return total.masked_fill((sets == ABSENT).all(1), torch.nan)


def _mean(logits: Logits, sets: Int[Tensor, "example member"]) -> Float[Tensor, " example"]:
    """The mean logit of each example's token set; NaN where it has no member."""
    return _sum(logits, sets) / (sets != ABSENT).sum(1).to(logits)


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
    return _mean(logits, pairs.answers) - _mean(logits, pairs.foils)


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
    return _sum(logits.softmax(-1), pairs.answers)


def probability_difference(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """The probability that the next token is an answer minus that it is a foil, -1 to 1.

    The metric of the greater-than task (Hanna et al. 2023, section 2.2), whose answers and foils are many tokens.

    Args:
        logits: at the position where the metric reads.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> probability_difference(torch.tensor([[0.1, 0.3, 0.6]]).log(), pairs)
        tensor([0.5000])
    """
    chances = logits.softmax(-1)
    return _sum(chances, pairs.answers) - _sum(chances, pairs.foils)


def log_probability(logits: Reads, pairs: Pairs) -> Float[Tensor, " example"]:
    """The log-probability of the whole answer, in nats: the sum over its tokens, each given those before it.

    Args:
        logits: at the positions `pairs.reads`, where read `j` foretells `pairs.answers[:, j]`.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one,
        ...               metric="log_probability", positions={"end": one[0]})
        >>> log_probability(torch.zeros(1, 1, 4), pairs).exp()
        tensor([0.2500])
    """
    tokens = pairs.answers.to(logits.device)
    picked = logits.gather(2, tokens.clamp(min=0)[:, :, None])[:, :, 0] - logits.logsumexp(-1)
    total = picked.masked_fill(tokens == ABSENT, 0.0).sum(1)
    return total.masked_fill((tokens == ABSENT).all(1), torch.nan)


def loss(logits: Logits | Reads, pairs: Pairs) -> Float[Tensor, " example"]:
    """The negative log-probability of the answer, in nats. Lower is better.

    Of a set of answers it is -log P(any of them): the cross-entropy where there is one. Of an answer whose tokens are
    consecutive (`pairs.consecutive`) it is the cross-entropy summed over its tokens: minus `log_probability`.

    Args:
        logits: at the position where the metric reads; at the positions `pairs.reads` for a consecutive answer.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> loss(torch.tensor([[0.25, 0.25, 0.5]]).log(), pairs)
        tensor([0.6931])
    """
    if logits.ndim == 3:
        return -log_probability(logits, pairs)
    sets = pairs.answers.to(logits.device)
    # The log of a sum of probabilities may be of nothing; the sum of logs of what is there is not.
    among = logits.gather(1, sets.clamp(min=0)).masked_fill(sets == ABSENT, -torch.inf).logsumexp(-1)
    return (logits.logsumexp(-1) - among).masked_fill((sets == ABSENT).all(1), torch.nan)


def kl(logits: Logits, pairs: Pairs, reference: Logits) -> Float[Tensor, " example"]:
    """KL divergence of the next-token distribution from that of the clean run, in nats. Lower is better.

    KL(clean || run) = sum over tokens of P_clean (log P_clean - log P_run): 0 for the clean run, larger the further the
    run is from it, whichever token is right; no answers are needed (the metric of Conmy et al. 2023, section 3.2).
    It reads at `end` only, also where an answer has several tokens.

    Args:
        logits: at the position where the metric reads.
        pairs: the examples; answers and foils are not looked at.
        reference: the clean run's logits there. `headscope.replay.start` computes them itself.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> clean, run = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
        >>> kl(run, pairs, clean)
        tensor([0.1438])
        >>> kl(clean, pairs, clean)
        tensor([0.])
    """
    wanted = reference.to(logits).log_softmax(-1)
    parts = wanted.exp() * (wanted - logits.log_softmax(-1))
    # A token that the clean run rules out (a logit of minus infinity) has no part in it.
    return parts.masked_fill(wanted == -torch.inf, 0.0).sum(-1)


def accuracy(logits: Logits | Reads, pairs: Pairs) -> Float[Tensor, " example"]:
    """1 where the likeliest next token is an answer, else 0; of a consecutive answer, where every token is.

    It has no derivative: methods that follow slopes refuse it.

    Args:
        logits: at the position where the metric reads; at the positions `pairs.reads` for a consecutive answer.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> accuracy(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([0.])
    """
    answers = pairs.answers.to(logits.device)
    best = logits.argmax(-1) if logits.ndim == 3 else logits.argmax(-1)[:, None]
    right = ((best == answers) | (answers == ABSENT)).all(1) if logits.ndim == 3 else (best == answers).any(1)
    broken = (
        ~logits.amax(-1).isfinite() if logits.ndim == 2 else (~logits.amax(-1).isfinite() & (answers != ABSENT)).any(1)
    )
    return right.to(logits).masked_fill(broken | (answers == ABSENT).all(1), torch.nan)


def choice(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """1 where the answer is chosen and not a foil, else 0: the accuracy by which a task with foils counts as done.

    One answer must have a higher logit than each of its foils (multiple choice; with one foil, a choice of two).
    Several answers are a set, such as all verbs in the right number: their mean logit must be above that of the foils.
    It has no derivative: methods that follow slopes refuse it.

    Args:
        logits: at the position where the metric reads.
        pairs: the examples, in the same order.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2,
        ...               foils=torch.tensor([[0, 1]]))
        >>> choice(torch.tensor([[1.0, 5.0, 4.0]]), pairs)  # above the foils' mean, but below one of them
        tensor([0.])
    """
    answers = _mean(logits, pairs.answers).detach()
    foils = pairs.foils.to(logits.device)
    highest = logits.detach().gather(1, foils.clamp(min=0)).masked_fill(foils == ABSENT, -torch.inf).amax(1)
    single = (pairs.answers.to(logits.device) != ABSENT).sum(1) == 1
    gap = answers - torch.where(single, highest, _mean(logits, pairs.foils).detach())
    broken = gap.isnan() | (foils == ABSENT).all(1)
    return (gap > 0).to(gap).masked_fill(broken, torch.nan)


def embedding_contrast(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """How much nearer the prompt's embedding is to that of a paraphrase than to that of a distractor.

    The embedding e is the mean of the last hidden states over all real tokens, as sentence encoders have it (Reimers &
    Gurevych 2019), and the metric is cos(e, e of the paraphrase) - cos(e, e of the distractor), between -2 and 2. The
    two are `pairs.contrast`; without it they are the clean and the corrupted prompt, so that the metric is positive for
    the clean run and its negative for the corrupted one. No logits are looked at, so it suits encoders without a
    language-modelling head; `headscope.replay` computes it.

    Args:
        logits: of no use here.
        pairs: the examples; answers and foils are not looked at.

    Raises:
        UsageError: always, for logits do not tell hidden states.
    """
    raise UsageError(
        f"logits for metric {EMBEDDING_CONTRAST!r} of task {pairs.task!r}",
        "hidden states, which this metric compares",
        "use a method that runs on headscope.replay, with a model of a known architecture, or another metric",
    )


METRICS: dict[str, Callable[..., Tensor]] = {
    "logit_difference": logit_difference,
    "probability": probability,
    "probability_difference": probability_difference,
    LOG_PROBABILITY: log_probability,
    "loss": loss,
    KL: kl,
    "accuracy": accuracy,
    "choice": choice,
    EMBEDDING_CONTRAST: embedding_contrast,
}
UNITS = {
    "logit_difference": "logits",
    "probability": "probability",
    "probability_difference": "probability",
    LOG_PROBABILITY: "nats",
    "loss": "nats",
    KL: "nats",
    "accuracy": "accuracy",
    "choice": "accuracy",
    EMBEDDING_CONTRAST: "cosine",
}
BETTER = {name: "lower" if name in {"loss", KL} else "higher" for name in METRICS}
"""Whether a higher or a lower value is better. Effects are counted so that better is positive: see `sign_of`."""
_FOILED = {"logit_difference", "probability_difference", "choice"}
COMPARED = {
    name: ("answers", "foils") if name in _FOILED else ("answers",)
    for name in METRICS
    if name not in {KL, EMBEDDING_CONTRAST}
}
"""What each metric compares, and every example must have."""
FEW_COLUMNS = frozenset({"logit_difference", "choice"})
"""Metrics that need the logits of the answers and foils only."""
