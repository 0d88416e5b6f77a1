"""Treebanks in CoNLL-U: gold trees, and coreference where the corpus has it."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from conllu.exceptions import ParseException
from conllu.parser import DEFAULT_FIELDS, parse_dict_value, parse_id_value, parse_int_value

from headscope.corpora.blocks import LONGEST_FILE, Block, Problem, blocks
from headscope.corpora.coreference import Brackets, Mark, mentions
from headscope.corpora.placing import Surface, places, written
from headscope.corpora.records import Passage, Treebank, Word
from headscope.corpora.trees import check_tree
from headscope.errors import UsageError

SHOWN = 10
"""How many problems an error message tells in full."""


def read_treebank(path: str | PathLike[str], *, repair: bool = False) -> Treebank:
    """The sentences of a CoNLL-U file (any language), with their trees and mentions.

    Multiword tokens are split into their words; empty nodes and enhanced dependencies are not read. A sentence without
    `# text` gets one from its forms. Without `# newdoc`, each sentence is a document of its own. `Entity=` in MISC
    (GUM, CorefUD) gives mentions, each in the sentence that holds all of it.

    Args:
        path: the file.
        repair: leave out sentences that are not sound, and mentions whose brackets are not, and count both in
            `Treebank.skipped`; by default they are an error.

    Returns:
        The treebank. `skipped` also counts mentions that lie in no single sentence. Cost: about 25 microseconds and
        0.6 KB a word; one sentence's lines are in memory at a time.

    Raises:
        UsageError: if there is no such file or it is too large, if it has no (sound) sentence, or, without `repair`,
            with everything that is wrong with it, by line.

    Example:
        >>> import pathlib, tempfile
        >>> rows = [[1, "Dogs", "dog", "NOUN", "_", "Number=Plur", 2, "nsubj", "_", "_"],
        ...         [2, "bark", "bark", "VERB", "_", "_", 0, "root", "_", "_"]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "own.conllu")
        ...     _ = path.write_text("".join("\\t".join(map(str, row)) + "\\n" for row in rows))
        ...     sentence = read_treebank(path).sentences[0]
        >>> sentence.text, [(word.form, word.head, word.rel) for word in sentence.words]
        ('Dogs bark', [('Dogs', 1, 'nsubj'), ('bark', -1, 'root')])
    """
    file = Path(path)
    reading, digest = _Reading(), hashlib.sha256()
    try:
        with _checked(file).open("rb") as stream:
            for block in blocks(stream, digest):
                _take(reading, block)
    except OSError as problem:
        given = f"treebank {file.name!r:.200}, which cannot be read ({problem.strerror})"
        raise UsageError(given, "a file in CoNLL-U", "check the path and its permissions") from problem
    _close(reading)
    if not reading.number:
        raise UsageError(f"{file.name!r}, in which there is no sentence", "a treebank in CoNLL-U", "give another file")
    if reading.problems and (not repair or not reading.sentences):
        raise _fault(file.name, reading)
    return Treebank(
        name=file.stem,
        sentences=tuple(reading.sentences),
        skipped=dict(reading.skipped),
        sha256=digest.hexdigest(),
    )


@dataclass(slots=True)
class _Reading:
    """What was read so far. Problems are counted, and the first kept, however many there are."""

    number: int = 0
    sentences: list[Passage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    faults: int = 0
    document: str | None = None
    documents: int = 0
    fields: tuple[str, ...] | None = None
    brackets: Brackets = field(default_factory=lambda: Brackets(None))

    def tell(self, problems: Sequence[Problem]) -> None:
        self.faults += len(problems)
        self.problems += islice(problems, max(0, SHOWN - len(self.problems)))


class _Row(NamedTuple):
    line: int
    id: tuple[int, str, int]
    columns: tuple[str, ...]
    misc: dict[str, str]


def _checked(path: Path) -> Path:
    if not path.is_file():
        given = f"treebank {path.name!r}, which is {'a folder' if path.is_dir() else 'not there'}"
        raise UsageError(given, "a file in CoNLL-U", "give the path of a .conllu file")
    if (size := path.stat().st_size) > LONGEST_FILE:
        given = f"treebank {path.name!r} of {size / 2**20:,.0f} MB"
        raise UsageError(given, f"at most {LONGEST_FILE / 2**20:,.0f} MB", "split it at the ends of documents")
    return path


def _fault(name: str, reading: _Reading) -> UsageError:
    told = "; ".join(f"line {problem.line}: {problem.detail}" for problem in reading.problems)
    more = f"; and {reading.faults - len(reading.problems):,} more" if reading.faults > len(reading.problems) else ""
    number = f"{reading.faults:,} problem{'s' if reading.faults > 1 else ''}"
    return UsageError(
        f"treebank {name!r} with {number} in {reading.number:,} sentences: {told}{more}",
        "CoNLL-U: ten columns with a tab between them, word ids 1, 2, 3 ..., one root, and heads that make a tree",
        "mend these lines, or give --repair (repair=True in Python), which leaves out and counts what is not sound",
    )


def _take(reading: _Reading, block: Block) -> None:
    """Read one block into a sentence, or count why not."""
    _begin(reading, block)
    if not block.rows and not block.problems:
        return  # comments alone: a header
    reading.number += 1
    if reading.document is None:
        _close(reading)
    rows, problems = _rows(block)
    document = reading.document or block.comments.get("sent_id") or f"sentence {reading.number}"
    sentence = problems[0] if problems else _sentence(block, rows, document)
    if isinstance(sentence, list):
        problems = sentence
    reading.brackets.sure &= not problems
    found, faults = reading.brackets.read(reading.number, _marks(rows))
    reading.tell([*problems, *faults])
    reading.skipped.update(fault.reason for fault in faults if fault.reason not in reading.brackets.dropped)
    if isinstance(sentence, Passage):
        reading.sentences.append(replace(sentence, mentions=mentions(found, sentence.words)) if found else sentence)
    else:
        reading.skipped[problems[0].reason] += 1


def _begin(reading: _Reading, block: Block) -> None:
    """A new document, and the header of its mentions."""
    name = next((key for key in ("newdoc id", "newdoc") if key in block.comments), None)
    if header := block.comments.get("global.Entity"):
        reading.fields = tuple(header.split("-"))
        reading.brackets.fields = reading.brackets.fields or reading.fields
    if name is not None:
        _close(reading)
        reading.documents += 1
        reading.document = block.comments[name] or f"document {reading.documents}"


def _close(reading: _Reading) -> None:
    """The end of a document: what is open there stays open for ever."""
    faults = reading.brackets.close()
    reading.tell(faults)
    reading.skipped.update(fault.reason for fault in faults)
    reading.skipped.update(reading.brackets.dropped)
    reading.brackets = Brackets(reading.fields)


def _rows(block: Block) -> tuple[list[_Row], list[Problem]]:
    """The rows whose columns can be read, and what is wrong with the others."""
    rows: list[_Row] = []
    problems = list(block.problems)
    named = block.comments.get("global.columns", "").lower().split()
    if named and named != list(DEFAULT_FIELDS):
        detail = f"the columns are {' '.join(named)[:80]!r}, not those of CoNLL-U"
        problems.append(Problem(block.line, "columns in another order", detail))
        return [], problems
    for line, text in block.rows:
        row = _row(line, text)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    return rows, problems


def _row(line: int, text: str) -> _Row | Problem:
    columns = tuple(text.split("\t"))
    if len(columns) != len(DEFAULT_FIELDS):
        return Problem(line, "a line without ten columns", f"{len(columns)} columns, not {len(DEFAULT_FIELDS)}")
    if not all(column.strip() for column in columns):
        empty = next(name for name, column in zip(DEFAULT_FIELDS, columns, strict=True) if not column.strip())
        return Problem(line, "an empty column", f"the column {empty.upper()} is empty; '_' means nothing")
    try:
        id_ = parse_id_value(columns[0][:12])  # longer numbers would be slow to read, and are wrong here anyway
    except ParseException:
        id_ = None
    if id_ is None or len(columns[0]) > 12:
        return Problem(line, "an unreadable id", f"the id {columns[0][:20]!r}")
    misc = dict(part.split("=", 1) for part in columns[9].split("|") if "=" in part)
    return _Row(line, (id_, "", id_) if isinstance(id_, int) else id_, columns, misc)


def _marks(rows: Sequence[_Row]) -> list[Mark]:
    """The brackets of words and of empty nodes; an empty node stands between two words."""
    marks = []
    for row in rows:
        if "Entity" in row.misc and row.id[1] != "-":
            first = row.id[0] if row.id[1] == "." else row.id[0] - 1
            marks.append(Mark(row.line, first, row.id[0], row.misc["Entity"]))
    return marks


def _sentence(block: Block, rows: Sequence[_Row], document: str) -> Passage | list[Problem]:
    words = [row for row in rows if not row.id[1]]
    problems = _order(block, rows, len(words))
    heads: list[int] = []
    for number, row in enumerate(words, start=1):
        head = _number(row.columns[6])
        if head is None:
            detail = f"the head of word {number} is {row.columns[6][:20]!r}, not a number"
            problems.append(Problem(row.line, "a head that is no number", detail))
        elif row.columns[7] == "_":
            problems.append(Problem(row.line, "no relation", f"word {number} has no relation to its head"))
        heads.append(-1 if head is None else head)
    problems = problems or check_tree(heads, [row.line for row in words])
    if problems:
        return problems
    tokens = _surface(rows)
    text = block.comments.get("text") or written(tokens)
    spots = places(text, tokens)
    if isinstance(spots, Problem):
        return [spots]
    return Passage(
        text=text,
        words=tuple(_word(row, head, spot) for row, head, spot in zip(words, heads, spots, strict=True)),
        document=document,
        name=block.comments.get("sent_id", ""),
        line=block.line,
    )


def _number(column: str) -> int | None:
    try:
        return parse_int_value(column[:9])
    except ParseException:
        return None


def _order(block: Block, rows: Sequence[_Row], count: int) -> list[Problem]:
    """Word ids go 1, 2, 3 ...; a range stands before its first word, an empty node after the word it is named for."""
    last = fused = 0
    if not count:
        return [Problem(block.line, "no words", "a sentence without words")]
    for row in rows:
        first, kind, end = row.id
        if not kind:
            last += 1
            fits, expected = first == last, f"{last}"
        elif kind == "-":
            fits, expected = first == last + 1 and fused <= last and end <= count, f"a range within {last + 1}-{count}"
            fused = end
        else:
            fits, expected = first == last, f"{last}.1"
        if not fits:
            return [Problem(row.line, "ids out of order", f"the id {row.columns[0]} where {expected} should be")]
    return []


def _surface(rows: Sequence[_Row]) -> list[Surface]:
    forms = [row.columns[1] for row in rows if not row.id[1]]
    tokens: list[Surface] = []
    fused = 0
    for row in rows:
        first, kind, end = row.id
        if kind == "." or (not kind and first <= fused):
            continue
        fused = max(fused, end)
        spaced = row.misc.get("SpaceAfter") != "No"
        parts = tuple(forms[first - 1 : end])
        tokens.append(Surface(form=row.columns[1], parts=parts, spaced=spaced, line=row.line))
    return tokens


def _word(row: _Row, head: int, place: tuple[int, int]) -> Word:
    _, form, lemma, upos, _, feats, _, rel, _, _ = row.columns
    return Word(
        form=form,
        upos=sys.intern("" if upos == "_" else upos),
        head=head - 1,
        rel=sys.intern(rel),
        start=place[0],
        end=place[1],
        lemma="" if lemma == "_" and form != "_" else lemma,
        feats={name: value or "" for name, value in (parse_dict_value(feats) or {}).items()},
    )


def as_treebank(given: Treebank | str | PathLike[str], *, repair: bool = False) -> Treebank:
    """A treebank that may be given as a file.

    Args:
        given: a treebank, or the path of a file that is read.
        repair: as for `read_treebank`.
    """
    return given if isinstance(given, Treebank) else read_treebank(given, repair=repair)
