"""Pairs of one's own, from texts or token ids; everything that is wrong with them is said at once."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from headscope.metrics import COMPARED, METRICS
from headscope.prompts import ABSENT, LOG_PROBABILITY, Pairs, pad
from headscope.tasks.entries import Example, Job, pieces, read_example
from headscope.tasks.words import Reader

Metric = str | Callable[..., Tensor]


def pairs(  # noqa: PLR0913 - what examples are made of, each a word of its own
    model: Reader,
    clean: Iterable[Any],
    corrupted: Iterable[Any],
    answers: Iterable[Any],
    foils: Iterable[Any] | None = None,
    *,
    groups: Iterable[Any] | None = None,
    positions: Mapping[str, Iterable[Any]] | None = None,
    metric: Metric | None = None,
    task: str = "own",
    source: str = "",
) -> Pairs:
    """Pairs from prompts of your own, as texts or as token ids.

    Texts get the model's special tokens, as in every task, and ids are taken as they are. An answer is what comes next:
    a text continues the prompt after one space, unless either has white space there; an encoder's answer stands at its
    mask token, which is put at the end of a prompt that has none. To continue a word (`17` by `33`), give ids.

    The metric, unless you choose one: with foils, the logit difference of single-token answers and foils. Without, the
    log-probability of each prompt's one answer, summed over its tokens, each read given those before it (the prompts
    then go on with the answer); the pairs' `notes` say so.

    Args:
        model: whose tokenizer the prompts are made for.
        clean: prompts without their answers, each a text or a list of token ids.
        corrupted: for each its twin, of as many tokens.
        answers: for each a text, a token id, or a list of the ids of one answer; or a list of several such texts or
            lists of ids, all of them right.
        foils: for each what the answer is set against, given like answers.
        groups: examples with equal entries are resampled together; by default each stands alone.
        positions: name -> for each prompt a word of the clean text (the last token of its first occurrence), a token
            index from 0, or None. `end`, where the metric reads, is the last token unless given.
        metric: a name (see `headscope.metrics`), or a function `(logits [example, vocabulary], pairs) -> [example]`.
        task: what to call them.
        source: where they come from.

    Returns:
        Pairs that every method takes. Cost: no forward passes.

    Raises:
        TaskError: with everything that is wrong at once, and the examples where it is.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(name="ids", tokenizer=None, causal=True, max_length=9, vocabulary=50, encode=list)
        >>> made = pairs(model, [[5, 6, 7]], [[5, 9, 7]], answers=[8], foils=[10])
        >>> made.metric, made.end, made.first_difference
        ('logit_difference', tensor([2]), tensor([1]))
        >>> longer = pairs(model, [[5, 6, 7]], [[5, 9, 7]], answers=[[8, 3]])
        >>> longer.tokens.tolist(), longer.reads.tolist(), longer.metric
        ([[5, 6, 7, 8]], [[2, 3]], 'log_probability')
    """
    job = Job(model, task)
    named = {f"position {name!r}": place for name, place in (positions or {}).items()}
    options = {name: entries for name, entries in (("foils", foils), ("groups", groups)) if entries is not None}
    lists = _lists(job, {"clean": clean, "corrupted": corrupted, "answers": answers, **options, **named})
    examples = []
    for index in range(min(len(entries) for entries in lists.values())):
        places = {name: lists[f"position {name!r}"][index] for name in positions or {}}
        row = [lists[name][index] if name in lists else [] for name in ("clean", "corrupted", "answers", "foils")]
        examples.append(read_example(job, f"example {index}", row, places, foiled=foils is not None))
    ended = "end" in (positions or {})
    groups_of = _numbered(lists.get("groups", range(len(examples))))
    return settle(job, examples, groups_of, metric=metric, foiled=foils is not None, ended=ended, source=source)


def settle(  # noqa: PLR0913 - what pairs are made of, beside their examples
    job: Job, examples: Sequence[Example], groups: Sequence[int], *, metric: Metric | None = None,
    foiled: bool, ended: bool = False, source: str = "", corruption: str = "as given",
) -> Pairs:  # fmt: skip
    """Examples that were read as Pairs, if nothing is wrong with any of them.

    Args:
        job: the problems that were found while they were read.
        examples: one or more.
        groups: the number of each example's group.
        metric: as for `pairs`.
        foiled: whether they have foils.
        ended: whether the user says where they end.
        source: where they come from.
        corruption: what the twins change.

    Raises:
        TaskError: with everything that is wrong at once.
    """
    chosen = _metric(job, examples, metric, foiled=foiled, ended=ended)
    job.settle()
    return _assemble(job, examples, chosen, groups=list(groups), source=source, corruption=corruption)


def _lists(job: Job, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Every list that was given, once it is known to be one."""
    lists: dict[str, list[Any]] = {}
    for name, entries in given.items():
        entries = entries.tolist() if hasattr(entries, "tolist") else entries
        several = isinstance(entries, Iterable) and not isinstance(entries, str)
        lists[name] = list(entries) if several else []
        if not several or (name in ("clean", "corrupted") and any(isinstance(one, Integral) for one in lists[name])):
            job.say("no list", f"{name} is {entries!r:.60}")
    job.settle()  # else what belongs to which prompt cannot be known
    if len({len(entries) for entries in lists.values()}) > 1:
        job.say("lists of unequal length", ", ".join(f"{name} {len(entries)}" for name, entries in lists.items()))
    elif not lists["clean"]:
        job.say("no prompts", "clean is empty")
    return lists


