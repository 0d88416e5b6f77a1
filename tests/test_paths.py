"""Path patching equals plain Hugging Face on every architecture and TransformerLens, and finds what is planted."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from architectures import HEADS, LAYERS, tiny
from closed import closed
from fixtures_tasks import random_pairs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles_paths import Run
from torch import Tensor

from headscope import replay
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.patching import patching
from headscope.methods.paths import ABOVE, PATHS, Paths, direct, edge_table, edges, path_patching
from headscope.methods.twins import Limits
from headscope.models import Model, load
from headscope.prompts import ABSENT, Pairs
from headscope.tasks import TASKS
from headscope.testing import Plant, check_method, planted_model

SAME = 1e-5
"""The largest difference allowed, as a part of the largest metric."""

CAREFUL = settings(
    derandomize=True, max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SENDERS, RECEIVERS = [(0, 1), (1, 2)], [(1, 3), (2, 1), (2, 2)]
THROUGH = ("q", "k", "v", "qkv")


def late_pairs(**options: Any) -> Pairs:
    """Random pairs that differ from the third position on, so that a prefix is shared."""
    pairs = random_pairs(**options)
    corrupted = pairs.corrupted.clone()
    corrupted[:, :2] = pairs.tokens[:, :2]
    return replace(pairs, corrupted=corrupted)


def rows_of(pairs: Pairs, tokens: Tensor) -> list[Tensor]:
    return [row[:length][None] for row, length in zip(tokens, pairs.mask.sum(1).tolist(), strict=True)]


def metric(logits: Tensor, pairs: Pairs, example: int) -> float:
    at = logits[0, int(pairs.end[example])].double()
    sides = [[float(at[i]) for i in ids[example].tolist() if i != ABSENT] for ids in (pairs.answers, pairs.foils)]
    return sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])


def runs_of(plain: Any, pairs: Pairs, direction: str) -> tuple[list[Run], list[float], int]:
    """The oracle's runs, their metric, and the sign of effects."""
    rows, donors = rows_of(pairs, pairs.tokens), rows_of(pairs, pairs.corrupted)
    if direction == "denoising":
        rows, donors = donors, rows
    runs = [Run(plain, row, donor) for row, donor in zip(rows, donors, strict=True)]
    return runs, [metric(run.logits([]), pairs, e) for e, run in enumerate(runs)], 1 if direction == "denoising" else -1


def expect_equal(ours: Tensor, theirs: Tensor, scale: float) -> None:
    assert ours.shape == theirs.shape
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert (ours - theirs).nan_to_num().abs().max() <= SAME * max(1.0, scale)
    assert theirs.nan_to_num().abs().max() > 1e-3, "effects of nothing cannot fail this test"


# --- equality


@pytest.mark.parametrize("mlps", [True, False])
def test_direct_effects_equal_hugging_face(model: Model, plain: Any, mlps: bool) -> None:
    pairs = late_pairs(n=3)
    found = path_patching(model, pairs, mlps=mlps, batch_size=2)
    for direction in ("denoising", "noising"):
        runs, before, sign = runs_of(plain, pairs, direction)
        expected = torch.zeros(3, LAYERS, HEADS, dtype=torch.float64)
        for e, run in enumerate(runs):
            for layer, head in model.grid:
                logits = run.direct((layer, head), free_mlps=mlps)
                expected[e, layer, head] = sign * (metric(logits, pairs, e) - before[e])
        expect_equal(found[f"direct_{direction}"], expected, max(map(abs, before)))


