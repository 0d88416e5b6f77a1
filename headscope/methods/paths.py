"""Path patching: what does a head pass on directly, to the logits or to one later head?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from headscope import metrics, replay, statistics
from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.twins import DEFAULTS, Limits, Twins, check_direction, twins
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.replay.routes import arrivals, follow

Head = str | tuple[int, int]
OTHERS = ("frozen", "free")
ABOVE = "the sender is not in an earlier layer than the receiver"


def path_patching(  # noqa: PLR0913 - the contract's options and what passes the change on
    model: Model,
    pairs: Pairs,
    *,
    mlps: bool = True,
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Each head's direct effect on the metric: its z comes from the other prompt, and no other head may respond.

    With m the metric, h a head, and x <- h(y) the run on x in which h puts out what it does on y while all other heads
    put out what they do on x, and MLPs and norms are computed anew:

        direct_denoising(h) = m(corrupted <- h(clean)) - m(corrupted)
        direct_noising(h)   = m(clean) - m(clean <- h(corrupted))

    Positive values mean that the head helps. A head whose effect (see `patching`) is large and whose direct effect is
    about 0 acts through later heads; `edges` says through which. In the last layer both effects are the same.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        mlps: MLPs pass the change on, as Wang et al. define it; without, they too keep what they write, and what is
            left is the residual stream alone (this needs a known architecture).
        layers: only their heads are computed, the others are NaN; None: all.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `direct_denoising` and `direct_noising`, in units of the pairs' metric.
        Cost: 2 x heads counterfactual runs for each example, of MLPs only, and only where the metric reads.

    Raises:
        UsageError: if MLPs are to be kept and the model's architecture is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> [(value.mean(0) > 1).nonzero().tolist() for value in path_patching(model, pairs).values()]
        [[[1, 1]], [[1, 1]]]
    """
    found: dict[str, list[Tensor]] = {"direct_denoising": [], "direct_noising": []}
    for both in twins(model, pairs, Limits(batch_size=batch_size, memory=memory, progress=progress)):
        for name, values in found.items():
            direction = name.removeprefix("direct_")
            base, donor, sign = _ends(both, direction)
            heads = replay.single_heads(model.grid, layers)
            edits = direct(replay.edits_of(heads, donor.z, both.pairs.mask), mlps=mlps)
            label = f"{pairs.task}: direct {direction}" if progress else ""
            effect = sign * (replay.replay(base, edits, memory=both.memory, progress=label) - base.metric[:, None])
            values.append(replay.on_grid(effect, model.grid, layers))
    return {name: torch.cat(values) for name, values in found.items()}


