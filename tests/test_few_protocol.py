"""Do a few heads carry a task? Sets, ratios and sizes against plain runs; planted answers; untrained models."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import tiny
from fixtures_tasks import random_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from headscope import metrics
from headscope.errors import UsageError
from headscope.few import Few, Settings, areas, concentration, few_from, few_heads, overlaps
from headscope.few.areas import MIB_SHARES, kept
from headscope.few.concentration import claimed
from headscope.few.curves import Curve, Sample, smallest
from headscope.few.interventions import Bench
from headscope.few.outcome import TABLES
from headscope.few.overlap import chance
from headscope.few.split import split
from headscope.few.study import Study, study
from headscope.few.sweep import sweep
from headscope.few.units import layer_matched_sets, units_of
from headscope.few.verdict import FEW, NEEDED, NOTHING, UNABLE
from headscope.grid import Grid
from headscope.methods.patching import patching
from headscope.methods.replacements import resample_donors
from headscope.methods.twins import DEFAULTS, Limits
from headscope.models import Edit, Model, load
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

QUICK = Settings(sets=20, controlled=4, shadowed=4, resamples=200, twin=False, regardless=True)


@pytest.fixture(scope="module")
def planted() -> Model:
    plant = Plant(induction=((0, 1), (1, 2)))
    return load(planted_model(plant, grid=Grid(2, 4), vocabulary=40, positions=32), device="cpu")


@pytest.fixture(scope="module")
def induction(planted: Model) -> Pairs:
    return TASKS["induction"].build(planted, n=40, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def found(planted: Model, induction: Pairs) -> Few:
    return few_heads(planted, induction, settings=replace(QUICK, claim=0.25, twin=True, regardless=False))


def ablated_plainly(model: Model, pairs: Pairs, heads: list[tuple[int, int]], kind: str) -> np.ndarray:
    """The metric with heads ablated together: one whole forward, values from plain runs of the prompts."""
    if kind == "zero":
        z = torch.zeros_like(model.outputs(pairs.tokens, pairs.mask))
    elif kind == "counterfactual":
        z = model.outputs(pairs.corrupted, pairs.mask)
    else:
        donors = resample_donors(pairs, seed=0)
        assert (pairs.mask.sum(1)[donors] == pairs.mask.sum(1)).all(), "a plain donor needs prompts of one length"
        z = model.outputs(pairs.tokens[donors], pairs.mask)
    edits = []
    for layer in sorted({layer for layer, _ in heads}):
        chosen = torch.zeros(len(pairs), model.grid.heads, dtype=torch.bool)
        chosen[:, [head for where, head in heads if where == layer]] = True
        edits.append(Edit(layer=layer, heads=chosen, values=z[layer]))
    return metrics.evaluate(model.run_at(pairs.tokens, pairs.mask, pairs.end, edits=edits), pairs).numpy()


# --- sets of heads against plain forwards


@pytest.mark.parametrize("kind", ["zero", "counterfactual", "resample"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox"])
def test_sets_are_ablated_as_a_whole_forward_does(architecture: str, kind: str) -> None:
    model, pairs = load(tiny(architecture), device="cpu"), random_pairs(n=12)
    pairs = pairs.select((pairs.mask.sum(1) == pairs.mask.sum(1).mode().values).nonzero()[:, 0])
    assert len(pairs) >= 3
    units = units_of(model)
    bench = Bench(model=model, pairs=pairs, units=units, seed=0, limits=DEFAULTS)
    order = np.random.default_rng(0).permutation(len(units))
    swept = sweep(bench, order, [1, 5], kind=kind)
    assert swept.without.size.tolist() == swept.alone.size.tolist() == [0, 1, 5, len(units)]
    heads = [divmod(int(unit), model.grid.heads) for unit in order]
    for column, size in enumerate(swept.alone.size.tolist()):
        without = ablated_plainly(model, pairs, heads[:size], kind)
        alone = ablated_plainly(model, pairs, heads[size:], kind)
        np.testing.assert_allclose(swept.without.values[bench.main][:, column], without, atol=1e-5)
        np.testing.assert_allclose(swept.alone.values[bench.main][:, column], alone, atol=1e-5)


def test_accuracies_under_ablation_are_those_of_the_logits(gpt2_model: Model) -> None:
    pairs = random_pairs(n=20)
    bench = Bench(model=gpt2_model, pairs=pairs, units=units_of(gpt2_model), seed=0, limits=DEFAULTS)
    values = bench.ablated([np.array([1])], kind="zero")
    assert bench.also == ("choice", "accuracy")
    chosen = torch.tensor([[False, True, False, False]]).expand(len(pairs), -1)
    edit = Edit(layer=0, heads=chosen, values=torch.zeros_like(gpt2_model.outputs(pairs.tokens, pairs.mask)[0]))
    logits = gpt2_model.run_at(pairs.tokens, pairs.mask, pairs.end, edits=[edit])
    np.testing.assert_array_equal(values["choice"][:, 0], [chosen_by_hand(*row) for row in rows_of(logits, pairs)])
    np.testing.assert_array_equal(values["accuracy"][:, 0], metrics.correct(logits, pairs).numpy())


def rows_of(logits: torch.Tensor, pairs: Pairs) -> list[tuple[list[float], list[float]]]:
    """The logits of each example's answers and of its foils."""
    return [
        ([float(row[i]) for i in answers if i >= 0], [float(row[i]) for i in foils if i >= 0])
        for row, answers, foils in zip(logits, pairs.answers.tolist(), pairs.foils.tolist(), strict=True)
    ]


