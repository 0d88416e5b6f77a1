"""Small files that stand for much: entities within entities, tables of a text repeated, brackets within brackets."""

import io
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzz import seeds
from fuzz.mutating import PROLOGUES
from fuzz.readers import words

import headscope.frames as frames
from headscope.corpora import read_treebank
from headscope.errors import HeadscopeError, RunError, UsageError
from headscope.frames import check_columns, read_frame
from headscope.runs import open_run
from headscope.tasks.chains import read_problems
from headscope.tasks.files import from_file

MIB = 1 << 20


def cost(read: Callable[[], object]) -> tuple[str, float, float]:
    """What a refusal says, its seconds of the processor, and by how many MiB it raised the peak of memory."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(HeadscopeError) as caught:
        read()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return str(caught.value), time.process_time() - began, grown


def test_entities_within_entities_do_not_multiply(tmp_path: Path) -> None:
    place = tmp_path / "in.xml"
    for prologue in PROLOGUES[:4]:
        content = seeds.tasks()["winograd"][0]["in.xml"].partition(b"?>")[2]
        place.write_bytes(
            prologue + content.replace(b"too big", (b"&m;" if b"ENTITY m" in prologue else b"&a;") * 3000)
        )
        if b"SYSTEM" in prologue:
            text, seconds, grown = cost(lambda: from_file(f"winograd:{place}"))
            assert "broken XML" in text
            assert "root:" not in text, "the file that an entity names was read"
            assert (seconds < 1, grown < 200) == (True, True)
    place.write_bytes(PROLOGUES[0] + content.replace(b"too big", b"&m;"))
    text, seconds, grown = cost(lambda: from_file(f"winograd:{place}"))
    assert "limit on input amplification factor (from DTD and entities) breached" in text
    assert (seconds < 1, grown < 200) == (True, True)


def test_a_mention_of_half_a_million_characters_takes_no_longer_than_its_line(tmp_path: Path) -> None:
    text = seeds.treebanks()[2]["own.conllu"]
    (tmp_path / "own.conllu").write_bytes(text.replace(b"Entity=e2)", b"Entity=" + b"e" * 500_000))
    told, seconds, _ = cost(lambda: read_treebank(tmp_path / "own.conllu"))
    assert "is not made of brackets" in told
    assert len(told) < 5000
    assert seconds < 1  # it was quadratic: an hour


def test_a_sentence_of_many_verbs_over_two_lines_takes_no_longer_than_its_length(tmp_path: Path) -> None:
    row = {"context": "As" + " are so" * 30_000 + "\nand so.", "question": "Q: Max is a cow.", "answer": "A"}
    (tmp_path / "in.json").write_text(json.dumps([row]))
    told, seconds, _ = cost(lambda: read_problems(tmp_path / "in.json", kind="prontoqa"))
    assert "of 1 questions none is left" in told
    assert seconds < 1


def parquet(values: pa.Array) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"clean": values}), stream, compression="zstd")
    return stream.getvalue()


def test_a_small_file_of_a_long_table_is_refused_before_it_is_read(tmp_path: Path) -> None:
    data = parquet(pa.nulls(frames.MOST_ROWS + 1, pa.int8()))
    assert len(data) < 20_000
    (tmp_path / "in.parquet").write_bytes(data)
    text, seconds, grown = cost(lambda: from_file(f"pairs:{tmp_path / 'in.parquet'}"))
    assert "a table of 5,000,001 rows; the longest that is read has 5,000,000\n  expected: a whole Parquet file" in text
    assert (seconds < 0.5, grown < 50) == (True, True)


def test_a_long_text_in_every_row_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "LARGEST", 64 * MIB)
    monkeypatch.setattr(frames, "_PIECE", 8 * MIB)
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * (MIB // 4)]))
    data = parquet(text)
    assert len(data) < 5000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="a table of more than 64 MiB in memory"):
        read_frame(io.BytesIO(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_tables_come_back_as_pandas_reads_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, None], "b": ["x", None, "é"], "c": [[1], [], [2, 3]], "d": [True, False, True]})
    for options in ({}, {"index": False}, {"compression": "gzip"}, {"row_group_size": 1}):
        frame.to_parquet(tmp_path / "a.parquet", **options)
        pd.testing.assert_frame_equal(read_frame(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "a.parquet"))
        pd.testing.assert_frame_equal(read_frame(str(tmp_path / "a.parquet")), frame)
    frame.iloc[:0].to_parquet(tmp_path / "a.parquet")
    assert read_frame(tmp_path / "a.parquet").columns.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(FileNotFoundError):
        read_frame(tmp_path / "none.parquet")
    os.mkfifo(tmp_path / "in")
    with pytest.raises(ValueError, match="in is no plain file"):
        read_frame(tmp_path / "in")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        ({"head": [1.5, 2.0]}, "whose column 'head' is no column of whole numbers"),
        ({"head": [True, False]}, ""),
        ({"task": ["a", None]}, "whose column 'task' is no column of texts"),
        ({"value": ["1", "2"]}, "whose column 'value' is no column of numbers"),
        ({"value": [True, False]}, "whose column 'value' is no column of numbers"),
        ({"signed": [0, 1]}, "whose column 'signed' is no column of truth values"),
    ],
)
def test_columns_must_be_what_they_are_said_to_be(change: dict[str, list[object]], text: str) -> None:
    kinds = {"task": "text", "head": "whole number", "value": "number", "signed": "truth value"}
    sound = {"task": ["a", "b"], "head": [0, 1], "value": [0.5, None], "signed": [True, False]}
    frame = pd.DataFrame(sound | change)
    if not text and change != {"head": [True, False]}:
        check_columns(frame, kinds, name="scores")
        return
    with pytest.raises(ValueError, match=text or "whole numbers"):
        check_columns(frame, kinds, name="scores")
    with pytest.raises(ValueError, match="which lacks 'value'"):
        check_columns(frame.drop(columns="value"), kinds, name="scores")


def test_a_run_folder_with_a_pipe_or_with_too_many_brackets_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(RunError, match=r"run\.json is no plain file"):
        open_run(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").write_text("[" * 200_000)
    with pytest.raises(RunError, match=r"run\.json has too many brackets within brackets"):
        open_run(tmp_path)
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(
        RunError, match=r"run\.json has 1,099,511,627,776 bytes; the largest that is read has 67,108,864"
    ):
        open_run(tmp_path)


def test_numbers_of_thousands_of_digits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"clean,corrupted,answer,position:x\na b,a c,d,{'1' * 5000}\n")
    text, *_ = cost(lambda: from_file(f"pairs:{tmp_path / 'in.csv'}").build(words(), n=1, rng=np.random.default_rng(0)))
    assert len(text) < 2000
    assert "position" in text
    (tmp_path / "in.jsonl").write_text(f'{{"clean": {"1" * 5000}}}\n')
    with pytest.raises(UsageError, match="broken JSON: row 1: too deep or too long"):
        from_file(f"pairs:{tmp_path / 'in.jsonl'}")
