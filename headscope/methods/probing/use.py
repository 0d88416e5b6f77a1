"""Does the model use what can be read off a head? Take it out of the head's output, and see what becomes of a task."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.methods.probing.results import Directions, Probes
from headscope.models import Model
from headscope.progress import track
from headscope.prompts import Labelled, Pairs
from headscope.statistics import benjamini_hochberg, interval, means, sign_flip

MATCHING: Mapping[str, tuple[str, ...]] = {
    "number": ("agreement",),
    "io": ("ioi",),
    "io-name": ("ioi",),
    "coreference": ("pronoun", "mini-gender"),
    "rule": ("deduction",),
}
"""Label -> the tasks that turn on it; the first that the model does is taken."""

COLUMNS = (
    *("label", "task", "layer", "head", "accuracy", "present", "present_low", "present_high", "decodable"),
    *(
        "metric",
        "used",
        "used_low",
        "used_high",
        "random",
        "random_most",
        "excess",
        "excess_low",
        "excess_high",
        "p",
        "q",
        "uses",
    ),
    *("swapped", "swapped_low", "swapped_high", "directions", "n", "groups", "unit", "at", "reason"),
)
LEVEL = 0.05


def use(  # noqa: PLR0913 - every option is one that users set
    model: Model,
    pairs: Pairs,
    probes: Probes,
    label: str,
    *,
    heads: Sequence[tuple[int, int]] = (),
    top: int = 5,
    at: str | None = None,
    draws: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Whether a task's metric falls when what a probe reads is taken out of a head's output.

    With U the directions that the probe of head h reads, z the head's output and m its mean over what was probed:

        removed: z - U U'(z - m)         what is left says nothing to this probe
        swapped: z + U U'(c - z)         c: mean of the class means of all classes but the one that the probe reads in z
        random:  z - R U'(z - m)         R: random orthonormal directions; a change of the same size, elsewhere

    Everything else in the head stays. A probe finds what is *present*; the effect says what is *used*. To remove the
    directions of one probe is no guarantee that no other probe finds the label.

    Args:
        model: the model.
        pairs: prompts of a task that turns on the label (`MATCHING`); their clean prompts are run.
        probes: a study with `z` among its sites.
        label: the set of labels.
        heads: which heads, as (layer, head); by default the `top` ones of highest selectivity.
        top: how many.
        at: the named position at which the head is changed; by default all tokens where words were probed, and `end`
            where prompts were.
        draws: random directions, at least 1.
        seed: of the random directions, resamples and flips.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        A row for each head: accuracy, present (selectivity) with its interval and decodable, from the study; metric (of
        the run itself, for scale); used (the metric less that with the directions removed: positive where the task
        needs them) with its interval; random (the same for random directions, their mean) and random_most (the largest
        of them in size); excess (used less random) with its interval, p (two-sided sign-flip test by groups) and q
        (over these heads); uses (present above 0 with its whole interval, q <= .05, and an effect larger than that of
        every random direction: a chance of 1 in `draws` + 1); swapped (the metric less that of the swap) with its
        interval, NaN for pairs of words, whose probes read two places at once; directions (how many were removed).
        Cost: (2 + draws) counterfactual runs for each head and example.

    Raises:
        UsageError: for a label or head that was not probed, or a position that the task does not name.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.methods.probing.labels import prompt_labels
        >>> from headscope.methods.probing.study import probe
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=60, rng=np.random.default_rng(0))
        >>> halves = ["low" if answer < 16 else "high" for answer in pairs.answers[:, 0].tolist()]
        >>> labels = prompt_labels(pairs, halves, name="half")
        >>> study = probe(model, None, also=[labels], sites=["z"], bits=False)
        >>> use(model, pairs, study, "half", heads=[(1, 1), (1, 0)])["uses"].tolist()
        [True, False]
    """
    read = _directions(probes, label)
    if draws < 1:
        raise UsageError(f"draws={draws}", "1 or more random directions to compare with", "leave it out for 20")
    rows = _strongest(probes, label, heads, top)
    chosen = [(int(layer), int(head)) for layer, head in rows[["layer", "head"]].to_numpy()]
    where = at or ("" if isinstance(probes.found[label].labels.prompts, Labelled) else "end")
    if where:
        pairs.place(where)
    limit = replay.budget(model, memory)
    portions = list(replay.portions(model, pairs, batch_size=batch_size, memory=limit, runs=1))
    parts, own = [], []
    for examples in track(portions, f"{pairs.task}: use of {label}", show=progress, unit="batch"):
        part = pairs.select(examples)
        base = replay.start(model, part, part.tokens)
        places = replay.named_position(part.place(where), part.mask)[0] if where else part.mask
        edited = [
            replay.replay(base, replay.edits_of(_single(model, chosen), values, places), memory=limit)
            for values in _values(read, base.z, draws, seed)
        ]
        own.append(base.metric)
        parts.append(base.metric[:, None, None] - torch.stack(edited, -1))
    order = torch.cat([torch.as_tensor(examples) for examples in portions]).argsort()
    effects = torch.cat(parts)[order].numpy()
    frame = _frame(rows, effects, pairs, read, seed=seed)
    frame = frame.assign(at=where or "all tokens", metric=float(torch.cat(own).mean()))
    return frame.loc[:, list(COLUMNS)]


