"""`headscope picture`: one figure of a run as a file."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from results import results
from shells import Shell


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that were opened; each holds the synthetic run."""
    opened: list[Path] = []

    def read(folder: Path) -> object:
        opened.append(folder)
        return results(grid=(2, 3))

    monkeypatch.setattr("headscope.runs.open_run", read)
    return opened


def test_a_picture_is_written_and_said(shell: Shell, saved: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    asked = ("picture", "runs/x", "ranking", "-t", "induction", "-m", "ablation", "-s", "mean", "--dark", "--out")
    answer = shell(*asked, str(path))
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.strip() == f"picture: {path}"
    assert saved == [Path("runs/x")]
    page = path.read_text(encoding="utf-8")
    ElementTree.fromstring(page)
    assert "induction: the first 5 of 6 heads by ablation, mean" in page
    assert "#14171d" in page
    record = json.loads(shell(*asked, str(path), "--json").out)
    assert record["picture"] == str(path)
    assert record["title"] == "induction: the first 5 of 6 heads by ablation, mean"
    assert shell(*asked, str(path), "--quiet").out == ""


def test_what_cannot_be_drawn_is_told(shell: Shell, saved: list[Path], tmp_path: Path) -> None:
    answer = shell("picture", "runs/x", "roles", "--out", str(tmp_path / "a.svg"))
    assert answer.code == 2
    assert "a run without roles" in answer.err
    assert "run headscope roles, or draw another picture" in answer.err
    wrong = shell("picture", "runs/x", "--out", str(tmp_path / "a.gif"))
    assert wrong.code == 2
    assert "a picture ending in '.gif'" in wrong.err
    assert list(tmp_path.iterdir()) == []
    assert saved == [Path("runs/x")] * 2
