"""Self-repair equals plain Hugging Face, finds a planted backup, and adds up where a model is linear."""

from dataclasses import replace
from typing import Any

import oracles
import pytest
import torch
from architectures import HEADS, LAYERS
from closed import closed
from fixtures_tasks import random_pairs
from oracles_paths import Run
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from headscope.errors import UsageError
from headscope.methods.ablation import ablation
from headscope.methods.repair import REPAIR, backups, joint_ablation, self_repair
from headscope.methods.replacements import resample_donors
from headscope.methods.twins import Limits
from headscope.models import Model, load
from headscope.prompts import ABSENT, Pairs
from headscope.testing import check_method

SAME = 1e-5
"""The largest difference allowed, as a part of the largest metric."""


def metric(logits: Tensor, pairs: Pairs, example: int) -> float:
    at = logits[0, int(pairs.end[example])].double()
    sides = [[float(at[i]) for i in ids[example].tolist() if i != ABSENT] for ids in (pairs.answers, pairs.foils)]
    return sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])


def runs_of(plain: Any, pairs: Pairs, seed: int) -> tuple[list[Run], list[float]]:
    """The clean runs, with another prompt's z as donor, and their metric."""
    lengths = pairs.mask.sum(1).tolist()
    rows = [row[:length][None] for row, length in zip(pairs.tokens, lengths, strict=True)]
    runs = []
    for e, donor in enumerate(resample_donors(pairs, seed).tolist()):
        run = Run(plain, rows[e], rows[donor])
        at = [min(position, lengths[donor] - 1) for position in range(lengths[e])]
        run.donor = run.donor[:, :, at]
        runs.append(run)
    return runs, [metric(run.logits([]), pairs, e) for e, run in enumerate(runs)]


def expect_equal(ours: Tensor, theirs: Tensor, before: list[float]) -> None:
    assert ours.shape == theirs.shape
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert (ours - theirs).nan_to_num().abs().max() <= SAME * max(1.0, *map(abs, before))
    assert theirs.nan_to_num().abs().max() > 1e-3, "effects of nothing cannot fail this test"


# --- equality


@pytest.mark.parametrize("mlps", [True, False])
def test_self_repair_equals_hugging_face(model: Model, plain: Any, mlps: bool) -> None:
    pairs = random_pairs(n=3)
    found = self_repair(model, pairs, mlps=mlps, seed=3, batch_size=2)
    runs, before = runs_of(plain, pairs, 3)
    direct, total = torch.zeros(2, 3, LAYERS, HEADS, dtype=torch.float64)
    for e, run in enumerate(runs):
        for head in model.grid:
            direct[e, *head] = before[e] - metric(run.direct(head, free_mlps=mlps), pairs, e)
            total[e, *head] = before[e] - metric(run.logits(run.sent(head, ())), pairs, e)
    expect_equal(found["direct"], direct, before)
    expect_equal(found["repair"], direct - total, before)


def test_backups_equal_hugging_face(model: Model, plain: Any) -> None:
    pairs, ablated = random_pairs(n=2), [(2, 0), (0, 1), (1, 3)]
    found = backups(model, pairs, ablated, seed=3)
    runs, before = runs_of(plain, pairs, 3)
    expected = torch.full((2, 3, LAYERS, HEADS), torch.nan, dtype=torch.float64)
    for e, run in enumerate(runs):
        for index, head in enumerate(ablated):
            kept: list[Tensor] = []
            handles = [
                module.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0].clone()))
                for module in oracles.projections(plain)
            ]
            run.logits(run.sent(head, ()))
            for handle in handles:
                handle.remove()
            for layer in range(head[0] + 1, LAYERS):
                rest = [(other, torch.ones(1, HEADS, dtype=torch.bool), run.z[other]) for other in range(layer + 1, 3)]
                for other in range(HEADS):
                    responds = layer, torch.arange(HEADS)[None] == other, kept[layer].unflatten(-1, (HEADS, -1))
                    after = metric(run.logits([responds, *rest]), pairs, e)
                    expected[e, index, layer, other] = after - before[e]
    expect_equal(found, expected, before)


