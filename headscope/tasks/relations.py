"""Memorised relations: `The capital of France is` -> `Paris`, from triples of subject, template and object."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headscope.errors import TaskError
from headscope.prompts import Pairs
from headscope.tasks.words import Draft, Reader, build_pairs, encode_prompt, locate, require_tokenizer, single_token

SOURCE = (
    "relation prompts as in Meng et al. 2022, 'Locating and Editing Factual Associations in GPT' (arXiv 2202.05262), "
    "and Hernandez et al. 2024, 'Linearity of Relation Decoding' (arXiv 2308.09124)"
)
CORRUPTION = "another subject of the same template and token length; its object is the foil"
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """A fact that a model may have memorised.

    Attributes:
        subject: what the fact is about, such as `France`.
        template: how it is said up to the object, with `{}` for the subject, such as `The capital of {} is`.
        object: what comes next, such as `Paris`.
        where: what messages call it, such as `row 3`; its number in the list, from 0, where left out.
    """

    subject: str
    template: str
    object: str
    where: str = ""


@dataclass(slots=True)
class _Question:
    """One prompt with everything that is right after it, by token id."""

    text: str
    span: tuple[int, int]
    family: tuple[object, ...]
    subject: tuple[int, ...]
    answers: dict[int, str]


def build_relations(
    model: Reader,
    triples: Sequence[Triple],
    *,
    n: int,
    rng: np.random.Generator,
    task: str = "relations",
    source: str = SOURCE,
) -> Pairs:
    """`n` prompts of one fact each, whose twin asks the same of another subject.

    A prompt's answers are all objects that the triples give it, so that a relation may have several objects. Its twin
    has the same template and another subject of as many tokens whose objects are all others; those are the foils. Every
    prompt is taken once before one is taken again, with another twin where there is one, and every subject as often as
    any other.

    Groups are subjects: a held-out half asks for none of the facts that the other half asks for. A twin's subject may
    be asked for in the other half.

    Args:
        model: whose tokenizer the prompts are made for.
        triples: the facts. White space around their parts is dropped.
        n: examples.
        rng: draws subjects, templates and twins.
        task: what the pairs are called.
        source: where the facts come from.

    Returns:
        Pairs with the positions `subject` (its last token, where facts are looked up according to Meng et al.) and
        `end`. Their notes say how many prompts were left out and why (words that the tokenizer does not have, no object
        that is a single token, or no other subject that fits as a twin), and whether prompts are repeated.

    Raises:
        TaskError: if a triple is no triple (all such are told at once), or if fewer than two subjects can be used.
            Cost: four short texts to tokenise for each triple.

    Example:
        >>> from headscope.models import load
        >>> facts = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}
        >>> triples = [Triple(subject=one, template="The capital of {} is", object=two) for one, two in facts.items()]
        >>> pairs = build_relations(load("mini"), triples, n=3, rng=np.random.default_rng(0))
        >>> sorted(pairs.texts)
        ['The capital of France is', 'The capital of Italy is', 'The capital of Spain is']
    """
    require_tokenizer(model, task)
    _check(triples, task)
    questions, left = _questions(model, triples, task)
    subjects, families = _usable(questions, left)
    told = _told(left)
    if len(subjects) < 2:
        raise TaskError(
            f"task {task!r} with the tokenizer of {model.name!r}: {len(subjects)} subjects can be used; {told}",
            "at least two subjects of one template with as many tokens and different single-token objects",
            "give more triples, or objects that this tokenizer writes as one token",
        )
    drafts = _draw(list(subjects.values()), families, n, rng)
    pairs = build_pairs(model, drafts, task=task, source=source, corruption=CORRUPTION)
    different = len(set(pairs.texts))
    repeated = f"{different} different prompts among {n} examples: the triples give no more" if different < n else ""
    return replace(pairs, notes=tuple(filter(None, (told, repeated))))


def _check(triples: Sequence[Triple], task: str) -> None:
    """Raise TaskError with every triple that is none."""
    problems = []
    for number, triple in enumerate(triples):
        where = triple.where or f"triple {number}"
        if triple.template.count("{}") != 1:
            problems.append(f"{where}: template {triple.template!r} with {{}} {triple.template.count('{}')} times")
        problems += [f"{where}: no {part}" for part in ("subject", "object") if not getattr(triple, part).strip()]
    if problems or not triples:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise TaskError(
            f"task {task!r}: {'; '.join(problems[:SHOWN]) or 'no triples'}{more}",
            "triples of a subject, a template with {} once for the subject, and an object, which comes after it",
            "correct or leave out these triples",
        )


def _questions(model: Reader, triples: Sequence[Triple], task: str) -> tuple[list[_Question], dict[str, list[str]]]:
    """The different prompts that can be asked, and those that cannot by the reason why."""
    found: dict[tuple[int, ...], _Question] = {}
    left: dict[str, list[str]] = {}
    unknown, bos = model.tokenizer.unk_token_id, model.tokenizer.bos_token_id
    for triple in triples:
        subject, template = triple.subject.strip(), triple.template.strip()
        text, start = template.replace("{}", subject), template.index("{}")
        tokens, _ = encode_prompt(model, text)
        if unknown is not None and unknown != bos and unknown in tokens:
            left.setdefault("with words that the tokenizer does not have", []).append(text)
            continue
        if tuple(tokens) not in found:
            span = (start, start + len(subject))
            last = locate(model, task, text, {"subject": span}, tokens)["subject"]
            family = (template, len(tokens), tuple(tokens[last + 1 :]))
            found[tuple(tokens)] = _Question(text, span, family, tuple(_ids(model, f"a {subject}")), {})
        word = triple.object.strip()
        if (token := single_token(model, word)) is not None:
            found[tuple(tokens)].answers.setdefault(token, word)
    if split := [each.text for each in found.values() if not each.answers]:
        left["without an object of a single token"] = split
    return [each for each in found.values() if each.answers], left


def _ids(model: Reader, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def _usable(
    questions: list[_Question], left: dict[str, list[str]]
) -> tuple[dict[tuple[int, ...], list[_Question]], dict[tuple[object, ...], list[_Question]]]:
    """The questions that have a twin, by subject, and all of them by family; the others are noted in `left`."""
    families: dict[tuple[object, ...], list[_Question]] = {}
    for question in questions:
        families.setdefault(question.family, []).append(question)
    subjects: dict[tuple[int, ...], list[_Question]] = {}
    for question in questions:
        if any(_fits(question, other) for other in families[question.family]):
            subjects.setdefault(question.subject, []).append(question)
        else:
            left.setdefault("without another subject of as many tokens and other objects", []).append(question.text)
    return subjects, families


def _fits(question: _Question, other: _Question) -> bool:
    return question.subject != other.subject and question.answers.keys().isdisjoint(other.answers)


def _told(left: dict[str, list[str]]) -> str:
    """What was left out, in words; empty where nothing was."""
    reasons = (f"{len(set(texts))} {reason} (such as {texts[0]!r})" for reason, texts in left.items())
    return f"prompts left out: {', '.join(reasons)}" if left else ""


def _draw(
    subjects: list[list[_Question]],
    families: dict[tuple[object, ...], list[_Question]],
    n: int,
    rng: np.random.Generator,
) -> list[Draft]:
    """Subjects in turn, each with its prompts in turn, and these with their twins in turn, in random orders."""
    orders = [rng.permutation(len(questions)) for questions in subjects]
    twins: dict[str, list[_Question]] = {}
    drafts = []
    for turn, group in enumerate(np.resize(rng.permutation(len(subjects)), n).tolist()):
        order, before = orders[group], turn // len(subjects)
        question = subjects[group][int(order[before % len(order)])]
        if question.text not in twins:
            partners = [other for other in families[question.family] if _fits(question, other)]
            twins[question.text] = [partners[index] for index in rng.permutation(len(partners))]
        others = twins[question.text]
        other = others[before // len(order) % len(others)]
        answers, foils = (list(each.answers.values()) for each in (question, other))
        places = {"subject": question.span}
        drafts.append(
            Draft(clean=question.text, corrupted=other.text, answers=answers, foils=foils, group=group, places=places)
        )
    return drafts