@pytest.mark.parametrize(
    ("direction", "others", "mlps"),
    [("noising", "frozen", True), ("denoising", "free", True), ("denoising", "frozen", False)],
)
def test_edges_equal_hugging_face(model: Model, plain: Any, direction: str, others: str, mlps: bool) -> None:
    pairs = late_pairs(n=2)
    paths = Paths(through=THROUGH, direction=direction, others=others, mlps=mlps)
    found = edges(model, pairs, SENDERS, RECEIVERS, paths=paths)
    runs, before, sign = runs_of(plain, pairs, direction)
    expected = torch.full_like(found, torch.nan)
    for e, t, s, r in np.ndindex(*found.shape):
        sender, receiver = SENDERS[s], RECEIVERS[r]
        if sender[0] < receiver[0]:
            logits = runs[e].edge(sender, receiver, THROUGH[t], others=others, free_mlps=mlps)
            expected[e, t, s, r] = sign * (metric(logits, pairs, e) - before[e])
    expect_equal(found, expected, max(map(abs, before)))


def test_all_paths_through_all_inputs_are_equations_2_and_3(model: Model, plain: Any) -> None:
    """Corrupt the sender, record the receiver's z; then a clean run in which only that is replaced."""
    import oracles

    pairs = late_pairs(n=2)
    found = edges(model, pairs, [(0, 2)], [(2, 1)], paths=Paths(through=("qkv",), others="free"))
    runs, before, _ = runs_of(plain, pairs, "noising")
    for e, run in enumerate(runs):
        kept: list[Tensor] = []
        module = oracles.projections(plain)[2]
        handle = module.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0].clone()))
        run.logits(run.sent((0, 2), ()))
        handle.remove()
        recorded = kept[0].unflatten(-1, (HEADS, -1))
        after = metric(run.logits([(2, torch.arange(HEADS)[None] == 1, recorded)]), pairs, e)
        assert abs(float(found[e, 0, 0, 0]) - (before[e] - after)) <= SAME * max(1.0, abs(before[e]))


@pytest.mark.parametrize(("architecture", "through"), [("gpt2", "q"), ("gpt2", "k"), ("gpt2", "v"), ("llama", "q")])
def test_edges_of_the_residual_stream_equal_transformer_lens(architecture: str, through: str) -> None:
    """Their direct path has no MLP on it, so ours must keep MLPs as they are."""
    from transformer_lens import patching as theirs

    plain = tiny(architecture)
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.mul_(2 if "attn" in name else 1)  # else patterns are so flat that queries hardly matter
    model = load(plain, device="cpu")
    pairs = random_pairs(n=2, padded=False)
    paths = Paths(through=(through,), direction="denoising", mlps=False)
    ours = edges(model, pairs, [(0, 1), (1, 2)], list(model.grid), paths=paths)

    def measure(logits: Tensor) -> Tensor:
        return torch.tensor([metric(logits[e : e + 1], pairs, e) for e in range(2)], dtype=torch.float64).mean()

    with torch.no_grad():
        _, clean = model.bridge.run_with_cache(pairs.tokens)
        logits, corrupted = model.bridge.run_with_cache(pairs.corrupted)
        before = measure(logits)
        for index, (layer, head) in enumerate([(0, 1), (1, 2)]):
            found = theirs.get_act_patch_direct_path(
                model.bridge, pairs.corrupted, clean, corrupted, measure, layer, head, component=through, verbose=False
            )
            later = found.double()[layer + 1 :] - before
            mine = ours.mean(0)[0, index].view(LAYERS, HEADS)[layer + 1 :]
            assert (mine - later).abs().max() <= 2e-6 * max(1.0, float(before.abs()))
            assert later.abs().max() > 1e-3


def test_mlps_alone_can_be_kept(model: Model, plain: Any) -> None:
    pairs = late_pairs(n=2)
    clean, corrupted = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    edits = replay.edits_of(replay.single_heads(model.grid), corrupted.z, pairs.mask)
    found = replay.replay(clean, replace(edits, frozen_mlps=True))
    runs, before, _ = runs_of(plain, pairs, "noising")
    expected = [
        [metric(run.logits(run.sent(head, ()), free_mlps=False), pairs, e) for head in model.grid]
        for e, run in enumerate(runs)
    ]
    expect_equal(found, torch.tensor(expected, dtype=torch.float64), max(map(abs, before)))


