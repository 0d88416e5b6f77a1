"""The plain way, for models that cannot be started in the middle: one whole forward for each edit and example.

It is also what the engine is checked against.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
        also: further metrics of the run itself, by name.
        further: the same examples under these metrics.
        reference: the clean run's logits at `end`, under `kl`.
        rows: rows per forward pass.
    """

    model: Model = field(repr=False)
    pairs: Pairs = field(repr=False)
    tokens: Int[Tensor, "example position"] = field(repr=False)
    z: list[Float[Tensor, "example position head d_head"]] = field(repr=False)
    metric: Float[Tensor, " example"]
    also: dict[str, Float[Tensor, " example"]] = field(default_factory=dict)
    further: tuple[Pairs, ...] = field(default=(), repr=False)
    reference: Float[Tensor, "example vocabulary"] | None = field(default=None, repr=False)
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


def run_whole(
    model: Model,
    pairs: Pairs,
    tokens: Int[Tensor, "example position"],
    *,
    also: Sequence[metrics.Metric] = (),
    rows: int = 128,
) -> Whole:
    """Run prompts and keep every head's z.

    Args:
        model: any model.
        pairs: what is read, and the mask.
        tokens: the pairs' own clean or corrupted tokens.
        also: further metrics to read.
        rows: rows per forward pass.

    Returns:
        The run. Cost: two forwards for each example, and a third under `kl`.

    Raises:
        UsageError: if there is no such metric, or it does not fit the answers.
    """
    metrics.check(pairs)
    further = metrics.further(pairs, also)
    parts = torch.arange(len(pairs)).split(rows)
    reference = None
    if any(each.metric == metrics.KL for each in (pairs, *further)):
        at = [model.run_at(pairs.tokens[part], pairs.mask[part], pairs.end[part]).cpu() for part in parts]
        reference = torch.cat(at)
    own = Whole(model=model, pairs=pairs, tokens=tokens, z=[], metric=torch.zeros(len(pairs)), further=further,
                reference=reference)  # fmt: skip
    metric, *others = torch.cat([_values(own, part, ()) for part in parts], 1)
    z = [model.outputs(tokens[part], pairs.mask[part]) for part in parts]
    layers = [torch.cat([each[layer] for each in z]) for layer in range(model.grid.layers)]
    named = {metrics.name_of(each): value for each, value in zip(further, others, strict=True)}
    return replace(own, z=layers, metric=metric, also=named, rows=rows)


def _values(run: Whole, rows: Tensor, edits: tuple[Edit, ...]) -> Float[Tensor, "metric row"]:
    """All metrics of some examples after one whole forward under edits of z, the pairs' own first."""
    every = [each.select(rows) for each in (run.pairs, *run.further)]
    reference = None if run.reference is None else run.reference[rows]
    longest = max(every, key=lambda each: each.reads.shape[1])
    logits = _logits_at(run.model, longest, run.tokens[rows], edits)
    found = []
    for each in every:
        given = reference if each.metric == metrics.KL else None
        found.append(metrics.evaluate(logits[:, : each.reads.shape[1]], each, reference=given).cpu())
    return torch.stack(found)


def _logits_at(model: Model, pairs: Pairs, tokens: Tensor, edits: tuple[Edit, ...]) -> Float[Tensor, "row read word"]:
    """The logits where the pairs' metric reads."""
    tokens = tokens[:, : pairs.tokens.shape[1]]
    if pairs.reads.shape[1] == 1:
        return model.run_at(tokens, pairs.mask, pairs.reads[:, 0], edits=edits)[:, None]
    logits = model.run(tokens, pairs.mask, edits=edits)
    rows = torch.arange(len(pairs), device=logits.device)[:, None]
    return logits[rows, pairs.reads.masked_fill(pairs.reads == ABSENT, 0).to(logits.device)]


def read(
    model: Model, pairs: Pairs, tokens: Int[Tensor, "example position"], edits: tuple[Edit, ...] = ()
) -> Float[Tensor, " example"]:
    """The pairs' metric after a whole forward on `tokens`, under edits of z.

    Args:
        model: any model.
        pairs: what is read, and the mask.
        tokens: what is run; columns that are padding in all examples may be left out.
        edits: edits of z.

    Raises:
        UsageError: under `kl`, which compares with another run.
    """
    return metrics.evaluate(_logits_at(model, pairs, tokens, edits), pairs).cpu()


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
    return _swept(run, edits, memory, progress)[0]