def direct(edits: replay.Edits, *, mlps: bool = True) -> replay.Edits:
    """The same edits with all other heads frozen: what they do on the way to the metric that no head lies on.

    Args:
        edits: edits of z.
        mlps: MLPs respond.
    """
    return replace(edits, frozen=torch.ones_like(edits.heads), frozen_mlps=not mlps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Which paths from a sender to a receiver are patched.

    Attributes:
        through: by which of the receiver's inputs the change arrives: sets of `q`, `k` and `v`, such as `"k"` or
            `"qkv"`. With grouped queries each query head's key and value count as its own.
        direction: `noising` (the sender is corrupted in the clean run) or `denoising` (the other way round).
        others: `frozen`: no other head between sender and receiver passes the change on (Wang et al. 2022, section
            3.1). `free`: they respond too, so that the effect is that of all paths between the two; with `qkv` this is
            equations 2 and 3 of arXiv 2605.27824.
        mlps: MLPs between sender and receiver pass it on, as both papers have it; without, and with the others frozen,
            what is left is the residual stream alone (TransformerLens's `get_act_patch_direct_path`).

    Raises:
        UsageError: if one of them is unknown.

    Example:
        >>> Paths(through=("q", "kz"))
        Traceback (most recent call last):
        headscope.errors.UsageError: through 'kz'
          expected: sets of q, k and v, such as 'k' or 'qkv'
          to fix it: leave out what is none of them
    """

    through: tuple[str, ...] = ("q", "k", "v")
    direction: str = "noising"
    others: str = "frozen"
    mlps: bool = True

    def __post_init__(self) -> None:
        check_direction(self.direction)
        expected = "sets of q, k and v, such as 'k' or 'qkv'"
        if not self.through:
            raise UsageError("paths through nothing", expected, "name at least one")
        for each in self.through:
            if not each or set(each) - set("qkv"):
                raise UsageError(f"through {each!r}", expected, "leave out what is none of them")
        if self.others not in OTHERS:
            raise UsageError(f"others {self.others!r}", f"one of: {', '.join(OTHERS)}", "correct the option")


def edges(
    model: Model,
    pairs: Pairs,
    senders: Sequence[Head],
    receivers: Sequence[Head],
    *,
    paths: Paths = Paths(),
    limits: Limits = DEFAULTS,
) -> Float[Tensor, "example through sender receiver"]:
    """Path patching from heads to heads: how much of the metric goes from one to the other, through q, k or v?

    With m the metric, h the sender and r the receiver:

    1. on the run that is edited, h takes its z from the other prompt; other heads keep theirs (or not, see `Paths`),
       MLPs and norms are computed anew. This gives the residual stream that enters the layer of r;
    2. on the same run, r's query (or key, or value) is computed from that stream, at all positions; everything after r
       is computed anew, and the metric is read.

    The value is m(clean) - m(patched) for noising, and m(patched) - m(corrupted) for denoising: positive values mean
    that the edge helps.

    Args:
        model: the model; its architecture must be known.
        pairs: clean and corrupted prompts of equal length.
        senders: heads, such as `"L0H1"` or `(0, 1)`.
        receivers: heads.
        paths: which paths; by default q, k and v one by one, noising, other heads frozen.
        limits: how much at once; changes speed and memory only.

    Returns:
        In units of the pairs' metric (double precision). NaN where the sender is not in an earlier layer than the
        receiver. Cost: a run up to the last receiver for each sender, and one from the receiver's layer on for each
        edge and `through`; of each example, and from its first difference on.

    Raises:
        UsageError: for heads that the model lacks, or an architecture that is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> (edges(model, pairs, ["L0H0"], ["L1H1"]).mean(0).flatten() > 1).tolist()  # K-composition
        [False, True, False]
    """
    grid = model.grid
    sends, receives = ([grid.parse(head) for head in heads] for heads in (senders, receivers))
    found = [_edges(both, sends, receives, paths) for both in twins(model, pairs, limits)]
    return torch.cat(found)


def _ends(both: Twins, direction: str) -> tuple[replay.Run, replay.Run, int]:
    """The run that is edited, the one that gives values, and the sign of effects."""
    denoising = direction == "denoising"
    sign = metrics.sign_of(both.pairs)
    return (both.corrupted, both.clean, sign) if denoising else (both.clean, both.corrupted, -sign)


def _edges(both: Twins, sends: list[tuple[int, int]], receives: list[tuple[int, int]], paths: Paths) -> Tensor:
    base, donor, sign = _ends(both, paths.direction)
    if isinstance(base, replay.Whole):
        raise base.refusal("paths between heads")
    program = base.program
    grid = Grid(layers=len(program.blocks), heads=program.heads)
    before = [[sender[0] < receiver[0] for receiver in receives] for sender in sends]
    earlier = torch.tensor(before, dtype=torch.bool).view(len(sends), len(receives))
    shape = (len(base), len(paths.through), len(sends), len(receives))
    found = torch.full(shape, float("nan"), dtype=torch.float64).masked_fill(earlier, 0)
    used = earlier.any(1).nonzero()[:, 0]
    if not len(used):
        return found
    edits = replay.edits_of(replay.head_sets(grid, [[sends[index]] for index in used]), donor.z, both.pairs.mask)
    layers, room = {layer for layer, _ in receives}, both.memory // 4
    edits = _sent(edits, paths, top=max(layers))
    label = f"{both.pairs.task}: paths" if both.progress else ""
    for arrival in arrivals(base, edits, paths.through, layers=layers, memory=room, progress=label):
        at = torch.tensor([index for index, head in enumerate(receives) if head[0] == arrival.layer])
        after = follow(base, arrival, [receives[index][1] for index in at], memory=2 * room)
        example, sender = arrival.chunk.example.cpu(), used[arrival.chunk.edit.cpu()]
        effect = sign * (after - base.metric[example, None, None])
        found[example[:, None, None], torch.arange(len(paths.through))[:, None], sender[:, None, None], at] = effect
    return found


def _sent(edits: replay.Edits, paths: Paths, *, top: int) -> replay.Edits:
    """The senders' edits, with what may not pass the change on frozen up to the receivers."""
    frozen = torch.zeros_like(edits.heads)
    frozen[:, :top] = paths.others == "frozen"
    return replace(edits, frozen=frozen, frozen_mlps=not paths.mlps)


def edge_table(
    values: Float[Tensor, "example through sender receiver"],
    pairs: Pairs,
    senders: Sequence[Head],
    receivers: Sequence[Head],
    *,
    paths: Paths = Paths(),
    seed: int = 0,
) -> pd.DataFrame:
    """Edges as tidy rows, the largest first.

    Args:
        values: from `edges`, of the same senders, receivers and paths.
        pairs: what it was given; their groups are resampled together.
        senders: heads.
        receivers: heads.
        paths: which paths.
        seed: of the resamples, which all edges share.

    Returns:
        Columns `sender, receiver, through, direction, value, low, high, n, groups, p, q, unit, reason`: mean over
        examples, 95 % interval, sign-flip p and Benjamini-Hochberg q over all edges; NaN, with the reason, where the
        sender is not in an earlier layer. Cost: no forward passes.

    Raises:
        UsageError: if the values are not those of these heads and paths.

    Example:
        >>> ids = torch.ones(2, 1, dtype=torch.long)
        >>> pairs = Pairs(task="t", tokens=ids, corrupted=ids, mask=ids > 0, groups=ids[:, 0], answers=ids, foils=ids)
        >>> values = torch.tensor([[[[2.0]]], [[[3.0]]]])
        >>> table = edge_table(values, pairs, ["L0H1"], [(2, 0)], paths=Paths(through=("k",)))
        >>> table[["sender", "receiver", "through", "value", "n"]].to_numpy().tolist()
        [['L0H1', 'L2H0', 'k', 2.5, 2]]
    """
    expected = (len(pairs), len(paths.through), len(senders), len(receivers))
    if tuple(values.shape) != expected:
        fix = "give the heads, paths and pairs that `edges` was given"
        raise UsageError(
            f"values of edges {tuple(values.shape)}", f"[example, through, sender, receiver] {expected}", fix
        )
    flat = values.double().cpu().numpy().reshape(len(pairs), int(np.prod(expected[1:])))
    names = [[_label(head) for head in heads] for heads in (senders, receivers)]
    index = pd.MultiIndex.from_product([paths.through, *names], names=["through", "sender", "receiver"])
    summary = statistics.summarise(flat, pairs.groups.cpu().numpy(), seed=seed)
    frame = index.to_frame(index=False).join(summary)
    frame = frame.assign(direction=paths.direction, unit=metrics.unit_of(pairs))
    frame["reason"] = np.where(frame["value"].isna(), ABOVE, "")
    largest = np.argsort(-np.abs(frame["value"].to_numpy()), kind="stable")
    return frame.iloc[largest][EDGES].reset_index(drop=True)


EDGES = [
    *("sender", "receiver", "through", "direction", "value", "low", "high", "n", "groups", "p", "q", "unit", "reason")
]
"""Columns of a table of edges."""


def _label(head: Head) -> str:
    return Grid.label(*head) if isinstance(head, tuple) else head.strip()


PATHS = Method(
    name="path-patching",
    function=path_patching,
    needs=Pairs,
    scores=(
        Score(name="direct_denoising", meaning="its clean output restores the answer without any later head"),
        Score(name="direct_noising", meaning="its corrupted output damages the answer without any later head"),
    ),
    source="Wang et al. 2022 (arXiv 2211.00593), section 3.1; Goldowsky-Dill et al. 2023 (arXiv 2304.05969)",
    about="a head's direct effect: its output comes from the other prompt, all other heads keep theirs",
    across=False,
)