def _directions(probes: Probes, label: str) -> Directions:
    if label not in probes.directions:
        reason = f" ({probes.skipped[label]})" if label in probes.skipped else ""
        raise UsageError(
            f"use of label {label!r}, which was not probed in z{reason}",
            f"one of: {', '.join(probes.directions) or 'none: z was not among the sites'}",
            "probe it first, with 'z' among the sites",
        )
    return probes.directions[label]


def _strongest(probes: Probes, label: str, heads: Sequence[tuple[int, int]], top: int) -> pd.DataFrame:
    """The study's rows of the heads that are asked for, or of those of highest selectivity."""
    rows = probes.frame.loc[(probes.frame["label"] == label) & (probes.frame["site"] == "z"), :]
    if not heads:
        if top < 1:
            raise UsageError(f"top={top}", "1 or more heads", "ask for a few")
        by = "accuracy" if bool(rows["selectivity"].isna().all()) else "selectivity"
        return rows.sort_values(by=by, ascending=False, kind="stable").head(top).reset_index(drop=True)
    keyed = rows.set_index(["layer", "head"], drop=False)
    wrong = [f"L{layer}H{head}" for layer, head in heads if (layer, head) not in keyed.index]
    if wrong:
        given = f"heads {', '.join(wrong)}"
        raise UsageError(given, f"heads of a model of {int(rows['layer'].max()) + 1} layers", "count from 0")
    return keyed.loc[list(heads)].reset_index(drop=True)


def _single(model: Model, heads: Sequence[tuple[int, int]]) -> Bool[Tensor, "edit layer head"]:
    return replay.head_sets(model.grid, [[head] for head in heads])


def _values(
    read: Directions, z: Sequence[Float[Tensor, "example position head d_head"]], draws: int, seed: int
) -> Iterator[list[Tensor]]:
    """Every head's output with what the probe reads removed, swapped (where that can be), and random parts removed."""
    device, kind = z[0].device, z[0].dtype
    basis, mean = read.basis.to(device), read.mean.to(device)
    parts = [torch.einsum("ephf,hfd->ephd", each.double() - mean[layer], basis[layer]) for layer, each in enumerate(z)]

    def without(directions: Tensor) -> list[Tensor]:
        return [
            (each.double() - torch.einsum("ephd,hfd->ephf", part, directions[layer])).to(kind)
            for layer, (each, part) in enumerate(zip(z, parts, strict=True))
        ]

    yield without(basis)
    yield [_swapped(read, layer, each, basis[layer]).to(kind) for layer, each in enumerate(z)]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        yield without(torch.linalg.qr(torch.randn(basis.shape, generator=generator, dtype=torch.double))[0].to(device))


def _swapped(read: Directions, layer: int, z: Tensor, basis: Float[Tensor, "head feature direction"]) -> Tensor:
    """The output with its part along the directions set to the mean of the classes that the probe does not read."""
    if read.weights is None or read.bias is None or read.class_means is None:
        return z
    wide = z.double()
    scores = torch.einsum("ephf,hfc->ephc", wide, read.weights[layer].to(z.device)) + read.bias[layer].to(z.device)
    others = torch.ones_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 0) / (scores.shape[-1] - 1)
    target = torch.einsum("ephc,hcf->ephf", others, read.class_means[layer].to(z.device))
    return wide + torch.einsum("ephf,hfd,hgd->ephg", target - wide, basis, basis)


def _frame(
    rows: pd.DataFrame, effects: Float[np.ndarray, "example head edit"], pairs: Pairs, read: Directions, *, seed: int
) -> pd.DataFrame:
    groups = pairs.groups.cpu().numpy()
    removed, swapped, random = effects[..., 0], effects[..., 1], effects[..., 2:]
    control = random.mean(-1)
    if read.class_means is None:
        swapped = np.full_like(swapped, np.nan)
    names = ("selectivity", "selectivity_low", "selectivity_high")
    frame = rows.loc[:, ["label", "layer", "head", "accuracy", "decodable", *names]]
    frame = frame.rename(columns=dict(zip(names, ("present", "present_low", "present_high"), strict=True)))
    for name, values in {"used": removed, "excess": removed - control, "swapped": swapped}.items():
        frame[name] = means(values)
        frame[f"{name}_low"], frame[f"{name}_high"] = interval(values, groups, seed=seed)
    frame["random"] = means(control)
    frame["random_most"] = np.abs(random.mean(0)).max(-1)
    frame["p"] = sign_flip(removed - control, groups, seed=seed)
    frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
    beyond = frame["used"].abs() > frame["random_most"]
    frame["uses"] = (frame["present_low"] > 0) & (frame["q"] <= LEVEL) & beyond
    found = (read.basis.abs().sum(2) > 0).sum(-1)
    frame["directions"] = [int(found[layer, head]) for layer, head in frame[["layer", "head"]].to_numpy()]
    frame["reason"] = "" if read.class_means is not None else "no swap: a probe of pairs reads two places at once"
    return frame.assign(
        task=pairs.task, n=len(pairs), groups=len(np.unique(groups)), unit=metrics.unit_of(pairs)
    )  # fmt: skip
