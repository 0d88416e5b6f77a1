"""ProntoQA: an ontology of made-up kinds in sentences, one individual, and a statement about it."""

import json
import re
from typing import Any

from headscope.tasks.chains.problem import Problem, Rule
from headscope.tasks.chains.wording import NOT, Asked, opposite
from headscope.tasks.files.reading import Faults

SOURCE = "Saparov & He 2023, 'Language Models Are Greedy Reasoners' (ProntoQA, arXiv 2210.01240)"
ABOUT = (
    'JSON, {"example1": {"test_example": {"question": ..., "query": "True or false: ...", "answer": "True"}}, ...} or '
    '[{"context": ..., "question": "Is the following statement true or false? ...", "answer": "A"}, ...]'
)
UNREAD = "problems with a sentence that is no fact about the individual and no rule with one premise"
OTHER = "problems about two individuals"

_ONE = re.compile(r"(?:every|each|an?) (.+?) is (not )?(an? )?(.+)", re.IGNORECASE)
_ALL = re.compile(r"(?:all )?(.+?) are (not )?(.+)", re.IGNORECASE)
_FACT = re.compile(r"([A-Z][a-z]+) is (not )?(?:an? )?(.+)")


def read(faults: Faults, text: str) -> list[Asked | str]:
    """The questions of a file, each with its problem or why it has none.

    Args:
        faults: collects rows that are no questions.
        text: the file's content.

    Example:
        >>> row = '{"context": "Cows are shy. Max is a cow.", "question": "True or false: Max is shy.", "answer": "A"}'
        >>> read(Faults("f"), f"[{row}]")[0].problem.rules
        (Rule(premises=('cow',), conclusion='shy'),)
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        faults.say("broken JSON", f"{error}"[:80])
        return []
    if not isinstance(content, (dict, list)) or not content:
        faults.say("no rows", f"a {type(content).__name__}" if content or content == 0 else "nothing in it")
        return []
    rows = content.items() if isinstance(content, dict) else ((f"row {at}", row) for at, row in enumerate(content, 1))
    return [found for where, row in rows if (found := _row(faults, str(where), row)) is not None]


def _row(faults: Faults, where: str, row: Any) -> Asked | str | None:
    """One example of either form."""
    body = row.get("test_example", row) if isinstance(row, dict) else None
    if not isinstance(body, dict):
        faults.say("cells of another kind", f"{where}: no object")
        return None
    names = ("question", "query") if "query" in body else ("context", "question")
    cells = [body.get(name) for name in (*names, "answer")]
    for name, cell in zip((*names, "answer"), cells, strict=True):
        if not isinstance(cell, str) or not cell.strip():
            faults.say("empty cells" if cell in (None, "") else "cells of another kind", f"{where}: {name!r}")
            return None
    context, query, answer = (str(cell).strip() for cell in cells)
    true = {"true": True, "a": True, "false": False, "b": False}.get(answer.lower())
    if true is None:
        faults.say("unknown choices", f"{where}: 'answer' is {answer!r:.20}, not True, False, A or B")
        return None
    return _problem(context, re.split(r"[:?]\s", query)[-1], true=true)


def _problem(context: str, statement: str, *, true: bool) -> Asked | str:
    # On one line each: a pattern that meets a line's end late would be tried from every other place of the sentence.
    sentences = [" ".join(each.split()) for each in re.split(r"\.(?:\s+|$)", context) if each.strip()]
    kinds = _kinds(sentences)
    asked = _FACT.fullmatch(" ".join(statement.split()).rstrip("."))
    if asked is None:
        return UNREAD
    name, wanted = asked[1], f"{asked[2] or ''}{asked[3].lower()}"
    facts, rules = [], []
    for sentence in sentences:
        rule = _rule(sentence, kinds)
        if rule is not None:
            rules.append(rule)
        elif (fact := _FACT.fullmatch(sentence)) is None:
            return UNREAD
        elif fact[1] != name:
            return OTHER
        else:
            facts.append(f"{fact[2] or ''}{fact[3].lower()}")
    question = wanted if true else opposite(wanted)
    return Asked(Problem(tuple(dict.fromkeys(facts)), tuple(rules), question), follows=True)


def _kinds(sentences: list[str]) -> set[str]:
    """The nouns: what rules speak about, and what follows an article."""
    found = set()
    for sentence in sentences:
        if one := _ONE.fullmatch(sentence):
            found |= {one[1].lower()} | ({one[4].lower()} if one[3] else set())
        elif every := _ALL.fullmatch(sentence):
            found.add(singular(every[1].lower()))
    return found


def _rule(sentence: str, kinds: set[str]) -> Rule | None:
    if one := _ONE.fullmatch(sentence):
        return Rule((one[1].lower(),), f"{NOT if one[2] else ''}{one[4].lower()}")
    if every := _ALL.fullmatch(sentence):
        said = every[3].lower()
        kind = singular(said)
        return Rule((singular(every[1].lower()),), f"{NOT if every[2] else ''}{kind if kind in kinds else said}")
    return None


def singular(noun: str) -> str:
    """A noun without its regular plural.

    Args:
        noun: in small letters; its last word counts.

    Example:
        >>> [singular(noun) for noun in ("wumpuses", "butterflies", "prime numbers", "foxes", "cats", "sheep")]
        ['wumpus', 'butterfly', 'prime number', 'fox', 'cat', 'sheep']
    """
    for ending, rest in (("ies", "y"), ("uses", "us"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if noun.endswith(ending):
            return noun.removesuffix(ending) + rest
    return noun if noun.endswith(("ss", "us")) else noun.removesuffix("s")
