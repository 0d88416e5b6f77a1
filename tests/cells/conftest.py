"""Blocks so small that a tiny analysis has many; reports are left out, which are tested elsewhere."""

from pathlib import Path

import pytest
from cellcases import planted

from headscope.models import Model
from headscope.pipeline import blocks


@pytest.fixture(scope="session")
def model() -> Model:
    return planted()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two examples a block, and a layer a block."""
    monkeypatch.setitem(blocks.TARGET, "cpu", 1.0)
    monkeypatch.setattr(blocks, "ROWS", (2,))


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.report.write", lambda _run, path: Path(path).write_text("a report"))