def chosen_by_hand(answers: list[float], foils: list[float]) -> bool:
    return answers[0] > max(foils) if len(answers) == 1 else np.mean(answers) > np.mean(foils)


@pytest.mark.slow
def test_batches_and_limits_change_nothing(planted: Model, induction: Pairs, found: Few) -> None:
    asked = replace(QUICK, claim=0.25, twin=True, regardless=False)
    again = few_heads(planted, induction, settings=asked, limits=Limits(batch_size=3, memory=2**20))
    for name in TABLES:
        # Planted heads leave ties, which rounding decides one way or the other.
        one, other = (_without_ties(getattr(few, name)) for few in (again, found))
        pd.testing.assert_frame_equal(one, other, atol=1e-6, rtol=1e-3)


def _without_ties(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame["measure"].str.contains("accuracy|top1")] if "measure" in frame else frame


def test_the_order_of_examples_changes_no_choice(planted: Model, induction: Pairs, found: Few) -> None:
    shuffled = induction.select(torch.randperm(len(induction), generator=torch.Generator().manual_seed(1)))
    asked = replace(QUICK, claim=0.25, twin=True, regardless=False)
    again = few_heads(planted, shuffled, settings=asked)
    pd.testing.assert_frame_equal(again.heads, found.heads, atol=1e-6)
    pd.testing.assert_frame_equal(_without_ties(again.controls), _without_ties(found.controls), atol=1e-6)


# --- the verdict on planted heads


def test_the_planted_pair_is_the_verdict(found: Few) -> None:
    assert found.label == FEW
    assert set(found.heads["label"][:2]) == {"L0H1", "L1H2"}
    assert found.facts["k"] == 2
    least = found.smallest.set_index(["ablation", "measure", "target"])["k"]
    assert least["resample", "faithfulness", 0.9] == 2
    assert least["", "effect", 0.9] == 2
    assert least["resample", "necessity", 0.9] == 1, "either head alone breaks the chain"
    assert found.text.startswith(
        "induction: accuracy 1.00 on 20 held-out pairs. The top 2 of 8 heads (25 %), chosen on"
    )
    assert found.text.endswith("The claim that about 25 % of heads carry a task holds here.")
    assert found.criteria.set_index("criterion")["met"].all()


def test_curves_begin_and_end_where_they_must(found: Few) -> None:
    curve = found.curve.set_index(["measure", "ablation", "k"])["value"]
    for kind in ("resample", "mean", "zero", "counterfactual"):
        assert (curve["necessity", kind, 0], curve["faithfulness", kind, 0]) == (0, 0)
        assert curve["necessity", kind, 8] == pytest.approx(1)
        assert curve["faithfulness", kind, 8] == pytest.approx(1)
        assert (
            curve["accuracy_necessity", kind, 0] == curve["accuracy_faithfulness", kind, 8] == found.facts["accuracy"]
        )
        assert curve["accuracy_necessity", kind, 8] == curve["accuracy_faithfulness", kind, 0]
    assert (found.curve["low"].dropna() <= found.curve["value"][found.curve["low"].notna()] + 1e-9).all()


def test_random_sets_seldom_hold_the_pair(found: Few) -> None:
    rows = found.controls.set_index(["measure", "control", "k"])
    for control in ("uniform", "layer"):
        assert rows.loc[("faithfulness", control, 2), "p"] < 0.2
        assert control == "uniform" or rows.loc[("necessity", control, 2), "p"] == 1 / 21
        assert rows.loc[("faithfulness", control, 2), "mean"] < 0.5
        assert rows.loc[("faithfulness", control, 2), "sets"] == 20
    assert (found.controls["p"] >= 1 / 21).all()


