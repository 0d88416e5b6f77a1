"""Files that cannot be tasks: what is wrong with them is told for every row, before any model is there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fixtures_files import lines, question

from headscope.errors import UsageError
from headscope.tasks import resolve
from headscope.tasks.files import lambada, split_names


def refused(name: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    return caught.value


def test_files_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "wide").write_bytes('{"text": "a b"}\n'.encode("utf-16"))
    (tmp_path / "zipped").write_bytes(b"\x1f\x8b\x08rest")
    (tmp_path / "latin").write_bytes(b'{"text": "a b"}\n{"text": "caf\xe9 a"}\n{"text": "a b"}\n{"text": "\xfc c"}\n')
    os.mkfifo(tmp_path / "pipe")
    cases = {
        "empty": "is empty", "wide": "is in UTF-16", "zipped": "is binary or compressed", "pipe": "is no plain file",
        "emty": "does not exist", ".": "is a folder",
    }  # fmt: skip
    for name, told in cases.items():
        assert refused(f"lambada:{tmp_path / name}").given == f"file '{tmp_path / name}', which {told}"
    assert refused(f"lambada:{tmp_path}/emty").fix == f"did you mean '{tmp_path}/empty'?"
    assert refused(f"lambada:{tmp_path}/latin").given == (
        f"file '{tmp_path}/latin': bytes that are no UTF-8: row 2: byte 0xe9 in b'\"text\": \"caf\\xe9'; "
        'row 4: byte 0xfc in b\'{"text": "\\xfc\''
    )


def test_paths_that_cannot_be_looked_at_are_explained() -> None:
    long = "x" * 5000
    assert refused(f"lambada:{long}").given == f"file '{long}', which cannot be read (File name too long)"
    assert split_names([f"lambada:{long},ioi"]) == (f"lambada:{long}", "ioi")
    assert refused("lambada:~no-such-user/x").given == "file '~no-such-user/x', which does not exist"


def test_half_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    (tmp_path / "l").write_text('{"text": "a \\ud83d\\ude00"}\n{"text": "a \\ud83d"}\n')
    assert refused(f"lambada:{tmp_path}/l").given.endswith("broken JSON: row 2: half of a surrogate pair")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b'\xef\xbb\xbf{"text": "one two two"}\r\n\r\n')
    assert lambada.read(tmp_path / "l")[0].context == "one two"


BAD: list[tuple[str, list[Any], str]] = [
    ("lambada", [{"text": 5}, {"txt": "a b"}, {"text": "word"}, {"text": "a b"}],
     "3 problems\n  - cells of another kind: row 1: 'text' is 5\n  - missing columns: row 2: no 'text'\n"
     "  - nothing to predict: row 3: 'word'"),
    ("commonsenseqa", [question() | {"answerKey": ""}, question() | {"answerKey": "E"}, {"text": "a b"}],
     "3 problems\n  - no answers: row 1: no 'answerKey'\n  - unknown choices: row 2: 'answerKey' 'E', of A, B, C, D\n"
     "  - missing columns: row 3: no text at 'question' or 'question.stem'"),
    ("commonsenseqa", [{"question": {"stem": "Who?", "choices": [{"label": "A", "text": "I"}]}, "answerKey": "A"}],
     "missing columns: row 1: no two choices or more, each with 'label' and 'text'"),
    ("commonsenseqa", [{"question": "Who?", "choices": {"label": ["A", "A"], "text": ["I", "you"]}, "answerKey": "A"}],
     "repeated choices: row 1: A, A"),
    ("winograd", [{"text": "a b"}], "no published format: row 1: an object of text"),
    ("winograd", [{"sentence": "a _ b _", "option1": "x", "option2": "y", "answer": "1"},
                  {"sentence": "a _", "option1": "x", "answer": "1"},
                  {"sentence": "a _", "option1": "x", "option2": "X", "answer": "1"},
                  {"sentence": "a _", "option1": "x", "option2": "y", "answer": ""},
                  {"sentence": "a _", "option1": "x", "option2": "y", "answer": "3"}],
     "5 problems\n  - blanks: row 1: 'a _ b _'\n  - missing columns: row 2: no two candidates\n"
     "  - repeated choices: row 3: 'x' twice\n  - no answers: row 4: no right candidate\n"
     "  - unknown choices: row 5: '3' as the right candidate"),
    ("winograd", [{"text": "a it", "pronoun": "it", "pronoun_loc": 1, "options": ["x", "y"], "label": 0}],
     "missing columns: row 1: no 'text' with its 'pronoun' at 'pronoun_loc'"),
    ("relations", [{"subject": "France", "template": "The capital is", "object": "Paris"},
                   {"subject": " ", "template": "{} is", "object": 5}],
     "3 problems\n  - templates: row 1: 'The capital is' with {} 0 times\n  - empty cells: row 2: 'subject'\n"
     "  - cells of another kind: row 2: 'object' is 5"),
    ("relations", [{"subjct": "France", "template": "{} is", "object": "x"}],
     "misspelt columns: 'subjct', did you mean 'subject'?"),
    ("relations", [{"who": "France", "template": "{} is"}],
     "missing columns: 'subject', beside who, template; 'object', beside who, template"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "records", "given"), BAD)
def test_every_wrong_row_is_named(kind: str, records: list[Any], given: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "bad", records)
    found = refused(f"{kind}:{path}")
    assert found.given == f"file '{path}': {given}"
    assert found.expected
    assert found.fix


def test_lines_that_are_no_objects_are_named_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.write_text('{"text": "a b"}\n{"text": \n5\n' + "[" * 5000 + "\n" + "{}x\n" * 30)
    found = refused(f"lambada:{path}").given
    assert "broken JSON: row 2: Expecting value at column" in found
    assert "row 3: no object: 5" in found
    assert "row 4: too deep" in found or "row 4: " in found
    assert "row 5: Extra data at column 3" in found
    assert found.endswith("and 23 more")
    path.write_text(json.dumps([{"text": "a b"}], indent=1))
    assert "row 1: a list, not one object on each line" in refused(f"lambada:{path}").given


def test_broken_xml_is_explained(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("<collection>\n<schema>\n</collection>")
    assert "broken XML: row 3: mismatched tag" in refused(f"winograd:{tmp_path}/w").given
    (tmp_path / "w").write_text("<html></html>")
    assert "no published format: XML of <html> without <schema>" in refused(f"winograd:{tmp_path}/w").given
    (tmp_path / "w").write_text("<c><schema><text><txt1>a</txt1></text></schema><schema/></c>")
    assert "schema 1: no text with txt1, pron and txt2; schema 2" in refused(f"winograd:{tmp_path}/w").given
