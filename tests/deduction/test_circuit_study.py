"""The whole study fills every table, is the same twice, and reads symbols with the traversal apart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from headscope.deduction import Circuit, Settings, study
from headscope.deduction.claims import claims
from headscope.deduction.result import FRAMES, read_circuit
from headscope.deduction.settings import sizes
from headscope.deduction.study import STEPS
from headscope.models import Model, load
from headscope.tasks.chains import Setup

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", check=False)


@pytest.fixture(scope="module")
def circuit(mini: Model) -> Circuit:
    return study(
        mini,
        settings=Settings(n=4, chains=4, measured=3, sets=2, swept=1, controls=4, modes=("resample",), tasks=("ioi",)),
    )


def test_a_study_fills_every_table(circuit: Circuit, mini: Model) -> None:
    assert all(len(frame) for frame in circuit.frames().values())
    assert circuit.form == "plain"
    assert {each.role for each in circuit.selected} == {"facts", "conditions", "rules"}
    assert circuit.traversal == ()
    assert any("role 'demonstrations' left out" in note for note in circuit.notes)
    assert set(circuit.ablation["where"]) == {"chains", "own chains", "determined words", "ioi"}
    assert circuit.sizes["all"] == len(circuit.union) == round(circuit.share * mini.grid.size)
    marked = circuit.heads[circuit.heads["selected"] & (circuit.heads["score"] == "both")]
    assert len(marked) == sum(len(each.heads) for each in circuit.selected)
    assert [circuit.sizes[f"top {size}"] for size in sizes(mini.grid)] == [1, 2, 3, 5, 10, 19]
    compared = circuit.ablation[circuit.ablation["where"] == "chains"].groupby("set")["sets"].first()
    assert compared[["all", "top 3"]].eq(2).all(), "the selection, and the swept set of the claimed size"
    assert compared[["top 1", "top 19", "untrained", "shuffled"]].eq(1).all()
    assert compared[["facts", "rules"]].eq(0).all()
    assert set(circuit.ablation[circuit.ablation["where"] != "chains"].query("sets > 0")["set"]) == {"all"}
    assert set(circuit.chains["set"]) == {"none", *circuit.sizes}
    assert set(circuit.controls["control"]) == {"trained", "untrained", "shuffled"}
    assert list(circuit.seconds) == list(STEPS)
    assert (circuit.stopped, circuit.record()["stopped"]) == ("", "")


def test_a_study_is_the_same_twice_and_comes_back_from_its_folder(
    circuit: Circuit, mini: Model, tmp_path: Path
) -> None:
    again = study(
        mini,
        settings=Settings(n=4, chains=4, measured=3, sets=2, swept=1, controls=4, modes=("resample",), tasks=("ioi",)),
    )
    back = read_circuit(circuit.save(tmp_path / "circuit"))
    for name in FRAMES:
        for other in (again, back):
            left, right = getattr(circuit, name), getattr(other, name)
            assert left.columns.tolist() == right.columns.tolist()
            assert left.astype(str).equals(right.astype(str)), name
    assert (back.selected, back.k, back.grid, back.notes) == (circuit.selected, circuit.k, circuit.grid, circuit.notes)


def test_symbols_are_studied_with_the_traversal_apart(shared_data: Path) -> None:
    """A random Llama of grouped queries with GPT-2's tokenizer: nothing to find, but every part must work."""
    tokenizer: Any = AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_config(config)
    model = load(plain, tokenizer=tokenizer, device="cpu", check=False)
    asked = Settings(
        n=2, chains=2, measured=2, sets=1, swept=0, controls=4,
        tasks=("ioi",), modes=("zero",), form="symbolic", shots=2,
        setup=Setup(size=(8, 10), steps=(1, 2)), regardless=True,
    )  # fmt: skip
    circuit = study(model, settings=asked)
    assert circuit.form == "symbolic"
    assert {each.role for each in circuit.selected} == {"facts", "conditions", "rules"}
    assert {each.role for each in circuit.traversal} == {"demonstrations"}
    assert set(circuit.depths["role"]) == {"facts", "conditions", "rules", "demonstrations"}
    assert set(circuit.sizes) >= {"all", "facts", "conditions", "rules"}
    assert "demonstrations" not in circuit.sizes
    assert {"premise_in_kb", "fact_derivation"} <= set(circuit.confidence["component"])
    assert any(note.startswith("plain text:") for note in circuit.notes)
    assert (circuit.chains["format_failures"] == 1).all()  # a random model writes no chains
    own = claims(circuit).set_index("name").loc["traversal"]
    assert own["measured"].startswith("reading: best AIE ")
    assert "untrained twin: no effect that is held out" in own["controls"], "two pairs have no halves"