def test_a_complete_set_lacks_nothing_and_needs_both(found: Few) -> None:
    probes = found.probes.set_index("probe")
    assert probes.loc["completeness", "value"] < 0.05
    assert (probes.loc["minimality", "value"] > 0.9).all()
    assert set(probes.loc["minimality", "members"]) == {"L0H1", "L1H2"}


def several(heads: int, seed: int) -> Model:
    """A planted model in which `heads` act: one notes the previous token, all others are equal shares of induction."""
    grid = Grid(2, 8)
    plain = planted_model(Plant(induction=((0, 0), (1, 0))), grid=grid, vocabulary=40, positions=32, seed=seed)
    attention, size = plain.transformer.h[1].attn, plain.config.n_embd // grid.heads
    with torch.no_grad():
        for head in range(1, heads - 1):
            for part in range(3):
                start = part * plain.config.n_embd
                for values in (attention.c_attn.weight, attention.c_attn.bias[None]):
                    values[:, start + head * size : start + (head + 1) * size] = values[:, start : start + size]
            attention.c_proj.weight[head * size : (head + 1) * size] = attention.c_proj.weight[:size]
        attention.c_proj.weight[: (heads - 1) * size] /= heads - 1
    return load(plain, device="cpu", check=False)


def smallest_of(heads: int, seed: int) -> float:
    model = several(heads, seed)
    pairs = TASKS["induction"].build(model, n=40, rng=np.random.default_rng(seed))
    found = study(model, split(pairs, seed=seed), replace(QUICK, seed=seed), DEFAULTS)
    return smallest(found.curves["faithfulness"], 0.9)[0].value


@pytest.mark.parametrize("heads", [2, 3, 5])
def test_the_smallest_set_is_the_planted_one(heads: int) -> None:
    assert [smallest_of(heads, seed) for seed in range(3)] == [heads] * 3


@pytest.mark.slow
@pytest.mark.parametrize("heads", [2, 4, 6])
def test_the_smallest_set_is_the_planted_one_in_95_of_100_seeds(heads: int) -> None:
    assert sum(smallest_of(heads, seed) == heads for seed in range(100)) >= 95


# --- untrained models are no evidence


def untrained_label(seed: int) -> str:
    torch.manual_seed(seed)
    config = GPT2Config(n_layer=4, n_head=8, n_embd=64, vocab_size=60, n_positions=32, bos_token_id=1, eos_token_id=2)
    model = load(GPT2LMHeadModel(config), device="cpu", check=False)
    pairs = TASKS["induction"].build(model, n=80, rng=np.random.default_rng(seed))
    return few_heads(model, pairs, settings=replace(QUICK, seed=seed, beside=())).label


def test_an_untrained_model_has_no_few_heads() -> None:
    assert not {FEW, NEEDED} & {untrained_label(seed) for seed in range(2)}


@pytest.mark.slow
def test_an_untrained_model_has_no_few_heads_in_95_of_100_seeds() -> None:
    labels = [untrained_label(seed) for seed in range(100)]
    said = {"not concentrated / not stable", NOTHING, "concentrated, but not stable", "stable, but not concentrated"}
    assert sum(label in said for label in labels) >= 95, pd.Series(labels).value_counts().to_dict()


def test_a_task_that_the_model_fails_gets_that_verdict_and_nothing_else() -> None:
    model = load(tiny("gpt2"), device="cpu")
    few = few_heads(model, random_pairs(n=40), settings=replace(QUICK, regardless=False))
    assert few.label == UNABLE
    assert few.text.count(".") == few.text.count("0.") + few.text.count("1.") + 1, "one sentence"
    assert few.text.startswith("random: the model does not do this task (accuracy ")
    assert all(getattr(few, name).empty for name in TABLES)
    assert overlaps([few]).empty


# --- bad input


def test_a_prompt_in_both_halves_is_refused(gpt2_model: Model) -> None:
    pairs = random_pairs(n=20)
    twice = pairs.select(torch.arange(20).repeat(2))
    twice = replace(twice, groups=torch.arange(40))
    with pytest.raises(UsageError) as refusal:
        few_heads(gpt2_model, twice, settings=QUICK)
    assert "prompts that are in both halves (pairs " in str(refusal.value)
    assert "give equal prompts the same group" in str(refusal.value)


def test_duplicates_of_one_group_are_no_leak(gpt2_model: Model) -> None:
    pairs = random_pairs(n=20)
    twice = replace(pairs.select(torch.arange(20).repeat(2)), groups=torch.arange(20).repeat(2))
    halves = split(twice, seed=0)
    assert len(halves.select) + len(halves.measure) == 40


