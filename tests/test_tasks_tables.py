"""Pairs.from_table: tables of one's own become what headscope.pairs makes of them, or every wrong row is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fixtures_files import lines
from fixtures_tasks import reader
from hypothesis import given, settings
from hypothesis import strategies as st

import headscope
from headscope.errors import TaskError, UsageError
from headscope.prompts import ABSENT, Pairs
from headscope.tasks import resolve
from headscope.tasks.files import table as tables
from headscope.tasks.files.reading import SHOWN, Faults, csv_rows

ROWS = [
    {"clean": "The cat saw the dog, and the", "corrupted": "The cow saw the dog, and the", "answer": "cat| cow",
     "foil": "dog", "group": "a", "position:first": "cat", "position:at": "2"},
    {"clean": "The NA saw the None", "corrupted": "The NA met the None", "answer": " NA", "foil": "null",
     "group": "b", "position:first": "", "position:at": ""},
    {"clean": 'A "big" cat', "corrupted": 'A "red" cat', "answer": "01", "foil": "1|None", "group": "a",
     "position:first": "big", "position:at": "0"},
]  # fmt: skip


def written(form: str, folder: Path) -> Any:
    frame = pd.DataFrame(ROWS)
    path = folder / f"mine.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "semicolon":
        frame.to_csv(path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    elif form == "tab":
        frame.to_csv(path, sep="\t")
    elif form == "jsonl":
        lines(path, [{**row, "answer": row["answer"].split("|")} for row in ROWS])
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        return frame
    return path if form != "csv" else str(path)


def same(one: Pairs, two: Pairs) -> bool:
    names = ("tokens", "mask", "corrupted", "answers", "foils", "groups")
    places = one.positions.keys() == two.positions.keys() and all(
        torch.equal(one.positions[name], two.positions[name]) for name in one.positions
    )
    return places and all(torch.equal(getattr(one, name), getattr(two, name)) for name in names)


@pytest.mark.parametrize("form", ["csv", "semicolon", "tab", "jsonl", "parquet", "frame"])
def test_every_kind_of_table_is_what_pairs_makes_of_its_cells(form: str, tmp_path: Path) -> None:
    model = reader("gpt2")
    made = Pairs.from_table(written(form, tmp_path), model, task="mine")
    expected = headscope.pairs(
        model, [row["clean"] for row in ROWS], [row["corrupted"] for row in ROWS],
        [["cat", "cow"], "NA", "01"], ["dog", "null", ["1", "None"]], groups=["a", "b", "a"],
        positions={"first": ["cat", None, "big"], "at": [2, None, 0]},
    )  # fmt: skip
    assert same(made, expected)
    assert (made.metric, made.task, made.texts) == ("logit_difference", "mine", expected.texts)
    if form == "frame":
        assert made.source == ""
    else:
        assert made.source.startswith(f"mine.{form}, sha256 ")
    assert made.notes == ()


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    rows = [
        {"clean": [5, 6, 7], "corrupted": [5, 9, 7], "answer": [8, 3]},
        {"clean": [4], "corrupted": [3], "answer": [8]},
    ]
    model = reader("ids")
    whole = Pairs.from_table(lines(tmp_path / "ids.jsonl", rows), model)
    assert same(whole, headscope.pairs(model, [[5, 6, 7], [4]], [[5, 9, 7], [3]], [[8, 3], [8]]))
    frame = pd.DataFrame({name: [np.array(row[name]) for row in rows] for name in rows[0]})
    assert same(whole, Pairs.from_table(frame, model))


def test_equal_clean_prompts_share_a_group_and_are_counted() -> None:
    texts = ["A cat", "A dog", "A cat", "A cow"]
    frame = pd.DataFrame({"clean": texts, "corrupted": ["A cow", "A cow", "A dog", "A dog"], "answer": ["is"] * 4,
                          "group": ["x", "y", "y", None], "note": "n"})  # fmt: skip
    made = Pairs.from_table(frame, reader("gpt2"))
    assert made.groups.tolist() == [0, 0, 0, 1]
    assert made.notes[1:] == ("columns not read: note", "1 rows repeat a clean prompt and share its group")


def test_metric_and_end_are_taken_as_by_pairs() -> None:
    frame = pd.DataFrame({"clean": ["A cat is"], "corrupted": ["A dog is"], "answer": ["big"], "position:end": [2.0]})
    made = Pairs.from_table(frame, reader("gpt2"), metric="probability")
    assert (made.metric, made.end.tolist()) == ("probability", [2])


def test_a_task_takes_some_rows_and_checks_all(tmp_path: Path) -> None:
    rows = [
        {"clean": f"The number is {i} and", "corrupted": f"The letter is {i} and", "answer": "so"} for i in range(9)
    ]
    path = lines(tmp_path / "mine.jsonl", rows)
    made = resolve(f"pairs:{path}").build(reader("gpt2"), n=4, rng=np.random.default_rng(0))
    assert (len(made), made.task) == (4, "pairs:mine.jsonl")
    assert "4 of 9 rows, drawn at random" in made.notes
    assert list(made.texts) == sorted(made.texts)
    assert len(resolve(f"pairs:{path}").build(reader("gpt2"), n=99, rng=np.random.default_rng(0))) == 9
    lines(path, [*rows, {"clean": "a", "corrupted": "a b", "answer": "c"}])
    with pytest.raises(TaskError, match="twins of unequal length: row 10: 2 tokens"):
        resolve(f"pairs:{path}").build(reader("gpt2"), n=1, rng=np.random.default_rng(0))


# --- what is wrong with the table


def refused(table: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        Pairs.from_table(table, reader("ids"))
    return caught.value


def test_ragged_rows_and_broken_quotes_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('clean,corrupted,answer\n"a\nb",c,d\n\na,b\na,b,c,d\n"a"x,b,c\n"never closed,b,c\na,b,c\n')
    assert refused(path).given == (
        f"file '{path}': 2 problems\n  - ragged rows: row 5: 2 cells, not 3; row 6: 4 cells, not 3\n"
        "  - broken quotes: row 7: ',' expected after '\"'; row 8: unexpected end of data"
    )
    path.write_text("clean,corrupted,answer\n")
    assert refused(path).given == f"file '{path}': no rows: only a header"
    path.write_text("clean,clean,answer\na,b,c\n")
    assert "columns of one name: 'clean'" in refused(path).given


def test_columns_that_are_missing_misspelt_or_there_twice_are_named() -> None:
    frame = pd.DataFrame({"clean": ["a"], "corupted": ["b"], "Answer": ["c"], "answers": ["c"], "foild": ["x"]})
    assert refused(frame).given == (
        "table: 2 problems\n"
        "  - misspelt columns: 'corupted', did you mean 'corrupted'?; 'foild', did you mean 'foil'?\n"
        "  - columns of one name: 'answer'"
    )
    assert refused(pd.DataFrame({"x": [1]})).given == (
        "table: missing columns: 'clean', beside x; 'corrupted', beside x; 'answer', beside x"
    )
    assert refused(pd.DataFrame()).given == "table: no rows: none"
    assert refused([1]).given == "a table that is a list"
    assert refused(pd.DataFrame([[1, 2]], columns=["a", "a"])).given.startswith("table: 2 problems\n  - columns of one")


def test_empty_and_strange_cells_are_named_all_at_once() -> None:
    frame = pd.DataFrame(
        {
            "clean": ["a", " ", "a", "a b", None, [1, "x"]],
            "corrupted": ["b", "b", 5, float("nan"), pd.NA, "c"],
            "answer": ["x|", "x", "x", 17, [], ["a", 2]],
            "foil": ["y", "", "y", "y", "y", True],
            "group": [1, 2, [3], 4, 5, None],
            "position:p": [1.0, "w", 1.5, None, np.nan, pd.NA],
        }
    )
    found = refused(frame).given
    for line in (
        "'answer' has an empty part in 'x|'", "row 1: 'clean'", "row 3: 'corrupted'", "row 4: 'clean'",
        "row 4: 'corrupted'", "row 4: 'answer'", "row 1: 'foil'",
        "row 2: 'corrupted' is 5", "row 3: 'answer' is 17", "row 5: 'clean' is [1, 'x']", "row 5: 'answer' is 2",
        "row 5: 'foil' is True", "row 2: 'group' is [3]", "row 2: 'position:p' is 1.5",
    ):  # fmt: skip
        assert line in found, line
    assert found.count("row ") == 14


def test_contradictions_are_refused() -> None:
    frame = pd.DataFrame({"clean": ["A", "B", "A", "B"], "corrupted": list("CCDD"), "answer": ["x", "y|z", "w", "z|y"]})
    assert refused(frame).given == "table: contradictions: row 2: w, but row 0: x"


def test_what_the_tokenizer_cannot_take_is_told_for_every_row(tmp_path: Path) -> None:
    model = reader("words")
    rows = ["clean,corrupted,answer,foil,position:who"]
    rows += ["The boy saw,The girl,saw,likes,boy"] + ["The boy,The girl,zyxw,likes,nobody"] * 1
    rows += [f"The boy saw the zq{i},The girl saw the zq{i},saw,likes," for i in range(SHOWN + 2)]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    with pytest.raises(TaskError) as caught:
        Pairs.from_table(tmp_path / "t.csv", model)
    found = caught.value.given
    assert "twins of unequal length: row 2: 4 tokens" in found
    assert "words that their prompt lacks: row 3: 'who' 'nobody' in 'The boy'" in found
    assert "unknown words: row 3: 'zyxw'" in found
    assert found.count("zq") == SHOWN - 1, "ten rows, and how many more"
    assert "; and " in found


def test_a_spoilt_parquet_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing else")
    found = refused(tmp_path / "t.parquet")
    assert found.given.startswith(f"file '{tmp_path}/t.parquet': ")
    assert "\n" not in found.given


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_cells_of_a_csv_file_come_back_as_they_were(rows: list[tuple[str, str, str]]) -> None:
    text = pd.DataFrame(rows, columns=["clean", "corrupted", "answer"]).to_csv(index=False)
    faults = Faults("f")
    found = csv_rows(faults, text)
    assert faults.found == {}
    assert [tuple(cells.values()) for _, cells in found] == rows


@settings(max_examples=60, derandomize=True)
@given(st.dictionaries(st.sampled_from(["clean", "corrupted", "answer", "foil", "group", "position:x", "y"]),
                       st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | CELL,
                                    lambda inner: st.lists(inner, max_size=3), max_leaves=5)))  # fmt: skip
def test_no_cell_breaks_the_reading(record: dict[str, Any]) -> None:
    try:
        read = tables.read(pd.DataFrame([record]))
    except UsageError as error:
        assert error.given.startswith("table: ")  # noqa: PT017 - the record decides whether it is refused
        return
    (entry,) = read.entries
    assert json.dumps(entry.row[2])
    assert entry.row[0]
    assert ABSENT not in entry.places.values()
