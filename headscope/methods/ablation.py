"""Ablation: what is lost when a head's output is replaced by zero, its mean, or its output on another prompt?"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.methods.sweep import Outputs, Setting, outputs, read, sweep
from headscope.models import Model
from headscope.prompts import Pairs

KINDS = ("resample", "mean", "zero")


def ablation(
    model: Model,
    pairs: Pairs,
    *,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    batch_size: int = 128,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """The metric lost when each head's z is replaced, at all positions of the clean run.

        zero      z_h := 0
        mean      z_h := mean of z_h over all positions of all examples
        resample  z_h := z_h on a random prompt of another group (same length where there is one)

    value = m(clean) - m(ablated): positive values mean that the head helps. The three can disagree in sign and size;
    zero takes the model furthest from anything it has seen, resample least (papers reviewed by Li & Janson 2024).

    Args:
        model: the model.
        pairs: prompts; the corrupted ones are not used.
        kinds: which replacements.
        seed: draws the other prompts of `resample`; the draw depends on the prompts, not on their order.
        batch_size: rows per forward pass; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        One array for each kind, in units of the pairs' metric.
        Cost: heads forwards for each kind and example, and 2 more; every one through the whole model.

    Raises:
        UsageError: if a kind is unknown.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> ablation(model, pairs, kinds=["zero"])["zero"].mean(0).round(decimals=2).tolist()
        [[7.47, -0.0], [-0.0, 7.47]]
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"ablation kinds {unknown}", f"any of {', '.join(KINDS)}", "correct the kinds")
    setting = Setting(model, batch_size, progress)
    clean = read(setting, pairs.tokens, pairs)
    z = outputs(setting, pairs.tokens, pairs)
    results = {}
    for kind in kinds:
        values = _replacement(kind, z, pairs, seed)
        ablated = sweep(setting, pairs.tokens, pairs, values, f"{pairs.task}: {kind} ablation")
        results[kind] = clean[:, None, None] - ablated
    return results


def _replacement(kind: str, z: Outputs, pairs: Pairs, seed: int) -> Outputs:
    if kind == "zero":
        return torch.zeros_like(z)
    if kind == "mean":
        weights = pairs.mask.double()[None, :, :, None, None]
        # Double precision, so that the order of the examples does not show in the last digits; on the CPU, since
        # Apple's GPUs have none.
        mean = (z.cpu().double() * weights).sum((1, 2), keepdim=True) / weights.sum()
        return mean.to(z).expand_as(z)
    donors = resample_donors(pairs, seed)
    lengths = pairs.mask.sum(1)
    places = torch.arange(z.shape[2])[None, :].minimum(lengths[donors][:, None] - 1)
    return z[:, donors[:, None].to(z.device), places.to(z.device)]


def resample_donors(pairs: Pairs, seed: int) -> Int[Tensor, " example"]:
    """For each example a random one of another group, of equal length where there is one.

    The choice is by hashes of the prompts, so it does not depend on their order. A shorter donor's last position stands
    in for the positions that it lacks. With a single group the donor is any other example.

    Args:
        pairs: the prompts.
        seed: another seed, other donors.

    Example:
        >>> tokens = torch.tensor([[3, 4], [5, 6], [7, 8]])
        >>> pairs = Pairs(task="own", tokens=tokens, corrupted=tokens, mask=tokens > 0, groups=torch.tensor([0, 0, 1]),
        ...               answers=tokens[:, :1], foils=tokens[:, 1:])
        >>> resample_donors(pairs, seed=0)[:2].tolist()
        [2, 2]
    """
    rows = [row[keep].tolist() for row, keep in zip(pairs.tokens, pairs.mask, strict=True)]
    names = [hashlib.sha256(repr(row).encode()).hexdigest() for row in rows]
    lengths, groups = pairs.mask.sum(1).tolist(), pairs.groups.tolist()
    donors = []
    for here in range(len(rows)):
        others = (
            [i for i in range(len(rows)) if groups[i] != groups[here]]
            or [i for i in range(len(rows)) if i != here]
            or [here]
        )
        same = [i for i in others if lengths[i] == lengths[here]] or others
        keys = {i: hashlib.sha256(f"{seed}{names[here]}{names[i]}".encode()).digest() for i in same}
        donors.append(min(same, key=keys.__getitem__))
    return torch.tensor(donors)


ABLATION = Method(
    name="ablation",
    function=ablation,
    needs=Pairs,
    scores=(
        Score(name="resample", meaning="the answer is lost when its output comes from another prompt"),
        Score(name="mean", meaning="the answer is lost when its output is its mean over all prompts"),
        Score(name="zero", meaning="the answer is lost when its output is zero"),
    ),
    source="Michel et al. 2019; Wang et al. 2022, section 2.2; Chan et al. 2022 (causal scrubbing) for resampling",
    about="replace a head's output by zero, its mean, or its output on another prompt",
    seeded=True,
)
