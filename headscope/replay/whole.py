"""The plain way, for models that cannot be started in the middle: one whole forward for each edit and example.

It is also what the engine is checked against.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics
from headscope.errors import UsageError
from headscope.models import Edit, Model
from headscope.progress import track
from headscope.prompts import ABSENT, Pairs
from headscope.replay.edits import Edits
from headscope.replay.memory import available, out_of_memory


@dataclass(frozen=True, eq=False, kw_only=True)
class Whole:
    """A finished run of a model that is only run whole.

    Attributes:
        model: the model.
        pairs: what is read.
        tokens: what was run.
        z: every head's output of each layer.
        metric: the metric of the run itself, for each example.
        rows: rows per forward pass.
    """

    model: Model = field(repr=False)
    pairs: Pairs = field(repr=False)
    tokens: Int[Tensor, "example position"] = field(repr=False)
    z: list[Float[Tensor, "example position head d_head"]] = field(repr=False)
    metric: Float[Tensor, " example"]
    rows: int = 128

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def mask(self) -> Bool[Tensor, "example position"]:
        """True where a token is real."""
        return self.pairs.mask

    def site(self, name: str, layer: int) -> Float[Tensor, "example position head d_head"]:
        """What stands at an edit's site; only `z` can be had here.

        Raises:
            UsageError: for other sites, which need the model's parts.
        """
        if name != "z":
            raise self.refusal(f"edits of {name}")
        return self.z[layer]

    def refusal(self, what: str) -> UsageError:
        """Why something cannot be done without the model's parts."""
        reason = getattr(self.model, "cut", ("", "it is not cut open"))[1]
        fix = "use a method that edits z, or a model of a known architecture"
        return UsageError(f"{what} in model {self.model.name!r}: {reason}", "edits of z", fix)


def run_whole(model: Model, pairs: Pairs, tokens: Int[Tensor, "example position"], *, rows: int = 128) -> Whole:
    """Run prompts and keep every head's z.

    Args:
        model: any model.
        pairs: what is read, and the mask.
        tokens: the pairs' own clean or corrupted tokens.
        rows: rows per forward pass.

    Returns:
        The run. Cost: two forwards for each example.
    """
    parts = torch.arange(len(pairs)).split(rows)
    z = [model.outputs(tokens[part], pairs.mask[part]) for part in parts]
    metric = torch.cat([read(model, pairs.select(part), tokens[part]) for part in parts])
    layers = [torch.cat([each[layer] for each in z]) for layer in range(model.grid.layers)]
    return Whole(model=model, pairs=pairs, tokens=tokens, z=layers, metric=metric, rows=rows)


def read(
    model: Model, pairs: Pairs, tokens: Int[Tensor, "example position"], edits: tuple[Edit, ...] = ()
) -> Float[Tensor, " example"]:
    """The pairs' metric after a whole forward on `tokens`, under edits of z.

    Args:
        model: any model.
        pairs: what is read, and the mask.
        tokens: what is run; columns that are padding in all examples may be left out.
        edits: edits of z.
    """
    tokens = tokens[:, : pairs.tokens.shape[1]]
    if pairs.reads.shape[1] == 1:
        return metrics.evaluate(model.run_at(tokens, pairs.mask, pairs.reads[:, 0], edits=edits), pairs).cpu()
    logits = model.run(tokens, pairs.mask, edits=edits)
    rows = torch.arange(len(pairs), device=logits.device)[:, None]
    at = pairs.reads.masked_fill(pairs.reads == ABSENT, 0).to(logits.device)
    return metrics.evaluate(logits[rows, at], pairs).cpu()


def replay_whole(
    run: Whole, edits: Edits, *, memory: int | None = None, progress: str = ""
) -> Float[Tensor, "example edit"]:
    """The metric of every example under every edit.

    Args:
        run: the run that is edited.
        edits: edits of z; heads may be frozen, MLPs may not.
        memory: bytes for a forward; by default half of what is free. Batches that do not fit after all are halved.
        progress: the label of a progress bar; empty: none.

    Returns:
        The metric (double precision, on the CPU). Cost: edits x examples forwards.

    Raises:
        UsageError: for edits of q, k, v or pattern, of several layers at some positions only, or frozen MLPs, which
            need the model's parts; or if memory does not suffice for a single run.
    """
    if edits.site != "z" or edits.frozen_mlps:
        raise run.refusal("frozen MLPs" if edits.site == "z" else f"edits of {edits.site}")
    edits.check(run.model.grid, run.mask, run.model.grid.heads, run.model.d_head)
    some = (run.mask & ~edits.places.cpu()).flatten(1).any(1)[edits.at]
    if bool((some & (edits.heads.any(-1).sum(-1) > 1)).any()):
        # A whole forward replaces a head at all positions, so the others of a later layer could not respond.
        raise run.refusal("edits of several layers at some positions")
    edits = edits.on(torch.device("cpu"))
    result = torch.full((len(run), len(edits)), float("nan"), dtype=torch.float64)
    cells = torch.cartesian_prod(torch.arange(len(edits)), torch.arange(len(run)))
    memory = available(run.model.device) // 2 if memory is None else memory
    size = max(1, min(run.rows, memory // _row_bytes(run)))
    for chunk in track(cells.split(size), progress, show=bool(progress), unit="batch"):
        edit, row = chunk.T
        result[row, edit] = _measured(run, edits, edit, row)
    return result


def _row_bytes(run: Whole) -> int:
    """About what one row of a whole forward takes: hidden values of a block, patterns, and logits where they are read.

    How other architectures go about it is not known here; a block's hidden values are taken to be four times as wide.
    """
    width, grid = run.tokens.shape[1], run.model.grid
    reads = 1 if run.pairs.reads.shape[1] == 1 else width
    hidden = width * 16 * max(run.model.W_E.shape[1], grid.heads * run.model.d_head)
    return 4 * (hidden + 3 * grid.heads * width**2 + 7 * reads * run.model.vocabulary)


def _measured(run: Whole, edits: Edits, edit: Tensor, row: Tensor) -> Float[Tensor, " row"]:
    """The metric of rows; in halves if memory does not suffice."""
    try:
        return _read(run, edits, edit, row)
    except (RuntimeError, MemoryError) as problem:
        if not out_of_memory(problem):
            raise
        if len(row) == 1:
            given = f"one counterfactual run of {run.tokens.shape[1]} tokens, which does not fit into memory"
            raise UsageError(given, "enough free memory", "use shorter prompts or a smaller model") from problem
    halves = zip(edit.tensor_split(2), row.tensor_split(2), strict=True)
    return torch.cat([_measured(run, edits, *half) for half in halves])


def _read(run: Whole, edits: Edits, edit: Tensor, row: Tensor) -> Tensor:
    part = run.pairs.select(row)
    width = part.tokens.shape[1]
    held = edits.heads if edits.frozen is None else edits.heads | edits.frozen
    where = edits.places[edits.at[edit], row][:, :width, None]
    changes = []
    for layer in held[edit].any(-1).any(0).nonzero()[:, 0].tolist():
        own, donor = run.z[layer][row, :width].cpu(), edits.donor(layer, edit, row, slice(width)).cpu()
        given = (where & edits.heads[edit, layer][:, None, :])[..., None]
        changes.append(Edit(layer=layer, heads=held[edit, layer], values=torch.where(given, donor.to(own), own)))
    return read(run.model, part, run.tokens[row], tuple(changes))
