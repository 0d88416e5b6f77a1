"""Tasks from published files: LAMBADA, CommonsenseQA, Winograd schemas and relation triples, and what is refused."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_files import ALONE, NAMES, SCHEMAS, blanks, lines, passage, passages, pronoun_lines, question, xml
from fixtures_tasks import reader
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope import provenance
from headscope.ability import ability
from headscope.errors import TaskError, UsageError
from headscope.models import Model, load
from headscope.pipeline import Plan
from headscope.prompts import ABSENT, Pairs
from headscope.tasks import TASKS, resolve
from headscope.tasks.files import FORMATS, lambada, refusals, schemas, short, split_names
from headscope.tasks.files.choosing import consistent, joined
from headscope.testing import check_task


def build(kind: str, path: Path, model: Model, n: int = 40, seed: int = 0) -> Pairs:
    return resolve(f"{kind}:{path}").build(model, n=n, rng=np.random.default_rng(seed))


def twins(model: Model, pairs: Pairs) -> list[str]:
    start = len(model.encode(""))
    rows = zip(pairs.corrupted, pairs.end.tolist(), strict=True)
    return [model.tokenizer.decode(row[start : end + 1]).strip() for row, end in rows]


def words(model: Model, ids: torch.Tensor) -> list[str]:
    return [model.tokenizer.decode([i for i in row if i != ABSENT]).strip() for row in ids.tolist()]


def at(model: Model, pairs: Pairs, name: str) -> list[str]:
    return words(model, pairs.tokens.gather(1, pairs.positions[name][:, None]))


# --- names


def test_a_file_is_a_task_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "lam.jsonl", [{"text": text} for text in passages()])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = [resolve(f"lambada:{place}") for place in (tmp_path / "lam.jsonl", "lam.jsonl", "~/lam.jsonl")]
    assert {task.name for task in made} == {"lambada:lam.jsonl"}
    assert re.fullmatch(r"Paperno et al\. .*; lam\.jsonl, sha256 [0-9a-f]{16}", made[0].source)
    assert str(tmp_path) not in made[0].source
    assert len({task.source for task in made}) == 1
    assert resolve("ioi") is TASKS["ioi"]


@pytest.mark.parametrize(
    ("name", "given", "fix"),
    [
        ("lambada", "task 'lambada' without the path of its file", "did you mean 'lambada:PATH'?"),
        ("lambada:", "task 'lambada:' without the path of its file", "did you mean 'lambada:PATH'?"),
        ("lambda:x", "format 'lambda' of task 'lambda:x'", "did you mean 'lambada:x'?"),
        (":x", "format '' of task ':x'", "see headscope list tasks"),
        ("ioj", "unknown task 'ioj'", "did you mean 'ioi'?"),
        ("zzzz", "unknown task 'zzzz'", "see headscope list tasks"),
    ],
)
def test_names_that_are_none_are_explained(name: str, given: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    assert (caught.value.given, caught.value.fix) == (given, fix)
    assert all(kind in caught.value.expected for kind in (FORMATS if ":" in name or name in FORMATS else TASKS))


def test_a_comma_belongs_to_a_path_only_where_that_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "a,b.csv", "a,b.csv,ioi", "ioi,x"):
        (tmp_path / name).write_text("x")
    assert split_names(["ioi , induction", "ioi"]) == ("ioi", "induction")
    assert split_names(["pairs:a.csv,ioi"]) == ("pairs:a.csv", "ioi")
    assert split_names(["ioi,pairs:a,b.csv"]) == ("ioi", "pairs:a,b.csv")
    assert split_names(["pairs:a,b.csv,ioi"]) == ("pairs:a,b.csv,ioi",), "the longest path that is a file"
    assert split_names(["pairs:no,such.csv"]) == ("pairs:no", "such.csv")
    assert split_names(["ioi,x"]) == ("ioi", "x"), "a file without its format is no task"
    assert split_names([", ,"]) == ()


def test_the_record_of_a_command_holds_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["headscope", "-t", "ioi,lambada:/home/me/a.jsonl,pairs:b.csv", f"--task=pairs:{tmp_path}/in/c.csv"]
    assert provenance.record(command=command, seed=0)["command"] == [
        "headscope", "-t", "ioi,lambada:a.jsonl,pairs:b.csv", "--task=pairs:in/c.csv",
    ]  # fmt: skip


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        lines(tmp_path / folder / "lam.jsonl", [{"text": "one two"}])
    names = [f"lambada:{tmp_path}/{folder}/lam.jsonl" for folder in "ab"]
    (found,) = refusals([names[0], *names])
    assert found.given == f"tasks {names[0]!r} and {names[1]!r}, both called 'lambada:lam.jsonl'"
    assert short(names[0]) == "lambada:lam.jsonl"


def test_the_plan_tells_everything_that_is_wrong_before_a_model_is_there(tmp_path: Path) -> None:
    bad = lines(tmp_path / "bad.jsonl", [{"text": "one"}])
    with pytest.raises(UsageError) as caught:
        Plan(tasks=("ioj", f"lambada:{bad}", "lambada", "winograd:nowhere.xml"), n=1)
    assert caught.value.given == (
        f"unknown task 'ioj'; n 1; file '{bad}': nothing to predict: row 1: 'one'; task 'lambada' without the path of "
        "its file; file 'nowhere.xml', which does not exist"
    )
    assert caught.value.expected.startswith("tasks: induction, ioi")
    assert "texts of two words or more" in caught.value.expected
    assert "did you mean 'ioi'?" in caught.value.fix


# --- LAMBADA


def test_lambada_reads_the_last_word_and_its_earlier_occurrences(tmp_path: Path) -> None:
    texts = ['He saw "Rob." Then ROB, robin and Rob\'s dog met Rob', " Come in, said  Ann.\n", f"A {ALONE}"]
    path = lines(tmp_path / "l.jsonl", [{"text": text, "domain": "x"} for text in texts])
    found = lambada.read(path)
    assert [each.target for each in found] == ["Rob", "Ann.", "lighthouse"]
    assert found[0].context == 'He saw "Rob." Then ROB, robin and Rob\'s dog met'
    assert [found[0].context[start:end] for start, end in found[0].earlier] == ["Rob", "ROB", "Rob"]
    assert found[1].context == " Come in, said"
    assert [each.where for each in found] == ["row 1", "row 2", "row 3"]


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_lambada_twins_have_nothing_to_copy(kind: str, tmp_path: Path) -> None:
    model = reader(kind)
    path = lines(tmp_path / "l.jsonl", [{"text": text} for text in [*passages(), ALONE]])
    pairs = build("lambada", path, model)
    assert (len(pairs), pairs.metric) == (12, "log_probability")
    assert list(pairs.texts) == [text.rpartition(" ")[0] for text in passages()], "in the file's order"
    assert [word.lower() for word in words(model, pairs.answers)] == [t.rpartition(" ")[2].lower() for t in passages()]
    for clean, twin, answer in zip(pairs.texts, twins(model, pairs), words(model, pairs.answers), strict=True):
        assert answer.lower() in clean.lower()
        assert answer.lower() not in twin.lower()
    assert [word.lower() for word in at(model, pairs, "earlier")] == [a.lower() for a in words(model, pairs.answers)]
    assert "the last word occurs earlier in 12 of 13 passages, and only these have a twin" in pairs.notes
    assert len(pairs.groups.unique()) == 12
    assert "sha256" in pairs.source


def test_lambada_keeps_the_contract_of_tasks(tmp_path: Path) -> None:
    path = lines(tmp_path / "l.jsonl", [{"text": text} for text in passages(40)])
    check_task(resolve(f"lambada:{path}"), reader("gpt2"))


NAMED = st.lists(st.sampled_from(["Mary", "sees", "house", "John", "mary", "red"]), min_size=2, max_size=12)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(st.lists(NAMED, min_size=1, max_size=6), st.integers(0, 5))
def test_lambada_twins_differ_in_the_last_word_only(rows: list[list[str]], seed: int) -> None:
    model = reader("gpt2")
    texts = [f"Then {' '.join(row)}" for row in rows]
    found = [
        lambada.Passage(f"row {i}", *text.rsplit(" ", 1), lambada._occurrences(*text.rsplit(" ", 1)))
        for i, text in enumerate(texts)
    ]
    try:
        pairs = lambada.build(found, model, n=9, rng=np.random.default_rng(seed), task="t")
    except TaskError as error:
        assert "none of" in error.given  # noqa: PT017 - the rows decide whether there is one
        return
    for clean, twin, answer in zip(pairs.texts, twins(model, pairs), words(model, pairs.answers), strict=True):
        changed = [(one, two) for one, two in zip(clean.split(), twin.split(), strict=True) if one != two]
        assert changed
        assert {one.lower() for one, _ in changed} == {answer.lower()}
        assert answer.lower() not in twin.lower().split()
        assert len({two.lower() for _, two in changed}) == 1


@cache
def greedy_texts() -> tuple[str, ...]:
    """Half of them end as the model would go on, half as it would not."""
    model, texts = reader("gpt2"), []
    for i in range(10):
        context = passage(NAMES[i % 8], NAMES[(i + 3) % 8], i).rpartition(" ")[0]
        tokens = torch.tensor([model.encode(context)])
        mask = torch.ones_like(tokens, dtype=torch.bool)
        logits = model.run_at(tokens, mask, torch.tensor([tokens.shape[1] - 1]))[0]
        for token in logits.argsort(descending=i % 2 == 0).tolist():
            word = model.tokenizer.decode([token])
            if re.fullmatch(r" [a-z]+", word):
                texts.append((context + word, bool(token == int(logits.argmax()))))
                break
    return tuple(texts)


def test_lambada_accuracy_counts_passages_without_a_twin_too(tmp_path: Path) -> None:
    texts = greedy_texts()
    path = lines(tmp_path / "l.jsonl", [{"text": text} for text, _ in texts])
    task, model = resolve(f"lambada:{path}"), reader("gpt2")
    assert task.score is not None
    scored = task.score(model, n=40, rng=np.random.default_rng(0))
    assert len(scored) == 10
    row = ability(model, scored, seed=0)
    assert row["accuracy"] == np.mean([right for _, right in texts])
    with pytest.raises(TaskError, match=r"none of 0 passages can be used \(the last word occurs earlier in 0 of 10 "):
        task.build(model, n=4, rng=np.random.default_rng(0))


def test_lambada_says_why_it_cannot_be_used(tmp_path: Path) -> None:
    path = lines(tmp_path / "l.jsonl", [{"text": f"{passage('Mary', 'Zyx', i)}"} for i in range(5)])
    with pytest.raises(TaskError) as caught:
        build("lambada", path, reader("words"))
    assert caught.value.given.startswith("task 'lambada:l.jsonl' on ")
    assert "none of 5 passages can be used (the last word occurs earlier in 5 of 5 " in caught.value.given
    assert caught.value.given.endswith("; left out 5 (row 1, row 2, row 3, ...): unknown words)")
    assert caught.value.expected == "words that the model's tokenizer knows"
    with pytest.raises(TaskError, match=r"left out 4 .*: unknown words"):
        build("winograd", xml(tmp_path / "w.xml", SCHEMAS[:4]), reader("words"))
    with pytest.raises(TaskError, match="which has no tokenizer"):
        build("lambada", path, reader("ids"))


# --- CommonsenseQA


@pytest.mark.parametrize("form", ["published", "hub"])
def test_commonsenseqa_asks_for_a_letter(form: str, tmp_path: Path) -> None:
    model = reader("gpt2")
    records = [question(i, key="ABCD"[i % 4]) for i in range(8)]
    if form == "hub":
        records = [
            {
                "question": each["question"]["stem"], "answerKey": each["answerKey"],
                "choices": {name: [c[name] for c in each["question"]["choices"]] for name in ("label", "text")},
            }
            for each in records
        ]  # fmt: skip
    pairs = build("commonsenseqa", lines(tmp_path / "dev.jsonl", records), model)
    assert pairs.texts[1] == (
        "Question: Where does bird number 1 sleep?\nA. a pan\nB. a nest\nC. a lake\nD. an office\nAnswer:"
    )
    assert words(model, pairs.answers) == list("ABCDABCD")
    assert [model.tokenizer.decode(row) for row in pairs.foils.tolist()][:2] == [" B C D", " A C D"]
    assert at(model, pairs, "letter") == list("ABCDABCD")
    ends = ("pan", "nest", "lake", "office")
    assert at(model, pairs, "choice") == [*ends, *ends]
    for clean, twin, moved, right in zip(
        pairs.texts, twins(model, pairs), at(model, pairs, "moved"), "ABCDABCD", strict=True
    ):
        before, after = (dict(re.findall(r"^([A-D])\. (.*)$", text, re.MULTILINE)) for text in (clean, twin))
        assert after[moved] == before[right]
        assert after[right] == before[moved]
        assert {key: after[key] for key in after if key not in (moved, right)} == {
            key: before[key] for key in before if key not in (moved, right)
        }


def test_commonsenseqa_accuracy_is_that_of_multiple_choice(tmp_path: Path) -> None:
    model = reader("gpt2")
    path = lines(tmp_path / "dev.jsonl", [question(i, key="ABCD"[i % 4]) for i in range(24)])
    pairs = build("commonsenseqa", path, model)
    logits = model.run_at(pairs.tokens, pairs.mask, pairs.end)
    letters = [model.tokenizer(f" {letter}")["input_ids"][0] for letter in "ABCD"]
    likeliest = logits[:, letters].argmax(1).tolist()
    right = [int(best) == i % 4 for i, best in enumerate(likeliest)]
    row = ability(model, pairs, seed=0)
    assert row["accuracy"] == np.mean(right)
    assert "not above chance (1 in 4)" in row["reason"]


def test_commonsenseqa_leaves_out_what_has_no_twin_and_what_contradicts_itself(tmp_path: Path) -> None:
    uneven = question(7, texts=("an extraordinarily long pan", "a nest"))
    twice = question(8, texts=("a pan", "a nest", "a nest"))
    records = [*(question(i) for i in range(4)), uneven, twice, question(9), question(9, key="A")]
    pairs = build("commonsenseqa", lines(tmp_path / "dev.jsonl", records), reader("gpt2"))
    assert len(pairs) == 5, "a swap keeps the length, however long a choice is"
    assert "left out 2: the same question with different answers elsewhere in the file" in pairs.notes
    assert "left out 1 (row 6): the right choice stands there twice" in pairs.notes
    assert "5 questions from all" in pairs.notes


def test_repeated_questions_share_a_group(tmp_path: Path) -> None:
    path = lines(tmp_path / "dev.jsonl", [question(1), question(2), question(1)])
    assert build("commonsenseqa", path, reader("gpt2")).groups.tolist() == [0, 1, 0]


def test_labels_that_are_no_single_token_are_left_out(tmp_path: Path) -> None:
    odd = question(3)
    odd["question"]["choices"][1]["label"] = odd["answerKey"] = "(xyz)"
    pairs = build("commonsenseqa", lines(tmp_path / "dev.jsonl", [question(1), question(2), odd]), reader("gpt2"))
    assert "left out 1 (row 3): answers that are not single tokens" in pairs.notes


# --- Winograd schemas


def test_the_three_published_forms_are_the_same_schemas(tmp_path: Path) -> None:
    one, two = (schemas.read(write(tmp_path / "w")) for write in (xml, pronoun_lines))
    for left, right in zip(one, two, strict=True):
        assert (left.text, left.at, left.candidates, left.right) == (
            right.text,
            right.at,
            right.candidates,
            right.right,
        )
    assert [each.pair for each in one] == [each.pair for each in two]
    assert [each.pair for each in one[:4]] == [("by number", 1)] * 2 + [("by number", 2)] * 2
    assert one[0].text == "The bottle did not go into the bag because it was too big."
    third = schemas.read(blanks(tmp_path / "w"))
    assert [each.text.replace("_", schema[1]) for each, schema in zip(third, SCHEMAS, strict=True)] == [
        each.text for each in one
    ]
    assert [each.right for each in third] == [each.right for each in one]
    assert third[0].pair == third[1].pair != third[2].pair


@pytest.mark.parametrize("write", [xml, pronoun_lines, blanks])
def test_a_schema_is_asked_about_and_its_twin_has_the_other_answer(write: Any, tmp_path: Path) -> None:
    model = reader("gpt2")
    pairs = build("winograd", write(tmp_path / "w.txt"), model)
    word = "_" if write is blanks else "it"
    verb = "stands for" if write is blanks else "refers to"
    assert (
        pairs.texts[0]
        == f'The bottle did not go into the bag because {word} was too big. In this sentence, "{word}" {verb} the'
    )
    assert words(model, pairs.answers) == ["bottle", "bag", "Mary", "Susan"]
    assert words(model, pairs.foils) == ["bag", "bottle", "Susan", "Mary"]
    assert twins(model, pairs) == [pairs.texts[1], pairs.texts[0], pairs.texts[3], pairs.texts[2]]
    assert at(model, pairs, "right") == words(model, pairs.answers)
    assert at(model, pairs, "wrong") == words(model, pairs.foils)
    assert at(model, pairs, "pronoun")[0] == word
    assert pairs.groups.tolist() == [0, 0, 1, 1]
    assert "left out 2 (row 7, row 8): no twin with the other answer in the file" in [
        note.replace("schema", "row") for note in pairs.notes
    ]
    assert any(re.fullmatch(r"left out 2 \(\w+ 5, \w+ 6\): twins of unequal length", note) for note in pairs.notes)
    assert any("not of sentence probabilities" in note for note in pairs.notes)


def test_candidates_with_one_first_token_are_left_out(tmp_path: Path) -> None:
    pair = [
        ("The oilman met the oilmen when", "he", "was late.", ("oil lamp", "oil can"), 0),
        ("The oilman met the oilmen when", "he", "was early.", ("oil lamp", "oil can"), 1),
        ("Petersham met Petersfield when", "he", "was late.", ("Petersham", "Petersfield"), 0),
        ("Petersham met Petersfield when", "he", "was early.", ("Petersham", "Petersfield"), 1),
    ]
    pairs = build("winograd", xml(tmp_path / "w.xml", pair), reader("gpt2"))
    assert pairs.texts[0].endswith('"he" refers to oil'), "words that both begin with are in the prompt"
    assert words(reader("gpt2"), pairs.answers) == ["lamp", "can"]
    assert "left out 2 (schema 3, schema 4): candidates that begin with the same token" in pairs.notes


# --- relations


def test_relations_of_a_table_are_those_of_the_triples(tmp_path: Path) -> None:
    facts = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}
    table = tmp_path / "facts.csv"
    table.write_text(
        "relation,subject,object\n" + "".join(f"The capital of {{}} is,{a},{b}\n" for a, b in facts.items())
    )
    pairs = build("relations", table, load("mini", device="cpu"), n=3)
    assert sorted(pairs.texts) == sorted(f"The capital of {name} is" for name in facts)
    assert pairs.task == "relations:facts.csv"


# --- groups


@settings(max_examples=50, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([None, 1, 2, 3])), min_size=1, max_size=10))
def test_groups_are_the_connected_parts(rows: list[tuple[str, int | None]]) -> None:
    found = joined([row[0] for row in rows], [row[1] for row in rows])
    linked = [[a[0] == b[0] or (a[1] is not None and a[1] == b[1]) for b in rows] for a in rows]
    reach = np.linalg.matrix_power(np.array(linked, dtype=float), len(rows)) > 0
    assert (reach == (np.array(found)[:, None] == np.array(found))).all()
    assert sorted(set(found)) == list(range(len(set(found))))


def test_contradictions_of_published_files_are_left_out() -> None:
    assert consistent([(1, "a"), (1, "a"), (2, "b")], lambda item: item) == ([(1, "a"), (1, "a"), (2, "b")], ())
