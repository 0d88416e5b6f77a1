"""Budgets are kept, estimates are true, and running out of memory costs nothing but time."""

from collections.abc import Callable
from typing import Any

import pytest
import scenes
import torch
import transformers
from architectures import tiny
from torch.profiler import ProfilerActivity, profile

from headscope import replay
from headscope.errors import UsageError
from headscope.methods.patching import patching
from headscope.models import Model, load
from headscope.prompts import Pairs
from headscope.replay import engine, front
from headscope.replay.memory import out_of_memory
from headscope.replay.plan import footprint

MIB = 2**20
SIZES = {
    "vocab_size": 600,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SIZES),
    "llama": lambda: transformers.LlamaConfig(**SIZES, num_key_value_heads=2),
    "gemma2": lambda: transformers.Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=32, sliding_window=32),
    "bert": lambda: transformers.BertConfig(**SIZES),
}


def peak(work: Callable[[], Any]) -> int:
    """The highest sum of bytes that the allocator has given out while something runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    assert profiled.profiler is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        highest = max(highest, live)
    return highest


def pairs_of(count: int, width: int, *, first: int) -> Pairs:
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 600, (count, width), generator=draw)
    corrupted = tokens.clone()
    corrupted[:, first] = 3 + (tokens[:, first] - 2) % 597
    return Pairs(
        task="own",
        tokens=tokens,
        corrupted=corrupted,
        mask=torch.ones_like(tokens, dtype=torch.bool),
        groups=torch.arange(count),
        positions={"end": torch.full((count,), width - 1)},
        answers=tokens[:, :1].clone(),
        foils=tokens[:, 1:2].clone(),
    )


@pytest.fixture(scope="module", params=CONFIGS)
def middling(request: pytest.FixtureRequest) -> Model:
    """A model whose hidden values outweigh what else is allocated."""
    torch.manual_seed(0)
    config = CONFIGS[request.param]()
    auto = transformers.AutoModelForMaskedLM if request.param == "bert" else transformers.AutoModelForCausalLM
    return load(auto.from_config(config).eval(), device="cpu", check=False)


@pytest.mark.parametrize("site", ["z", "k", "pattern"])
def test_chunks_take_what_is_said(middling: Model, site: str) -> None:
    pairs = pairs_of(4, 64, first=24)
    base, donor = (replay.start(middling, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    assert isinstance(base, replay.Base)
    values = [donor.site(site, layer).clone() for layer in range(3)]
    edits = replay.edits_of(replay.single_heads(middling.grid), values, pairs.mask, site=site)
    layout = replay.plan(base, edits, memory=6 * MIB)
    assert layout.peak <= 6 * MIB
    for layer, slack in ((1, 2.5), (2, 4.0)):  # in the last layer less runs than in those that the count is made for
        chunk = max((chunk for chunk in layout.chunks if chunk.layer == layer), key=len)
        run = _one_chunk(base, edits, layout, chunk)
        run()  # what is computed once for all sweeps is there now
        taken = peak(run)
        said = footprint(base, chunk, site)
        assert taken <= said <= slack * taken, f"layer {layer}: {taken} bytes taken, {said} said"


def _one_chunk(base: replay.Base, edits: replay.Edits, layout: replay.Plan, chunk: replay.Chunk) -> Callable[[], Any]:
    only = replay.Plan(
        chunks=(chunk,), edits=len(edits), examples=len(base), unchanged=0, operations=0, plain=0, peak=0
    )
    return lambda: engine.replay(base, edits, layout=only)


@pytest.mark.parametrize("memory", [4 * MIB, 24 * MIB])
def test_a_sweep_keeps_its_budget(memory: int) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=128, n_layer=3, n_head=4, n_positions=64, vocab_size=600, bos_token_id=1, eos_token_id=2
    )
    model = load(transformers.GPT2LMHeadModel(config).eval(), device="cpu", check=False)
    pairs = pairs_of(16, 32, first=12)
    found = {}
    taken = peak(lambda: found.update(patching(model, pairs, memory=memory)))
    assert taken <= memory
    scale = replay.start(model, pairs, pairs.tokens).metric
    assert scenes.apart(found["denoising"], patching(model, pairs, memory=2**30)["denoising"], scale) <= 1e-6


def test_portions_hold_no_more_than_half(middling: Model) -> None:
    pairs = pairs_of(12, 64, first=3)
    portion = next(replay.portions(middling, pairs, batch_size=None, memory=24 * MIB))
    assert 1 < len(portion) < 12
    part = pairs.select(portion)

    def both_runs() -> list[replay.Run]:
        runs = [replay.start(middling, part, tokens) for tokens in (part.tokens, part.corrupted)]
        for run in runs:
            for layer in range(3):
                run.attention(layer), run.mlp(layer), run.q(layer)
        return runs

    assert 12 * MIB / 2.5 <= peak(both_runs) <= 12 * MIB
    assert [len(rows) for rows in replay.portions(middling, pairs, batch_size=5, memory=2**30)] == [5, 5, 2]
    assert [len(rows) for rows in replay.portions(middling, pairs, batch_size=None, memory=1)] == [1] * 12


SHORT = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


@pytest.mark.parametrize("problem", SHORT)
def test_chunks_that_do_not_fit_are_halved(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    wanted = replay.replay(base, edits)
    finished = _limited(monkeypatch, 3, problem)
    assert scenes.apart(replay.replay(base, edits), wanted) <= 1e-6
    assert len(finished) == len(set(finished)) == model.grid.size * 5  # every row once, none lost


def _limited(monkeypatch: pytest.MonkeyPatch, limit: int, problem: Exception) -> list[tuple[int, int]]:
    """Let more than `limit` rows at once fail; gives the rows that were finished."""
    inner, finished = engine._last_stream, []

    def limited(base: Any, edits: Any, chunk: Any) -> torch.Tensor:
        if len(chunk) > limit:
            raise problem
        finished.extend(zip(chunk.edit.tolist(), chunk.example.tolist(), strict=True))
        return inner(base, edits, chunk)

    monkeypatch.setattr(engine, "_last_stream", limited)
    return finished


def test_a_single_run_that_does_not_fit_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    _limited(monkeypatch, 0, SHORT[0])
    with pytest.raises(UsageError) as caught:
        replay.replay(base, edits)
    told = str(caught.value)
    assert told.startswith("one counterfactual run of ")
    assert "which does not fit into memory\n  expected: enough free memory\n  to fix it: use shorter prompts" in told


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    finished = _limited(monkeypatch, 3, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        replay.replay(base, edits)
    assert not finished
    assert not out_of_memory(ValueError("out of memory"))


def test_a_run_that_does_not_fit_names_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = load(tiny("gpt2"), device="cpu"), scenes.pairs()

    def fails(*_: Any) -> None:
        raise SHORT[0]

    monkeypatch.setattr(front, "run", fails)
    with pytest.raises(UsageError) as caught:
        replay.start(model, pairs, pairs.tokens)
    assert "6 prompts of 13 tokens, whose run does not fit into memory" in str(caught.value)
    assert "set a smaller batch_size (or memory)" in str(caught.value)


def test_whole_forwards_shrink_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = scenes.random_model(scenes.FALLBACKS["phi"]())
    model, pairs = load(plain, device="cpu"), scenes.pairs()
    base, donor = (replay.start(model, pairs, tokens) for tokens in (pairs.corrupted, pairs.tokens))
    edits = replay.edits_of(replay.single_heads(model.grid), donor.z, pairs.mask)
    wanted = replay.replay(base, edits)
    assert scenes.apart(replay.replay(base, edits, memory=1), wanted) <= 1e-6
    inner, limit = type(model).run_at, 5

    def limited(self: Any, tokens: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
        if len(tokens) > limit:
            raise SHORT[0]
        return inner(self, tokens, *more, **options)

    monkeypatch.setattr(type(model), "run_at", limited)
    assert scenes.apart(replay.replay(base, edits), wanted) <= 1e-6
    limit = 0
    with pytest.raises(UsageError, match="one counterfactual run of 13 tokens, which does not fit into memory"):
        replay.replay(base, edits)
