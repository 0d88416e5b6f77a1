"""Which metric the pairs name, and its value: checked, in double precision, from only the logits that it needs."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.errors import UsageError
from headscope.metrics.formulas import BETTER, COMPARED, FEW_COLUMNS, KL, METRICS, UNITS, Logits, Reads, accuracy
from headscope.prompts import ABSENT, BY_TOKEN, EMBEDDING_CONTRAST, Pairs, which

Metric = str | Callable[..., Tensor]


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


def sign_of(pairs: Pairs) -> int:
    """1 where a higher metric is better, -1 where a lower one is (`BETTER`); a user's function counts as it comes.

    Effects of heads are differences of the metric times this, so that positive values always mean that a head helps.

    Args:
        pairs: the examples.

    Raises:
        UsageError: if there is no such metric.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> sign_of(pairs), sign_of(replace(pairs, metric="loss"))
        (1, -1)
    """
    _function(pairs)
    return -1 if isinstance(pairs.metric, str) and BETTER[pairs.metric] == "lower" else 1


def signs(pairs: Pairs, also: Sequence[Metric] = ()) -> dict[str, int]:
    """`sign_of` the pairs' own metric and of further ones, by name, the own first.

    Args:
        pairs: the examples.
        also: names of metrics, or functions.

    Raises:
        UsageError: as for `further`.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> signs(pairs, ["accuracy", "loss"])
        {'logit_difference': 1, 'accuracy': 1, 'loss': -1}
    """
    return {name_of(each): sign_of(each) for each in (pairs, *further(pairs, also))}


def further(pairs: Pairs, also: Sequence[Metric]) -> tuple[Pairs, ...]:
    """The same examples under further metrics, each once, and without the pairs' own.

    Args:
        pairs: the examples.
        also: names of metrics, or functions.

    Raises:
        UsageError: if there is no such metric, it does not fit the examples' answers, or two functions have one name.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> [name_of(each) for each in further(pairs, ["kl", "logit_difference", "kl"])]
        ['kl']
    """
    found = {name_of(pairs): pairs}
    for metric in also:
        one = replace(pairs, metric=metric)
        check(one)
        if found.setdefault(name_of(one), one).metric != metric:
            raise UsageError(
                f"two metrics of one name, {name_of(one)!r}, of task {pairs.task!r}",
                "a name for each, under which its scores are told apart",
                "give functions with different names, not lambdas",
            )
    return tuple(found.values())[1:]


def under(pairs: Pairs, names: Sequence[Metric]) -> Pairs:
    """The same examples under the first of several metrics, once it is sure that all of them fit.

    Args:
        pairs: the examples.
        names: metrics; with none, the pairs stay as they are.

    Raises:
        UsageError: if there is no such metric, or it does not fit the examples' answers.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one)
        >>> under(pairs, ["kl", "accuracy"]).metric
        'kl'
    """
    if not names:
        return pairs
    first = replace(pairs, metric=names[0])
    check(first)
    further(first, names[1:])
    return first


def check(pairs: Pairs) -> None:
    """Raise unless the pairs' metric exists and every example has the answers or foils that it compares.

    Args:
        pairs: the examples.

    Raises:
        UsageError: if there is no such metric, it compares sets of single tokens and an answer has several, or it
            compares something that an example has not.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one, foils=one - 1)
        >>> check(pairs)
        Traceback (most recent call last):
        headscope.errors.UsageError: metric 'logit_difference' of task 't', which has no foils (in example 0)
          expected: foils in every example
          to fix it: give them, or take a metric that needs none, such as log_probability or kl
    """
    _function(pairs)
    _check_whole(pairs)
    for name in COMPARED.get(pairs.metric, ()) if isinstance(pairs.metric, str) else ():
        lacking = (getattr(pairs, name) == ABSENT).all(1)
        if bool(lacking.any()):
            other = "such as log_probability or kl" if name == "foils" else "such as kl"
            raise UsageError(
                f"metric {pairs.metric!r} of task {pairs.task!r}, which has no {name} (in {which(lacking)})",
                f"{name} in every example",
                f"give them, or take a metric that needs none, {other}",
            )


def _check_whole(pairs: Pairs) -> None:
    sets = isinstance(pairs.metric, str) and pairs.metric not in {*BY_TOKEN, KL, EMBEDDING_CONTRAST}
    if pairs.consecutive and sets:
        long = (pairs.answers != ABSENT).sum(1) > 1
        if bool(long.any()):
            raise UsageError(
                f"metric {pairs.metric!r} of task {pairs.task!r}, for answers of several consecutive tokens "
                f"({which(long)})",
                f"a metric of whole answers: {', '.join(sorted({*BY_TOKEN, KL}))}",
                "take one of these, or pairs whose answers are single tokens",
            )


def evaluate(logits: Logits | Reads, pairs: Pairs, *, reference: Logits | None = None) -> Float[Tensor, " example"]:
    """The metric that the pairs name, in double precision.

    Differences of two nearly equal logits are what every causal score is made of, so nothing is rounded here.

    Args:
        logits: at the positions `pairs.reads`; where there is one read for each example, that axis may be missing.
            Those at `ABSENT` reads are not looked at.
        pairs: the examples, in the same order.
        reference: the clean run's logits at `end`, which `kl` compares with; no other metric looks at them.

    Raises:
        UsageError: if there is no such metric, it does not fit the answers or lacks its reference, the logits are not
            those of its reads, or it does not give one finite number for each example.

    Example:
        >>> one = torch.zeros(1, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=one, corrupted=one, mask=one == 0, groups=one[0], answers=one + 2, foils=one)
        >>> evaluate(torch.tensor([[1.0, 9.0, 4.0]]), pairs)
        tensor([3.], dtype=torch.float64)
    """
    function = _function(pairs)
    _check_whole(pairs)
    read = _by_read(doubled(logits), pairs)
    given = (read if pairs.by_token else read[:, 0], pairs)
    if pairs.metric == KL:
        given = (*given, _reference(reference, pairs, read))
    return _checked(function(*given), pairs)


def doubled(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logits in double precision, on the CPU where Apple's GPUs have none.

    Args:
        logits: of any shape.
    """
    return (logits.cpu() if logits.device.type == "mps" else logits).to(torch.float64)


