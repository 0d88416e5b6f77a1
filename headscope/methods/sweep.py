"""One forward pass for every head and example, many of them batched together: the plain way, and exact.

Nothing is skipped here: every edited run goes through the whole model. It is what faster engines are checked against.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope import metrics
from headscope.models import Edit, Model
from headscope.progress import track
from headscope.prompts import Pairs

Outputs = Float[Tensor, "layer example position head d_head"]


class Setting(NamedTuple):
    """How a sweep runs: the model, rows per forward pass, and whether a progress bar is drawn."""

    model: Model
    batch_size: int
    progress: bool


def read(setting: Setting, tokens: Int[Tensor, "example position"], pairs: Pairs) -> Float[Tensor, " example"]:
    """The pairs' metric after `tokens` (their own clean or corrupted ones); cost: one forward each."""
    values = []
    for rows in torch.arange(len(pairs)).split(setting.batch_size):
        part = pairs.select(rows)
        width = part.tokens.shape[1]
        logits = setting.model.run_at(tokens[rows, :width], part.mask, part.end)
        values.append(metrics.evaluate(logits, part).cpu())
    return torch.cat(values)


def outputs(setting: Setting, tokens: Int[Tensor, "example position"], pairs: Pairs) -> Outputs:
    """Every head's z on `tokens`; memory: layers x examples x positions x d_model floats; cost: one forward each."""
    parts = [
        setting.model.outputs(tokens[rows], pairs.mask[rows])
        for rows in torch.arange(len(pairs)).split(setting.batch_size)
    ]
    return torch.cat(parts, dim=1)


def sweep(
    setting: Setting, tokens: Int[Tensor, "example position"], pairs: Pairs, values: Outputs, label: str
) -> Float[Tensor, "example layer head"]:
    """The metric after `tokens` when one head at a time puts out `values` instead of its own z.

    Args:
        setting: the model and how to run it.
        tokens: the run that is edited, under the pairs' mask.
        pairs: what the metric is read from.
        values: the replacement for every head's z, at all positions.
        label: for the progress bar.

    Returns:
        The metric for every example and head. Cost: layers x heads x examples forwards, `batch_size` at a time.
    """
    grid = setting.model.grid
    result = torch.full((len(pairs), grid.layers, grid.heads), float("nan"), dtype=torch.float64)
    cells = torch.cartesian_prod(torch.arange(grid.heads), torch.arange(len(pairs)))
    chunks = [(layer, chunk) for layer in range(grid.layers) for chunk in cells.split(setting.batch_size)]
    for layer, chunk in track(chunks, label, show=setting.progress, unit="batch"):
        heads, rows = chunk.T
        part = pairs.select(rows)
        width = part.tokens.shape[1]
        chosen = torch.nn.functional.one_hot(heads, grid.heads).bool()
        edit = Edit(layer=layer, heads=chosen, values=values[layer, rows.to(values.device), :width])
        logits = setting.model.run_at(tokens[rows, :width], part.mask, part.end, edits=(edit,))
        result[rows, layer, heads] = metrics.evaluate(logits, part).cpu()
    return result
