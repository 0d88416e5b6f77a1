"""What is lost without heads equals plain edited runs, and random sets are what they should be."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headscope.deduction.ablation import (
    ABLATION,
    NO_CONTROL,
    Lost,
    Sets,
    _measured,
    ablation_table,
    drawn,
    on_chains,
    on_task,
    on_text,
    vocabulary_of,
)
from headscope.deduction.confidence import gold_tokens
from headscope.deduction.forward import Read, donors
from headscope.deduction.sets import HeadSet, layer_matched, uniform
from headscope.deduction.texts import Text, determined, sentences
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.ablation import ablate_sets
from headscope.models import Model, load
from headscope.models.protocol import Edit
from headscope.prompts import Prompts
from headscope.tasks import TASKS
from headscope.tasks.chains import COMPONENTS, Chains, draw_chains

HEADS: HeadSet = ((0, 8), (1, 1), (1, 15), (3, 2))


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", check=False)


@pytest.fixture(scope="module")
def chains(mini: Model) -> Chains:
    return draw_chains(mini, n=5, rng=np.random.default_rng(1))


def edited(model: Model, prompts: Prompts, heads: HeadSet, mode: str, seed: int = 0) -> Tensor:
    """Log-probabilities of every example's tokens in a whole run with the heads replaced, from the model itself."""
    other = donors(prompts, seed)
    z = model.outputs(prompts.tokens, prompts.mask)
    edits = []
    for layer in sorted({layer for layer, _ in heads}):
        chosen = torch.zeros(len(prompts), model.grid.heads, dtype=torch.bool)
        chosen[:, [head for at, head in heads if at == layer]] = True
        values = torch.zeros_like(z[layer])
        if mode == "resample":
            for row, donor in enumerate(other.tolist()):
                last = int(prompts.mask[donor].sum()) - 1
                places = torch.arange(values.shape[1]).clamp(max=last)
                values[row] = z[layer, donor, places]
        edits.append(Edit(layer=layer, heads=chosen, values=values))
    return model.run(prompts.tokens, prompts.mask, edits=edits).double().log_softmax(-1)


@pytest.mark.parametrize("mode", ["zero", "resample"])
def test_chains_equal_plain_edited_runs(mini: Model, chains: Chains, mode: str) -> None:
    (lost,) = on_chains(mini, chains, [HEADS], modes=[mode])
    logits, reads = edited(mini, chains, HEADS, mode), gold_tokens(chains)
    for index in range(len(chains)):
        at = reads[index].nonzero()[:, 0]
        gold = chains.tokens[index, at]
        surprisal = -logits[index, at - 1, gold]
        assert lost.values["surprisal"][index, 1] == pytest.approx(float(surprisal.mean()), abs=1e-4)
        right = logits[index, at - 1].argmax(-1) == gold
        missed = lost.values["format_failures"][index, 1] + lost.values["wrong_answers"][index, 1]
        assert missed == pytest.approx(float((~right).double().mean()))
        steps, deciding = chains.step[index, at], chains.component[index, at] != COMPONENTS.index("syntax")
        kept = [bool(right[deciding & (steps == step)].all()) for step in sorted(set(steps[deciding].tolist()))]
        assert lost.values["step_accuracy"][index, 1] == pytest.approx(np.mean(kept))
        assert lost.values["exact"][index, 1] == all(kept)
    assert lost.values["surprisal"][:, 1].mean() > lost.values["surprisal"][:, 0].mean()


