"""`headscope explain` at the shell: tables, JSON, pages, and what is told of bad input."""

import json
from pathlib import Path

import pytest
from shells import Shell

TEXT = "mary and john went to the house and john gave the book to"


def test_votes_and_sums_are_printed(shell: Shell, tmp_path: Path) -> None:
    answer = shell("explain", "mini", TEXT, "--top", 3)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "mini on 'mary' (p = 0.978, rank 1) at position 13 ('to')"
    heads = [line.split() for line in lines if line.strip().startswith("L") and "H" in line]
    assert len(heads) == 6
    votes = [float(row[1]) for row in heads]
    assert votes[:3] == sorted(votes[:3], reverse=True)
    assert min(votes[:3]) > 0 > max(votes[3:])
    assert votes[3:] == sorted(votes[3:])
    table = {row.split()[0]: row.split()[-1] for row in lines if row.strip().startswith(("heads", "total", "MLPs"))}
    assert set(table) == {"heads", "MLPs", "total"}
    assert "'john'@" in answer.out, "which of two tokens of one text"
    assert "'mary'@" not in answer.out
    for text in ("heads for (", "which is often high for a token that was predicted", "No roles are shown"):
        assert text in answer.out
    assert max(map(len, lines)) <= 120
    assert list(tmp_path.iterdir()) == [], "nothing is written without being asked for"


def test_two_tokens_are_set_against_each_other(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = shell("explain", "mini", TEXT, "--token", "mary", "--against", "john", "--at", "-1")
    assert (answer.code, answer.err) == (0, "")
    assert "against 'john'" in " ".join(answer.out.split())
    assert "of the difference" in answer.out
    assert "672 pairs of tokens" in " ".join(answer.out.split())
    assert "which is often high" not in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_json_adds_up_and_pages_are_written(shell: Shell, ids: Path, tmp_path: Path) -> None:
    words = ("explain", ids, "5, 9 3 44", "--ids", "--token", 7, "--at", 2, "--out", "why", "--html", "deep/page.html")
    answer = shell(*words, "--json", "--top", 1)
    assert (answer.code, answer.err) == (0, "")
    record = json.loads(answer.out)
    assert (record["tokens"], record["at"], record["token"]["id"]) == (["5", "9", "3", "44"], 2, 7)
    assert sum(row["logit"] for row in record["votes"]) == pytest.approx(record["logit"], abs=1e-9)
    assert (record["folder"], record["html"]) == ("why", "deep/page.html")
    assert {row["label"] for row in record["sources"]} <= {row["label"] for row in record["votes"]}
    assert record["record"]["command"][:2] == ["headscope", "explain"]
    assert (tmp_path / "deep" / "page.html").read_text() == (tmp_path / "why" / "explanation.html").read_text()
    assert str(tmp_path) not in (tmp_path / "why" / "explanation.html").read_text()
    again = shell(*words)
    assert (again.code, again.out) == (2, "")
    assert again.err.startswith("headscope: output folder 'why', which already holds an explanation")
    quiet = shell("explain", ids, "5 9", "--ids", "--quiet", "--html", "q.html")
    assert (quiet.code, quiet.out) == (0, "page: q.html\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("mini", ""), 2, "headscope: text ''\n  expected: at least one word"),
        (("mini", TEXT, "--token", "mary john"), 2, "headscope: token 'mary john', which is 2 tokens of 'mini'"),
        (
            ("mini", TEXT, "--at", 99, "--against", "xyz"),
            2,
            "headscope: position 99 in a prompt of 14 tokens; against 'xyz'",
        ),
        (("mini", TEXT, "--run", "nowhere"), 2, "headscope: run folder 'nowhere', which is not there"),
        (("mini", TEXT, "--html", "."), 2, "headscope: page '.', which is a folder"),
        (("mini", "5 x", "--ids", "--token", "y"), 2, "headscope: id 'x' with --ids; token 'y' with --ids"),
    ],
)
def test_bad_input_is_told_in_three_parts(shell: Shell, words: tuple[str, ...], code: int, told: str) -> None:
    answer = shell("explain", *words)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(told)
    assert "to fix it:" in answer.err
