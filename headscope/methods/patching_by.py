"""Activation patching by position, and by the group of heads that share a key and a value."""

from collections.abc import Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from headscope import replay
from headscope.methods.patching import score_name
from headscope.methods.twins import DEFAULTS, DIRECTIONS, Limits, Swap, check_direction, check_site, effects, twins
from headscope.models import Model
from headscope.prompts import Pairs

CELLS = 2**24
"""Entries of the largest table of edits that `by_position` lays out at once."""


def by_position(
    model: Model, pairs: Pairs, *, direction: str = "denoising", site: str = "z", limits: Limits = DEFAULTS
) -> Float[Tensor, "example layer head position"]:
    """The effect of exchanging each head at one position at a time.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        direction: `denoising` or `noising`.
        site: `z`, `q`, `k`, `v` or `pattern` (of the query at the position).
        limits: how much at once.

    Returns:
        The effects, in units of the pairs' metric; NaN at padding. Those before the first difference of a decoder's
        twins are 0. Cost: heads x positions counterfactual runs for each example, each from its position on; memory as
        for `patching`, and the result.

    Raises:
        UsageError: if there is no such direction or site, or the model's architecture does not allow the site.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> effect = by_position(model, pairs)[:, 1, 1]  # of the induction head, which acts at the end
        >>> (effect.nan_to_num().argmax(-1) == pairs.end).all()
        tensor(True)
    """
    check_direction(direction)
    check_site(site)
    singles, grid, width = replay.single_heads(model.grid), model.grid, pairs.tokens.shape[1]
    step = max(1, CELLS // grid.size**2)
    blocks = []
    for both in twins(model, pairs, limits):
        mask = both.pairs.mask
        found = torch.full((len(mask), grid.layers, grid.heads, width), torch.nan, dtype=torch.float64)
        for columns in torch.arange(mask.shape[1]).split(step):
            places = replay.each_position(mask)[columns]
            at = torch.arange(len(columns)).repeat_interleave(len(singles))
            heads = singles.repeat(len(columns), 1, 1)
            values = effects(both, Swap(direction=direction, site=site, heads=heads, places=places, at=at))
            values = values.unflatten(1, (len(columns), grid.layers, grid.heads)).permute(0, 2, 3, 1)
            found[..., columns] = values.masked_fill(~mask[:, None, None, columns], torch.nan)
        blocks.append(found)
    return torch.cat(blocks)


def by_group(
    model: Model, pairs: Pairs, *, sites: Sequence[str] = ("z", "k", "v"), limits: Limits = DEFAULTS
) -> dict[str, Float[Tensor, "example layer group"]]:
    """Denoising and noising of all query heads that share a key and a value, together.

    In models with grouped queries effects concentrate on single heads of a group, so effects of heads and of groups
    both belong into a report (Venkatesh 2026, arXiv 2605.08853). Elsewhere each head is a group of its own.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        sites: `z`, `q`, `k`, `v` or `pattern`; for `k` and `v` it is the shared key or value that is exchanged.
        limits: how much at once.

    Returns:
        `{direction}` for z, `{direction}_{site}` for others, in units of the pairs' metric.
        Cost: 2 x groups counterfactual runs for each example and site.

    Raises:
        UsageError: if there is no such site, or the model's architecture does not allow it.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> model = load(planted_model(Plant(), grid=Grid(1, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> by_group(model, pairs)["noising_k"].shape
        torch.Size([2, 1, 2])
    """
    for site in sites:
        check_site(site)
    grid, groups = model.grid, model.W_K.shape[1]
    each = grid.heads // groups
    members = [
        [(layer, group * each + i) for i in range(each)] for layer in range(grid.layers) for group in range(groups)
    ]
    heads = replay.head_sets(grid, members)
    found: dict[str, list[Tensor]] = {score_name(way, site): [] for site, way in product(sites, DIRECTIONS)}
    for both in twins(model, pairs, limits):
        for direction, site in product(DIRECTIONS, sites):
            swap = Swap(direction=direction, site=site, heads=heads, places=replay.everywhere(both.pairs.mask))
            found[score_name(direction, site)].append(effects(both, swap).unflatten(1, (grid.layers, groups)))
    return {name: torch.cat(values) for name, values in found.items()}
