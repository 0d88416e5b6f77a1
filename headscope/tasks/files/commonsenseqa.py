"""CommonsenseQA's format: a question with lettered choices on each line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from headscope.prompts import Pairs
from headscope.tasks.files.choosing import Row, consistent, draw, to_pairs
from headscope.tasks.files.reading import Faults, json_lines, read_text
from headscope.tasks.words import Reader, encode_prompt, require_tokenizer

SOURCE = "Talmor et al. 2019, 'CommonsenseQA' (arXiv 1811.00937)"
CORRUPTION = "the text of the right choice changes places with another's, so that the answer is another letter"


@dataclass(frozen=True, slots=True)
class Question:
    """One line of the file.

    Attributes:
        where: what messages call it.
        stem: the question.
        labels: letters of the choices.
        texts: the choices.
        right: which of them is right, from 0.
    """

    where: str
    stem: str
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    right: int


def read(path: Path) -> tuple[Question, ...]:
    """The questions of a JSONL file as it is published, or as the Hub's viewer exports it.

    Each line is `{"question": {"stem": ..., "choices": [{"label": "A", "text": ...}, ...]}, "answerKey": "A"}`, or
    `{"question": ..., "choices": {"label": ["A", ...], "text": [...]}, "answerKey": "A"}`; other keys are not read.

    Args:
        path: of the file.

    Raises:
        UsageError: with every row that is no such question, or has no answer.
    """
    faults = Faults(f"file {str(path)!r}")
    questions = [_question(faults, where, record) for where, record in json_lines(faults, read_text(path))]
    faults.settle()
    return tuple(question for question in questions if question is not None)


def _question(faults: Faults, where: str, record: dict[str, Any]) -> Question | None:
    body = record.get("question")
    stem, choices = (body.get("stem"), body.get("choices")) if isinstance(body, dict) else (body, record.get("choices"))
    if isinstance(choices, dict):
        labels, texts = choices.get("label"), choices.get("text")
    else:
        listed = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
        labels, texts = ([each.get(name) for each in listed] for name in ("label", "text"))
    if not isinstance(stem, str) or not stem.strip():
        faults.say("missing columns", f"{where}: no text at 'question' or 'question.stem'")
    elif not (_words(labels) and _words(texts)) or len(labels) != len(texts) or len(labels) < 2:
        faults.say("missing columns", f"{where}: no two choices or more, each with 'label' and 'text'")
    elif len(set(labels)) < len(labels):
        faults.say("repeated choices", f"{where}: {', '.join(labels)}")
    elif not record.get("answerKey"):
        faults.say("no answers", f"{where}: no 'answerKey'")
    elif record["answerKey"] not in labels:
        faults.say("unknown choices", f"{where}: 'answerKey' {record['answerKey']!r:.20}, of {', '.join(labels)}")
    else:
        right = labels.index(record["answerKey"])
        return Question(where, stem.strip(), tuple(labels), tuple(text.strip() for text in texts), right)
    return None


def _words(found: Any) -> TypeGuard[list[str]]:
    return isinstance(found, list) and all(isinstance(word, str) and word.strip() for word in found)


def build(questions: Sequence[Question], model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """Multiple choice: `Question: ...`, a line for each choice, `Answer:`, and the letter is read.

    The metric is the logit of the right letter minus the mean logit of the others; the accuracy, that the right letter
    is likelier than each of them.

    Args:
        questions: from `read`.
        model: whose tokenizer the prompts are made for.
        n: pairs; fewer, if the file has not so many.
        rng: draws questions, and the choice that the right one changes places with.
        task: the task's name.

    Returns:
        Pairs with the positions `letter` and `choice` (the right one's label and the end of its text), `moved` (the
        label where the twin has it) and `end`; each question is a group.

    Raises:
        TaskError: if no question can be used.
    """
    require_tokenizer(model, task)
    kept, told = consistent(questions, lambda each: ((each.stem, each.labels, each.texts), each.right))
    drawn = draw(model, task, kept, lambda question: _pair(model, question, rng), n=n, rng=rng)
    return to_pairs(
        drawn, what="questions", source=SOURCE, corruption=CORRUPTION, metric="logit_difference", notes=told
    )


def _pair(model: Reader, question: Question, rng: np.random.Generator) -> Row | str:
    texts, right = question.texts, question.right
    if texts.count(texts[right]) > 1:
        return "the right choice stands there twice"
    others = [index for index in range(len(texts)) if index != right]
    clean, starts = _prompt(question, texts)
    tokens = len(encode_prompt(model, clean)[0])
    for other in rng.permutation(others).tolist():
        moved = list(texts)
        moved[right], moved[other] = texts[other], texts[right]
        twin, _ = _prompt(question, moved)
        if len(encode_prompt(model, twin)[0]) == tokens:
            break
    else:
        return "twins of unequal length"
    labels = question.labels
    end = starts[right] + len(f"{labels[right]}. {texts[right]}")
    spans = {
        "letter": (starts[right], starts[right] + len(labels[right])),
        "choice": (end - 1, end),
        "moved": (starts[other], starts[other] + len(labels[other])),
    }
    foils = [labels[index] for index in others]
    return Row(where=question.where, clean=clean, corrupted=twin, answers=[labels[right]], foils=foils,
               group=question.stem, spans=spans)  # fmt: skip


def _prompt(question: Question, texts: Sequence[str]) -> tuple[str, list[int]]:
    """The prompt, and where each choice's line begins."""
    text, starts = f"Question: {question.stem}", []
    for label, choice in zip(question.labels, texts, strict=True):
        starts.append(len(text) + 1)
        text += f"\n{label}. {choice}"
    return f"{text}\nAnswer:", starts
