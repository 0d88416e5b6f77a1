"""Figures of methods, layers and edges, and single pictures of a run: what stands in them."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from results import LEADERS, one_score, results
from scipy.stats import spearmanr

from headscope import plots
from headscope.errors import UsageError
from headscope.plots.strokes import ems, letter_size
from headscope.profiles.agreement import causal_scores, disagreements, method_agreement
from headscope.profiles.layers import layer_effects
from headscope.report.pictures import PICTURES, Wanted, picture

GRID = (4, 6)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    names = [("patching", "denoising"), ("patching", "noising"), ("ablation", "zero"), ("attention", "self")]
    return pd.concat([one_score("ioi", *name, GRID) for name in names], ignore_index=True)


@pytest.fixture(scope="module")
def examples(scores: pd.DataFrame) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    found = {}
    for method, score in causal_scores(scores, "ioi"):
        own = scores.query(f"method == {method!r} and score == {score!r}")["value"].to_numpy().reshape(GRID)
        noise = rng.normal(0, 0.2, (12, *GRID))
        found[f"ioi.{method}.{score}"] = torch.tensor(own + noise - noise.mean(0))
    return found


def test_agreement_is_spearmans(scores: pd.DataFrame, examples: dict[str, torch.Tensor]) -> None:
    frame = method_agreement(scores, "ioi", examples=examples, groups=np.arange(12) // 2)
    assert frame[["one", "other"]].to_numpy().tolist() == [
        ["patching denoising", "patching noising"],
        ["patching denoising", "ablation zero"],
        ["patching noising", "ablation zero"],
    ]
    for row in frame.itertuples():
        values = [scores[scores["method"] + " " + scores["score"] == name]["value"] for name in (row.one, row.other)]
        expected = spearmanr(*(each.to_numpy() for each in values), nan_policy="omit").statistic
        assert row.rho == pytest.approx(expected)
        assert row.low < row.rho < row.high
        assert (row.heads, row.n, row.reason) == (23, 64, "")
    again = method_agreement(scores, "ioi", examples=examples, groups=np.zeros(12, dtype=np.int64))
    assert again["low"].isna().all()
    assert set(again["reason"]) == {"the run keeps no values of single examples in two or more groups"}


def test_agreement_figure_is_symmetric(scores: pd.DataFrame) -> None:
    figure = plots.method_agreement(method_agreement(scores, "ioi", examples={}), task="ioi")
    values = np.array(figure.data[0].z, dtype=float)
    np.testing.assert_array_equal(values, values.T)
    assert np.isnan(np.diag(values)).all()
    assert "(the run keeps no values of single examples" in figure.data[0].customdata[0][1]
    with pytest.raises(UsageError, match=r"task 'other'\n  expected: a task with two causal scores: ioi"):
        plots.method_agreement(method_agreement(scores, "ioi", examples={}), task="other")


def test_disputed_heads_have_the_widest_gaps(scores: pd.DataFrame) -> None:
    frame = disagreements(scores, "ioi", k=3)
    causal = scores[scores["method"] != "attention"].dropna(subset="value")
    ranks = causal.groupby(["layer", "head"])["rank"].agg(["min", "max"])
    gaps = (ranks["max"] - ranks["min"])[ranks["min"] <= 10].sort_values(ascending=False)
    assert sorted(frame.drop_duplicates("label")["gap"], reverse=True) == gaps[:3].tolist()
    assert frame.groupby("label").size().tolist() == [3, 3, 3]
    assert disagreements(scores[scores["score"] == "zero"], "ioi").empty


def test_layers_add_up_absolute_effects(scores: pd.DataFrame, examples: dict[str, torch.Tensor]) -> None:
    rows = scores.query("method == 'patching' and score == 'noising'")
    frame = layer_effects(rows, values=examples["ioi.patching.noising"], groups=np.arange(12))
    for row in frame.itertuples():
        own = rows[rows["layer"] == row.layer]["value"].dropna().abs()
        assert (row.total, row.mean, row.heads) == pytest.approx((own.sum(), own.mean(), len(own)))
        assert row.total_low < row.total < row.total_high
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["heads"].tolist() == [6, 5, 6, 6]
    bare = layer_effects(rows)
    assert bare["total_low"].isna().all()
    assert set(bare["reason"]) == {"no values in two or more groups"}
    figure = plots.layer_profile(frame, task="ioi")
    assert figure.data[0].x.tolist() == frame["total"].tolist()


def test_edges_come_strongest_first() -> None:
    profiles = results().profiles
    assert profiles is not None
    more = profiles.edges.assign(value=-0.9, q=0.5, receiver="L7H7")
    figure = plots.head_edges(pd.concat([profiles.edges, more]), task="ioi")
    assert figure.layout.yaxis.ticktext == (f"{LEADERS[0]} → L7H7 (k)", f"{LEADERS[0]} → {LEADERS[1]} (k)")
    assert [trace.name for trace in figure.data] == ["q &lt; 0.05", "q &gt;= 0.05 or not tested"]
    with pytest.raises(UsageError, match=r"task 'x'\n  expected: one of: ioi"):
        plots.head_edges(profiles.edges, task="x")


def test_hover_also_says_the_role(scores: pd.DataFrame) -> None:
    figure = plots.heatmap(scores, task="ioi", method="patching", score="noising")
    before = figure.data[0].customdata.copy()
    plots.with_roles(figure, {"L2H3": "<b>sink</b>"})
    after = figure.data[0].customdata
    np.testing.assert_array_equal(after[..., :8], before)
    assert after[2, 3, 8] == "&lt;b&gt;sink&lt;/b&gt;"
    assert after[0, 0, 8] == "not looked for"
    assert figure.data[0].hovertemplate.endswith("<br>role: %{customdata[8]}<extra></extra>")


def test_words_stay_inside_their_cells() -> None:
    text = [["mark↓<br>+2*", "previous"], ["", "&lt;b&gt;"]]
    figure = go.Figure(go.Heatmap(z=[[0.0, 1.0], [2.0, 3.0]], text=text, texttemplate="%{text}"))
    figure.update_xaxes(range=[-0.5, 15.5])
    drawn = ElementTree.fromstring(plots.svg(figure))
    wide = {float(item.get("width", 0)) for item in drawn.iter() if item.tag.endswith("rect")}
    size = {float(item.get("font-size", 0)) for item in drawn.iter() if item.text == "previous"}
    assert size == {letter_size(text, min(wide) + 1)}
    assert max(size) * ems("previous") <= min(wide)


def test_every_picture_of_scores_can_be_drawn(tmp_path: Path) -> None:
    run = results(grid=(8, 12))
    for name in ("heatmap", "ranking", "tasks", "agreement", "layers", "edges", "attention"):
        page = plots.save_picture(picture(run, name, Wanted(dark=True)), tmp_path / f"{name}.svg").read_text("utf-8")
        ElementTree.fromstring(page)
        assert plots.DARK.paper in page
        assert "nan" not in page


@pytest.mark.parametrize(
    "name", [name for name in PICTURES if name.startswith(("role", "syn", "cor", "few", "dep", "pro"))]
)
def test_a_run_without_it_says_what_makes_it(name: str) -> None:
    command = {"f": "few", "d": "probe", "p": "probe"}.get(name[0], "roles")
    with pytest.raises(UsageError, match=rf"a run without .*\n  expected: a run of headscope {command}"):
        picture(results(grid=(2, 3)), name)


def test_a_picture_of_another_score_or_name() -> None:
    run = results(grid=(2, 3))
    asked = Wanted(task="induction", method="ablation", score="mean")
    assert picture(run, "heatmap", asked).layout.meta["title"] == "induction: ablation, mean"
    assert picture(run, "ranking", Wanted(method="attention")).layout.meta["method"] == "attention"
    with pytest.raises(UsageError, match=r"picture 'heatmpa'\n  expected: .*\n  to fix it: did you mean 'heatmap'"):
        picture(run, "heatmpa")
    with pytest.raises(UsageError, match=r"task 'x'\n  expected: one of: ioi, induction, agreement"):
        picture(run, "heatmap", Wanted(task="x"))
    bare = replace(run, scores=run.scores[:0], profiles=None, views=())
    for name in ("heatmap", "edges", "attention"):
        with pytest.raises(UsageError, match=re.escape("run headscope analyze")):
            picture(bare, name)
