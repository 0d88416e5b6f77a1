"""Winograd schemas as they are published: Davis et al.'s XML, its JSONL form, and WinoGrande's JSONL."""

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headscope.prompts import Pairs
from headscope.tasks.files.choosing import Row, consistent, draw, has_unknown, to_pairs
from headscope.tasks.files.reading import Faults, json_lines, read_text
from headscope.tasks.words import Reader, encode_prompt, require_tokenizer

SOURCE = (
    "Winograd schemas (Levesque et al. 2012, collected by Davis et al.; WinoGrande: Sakaguchi et al. 2019), "
    "asked as a question"
)
CORRUPTION = "the schema's own twin: the special word is another, and the answer the other candidate"
BLANK = "_"
TRIES = 50
"""Schemas with the other answer that are tried as a twin, until one has as many tokens."""
_DETERMINERS = frozenset("the a an this that these those his her its my your our their".split())


@dataclass(frozen=True, slots=True)
class Schema:
    """One sentence with a pronoun or blank, and two candidates.

    Attributes:
        where: what messages call it.
        text: the whole sentence.
        at: the (start, end) characters of the pronoun or blank.
        candidates: what it may stand for, as in the file.
        right: which candidate it is, 0 or 1.
        pair: sentences with equal entries are twins of one another.
    """

    where: str
    text: str
    at: tuple[int, int]
    candidates: tuple[str, str]
    right: int
    pair: Hashable


def read(path: Path) -> tuple[Schema, ...]:
    """The schemas of a file in one of three published forms, told apart by content.

    - XML, the collection of Davis et al. (WSC273, WSC285): `<schema>` with `<text><txt1/><pron/><txt2/></text>`,
      `<answers><answer/><answer/></answers>` and `<correctAnswer>A</correctAnswer>`;
    - the same as JSONL: `{"text": ..., "pronoun": ..., "pronoun_loc": 55, "options": [..., ...], "label": 0}`;
    - WinoGrande's JSONL: `{"qID": ...-1, "sentence": "... because _ was ...", "option1": ..., "option2": ...,
      "answer": "1"}`.

    Twins are the sentences whose `qID` differ in the last number only, elsewhere neighbours with the same candidates.

    Args:
        path: of the file.

    Raises:
        UsageError: with every schema that lacks something.
    """
    faults = Faults(f"file {str(path)!r}")
    text = read_text(path)
    found = _from_xml(faults, text) if text.lstrip().startswith("<") else _from_lines(faults, text)
    faults.settle()
    return tuple(_paired([schema for schema in found if schema is not None]))


def _from_xml(faults: Faults, text: str) -> list[Schema | None]:
    try:
        top = ElementTree.fromstring(text.lstrip())
    except ElementTree.ParseError as error:
        faults.say("broken XML", f"row {error.position[0]}: {error}")
        return []
    found = list(top.iter("schema"))
    if not found:
        faults.say("no published format", f"XML of <{top.tag}> without <schema>")
    return [_from_element(faults, f"schema {number}", element) for number, element in enumerate(found, start=1)]


def _from_element(faults: Faults, where: str, element: ElementTree.Element) -> Schema | None:
    before, pronoun, after = (_squeezed(element.findtext(f"text/{name}")) for name in ("txt1", "pron", "txt2"))
    options = [_squeezed("".join(each.itertext())) for each in element.findall("answers/answer")]
    key = _squeezed(element.findtext("correctAnswer")).rstrip(".").upper()
    if not (pronoun and (before or after)):
        faults.say("missing columns", f"{where}: no text with txt1, pron and txt2")
        return None
    # The collection writes punctuation at the beginning of txt2 as a part of its own.
    gap = "" if re.match(r"[.,;:!?']", after) else " "
    start = len(before) + bool(before)
    text = f"{before}{' ' if before else ''}{pronoun}{gap}{after}"
    return _schema(faults, where, text, (start, start + len(pronoun)), options, {"A": 0, "B": 1}.get(key, key))


