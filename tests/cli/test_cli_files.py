"""Tasks from files at the shell: what is measured and recorded, and what is refused before anything is loaded."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fixtures_files import lines, passage, question
from shells import Shell

from headscope.tasks.files import FORMATS

HEAD = "clean,corrupted,answer,foil\n"
GOOD = HEAD + "".join(f"The {a} saw the {b} . The,The {b} saw the {a} . The,{a},{b}\n" for a, b in (
    ("boy", "girl"), ("girl", "man"), ("man", "woman"), ("woman", "boy"),
))  # fmt: skip


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("weights were touched")

    monkeypatch.setattr("headscope.models.load", refuse)


def test_a_table_is_analysed_and_its_folder_is_not_recorded(shell: Shell, words: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "my, own.csv").write_text(GOOD)
    name = f"pairs:{tmp_path}/deep/my, own.csv"
    answer = shell("analyze", words, "-t", f"induction,{name}", "-m", "patching", "-n", "4", "--out", "run")
    assert (answer.code, answer.err) == (0, "")
    assert "pairs:my, own.csv: top heads by patching" in answer.out
    record = (tmp_path / "run" / "run.json").read_text()
    assert str(tmp_path) not in record
    assert json.loads(record)["plan"]["tasks"] == ["induction", "pairs:my, own.csv"]
    again = shell("analyze", words, "-t", "pairs:deep/my, own.csv", "-m", "patching", "-n", "4", "--json")
    tasks = json.loads(again.out)["tasks"]
    assert [(row["task"], row["n"]) for row in tasks] == [("pairs:my, own.csv", 4)]
    assert "my, own.csv, sha256 " in tasks[0]["source"]


def test_lambada_tells_both_accuracies(shell: Shell, words: Path, tmp_path: Path) -> None:
    text = "the {0} saw the {1} . the {1} saw the {0}"
    people = ("boy", "girl", "man", "woman", "boy")
    rows = [{"text": text.format(people[i], people[i + 1])} for i in range(4)]
    lines(tmp_path / "l.jsonl", [*rows, {"text": "the old man saw the girl"}])
    answer = shell("analyze", words, "-t", "lambada:l.jsonl", "-m", "patching", "-n", "4", "--json")
    assert answer.code == 0, answer.err
    (row,) = json.loads(answer.out)["tasks"]
    assert row["metric"] == "log_probability"
    assert "the last word occurs earlier in 4 of 5 passages, and only these have a twin" in row["reason"]
    assert "accuracy with and without twins 0." in row["reason"]
    assert "4 passages from 4 of 5, drawn at random" in row["reason"]


BAD = {
    "no such file": ("lambada:nowhere.jsonl", None, "file 'nowhere.jsonl', which does not exist"),
    "a folder": ("pairs:.", None, "file '.', which is a folder"),
    "empty": ("pairs:f", b"", "file 'f', which is empty"),
    "ragged": ("pairs:f", f"{HEAD}a,b,c\n".encode(), "file 'f': ragged rows: row 2: 3 cells, not 4"),
    "no UTF-8": (
        "pairs:f",
        HEAD.encode() + b"a,b,c,d\n\xe9,b,c,d\n",
        "bytes that are no UTF-8: row 3: byte 0xe9 in b'\\xe9'",
    ),
    "UTF-16": ("pairs:f", GOOD.encode("utf-16"), "file 'f', which is in UTF-16"),
    "broken JSON": (
        "lambada:f",
        b'{"text": "a b"}\n{"text"\n',
        "file 'f': broken JSON: row 2: Expecting ':' delimiter",
    ),
    "missing columns": (
        "pairs:f",
        b"clean,answer\na,b\n",
        "file 'f': missing columns: 'corrupted', beside clean, answer",
    ),
    "no answers": ("commonsenseqa:f", json.dumps(question(key="")).encode(), "no answers: row 1: no 'answerKey'"),
    "another format": ("lambada:f", json.dumps(question()).encode(), "file 'f': missing columns: row 1: no 'text'"),
    "broken XML": ("winograd:f", b"<a>", "file 'f': broken XML: row 1: no element found"),
    "templates": ("relations:f", b"subject,template,object\nFrance,capital,Paris\n", "templates: row 2: 'capital'"),
    "contradictions": ("pairs:f", b"clean,corrupted,answer\na,b,c\na,b,d\n", "contradictions: row 3: d, but row 2: c"),
    "no format": ("lambda:f", b"x", "format 'lambda' of task 'lambda:f'"),
    "no path": ("lambada", None, "task 'lambada' without the path of its file"),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_before_weights_load(shell: Shell, case: str, tmp_path: Path) -> None:
    name, content, given = BAD[case]
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    answer = shell("analyze", "no-such/model", "--task", name)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("headscope: ")
    assert given in answer.err
    assert answer.err.count("\n  expected: ") == answer.err.count("\n  to fix it: ") == 1
    assert not Path("runs").exists()


@pytest.mark.usefixtures("untouched")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(GOOD)
    (tmp_path / "f").chmod(0)
    answer = shell("analyze", "no-such/model", "--task", "pairs:f")
    assert (answer.code, answer.err.partition("\n")[0]) == (
        2,
        "headscope: file 'f', which cannot be read (Permission denied)",
    )


def test_what_only_the_tokenizer_can_tell_is_told_by_row(shell: Shell, words: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(HEAD + "The boy saw,The girl,saw,likes\nThe boy,The girl,saw,zyx\n")
    answer = shell("analyze", words, "--task", "pairs:f")
    assert (answer.code, answer.out) == (2, "")
    assert "task 'pairs:f' on 'words': 2 problems\n  - twins of unequal length: row 2: 4 tokens" in answer.err
    assert "\n  - unknown words: row 3: 'zyx'\n" in answer.err
    lines(tmp_path / "l", [{"text": passage("Zyx", "Vut", 3)}])
    answer = shell("analyze", words, "--task", "lambada:l")
    assert answer.code == 2
    assert "task 'lambada:l' on 'words': none of 1 passages can be used (" in answer.err
    assert "; left out 1 (row 1): unknown words)\n  expected: words that the model's tokenizer knows\n" in answer.err
    assert not Path("runs").exists()


def test_the_list_of_tasks_teaches_the_formats(shell: Shell) -> None:
    rows = {row["task"]: row for row in json.loads(shell("list", "tasks", "--json").out)}
    for kind in FORMATS:
        assert rows[f"{kind}:FILE"]["what"]
    told = " ".join(row["what"] for row in rows.values())
    for word in (
        '"text"',
        '"answerKey"',
        "<schema>",
        '"option1"',
        "template",
        "clean, corrupted, answer",
        "position:NAME",
    ):
        assert word in told, word
    assert "lambada:FILE" in shell("list", "tasks").out