def test_joint_ablation_equals_hugging_face(model: Model, plain: Any) -> None:
    pairs = random_pairs(n=3)
    sets = [[(0, 1), (1, 2)], [], [(2, 0)], [(0, 1), (2, 3), (0, 2)], [(1, 2), (1, 2)]]
    found = joint_ablation(model, pairs, sets, seed=3)
    runs, before = runs_of(plain, pairs, 3)
    joint, summed = torch.zeros(2, 3, len(sets), dtype=torch.float64)
    for e, run in enumerate(runs):
        for index, heads in enumerate(sets):
            alone = {head: before[e] - metric(run.logits(run.sent(head, ())), pairs, e) for head in heads}
            sent = [run.sent(head, ())[0] for head in heads]
            joint[e, index] = before[e] - metric(run.logits(sent), pairs, e)
            summed[e, index] = sum(alone.values())
    expect_equal(found.joint, joint, before)
    expect_equal(found.summed, summed, before)
    expect_equal(found.difference, joint - summed, before)
    assert found.ratio[:, 1].isnan().all()
    torch.testing.assert_close(found.ratio[:, 2], torch.ones(3, dtype=torch.float64), rtol=1e-4, atol=0)


# --- identities


def test_nothing_is_lost_with_an_empty_set(gpt2_model: Model) -> None:
    found = joint_ablation(gpt2_model, random_pairs(), [[]])
    assert not found.joint.any()
    assert not found.summed.any()
    assert joint_ablation(gpt2_model, random_pairs(), []).joint.shape == (4, 0)


def test_the_last_layer_is_not_repaired(gpt2_model: Model) -> None:
    found = self_repair(gpt2_model, random_pairs())
    assert found["repair"][:, -1].abs().max() <= 1e-6
    assert found["repair"][:, 0].abs().max() > 1e-3


@pytest.mark.parametrize("mean", [False, True])
def test_direct_less_repair_is_what_ablation_loses(gpt2_model: Model, mean: bool) -> None:
    pairs = random_pairs()
    found = self_repair(gpt2_model, pairs, mean=mean, seed=5)
    kind = "mean" if mean else "resample"
    lost = ablation(gpt2_model, pairs, kinds=[kind], seed=5)[kind]
    torch.testing.assert_close(found["direct"] - found["repair"], lost, rtol=0, atol=SAME)


def test_heads_that_are_not_later_cannot_back_up(gpt2_model: Model) -> None:
    found = backups(gpt2_model, random_pairs(n=2), ["L1H0", (2, 1)], kind="mean")
    assert found.isnan()[:, 0].all(0).tolist() == [[True] * HEADS] * 2 + [[False] * HEADS]
    assert found[:, 1].isnan().all()


def test_portions_and_memory_never_matter(gpt2_model: Model) -> None:
    pairs, heads = random_pairs(), [(0, 1), (1, 2)]
    expected = backups(gpt2_model, pairs, heads)
    for limits in (Limits(batch_size=1), Limits(memory=2**16, progress=True)):
        found = backups(gpt2_model, pairs, heads, limits=limits)
        torch.testing.assert_close(found, expected, rtol=0, atol=SAME, equal_nan=True)


def test_the_method_keeps_its_contract(gpt2_model: Model) -> None:
    check_method(REPAIR, gpt2_model, random_pairs(), variants={"memory": 2**20})


# --- known answers: prompts of one token, in a model without MLPs whose norms are all but linear


FIXED = 100.0
"""The length, in units of what heads write, of what always stands in the residual stream."""