def test_too_few_groups_say_how_many_are_needed(gpt2_model: Model) -> None:
    pairs = random_pairs(n=12)
    with pytest.raises(UsageError) as refusal:
        few_heads(gpt2_model, replace(pairs, groups=torch.arange(12) // 2), settings=QUICK)
    assert str(refusal.value).startswith("task 'random': 12 pairs of 6 groups\n  expected: 10 groups or more (5 to")
    assert "ask for more pairs with -n" in str(refusal.value)


def test_a_wide_interval_says_how_many_pairs_would_decide(planted: Model) -> None:
    pairs = TASKS["induction"].build(planted, n=40, rng=np.random.default_rng(0))
    few = few_heads(planted, pairs, settings=replace(QUICK, claim=0.125))
    share = few.curve.set_index(["measure", "k"]).loc[("effect", 1)]
    if share["low"] <= 0.5 < share["high"]:
        assert f"about {few.facts['needed']} pairs in each half would decide it" in few.text
    assert few.label not in (FEW, NEEDED)


# --- what is written comes back


def test_a_result_survives_json(found: Few) -> None:
    back = few_from(json.loads(json.dumps(found.record(), allow_nan=False)))
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(back, name), getattr(found, name), check_dtype=False)
    assert (back.label, back.text, dict(back.facts)) == (found.label, found.text, dict(found.facts))


def test_the_twin_is_run_once(
    planted: Model, induction: Pairs, tmp_path, monkeypatch: pytest.MonkeyPatch, found: Few
) -> None:
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path))
    asked = replace(QUICK, claim=0.25, twin=True)
    first = few_heads(planted, induction, settings=asked)
    (kept_file,) = tmp_path.rglob("*.safetensors")
    before = kept_file.stat().st_mtime_ns
    second = few_heads(planted, induction, settings=asked)
    assert kept_file.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(second.twin, first.twin)
    pd.testing.assert_frame_equal(first.twin, found.twin, atol=1e-6)
    kept_file.write_bytes(b"not a tensor file")
    third = few_heads(planted, induction, settings=asked)
    pd.testing.assert_frame_equal(third.twin, first.twin)
    few_heads(planted, induction.select(torch.arange(30)), settings=asked)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2, "other prompts, another entry"


# --- pure parts


def test_published_heads_imply_what_was_published() -> None:
    ioi = np.zeros((12, 12))
    circuit = (
        "9.9 10.0 9.6 10.10 10.6 10.2 10.1 11.2 9.7 9.0 11.9 10.7 11.10 7.3 7.9 8.6 8.10 5.5 5.8 5.9 6.9 0.1 0.10 3.0 "
        "2.2 4.11"
    )
    for name in circuit.split():
        ioi[tuple(int(part) for part in name.split("."))] = 1
    published = concentration(ioi, threshold=1.0)
    assert (published.over, published.heads, round(published.share_over, 2)) == (26, 144, 0.18)
    counts = {"Llama-2-7b-80k": (33, 1024, 3.22), "Llama-2-13b-64k": (33, 1600, 2.06), "Mixtral": (63, 1024, 6.15)}
    for over, heads, share in counts.values():
        scores = np.full(heads, 0.01)
        scores[:over] = np.linspace(0.94, 0.1, over)
        assert round(100 * concentration(scores, threshold=0.1).share_over, 2) == share
    assert [claimed(heads) for heads in (144, 72, 1024, 1152, 1600)] == [4, 2, 31, 35, 48]


@given(st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=30), st.floats(0.05, 1))
@settings(derandomize=True, max_examples=60)
def test_the_smallest_number_is_found_by_trying(values: list[float], target: float) -> None:
    found = concentration(np.array(values), targets=[target])
    positive = sorted((value for value in values if value > 0), reverse=True)
    if not positive:
        assert np.isnan(found.share)
        assert np.isnan(found.smallest[target])
        return
    k = found.smallest[target]
    assert sum(positive[:k]) >= target * sum(positive) * (1 - 1e-9)
    assert sum(positive[: k - 1]) < target * sum(positive)


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
@settings(derandomize=True, max_examples=40)
def test_between_0_and_1_the_areas_share_the_axis(values: list[float]) -> None:
    cpr, cmd = areas(np.array(values))
    assert cpr + cmd == pytest.approx(1 - MIB_SHARES[0])