def measure_whole(
    run: Whole, edits: Edits, *, memory: int | None = None, progress: str = ""
) -> dict[str, Float[Tensor, "example edit"]]:
    """Every metric of the run, of every example under every edit, in one sweep.

    Args:
        run: the run that is edited, with the further metrics that it was started for.
        edits: edits of z, as for `replay_whole`.
        memory: bytes for a forward; by default half of what is free.
        progress: the label of a progress bar; empty: none.

    Returns:
        The pairs' own metric first, each under its name. Cost: edits x examples forwards.

    Raises:
        UsageError: as for `replay_whole`.
    """
    names = [metrics.name_of(each) for each in (run.pairs, *run.further)]
    return dict(zip(names, _swept(run, edits, memory, progress), strict=True))


def _swept(run: Whole, edits: Edits, memory: int | None, progress: str) -> Float[Tensor, "metric example edit"]:
    if edits.site != "z" or edits.frozen_mlps:
        raise run.refusal("frozen MLPs" if edits.site == "z" else f"edits of {edits.site}")
    edits.check(run.model.grid, run.mask, run.model.grid.heads, run.model.d_head)
    some = (run.mask & ~edits.places.cpu()).flatten(1).any(1)[edits.at]
    if bool((some & (edits.heads.any(-1).sum(-1) > 1)).any()):
        # A whole forward replaces a head at all positions, so the others of a later layer could not respond.
        raise run.refusal("edits of several layers at some positions")
    edits = edits.on(torch.device("cpu"))
    result = torch.full((1 + len(run.further), len(run), len(edits)), float("nan"), dtype=torch.float64)
    cells = torch.cartesian_prod(torch.arange(len(edits)), torch.arange(len(run)))
    memory = available(run.model.device) // 2 if memory is None else memory
    size = max(1, min(run.rows, memory // _row_bytes(run)))
    for chunk in track(cells.split(size), progress, show=bool(progress), unit="batch"):
        edit, row = chunk.T
        result[:, row, edit] = _measured(run, edits, edit, row)
    return result


def _row_bytes(run: Whole) -> int:
    """About what one row of a whole forward takes: hidden values of a block, patterns, and logits where they are read.

    How other architectures go about it is not known here; a block's hidden values are taken to be four times as wide.
    """
    width, grid = run.tokens.shape[1], run.model.grid
    reads = width if any(each.reads.shape[1] > 1 for each in (run.pairs, *run.further)) else 1
    words = 7 if run.reference is None else 16
    hidden = width * 16 * max(run.model.W_E.shape[1], grid.heads * run.model.d_head)
    return 4 * (hidden + 3 * grid.heads * width**2 + words * reads * run.model.vocabulary)


def _measured(run: Whole, edits: Edits, edit: Tensor, row: Tensor) -> Float[Tensor, "metric row"]:
    """All metrics of rows; in halves if memory does not suffice."""
    try:
        return _read(run, edits, edit, row)
    except (RuntimeError, MemoryError) as problem:
        if not out_of_memory(problem):
            raise
        if len(row) == 1:
            given = f"one counterfactual run of {run.tokens.shape[1]} tokens, which does not fit into memory"
            raise UsageError(given, "enough free memory", "use shorter prompts or a smaller model") from problem
    halves = zip(edit.tensor_split(2), row.tensor_split(2), strict=True)
    return torch.cat([_measured(run, edits, *half) for half in halves], 1)


def _read(run: Whole, edits: Edits, edit: Tensor, row: Tensor) -> Tensor:
    width = run.pairs.select(row).tokens.shape[1]
    held = edits.heads if edits.frozen is None else edits.heads | edits.frozen
    where = edits.places[edits.at[edit], row][:, :width, None]
    changes = []
    for layer in held[edit].any(-1).any(0).nonzero()[:, 0].tolist():
        own, donor = run.z[layer][row, :width].cpu(), edits.donor(layer, edit, row, slice(width)).cpu()
        given = (where & edits.heads[edit, layer][:, None, :])[..., None]
        changes.append(Edit(layer=layer, heads=held[edit, layer], values=torch.where(given, donor.to(own), own)))
    return _values(run, row, tuple(changes))