def linear(layers: int = 3, *, seed: int | None = 0) -> GPT2LMHeadModel:
    """Heads that read and write at random, or not at all."""
    config = GPT2Config(
        n_layer=layers, n_head=2, n_embd=16, vocab_size=6, n_positions=4, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.random.fork_rng(devices=[]):
        plain = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.fill_(1.0 if ".ln_" in name and name.endswith("weight") else 0.0)
            if seed is not None and "attn" in name and name.endswith("weight"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * (4 if "c_attn" in name else 0.25))
                weight[(slice(2),) if "c_attn" in name else (slice(None), slice(2))] = 0  # what is fixed stays so
        plain.transformer.wte.weight.copy_(torch.randn(6, 16, generator=generator))
        plain.transformer.wte.weight[:, :2] = FIXED * torch.tensor([1.0, -1.0])
        plain.lm_head.weight.copy_(torch.randn(6, 16, generator=generator))
        plain.lm_head.weight[:, :2] = 0
    return plain


def one_token_pairs(n: int = 4) -> Pairs:
    tokens = torch.arange(n)[:, None]
    return Pairs(
        task="one", tokens=tokens, corrupted=(tokens + 1) % 6, mask=tokens >= 0, groups=torch.arange(n),
        positions={"end": torch.zeros(n, dtype=torch.long)}, answers=(tokens + 2) % 6, foils=(tokens + 3) % 6,
    )  # fmt: skip


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= 0.01 * float(other.abs().max())


@pytest.mark.parametrize("kind", ["zero", "resample", "mean"])
def test_in_a_linear_model_heads_of_a_layer_add_up(kind: str) -> None:
    model, pairs = load(linear(), device="cpu"), one_token_pairs()
    sets = [[(layer, 0), (layer, 1)] for layer in range(3)]
    found = joint_ablation(model, pairs, sets, kind=kind)
    assert found.joint.abs().min(0).values.max() > 1e-4
    assert close(found.joint, found.summed)
    chain = joint_ablation(model, pairs, [[(0, 0), (1, 0), (2, 0)]], kind=kind)
    assert not close(chain.joint, chain.summed)


def test_in_a_linear_model_backups_add_up_to_self_repair() -> None:
    model, pairs = load(linear(), device="cpu"), one_token_pairs()
    repair = self_repair(model, pairs, seed=1)["repair"]
    given = backups(model, pairs, list(model.grid), seed=1)
    assert close(given.nansum((2, 3)).view(4, 3, 2), repair)
    assert repair[:, 0].abs().max() > 1e-3


def test_a_planted_backup_is_found() -> None:
    """L1H1 reads what L0H0 writes and writes half of it back: without L0H0, half of the loss is made good."""
    plain = linear(2, seed=None)
    with torch.no_grad():
        first, second = (block.attn for block in plain.transformer.h)
        width = 8
        first.c_attn.weight[2:10, 32 : 32 + width] = torch.eye(8)  # L0H0 reads dimensions 2 to 9
        first.c_proj.weight[:width, 8:16] = torch.eye(8)  # and adds them to dimensions 8 to 15
        scale = (2 * FIXED**2 / 16) ** 0.5  # what the norm divides by
        second.c_attn.weight[8:16, 40:48] = torch.eye(8) * scale
        second.c_proj.weight[8:16, 8:16] = -0.5 * torch.eye(8)
        plain.transformer.wte.weight[:, 8:] = 0
        plain.lm_head.weight[:, :8] = 0
        plain.lm_head.weight[:, 8:] -= plain.lm_head.weight[:, 8:].mean(1, keepdim=True)  # blind to what norms take off
    model, pairs = load(plain, device="cpu"), one_token_pairs()
    found = self_repair(model, pairs, seed=1)
    lost, given = found["direct"][:, 0, 0], found["repair"][:, 0, 0]
    assert lost.abs().min() > 1e-4
    assert close(given, lost / 2)
    response = backups(model, pairs, ["L0H0"], seed=1)
    assert close(response[:, 0, 1, 1], given)
    assert response[:, 0, 1, 0].abs().max() <= 0.01 * given.abs().max()
    together = joint_ablation(model, pairs, [[(0, 0), (1, 1)]], kind="zero")
    assert close(together.joint[:, 0], joint_ablation(model, pairs, [[(0, 0)]], kind="zero").joint[:, 0])
    assert together.summed.abs().max() <= 0.01 * together.joint.abs().max()  # alone, L1H1 takes away what it gives back


# --- what cannot be


def test_models_of_unknown_parts_are_only_ablated(gpt2_model: Model) -> None:
    pairs = random_pairs(n=2)
    for name, value in self_repair(closed(), pairs).items():
        torch.testing.assert_close(value, self_repair(gpt2_model, pairs)[name], rtol=0, atol=SAME)
    with pytest.raises(UsageError, match="backups in model 'GPT2LMHeadModel': architecture 'own' cannot be started"):
        backups(closed(), pairs, [(0, 1)])


def test_bad_questions_are_explained(gpt2_model: Model) -> None:
    pairs = random_pairs(n=2)
    with pytest.raises(UsageError, match=r"ablation kind 'zreo'\n  expected: any of resample.*\n.*mean 'zero'"):
        backups(gpt2_model, pairs, [(0, 1)], kind="zreo")
    with pytest.raises(UsageError, match=r"head L3H0\n  expected: layers 0-2 and heads 0-3"):
        backups(gpt2_model, pairs, ["L3H0"])
    with pytest.raises(UsageError, match=r"head L3H0\n  expected: 3 layers of 4 heads"):
        joint_ablation(gpt2_model, pairs, [[(3, 0)]])


def test_examples_without_a_replacement_are_nan(gpt2_model: Model) -> None:
    """The only example of its length has no mean at its last positions."""
    pairs = random_pairs(n=3)
    longest = int(pairs.mask.sum(1).argmax())
    found = backups(gpt2_model, replace(pairs, groups=torch.arange(3)), [(0, 1)], kind="mean_position")
    gone = found.isnan().all((1, 2, 3))
    assert gone[longest]
    assert gone.sum() == 1
