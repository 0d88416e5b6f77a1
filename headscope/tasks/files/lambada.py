"""LAMBADA's format: a passage on each line, whose last word is to be predicted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headscope.prompts import LOG_PROBABILITY, Pairs
from headscope.tasks.files.choosing import Row, consistent, draw, has_unknown, to_pairs
from headscope.tasks.files.reading import Faults, json_lines, read_text
from headscope.tasks.words import Reader, require_tokenizer

SOURCE = "Paperno et al. 2016, 'The LAMBADA dataset' (arXiv 1606.06031)"
CORRUPTION = "every earlier occurrence of the last word is another passage's last word: nothing is left to copy"
TRIES = 50
"""Words that are tried in place of a passage's last word, until one makes a twin of as many tokens."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One line of the file.

    Attributes:
        where: what messages call it.
        context: all but the last word.
        target: the last word, with whatever punctuation follows it.
        earlier: (start, end) characters of its occurrences in the context, as a whole word in any case.
    """

    where: str
    context: str
    target: str
    earlier: tuple[tuple[int, int], ...]


def read(path: Path) -> tuple[Passage, ...]:
    """The passages of a file of lines such as `{"text": "... said Ann. 'Come in,' answered Ann"}`.

    The last word is what follows the last white space, as in the evaluations of Radford et al. 2019 and after.

    Args:
        path: of a JSONL file with `text` on every line; other keys are not read.

    Raises:
        UsageError: with every row that has no text of two words or more.
    """
    faults = Faults(f"file {str(path)!r}")
    passages = []
    for where, record in json_lines(faults, read_text(path)):
        text = record.get("text")
        if "text" not in record:
            faults.say("missing columns", f"{where}: no 'text'")
        elif not isinstance(text, str):
            faults.say("cells of another kind", f"{where}: 'text' is {text!r:.40}")
        elif len(words := text.split()) < 2:
            faults.say("nothing to predict", f"{where}: {text!r:.40}")
        else:
            context, target = text.rstrip().removesuffix(words[-1]).rstrip(), words[-1]
            passages.append(Passage(where, context, target, _occurrences(context, target)))
    faults.settle()
    return tuple(passages)


def _occurrences(context: str, target: str) -> tuple[tuple[int, int], ...]:
    word = target.strip("\"'.,;:!?()[]-") or target
    found = re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", context, re.IGNORECASE)
    return tuple(match.span() for match in found)


def build(passages: Sequence[Passage], model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """Pairs of the passages whose last word occurs earlier in them; the twin has another word there.

    The metric is the log-probability of the whole last word, summed over its tokens; the accuracy, that each of its
    tokens is the likeliest. A passage whose last word does not occur earlier gets no pair: `score` takes it too.

    Args:
        passages: from `read`.
        model: whose tokenizer the prompts are made for.
        n: pairs; fewer, if the file has not so many.
        rng: draws passages and the words that take the last word's place.
        task: the task's name.

    Returns:
        Pairs with the positions `earlier` (the first earlier occurrence) and `end`; each passage is a group.

    Raises:
        TaskError: if no passage can be used.
    """
    require_tokenizer(model, task)
    kept, told = consistent(passages, lambda passage: (passage.context, passage.target))
    able = [passage for passage in kept if passage.earlier]
    targets = sorted({passage.target for passage in kept})
    drawn = draw(model, task, able, lambda passage: _pair(model, passage, targets, rng), n=n, rng=rng)
    occurs = f"the last word occurs earlier in {len(able)} of {len(kept)} passages, and only these have a twin"
    return to_pairs(
        drawn, what="passages", source=SOURCE, corruption=CORRUPTION, metric=LOG_PROBABILITY, notes=(*told, occurs)
    )


def score(passages: Sequence[Passage], model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """Passages of every kind, to be scored only: each is its own twin.

    Args:
        passages: from `read`.
        model: whose tokenizer the prompts are made for.
        n: passages; fewer, if the file has not so many.
        rng: draws them.
        task: the task's name.

    Raises:
        TaskError: if no passage can be used.
    """
    require_tokenizer(model, task)
    kept, _ = consistent(passages, lambda passage: (passage.context, passage.target))
    drawn = draw(model, task, kept, _alone, n=n, rng=rng)
    return to_pairs(drawn, what="passages", source=SOURCE, corruption="none", metric=LOG_PROBABILITY)


def _alone(passage: Passage) -> Row:
    return Row(where=passage.where, clean=passage.context, corrupted=None, answers=[passage.target])


def _pair(model: Reader, passage: Passage, targets: Sequence[str], rng: np.random.Generator) -> Row | str:
    """The passage with its twin: names stand for names, and other words for other words, as their case tells."""
    if has_unknown(model, f"{passage.context} {passage.target}"):
        return "unknown words"
    tokens = len(model.encode(passage.context))
    known = set(re.findall(r"\w+", passage.context.lower())) | {passage.target.lower()}
    capital = passage.target[:1].isupper()
    likely = [word for word in targets if word[:1].isupper() == capital and word.lower() not in known]
    for index in rng.permutation(len(likely))[:TRIES].tolist():
        twin = _exchanged(passage, likely[index])
        if len(model.encode(twin)) == tokens:
            return Row(
                where=passage.where, clean=passage.context, corrupted=twin, answers=[passage.target],
                spans={"earlier": passage.earlier[0]},
            )  # fmt: skip
    return "no other last word of as many tokens"


def _exchanged(passage: Passage, word: str) -> str:
    word = word.strip("\"'.,;:!?()[]-") or word
    parts, after = [], 0
    for start, end in passage.earlier:
        old = passage.context[start:end]
        parts += [passage.context[after:start], word.capitalize() if old[0].isupper() and word.islower() else word]
        after = end
    return "".join(parts) + passage.context[after:]
