"""Tasks from files: `FORMAT:PATH`, such as `lambada:test.jsonl`, is a task's name wherever a task is named."""

import difflib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headscope import provenance
from headscope.contract import Task
from headscope.errors import UsageError
from headscope.prompts import Pairs
from headscope.tasks.files import commonsenseqa, lambada, relations, schemas, table
from headscope.tasks.files.reading import path_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of file that can be a task.

    Attributes:
        name: what stands before the colon.
        read: path -> what is in the file; it raises UsageError with every row that is wrong.
        build: `(content, model, *, n, rng, task) -> Pairs`.
        source: who published it.
        about: one line for `headscope list tasks`.
        score: like `build`, for items that have no twin; None where all have one.
        needs_words: it cannot be put into bare token ids.
    """

    name: str
    read: Callable[[Path], Any]
    build: Callable[..., Pairs]
    source: str
    about: str
    score: Callable[..., Pairs] | None = None
    needs_words: bool = True


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            name="lambada", read=lambada.read, build=lambada.build, score=lambada.score, source=lambada.SOURCE,
            about='last word of a passage; JSONL, each line {"text": "..."}',
        ),
        Format(
            name="commonsenseqa", read=commonsenseqa.read, build=commonsenseqa.build, source=commonsenseqa.SOURCE,
            about='multiple choice; JSONL, each line {"question": {"stem", "choices": [{"label", "text"}]}, '
            '"answerKey"}',
        ),
        Format(
            name="winograd", read=schemas.read, build=schemas.build, source=schemas.SOURCE,
            about='what does the pronoun refer to? WSC273 as XML (<schema>) or JSONL ("text", "pronoun", '
            '"pronoun_loc", "options", "label"), or WinoGrande ("sentence", "option1", "option2", "answer")',
        ),
        Format(
            name="relations", read=relations.read, build=relations.build, source=relations.SOURCE,
            about="memorised facts; CSV or JSONL with subject, template ({} for the subject) and object",
        ),
        Format(
            name="pairs", read=table.read, build=table.build, source="your own", needs_words=False,
            about="CSV, JSONL or Parquet with clean, corrupted, answer and, where wanted, foil, group, position:NAME",
        ),
    )
}  # fmt: skip
"""What may stand before the colon."""


def from_file(name: str) -> Task:
    """The task of a file, read and checked as far as no tokenizer is needed.

    Args:
        name: `FORMAT:PATH`; the format is a key of `FORMATS`, and `~` is the home folder.

    Returns:
        A task called `FORMAT:FILE`, without the file's folder, whose source tells the file's sha256. The same file
        gives the same prompts wherever it lies.

    Raises:
        UsageError: for an unknown format, or with everything that is wrong with the file.

    Example:
        >>> from_file("lambda:test.jsonl")
        Traceback (most recent call last):
        headscope.errors.UsageError: format 'lambda' of task 'lambda:test.jsonl'
          expected: FORMAT:PATH, with one of: lambada, commonsenseqa, winograd, relations, pairs
          to fix it: did you mean 'lambada:test.jsonl'?
    """
    kind, _, place = name.partition(":")
    if kind not in FORMATS or not place.strip():
        near = difflib.get_close_matches(kind, FORMATS, 1, cutoff=0.5)
        raise UsageError(
            f"task {name!r} without the path of its file" if kind in FORMATS else f"format {kind!r} of task {name!r}",
            f"FORMAT:PATH, with one of: {', '.join(FORMATS)}",
            f"did you mean '{near[0]}:{place or 'PATH'}'?" if near else "see headscope list tasks",
        )
    form, path = FORMATS[kind], path_of(place)
    content = form.read(path)
    called = f"{kind}:{path.name}"
    source = f"{form.source}; {path.name}, sha256 {provenance.digest(path)[:16]}"
    return Task(
        name=called, source=source, about=form.about, needs_words=form.needs_words,
        build=partial(_made, form.build, content, source, called),
        score=None if form.score is None else partial(_made, form.score, content, source, called),
    )  # fmt: skip


def _made(build: Callable[..., Pairs], content: Any, source: str, called: str, model: Any, **options: Any) -> Pairs:
    from dataclasses import replace

    return replace(build(content, model, task=called, **options), source=source)


def is_file(name: str) -> bool:
    """Whether a task's name is meant to be that of a file, such as `lambada:test.jsonl`.

    Args:
        name: any name that is no key of `headscope.tasks.TASKS`.
    """
    return ":" in name or name in FORMATS


def short(name: str) -> str:
    """A task's name without the folder of its file, for records that other people read.

    Args:
        name: as for `from_file`; names of other tasks stay as they are.

    Example:
        >>> short("lambada:~/data/test.jsonl"), short("ioi")
        ('lambada:test.jsonl', 'ioi')
    """
    kind, colon, place = name.partition(":")
    return f"{kind}:{Path(place).name}" if colon and kind in FORMATS else name


def refusals(names: Iterable[str]) -> list[UsageError]:
    """Why files cannot be tasks, before any model is looked at: one error for each that is wrong.

    Args:
        names: as for `from_file`.
    """
    problems, called = [], {}
    for name in dict.fromkeys(names):
        try:
            from_file(name)
        except UsageError as error:
            problems.append(error)
            continue
        if short(name) in called:
            problems.append(
                UsageError(
                    f"tasks {called[short(name)]!r} and {name!r}, both called {short(name)!r}",
                    "files of different names",
                    "rename one, or analyse one after the other",
                )
            )
        called.setdefault(short(name), name)
    return problems


def split_names(values: Iterable[str]) -> tuple[str, ...]:
    """Names that are separated by commas, as `--task` takes them, each once.

    A comma belongs to a path if that makes it the path of a file that exists.

    Args:
        values: such as `["ioi,induction", "lambada:test.jsonl"]`.

    Example:
        >>> split_names(["ioi, induction", "pairs:a.csv,ioi"])
        ('ioi', 'induction', 'pairs:a.csv')
    """
    names: dict[str, None] = {}
    for value in values:
        pieces = value.split(",")
        while pieces:
            count = next((end for end in range(len(pieces), 1, -1) if _is_file(",".join(pieces[:end]))), 1)
            name = ",".join(pieces[:count]).strip()
            names |= {name: None} if name else {}
            del pieces[:count]
    return tuple(names)


def _is_file(name: str) -> bool:
    kind, _, place = name.strip().partition(":")
    return kind in FORMATS and os.path.isfile(path_of(place))  # noqa: PTH113 - Path's own raises for long names
