"""Where models come from, how text becomes tokens, and that nothing around them changes."""

import copy
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import oracles
import pytest
import torch
from architectures import HEADS, LAYERS, put_in_cache, tiny
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from headscope.errors import ModelError
from headscope.grid import Grid
from headscope.models import ALIASES, Model, load
from headscope.models.identity import parameters_digest

pytestmark = pytest.mark.usefixtures("no_network")
TOKENS = torch.tensor([[5, 9, 33, 7, 60]])


def words(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that adds no special tokens by itself."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<unk>", "a", "the", "cat", "sat"])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<bos>"} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", pad_token="<pad>", **special)


# --- sources -------------------------------------------------------------------------------------------------------


def test_a_directory_without_tokenizer_works_on_token_ids(folder: Path) -> None:
    model = load(folder)
    assert isinstance(model, Model)
    assert (model.name, model.tokenizer, model.grid) == ("small", None, Grid(layers=LAYERS, heads=HEADS))
    assert (model.run(TOKENS) - oracles.run(tiny("gpt2"), TOKENS)).abs().max() <= 1e-5
    record = json.loads(json.dumps(model.identity))
    assert record["source"] == "directory"
    digest = subprocess.run(["sha256sum", folder / "model.safetensors"], capture_output=True, text=True, check=True)
    assert record["weights_sha256"] == digest.stdout.split()[0]
    assert str(folder.parent) not in json.dumps(record)


def test_a_directory_with_tokenizer(folder: Path) -> None:
    words().save_pretrained(folder)
    model = load(str(folder))
    assert model.encode("the cat sat") == [1, 4, 5, 6]
    assert model.identity["tokenizer"]["policy"] == "BOS prepended by headscope"
    assert model.identity["tokenizer"]["prefix"] == [1]


def test_a_tokenizer_config_without_vocabulary_is_no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert load(folder).tokenizer is None


def test_a_live_model_stays_as_it_is() -> None:
    live = tiny("llama")
    before, classes = copy.deepcopy(live.state_dict()), [type(part) for part in live.modules()]
    live.set_attn_implementation("sdpa")
    live.train()
    model = load(live, tokenizer=words(), dtype="bf16")
    assert model.bridge.original_model is not live
    assert [type(part) for part in live.modules()] == classes
    assert live.training
    assert live.config._attn_implementation == "sdpa"
    assert next(live.parameters()).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in live.state_dict().items())
    assert model.encode("the cat") == [1, 4, 5]


def test_a_live_bridge_is_used_as_it_is() -> None:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    live = tiny("qwen2")
    bridge = build_bridge_from_module(copy.deepcopy(live), "Qwen2ForCausalLM", hf_config=copy.deepcopy(live.config))
    model = load(bridge)
    assert model.bridge is bridge
    assert (model.run(TOKENS) - oracles.run(live, TOKENS)).abs().max() <= 1e-5
    assert model.identity["self_check"]["logits_equal_hugging_face"] is None
    assert model.identity["weights_sha256"] == parameters_digest(bridge.original_model)
    assert model.identity["parameters"] == load(live).identity["parameters"]


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "bert"])
def test_the_record_counts_and_hashes_the_plain_models_weights(architecture: str) -> None:
    live = tiny(architecture)
    record = load(live, check=False).identity
    assert record["parameters"] == sum(value.numel() for value in live.parameters())
    assert record["weights_sha256"] == parameters_digest(live)
    with torch.no_grad():
        next(live.parameters()).view(-1)[0] += 1
    assert load(live, check=False).identity["weights_sha256"] != record["weights_sha256"]


def test_a_hub_name_is_found_in_the_cache_under_both_its_names(cache: Path) -> None:
    put_in_cache(cache, "openai-community/gpt2")
    put_in_cache(cache, "gpt2-xl", commit="b" * 40)
    found = load("gpt2")
    assert (found.name, found.identity["commit"]) == ("openai-community/gpt2", "a" * 40)
    assert load("openai-community/gpt2", offline=True).identity["source"] == "hub"
    assert load("openai-community/gpt2", revision="a" * 40).identity["revision"] == "a" * 40
    assert load("gpt2-xl").identity["commit"] == "b" * 40


