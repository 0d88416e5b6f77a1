"""Coreference as CorefUD and GUM write it: brackets in the attribute `Entity` of MISC.

`# global.Entity = eid-etype-head-other` names the parts of an opening bracket, in any order: `(e5-person-2-x` opens a
mention of the entity `e5`, `e5)` closes the last one opened, `(e5-person-1-x)` is one of one word. Brackets may nest,
cross, and stay open over sentences; `(e5[1/2]-...` is the first part of two of a discontinuous mention. Bridging and
split antecedents (`Bridge=`, `SplitAnte=`) are other relations than identity, and are not read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headscope.corpora.blocks import Problem
from headscope.corpora.records import Kind, Mention, Word

ACROSS = "mentions across sentences"
EMPTY = "mentions of empty nodes only"
UNSURE = "mentions that a sentence left out cuts"

_BRACKET = re.compile(r"\((?P<opened>[^()]+)(?P<closed>\))?|(?P<closing>[^()]+)\)")
_PART = re.compile(r"(?P<entity>.+)\[(?P<part>[0-9]{1,4})/(?P<parts>[0-9]{1,4})\]")
_ENTITY, _TYPE = ("eid", "GRP", "grp"), ("etype", "entity")

Span = tuple[int, int]


class Mark(NamedTuple):
    """The brackets of one token.

    Attributes:
        line: of the file.
        first: the word that a mention which opens here begins with.
        last: the number of words up to the end of a mention which closes here.
        text: the brackets.
    """

    line: int
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A mention whose brackets are closed.

    Attributes:
        entity: its number.
        spans: first word and the one after the last, of each part.
        facts: what its opening bracket says, by the header's names.
        line: of the opening bracket.
    """

    entity: str
    spans: tuple[Span, ...]
    facts: Mapping[str, str]
    line: int


class _Open(NamedTuple):
    sentence: int
    line: int
    first: int
    facts: Mapping[str, str]