def _numbered(groups: Iterable[Any]) -> list[int]:
    names = [tuple(group) if isinstance(group, list) else group for group in groups]
    names = [group.item() if hasattr(group, "item") else group for group in names]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]


def _metric(job: Job, examples: Sequence[Example], metric: Metric | None, *, foiled: bool, ended: bool) -> Metric:
    long = {
        example.where: f"{example.where}: the answer {pieces(job, ids)} is {len(ids)} tokens"
        for example in examples
        for ids in example.answers
        if len(ids) > 1
    }
    if metric is None:
        metric = LOG_PROBABILITY if long or not foiled else "logit_difference"
    if metric == LOG_PROBABILITY:
        _check_log_probability(job, examples, list(long.values()), foiled=foiled, ended=ended)
        return metric
    if isinstance(metric, str) and metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, 1, cutoff=0.4)
        job.say("unknown metric", repr(metric) + (f", did you mean {near[0]!r}?" if near else ""))
    if isinstance(metric, str) and "foils" in COMPARED.get(metric, ()) and not foiled:
        job.say("no foils", f"metric {metric!r}")
    foils = [
        f"{example.where}: the foil {pieces(job, ids)} is {len(ids)} tokens"
        for example in examples
        for ids in example.foils
        if len(ids) > 1
    ]
    for line in (*long.values(), *foils):
        kind = "answers that are not single tokens" if job.reader.causal else "answers of several tokens at one mask"
        job.say(kind, line)
    return metric


def _check_log_probability(
    job: Job, examples: Sequence[Example], long: list[str], *, foiled: bool, ended: bool
) -> None:
    for example in examples:
        if len(example.answers) > 1:
            job.say("several answers to one prompt", f"{example.where}: {len(example.answers)}")
    if foiled:
        for line in long or ["metric 'log_probability'"]:
            job.say("foils where log-probability is the metric", line)
    for line in long:
        if not job.reader.causal:
            job.say("answers of several tokens at one mask", line)
        elif ended:
            job.say("answers of several tokens after an 'end' of one's own", line)


def _assemble(
    job: Job, examples: Sequence[Example], metric: Metric, *, groups: list[int], source: str, corruption: str
) -> Pairs:
    whole = metric == LOG_PROBABILITY
    tails = [example.answers[0][:-1] if whole else [] for example in examples]
    filler = (0 if job.reader.tokenizer is None else job.reader.tokenizer.pad_token_id) or 0
    tokens, mask = pad([[*example.tokens, *tail] for example, tail in zip(examples, tails, strict=True)], filler)
    twins, _ = pad([[*example.twin, *tail] for example, tail in zip(examples, tails, strict=True)], filler)
    answers, foils = (
        pad([sets[0] if whole and sets else [ids[0] for ids in sets] for sets in each], ABSENT)[0]
        for each in ([example.answers for example in examples], [example.foils for example in examples])
    )
    names = dict.fromkeys(name for example in examples for name in example.places)
    places = {name: torch.tensor([example.places.get(name, ABSENT) for example in examples]) for name in names}
    return Pairs(
        task=job.task, tokens=tokens, mask=mask, corrupted=twins, groups=torch.tensor(groups), answers=answers,
        foils=foils, positions=places,
        texts=tuple(_text(example.prompt) for example in examples), metric=metric, source=source,
        corruption=corruption, notes=_notes(examples) if whole else (),
    )  # fmt: skip


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else " ".join(str(int(token)) for token in prompt)


def _notes(examples: Sequence[Example]) -> tuple[str, ...]:
    counts = sorted({len(example.answers[0]) for example in examples})
    if counts == [1]:
        return ("answers are scored by their log-probability, against no foils",)
    span = f"{counts[0]}-{counts[-1]}" if len(counts) > 1 else str(counts[0])
    return (f"answers of {span} tokens are scored by their summed log-probability, given the tokens before",)
