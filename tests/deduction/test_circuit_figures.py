"""Figures of a circuit show the numbers of their tables, told by more than colour, with every text escaped."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from claimcases import circuit

from headscope.errors import UsageError
from headscope.plots import (
    ablation_curve,
    chain_strip,
    confidence_curve,
    control_effects,
    layer_curve,
    path_edges,
    readable_curve,
    svg,
)
from headscope.plots.chains import MARK, likely, typical, visible
from headscope.report.strips import strips

BASE = circuit()


def test_a_strip_holds_every_token_with_its_probability_and_marks_the_unsure() -> None:
    figure: Any = chain_strip(BASE.tokens, chains=[2, 0])
    (cells,) = figure.data
    assert cells.text[0].tolist()[:2] == ["A<br>.90<br>premise", "&lt;b&gt;<br>.99<br>syntax"]
    assert cells.text[1].tolist()[0] == f"A<br>{MARK} .30<br>premise"
    assert cells.z[:, 0].tolist() == pytest.approx([0.1, 0.7])
    assert np.isnan(cells.z[0, 2:]).all(), "a row ends where its chain does"
    assert figure.layout.yaxis.ticktext == ("chain 2", "chain 0")
    assert "below 0.8: 2 of 6 tokens of all 3 chains" in figure.layout.meta["note"]
    assert "<b>&lt;b&gt;" not in svg(figure)


def test_a_strip_wraps_and_every_chain_begins_a_row() -> None:
    long = pd.concat([BASE.tokens[BASE.tokens["chain"] == 0]] * 30, ignore_index=True)
    tokens = pd.concat([long, BASE.tokens[BASE.tokens["chain"] == 1]], ignore_index=True)
    figure: Any = chain_strip(tokens, chains=[0, 1])
    rows, columns = figure.data[0].z.shape
    assert rows == -(-60 // columns) + 1
    assert figure.layout.yaxis.tickvals == (0, rows - 1)
    assert int(np.isfinite(figure.data[0].z).sum()) == 62
    with pytest.raises(UsageError, match=r"chain 7[\s\S]*chains of the table \(2 of them\)"):
        chain_strip(tokens, chains=[0, 7])
    with pytest.raises(UsageError, match="a table without chains"):
        chain_strip(tokens.iloc[:0])


def test_chains_go_from_the_least_sure_to_the_surest() -> None:
    assert typical(BASE.tokens, 3) == [0, 1, 2]
    assert typical(BASE.tokens, 2) == [0, 2]
    assert [strip.name for strip in strips(BASE.tokens, threshold=0.8)] == ["chain 0", "chain 1", "chain 2"]
    cells = strips(BASE.tokens, threshold=0.8)[0].cells
    assert [(cell.shade, cell.unsure) for cell in cells] == [(3, True), (0, False)]
    assert strips(BASE.tokens.iloc[:0], threshold=0.8) == ()


@pytest.mark.parametrize(("token", "seen"), [("\n", "⏎"), ("  ", "␣"), (" so", "so"), ("a" * 20, "a" * 11 + "…")])
def test_white_space_can_be_seen(token: str, seen: str) -> None:
    assert visible(token) == seen


@pytest.mark.parametrize(("value", "told"), [(0.99999999, "1.00"), (0.999, ">.99"), (0.8, ".80"), (0.0, "<.01")])
def test_no_probability_is_rounded_to_certainty(value: float, told: str) -> None:
    assert likely(value) == told


def edges() -> pd.DataFrame:
    row = BASE.edges.iloc[0].to_dict()
    ends = [("L0H1", "L2H3", 0.5, 0.01), ("L0H1", "L4H0", -0.25, 0.2), ("L0H2", "L4H0", 0.1, 0.01)]
    return pd.DataFrame([row | {"sender": a, "receiver": b, "value": v, "q": q} for a, b, v, q in ends])


def test_an_edge_is_as_thick_as_its_effect_and_told_by_stroke_and_colour() -> None:
    figure: Any = path_edges(edges(), role="rules")
    drawn = {trace.customdata[0][0]: trace for trace in figure.data if trace.customdata is not None}
    strongest, against = (drawn[f"L0H1 (reading) to {to} (decision)"] for to in ("L2H3", "L4H0"))
    assert (strongest.line.width, against.line.width) == (9.0, 5.0)
    assert (strongest.line.dash, against.line.dash) == ("solid", "dot")
    assert (strongest.meta, against.meta) == ("series-0", "series-1")
    assert strongest.y.tolist()[::4] == [0, 2]
    assert figure.layout.yaxis.ticktext == ("layer 0", "layer 2", "layer 4")
    assert {"helps the answer", "works against it"} <= {trace.name for trace in figure.data if trace.showlegend}
    assert "95% interval [+0.400, +0.600]" in strongest.hovertemplate.replace(
        "%{customdata[2]}", strongest.customdata[0][2]
    )  # fmt: skip
    texts = next(trace for trace in figure.data if trace.mode == "text")
    assert sorted(texts.text) == ["L0H1", "L0H2", "L2H3", "L4H0"]
    with pytest.raises(UsageError, match=r"role 'facts'[\s\S]*one of: rules / logit_difference"):
        path_edges(edges(), role="facts")


def test_an_edge_of_equation_3_helps_where_it_is_negative() -> None:
    paper = edges().assign(score="paper", unit="probability")
    figure: Any = path_edges(paper, role="rules", score="paper", count=1)
    assert figure.data[0].meta == "series-1"


def swept() -> pd.DataFrame:
    base = BASE.ablation[(BASE.ablation["where"] == "chains") & (BASE.ablation["measure"] == "step_accuracy")]
    sets = [base.assign(set=name, size=size, value=1 - size / 10) for name, size in (("top 2", 2), ("top 6", 6))]
    return pd.concat([base, *sets, base.assign(set="shuffled", size=3)], ignore_index=True)


def test_the_ablation_curve_stands_among_its_random_sets() -> None:
    figure: Any = ablation_curve(swept(), heads=200, mode="zero")
    named = {trace.name: trace for trace in figure.data if (trace.mode and trace.mode != "lines") or trace.fill is None}
    assert named["top heads of all roles"].x.tolist() == pytest.approx([0.01, 0.03])
    assert named["top heads of all roles"].y.tolist() == pytest.approx([0.8, 0.4])
    assert named["random heads"].y.tolist() == pytest.approx([0.95, 0.95])
    assert named["the selection"].x.tolist() == pytest.approx([0.02])
    assert named["chosen with exchanged twins"].x.tolist() == pytest.approx([0.015])
    assert "100 of each kind and size" in figure.layout.meta["note"]
    with pytest.raises(UsageError, match="ablation 'mean'"):
        ablation_curve(swept(), heads=200, mode="mean")


def test_layers_lens_and_thresholds_are_lines_of_their_tables() -> None:
    figure: Any = layer_curve(BASE.layers, kind="decision")
    lines = [trace for trace in figure.data if trace.fill is None]
    assert [trace.name for trace in lines] == ["facts", "rules"]
    assert lines[0].y.tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert lines[0].line.dash != lines[1].line.dash
    curve: Any = confidence_curve(BASE.confidence)
    assert [trace.y.tolist() for trace in curve.data if trace.name == "deciding ones among the uncertain"][1:] == [
        pytest.approx([0.9, 0.9])
    ]
    with pytest.raises(UsageError, match="a lens table without rows"):
        readable_curve(BASE.lens)


def test_controls_stand_below_the_model() -> None:
    figure: Any = control_effects(BASE.controls)
    assert [trace.name for trace in figure.data] == ["the model", "exchanged twins", "untrained twin"]
    assert [trace.x.tolist()[0] for trace in figure.data] == pytest.approx([0.5, 0.1, 0.3])
    assert figure.layout.yaxis.ticktext[0] == "facts, reading"
    with pytest.raises(UsageError, match=r"measure 'best'[\s\S]*one of: held out effect, held out"):
        control_effects(BASE.controls, measure="best")
