"""What is shown of a verdict on a few heads: every figure against the tables behind it."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fewcases import HEADS, failed, invented, shared

from headscope import plots
from headscope.errors import UsageError
from headscope.few import Few, overlaps
from headscope.plots.lines import paint
from headscope.plots.theme import DARK, LIGHT

assert_close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
"""Figures hold single precision."""

# --- figures


def named(figure: Any, name: str) -> Any:
    """The line of a name, not its band."""
    return next(trace for trace in figure.data if trace.name == name and not trace.fill)


def hover(trace: Any, point: int) -> str:
    """What plotly shows when the mouse is over a point, put together as plotly does it."""
    cells = trace.customdata[point]
    return re.sub(r"%\{customdata\[(\d)\]\}", lambda found: cells[int(found[1])], trace.hovertemplate)


def band_of(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name and trace.fill)


@pytest.mark.parametrize("measure", ["effect", "necessity", "faithfulness"])
def test_the_curve_holds_the_tables_numbers(measure: str) -> None:
    result = invented()
    figure = plots.few_curve(result, measure)
    rows = result.curve.query("measure == @measure and ablation in ['', 'resample'] and k > 0")
    top = named(figure, "top heads")
    assert_close(top.x, rows["share"])
    assert_close(top.y, rows["value"])
    edge = band_of(figure, "top heads")
    assert_close(edge.y[: len(rows)], rows["high"])
    assert_close(edge.y[len(rows) :], rows["low"][::-1])
    for name, control in (("random heads", "uniform"), ("random heads, same layers", "layer")):
        random = result.controls.query(f"measure == {measure!r} and control == {control!r}")
        assert_close(named(figure, name).x, random["k"] / HEADS)
        assert_close(named(figure, name).y, random["mean"])
        assert_close(band_of(figure, name).y[: len(random)], random["high"])
    twin = result.twin.query("measure == @measure")
    assert_close(named(figure, "untrained twin").y, twin["value"])
    marks = named(figure, "reached")
    reached = result.smallest.query("measure == @measure").dropna(subset="k")
    assert_close(marks.x, reached["share"])
    assert_close(marks.y, reached["target"])
    assert_close(marks.error_x.array, (reached["high"] - reached["k"]) / HEADS)
    assert named(figure, "claim").x == pytest.approx(0.03)


def test_no_head_kept_has_no_place_on_a_log_axis() -> None:
    figure = plots.few_curve(invented(), "faithfulness")
    assert 0 in invented().curve["k"].tolist()
    assert all(np.min(trace.x) > 0 for trace in figure.data)
    assert figure.layout.xaxis.type == "log"
    low, high = figure.layout.xaxis.range
    assert 10**low < 1 / HEADS < 1 < 10**high


def test_the_accuracy_is_dashed_and_under_the_same_intervention() -> None:
    result = invented()
    for measure in ("necessity", "faithfulness"):
        figure = plots.few_curve(result, measure, ablation="zero")
        rows = result.curve.query(f"measure == 'accuracy_{measure}' and ablation == 'zero' and k > 0")
        assert named(figure, "accuracy under it").line.dash == "dash"
        assert_close(named(figure, "accuracy under it").y, rows["value"])
        assert named(figure, "answer is the likeliest token").line.dash == "dot"
    assert "zero ablation" in figure.layout.meta["title"]
    # The twin and the random sets were run under the verdict's own ablation only.
    assert {trace.name for trace in figure.data} & {"untrained twin", "random heads"} == set()


def test_hover_tells_number_interval_and_p() -> None:
    result = invented()
    figure = plots.few_curve(result, "necessity")
    row = result.curve.query("measure == 'necessity' and ablation == 'resample' and k == 3").iloc[0]
    assert hover(named(figure, "top heads"), 2) == (
        f"<b>top heads</b>, 3 heads (3.1% of 96)<br>{row['value']:.3f}, 95% interval "
        f"[{row['low']:.3f}, {row['high']:.3f}]<extra></extra>"
    )
    assert hover(named(figure, "random heads"), 1) == (
        "<b>random heads</b>, 3 heads (3.1% of 96)<br>mean of 100 sets 0.031, 95% of them in [-0.049, 0.111]"
        "<br>sets at least as good as the top heads: p = 0.010<extra></extra>"
    )
    assert hover(named(figure, "reached"), 2) == (
        "<b>90%</b> is reached by 6 heads (6.2% of 96)<br>95% interval 5 or more"
        "<br>more than 2.5 % of the resamples do not reach it with 96<extra></extra>"
    )
    assert figure.layout.meta["note"] == (
        "1 is the loss when all heads are ablated; n = 100 held-out examples in 12 groups; bands: 95% intervals; "
        "random heads: mean and 95% of 100 sets; crosses: the fewest that reach 50, 80 and 90%"
    )


def test_a_curve_without_numbers_says_why() -> None:
    reason = "all heads together make a difference of 0 [-1, 1], which may be none"
    result = invented()
    whole = result.curve.assign(reason=reason, **dict.fromkeys(("value", "low", "high"), np.nan))
    bare = replace(
        result, curve=whole, smallest=result.smallest[:0], twin=result.twin[:0], controls=result.controls[:0]
    )
    figure = plots.few_curve(bare, "necessity")
    assert figure.layout.meta["flag"] == f"No number: {reason}"
    assert {trace.name for trace in figure.data} <= {"claim", None}


def test_large_models_get_no_more_points_than_can_be_told_apart() -> None:
    result = invented()
    size = 1600
    k = np.arange(1, size + 1)
    rows = {"ablation": "", "measure": "effect", "k": k, "share": k / size, "value": k / size, "low": 0.0, "high": 1.0}
    heads = pd.DataFrame({"rank": k, "label": "L0H0"})
    figure = plots.few_curve(replace(result, heads=heads, curve=pd.DataFrame(rows | {"reason": ""})), "effect")
    shown = (named(figure, "top heads").x * size).round().astype(int).tolist()
    assert shown[:20] == list(range(1, 21))
    assert 60 < len(shown) < 110


def test_one_wild_interval_does_not_flatten_the_rest() -> None:
    result = invented()
    curve = result.curve.assign(high=1e6)
    low, high = plots.few_curve(replace(result, curve=curve)).layout.yaxis.range
    assert high == pytest.approx(2.06)
    assert low < 0
    twin = result.twin.assign(low=-50.0, high=50.0)
    assert plots.few_curve(replace(result, twin=twin)).layout.yaxis.range[1] < 1.3


@pytest.mark.parametrize("drawn", [plots.few_curve, plots.few_tradeoff, plots.few_halves])
def test_a_task_that_the_model_fails_has_no_figures_and_says_so(drawn: Any) -> None:
    with pytest.raises(UsageError, match="the model does not do this task"):
        drawn(failed())


def test_an_unknown_measure_says_which_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        plots.few_curve(invented(), "faith")
    assert caught.value.given == "measure 'faith', ablation 'resample' of task 'ioi'"
    assert caught.value.expected.startswith("one of: effect / ; over_total / ; necessity / resample; ")
    with pytest.raises(UsageError, match="ablation 'mode' of task 'ioi'"):
        plots.few_tradeoff(invented(), ablation="mode")


def test_necessity_against_sufficiency_has_a_point_for_every_size() -> None:
    result = invented()
    figure = plots.few_tradeoff(result)
    for axis, measure in (("x", "necessity"), ("y", "faithfulness")):
        rows = result.curve.query(f"measure == {measure!r} and ablation == 'resample' and k > 0")
        top = named(figure, "top heads")
        assert_close(top[axis], rows["value"])
        assert_close(top[f"error_{axis}"].array, rows["high"] - rows["value"])
        assert_close(top[f"error_{axis}"].arrayminus, rows["value"] - rows["low"])
        random = result.controls.query(f"measure == {measure!r} and control == 'layer'")
        assert_close(named(figure, "random heads, same layers")[axis], random["mean"])
    assert named(figure, "random heads").mode == "markers"
    written = next(trace for trace in figure.data if trace.mode == "text")
    assert written.text[:3] == ("1", "2", "3")


def test_both_halves_are_shown_of_the_first_heads() -> None:
    result = invented()
    figure = plots.few_halves(replace(result, heads=result.heads.sample(frac=1, random_state=0)), k=5)
    first = result.heads.head(5)
    assert_close(named(figure, "selection half").x, first["selected"])
    assert_close(named(figure, "other half").x, first["value"])
    assert_close(named(figure, "other half").error_x.array, first["high"] - first["value"])
    assert np.isnan(named(figure, "selection half").error_x.array).all()
    assert figure.layout.yaxis.ticktext[0] == f"{first['label'].iloc[0]} [100%]"
    with pytest.raises(UsageError, match="k 0"):
        plots.few_halves(result, 0)


def test_the_matrix_is_symmetric_and_tells_chance() -> None:
    figure = plots.few_overlap(shared())
    cells = figure.data[0]
    z = np.array(cells.z, dtype=float)
    np.testing.assert_array_equal(z, z.T)
    assert np.isnan(np.diag(z)).all()
    assert cells.text[0][1] == ".50<br>(.02)"
    assert cells.customdata[1][0] == (
        "<b>ioi and induction</b><br>shared: L0H1 L2H3<br>Jaccard 0.500, 95% interval [0.200, 0.800]"
        "<br>two random sets: 0.016"
    )
    assert "shared: none<br>Jaccard 0.000, 95% interval none" in cells.customdata[1][2]
    with pytest.raises(UsageError, match="at least two tasks with heads"):
        plots.few_overlap(overlaps([invented()]))


def with_top(result: Few, *labels: str) -> Few:
    """The same with other heads at the top."""
    heads = result.heads.copy()
    heads["label"] = [*labels, *(f"L9H{i}" for i in range(len(labels), HEADS))]
    return replace(result, heads=heads)


def test_circles_hold_every_head_where_it_belongs() -> None:
    a, b, c = with_top(invented("a"), "A", "AB", "ABC"), with_top(invented("b"), "AB", "ABC", "BC"), invented("c")
    c = with_top(c, "ABC", "BC", "C")
    texts = next(trace for trace in plots.few_shared([a, b, c]).data if trace.mode == "text").text
    assert texts == ("A", "", "C", "AB", "", "BC", "ABC")
    two = plots.few_shared([a, b])
    assert next(trace for trace in two.data if trace.mode == "text").text == ("A", "BC", "AB<br>ABC")
    assert [trace.name for trace in two.data][:2] == ["a (3)", "b (3)"]
    many = plots.few_shared([invented("a"), with_top(invented("b"), "X")], k=40)
    assert "and 34 more" in next(trace for trace in many.data if trace.mode == "text").text[0]
    for wrong in ([a], [a, b, c, a], [a, failed()]):
        with pytest.raises(UsageError, match="2 or 3 tasks, 1 or more heads"):
            plots.few_shared(wrong)


def test_lines_follow_the_theme_and_their_colours_differ() -> None:
    for theme in (LIGHT, DARK):
        figure = plots.few_curve(invented(), theme=theme)
        for trace in figure.data:
            assert (trace.textfont.color if trace.mode == "text" else trace.line.color) == paint(theme, trace.meta)
        rgb = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (*theme.series, theme.muted)]
        gaps = [np.abs(np.subtract(one, other)).max() for i, one in enumerate(rgb) for other in rgb[:i]]
        assert min(gaps) > 40
        assert theme.series[0] == theme.point


def test_pictures_need_no_browser(tmp_path: Path) -> None:
    result = invented()
    figure = plots.few_curve(result, "faithfulness")
    root = ElementTree.fromstring(plots.svg(figure))
    width, height = map(float, root.get("viewBox", "").split()[2:])
    rows = result.curve.query("measure == 'faithfulness' and ablation == 'resample' and k > 0")
    ink = [item for item in root.iter() if item.get("stroke") == LIGHT.series[0] and item.get("fill") == "none"]
    places = next(item.get("d", "")[1:].split("L") for item in ink if item.get("d", "").count("L") == len(rows) - 1)
    x, y = np.array([place.split() for place in places], dtype=float).T
    # On a log axis equal ratios are equal distances.
    steps = np.diff(x) / np.diff(np.log(rows["share"]))
    assert_close(steps, steps[0], atol=2.0)
    scale = np.diff(y) / np.diff(rows["value"])
    assert_close(scale[np.diff(rows["value"]) > 0.05], scale[0], atol=4.0)
    assert scale[0] < 0, "upwards"
    circles = [item for item in root.iter() if item.tag.endswith("circle") and item.get("fill") == LIGHT.series[0]]
    assert len(circles) == len(rows) + 1, "one in the legend"
    for item in root.iter():
        if item.tag.endswith("text"):
            assert 0 <= float(item.get("x", "0")) <= width
            assert 0 <= float(item.get("y", "0")) <= height
    names = {item.text for item in root.iter() if item.tag.endswith("text")}
    assert {"top heads", "random heads", "untrained twin", "3%", "100%", "share of heads (log)"} <= names
    two = [with_top(invented("a"), "A", "B"), with_top(invented("b"), "B", "C")]
    for other in (
        plots.few_tradeoff(result),
        plots.few_halves(result),
        plots.few_overlap(shared()),
        plots.few_shared(two),
    ):
        found = {item.text for item in ElementTree.fromstring(plots.svg(other)).iter()}
        assert found & {"necessity", "mean effect", ".50", "B"}
        assert plots.save_picture(other, tmp_path / "a.svg").stat().st_size > 1000