@dataclass(slots=True)
class Brackets:
    """The mentions of one document, sentence by sentence.

    Attributes:
        fields: the names of an opening bracket's parts, from the header; None if there is none.
        dropped: how many mentions no sentence holds, by reason.
        sure: whether all of the document was read; if not, brackets without a partner are no fault of its own.
    """

    fields: tuple[str, ...] | None
    dropped: dict[str, int] = field(default_factory=dict)
    sure: bool = True
    _open: dict[str, list[_Open]] = field(default_factory=dict)
    _parts: dict[str, list[tuple[int, Found]]] = field(default_factory=dict)

    def read(self, sentence: int, marks: Sequence[Mark]) -> tuple[list[Found], list[Problem]]:
        """The mentions that lie wholly in this sentence, and what is wrong with its brackets.

        Args:
            sentence: its number in the file.
            marks: of its tokens, in order.
        """
        found: list[Found] = []
        problems: list[Problem] = []
        if marks and not (self.fields and set(self.fields) & set(_ENTITY)):
            return [], self._without_header(marks)
        for mark in marks:
            at = 0
            # Not finditer, which would look for a bracket from every character of a text that has none.
            while bracket := _BRACKET.match(mark.text, at):
                at = bracket.end()
                fault = self._bracket(sentence, mark, bracket, found)
                problems += [fault] if fault else []
            if at != len(mark.text):
                detail = f"Entity={mark.text[:60]!r} is not made of brackets like '(e1-person', 'e1)' and '(e1-person)'"
                problems.append(Problem(mark.line, "mentions in unreadable brackets", detail))
        return found, problems

    def close(self) -> list[Problem]:
        """What is still open at the end of the document."""
        opened = [(name, each.line) for name, stack in self._open.items() for each in stack]
        opened += [(name, parts[0][1].line) for name, parts in self._parts.items()]
        self._open, self._parts = {}, {}
        if not self.sure:
            for _ in opened:
                self._drop(UNSURE)
            return []
        detail = "the mention of {!r} that opens here never closes"
        return [Problem(line, "mentions that never close", detail.format(name[:40])) for name, line in opened]

    def _without_header(self, marks: Sequence[Mark]) -> list[Problem]:
        """Told once for each document; every mention counts."""
        reason, fields = "mentions without a header", self.fields
        first = not self.dropped.get(reason)
        number = max(1, sum(mark.text.count("(") for mark in marks))
        self.dropped[reason] = self.dropped.get(reason, 0) + number
        given = f"a header with {', '.join(fields)[:60]}" if fields else "no header '# global.Entity = eid-etype-...'"
        detail = f"an Entity after {given}, so that its entity cannot be told from its type"
        return [Problem(marks[0].line, reason, detail)] if first else []

    def _bracket(self, sentence: int, mark: Mark, bracket: re.Match[str], found: list[Found]) -> Problem | None:
        if bracket["opened"] is not None:
            facts = self._facts(bracket["opened"])
            name = next((facts[key] for key in _ENTITY if key in facts), "")
            if not name:
                detail = f"'({bracket['opened'][:40]}' names no entity; the header says {'-'.join(self.fields or ())}"
                return Problem(mark.line, "mentions in unreadable brackets", detail)
            self._open.setdefault(name, []).append(_Open(sentence, mark.line, mark.first, facts))
            return self._end(sentence, mark, name, found) if bracket["closed"] else None
        return self._end(sentence, mark, bracket["closing"], found)

    def _facts(self, text: str) -> dict[str, str]:
        fields = self.fields or ()
        # The last part may hold hyphens itself: a title of Wikipedia, or anything under `other`.
        return dict(zip(fields, text.split("-", max(len(fields) - 1, 0)), strict=False))

    def _end(self, sentence: int, mark: Mark, name: str, found: list[Found]) -> Problem | None:
        stack = self._open.get(name)
        if not stack:
            if not self.sure:
                return self._drop(UNSURE)
            detail = f"{name[:40]!r} closes a mention that was not opened"
            return Problem(mark.line, "mentions that never open", detail)
        opened = stack.pop()
        if not stack:
            del self._open[name]
        inside = opened.sentence == sentence
        span = (opened.first, mark.last) if inside else (0, 0)
        each = Found(entity=name, spans=(span,), facts=opened.facts, line=opened.line)
        if part := _PART.fullmatch(name):
            return self._part(part, sentence if inside else -1, each, found)
        self._keep(each, found, inside=inside)
        return None

    def _part(self, part: re.Match[str], sentence: int, each: Found, found: list[Found]) -> Problem | None:
        parts = self._parts.setdefault(part["entity"], [])
        number, of = int(part["part"]), int(part["parts"])
        if number != len(parts) + 1 or number > of:
            del self._parts[part["entity"]]
            detail = f"part {number} of {of} of a mention of {part['entity'][:40]!r} follows part {len(parts)}"
            return Problem(each.line, "mentions with a part missing", detail)
        parts.append((sentence, each))
        if number == of:
            del self._parts[part["entity"]]
            inside = sentence >= 0 and all(where == sentence for where, _ in parts)
            spans = tuple(span for _, one in parts for span in one.spans)
            whole = Found(entity=part["entity"], spans=spans, facts=parts[0][1].facts, line=parts[0][1].line)
            self._keep(whole, found, inside=inside)
        return None

    def _keep(self, each: Found, found: list[Found], *, inside: bool) -> None:
        if not inside:
            self._drop(ACROSS)
        elif any(first < last for first, last in each.spans):
            found.append(each)
        else:
            self._drop(EMPTY)

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def mentions(found: Sequence[Found], words: Sequence[Word]) -> tuple[Mention, ...]:
    """The mentions of a sentence, with their head words.

    The head is the one that the bracket names (`head`), else the word whose own head lies outside the mention; where
    several do, the first of them that is in the bracket's `minspan`, or the first. Of a discontinuous mention, the
    part that holds its head is kept: a span never holds a word of something else.

    Args:
        found: from `Brackets.read`.
        words: of the sentence.

    Returns:
        In the order of their first words; of equal ones the longer first.

    Example:
        >>> words = [Word(form=form, upos=upos, head=head, rel="", start=0, end=0)
        ...          for form, upos, head in (("the", "DET", 1), ("cat", "NOUN", 2), ("slept", "VERB", -1))]
        >>> mention = mentions([Found(entity="e1", spans=((0, 2),), facts={"etype": "animal"}, line=1)], words)[0]
        >>> mention.head, mention.kind, mention.type
        (1, 'nominal', 'animal')
    """
    kept = []
    for each in found:
        members = [index for first, last in each.spans for index in range(first, last)]
        head = _head(members, each.facts, words)
        first, last = next(span for span in each.spans if span[0] <= head < span[1])
        type_ = next((each.facts[name] for name in _TYPE if name in each.facts), "")
        kept.append(
            Mention(entity=each.entity, first=first, last=last, head=head, kind=kind_of(words[head]), type=type_)
        )
    return tuple(sorted(kept, key=lambda mention: (mention.first, -mention.last)))


def kind_of(word: Word) -> Kind:
    """What a mention with this head word is: a determiner that stands alone (`this`, `all`) is a pronoun.

    Args:
        word: the head word of a mention.

    Example:
        >>> kind_of(Word(form="Mary", upos="PROPN", head=-1, rel="root", start=0, end=4))
        'proper'
    """
    if word.upos == "PROPN":
        return "proper"
    return "pronoun" if word.upos in {"PRON", "DET"} else "nominal"


def _head(members: Sequence[int], facts: Mapping[str, str], words: Sequence[Word]) -> int:
    if chosen := _chosen(facts.get("head", ""), members):
        return chosen[0]
    inside = set(members)
    tops = [index for index in members if words[index].head not in inside]
    least = [index for index in _chosen(facts.get("minspan", ""), members) if index in tops]
    return (least or tops)[0]


def _chosen(numbers: str, members: Sequence[int]) -> list[int]:
    """The members that `1,3` names, counted from 1."""
    named = [int(number) for number in re.findall(r"[0-9]{1,6}", numbers)]
    return [members[number - 1] for number in named if 0 < number <= len(members)]
