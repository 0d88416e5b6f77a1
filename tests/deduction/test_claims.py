"""The source's claims: each holds, does not hold, or cannot be tested, by its rule on intervals and tests."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from claimcases import GRID, HEAD, circuit, told

from headscope.deduction.claims import CLAIMS, FAILS, HOLDS, UNTESTED, VERDICTS, claims
from headscope.deduction.costs import PAPER_K, SHAPES, cost, describe, paper_settings, shape_of
from headscope.deduction.heads import Selected
from headscope.deduction.settings import planned
from headscope.errors import RunError, UsageError
from headscope.grid import Grid
from headscope.plots.deduction import set_losses
from headscope.report.reproduction import render, summary
from headscope.reproducing import Reproduction, open_reproduction, reproduce

HOSTILE = "<script>alert(1)</script>"


def row(made: Any, name: str) -> Any:
    return claims(made).set_index("name").loc[name]


def test_all_claims_hold_where_every_interval_shows_them() -> None:
    table = claims(circuit())
    assert table["verdict"].tolist() == [HOLDS] * 8
    assert table["name"].tolist() == [each.name for each in CLAIMS]
    assert summary(table).startswith("8 of 8 claims hold (")
    measured = table.set_index("name")["measured"]
    assert "90 of 900 gold tokens below 0.8; 90% [80%, 95%] of them in the three components" in measured["uncertainty"]
    assert "4 of 200 heads (2.0%); without them 0.80 [0.70, 0.90] of 1.00" in measured["three percent"]
    assert measured["three percent"].endswith("; 4 heads (2.0%) surely cost more than half of them")
    assert "rules (centre): layer 1.0 to 5.0, +4.00 [+3.00, +5.00]" in measured["reading first"]
    assert "layer-matched sets 0.05 (p = 0.010)" in measured["necessary"]
    assert "resample, text: 0.20 nats against 2.00 nats on chains (0.10 of it)" in measured["selective"]


ALL, BASE = {"set": "all"}, circuit()
CHAINS = {"where": "chains", "measure": "step_accuracy", "mode": "zero"}
FALSE: dict[str, tuple[str, dict[str, Any], str]] = {
    "share reaches a half": ("uncertainty", {"confidence": told(BASE.confidence, {"component": "decisions"},
                             share_low=0.49, share_tokens=0.3)}, "it reaches 50%"),
    "share of tokens": ("uncertainty", {"confidence": told(BASE.confidence, {"component": "decisions"},
                        share_tokens=0.85)}, "it reaches 85%"),
    "too many heads": ("three percent", {"grid": Grid(8, 10)}, "5.0% is more than 1.5 times 3%"),
    "steps are left": ("three percent", {"ablation": told(BASE.ablation, CHAINS, lost_low=0.45)},
                       "they do not surely cost more than half"),
    "heads are shared": ("specialised", {"heads": told(BASE.heads, {"kind": "reading"}, rank_low=1)},
                         "reading heads are shared"),
    "depth reaches 0": ("reading first", {"depths": told(BASE.depths, {"role": "rules", "measure": "centre"}, low=0.0)},
                        "not shown for rules"),
    "random sets cost as much": ("necessary", {"ablation": told(BASE.ablation, {**CHAINS, "control": "layer"}, p=0.2)},
                                 "not for zero ablation against layer-matched sets"),
    "not far beyond": ("necessary", {"ablation": told(BASE.ablation, {**CHAINS, "control": "uniform"},
                       random_lost=0.5)}, "not for zero ablation against random sets"),
    "another task falls": ("selective", {"ablation": told(BASE.ablation, {"where": "ioi", "mode": "zero"},
                           lost_high=0.36)}, "not shown for ioi under zero ablation"),
    "text suffers": ("selective", {"ablation": told(BASE.ablation, {"where": "text", "mode": "resample"},
                     lost_high=0.8)}, "not shown for text under resample ablation"),
    "readable early": ("integration", {"lens": told(BASE.lens, {"component": "answer"}, low=3.4)},
                       "answer: not in the upper half"),
}  # fmt: skip


@pytest.mark.parametrize("case", FALSE)
def test_a_claim_does_not_hold_where_its_interval_reaches_the_bound(case: str) -> None:
    name, changes, why = FALSE[case]
    table = claims(circuit(**changes)).set_index("name")
    assert table.loc[name, "verdict"] == FAILS
    assert table.loc[name, "why"].startswith(why)
    others = table.drop(index=[name, *(["three percent"] if "chains" in str(changes) else [])])
    assert others["verdict"].eq(HOLDS).all(), "no other claim rests on this number"


EMPTY = BASE.ablation.iloc[:0]
OPEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "too sure": ("uncertainty", {"confidence": told(BASE.confidence, {"component": "all"}, uncertain=19)},
                 "fewer than 20 tokens are uncertain"),
    "no threshold": ("uncertainty", {"settings": {**BASE.settings, "threshold": 0.7}},
                     "there is no row of the threshold 0.7"),
    "nothing ablated": ("three percent", {"ablation": EMPTY}, "no head helps"),
    "one role": ("specialised", {"selected": tuple(Selected("facts", kind, (HEAD["facts", kind],))
                 for kind in ("reading", "decision"))}, "fewer than two roles"),
    "no depth": ("reading first", {"depths": told(BASE.depths, {"unit": "layers"}, difference=float("nan"))},
                 "no head of one of the kinds helps"),
    "no random sets": ("necessary", {"ablation": told(BASE.ablation, ALL, control="")}, "random sets of both kinds"),
    "few random sets": ("necessary", {"ablation": told(BASE.ablation, ALL, sets=18)}, "18 random sets cannot show"),
    "nothing else": ("selective", {"ablation": BASE.ablation[BASE.ablation["where"] == "chains"]}, "no other task"),
    "no lens": ("integration", {"lens": BASE.lens.iloc[:0]}, "the model cannot be cut open"),
    "nothing right": ("integration", {"lens": told(BASE.lens, {"measure": "settled"}, value=float("nan"))},
                      "the model gets none"),
}  # fmt: skip


@pytest.mark.parametrize("case", OPEN)
def test_what_was_not_measured_is_not_judged(case: str) -> None:
    name, changes, why = OPEN[case]
    found = row(circuit(**changes), name)
    assert found.verdict == UNTESTED
    assert found.why.startswith(why)


def test_a_model_that_fails_the_chains_has_no_claim_about_heads_tested() -> None:
    unable = told(BASE.ablation, {"where": "own chains"}, intact=0.1)
    table = claims(circuit(ablation=unable)).set_index("name")
    assert table.drop(index="uncertainty")["verdict"].eq(UNTESTED).all()
    assert table.loc["uncertainty", "verdict"] == HOLDS
    assert table.loc["necessary", "why"].startswith("the model gets 10% of the steps of its own chains right")


def test_the_smallest_set_that_costs_half_is_named() -> None:
    weak = told(BASE.ablation, {"where": "chains", "measure": "step_accuracy"}, lost_low=0.3)
    assert row(circuit(ablation=weak), "three percent").measured.endswith("; no larger set that was tried surely costs "
                                                                          "more than half of them")  # fmt: skip
    larger = [BASE.ablation.assign(set=f"top {size}", size=size) for size in (20, 12)]
    one = told(larger[1], CHAINS, lost_low=0.4)  # the smaller of the two does so under one ablation only
    both = pd.concat([weak, larger[0], one], ignore_index=True)
    assert "; 20 heads (10.0%) surely cost" in row(circuit(ablation=both), "three percent").measured


def test_the_traversal_cannot_be_tested_without_demonstrations_and_says_why() -> None:
    without = BASE.heads[BASE.heads["role"] != "demonstrations"]
    why = "task 'chains-demonstrations' in plain words on 'mini': they have no demonstrations to corrupt"
    found = row(circuit(heads=without, notes=(f"role 'demonstrations' left out: {why}",)), "traversal")
    assert (found.verdict, found.measured, found.why) == (UNTESTED, "no such heads were sought", why)
    measured = row(circuit(), "traversal").measured
    assert "reading: best AIE 0.0200 [0.0100, 0.0300] (L1H1), 1 heads help at q < 0.05" in measured


def test_controls_stand_beside_each_claim() -> None:
    beside = claims(circuit()).set_index("name")["controls"]
    assert beside["uncertainty"] == (
        "untrained twin: 900 of 900 tokens are uncertain, 55% [50%, 60%] of them in the three components, which are "
        "56% of the tokens"
    )
    model, *twin, exchanged = beside["three percent"].split("; ")
    assert model == (
        "the model: best AIE held out: reading 0.500, decision 0.500, best effect held out: reading 0.500, decision "
        "0.500 logits of a change of up to 9.0"
    )
    assert "it selects 3 heads, 2 of them the model's own (by chance 0.1)" in twin
    assert exchanged == "it selects 2 heads, 0 of them the model's own (by chance 0.0)"
    assert "untrained twin: 1 of 1 intervals lie above 0 (differences +1.00 to +1.00 layers)" in beside["reading first"]
    assert "exchanged twins: 0 of 1 intervals" in beside["reading first"]
    assert beside["integration"] == "untrained twin: 1% of the gold tokens are readable after the last layer"
    assert set(claims(circuit(controls=BASE.controls.iloc[:0]))["controls"]) == {
        "no controls were run", "none: there is nothing to set them beside"
    }  # fmt: skip


def test_heads_that_a_control_selects_are_ablated_beside_the_models_own() -> None:
    chosen = BASE.ablation[BASE.ablation["where"] == "chains"].assign(set="shuffled", size=3, random_lost=0.1)
    beside = row(circuit(ablation=pd.concat([BASE.ablation, chosen]), sizes={"all": 4, "shuffled": 3}), "necessary")
    assert beside.controls == (
        "exchanged twins: it selects 3 heads, without which the model loses 0.80 [0.70, 0.90] (resample, layer-matched "
        "sets 0.10) and 0.80 [0.70, 0.90] (zero, layer-matched sets 0.10) of its steps"
    )
    assert beside.verdict == HOLDS, "controls inform, they do not judge"


def test_a_stopped_study_says_what_was_not_measured() -> None:
    empty = {name: getattr(BASE, name).iloc[:0] for name in ("ablation", "controls")}
    made = circuit(stopped="ablation on chains", seconds={"ability": 1.0, "heads": 2.0}, **empty)
    table = claims(made).set_index("name")
    assert table.loc["uncertainty", "verdict"] == HOLDS
    assert table.loc[["three percent", "necessary", "selective"], "why"].unique().tolist() == [
        "the run was stopped before it, during: ablation on chains"
    ]
    page = render({}, made, claims(made))
    assert "The run was stopped during: ablation on chains. Finished before it: ability, heads." in page


def test_the_page_holds_every_claim_and_escapes_what_comes_from_outside(tmp_path: Path) -> None:
    made = circuit(HOSTILE, notes=(HOSTILE,))
    table = claims(made)
    page = render({"paper": HOSTILE, "provenance": {"command": [HOSTILE]}}, made, table.assign(measured=HOSTILE))
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10
    assert all(each.replace("'", "&#39;") in page for each in table["claim"])
    assert page.count('class="badge ok"') == 8


def test_a_reproduction_comes_back_from_its_folder(tmp_path: Path) -> None:
    made = circuit()
    saved = Reproduction(identity={"paper": "p", "model": made.model}, circuit=made, claims=claims(made))
    back = open_reproduction(saved.save(tmp_path / "run"))
    assert back.claims.equals(saved.claims)
    assert back.identity == saved.identity
    assert back.circuit.selected == made.selected
    assert claims(back.circuit)["verdict"].tolist() == [HOLDS] * 8
    (tmp_path / "run" / "claims.parquet").unlink()
    with pytest.raises(RunError, match=r"run.json and claims.parquet as headscope reproduce writes them"):
        open_reproduction(tmp_path / "run")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_costs_follow_from_the_settings(shape: Any) -> None:
    settings = paper_settings(shape.name)
    found = cost(shape, settings, dtype="bfloat16")
    assert settings.k == PAPER_K.get(shape.name, 5)
    assert (settings.n, settings.mode, settings.modes) == (500, "paper", ("zero",))
    assert found["forwards"] == sum(planned(shape.grid, settings, roles=4).values())
    assert found["flops"] == 2 * shape.parameters * 1800 * found["forwards"]
    assert found["weights"] == 2 * shape.parameters
    assert f"{shape.grid.layers} layers of {shape.grid.heads} heads" in describe(shape, settings)
    upper = settings.k * 6 / shape.grid.size
    assert 0.025 < upper <= 0.03, "the source's budget of heads"
    assert shape_of(shape.name.rsplit("/", 1)[-1].upper()) is shape


def test_what_cannot_be_asked_is_told_in_three_parts() -> None:
    with pytest.raises(UsageError) as caught:
        reproduce("three-percent", "mini", sets=5)
    assert (caught.value.given, caught.value.expected) == ("sets 5", "20 or more")
    with pytest.raises(UsageError, match=r"expected: one of: float32, bfloat16, float16"):
        cost(SHAPES[0], paper_settings("phi-4"), dtype="int8")


def test_verdicts_are_three() -> None:
    assert VERDICTS == ("holds", "does not hold", "cannot be tested on this model")
    assert GRID.size == 200


def test_random_sets_stand_below_the_heads_that_they_are_compared_with() -> None:
    figure: Any = set_losses(circuit().ablation)
    heads, random, layer = figure.data
    assert heads.x.tolist() == pytest.approx([0.2, 0.2])
    assert random.x.tolist() == layer.x.tolist() == [0.95, 0.95]
    assert [trace.y.tolist() for trace in figure.data] == [[0, 1], [0.25, 1.25], [0.5, 1.5]]
    assert figure.layout.yaxis.ticktext == ("all (4 heads), resample", "all (4 heads), zero")
