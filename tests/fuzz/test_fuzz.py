"""A short run of `python -m tests.fuzz`, and that it would find what it looks for."""

import time
from pathlib import Path
from typing import Any

import pytest
from fuzz import readers, running
from fuzz.readers import READERS, Reader
from fuzz.running import HangError, Tally, attempt, made, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headscope.errors import HeadscopeError, UsageError

QUICK = ("conllu", "lambada", "commonsenseqa", "winograd", "relations", "pairs", "prontoqa", "proofwriter", "labels")


def test_the_shares_of_a_million_add_up() -> None:
    assert sum(reader.share for reader in READERS.values()) == 1_000_000


@pytest.mark.parametrize("name", QUICK)
def test_spoilt_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    tally = run(name, seed=20, numbers=range(50), folder=tmp_path)
    assert (tally.failures, tally.inputs, tally.valid + tally.refused) == ({}, 50, 50)
    assert min(tally.valid, tally.refused) >= 5, "neither all sound nor all refused"
    assert tally.refusals >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_spoilt_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    for sound in READERS[name].seeds():
        place = tmp_path / "sound"
        running.write(place, sound)
        READERS[name].read(place)
        running.shutil.rmtree(place)
    tally = run(name, seed=21, numbers=range(max(60, READERS[name].share // 100)), folder=tmp_path)
    assert tally.failures == {}


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_read_or_refused(name: str, tmp_path: Path, data: bytes) -> None:
    reader = READERS[name]
    for path in reader.seeds()[-1]:
        (tmp_path / path).write_bytes(data)
        problem = attempt(lambda: reader.read(tmp_path), 20)
        assert problem is None or isinstance(problem, HeadscopeError)
        assert problem is None or not running.fault_of(problem)
        (tmp_path / path).unlink()


def planted(read: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Tally:
    seeds = [{"in.jsonl": b'{"a": [1, 2, {"b": "c"}]}\n' * 4}]
    monkeypatch.setitem(readers.READERS, "planted", Reader(seeds=lambda: seeds, read=read, share=1, seconds=0.5))
    return run("planted", seed=0, numbers=range(12), folder=folder)


def test_whatever_else_happens_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def raised(problem: BaseException) -> Any:
        def read(_: Path) -> None:
            raise problem

        return read

    for problem, what in ((ValueError("x"), "ValueError at test_fuzz.py:"), (SystemExit(1), "SystemExit at "),
                          (MemoryError(), "MemoryError at "), (UsageError("a", "", "b"), "refusal: a part is empty"),
                          (UsageError("a" * 30_000, "b", "c"), "refusal: longer than a screen or ten")):  # fmt: skip
        tally = planted(raised(problem), monkeypatch, tmp_path)
        assert tally.failed == 12
        [(found, numbers)] = tally.failures.items()
        assert found.startswith(what)
        assert numbers == [0, 1, 2]
    assert planted(raised(UsageError("a", "b", "c")), monkeypatch, tmp_path).refused == 12
    assert planted(lambda _: None, monkeypatch, tmp_path).valid == 12


def test_hangs_and_memory_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def busy() -> None:
        while True:
            pass

    assert isinstance(attempt(lambda: time.sleep(9), 0.02), HangError)
    began = time.process_time()
    assert isinstance(attempt(busy, 0.05), HangError)
    assert time.process_time() - began < 2
    monkeypatch.setattr(running, "GROWTH", -1)
    assert planted(lambda _: None, monkeypatch, tmp_path).failures == {"memory: 0 MiB more": [0, 1, 2]}


def test_an_input_is_named_by_seed_reader_and_number() -> None:
    reader = READERS["conllu"]
    same = [made(reader, name="conllu", seed=3, number=17) for _ in range(2)]
    assert same[0] == same[1]
    others = [made(reader, name="conllu", seed=seed, number=number)[1] for seed, number in ((3, 18), (4, 17))]
    assert all(other != same[0][1] for other in others)