def _squeezed(text: str | None) -> str:
    return " ".join((text or "").split())


def _from_lines(faults: Faults, text: str) -> list[Schema | None]:
    lines = json_lines(faults, text)
    if lines and not any({"sentence", "pronoun"} & set(record) for _, record in lines):
        keys = ", ".join(map(str, lines[0][1])) or "no keys"
        faults.say("no published format", f"{lines[0][0]}: an object of {keys:.60}")
        return []
    return [(_blank if "sentence" in record else _pronoun)(faults, *line) for line in lines for record in [line[1]]]


def _blank(faults: Faults, where: str, record: dict[str, Any]) -> Schema | None:
    sentence = record.get("sentence")
    if not isinstance(sentence, str) or sentence.count(BLANK) != 1:
        faults.say("blanks", f"{where}: {sentence!r:.60}")
        return None
    start = sentence.index(BLANK)
    qid = record.get("qID")
    pair = qid.rpartition("-")[0] if isinstance(qid, str) and "-" in qid else None
    right = {"1": 0, "2": 1}.get(str(record.get("answer", "")), record.get("answer") or "")
    options = [record.get(f"option{number}") for number in (1, 2)]
    return _schema(faults, where, sentence, (start, start + 1), options, right, pair)


def _pronoun(faults: Faults, where: str, record: dict[str, Any]) -> Schema | None:
    text, pronoun, start = record.get("text"), record.get("pronoun"), record.get("pronoun_loc")
    text, pronoun = (each if isinstance(each, str) else "" for each in (text, pronoun))
    if not (pronoun and type(start) is int and start >= 0 and text.startswith(pronoun, start)):
        faults.say("missing columns", f"{where}: no 'text' with its 'pronoun' at 'pronoun_loc'")
        return None
    label = record.get("label", "")
    right = {"0": 0, "1": 1}.get(str(label), label)
    return _schema(faults, where, text, (start, start + len(pronoun)), record.get("options"), right)


def _schema(  # noqa: PLR0913 - what a schema is made of
    faults: Faults, where: str, text: str, at: tuple[int, int], options: Any, right: Any, pair: Hashable = None
) -> Schema | None:
    listed = options if isinstance(options, list) else []
    words = [each.strip() for each in listed if isinstance(each, str) and each.strip()]
    if len(listed) != 2 or len(words) != 2:
        faults.say("missing columns", f"{where}: no two candidates")
    elif words[0].casefold() == words[1].casefold():
        faults.say("repeated choices", f"{where}: {words[0]!r} twice")
    elif right in ("", -1):
        faults.say("no answers", f"{where}: no right candidate")
    elif type(right) is not int or right not in (0, 1):
        faults.say("unknown choices", f"{where}: {right!r:.20} as the right candidate")
    else:
        return Schema(where, text, at, (words[0], words[1]), right, pair)
    return None


def _paired(schemas: Sequence[Schema]) -> list[Schema]:
    """Give neighbours with the same candidates one number, where the file does not say which belong together."""
    made: list[Schema] = []
    number, last = 0, None
    for schema in schemas:
        key = (_names(schema), schema.text[slice(*schema.at)].lower())
        number, last = number + (key != last), key
        pair = ("by number", number) if schema.pair is None else ("by name", schema.pair)
        made.append(Schema(schema.where, schema.text, schema.at, schema.candidates, schema.right, pair))
    return made


def _names(schema: Schema) -> frozenset[str]:
    return frozenset(name.casefold() for name in schema.candidates)