def test_text_equals_plain_edited_runs(mini: Model, chains: Chains) -> None:
    reads = chains.mask & (torch.rand(chains.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    reads[:, :2] = torch.tensor([False, True])
    (lost,) = on_text(mini, Text(name="own", prompts=chains, reads=reads), [HEADS], modes=["resample"])
    logits = edited(mini, chains, HEADS, "resample")
    for index in range(len(chains)):
        at = reads[index].nonzero()[:, 0]
        loss = -logits[index, at - 1, chains.tokens[index, at]].mean()
        assert lost.values["loss"][index, 1] == pytest.approx(float(loss), abs=1e-4)
    assert lost.where == "own"


def test_determined_words_are_what_the_grammar_determines(mini: Model) -> None:
    text = determined(mini, n=11, rng=np.random.default_rng(0))
    (lost,) = on_text(mini, text, [tuple(mini.grid)], modes=["zero"])
    intact, without = lost.values["loss"].mean(0)
    assert intact < 1  # a guess among all tokens costs 6.5
    assert without > 3


@pytest.mark.slow
def test_plain_text_is_read_but_for_the_first_token(mini: Model) -> None:
    text = sentences(mini, n=5, rng=np.random.default_rng(0))
    assert torch.equal(text.reads[:, 1:], text.prompts.mask[:, 1:])
    assert not text.reads[:, 0].any()


def test_a_task_loses_what_ablation_says(mini: Model) -> None:
    pairs = TASKS["ioi"].build(mini, n=6, rng=np.random.default_rng(0))
    everything = tuple(mini.grid)
    (lost,) = on_task(mini, pairs, [HEADS, everything], modes=["zero"])
    wanted = ablate_sets(mini, replace(pairs, metric="choice"), [HEADS, everything], kind="zero").numpy()
    assert lost.values["accuracy"][:, :1] - lost.values["accuracy"][:, 1:] == pytest.approx(wanted)
    assert lost.values["accuracy"][:, 0].mean() == 1  # mini does the task


def test_a_broken_form_is_told_from_a_wrong_answer(mini: Model, chains: Chains) -> None:
    one = chains.select(torch.tensor([0]))
    reads, heard = gold_tokens(one), vocabulary_of(chains, mini.vocabulary)
    gold, component = one.tokens[reads], one.component[reads]
    said = gold.clone()
    rule, answer = (int((component == COMPONENTS.index(name)).nonzero()[0]) for name in ("rule_selection", "answer"))
    selected = COMPONENTS.index("rule_selection")
    said[rule] = next(each for each in heard[selected].nonzero()[:, 0].tolist() if each != gold[rule])
    said[answer] = gold[rule]  # an adjective where yes or no should stand
    found = _measured(one, reads, Read(torch.zeros(len(gold), dtype=torch.float64), said), heard)
    assert found["wrong_answers"][0] == pytest.approx(1 / len(gold))
    assert found["format_failures"][0] == pytest.approx(1 / len(gold))
    steps = len(one.chains[0].derivation.steps) + 1  # the answer is a step of its own
    assert found["step_accuracy"][0] == pytest.approx((steps - 2) / steps)
    assert found["exact"][0] == 0


def test_every_mode_is_known(mini: Model, chains: Chains) -> None:
    with pytest.raises(UsageError, match="heads removed by 'mean'"):
        on_chains(mini, chains, [HEADS], modes=["mean"])


@settings(derandomize=True, max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 12))
def test_random_sets_are_of_the_same_size_and_layers(seed: int, size: int) -> None:
    grid, rng = Grid(4, 6), np.random.default_rng(seed)
    (chosen,) = uniform(grid, size, sets=1, rng=rng)
    assert len(set(chosen)) == size
    layers = Counter(layer for layer, _ in chosen)
    for each in layer_matched(grid, chosen, sets=5, rng=rng):
        assert Counter(layer for layer, _ in each) == layers
        assert len(set(each)) == size
        for layer, count in layers.items():
            if 2 * count <= grid.heads:  # there are enough others
                assert not {head for head in each if head[0] == layer} & set(chosen)


def test_sets_are_drawn_for_what_is_compared(mini: Model) -> None:
    sets = drawn(mini, {"all": HEADS, "rules": HEADS[:2]}, compared={"all": 7}, seed=0)
    assert {key: len(found) for key, found in sets.random.items()} == {("all", "uniform"): 7, ("all", "layer"): 7}
    assert sets.listed()[:2] == [HEADS, HEADS[:2]]
    assert len(sets.listed()) == 16
    again = drawn(mini, {"all": HEADS}, compared={"all": 7}, seed=0)
    assert again.random == sets.random
    assert drawn(mini, {"all": HEADS}, compared={"all": 7}, seed=1).random != sets.random


def table_of(columns: list[list[float]], measure: str = "step_accuracy", random: int = 3):
    values = np.array(columns).T
    heads: HeadSet = ((0, 0),)
    sets = Sets(
        chosen={"all": heads, "rules": heads},
        random={("all", "uniform"): (heads,) * random, ("all", "layer"): (heads,) * random},
    )
    lost = Lost(
        where="chains", mode="zero", values={measure: values}, groups=np.arange(len(values)), units={measure: "share"}
    )
    return ablation_table([lost], sets, seed=0)


def test_the_table_compares_a_set_with_random_ones() -> None:
    intact, without, role = [1.0, 0.8, 0.9], [0.2, 0.4, 0.3], [0.9, 0.7, 0.8]
    spared, half = intact, [0.6, 0.6, 0.6]
    table = table_of([intact, without, role, spared, half, without, spared, spared, spared])
    assert table.columns.tolist() == ABLATION
    uniform_, layer, alone = (table.iloc[i] for i in range(3))
    assert (uniform_["control"], layer["control"], alone["control"]) == ("uniform", "layer", "")
    assert uniform_["value"] == pytest.approx(0.3)
    assert uniform_["lost"] == pytest.approx(0.6)
    assert uniform_["random_lost"] == pytest.approx((0 + 0.3 + 0.6) / 3)
    assert uniform_["ratio"] == pytest.approx(2)
    assert uniform_["p"] == pytest.approx((1 + 1) / (1 + 3))  # one of three costs as much
    assert layer["p"] == pytest.approx(1 / 4)
    assert np.isnan(layer["ratio"])
    assert layer["reason"] == "random sets cost nothing: there is no ratio"
    assert alone["reason"] == NO_CONTROL
    assert uniform_["lost_low"] < 0.6 < uniform_["lost_high"]


def test_what_rises_when_heads_are_lost_counts_as_loss() -> None:
    table = table_of([[0.0, 0.1], [0.5, 0.6], [0.0, 0.1], *[[0.0, 0.1]] * 6], measure="format_failures")
    assert table.iloc[0]["lost"] == pytest.approx(0.5)


def test_without_any_set_the_table_is_empty(mini: Model, chains: Chains) -> None:
    sets = drawn(mini, {}, compared={}, seed=0)
    table = ablation_table(on_chains(mini, chains, sets.listed(), modes=["zero"]), sets, seed=0)
    assert table.empty
    assert table.columns.tolist() == ABLATION