def test_areas_of_curves_that_can_be_done_by_hand() -> None:
    nothing_until_all = np.array([0.0] * 9 + [1.0])
    assert [round(float(area), 3) for area in areas(nothing_until_all)] == [0.25, 0.749], "MIB's random edges: .25, .75"
    assert [float(area) for area in areas(np.ones(10))] == pytest.approx([0.999, 0])
    assert [float(area) for area in areas(np.full(10, 2.0))] == pytest.approx([1.998, 0.999]), "CPR can exceed 1"
    straight = np.array(MIB_SHARES)
    assert float(areas(straight)[0]) == pytest.approx((1 - 0.001**2) / 2)
    assert kept(144).tolist() == [0, 0, 0, 1, 2, 7, 14, 28, 72, 144]


def test_the_smallest_size_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    size = np.array([1, 2, 5, 9])
    drawn = np.sort(rng.random((400, 4)), axis=1)
    curve = Curve(size=size, value=np.array([0.2, 0.45, 0.6, 0.8]), low=drawn[0], high=drawn[0], drawn=drawn)
    found, reason = smallest(curve, 0.5)
    firsts = sorted(next((k for k, value in zip(size, row, strict=True) if value >= 0.5), np.inf) for row in drawn)
    assert found.value == 5
    assert found.low == firsts[int(0.025 * 399)]
    assert np.isnan(found.high) == bool(np.isinf(firsts[int(np.ceil(0.975 * 399))]))
    assert reason == ("" if not np.isnan(found.high) else "more than 2.5 % of the resamples do not reach it with 9")
    assert smallest(curve, 0.95)[1] == "not reached with up to 9"


def test_a_ratio_to_nothing_is_absent_with_its_reason() -> None:
    sample = Sample.of(np.arange(30), seed=0, resamples_=200)
    whole = np.random.default_rng(0).normal(0, 1, 30)
    curve = sample.ratio_curve(np.array([1]), whole[:, None], whole)
    assert np.isnan(curve.value).all()
    assert curve.reason.startswith("all heads together make a difference of ")
    assert curve.reason.endswith(", which may be none")


def test_layer_matched_sets_have_the_layers_of_the_chosen_one(gpt2_model: Model) -> None:
    units = units_of(gpt2_model)
    chosen = np.array([0, 1, 2, 5, 9])
    for drawn in layer_matched_sets(units, chosen, sets=30, rng=np.random.default_rng(0)):
        assert sorted(units.layer[drawn]) == sorted(units.layer[chosen])
        assert len(set(drawn.tolist())) == len(chosen)
        assert not {5, 9} & set(drawn.tolist()), "the chosen ones are left out where others are left"


def test_groups_of_shared_keys_are_counted_together() -> None:
    model = load(tiny("llama"), device="cpu")
    units = units_of(model, "group")
    assert len(units) == 6
    assert units.heads.sum((1, 2)).tolist() == [2] * 6
    assert units.heads.sum(0).eq(1).all()
    few = few_heads(model, random_pairs(n=24), settings=replace(QUICK, unit="group"))
    assert few.facts["units"] == 6
    assert set(few.heads["label"]) == {f"L{layer}G{group}" for layer in range(3) for group in range(2)}


def test_overlap_between_tasks_by_brute_force(found: Few) -> None:
    other = replace(found, task="other", heads=found.heads.iloc[::-1].reset_index(drop=True))
    (row,) = overlaps([found, other]).to_dict("records")
    tops = [set(each.heads["label"][:2]) for each in (found, other)]
    assert row["jaccard"] == len(tops[0] & tops[1]) / len(tops[0] | tops[1])
    assert (row["one"], row["other"]) == ("induction", "other")
    rng = np.random.default_rng(0)
    drawn = [
        len(one & two) / len(one | two)
        for one, two in (
            (set(rng.choice(9, 3, replace=False).tolist()), set(rng.choice(9, 4, replace=False).tolist()))
            for _ in range(4000)
        )
    ]
    assert chance(3, 4, 9) == pytest.approx(np.mean(drawn), abs=0.01)


def test_effects_are_the_patching_of_every_head(gpt2_model: Model) -> None:
    pairs = random_pairs(n=24)
    found: Study = study(gpt2_model, split(pairs, seed=0), QUICK, DEFAULTS)
    plain = patching(gpt2_model, split(pairs, seed=0).measure)["denoising"].flatten(1).numpy()
    np.testing.assert_allclose(found.effects, plain, atol=1e-9)
    assert found.order.tolist() == np.argsort(-found.choice.mean, kind="stable").tolist()


def test_settings_say_all_that_is_wrong() -> None:
    with pytest.raises(UsageError) as refusal:
        Settings(unit="heads", ablation="reample", claim=3.0, sets=5)
    assert str(refusal.value).startswith("unit 'heads'; ablation 'reample'; claim 3.0; sets 5\n")