def test_aliases_are_full_names() -> None:
    assert all(full.count("/") == 1 for full in ALIASES.values())
    assert ALIASES["gpt2"] == "openai-community/gpt2"


@pytest.mark.parametrize(("name", "kind"), [("bf16", "bfloat16"), ("fp16", "float16"), ("float32", "float32")])
def test_dtypes(folder: Path, name: str, kind: str) -> None:
    model = load(folder, dtype=name)
    assert model.identity["dtype"] == kind
    assert model.run(TOKENS).dtype == torch.float32
    assert (model.run(TOKENS) - oracles.run(tiny("gpt2"), TOKENS)).abs().max() <= 0.2


def test_half_precision_files_load_as_float32(folder: Path) -> None:
    tiny("gpt2").half().save_pretrained(folder)
    assert load(folder).identity["dtype"] == "float32"


def test_half_precision_pads_and_patches_within_its_own_tolerance() -> None:
    assert load(tiny("gemma2"), dtype="bf16").identity["self_check"]["tolerance"] == 0.5


# --- tokenisation --------------------------------------------------------------------------------------------------


def test_bos_is_never_doubled_and_never_made_up() -> None:
    model = load(tiny("gpt2"), tokenizer=words())
    assert model.encode("<bos> the cat") == [1, 4, 5]
    bare = load(tiny("gpt2"), tokenizer=words(bos=False))
    assert bare.encode("the cat") == [4, 5]
    assert bare.identity["tokenizer"]["policy"] == "no special tokens"


def test_a_tokenizer_that_adds_its_own_bos_keeps_it_and_drops_its_end() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = words()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <pad>", special_tokens=[("<bos>", 1), ("<pad>", 0)]
    )
    assert tokenizer("the cat")["input_ids"] == [1, 4, 5, 0]
    decoder, encoder = (load(tiny(kind), tokenizer=tokenizer) for kind in ("gpt2", "bert"))
    assert decoder.encode("the cat") == [1, 4, 5]
    assert encoder.encode("the cat") == [1, 4, 5, 0]
    assert decoder.identity["tokenizer"]["policy"] == "the tokenizer's own special tokens"


def test_the_tokenizer_of_another_model_is_noticed() -> None:
    tokenizer = words()
    tokenizer.add_tokens([f"word{i}" for i in range(200)])
    with pytest.raises(ModelError, match=r"a tokenizer that writes token 206 .*\n  expected: token ids below 97"):
        load(tiny("gpt2"), tokenizer=tokenizer).encode("the word199")


# --- silence -------------------------------------------------------------------------------------------------------


def test_importing_and_loading_print_nothing_and_change_no_global(folder: Path) -> None:
    code = """
import logging, os, sys, warnings
import headscope.models
assert "transformers" not in sys.modules and "transformer_lens" not in sys.modules
import transformers, torch, huggingface_hub.utils as hub
from transformers.utils import logging as bars
def state():
    root = logging.getLogger()
    levels = root.level, logging.getLogger("transformers").level, logging.root.manager.disable, list(root.handlers)
    switches = bars.is_progress_bar_enabled(), hub.are_progress_bars_disabled(), torch.is_grad_enabled()
    return levels, switches, torch.random.get_rng_state().tolist(), dict(os.environ), list(warnings.filters)
before = state()
headscope.models.load(sys.argv[1])
after = state()
for one, other in zip(before, after, strict=True):
    assert one == other, (one, other)
"""
    command = [sys.executable, "-c", code, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_quiet_puts_everything_back_after_an_error() -> None:
    from headscope.models.quiet import quiet

    before = logging.getLogger("transformers").level, logging.root.manager.disable, list(warnings.filters)

    def disturb() -> None:
        os.environ["HEADSCOPE_TEST"] = "1"
        logging.getLogger("transformers").setLevel(logging.CRITICAL)
        raise RuntimeError

    with pytest.raises(RuntimeError), quiet():
        disturb()
    after = logging.getLogger("transformers").level, logging.root.manager.disable, list(warnings.filters)
    assert after == before
    assert "HEADSCOPE_TEST" not in os.environ
