"""One number per example from the logits where the metric reads. Higher means better at the task."""

import difflib
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.prompts import ABSENT, EMBEDDING_CONTRAST, LOG_PROBABILITY, Pairs, which

Logits = Float[Tensor, "example vocabulary"]
Reads = Float[Tensor, "example read vocabulary"]


def _sum(values: Logits, sets: Int[Tensor, "example member"]) -> Float[Tensor, " example"]:
    """The sum of the values of each example's token set; what is not in it, NaN included, is not looked at."""
    sets = sets.to(values.device)
    return values.gather(1, sets.clamp(min=0)).masked_fill(sets == ABSENT, 0.0).sum(1)


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
    return picked.masked_fill(tokens == ABSENT, 0.0).sum(1)


def embedding_contrast(logits: Logits, pairs: Pairs) -> Float[Tensor, " example"]:
    """How much nearer the prompt's embedding is to that of the clean prompt than to that of the corrupted one.

    The embedding e is the mean of the last hidden states over all real tokens, as sentence encoders have it (Reimers &
    Gurevych 2019), and the metric is cos(e, e of the clean run) - cos(e, e of the corrupted run): positive for the
    clean run, its negative for the corrupted one, and between -2 and 2. No logits are looked at, so it suits encoders
    without a language-modelling head; `headscope.replay` computes it.

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
    LOG_PROBABILITY: log_probability,
    EMBEDDING_CONTRAST: embedding_contrast,
}
UNITS = {
    "logit_difference": "logits",
    "probability": "probability",
    LOG_PROBABILITY: "nats",
    EMBEDDING_CONTRAST: "cosine",
}


def name_of(pairs: Pairs) -> str:
    """The name of the pairs' metric; a function's own name where it is the user's.

    Args:
        pairs: the examples.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> name_of(pairs)
        'logit_difference'
    """
    if isinstance(pairs.metric, str):
        return pairs.metric
    inner = getattr(pairs.metric, "func", pairs.metric)  # of a functools.partial
    return getattr(inner, "__name__", type(inner).__name__)


def unit_of(pairs: Pairs) -> str:
    """The unit of the pairs' metric; that of a user's function is its attribute `unit`, if it has one.

    Args:
        pairs: the examples.

    Raises:
        UsageError: if there is no such metric.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> unit_of(pairs)
        'logits'
    """
    function = _function(pairs)
    if isinstance(pairs.metric, str):
        return UNITS[pairs.metric]
    return str(getattr(function, "unit", f"units of {name_of(pairs)}"))


def evaluate(logits: Logits | Reads, pairs: Pairs) -> Float[Tensor, " example"]:
    """The metric that the pairs name, in double precision.

    Differences of two nearly equal logits are what every causal score is made of, so nothing is rounded here.

    Args:
        logits: at the positions `pairs.reads`; where there is one read for each example, that axis may be missing.
            Those at `ABSENT` reads are not looked at.
        pairs: the examples, in the same order.

    Raises:
        UsageError: if there is no such metric, the logits are not those of its reads, or it does not give one finite
            number for each example.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> evaluate(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([3.], dtype=torch.float64)
    """
    function = _function(pairs)
    # Apple's GPUs have no double precision.
    logits = logits.cpu() if logits.device.type == "mps" else logits
    read = _by_read(logits, pairs).to(torch.float64)
    return _checked(function(read if _consecutive(pairs) else read[:, 0], pairs), pairs)


def correct(logits: Logits | Reads, pairs: Pairs) -> Bool[Tensor, " example"]:
    """Whether the likeliest next token is an answer; under `log_probability`, at every token of the answer.

    Args:
        logits: as for `evaluate`.
        pairs: the examples, in the same order.

    Raises:
        UsageError: if the logits are not those of the metric's reads.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> correct(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([False])
    """
    best = _by_read(logits, pairs).argmax(-1)
    answers = pairs.answers.to(best.device)
    if _consecutive(pairs):
        return ((best == answers) | (answers == ABSENT)).all(1)
    return (best == answers).any(1)


def columns(pairs: Pairs) -> Int[Tensor, " column"] | None:
    """The tokens whose logits the metric needs, sorted; None where it needs them all.

    Args:
        pairs: the examples.

    Raises:
        UsageError: if there is no such metric.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> columns(pairs)
        tensor([0, 2])
    """
    if _function(pairs) is not logit_difference:
        return None
    used = torch.cat([pairs.answers, pairs.foils], dim=1)
    return used[used != ABSENT].unique()


def compact(pairs: Pairs, columns: Int[Tensor, " column"] | None) -> Pairs:
    """The same pairs for logits of some tokens only: `evaluate(logits[..., columns], compact(pairs, columns))`.

    Args:
        pairs: the examples.
        columns: what `columns` gives for them, or for more examples; None leaves answers and foils as they are.

    Returns:
        Pairs whose answers and foils count columns, without texts.

    Raises:
        UsageError: if an answer or foil is not among the columns.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> compact(pairs, columns(pairs)).answers
        tensor([[1]])
    """
    if columns is None:
        return replace(pairs, texts=())
    places = {}
    for name, ids in (("answers", pairs.answers), ("foils", pairs.foils)):
        known = columns.to(ids.device)
        if not bool((torch.isin(ids, known) | (ids == ABSENT)).all()):
            raise UsageError(
                f"columns without some of the {name} of task {pairs.task!r}",
                "every token whose logit the metric needs",
                "give headscope.metrics.columns(pairs)",
            )
        places[name] = torch.where(ids == ABSENT, ABSENT, torch.searchsorted(known, ids.contiguous()))
    return replace(pairs, texts=(), **places)


def _consecutive(pairs: Pairs) -> bool:
    return pairs.metric == LOG_PROBABILITY


def _function(pairs: Pairs) -> Callable[..., Tensor]:
    if not isinstance(pairs.metric, str):
        return pairs.metric
    if pairs.metric not in METRICS:
        near = difflib.get_close_matches(pairs.metric, METRICS, 1, cutoff=0.4)
        raise UsageError(
            f"metric {pairs.metric!r}",
            f"one of: {', '.join(METRICS)}; or a function (logits [example, vocabulary], pairs) -> [example]",
            f"did you mean {near[0]!r}?" if near else "correct the pairs' metric",
        )
    return METRICS[pairs.metric]


def _by_read(logits: Logits | Reads, pairs: Pairs) -> Reads:
    reads = pairs.answers.shape[1] if _consecutive(pairs) else 1
    shaped = logits[:, None] if logits.ndim == 2 and reads == 1 else logits
    if shaped.ndim != 3 or tuple(shaped.shape[:2]) != (len(pairs), reads):
        short = f" or [{len(pairs)}, vocabulary]" if reads == 1 else ""
        raise UsageError(
            f"logits of shape {tuple(logits.shape)} for metric {name_of(pairs)!r} of task {pairs.task!r}",
            f"[{len(pairs)}, {reads}, vocabulary]{short}: one row for each example and position that it reads",
            "take the model's logits at the positions pairs.reads",
        )
    return shaped


def _checked(value: object, pairs: Pairs) -> Float[Tensor, " example"]:
    metric = f"metric {name_of(pairs)!r} of task {pairs.task!r}"
    if not isinstance(value, Tensor) or tuple(value.shape) != (len(pairs),):
        found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UsageError(
            f"{metric}, which gives {found}",
            f"one number for each of {len(pairs)} examples: a tensor of shape ({len(pairs)},)",
            "let it return one value for each row of the logits, such as logits[:, 5]",
        )
    value = value.to(torch.float64)
    if not bool(value.isfinite().all()):
        raise UsageError(
            f"{metric}, which is NaN or infinite for {which(~value.isfinite())}",
            f"a finite number for each of {len(pairs)} examples",
            "give every example the answers and foils that the metric compares, and see that the model's own logits "
            "are finite",
        )
    return value
