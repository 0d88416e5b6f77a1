"""`headscope reproduce`: what it prints, plans, writes and refuses."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from claimcases import circuit
from reproducedcases import QUICK
from shells import Shell
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Phi3Config, Qwen3Config

from headscope.cli.reproduction import as_record, print_claims
from headscope.deduction import Settings, study
from headscope.deduction.claims import FAILS, HOLDS, UNTESTED, claims
from headscope.deduction.costs import SHAPES
from headscope.deduction.study import STEPS
from headscope.models import load
from headscope.reproducing import Reproduction, open_reproduction
from headscope.tasks.chains import Setup


def made(**changes: Any) -> Reproduction:
    found = circuit(**changes)
    return Reproduction(identity={"model": found.model}, circuit=found, claims=claims(found))


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_the_terminal_and_holds_every_claim(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    print_claims(made(name="[red]m", notes=("[bold]note",)))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert "Do the claims hold on [red]m?" in out
    assert "8 of 8 claims hold" in out
    assert out.count("holds: ") == 8
    assert "note: [bold]note" in out


def test_a_stopped_reproduction_is_said_to_be_incomplete(capsys: pytest.CaptureFixture[str]) -> None:
    print_claims(made(stopped="paths"))
    assert "incomplete: stopped during paths" in capsys.readouterr().out
    assert {"complete": False, "stopped": "paths"}.items() <= as_record(made(stopped="paths"), None).items()


@pytest.mark.parametrize("at", ["ability", pytest.param("paths", marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_was_finished(at: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def pressed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(STEPS, at, pressed)
    answer = shell("reproduce", "three-percent", "mini", "-n", "2", "--sets", "20", "--json", "--out", "here")
    assert answer.code == 130
    number = list(STEPS).index(at) + 1
    assert f"interrupted during step {number} of {len(STEPS)} ({at})" in answer.err
    if at == "ability":
        assert "to fix it: nothing was finished yet; give fewer examples or random sets" in answer.err
        assert not list(tmp_path.iterdir())
        return
    assert "to fix it: run the same command again: it goes on where this one stopped" in answer.err
    record = json.loads(answer.out)
    assert (record["complete"], record["stopped"]) == (False, "paths")
    back = open_reproduction(tmp_path / "here")
    assert (back.identity["complete"], back.circuit.stopped) == (False, "paths")
    assert list(back.identity["steps"]) == ["ability", "confidence and lens", "heads", "selection"]
    assert len(back.circuit.union)
    assert not len(back.circuit.ablation)
    verdicts = back.claims.set_index("name")
    assert verdicts.loc["reading first", "verdict"] in (HOLDS, FAILS)
    assert verdicts.loc["necessary", "why"] == "the run was stopped before it, during: paths"
    assert "Incomplete." in (tmp_path / "here" / "report.html").read_text(encoding="utf-8")


def test_the_record_is_json_with_every_verdict() -> None:
    record = json.loads(json.dumps(as_record(made(), None), allow_nan=False))
    assert [each["verdict"] for each in record["claims"]] == [HOLDS] * 8
    assert (record["share"], record["k"], record["folder"]) == (0.02, 1, None)
    assert record["selected"][0] == {"role": "facts", "kind": "reading", "heads": [[1, 0]]}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_plan_needs_no_weights_for_the_models_of_the_paper(shell: Shell, shape: Any, tmp_path: Path) -> None:
    answer = shell("reproduce", "three-percent", shape.name, "--paper", "--plan", "--dtype", "bfloat16")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{shape.name} ({shape.architecture}): {shape.grid.layers} layers of")
    assert f"k {8 if 'phi' in shape.name else 5}, mode paper, ablation zero" in answer.out
    assert f"memory: {2 * shape.parameters / 1e9:.1f} GB of weights (bfloat16)" in answer.out
    assert "hours at 1e+14 a second" in answer.out
    assert (
        "the weights once more for the untrained twin, in float32 while it is made (--controls 0: none)" in answer.out
    )
    assert ("left out: paths among heads and the logit lens" in answer.out) == (shape.architecture == "phi3")
    assert not list(tmp_path.iterdir())


def test_a_plan_for_the_bundled_model_reads_its_shape(shell: Shell) -> None:
    answer = shell("reproduce", "three-percent", "--plan")
    assert answer.code == 0
    assert answer.out.startswith("mini (GPTNeoXForCausalLM): 6 layers of 16 heads, 1.9e+06 parameters")
    assert "forwards: 269,000 of about 40 tokens at most (heads 115,800; controls 69,940;" in answer.out


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (("three",), "paper 'three'"),
        (("three-percent", "mini", "--sets", "3"), "sets 3\n  expected: 20 or more"),
        (("three-percent", "mini", "-n", "1"), "n 1"),
        (("three-percent", "phi-4", "--plan", "--dtype", "int8"), "dtype 'int8'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_loaded(shell: Shell, words: Any, given: str, tmp_path: Path) -> None:
    answer = shell("reproduce", *words)
    assert answer.code == 2
    assert given in answer.err
    assert "expected: " in answer.err
    assert "to fix it: " in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_model_that_cannot_do_chains_is_refused(shell: Shell, words: Path, tmp_path: Path) -> None:
    answer = shell("reproduce", "three-percent", words)
    assert answer.code == 2
    assert "expected: " in answer.err
    assert not (tmp_path / "runs").exists(), "nothing is left of a run that was refused"


def test_help_teaches_what_is_done(shell: Shell) -> None:
    told = " ".join(shell("reproduce", "--help").out.split())
    assert all(name in told for name in ("--paper", "--plan", "--regardless", "arXiv 2605.27824", "cannot be tested"))
    assert "reproduce" in shell("--help").out.split()


@pytest.mark.slow
def test_mini_is_judged_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    answer = shell("reproduce", "three-percent", "mini", "-n", "10", "--sets", "20", "--json", "--out", "here")
    assert (answer.code, answer.err) == (0, "")
    record = json.loads(answer.out)
    assert {each["name"]: each["verdict"] for each in record["claims"]}["reading first"] == HOLDS
    back = open_reproduction(tmp_path / "here")
    assert back.identity["provenance"]["command"][:3] == ["headscope", "reproduce", "three-percent"]
    assert claims(back.circuit)["verdict"].tolist() == [each["verdict"] for each in record["claims"]]
    assert {"uncertainty": UNTESTED, "traversal": UNTESTED, "necessary": FAILS}.items() <= {
        each["name"]: each["verdict"] for each in record["claims"]
    }.items()  # fmt: skip
    assert (tmp_path / "here" / "report.html").stat().st_size > 1_000_000


CONFIGS: dict[str, Any] = {"llama": LlamaConfig, "qwen3": Qwen3Config, "phi3": Phi3Config}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_protocol_runs_on_every_architecture_of_the_paper(architecture: str, shared_data: Path) -> None:
    """Random weights with GPT-2's tokenizer: there is nothing to find, but every part must work, and say so."""
    tokenizer: Any = AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer")
    own = {"head_dim": 8} if architecture == "qwen3" else {}
    config = CONFIGS[architecture](
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        **own,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_config(config)
    model = load(plain, tokenizer=tokenizer, device="cpu", check=False)
    settings = Settings(
        n=2, chains=2, measured=2, k=1, sets=20, swept=0, controls=4,
        mode="paper", modes=("zero",), form="symbolic", shots=2, tasks=(),
        setup=Setup(size=(8, 10), steps=(1, 2)), regardless=True,
    )  # fmt: skip
    found = study(model, settings=settings)
    assert found.form == "symbolic"
    verdicts = claims(found).set_index("name")["verdict"]
    assert verdicts.drop("uncertainty").eq(UNTESTED).all(), "a random model does no chain"
    whole = architecture == "phi3"  # its queries, keys and values are one matrix: it cannot be cut open
    assert (len(found.edges) == 0, len(found.lens) == 0) == (whole, whole)
    assert ("no paths: the model cannot be cut open" in found.notes) == whole


def test_the_same_command_goes_on_where_it_was_stopped(
    shell: Shell, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a study of two steps, for the others take long."""

    def pressed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    # Not item by item, which would put them back in another order.
    study = import_module("headscope.deduction.study")
    monkeypatch.setattr(study, "STEPS", {name: STEPS[name] for name in list(STEPS)[:2]})
    monkeypatch.setattr("headscope.reproducing.request", lambda *_, **__: Settings(**QUICK))
    monkeypatch.setattr("headscope.reproducing.write", lambda *given: given[-1].write_text("a page"))
    command = ("reproduce", "three-percent", words)
    with monkeypatch.context() as patch:
        patch.setattr("headscope.deduction.measuring.readable", pressed)
        answer = shell(*command)
    assert answer.code == 130
    assert "to fix it: run the same command again: it goes on where this one stopped" in answer.err
    answer = shell(*command)
    assert answer.code == 0
    assert answer.err == (
        "headscope: going on with runs/words-three-percent, which was stopped\n"
        "headscope: 2 of 3 cells were there from before (--refresh: anew)\n"
    )
    answer = shell(*command, "--refresh", "-q")
    assert (answer.out, answer.err) == ("report: runs/words-three-percent-2/report.html\n", ""), "the first is finished"
    answer = shell("verify", "runs/words-three-percent")
    assert (answer.code, "claims: 1 of 1 ok" in answer.out) == (0, True)