def correct(logits: Logits | Reads, pairs: Pairs) -> Bool[Tensor, " example"]:
    """Whether the likeliest next token is an answer; where answers are consecutive tokens, at every one of them.

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
    read = _by_read(logits, pairs)
    return accuracy(read if pairs.by_token else read[:, 0], pairs) == 1


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
    _function(pairs)
    if pairs.metric == EMBEDDING_CONTRAST:
        return torch.zeros(0, dtype=torch.long)
    if not isinstance(pairs.metric, str) or pairs.metric not in FEW_COLUMNS:
        return None
    used = torch.cat([pairs.answers, pairs.foils], dim=1)
    return used[used != ABSENT].unique()


def compact(pairs: Pairs, columns: Int[Tensor, " column"] | None) -> Pairs:
    """The same pairs for logits of some tokens only: `evaluate(logits[..., columns], compact(pairs, columns))`.

    Args:
        pairs: the examples.
        columns: what `columns` gives for them, or more; None leaves answers and foils as they are.

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
    if columns is None or pairs.metric == EMBEDDING_CONTRAST:
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
    reads = pairs.answers.shape[1] if pairs.by_token else 1
    shaped = logits[:, None] if logits.ndim == 2 and reads == 1 else logits
    if shaped.ndim != 3 or tuple(shaped.shape[:2]) != (len(pairs), reads):
        short = f" or [{len(pairs)}, vocabulary]" if reads == 1 else ""
        raise UsageError(
            f"logits of shape {tuple(logits.shape)} for metric {name_of(pairs)!r} of task {pairs.task!r}",
            f"[{len(pairs)}, {reads}, vocabulary]{short}: one row for each example and position that it reads",
            "take the model's logits at the positions pairs.reads",
        )
    return shaped


def _reference(reference: Tensor | None, pairs: Pairs, logits: Tensor) -> Tensor:
    wanted = (len(pairs), logits.shape[-1])
    if reference is None or tuple(reference.shape) != wanted:
        found = "no logits" if reference is None else f"logits of shape {tuple(reference.shape)}"
        raise UsageError(
            f"{found} of the clean run for metric {pairs.metric!r} of task {pairs.task!r}",
            f"its logits at 'end', of shape {wanted}, which this metric compares with",
            "give them as `reference`, or use a method that runs on headscope.replay, which computes them",
        )
    return reference


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
