"""Figures from frames: what stands in them, compared with the frame itself."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from browser import chromium
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly import graph_objects as go
from results import HOSTILE, one_score, results, task_row, view

from headscope import plots
from headscope.errors import HeadscopeError, UsageError
from headscope.plots.pictures import WIDTH

GRID = (3, 4)
ASKED = {"task": "ioi", "method": "ablation", "score": "mean"}


def frame(**changed: object) -> pd.DataFrame:
    return one_score("ioi", "ablation", "mean", GRID).assign(**changed)


def trace(figure: go.Figure, kind: str) -> go.Heatmap:
    return next(item for item in figure.data if item.meta == kind)


def said(figure: go.Figure, layer: int, head: int) -> str:
    """What plotly shows when the mouse is over a cell, put together as plotly does it."""
    cells = figure.data[0]
    return re.sub(
        r"%\{customdata\[(\d)\]\}", lambda found: cells.customdata[layer, head, int(found[1])], cells.hovertemplate
    )


def test_heatmap_holds_every_value_at_its_layer_and_head() -> None:
    scores = frame().sample(frac=1, random_state=0)
    cells = plots.heatmap(scores, **ASKED).data[0].z
    for row in scores.itertuples():
        np.testing.assert_equal(cells[row.layer, row.head], row.value)


def test_heatmap_has_layer_0_at_the_top() -> None:
    shape = plots.heatmap(frame(), **ASKED).layout
    assert shape.yaxis.range == (2.5, -0.5)
    assert shape.xaxis.range == (-0.5, 3.5)
    assert (shape.yaxis.title.text, shape.xaxis.title.text) == ("layer", "head")


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=12, max_size=12))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_effects_are_centred_at_zero_and_grey_covers_what_is_absent(values: list[float]) -> None:
    figure = plots.heatmap(frame(value=values), **ASKED)
    cells = trace(figure, "diverging")
    known = [abs(value) for value in values if value == value]
    assert cells.zmin == -cells.zmax
    assert cells.zmax == (max(known, default=0.0) or 1.0)
    middle = [colour for place, colour in cells.colorscale if place == 0.5]
    assert middle == ["#f7f7f7"]
    absent = np.isnan(np.reshape(values, GRID))
    assert len(figure.data) == (2 if absent.any() else 1)
    if absent.any():
        grey = trace(figure, "absent")
        np.testing.assert_array_equal(np.isfinite(grey.z), absent)
        assert {colour for _, colour in grey.colorscale} == {plots.LIGHT.absent}
        assert not grey.hoverongaps


def test_grey_differs_from_every_colour_of_the_scales() -> None:
    for theme in (plots.LIGHT, plots.DARK):
        grey = [int(theme.absent[i : i + 2], 16) for i in (1, 3, 5)]
        for colour in theme.diverging + theme.sequential:
            other = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert np.abs(np.subtract(grey, other)).max() > 40, colour


def test_attention_scores_have_one_hue_from_0_to_1() -> None:
    scores = one_score("ioi", "attention", "induction", GRID)
    cells = trace(plots.heatmap(scores, task="ioi", method="attention", score="induction"), "sequential")
    assert (cells.zmin, cells.zmax, cells.zmid) == (0, 1, None)
    entropy = one_score("ioi", "attention", "entropy", GRID)
    cells = trace(plots.heatmap(entropy, task="ioi", method="attention", score="entropy"), "sequential")
    assert cells.zmax == entropy["value"].max()


def test_hover_tells_value_interval_n_rank_and_q() -> None:
    scores = frame(value=0.25, low=0.125, high=0.5, n=64, groups=8, q=0.004, rank=3.0, rank_low=1.0, rank_high=7.0)
    assert said(plots.heatmap(scores, **ASKED), 2, 1) == (
        "<b>L2H1</b> +0.250<br>95% interval [+0.125, +0.500]<br>n = 64 in 8 groups; q = 0.004"
        "<br>rank 3, 95% interval 1-7<extra></extra>"
    )


def test_hover_says_what_is_absent_instead_of_0() -> None:
    figure = plots.heatmap(frame(), **ASKED)
    assert "95% interval none<br>" in said(figure, 1, 2)
    grey = trace(figure, "absent")
    assert grey.text[1, 1] == "<b>L1H1</b><br>no number: no example has a &lt;duplicate&gt; token"
    bare = plots.heatmap(frame(q=np.nan)[lambda rows: rows["layer"] + rows["head"] > 0], **ASKED)
    silent = plots.heatmap(frame(reason=np.nan), **ASKED)
    assert trace(silent, "absent").text[1, 1] == "<b>L1H1</b><br>no number: no reason was recorded"
    assert trace(bare, "absent").text[0, 0] == "<b>L0H0</b><br>no number: not scored"
    assert "q not tested" in said(bare, 2, 1)


def test_title_has_unit_n_and_flag() -> None:
    meta = plots.heatmap(frame(flagged=True, n=[40] + [64] * 11), **ASKED).layout.meta
    assert meta["title"] == "ioi: ablation, mean"
    assert meta["note"] == "unit: share of the clean - corrupted logit difference; n = 40-64 examples in 8 groups"
    assert meta["flag"] == "Flagged: the model fails this task, so these numbers explain a failure"
    assert meta["flag"] in plots.heatmap(frame(flagged=True), **ASKED).layout.title.text
    assert plots.heatmap(frame(), **ASKED).layout.meta["flag"] == ""


def test_a_figures_frame_is_reachable() -> None:
    scores = results(grid=GRID).scores
    figure = plots.heatmap(scores, **ASKED)
    found = plots.select(scores, **plots.question(figure))
    pd.testing.assert_frame_equal(found, plots.select(scores, **ASKED))
    assert len(found) == 12


def test_unknown_score_and_several_models_are_said() -> None:
    with pytest.raises(UsageError, match="score 'means'") as caught:
        plots.heatmap(frame(), task="ioi", method="ablation", score="means")
    assert str(caught.value) == (
        "score 'means', which these scores do not have for task 'ioi', method 'ablation'\n"
        "  expected: one of: mean\n  to fix it: did you mean 'mean'?"
    )
    with pytest.raises(UsageError, match=r"^task 'iou', which these scores do not have\n  expected: one of: ioi\n"):
        plots.heatmap(frame(), task="iou", method="", score="")
    two = pd.concat([frame(), frame(model="gpt2")])
    with pytest.raises(UsageError, match="scores of 2 models\n  expected: one model: gpt2, mini\n"):
        plots.heatmap(two, **ASKED)
    assert plots.question(plots.heatmap(two, **ASKED, model="gpt2"))["model"] == "gpt2"
    with pytest.raises(UsageError, match="expected: a frame with rows"):
        plots.heatmap(frame()[:0], **ASKED)


def test_ranking_shows_the_first_heads_in_order_with_their_intervals() -> None:
    scores = frame()
    figure = plots.ranking(scores, **ASKED, k=5)
    expected = scores.dropna(subset="value").sort_values("rank").head(5)
    names = [f"L{r.layer}H{r.head} [{r.rank_low:.0f}-{r.rank_high:.0f}]" for r in expected.itertuples()]
    assert list(figure.layout.yaxis.ticktext) == names
    places = {
        int(y): (x, x - less, x + more)
        for item in figure.data
        for x, y, less, more in zip(item.x, item.y, item.error_x.arrayminus, item.error_x.array, strict=True)
    }
    for place, row in enumerate(expected.itertuples()):
        np.testing.assert_allclose(places[place], (row.value, row.low, row.high))
    assert figure.layout.meta["note"].endswith("the 95% interval of the rank; 1 without a number")
    with pytest.raises(UsageError, match="k = 0\n"):
        plots.ranking(scores, **ASKED, k=0)


def test_ranking_tells_tested_heads_apart_by_shape() -> None:
    figure = plots.ranking(frame(q=[0.01] * 6 + [0.2] * 5 + [np.nan]), **ASKED)
    assert {item.name: (item.marker.symbol, len(item.x)) for item in figure.data} == {
        "q &lt; 0.05": ("circle", 5),
        "q &gt;= 0.05 or not tested": ("circle-open", 6),
    }
    nothing = plots.ranking(frame(value=np.nan), **ASKED)
    assert len(nothing.data) == 0
    assert "12 without a number" in nothing.layout.meta["note"]


def test_accuracies_keep_a_line_for_a_skipped_task() -> None:
    figure = plots.accuracies(results().tasks)
    assert figure.layout.yaxis.ticktext == ("ioi", "induction", "agreement", "facts (skipped)")
    assert {item.name: list(item.x) for item in figure.data} == {"done": [0.97, 0.97], "failed": [0.52]}
    assert "95% interval [40%, 100%]" in figure.data[1].text[0]


def test_pattern_keeps_equal_tokens_apart_and_hides_the_future() -> None:
    shown = view("ioi", ("a", "a", "b"), ((0, 1), (2, 3)))
    figure = plots.pattern(shown, 1)
    assert figure.layout.xaxis.ticktext == ("a", "a", "b")
    np.testing.assert_array_equal(np.isnan(figure.data[0].z), ~np.tri(3, dtype=bool))
    np.testing.assert_allclose(np.nansum(figure.data[0].z, 1), 1)
    assert not np.isnan(plots.pattern(view("t", ("a", "b"), ((0, 0),), causal=False)).data[0].z).any()
    with pytest.raises(UsageError, match="index 2\n  expected: 0 to 1"):
        plots.pattern(shown, 2)


def test_hostile_text_stays_text_in_every_figure(tmp_path: Path) -> None:
    run = results(grid=GRID, hostile=True)
    task = run.tasks["task"].iloc[0]
    figures = [
        plots.heatmap(run.scores, task=task, method="patching", score="noising"),
        plots.ranking(run.scores, task=task, method="patching", score="noising"),
        plots.accuracies(run.tasks),
        plots.pattern(run.views[0]),
    ]
    for number, figure in enumerate(figures):
        text = str(figure.to_dict())
        assert "<script" not in text.replace(str(figure.layout.meta), "")
        page = plots.save_picture(figure, tmp_path / f"{number}.svg").read_text(encoding="utf-8")
        ElementTree.fromstring(page.replace("\u2028", " "))
        assert "<script" not in page
    assert all(plots.theme.plain(token) in figures[3].layout.xaxis.ticktext for token in HOSTILE)


def test_svg_draws_every_cell_in_its_colour(tmp_path: Path) -> None:
    scores = frame()
    figure = plots.heatmap(scores, **ASKED)
    drawn = ElementTree.parse(plots.save_picture(figure, tmp_path / "a.svg")).getroot()
    cells = [item.get("fill") for item in drawn.iter() if item.tag.endswith("rect")][1:]
    assert len(cells) == 12
    assert cells.count(plots.LIGHT.absent) == 1
    largest = scores["value"].abs().idxmax()
    end = plots.LIGHT.diverging[-1 if scores["value"][largest] > 0 else 0]
    assert end in cells


def test_svg_of_a_ranking_has_a_dot_and_a_bar_per_head() -> None:
    figure = plots.ranking(frame(), **ASKED, k=7)
    drawn = plots.svg(figure)
    assert drawn.count("<circle") == 7 + len(figure.data)  # and one in the legend for each kind
    assert "L2H" in drawn or "L1H" in drawn
    dark = plots.ranking(frame(), **ASKED, theme=plots.DARK)
    assert plots.DARK.paper in plots.svg(dark)


def test_pictures_in_other_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plots.heatmap(frame(), **ASKED)
    with pytest.raises(UsageError, match=r"a picture ending in '.gif'\n  expected: .svg, .html or .png"):
        plots.save_picture(figure, tmp_path / "a.gif")

    def no_chrome(*_: object, **__: object) -> None:
        raise RuntimeError("Kaleido requires Google Chrome.\nmore")

    monkeypatch.setattr(go.Figure, "write_image", no_chrome)
    with pytest.raises(HeadscopeError) as caught:
        plots.save_picture(figure, tmp_path / "a.png")
    assert str(caught.value) == (
        "a.png, and no way to make a PNG here (Kaleido requires Google Chrome.)\n"
        "  expected: the extra 'png' (kaleido) and an installed Chrome\n"
        "  to fix it: write an .svg, which needs neither; or pip install 'headscope[png]' and install Chrome"
    )
    page = plots.save_picture(figure, tmp_path / "a.html").read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link)[^>]*(?:src|href)=", page)


@pytest.mark.slow
def test_a_png_holds_the_heads_colours(tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="the extra png is not installed")
    if chromium() is None:
        pytest.skip("no Chrome")
    picture = plots.save_picture(plots.heatmap(frame(), **ASKED), tmp_path / "a.png")
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == 2 * WIDTH
    assert len(data) > 20_000, "a page of one colour would be far smaller"


def test_a_task_row_needs_no_reason() -> None:
    assert plots.accuracies(pd.DataFrame([task_row("ioi")])).data[0].text[0].endswith("groups<br>ok")
