"""Heads that read what a corruption changes, and heads that decide by it: equation 1 of the source and our default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope import replay, statistics
from headscope.deduction.sets import Head, HeadSet
from headscope.errors import UsageError
from headscope.grid import Grid
from headscope.methods.twins import DEFAULTS, DIRECTIONS, Limits, Swap, all_effects, twins
from headscope.models import Model
from headscope.prompts import Pairs
from headscope.tasks.chains import RolePairs

KINDS = ("reading", "decision")
"""Where heads act: at the tokens that differ between the twins, or at the one before the component that is scored."""

SCORES = {
    "paper": "what its clean output in the corrupted run adds to the answer's probability (equation 1)",
    "denoising": "what its clean output in the corrupted run adds to the logit difference",
    "noising": "what its corrupted output in the clean run takes from the logit difference",
    "both": "the mean of denoising and noising, by which heads are ranked",
}
"""What is said of each head, and what a high value means."""

RANKED = {"default": "both", "paper": "paper"}
"""The score by which heads are selected, by mode."""

HEADS = [
    *("role", "kind", "name", "score", "layer", "head", "value", "low", "high", "n", "groups", "p", "q"),
    *("rank", "rank_low", "rank_high", "share", "unit", "selected", "reason"),
]
"""Columns of a table of heads."""

Effects = dict[tuple[str, str], Float[Tensor, "example layer head"]]


@dataclass(frozen=True, slots=True)
class Selected:
    """The heads of one role.

    Attributes:
        role: the corruption, such as `rules`.
        kind: `reading` or `decision`.
        heads: the best first.
    """

    role: str
    kind: str
    heads: HeadSet


def role_effects(model: Model, pairs: RolePairs, *, limits: Limits = DEFAULTS) -> Effects:
    """What each head does for a role: average indirect effects, example by example (arXiv 2605.27824, equation 1).

    With f the probability of the clean answer and s the positions at which a head is exchanged, `paper` is

        f(corrupted | z_h at s := z_h(clean) at s) - f(corrupted)

    whose mean over examples is the source's AIE. It patches z rather than z W_O, which comes to the same. Probability
    saturates, and hides heads that work against the answer where it is near 0; so our default is the logit difference
    between the clean and the corrupted run's answers, in both directions. s is the span (`reading`) or the token before
    the component that is scored (`decision`).

    Args:
        model: the model.
        pairs: clean and corrupted chains of one role.
        limits: how much at once; changes speed and memory only.

    Returns:
        By (kind, score), for every head: probability under `paper`, logits under the others; positive values help.
        Cost: 4 x heads counterfactual runs for each example.

    Raises:
        UsageError: if the model's architecture does not allow the edits.

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import pairs
        >>> model = load("mini", check=False)
        >>> effects = role_effects(model, pairs(model, corruption="facts", n=2, rng=np.random.default_rng(0)))
        >>> effects["reading", "paper"].shape
        torch.Size([2, 6, 16])
    """
    grid = model.grid
    heads = replay.single_heads(grid).repeat(len(KINDS), 1, 1)
    at = torch.arange(len(KINDS)).repeat_interleave(grid.size)
    found: dict[tuple[str, str], list[Tensor]] = {}
    for both in twins(model, pairs, limits, ("probability",)):
        part = both.pairs
        places = role_places(part)
        for direction in DIRECTIONS:
            swap = Swap(direction=direction, heads=heads, places=places, at=at)
            logits, chances = (
                value.unflatten(1, (len(KINDS), grid.layers, grid.heads)) for value in all_effects(both, swap).values()
            )
            for index, kind in enumerate(KINDS):
                found.setdefault((kind, direction), []).append(logits[:, index])
                if direction == "denoising":
                    found.setdefault((kind, "paper"), []).append(chances[:, index])
    effects = {key: torch.cat(values) for key, values in found.items()}
    for kind in KINDS:
        effects[kind, "both"] = (effects[kind, "denoising"] + effects[kind, "noising"]) / 2
    return effects


def role_places(pairs: Pairs) -> Bool[Tensor, "kind example position"]:
    """The positions at which heads of each kind are exchanged: the span, and the token before the component.

    Args:
        pairs: clean and corrupted chains of one role.

    Raises:
        UsageError: for other pairs, which have no span.
    """
    if not isinstance(pairs, RolePairs):
        given = f"pairs of task {pairs.task!r}, which have no causal span"
        fix = "make them with headscope.tasks.chains.pairs, or give your own as RolePairs(span=...)"
        raise UsageError(given, "RolePairs", fix)
    columns = torch.arange(pairs.tokens.shape[1])
    return torch.stack([pairs.span & pairs.mask, columns == pairs.end[:, None]])


def head_table(effects: Effects, pairs: RolePairs, *, role: str, grid: Grid, seed: int) -> pd.DataFrame:
    """The effects of one role as tidy rows: one for each kind, score and head.

    Args:
        effects: from `role_effects`.
        pairs: what it was given; their groups are resampled together.
        role: the corruption.
        grid: the model's layers and heads.
        seed: of the resamples and flips.

    Returns:
        `HEADS`: means with 95 % intervals, sign-flip p, Benjamini-Hochberg q over the heads of a score, ranks by value.
        Nothing is `selected` yet. Cost: no forward pass.
    """
    layers, numbers = np.array(list(grid)).T
    frames = []
    for kind in KINDS:
        for score in SCORES:
            flat = effects[kind, score].double().cpu().numpy().reshape(len(pairs), grid.size)
            summary = statistics.summarise(flat, pairs.groups.cpu().numpy(), seed=seed, rank_by="value")
            frame = pd.DataFrame({"layer": layers, "head": numbers}).join(summary)
            named = pairs.reading if kind == "reading" else pairs.decision
            frame = frame.assign(role=role, kind=kind, name=named, score=score, selected=False)
            frame["unit"] = "probability" if score == "paper" else "logits"
            frame["reason"] = np.where(frame["value"].isna(), "no example says anything of this head", "")
            frames.append(frame)
    return pd.concat(frames, ignore_index=True).loc[:, HEADS]


def top(table: pd.DataFrame, *, role: str, kind: str, score: str, k: int) -> HeadSet:
    """The k heads with the largest effect, best first; fewer where fewer help at all.

    Args:
        table: of heads.
        role: the corruption.
        kind: `reading` or `decision`.
        score: by which score.
        k: how many at most.
    """
    asked = (table["role"] == role) & (table["kind"] == kind) & (table["score"] == score) & (table["value"] > 0)
    best = table.loc[asked].sort_values("value", ascending=False, kind="stable").head(k)
    return tuple((int(layer), int(head)) for layer, head in zip(best["layer"], best["head"], strict=True))


def select(
    table: pd.DataFrame, grid: Grid, *, roles: Sequence[str], mode: str = "default", k: int | None = None,
    claim: float = 0.03,
) -> tuple[tuple[Selected, ...], int]:  # fmt: skip
    """The top k reading and the top k decision heads of every role.

    The source takes a fixed k (5, or 8 in a larger model), which makes 3 % of all heads if no two roles share any. Here
    k is by default the largest whose union over roles is no more than the claimed share, and 1 if even that is more.

    Args:
        table: of heads, of all roles.
        grid: the model's layers and heads.
        roles: whose heads; the source leaves out those of the traversal (`demonstrations`).
        mode: `default` or `paper`, see `RANKED`.
        k: heads of each role and kind; None: by the claim.
        claim: the share of all heads that is claimed.

    Returns:
        The heads of each role and kind, and k.

    Raises:
        UsageError: for another mode, or a k below 1.

    Example:
        >>> rows = [("rules", kind, "both", 0, head, value) for kind, head, value in
        ...         (("reading", 0, 2.0), ("reading", 1, 1.0), ("decision", 0, -1.0), ("decision", 1, 3.0))]
        >>> table = pd.DataFrame(rows, columns=["role", "kind", "score", "layer", "head", "value"])
        >>> chosen, k = select(table, Grid(1, 2), roles=["rules"])
        >>> [each.heads for each in chosen], k
        ([((0, 0),), ((0, 1),)], 1)
    """
    if mode not in RANKED or (k is not None and k < 1):
        raise UsageError(f"mode {mode!r}, k={k}", f"mode: one of {', '.join(RANKED)}; k: 1 or more", "correct them")
    score = RANKED[mode]
    order = {
        (role, kind): top(table, role=role, kind=kind, score=score, k=grid.size) for role in roles for kind in KINDS
    }

    def best(size: int) -> tuple[Selected, ...]:
        return tuple(Selected(role, kind, heads[:size]) for (role, kind), heads in order.items())

    if k is None:
        fitting = [size for size in range(1, grid.size + 1) if len(union(best(size))) <= claim * grid.size]
        k = max(fitting, default=1)
    return best(k), k


def union(selected: Sequence[Selected]) -> HeadSet:
    """All heads of some roles, each once, in the grid's order.

    Args:
        selected: heads by role.

    Example:
        >>> union([Selected("rules", "reading", ((1, 0), (0, 1))), Selected("facts", "reading", ((1, 0),))])
        ((0, 1), (1, 0))
    """
    return tuple(sorted({head for each in selected for head in each.heads}))


def marked(table: pd.DataFrame, selected: Sequence[Selected]) -> pd.DataFrame:
    """The table with the selected heads of each role and kind marked, under every score.

    Args:
        table: of heads.
        selected: heads by role.
    """
    members: Mapping[tuple[str, str], set[Head]] = {(each.role, each.kind): set(each.heads) for each in selected}
    keys = zip(table["role"], table["kind"], table["layer"], table["head"], strict=True)
    return table.assign(
        selected=[(layer, head) in members.get((role, kind), set()) for role, kind, layer, head in keys]
    )


def alone(
    table: pd.DataFrame, selected: Sequence[Selected], *, k: int, mode: str = "default"
) -> dict[str, tuple[int, int, float]]:
    """How many selected heads are of one role only: by their rank's interval, outside the top k of every other role.

    Args:
        table: of heads, of all roles.
        selected: heads by role and kind.
        k: heads of each.
        mode: by which score heads are ranked.

    Returns:
        For each kind: heads of one role only, heads of each role counted once for each, and the mean Jaccard overlap of
        two roles' sets (NaN with one role).
    """
    score = RANKED[mode]
    chosen: Any = table[table["score"] == score]
    rows = chosen.to_dict("records")
    found = {}
    for kind in KINDS:
        sets = {each.role: set(each.heads) for each in selected if each.kind == kind and each.heads}
        places = [(role, head) for role, heads in sets.items() for head in heads]
        single = sum(_outside(rows, (kind, role, head), tuple(sets), k) for role, head in places)
        names = list(sets)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        shared = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs]
        found[kind] = (single, len(places), float(np.mean(shared)) if shared else float("nan"))
    return found


def _outside(rows: Sequence[Mapping[str, Any]], place: tuple[str, str, Head], roles: Sequence[str], k: int) -> bool:
    """Whether the interval of a head's rank lies outside the top k of every other role."""
    kind, own, head = place
    others = [
        row for row in rows
        if row["kind"] == kind and (row["layer"], row["head"]) == head and row["role"] != own and row["role"] in roles
    ]  # fmt: skip
    return all(row["rank_low"] > k or row["value"] <= 0 for row in others)


