"""Own chains are read back as gold ones are, written as a plain loop writes them, and judged as by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope.deduction import Settings, decoding, planned, read_circuit, study
from headscope.deduction.ablation import Lost
from headscope.deduction.forward import Removal, instead_of, removed
from headscope.deduction.freerun import (
    OWN,
    chain_table,
    gold_text,
    judge,
    on_own_chains,
    parse,
    require_able,
    write,
)
from headscope.errors import RunError, TaskError, UsageError
from headscope.grid import Grid
from headscope.models import Model, load, untrained
from headscope.tasks.chains import Chains, Setup, derive, draw, draw_chains, draw_plain, plain, symbolic

WORDS = [f"word{index}" for index in range(14)]


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", check=False)


@pytest.fixture(scope="module")
def chains(mini: Model) -> Chains:
    return draw_chains(mini, n=3, rng=np.random.default_rng(2))


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), spaced=st.booleans())
def test_gold_symbols_are_read_back(seed: int, spaced: bool) -> None:
    setup = Setup(spaced=spaced, uninferable=0.5)
    problem = draw(np.random.default_rng(seed), setup)
    own = parse(gold_text(symbolic(problem, (), setup=setup, shown="bfs")), "symbolic")
    solved = derive(problem, "bfs")
    assert own.steps == tuple((step.premises, str(step.rule + 1), step.conclusion) for step in solved.steps)
    assert own.answer == str(solved.answer)
    assert own.sound


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gold_words_are_read_back(seed: int) -> None:
    problem = draw_plain(np.random.default_rng(seed), WORDS)
    own = parse(gold_text(plain(problem)), "plain")
    solved = derive(problem)
    assert own.steps == tuple((step.premises, "", step.conclusion) for step in solved.steps)
    assert (own.answer, own.sound) == ("yes" if solved.answer else "no", True)


GOLD = "KB = {A}\n=> F(KB['A'], Rule2) => 'B'\nKB = {A, B}\n=> F(KB['B'], Rule1) => 'C'\nKB = {A, B, C}\nAnswer: True"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (GOLD + "\n\nFacts: Z", {"exact": 1, "step_accuracy": 1, "answer": 1, "format_failures": 0}),
        (GOLD.replace("Rule1", "Rule3"), {"exact": 0, "step_accuracy": 0.5, "answer": 1, "format_failures": 0}),
        (GOLD.replace("True", "False"), {"exact": 0, "step_accuracy": 1, "answer": 0, "format_failures": 0}),
        (GOLD.replace("F(KB['B']", "F(['B'"), {"exact": 0, "step_accuracy": 0.5, "answer": 1, "format_failures": 1}),
        (GOLD[:60], {"exact": 0, "step_accuracy": 0.5, "answer": 0, "format_failures": 1}),
        ("A A A A", {"exact": 0, "step_accuracy": 0, "answer": 0, "format_failures": 1}),
    ],
)  # fmt: skip
def test_a_chain_is_judged_as_by_hand(text: str, wanted: dict[str, float]) -> None:
    assert judge(parse(text, "symbolic"), parse(GOLD, "symbolic")) == wanted


def test_a_gold_chain_without_steps_has_no_step_accuracy() -> None:
    gold = parse("KB = {A}\nAnswer: True", "symbolic")
    assert gold.sound
    assert np.isnan(judge(gold, gold)["step_accuracy"])


def greedy(model: Model, chains: Chains, index: int, heads: list[tuple[int, int]]) -> str:
    """One token after the other by whole forwards with the heads' weights W_O zeroed by edits of nothing."""
    from headscope.models.protocol import Edit

    ids = chains.tokens[index, : int(chains.place("begin")[index]) + 1].tolist()
    said: list[int] = []
    while "." not in model.tokenizer.decode(said) and len(said) < 20:
        tokens = torch.tensor([ids + said])
        edits = []
        for layer in {layer for layer, _ in heads}:
            chosen = torch.zeros(1, model.grid.heads, dtype=torch.bool)
            chosen[:, [head for at, head in heads if at == layer]] = True
            nothing = torch.zeros(1, tokens.shape[1], model.grid.heads, model.d_head)
            edits.append(Edit(layer=layer, heads=chosen, values=nothing))
        said.append(int(model.run(tokens, edits=edits)[0, -1].argmax()))
    return model.tokenizer.decode(said)


