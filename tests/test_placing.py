"""Models over several devices and on disk: the same numbers, and nothing that meets a tensor of another device.

There are no GPUs here. What lies on disk is really there, under accelerate's own hooks; several GPUs are pretended
(`devices.Elsewhere`), where every call on tensors of two devices fails as on real ones.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import devices
import pytest
import scenes
import torch
from accelerate import cpu_offload
from architectures import ARCHITECTURES, LAYERS, tiny
from closed import Closed
from torch import Tensor

from headscope import replay
from headscope.errors import ModelError, UsageError
from headscope.methods.attribution import attribution
from headscope.methods.decomposition import decompose
from headscope.methods.direct import direct
from headscope.methods.paths import edges
from headscope.models import Model, load, placing, untrained
from headscope.models.determined import determined
from headscope.pipeline.scaling.spread import source_of

TOKENS = torch.tensor([[5, 9, 33, 7, 60], [1, 2, 3, 4, 5]])
WEIGHTS = ("W_Q", "W_K", "W_V", "W_O", "b_O", "W_E", "W_U")
GPT2_ON_DISK = {"transformer.wte": "cpu", "lm_head": "cpu", "transformer.wpe": "cpu", "transformer.h.0": "disk",
                "transformer.h.1": "cpu", "transformer.h.2": "disk", "transformer.ln_f": "disk"}  # fmt: skip
_LLAMA = ("model.embed_tokens model.rotary_emb", "model.layers", "model.norm", "lm_head")
_PARTS = {
    "gpt2": ("transformer.wte transformer.wpe", "transformer.h", "transformer.ln_f", "lm_head"),
    "gpt_neo": ("transformer.wte transformer.wpe", "transformer.h", "transformer.ln_f", "lm_head"),
    "gpt_neox": ("gpt_neox.embed_in gpt_neox.rotary_emb", "gpt_neox.layers", "gpt_neox.final_layer_norm", "lm_head"),
    "opt": ("model.decoder.embed_tokens model.decoder.embed_positions", "model.decoder.layers",
            "model.decoder.final_layer_norm", "lm_head"),
    "bert": ("bert.embeddings", "bert.encoder.layer", "", "cls"),
}  # fmt: skip
"""What comes first, the layers, the last norm and the unembedding."""


def over_gpus(architecture: str, *, tied: bool) -> dict[str, str]:
    """Layer by layer over GPUs, and the ends on a last one; what shares its weights with the embedding lies there."""
    first, layers, norm, head = _PARTS.get(architecture, _LLAMA)
    last = f"cuda:{LAYERS}"
    places = dict.fromkeys(first.split(), "cuda:0") | {f"{layers}.{i}": f"cuda:{i}" for i in range(LAYERS)}
    return places | ({norm: last} if norm else {}) | {head: "cuda:0" if tied else last}


def untied(architecture: str) -> Any:
    """A tiny model whose unembedding has weights of its own."""
    plain = tiny(architecture)
    head = plain.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    plain.config.tie_word_embeddings = False
    return plain


def told(model: Model, *, parts: bool = True) -> dict[str, Tensor]:
    """What every kind of work on a model gives: forwards, edits of every site, gradients, paths, a logit's parts."""
    pairs = scenes.pairs()
    clean, corrupted = (replay.start(model, pairs, each, also=["kl"]) for each in (pairs.tokens, pairs.corrupted))
    heads = replay.single_heads(model.grid)
    found = {"logits": model.run(TOKENS), "z": model.outputs(TOKENS), **corrupted.also}
    found["patterns"] = torch.stack([pattern for _, pattern in model.patterns(TOKENS)])
    for site in ("z", "q", "pattern") if parts else ("z",):
        values = [clean.site(site, layer) for layer in range(model.grid.layers)]
        found[site] = replay.replay(corrupted, replay.edits_of(heads, values, pairs.mask, site=site))
    if parts:
        found |= attribution(model, pairs)
        apart = decompose(model, TOKENS[:1], at=2)
        found["votes"] = apart.votes(apart.word(7))
    if model.causal and parts:
        found |= direct(model, pairs)
    return {name: value.cpu() for name, value in found.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value.isnan(), other[name].isnan()), name
        assert (value - other[name]).abs().nan_to_num().max() <= 1e-6 * value.abs().nan_to_num().max(), name


def _first(architecture: str) -> str:
    return _PARTS.get(architecture, _LLAMA)[0].split()[0]


def uncut(model: Any) -> Model:
    """The same model, run whole, forward by forward."""
    return Closed(**{item.name: getattr(model, item.name) for item in fields(model) if item.init})


def saved(architecture: str, folder: Path) -> Path:
    tiny(architecture).save_pretrained(folder)
    return folder