# --- identities


@CAREFUL
@given(seed=st.integers(0, 99), longest=st.integers(5, 12))
def test_in_the_last_layer_the_direct_effect_is_the_whole_effect(gpt2_model: Model, seed: int, longest: int) -> None:
    pairs = random_pairs(n=3, longest=longest, seed=seed)
    whole, alone = patching(gpt2_model, pairs), path_patching(gpt2_model, pairs)
    for name, value in whole.items():
        torch.testing.assert_close(alone[f"direct_{name}"][:, -1], value[:, -1], rtol=0, atol=1e-6)
        assert (alone[f"direct_{name}"][:, 0] - value[:, 0]).abs().max() > 1e-3


@CAREFUL
@given(seed=st.integers(0, 99))
def test_equal_twins_have_no_paths(gpt2_model: Model, seed: int) -> None:
    pairs = random_pairs(n=3, seed=seed)
    pairs = replace(pairs, corrupted=pairs.tokens)
    assert all(not value.any() for value in path_patching(gpt2_model, pairs).values())
    found = edges(gpt2_model, pairs, SENDERS, RECEIVERS)
    assert not found.nan_to_num().any()
    assert found.isnan().sum() == 3 * 3  # from layer 1 to the receiver in layer 1


def test_only_what_the_metric_reads_has_a_direct_effect(model: Model) -> None:
    """Frozen heads move nothing between positions: in encoders, post-norm and parallel blocks too."""
    pairs = random_pairs(n=3)
    clean, corrupted = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    elsewhere = pairs.mask & (torch.arange(pairs.mask.shape[1]) != pairs.end[:, None])
    edits = replay.edits_of(replay.single_heads(model.grid), clean.z, elsewhere)
    assert torch.equal(replay.replay(corrupted, direct(edits)), corrupted.metric[:, None].expand(3, model.grid.size))
    assert (replay.replay(corrupted, edits) - corrupted.metric[:, None]).abs().max() > 1e-3


def test_only_what_the_metric_reads_is_run(model: Model) -> None:
    pairs = random_pairs(n=3)
    clean, corrupted = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
    edits = replay.edits_of(replay.single_heads(model.grid), clean.z, pairs.mask)
    whole, alone = (replay.plan(corrupted, each, memory=2**28) for each in (edits, direct(edits)))
    assert all(chunk.narrow == chunk.layer for chunk in alone.chunks)
    assert "36 of them run only where the metric reads" in alone.describe()
    program = corrupted.program
    mlp = program.blocks[0].mlp_operations
    runs = sum(LAYERS - layer - (layer >= 0 and program.blocks[0].parallel) for layer in range(LAYERS))
    head = 2 * program.d_head * program.d_model
    words = 2 * program.d_model * len(corrupted.reader.columns)
    assert alone.operations == 3 * HEADS * (runs * mlp + LAYERS * (head + words))
    assert alone.operations < whole.operations / 3
    kept = replay.plan(corrupted, direct(edits, mlps=False), memory=2**28)
    assert kept.operations == 3 * HEADS * LAYERS * (head + words)


def test_between_neighbouring_layers_no_head_can_respond(gpt2_model: Model) -> None:
    pairs = random_pairs()
    found = [edges(gpt2_model, pairs, SENDERS, RECEIVERS, paths=Paths(others=others)) for others in ("frozen", "free")]
    near = torch.tensor([[r[0] - s[0] == 1 for r in RECEIVERS] for s in SENDERS])
    assert torch.equal(found[0][..., near], found[1][..., near])
    far = torch.tensor([[r[0] - s[0] == 2 for r in RECEIVERS] for s in SENDERS])
    assert (found[0] - found[1])[..., far].abs().max() > 1e-3