def merged(table: pd.DataFrame, *, roles: Sequence[str], mode: str = "default") -> HeadSet:
    """All heads that help in some role, in one order: by their best rank among the heads of any role and kind.

    Of equal ranks the head with the larger part of its role's and kind's positive effects comes first, since effects of
    different roles have no common scale. The first heads of this order are the sets whose ablation is swept by size.

    Args:
        table: of heads, of all roles.
        roles: whose heads.
        mode: by which score heads are ranked.

    Example:
        >>> rows = [("rules", "reading", "both", 0, head, value) for head, value in enumerate((3.0, 1.0, -1.0))]
        >>> rows += [("rules", "decision", "both", 0, head, value) for head, value in enumerate((0.0, 2.0, 1.9))]
        >>> table = pd.DataFrame(rows, columns=["role", "kind", "score", "layer", "head", "value"])
        >>> merged(table, roles=["rules"])
        ((0, 0), (0, 1), (0, 2))
    """
    best: dict[Head, tuple[int, float]] = {}
    for role in roles:
        for kind in KINDS:
            asked = (table["role"] == role) & (table["kind"] == kind) & (table["score"] == RANKED[mode])
            rows = table.loc[asked & (table["value"] > 0)].sort_values("value", ascending=False, kind="stable")
            total = float(rows["value"].sum())
            for rank, (layer, head, value) in enumerate(
                zip(rows["layer"], rows["head"], rows["value"], strict=True), start=1
            ):
                place = (int(layer), int(head))
                best[place] = min(best.get(place, (rank, 0.0)), (rank, -float(value) / total))
    return tuple(sorted(best, key=lambda place: (*best[place], place)))