def on_disk(architecture: str, tmp_path: Path, dtype: str = "float32") -> None:
    folder = saved(architecture, tmp_path / architecture)
    layers = _PARTS.get(architecture, _LLAMA)[1]
    places = GPT2_ON_DISK if architecture == "gpt2" else {"": "cpu", layers: "disk"}
    whole: Any = load(folder, device="cpu", dtype=dtype)
    spread: Any = load(folder, device_map=places, dtype=dtype)
    away = [name for name, value in spread.bridge.original_model.named_parameters() if value.is_meta]
    assert len(away) >= 4
    assert spread.device == torch.device("cpu")
    known = json.loads(json.dumps(spread.identity))["device_map"]
    assert known == places if architecture == "gpt2" else known[layers] == "disk" != known[_first(architecture)]
    assert "device_map" not in whole.identity
    same(told(whole), told(spread))
    for name in WEIGHTS:
        assert torch.equal(getattr(whole, name), getattr(spread, name)), name
    assert determined(spread) == determined(whole)
    assert len(away) == sum(value.is_meta for value in spread.bridge.original_model.parameters())


def over_four(architecture: str, monkeypatch: pytest.MonkeyPatch, *, tied: bool) -> None:
    plain = tiny(architecture) if tied else untied(architecture)
    whole = load(plain, device="cpu")
    expected = told(whole)
    with devices.elsewhere(monkeypatch) as mode:
        spread: Any = load(devices.dispatch(plain, over_gpus(architecture, tied=tied)))
        home = torch.device("cuda:0" if tied else f"cuda:{LAYERS}")
        assert spread.device == home
        assert {spread.outputs(TOKENS).device, *(getattr(spread, name).device for name in WEIGHTS)} == {home}
        assert spread.cut.reason == ""
        found = told(spread)
        assert {torch.device("cuda", index) for index in range(LAYERS)} <= mode.seen
    same(expected, found)


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_a_model_that_lies_on_disk_gives_the_same_numbers(tmp_path: Path) -> None:
    on_disk("gpt2", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_on_disk(architecture: str, dtype: str, tmp_path: Path) -> None:
    on_disk(architecture, tmp_path, dtype)


@pytest.mark.slow
def test_the_untrained_twin_of_a_model_on_disk_is_the_same_twin(tmp_path: Path) -> None:
    folder = saved("llama", tmp_path / "llama")
    whole, spread = load(folder, device="cpu"), load(folder, device_map={"": "disk"})
    one, other = untrained(whole), untrained(spread)
    assert torch.equal(one.run(TOKENS), other.run(TOKENS))
    assert one.identity["weights_sha256"] == other.identity["weights_sha256"]


@pytest.mark.slow
def test_what_memory_does_not_hold_goes_to_disk_by_itself(tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path / "gpt2")
    spread: Any = load(folder, device_map="auto", max_memory="cpu=120KB")
    assert spread.identity["device_map"]["transformer.h.2"] == "disk"
    assert torch.equal(spread.run(TOKENS), load(folder, device="cpu").run(TOKENS))
    assert torch.equal(load(spread.bridge).run(TOKENS), spread.run(TOKENS))


def test_a_weight_on_disk_that_is_nan_is_found(tmp_path: Path) -> None:
    plain = tiny("gpt2")
    with torch.no_grad():
        plain.transformer.h[2].mlp.c_fc.bias[3] = float("nan")
    plain.save_pretrained(tmp_path / "nan")
    with pytest.raises(ModelError, match=r"whose parameter 'transformer.h.2.mlp.c_fc.bias' has 1 NaN"):
        load(tmp_path / "nan", device_map=GPT2_ON_DISK)


def test_a_live_model_that_is_spread_is_used_where_it_is(tmp_path: Path) -> None:
    folder = saved("gpt2", tmp_path / "gpt2")
    plain = type(tiny("gpt2")).from_pretrained(folder, device_map=GPT2_ON_DISK, dtype=torch.bfloat16)
    model: Any = load(plain)
    assert model.bridge.original_model is plain
    assert model.identity["dtype"] == "bfloat16"
    with pytest.raises(UsageError, match="a device_map for a live model, which is used where it is"):
        load(tiny("gpt2"), device_map="auto")


# --- over GPUs -------------------------------------------------------------------------------------------------------


def test_a_model_over_four_gpus_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    over_four("gpt2", monkeypatch, tied=False)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_over_four_gpus(
    architecture: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    plain = tiny(architecture)
    if tied and plain.get_output_embeddings().weight is not plain.get_input_embeddings().weight:
        pytest.skip("its embedding and unembedding share nothing")
    over_four(architecture, monkeypatch, tied=tied)


def test_one_gpu_alone_and_paths_between_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Path patching once took edits on the CPU and rows on the GPU."""
    plain, pairs = tiny("gpt2"), scenes.pairs()
    expected = edges(load(plain, device="cpu", check=False), pairs, [(0, 1)], [(1, 0), (2, 3)])
    with devices.elsewhere(monkeypatch):
        model = load(devices.dispatch(plain, {"transformer": "cuda:0", "lm_head": "cuda:0"}))
        assert model.device == torch.device("cuda:0")
        assert "device_map" not in model.identity
        found = edges(model, pairs, [(0, 1)], [(1, 0), (2, 3)])
    same({"edges": expected}, {"edges": found.cpu()})


def test_a_model_that_cannot_be_cut_runs_whole_over_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = untied("gpt2")
    expected = told(uncut(load(plain, device="cpu", check=False)), parts=False)
    with devices.elsewhere(monkeypatch):
        spread = load(devices.dispatch(plain, over_gpus("gpt2", tied=False)), check=False)
        found = told(uncut(spread), parts=False)
    same(expected, found)


@pytest.mark.parametrize(
    ("work", "wrong"),
    [
        (lambda a, b: a + b, "found cuda:0 and cuda:1"),
        (lambda a, b: torch.where(a > 0, a, b), "found cuda:0 and cuda:1"),
        (lambda a, b: a[b.long()], "should be on cuda:0, found cuda:1"),
        (lambda a, b: torch.arange(3)[b.long()], "should be on cpu, found cuda:1"),
        (lambda a, b: torch.stack([a, b]), "found cuda:0 and cuda:1"),
        (lambda a, b: a + torch.zeros(3), "found cpu and cuda:0"),
        (lambda a, b: torch.zeros_like(a) * torch.arange(3, device=b.device), "found cuda:0 and cuda:1"),
    ],
)
def test_the_pretended_gpus_refuse_what_real_ones_refuse(
    work: Any, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    with devices.elsewhere(monkeypatch):
        a, b = torch.zeros(3).to("cuda:0"), torch.zeros(3).to("cuda:1")
        assert (a + b.to(a) + torch.tensor(1.0)).device == a.device
        assert a[torch.tensor([1])].device == torch.device("cuda:0")
        with pytest.raises(RuntimeError, match=wrong):
            work(a, b)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"device_map": "evenly"}, "device_map 'evenly'\n  expected: one of auto, balanced"),
        ({"device_map": {}}, "device_map {}"),
        ({"device_map": {"": "cuda:7"}}, r"device 'cuda:7' for part '' in a device_map, which is not there"),
        ({"device_map": {"": "meta"}}, "device 'meta' for part '' in a device_map, which is not there"),
        ({"device_map": {"": None}}, "expected: cpu, disk, cuda:N or the number of a GPU"),
        ({"device_map": "auto", "device": "cuda"}, "device 'cuda' together with a device_map"),
        ({"device_map": "nowhere.json"}, "device_map file 'nowhere.json', which cannot be read"),
        ({"max_memory": "0=1GB"}, "max_memory without device_map\n  expected: a device_map as well"),
        ({"offload": "folder"}, "offload without device_map"),
        ({"device_map": "auto", "max_memory": "lots"}, "max_memory 'lots'\n  expected: an amount for each device"),
        ({"device_map": "auto", "max_memory": {"cpu": 1.5}}, "max_memory {'cpu': 1.5}"),
        ({"device_map": "auto", "max_memory": {"gpu": "1GB"}}, "name GPUs by number, and the memory as cpu"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(words: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        load("no-such-model", **words)
    assert wrong in str(caught.value)


def test_gpus_are_not_mixed_with_memory_or_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="a device_map that mixes GPUs with cpu or disk"):
        placing.asked({"a": 0, "b": "disk"})
    assert placing.asked({"a": 0, "b": "cuda:1"}) == placing.Spread(device_map={"a": "cuda:0", "b": "cuda:1"})
    plain = tiny("gpt2")
    plain.hf_device_map = {"transformer": 0, "lm_head": "cpu"}  # what `auto` makes of a model that is too large
    with pytest.raises(ModelError, match="of which only a part fits the GPUs"):
        load(plain)


@pytest.mark.parametrize(
    ("places", "wrong"),
    [
        ({"": "cpu", "transformer.g": "disk"}, "that names 'transformer.g', which it does not have"),
        ({"transformer.h": "cpu", "transformer.wte": "disk"}, "that leaves 'transformer.wpe.weight' out"),
    ],
)
def test_a_map_must_fit_the_model(places: dict[str, str], wrong: str, folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(folder, device_map=places)
    assert wrong in str(caught.value)
    assert "expected: a device for every part, such as transformer.wte" in str(caught.value)


def test_weights_that_are_nowhere_or_put_away_by_hand_are_refused() -> None:
    with torch.device("meta"):
        empty = type(tiny("gpt2"))(tiny("gpt2").config)
    for away in (empty, cpu_offload(tiny("gpt2"), execution_device=torch.device("cpu"))):
        with pytest.raises(ModelError, match=r"whose weights .* are not in memory"):
            load(away)


def test_ray_is_not_offered_a_model_over_several_devices(folder: Path) -> None:
    model = load(folder, device_map=GPT2_ON_DISK, check=False)
    with pytest.raises(UsageError, match="which lies over several devices, for workers on Ray"):
        source_of(model, str(folder))