def build(schemas: Sequence[Schema], model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """Each schema with its twin, and after the sentence: `In this sentence, "it" refers to the`.

    The candidates are told apart by their first different token: the metric is the right one's logit minus the other's.
    It is not the sentence probability of Trinh & Le 2018, which published accuracies are of; the notes say so.

    Args:
        schemas: from `read`.
        model: whose tokenizer the prompts are made for.
        n: pairs; fewer, if the file has not so many.
        rng: draws schemas.
        task: the task's name.

    Returns:
        Pairs with the positions `right` and `wrong` (the candidates' last mentions before the question), `pronoun` and
        `end`; the twins of one schema are a group.

    Raises:
        TaskError: if no schema can be used.
    """
    require_tokenizer(model, task)
    kept, told = consistent(schemas, lambda each: ((each.text, each.at, _names(each)), _right(each)))
    twins: dict[Hashable, list[Schema]] = defaultdict(list)
    for schema in kept:
        twins[schema.pair, _names(schema), _right(schema)].append(schema)
    drawn = draw(model, task, kept, lambda schema: _pair(model, schema, twins), n=n, rng=rng)
    asked = "accuracy is that of the question after the sentence, not of sentence probabilities as usually published"
    return to_pairs(
        drawn, what="schemas", source=SOURCE, corruption=CORRUPTION, metric="logit_difference", notes=(*told, asked)
    )


def _right(schema: Schema) -> str:
    return schema.candidates[schema.right].casefold()


def _pair(model: Reader, schema: Schema, twins: Mapping[Hashable, Sequence[Schema]]) -> Row | str:
    wanted = schema.candidates[1 - schema.right].casefold()
    others = twins.get((schema.pair, _names(schema), wanted), ())
    if not others:
        return "no twin with the other answer in the file"
    if has_unknown(model, " ".join([schema.text, _question(schema), *schema.candidates])):
        return "unknown words"
    right, wrong = _continuations(schema)
    clean = f"{schema.text} {_question(schema)}"
    answer, foil = (_first(model, clean, word) for word in (right, wrong))
    if answer is None or foil is None or answer == foil:
        return "candidates that begin with the same token"
    tokens = len(encode_prompt(model, clean)[0])
    prompts = (f"{other.text} {_question(other)}" for other in others[:TRIES])
    twin = next((text for text in prompts if len(encode_prompt(model, text)[0]) == tokens), None)
    if twin is None:
        return "twins of unequal length"
    spans = {"right": _mention(schema, right), "wrong": _mention(schema, wrong), "pronoun": schema.at}
    return Row(
        where=schema.where, clean=clean, corrupted=twin, answers=[answer], foils=[foil], group=schema.pair, spans=spans
    )


def _continuations(schema: Schema) -> tuple[str, str]:
    """The right candidate and the other, without the words that both begin with."""
    right, wrong = (_lowered(schema.candidates[index]).split() for index in (schema.right, 1 - schema.right))
    shared = _shared(right, wrong)
    return " ".join(right[shared:]), " ".join(wrong[shared:])


def _lowered(name: str) -> str:
    first, space, rest = name.partition(" ")
    return first.lower() + space + rest if first.lower() in _DETERMINERS else name


def _shared(one: Sequence[str], two: Sequence[str]) -> int:
    """How many words two candidates begin with together; a word of each is always left."""
    shared = 0
    while shared < min(len(one), len(two)) - 1 and one[shared].lower() == two[shared].lower():
        shared += 1
    return shared


def _question(schema: Schema) -> str:
    names = [_lowered(name).split() for name in sorted(schema.candidates, key=str.casefold)]
    shared = names[0][: _shared(*names)]
    word = schema.text[slice(*schema.at)]
    verb = "stands for" if word == BLANK else "refers to"
    return " ".join([f'In this sentence, "{word}" {verb}', *shared])


def _first(model: Reader, prompt: str, word: str) -> int | None:
    """The first token of a word after the prompt."""
    if model.causal:
        before, both = model.encode(prompt), model.encode(f"{prompt} {word}")
    else:  # as it is written after another word
        before, both = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", f"a {word}"))
    return both[len(before)] if both[: len(before)] == before and len(both) > len(before) else None


def _mention(schema: Schema, name: str) -> tuple[int, int] | None:
    found = list(re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", schema.text, re.IGNORECASE))
    return found[-1].span() if found else None
