"""check_task: what every task must keep to, ours and those of people who extend headscope."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from headscope import metrics
from headscope.contract import Task
from headscope.errors import UsageError
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs
from headscope.testing.checks import ContractError

LABELS = {"io": "answers", "s1": "foils", "s2": "foils", "source": "answers"}
"""Positions whose token is one of the example's answers or foils, by the field's customary names."""

Rule = tuple[str, str, Bool[Tensor, " example"] | bool]
"""What was found if the rule is broken, what was expected, and whether it holds, for each example or for all."""


def check_task(
    task: Task, model: Model, *, n: int = 16, seed: int = 0, labels: Mapping[str, str] | None = None
) -> None:
    """Raise unless a task keeps to the contract of `headscope.contract.Task` for this model.

    It must make `n` examples of two groups or more; prompts that fit the model; twins of equal length that differ;
    positions inside the prompt, whose tokens are what their names say; answers and foils that share no token; a metric
    without NaN; the same prompts for the same seed and others for another.

    Args:
        task: the task.
        model: a model that the task can be built for; only its tokenizer matters.
        n: examples to make.
        seed: of the examples.
        labels: position name -> `answers` or `foils`, where its token must be found; by default `LABELS`.

    Raises:
        ContractError: naming the first rule that is broken, and an example. Cost: 2 forwards for each example.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=40, n_positions=32)
        >>> check_task(TASKS["induction"], load(GPT2LMHeadModel(config), device="cpu"))
    """
    pairs = task.build(model, n=n, rng=np.random.default_rng(seed))
    named = LABELS if labels is None else labels
    groups: tuple[Callable[[], Iterable[Rule]], ...] = (
        lambda: _form(task, model, pairs, n),
        lambda: _twins(model, pairs),
        lambda: _end(pairs),
        lambda: _answers(model, pairs),
        lambda: _places(model, pairs, named),
        lambda: _metric(model, pairs),
        lambda: _seeds(task, model, pairs, n=n, seed=seed),
    )
    for group in groups:  # each may rely on those before it
        for given, expected, holds in group():
            found = torch.as_tensor(holds)
            if not bool(found.all()):
                where = f" (example {int((~found).int().argmax())})" if found.ndim else ""
                raise ContractError(
                    f"task {task.name!r}: {given}{where}", expected, "correct the task's build function"
                )


def _form(task: Task, model: Model, pairs: Pairs, n: int) -> Iterator[Rule]:
    yield f"{type(pairs).__name__} named {pairs.task!r}", f"Pairs named {task.name!r}", pairs.task == task.name
    yield f"{len(pairs)} examples", f"{n}, as asked", len(pairs) == n
    yield f"{len(pairs.texts)} texts", f"one for each of {n} examples, or none", len(pairs.texts) in (0, n)
    yield "no source or no corruption", "both in words", bool(pairs.source and pairs.corruption)
    known = pairs.metric in metrics.METRICS or callable(pairs.metric)
    yield f"metric {pairs.metric!r}", f"one of: {', '.join(metrics.METRICS)}; or a function", known
    width = pairs.tokens.shape[1]
    yield f"prompts of {width} tokens", f"at most {model.max_length}", width <= model.max_length
    yield f"{len(pairs.groups.unique())} group", "2 or more groups", len(pairs.groups.unique()) >= 2


def _twins(model: Model, pairs: Pairs) -> Iterator[Rule]:
    both = torch.stack([pairs.tokens, pairs.corrupted])
    known = ((both >= 0) & (both < model.vocabulary)).all(0).all(1)
    yield "a token id outside the vocabulary", f"ids from 0 to {model.vocabulary - 1}", known
    unequal = ((pairs.tokens != pairs.corrupted) & ~pairs.mask).any(1)
    reads = model.tokenizer
    padding = None if reads is None else reads.pad_token_id
    if reads is not None and isinstance(padding, int) and padding not in (reads.bos_token_id, reads.eos_token_id):
        unequal |= ((both == padding).any(0) & pairs.mask).any(1)
    yield "a twin of another length than its prompt", "twins of equal length", ~unequal
    yield "a twin equal to its prompt", "twins that differ", pairs.first_difference < pairs.tokens.shape[1]


def _end(pairs: Pairs) -> Iterator[Rule]:
    given = "end" in pairs.positions
    yield "no position named 'end'", "the position where the metric reads", given
    inside = (pairs.end >= 0) & (pairs.end < pairs.mask.sum(1))
    yield "position 'end' outside the prompt", "a position of a real token", inside


def _places(model: Model, pairs: Pairs, labels: Mapping[str, str]) -> Iterator[Rule]:
    for name, place in pairs.positions.items():
        absent = place == ABSENT
        inside = (place >= 0) & (place < pairs.mask.sum(1))
        yield f"position {name!r} outside the prompt", "a position of a real token", absent | inside
        token = pairs.tokens.gather(1, place.clamp(min=0)[:, None])
        if name in labels:
            named = (token == getattr(pairs, labels[name])).any(1)
            yield f"position {name!r} at another word", f"a token of its {labels[name]}", absent | named
        if model.tokenizer is not None and pairs.texts and name != "end":
            words = [str(model.tokenizer.decode([int(i)])).strip().removeprefix("##").lower() for i in token[:, 0]]
            read = torch.tensor([word in text.lower() for word, text in zip(words, pairs.texts, strict=True)])
            yield f"position {name!r} at a token not in the text", "a word of the text", absent | read


def _answers(model: Model, pairs: Pairs) -> Iterator[Rule]:
    compared = metrics.COMPARED.get(pairs.metric, ()) if isinstance(pairs.metric, str) else ()
    for name, ids in (("answers", pairs.answers), ("foils", pairs.foils)):
        known = ((ids == ABSENT) | ((ids >= 0) & (ids < model.vocabulary))).all(1)
        needed = name == "answers" or name in compared
        given = f"an example without {name}, or with one outside the vocabulary"
        some = (ids != ABSENT).any(1) if needed else torch.ones_like(known)
        yield given, f"ids from 0 to {model.vocabulary - 1}", some & known
    shared = (pairs.answers[:, :, None] == pairs.foils[:, None, :]) & (pairs.answers != ABSENT)[:, :, None]
    yield "an answer that is also a foil", "answers and foils that share no token", ~shared.any(2).any(1)


def _metric(model: Model, pairs: Pairs) -> Iterator[Rule]:
    clean = model.run_at(pairs.tokens, pairs.mask, pairs.end) if pairs.metric == metrics.KL else None
    for what, tokens in (("prompt", pairs.tokens), ("twin", pairs.corrupted)):
        reads = [model.run_at(tokens, pairs.mask, at.clamp(min=0)) for at in pairs.reads.T]
        try:
            metrics.evaluate(torch.stack(reads, dim=1), pairs, reference=clean)
        except UsageError as error:
            yield f"after the {what}, {error.given}", error.expected, False


def _seeds(task: Task, model: Model, pairs: Pairs, *, n: int, seed: int) -> Iterator[Rule]:
    def content(made: Pairs) -> list[list[int]]:
        return torch.cat([made.tokens, made.corrupted, made.answers], 1).tolist()

    same, other = (task.build(model, n=n, rng=np.random.default_rng(number)) for number in (seed, seed + 1))
    yield "other prompts for the same seed", "the same prompts", content(same) == content(pairs)
    yield "the same prompts for another seed", "other prompts", content(other) != content(pairs)
