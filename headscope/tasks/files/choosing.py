"""From the rows of a file to Pairs: which rows a tokenizer can use, which share a group, and what is left out."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from headscope.errors import TaskError
from headscope.prompts import Pairs
from headscope.tasks.entries import PROBLEMS, Example, Job, read_example
from headscope.tasks.own import settle
from headscope.tasks.words import Reader, locate

SHOWN = 3
"""Rows that a note names for each reason."""


@runtime_checkable
class Placed(Protocol):
    """Anything that stands in a row of a file."""

    @property
    def where(self) -> str:
        """What messages call its row."""
        ...


Item = TypeVar("Item", bound=Placed)
Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file in words.

    Attributes:
        where: what messages call it.
        clean: the prompt, without its answer.
        corrupted: its twin; None where it can only be scored.
        answers: right continuations: words, or token ids.
        foils: wrong ones.
        group: rows with equal entries are resampled together.
        spans: position name -> the (start, end) characters of a word in `clean`; None where it has none.
    """

    where: str
    clean: str
    corrupted: str | None
    answers: Sequence[Any]
    foils: Sequence[Any] = ()
    group: Hashable = None
    spans: Mapping[str, tuple[int, int] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Rows that were drawn from a file and can be used.

    Attributes:
        job: for the message, if none can be.
        rows: in the order of the file.
        examples: the same as token ids.
        left_out: reason -> the rows that were drawn and left out for it.
        population: how many rows they were drawn from.
    """

    job: Job
    rows: tuple[Row, ...]
    examples: tuple[Example, ...]
    left_out: dict[str, list[str]]
    population: int

    def notes(self, what: str) -> tuple[str, ...]:
        """What people must know of how the rows were chosen.

        Args:
            what: what the rows are called.
        """
        tried = len(self.rows) + sum(map(len, self.left_out.values()))
        drawn = "all" if tried == self.population else f"{tried} of {self.population}, drawn at random"
        return (f"{len(self.rows)} {what} from {drawn}", *self.reasons())

    def reasons(self) -> list[str]:
        """Why rows were left out, the commonest reason first, with the first few rows of each."""
        told = []
        for reason, rows in sorted(self.left_out.items(), key=lambda item: -len(item[1])):
            more = ", ..." if len(rows) > SHOWN else ""
            told.append(f"left out {len(rows)} ({', '.join(rows[:SHOWN])}{more}): {reason}")
        return told


def draw(
    reader: Reader, task: str, items: Sequence[Item], make: Callable[[Item], Row | str], *, n: int,
    rng: np.random.Generator,
) -> Drawn:  # fmt: skip
    """Up to `n` rows in random order, until there are enough that this tokenizer can use.

    Args:
        reader: whose tokenizer.
        task: the task's name, for messages.
        items: what rows are made of.
        make: gives an item's row, or the reason why it has none.
        n: how many are wanted.
        rng: draws the order.
    """
    kept: list[tuple[int, Row, Example]] = []
    left_out: dict[str, list[int]] = {}
    for index in rng.permutation(len(items)).tolist():
        if len(kept) == n:
            break
        row = make(items[index])
        if isinstance(row, str):
            left_out.setdefault(row, []).append(index)
            continue
        trial = Job(reader, task)
        example = _read(trial, row)
        if trial.found:
            left_out.setdefault(next(iter(trial.found)), []).append(index)
        else:
            kept.append((index, row, example))
    kept.sort(key=lambda found: found[0])
    rows, examples = tuple(row for _, row, _ in kept), tuple(example for *_, example in kept)
    named = {reason: [items[index].where for index in sorted(found)] for reason, found in left_out.items()}
    return Drawn(job=Job(reader, task), rows=rows, examples=examples, left_out=named, population=len(items))


def has_unknown(reader: Reader, text: str) -> bool:
    """Whether a text has words that the model's tokenizer does not know.

    Args:
        reader: whose tokenizer.
        text: any text.
    """
    unknown = reader.tokenizer.unk_token_id
    return unknown is not None and unknown != reader.tokenizer.bos_token_id and unknown in reader.encode(text)


def _read(job: Job, row: Row) -> Example:
    given = (row.clean, row.corrupted, row.answers, row.foils)
    places = {name: None for name, span in row.spans.items() if span is None}
    example = read_example(job, row.where, given, places, foiled=bool(row.foils), twinned=row.corrupted is not None)
    spans = {name: span for name, span in row.spans.items() if span is not None}
    if spans and not job.found:
        try:
            found = locate(job.reader, job.task, row.clean, spans, example.tokens)
        except (TaskError, ValueError):
            job.say("positions that cannot be found by word", row.where)
        else:
            example = replace(example, places={name: (example.places | found)[name] for name in ["end", *row.spans]})
    if not job.reader.causal and any(len(ids) > 1 for ids in example.answers):
        job.say("answers of several tokens at one mask", row.where)
    elif row.foils and any(len(ids) > 1 for ids in (*example.answers, *example.foils)):
        job.say("answers that are not single tokens", row.where)
    return example


def to_pairs(drawn: Drawn, *, what: str, source: str, corruption: str, metric: str, notes: Sequence[str] = ()) -> Pairs:
    """Pairs of the rows that were drawn, with notes of what was left out.

    Args:
        drawn: what `draw` gives.
        what: what the rows are called.
        source: where they come from.
        corruption: what twins change.
        metric: the task's metric.
        notes: what else people must know.

    Raises:
        TaskError: if no row can be used: with the reasons.
    """
    job, rows = drawn.job, drawn.rows
    if not rows:
        reasons = "; ".join([*notes, *drawn.reasons()])
        wanted = [PROBLEMS[reason][0] for reason in drawn.left_out if reason in PROBLEMS]
        raise TaskError(
            f"task {job.task!r} on {job.reader.name!r}: none of {drawn.population} {what} can be used"
            + (f" ({reasons})" if reasons else ""),
            "; ".join(wanted) or "rows that have a twin",
            "choose a model whose tokenizer and context suit the file, or another file",
        )
    groups = joined([row.group for row in rows], [row.clean for row in rows])
    made = settle(
        job, drawn.examples, groups, metric=metric, foiled=any(row.foils for row in rows), source=source,
        corruption=corruption,
    )  # fmt: skip
    return replace(made, notes=(*made.notes, *notes, *drawn.notes(what)))


def joined(*keys: Sequence[Hashable]) -> list[int]:
    """The number of each row's group: rows are in one group if they share any key, also by way of other rows.

    Args:
        keys: for each kind of key, one for each row; None joins nothing.

    Example:
        >>> joined(["a", "b", "c", None], ["x", "y", "y", "z"])
        [0, 1, 1, 2]
    """
    parents = list(range(len(keys[0])))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    for kind in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(kind):
            if key is not None:
                parents[root(row)] = root(first.setdefault(key, row))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(row), len(numbers)) for row in range(len(parents))]


def consistent(
    items: Sequence[Thing], key: Callable[[Thing], tuple[Hashable, Hashable]]
) -> tuple[list[Thing], tuple[str, ...]]:
    """The items of a published file that contradict no other one, and a note of those that do.

    Args:
        items: any items.
        key: gives an item's question and its right answer.

    Example:
        >>> consistent([("a", 1), ("b", 1), ("a", 2)], lambda item: item)
        ([('b', 1)], ('left out 2: the same question with different answers elsewhere in the file',))
    """
    answers: dict[Hashable, set[Hashable]] = {}
    for item in items:
        question, answer = key(item)
        answers.setdefault(question, set()).add(answer)
    kept = [item for item in items if len(answers[key(item)[0]]) == 1]
    gone = len(items) - len(kept)
    note = f"left out {gone}: the same question with different answers elsewhere in the file"
    return kept, (note,) if gone else ()
