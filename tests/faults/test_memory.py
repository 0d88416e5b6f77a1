"""Memory that runs out in the middle of an analysis: the sweep goes on in smaller pieces, or says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import headscope
from headscope.grid import Grid
from headscope.models import Model, load
from headscope.replay import engine
from headscope.testing import Plant, planted_model

SHORT = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")]


@pytest.fixture(scope="module")
def model() -> Model:
    plain = planted_model(Plant(induction=((0, 1), (1, 2))), grid=Grid(2, 3), vocabulary=40, positions=32, noise=0.02)
    return load(plain, device="cpu", check=False)


def analysed(model: Model, **given: Any) -> pd.DataFrame:
    options: dict[str, Any] = {"n": 8, "roles": False, "progress": False, **given}
    return headscope.analyze(model, tasks=["induction"], methods=["patching", "ablation"], **options).scores


@pytest.fixture(scope="module")
def wanted(model: Model) -> pd.DataFrame:
    return analysed(model)


def running_out(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int, int], bool], problem: Exception) -> list[int]:
    """Let passes fail by their number and size; gives the sizes of those that did not."""
    inner, sizes, calls = engine._last_stream, [], [0]

    def limited(base: Any, edits: Any, chunk: Any) -> torch.Tensor:
        calls[0] += 1
        if fails(calls[0], len(chunk)):
            raise problem
        sizes.append(len(chunk))
        return inner(base, edits, chunk)

    monkeypatch.setattr(engine, "_last_stream", limited)
    return sizes


@pytest.mark.parametrize("problem", [SHORT[0], pytest.param(SHORT[1], marks=pytest.mark.slow)], ids=["memory", "torch"])
def test_an_analysis_goes_on_in_halves_and_gives_the_same_tables(
    model: Model, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    sizes = running_out(monkeypatch, lambda call, size: call % 2 == 1 and size > 1, problem)
    found = analysed(model)
    assert len(sizes) >= 4
    texts = ["task", "method", "score", "layer", "head", "n", "groups", "unit", "reason"]
    pd.testing.assert_frame_equal(found[texts], wanted[texts])
    for column in ("value", "low", "high"):
        scale = float(wanted[column].abs().max())
        assert float((found[column] - wanted[column]).abs().max()) <= 1e-6 * scale


def test_methods_that_do_not_fit_are_told_with_what_to_do_and_have_no_numbers(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_out(monkeypatch, lambda *_: True, SHORT[0])
    found = analysed(model)
    assert found["value"].isna().all()
    for reason in found["reason"].unique():
        assert reason.startswith("one counterfactual run of ")
        assert "which does not fit into memory; expected: enough free memory; to fix it: use shorter prompts" in reason


def test_what_did_not_fit_is_computed_once_there_is_room(
    model: Model, wanted: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: path.write_text("x"))
    with monkeypatch.context() as short:
        running_out(short, lambda *_: True, SHORT[0])
        assert analysed(model, folder=tmp_path / "run")["value"].isna().all()
    pd.testing.assert_frame_equal(analysed(model, folder=tmp_path / "run"), wanted)
