"""The random-weights twin: drawn as Hugging Face draws, unlike the model, and as fast and exact to edit."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scenes
import torch
import transformers
from architectures import LAYERS, VOCABULARY, tiny
from closed import Closed, closed

from headscope import replay
from headscope.ability import ability
from headscope.errors import HeadscopeError, ModelError, UsageError
from headscope.models import Model, load, untrained
from headscope.models.identity import parameters_digest
from headscope.models.untrained import start_of
from headscope.tasks import TASKS
from headscope.testing import Plant, planted_model

pytestmark = pytest.mark.usefixtures("no_network")
TOKENS = torch.tensor([[5, 9, 33, 7, 60]])


def drawn(config: Any, state: int) -> Any:
    """What Hugging Face's own classes draw from a state of torch's generator."""
    auto = transformers.AutoModelForMaskedLM if config.model_type == "bert" else transformers.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state)
        return auto.from_config(copy.deepcopy(config), dtype=torch.float32, attn_implementation="eager").eval()


def weights(model: Any) -> dict[str, torch.Tensor]:
    return dict(model.bridge.original_model.named_parameters())


@pytest.fixture(scope="module")
def twin(model: Model) -> Model:
    """The twin of every architecture, of seed 3."""
    return untrained(model, seed=3)


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu")


# --- how it is drawn -------------------------------------------------------------------------------------------------


def test_it_is_what_hugging_face_draws(plain: Any, model: Model, twin: Model) -> None:
    own = drawn(plain.config, start_of(3))
    assert twin.identity["weights_sha256"] == parameters_digest(own)
    assert twin.identity["parameters"] == model.identity["parameters"]
    assert (twin.run(TOKENS) - own(TOKENS).logits).abs().max() <= 1e-6
    assert twin.cut.program is not None


def test_its_spread_is_that_of_any_other_draw(plain: Any, twin: Model) -> None:
    ours, theirs = weights(twin), weights(load(drawn(plain.config, 1234), device="cpu", check=False))
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        if theirs[name].std() == 0:
            assert torch.equal(value, theirs[name]), name
        else:
            bound = 5 / value.numel() ** 0.5  # five standard errors of log(s1 / s2)
            assert abs(torch.log(value.std() / theirs[name].std())) < bound, name
            assert abs(value.mean()) < 5 * value.std() / value.numel() ** 0.5, name


def test_gpt2_starts_smaller_where_it_writes_into_the_stream() -> None:
    config = transformers.GPT2Config(n_embd=96, n_layer=8, n_head=4, n_positions=16, vocab_size=50)
    twin = untrained(load(drawn(config, 0), device="cpu", check=False))
    assert float(twin.W_O.std()) == pytest.approx(0.02 / (2 * 8) ** 0.5, rel=0.02)
    assert float(twin.W_Q.std()) == pytest.approx(0.02, rel=0.02)


def test_every_weight_differs_from_the_models(model: Model, twin: Model) -> None:
    theirs = weights(model)
    assert all(bool((value != theirs[name]).all()) for name, value in weights(twin).items())


def test_it_is_not_the_models_own_beginning() -> None:
    beginning = drawn(tiny("gpt2").config, 0)
    model = load(beginning, device="cpu")
    theirs = weights(model)
    found = {
        name: torch.corrcoef(torch.stack([value.flatten(), theirs[name].flatten()]))[0, 1]
        for name, value in weights(untrained(model, seed=0)).items()
        if value.std() > 0
    }
    assert len(found) > 4 * LAYERS
    assert all(abs(value) < 5 / theirs[name].numel() ** 0.5 for name, value in found.items())


def test_one_seed_one_twin(gpt2_model: Model) -> None:
    hashes = [untrained(gpt2_model, seed=seed).identity["weights_sha256"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1]
    assert len({*hashes, gpt2_model.identity["weights_sha256"]}) == 3


def test_a_tie_is_kept_or_left_out_as_in_the_model() -> None:
    tied = untrained(load(tiny("gpt2"), device="cpu", check=False))
    assert torch.equal(tied.W_E, tied.W_U.T)
    loose = tiny("gpt2")
    loose.lm_head.weight = torch.nn.Parameter(loose.lm_head.weight.clone() + 1)
    assert loose.config.tie_word_embeddings
    twin = untrained(load(loose, device="cpu", check=False))
    assert not torch.equal(twin.W_E, twin.W_U.T)
    assert twin.identity["parameters"] == tied.identity["parameters"] + tied.W_E.numel()


# --- what it leaves alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_the_model_and_every_generator_stay_as_they_are(architecture: str) -> None:
    model = load(tiny(architecture), device="cpu")
    before, config = parameters_digest(model.bridge), model.bridge.original_model.config.to_dict()
    logits, identity = model.run(TOKENS), copy.deepcopy(model.identity)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    twin = untrained(model)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert parameters_digest(model.bridge) == before
    assert model.bridge.original_model.config.to_dict() == config
    assert model.identity == identity
    assert torch.equal(model.run(TOKENS), logits)
    assert torch.get_default_dtype() == torch.float32
    assert not {value.data_ptr() for value in weights(model).values()} & {
        value.data_ptr() for value in weights(twin).values()
    }


# --- every kind of model ---------------------------------------------------------------------------------------------


def test_mini_has_a_twin_that_says_what_it_is(mini: Model) -> None:
    twin = untrained(mini, seed=7)
    assert isinstance(twin, Model)
    assert twin.name == twin.identity["name"] == "mini (untrained, seed 7)"
    assert (twin.tokenizer, twin.grid, twin.encode("the dog")) == (mini.tokenizer, mini.grid, mini.encode("the dog"))
    record = json.loads(json.dumps(twin.identity))
    of = record["untrained"].pop("of")
    assert record["untrained"] == {"seed": 7, "initialisation": "of GPTNeoXForCausalLM, initializer_range 0.05"}
    assert (of["name"], of["source"], of["weights_sha256"]) == ("mini", "bundled", mini.identity["weights_sha256"])
    assert (record["source"], record["random_weights"], record["commit"]) == ("untrained", ["all"], None)
    assert record["self_check"]["logits_equal_hugging_face"] <= 1e-4
    assert float(twin.W_Q.std()) == pytest.approx(0.05, rel=0.02)
    biases = [value for name, value in weights(twin).items() if name.endswith("bias")]
    assert len(biases) > 6 * 6
    assert all(not bool(value.any()) for value in biases)


def test_a_directory_a_planted_model_and_half_precision(folder: Path) -> None:
    twin = untrained(load(folder, dtype="bf16", device="cpu"), seed=1)
    assert twin.identity["dtype"] == "bfloat16"
    assert twin.identity["untrained"]["of"]["source"] == "directory"
    full = untrained(load(folder, device="cpu"), seed=1)
    assert torch.equal(full.W_Q.bfloat16(), twin.W_Q)
    planted = load(planted_model(Plant(first_token=(0, 1)), vocabulary=16, positions=16), device="cpu")
    assert float(untrained(planted).W_V.std()) == pytest.approx(0.02, rel=0.02)


def test_a_live_bridge(capfd: pytest.CaptureFixture[str]) -> None:
    plain = tiny("qwen2")
    bridge = load(plain, device="cpu").bridge
    twin = untrained(load(bridge), seed=2)
    assert twin.identity["weights_sha256"] == untrained(load(plain, device="cpu"), seed=2).identity["weights_sha256"]
    assert twin.identity["untrained"]["of"]["weights_hashed"] == "bridge parameters"
    assert capfd.readouterr() == ("", "")


def test_a_bridge_of_transformer_lens_own_model(capfd: pytest.CaptureFixture[str]) -> None:
    model = load(native())
    twins = [untrained(model, seed=seed) for seed in (5, 5, 6)]
    assert twins[0].identity["weights_sha256"] == twins[1].identity["weights_sha256"]
    assert twins[0].identity["weights_sha256"] != twins[2].identity["weights_sha256"]
    assert twins[0].identity["untrained"]["initialisation"] == "TransformerLens's own (gpt2), initializer_range 0.03"
    assert float(twins[0].W_Q.std()) == pytest.approx(0.03, rel=0.1)
    assert float(twins[0].W_O.std()) == pytest.approx(0.03 / 2, rel=0.1)  # by the root of twice the layers
    assert twins[0].identity["parameters"] == model.identity["parameters"]
    assert twins[0].cut.reason == "architecture 'NativeModel' cannot be started in the middle"
    assert not torch.equal(twins[0].run(TOKENS), model.run(TOKENS))
    assert capfd.readouterr() == ("", "")


def native() -> Any:
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    shape = {"d_model": 32, "d_head": 8, "n_heads": 4, "n_layers": 2, "n_ctx": 16, "d_vocab": VOCABULARY}
    config = TransformerBridgeConfig(**shape, d_mlp=64, act_fn="gelu", seed=5, initializer_range=0.03)
    return TransformerBridge.boot_native(config).eval()


def test_code_that_came_with_the_weights_draws_them() -> None:
    class GPT2LMHeadModel(transformers.GPT2LMHeadModel):
        def _init_weights(self, module: Any) -> None:
            for value in module.parameters(recurse=False):
                torch.nn.init.constant_(value, 0.25)

    with torch.random.fork_rng(devices=[]):
        config = tiny("gpt2").config
        config.tie_word_embeddings = False
        live = GPT2LMHeadModel(config)
    with torch.no_grad():
        live.lm_head.weight.fill_(1.0)
    twin = untrained(load(live, device="cpu", check=False))
    assert type(twin.bridge.original_model) is GPT2LMHeadModel
    assert bool((twin.W_U == 0.25).all())


def test_a_class_of_ones_own_stays_that_class() -> None:
    twin = untrained(closed())
    assert type(twin) is Closed
    assert twin.cut.program is None
    assert twin.run(TOKENS).shape == (1, 5, VOCABULARY)


def test_the_twin_of_a_twin_is_a_twin_of_the_model(gpt2_model: Model) -> None:
    direct, around = untrained(gpt2_model, seed=4), untrained(untrained(gpt2_model, seed=1), seed=4)
    assert around.name == direct.name
    assert {**around.identity, "self_check": None} == {**direct.identity, "self_check": None}


def test_an_unchecked_models_twin_is_not_checked() -> None:
    assert untrained(load(tiny("gpt2"), device="cpu", check=False)).identity["self_check"] is None


# --- what it is for --------------------------------------------------------------------------------------------------


def test_the_engine_equals_one_forward_for_each_edit(plain: Any, twin: Model) -> None:
    own = drawn(plain.config, start_of(3))
    pairs = scenes.pairs()
    edits = replay.edits_of(replay.single_heads(twin.grid), [], pairs.mask, site="z")
    base, donor = replay.start(twin, pairs, pairs.corrupted), replay.start(twin, pairs, pairs.tokens)
    values = [donor.site("z", layer).clone() for layer in range(twin.grid.layers)]
    found = replay.replay(base, replay.edits_of(edits.heads, values, pairs.mask, site="z"))
    expected = scenes.expected(own, pairs, pairs.corrupted, pairs.tokens, edits)
    assert scenes.apart(found, expected) <= 1e-5
    assert (expected - base.metric[:, None]).abs().max() > 0


@pytest.mark.parametrize("task", ["ioi", "agreement"])
def test_it_is_at_chance_where_mini_is_not(mini: Model, task: str) -> None:
    pairs = TASKS[task].build(mini, n=30, rng=np.random.default_rng(0))
    assert ability(mini, pairs, seed=0)["accuracy"] > 0.9
    rows = [ability(untrained(mini, seed=seed), pairs, seed=0) for seed in range(2)]
    assert abs(np.mean([row["accuracy"] for row in rows]) - 0.5) < 0.15
    assert all(row["status"] == "failed" for row in rows)


# --- bad input -------------------------------------------------------------------------------------------------------


def test_refusals_say_what_to_do(gpt2_model: Model) -> None:
    for seed in (-1, 2**63):
        assert refusal(UsageError, gpt2_model, seed=seed) == (
            f"seed {seed} for an untrained model\n"
            "  expected: a whole number from 0 to 2^63 - 1\n  to fix it: use seed=0"
        )
    model = load(tiny("gpt2"), device="cpu")
    whole = model.identity["parameters"]
    model.identity["parameters"] = 7
    assert refusal(ModelError, model) == (
        f"model 'GPT2LMHeadModel' of 7 parameters, whose configuration describes {whole}\n"
        "  expected: a model that is as its configuration says\n  to fix it: save and load it once"
    )


def test_a_model_of_no_known_kind_is_refused() -> None:
    strange = load(native())
    strange.bridge.cfg.architecture = "Own"
    assert refusal(ModelError, strange) == (
        "model 'native' of class NativeModel, which does not say how its weights are drawn\n"
        "  expected: a Hugging Face model, or TransformerLens's own\n"
        "  to fix it: start a second model as this one was started, and load that"
    )
    assert refusal(ModelError, bare()) == (
        "an untrained twin of a SimpleNamespace\n"
        "  expected: a model that headscope.load made\n  to fix it: load it, or build its twin yourself"
    )


def bare() -> Any:
    """Everything that the protocol asks for, and no more."""
    model = closed()
    names = [name for name in dir(Model) if not name.startswith("_")]
    return SimpleNamespace(**{name: getattr(model, name) for name in names})


def refusal(kind: type[HeadscopeError], model: Model, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        untrained(model, **options)
    return str(caught.value)
