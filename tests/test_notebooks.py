"""The notebooks: what is kept of them is whole and shows everywhere, and each runs from top to bottom."""

import ast
import json
import re
import resource
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks import INSTALL, MODEL_LINE, as_text, badge, books, from_text, read, run, sources, tidy

BOOKS = [pytest.param(path, id=path.stem[:2]) for path in books()]
PLACES = re.compile(r"/(home|root|tmp|work|usr|opt|var|Users)/|[A-Z]:\\|\b0x[0-9a-f]{6,}")
MINUTES = 3


@pytest.fixture(params=BOOKS)
def path(request: pytest.FixtureRequest) -> Path:
    """Each notebook in turn."""
    return request.param


def plain(source: str) -> str:
    """A cell as Python: lines that only IPython knows do nothing."""
    return re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE)


def outputs(book: Any) -> list[Any]:
    return [each for cell in book.cells if cell.cell_type == "code" for each in cell.outputs]


def test_there_are_the_five_and_more() -> None:
    numbers = [path.name[:2] for path in books()]
    assert {"01", "02", "03", "05", "06"} <= set(numbers)
    assert len(set(numbers)) == len(numbers)


def test_they_begin_alike(path: Path) -> None:
    book, code = read(path), sources(read(path))
    first = book.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(rf"# {int(path.name[:2])}\. \S", first.source)
    assert badge(path.name) in first.source.split("\n")
    assert code[0] == INSTALL
    assert code[1].startswith(MODEL_LINE)
    assert sum(line.startswith("MODEL =") for cell in code for line in cell.split("\n")) == 1


def test_what_is_kept_is_a_whole_run(path: Path) -> None:
    book = read(path)
    nbformat.validate(book)
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        body = ast.parse(plain(cell.source)).body
        if isinstance(body[-1], ast.Expr):
            assert cell.outputs, f"{cell.id} shows nothing: {cell.source[-60:]!r}"
    counts = [each.execution_count for each in outputs(book) if "execution_count" in each]
    assert counts == sorted(set(counts))
    assert any("image/svg+xml" in each.get("data", {}) for each in outputs(book))
    for each in outputs(book):
        assert each.output_type != "error", each
        assert each.get("name") != "stderr", each.text


def test_it_shows_everywhere_and_says_nothing_of_the_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text) < 1_000_000
    found = PLACES.search(text)
    assert found is None, text[max(0, found.start() - 60) : found.end() + 60] if found else ""
    for each in outputs(read(path)):
        kinds = set(each.get("data", {}))
        assert kinds <= {"text/plain", "text/html", "image/svg+xml"}
        assert "<script" not in json.dumps(each.get("data", {}))
    kept = json.loads(text)
    assert json.loads(nbformat.writes(tidy(read(path), path.name))) == kept, "run python -m tests.notebooks"


def test_text_and_back(path: Path) -> None:
    book = read(path)
    again = from_text(as_text(book))
    assert [(cell.cell_type, cell.source) for cell in again.cells] == [
        (cell.cell_type, cell.source) for cell in book.cells
    ]


def test_a_figure_of_plotly_becomes_a_picture() -> None:
    from plotly import graph_objects as go

    figure = go.Figure(go.Heatmap(z=[[0.0, 1.0]]), {"title": {"text": "<b>one</b> head"}}).to_dict()
    figure["data"][0]["z"] = {"dtype": "f8", "bdata": "AAAAAAAAAAAAAAAAAADwPw==", "shape": "1, 2"}
    book = from_text("# %% [markdown]\n# 1. Title\n\n# %%\n1\n")
    shown = nbformat.v4.new_output("display_data", {"application/vnd.plotly.v1+json": figure}, metadata={"a": 1})
    book.cells[2].outputs = [shown, nbformat.v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7)]
    kept = tidy(book, "01_x.ipynb").cells[2].outputs
    assert kept[0].data["image/svg+xml"].count("<rect") == 3
    assert kept[0].data["text/plain"] == "one head"
    assert kept[1].execution_count == 2
    assert not kept[0].metadata


def test_what_is_printed_in_portions_is_kept_in_one() -> None:
    book = from_text("# %% [markdown]\n# 1. Title\n\n# %%\n1\n")
    told = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in (("stdout", "a"), ("stdout", "b"))]
    book.cells[2].outputs = [*told, nbformat.v4.new_output("stream", name="stderr", text="c")]
    kept = tidy(book, "01_x.ipynb").cells[2].outputs
    assert [(each.name, each.text) for each in kept] == [("stdout", "ab"), ("stderr", "c")]


def test_the_badge_leads_to_the_repository_once_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("notebooks.ROOT", tmp_path)
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\n")
    assert badge("01_x.ipynb").endswith("(https://colab.research.google.com/) (File > Upload notebook)")
    project.write_text('[project.urls]\nRepository = "https://github.com/some-one/headscope"\n')
    assert "colab.research.google.com/github/some-one/headscope/blob/main/notebooks/01_x.ipynb" in badge("01_x.ipynb")


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(path: Path) -> None:
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = tidy(run(path), path.name)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, not of the clock: a machine that does other work too makes no notebook long.
    assert ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime < 60 * MINUTES
    kinds = [sorted(each.get("data", {})) for each in outputs(made)]
    assert kinds == [sorted(each.get("data", {})) for each in outputs(read(path))]
    assert not [each.text for each in outputs(made) if each.get("name") == "stderr"]


@pytest.mark.slow
def test_it_runs_on_a_model_of_gpt2s_kind(path: Path, shared_data: Path, tmp_path: Path) -> None:
    """GPT-2's tokenizer and architecture, small and untrained: a model that does no task must break no cell."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_layer=3, n_head=4, n_embd=64, vocab_size=50257, n_positions=512)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "small")
    AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer").save_pretrained(tmp_path / "small")
    made = run(path, model=str(tmp_path / "small"))
    assert not [each for each in outputs(made) if each.output_type == "error"]