@pytest.mark.parametrize("heads", [[], [(0, 8), (1, 1), (1, 15)]])
def test_own_chains_are_what_a_plain_loop_writes(mini: Model, chains: Chains, heads: list[tuple[int, int]]) -> None:
    rows = torch.arange(len(chains))
    removal = Removal(
        heads=removed(mini.grid, heads), values=instead_of(mini, chains, rows, modes=["zero"], seed=0)["zero"]
    )
    texts = write(mini, chains, rows, removal if heads else None)
    for index, text in enumerate(texts):
        wanted = greedy(mini, chains, index, heads)
        assert text[: len(wanted)] == wanted or wanted.startswith(text)


@pytest.mark.slow
def test_kept_keys_and_values_change_nothing(
    mini: Model, chains: Chains, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    sets, chains = [((0, 8), (1, 1))], chains.select(torch.tensor([0, 2]))
    kept = on_own_chains(mini, chains, sets)
    monkeypatch.setattr(decoding, "program_of", lambda _: None)
    assert on_own_chains(mini, chains, sets).texts == kept.texts
    assert set(kept.texts) == {(mode, at) for mode in ("resample", "zero") for at in range(2)}


def test_mini_solves_its_chains(mini: Model) -> None:
    made = draw_chains(mini, n=40, rng=np.random.default_rng(7))
    written = on_own_chains(mini, made, [], modes=["zero"])
    assert written.lost[0].values["exact"].mean() >= 0.95
    require_able(mini, written.lost[0])
    table = chain_table(made, written, [])
    assert table["set"].unique().tolist() == ["none"]
    assert (table["exact"] == written.lost[0].values["exact"][:, 0]).all()
    assert table["own"].str.replace(" .", ".", regex=False).tolist()[0] == table["gold"].iloc[0].casefold()


def test_a_model_that_cannot_do_chains_is_refused_before_its_heads_are_looked_at(mini: Model) -> None:
    fresh = untrained(mini)
    with pytest.raises(TaskError) as caught:
        study(fresh, settings=Settings(n=2, chains=3, tasks=()))
    assert "in 3 chains of its own 0% of the steps are right" in caught.value.given
    assert caught.value.expected.startswith("at least 40% of the steps right")
    assert "regardless=True" in caught.value.fix


def test_ability_is_judged_by_the_intact_model() -> None:
    values = {name: np.array([[0.5, 0.0], [0.4, 0.0]]) for name in OWN}
    lost = Lost(where="own chains", mode="zero", values=values, groups=np.arange(2), units={})
    model = load("mini", device="cpu", check=False)
    require_able(model, lost, least=0.45)
    with pytest.raises(TaskError, match="45% of the steps are right"):
        require_able(model, lost, least=0.46)


def test_all_that_is_wrong_with_settings_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Settings(n=1, k=0, modes=("mean",), shots=0)
    assert caught.value.given == "n 1; k 0; modes ('mean',); shots 0"
    with pytest.raises(UsageError, match="tasks ioj"):
        study(load("mini", device="cpu", check=False), settings=Settings(tasks=("ioj",)))


def test_the_plan_counts_runs() -> None:
    plan = planned(Grid(2, 3), Settings(n=10, measured=4, sets=5, tasks=("ioi",)))
    assert plan["heads"] == 3 * 10 * (2 + 4 * 6)
    assert plan["ablation on chains"] == 4 * 2 * (2 + (1 + 3 + 1 + 2) + (2 * 5 + 2 * 5 + 2 * 20 * 2))


def test_a_folder_without_a_circuit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a folder without circuit\.json, confidence\.parquet"):
        read_circuit(tmp_path)


@pytest.mark.slow
def test_mini_solves_hundreds_of_chains(mini: Model) -> None:
    made = draw_chains(mini, n=300, rng=np.random.default_rng(11))
    values = on_own_chains(mini, made, [], modes=["zero"]).lost[0].values
    steps = np.array([len(chain.derivation.steps) for chain in made.chains])
    for hops in (1, 2, 3):
        assert values["exact"][steps == hops].mean() >= 0.95