@settings(CAREFUL, max_examples=3)
@given(order=st.permutations(range(4)), size=st.integers(1, 4), memory=st.sampled_from([2**16, 2**24]))
def test_order_portions_and_memory_never_matter(gpt2_model: Model, order: list[int], size: int, memory: int) -> None:
    pairs, index = late_pairs(), torch.tensor(order)
    limits = Limits(batch_size=size, memory=memory)
    found = edges(gpt2_model, pairs.select(index), SENDERS, RECEIVERS, limits=limits)
    expected = edges(gpt2_model, pairs, SENDERS, RECEIVERS)[index]
    torch.testing.assert_close(found, expected, rtol=0, atol=SAME, equal_nan=True)
    alone = path_patching(gpt2_model, pairs.select(index), batch_size=size, memory=memory)
    for name, value in path_patching(gpt2_model, pairs).items():
        torch.testing.assert_close(alone[name], value[index], rtol=0, atol=SAME)


def test_the_method_keeps_its_contract(model: Model, architecture: str) -> None:
    if architecture not in {"gpt2", "bert"}:
        pytest.skip("equality with plain loops covers the other architectures; this one is about bookkeeping")
    check_method(PATHS, model, random_pairs(), variants={"memory": 2**20})


# --- models whose parts are not known


def test_direct_effects_need_no_known_architecture(gpt2_model: Model) -> None:
    pairs = late_pairs(n=3)
    for name, value in path_patching(closed(), pairs).items():
        torch.testing.assert_close(value, path_patching(gpt2_model, pairs)[name], rtol=0, atol=SAME)


def test_what_needs_the_parts_says_so() -> None:
    pairs = random_pairs(n=2)
    reason = "in model 'GPT2LMHeadModel': architecture 'own' cannot be started in the middle\n  expected: edits of z\n"
    with pytest.raises(UsageError) as caught:
        edges(closed(), pairs, SENDERS, RECEIVERS)
    assert str(caught.value).startswith(f"paths between heads {reason}")
    with pytest.raises(UsageError) as caught:
        path_patching(closed(), pairs, mlps=False)
    assert str(caught.value).startswith(f"frozen MLPs {reason}")


# --- known answers


@pytest.mark.parametrize("pair", [((0, 0), (1, 1)), ((0, 2), (2, 0)), ((1, 1), (2, 2))])
def test_the_planted_pair_is_one_edge_through_k(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    grid = Grid(layers=3, heads=3)
    planted = planted_model(Plant(induction=pair), grid=grid, vocabulary=32, positions=32, noise=0.02)
    model = load(planted, device="cpu")
    pairs = TASKS["induction"].build(model, n=6, rng=np.random.default_rng(0))
    heads = list(grid)
    for direction in ("noising", "denoising"):
        paths = Paths(direction=direction)
        values = edges(model, pairs, heads, heads, paths=paths)
        mean = values.mean(0).nan_to_num().abs()
        sender, receiver = heads.index(pair[0]), heads.index(pair[1])
        planted_edge = float(mean[1, sender, receiver])
        assert planted_edge == mean.max() > 1
        others = mean.clone()
        others[1, sender, receiver] = 0
        assert others.max() < planted_edge / 10
        table = edge_table(values, pairs, heads, heads, paths=paths)
        first = table.iloc[0]
        assert [first[c] for c in ("sender", "receiver", "through")] == [
            Grid.label(*pair[0]),
            Grid.label(*pair[1]),
            "k",
        ]
        whole, alone = patching(model, pairs)[direction], path_patching(model, pairs)[f"direct_{direction}"]
        assert whole.mean(0)[pair[0]] > 1
        assert alone.mean(0)[pair[0]].abs() < whole.mean(0)[pair[0]] / 20
        torch.testing.assert_close(alone.mean(0)[pair[1]], whole.mean(0)[pair[1]], rtol=0.05, atol=0)


# --- the table


def test_the_table_says_what_each_edge_is() -> None:
    pairs = random_pairs(n=6)
    values = torch.randn(6, 2, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    values[:, :, 1, 0] = torch.nan
    paths = Paths(through=("k", "qv"), direction="denoising")
    table = edge_table(values, pairs, ["L0H1", (1, 2)], [(1, 0), "L2H3"], paths=paths, seed=3)
    assert list(table.columns) == ("sender receiver through direction value low high n groups p q unit reason".split())
    assert len(table) == 8
    assert table["value"].abs().dropna().is_monotonic_decreasing
    absent = table[table["value"].isna()]
    assert set(absent["reason"]) == {ABOVE}
    assert [*zip(absent["sender"], absent["receiver"], absent["through"], strict=True)] == [
        ("L1H2", "L1H0", "k"), ("L1H2", "L1H0", "qv")
    ]  # fmt: skip
    for row in table[:6].to_dict("records"):
        t, s, r = ("k", "qv").index(row["through"]), row["sender"] == "L1H2", row["receiver"] == "L2H3"
        own = values[:, t, int(s), int(r)]
        assert row["value"] == pytest.approx(float(own.mean()))
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["n"], row["groups"], row["unit"], row["reason"], row["direction"]) == (
            6, 3, "logits", "", "denoising"
        )  # fmt: skip
        assert 0 < row["p"] <= row["q"] <= 1


def test_heads_are_read_by_name_or_number(gpt2_model: Model) -> None:
    pairs = random_pairs(n=2)
    named, numbered = (edges(gpt2_model, pairs, s, r) for s, r in ((["L0H1"], ["2.3"]), ([(0, 1)], [(2, 3)])))
    assert torch.equal(named, numbered)
    assert edges(gpt2_model, pairs, [], [(2, 3)]).shape == (2, 3, 0, 1)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda model, pairs: Paths(through=("z",)), "through 'z'\n  expected: sets of q, k and v, such as 'k' or"),
        (lambda model, pairs: Paths(through=("",)), "through ''\n"),
        (lambda model, pairs: Paths(through=()), "paths through nothing\n  expected: sets of q, k and v"),
        (lambda model, pairs: Paths(others="fre"), "others 'fre'\n  expected: one of: frozen, free\n"),
        (lambda model, pairs: Paths(direction="noisng"), "direction 'noisng'\n"),
        (lambda model, pairs: edges(model, pairs, ["L9H0"], ["L1H0"]), "head L9H0\n  expected: layers 0-2 and heads"),
        (
            lambda model, pairs: edge_table(torch.zeros(2, 3, 1, 1), pairs, ["L0H0"], ["L1H0", "L1H1"]),
            r"values of edges \(2, 3, 1, 1\)\n  expected: \[example, through, sender, receiver\] \(2, 3, 1, 2\)\n",
        ),
    ],
)
def test_bad_questions_are_explained(gpt2_model: Model, ask: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        ask(gpt2_model, random_pairs(n=2))


# --- several reads


def test_what_is_read_before_the_first_change_is_still_read(gpt2_model: Model) -> None:
    """An answer of several tokens is read from `end` on, also where only its last tokens see a change."""
    pairs = random_pairs(n=3)
    ends, rows = pairs.end - 1, torch.arange(3)
    first = pairs.tokens[rows, pairs.end]
    corrupted = pairs.corrupted.clone()
    corrupted[rows, pairs.end] = first
    pairs = replace(
        pairs, corrupted=corrupted, answers=torch.stack([first, pairs.answers[:, 0]], 1), metric="log_probability",
        foils=torch.full((3, 1), ABSENT), positions={"end": ends},
    )  # fmt: skip
    late = torch.arange(pairs.mask.shape[1]) == (ends + 1)[:, None]
    found = []
    for model in (gpt2_model, closed()):
        clean, other = (replay.start(model, pairs, tokens) for tokens in (pairs.tokens, pairs.corrupted))
        edits = replay.edits_of(replay.single_heads(model.grid), other.z, late)
        found.append([replay.replay(clean, each) for each in (edits, direct(edits))])
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= SAME * theirs.abs().max()
        assert (theirs - clean.metric[:, None]).abs().max() > 1e-3
