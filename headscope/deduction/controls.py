"""What the protocol finds where there is nothing to find: on random weights, and with the twins of other pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from headscope import statistics
from headscope.deduction.confidence import ALL, THREE, Forced, confidence_table
from headscope.deduction.heads import KINDS, RANKED, Effects, Selected, alone, union
from headscope.deduction.layers import depth
from headscope.errors import TaskError
from headscope.methods.twins import DEFAULTS, Limits, twins
from headscope.models import Model
from headscope.tasks.chains import RolePairs

TRAINED, UNTRAINED, SHUFFLED = "trained", "untrained", "shuffled"
BESIDE = {
    TRAINED: "the model itself, on as few pairs as the controls",
    UNTRAINED: "its random-weights twin",
    SHUFFLED: "the model itself, every clean prompt with the corrupted twin of another pair",
}
"""On what the same heads are sought."""

MEASURES = {
    "best": "the largest mean effect of a head by equation 1 (AIE)",
    "held out": "the AIE, on one half of the pairs, of the head that is best on the other",
    "best effect": "the largest mean effect of a head by the score that ranks heads",
    "held out effect": "the same, of the head that is best on the other half of the pairs",
    "significant": "heads that help by that score, at q < .05",
    "share": "on one half of the pairs, the part of all positive effects of the k heads that are best on the other",
    "change": "the whole change from the corrupted to the clean prompt, in the answer's probability",
    "change effect": "the same, in the logit difference",
    "selected": "heads among the top k of any role and kind",
    "own": "how many of them the model's own selection has too",
    "alone": "of the heads of each role, those that rank outside the top of every other role",
    "places": "heads of each role, counted once for each",
    "depth: selected": "mean layer of selected decision heads, less that of reading heads",
    "depth: centre": "the same, over all heads weighted by their positive effects",
    "right": "gold tokens that are the likeliest in their places",
    "uncertain": "gold tokens below the threshold",
    "uncertain: share": "the part of them in the three deciding components",
    "uncertain: tokens": "the part of all tokens that these components have",
}
"""What is told of each, and what it means."""

CONTROLS = ["control", "role", "kind", "measure", "value", "low", "high", "n", "groups", "unit", "reason"]
"""Columns of a table of controls."""

FEW = "fewer than two groups in a half"


def shuffled(pairs: RolePairs, *, seed: int) -> RolePairs:
    """The same clean prompts, each with the corrupted twin of another pair of the same length.

    Twins are handed round among pairs of equal length in random order. The foil goes with the twin; a pair whose answer
    would be its own foil is left out. The span stays where the clean prompt's own twin differed, so that what is put
    there no longer belongs to what differs: heads that read the difference have nothing to read. Heads that carry the
    answer at the last token still do.

    Args:
        pairs: clean and corrupted chains of one role.
        seed: of the order.

    Raises:
        TaskError: if fewer than two pairs are left.

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import pairs
        >>> made = pairs(load("mini", check=False), corruption="facts", n=30, rng=np.random.default_rng(0))
        >>> other = shuffled(made, seed=0)
        >>> len(other) > 10, other.corruption.endswith("of another pair")
        (True, True)
    """
    rng = np.random.default_rng(seed)
    lengths = pairs.mask.sum(1).numpy()
    clean, given = [], []
    for length in sorted(set(lengths.tolist())):
        alike = rng.permutation(np.flatnonzero(lengths == length))
        if len(alike) > 1:
            clean.append(alike)
            given.append(np.roll(alike, 1))
    rows, others = (torch.from_numpy(np.concatenate([np.empty(0, int), *each])) for each in (clean, given))
    fair = (pairs.answers[rows] != pairs.foils[others]).all(1)
    rows, others = rows[fair], others[fair]
    if len(rows) < 2:
        raise TaskError(
            f"exchanged twins of task {pairs.task!r}: {len(rows)} of {len(pairs)} pairs could have another's",
            "two or more pairs of equal length, with other answers",
            "ask for more pairs",
        )
    order = rows.argsort()
    rows, others = rows[order], others[order]
    kept = pairs.select(rows)
    width = kept.tokens.shape[1]
    return replace(
        kept, corrupted=pairs.corrupted[others, :width], foils=pairs.foils[others],
        corruption=f"{pairs.corruption}, of another pair", notes=(),
    )  # fmt: skip


def found_by(  # noqa: PLR0913 - what was measured, on what, and what it is set beside
    effects: Effects, pairs: RolePairs, *, control: str, role: str, k: int, seed: int, mode: str = "default"
) -> pd.DataFrame:
    """How much the best heads of a role do under a control, how many do anything, and how concentrated that is.

    Args:
        effects: from `headscope.deduction.heads.role_effects`.
        pairs: what it was given.
        control: a key of `BESIDE`.
        role: the corruption.
        k: heads of each kind.
        seed: of the resamples, flips and halves.
        mode: `default` or `paper`: by which score heads are ranked.

    Returns:
        `CONTROLS`: `best` and `held out` by both scores, `significant` and `share`, of each kind; and both measures of
        depth. The best of
        many is above 0 even where no head does anything; what is chosen on one half of the groups and measured on the
        other is not. Cost: no forward pass.
    """
    groups, rows = pairs.groups.cpu().numpy(), []
    for kind in KINDS:
        aie, ranked = (_flat(effects[kind, score]) for score in ("paper", RANKED[mode]))
        told: dict[str, Any] = {"control": control, "role": role, "kind": kind}
        units = ("probability", "probability" if mode == "paper" else "logits")
        for values, end, unit in ((aie, "", units[0]), (ranked, " effect", units[1])):
            table: Any = statistics.summarise(values, groups, seed=seed, rank_by="value")
            best = table.iloc[int(table["value"].to_numpy().argmax())]
            rows.append({**told, "measure": f"best{end}", **{name: best[name] for name in ("value", "low", "high")},
                         "unit": unit})  # fmt: skip
            rows.append({**told, "measure": f"held out{end}", "unit": unit, **_held_out(values, groups, seed=seed)})
            tested = table  # the last one is that of the score that ranks heads
        count = int(((tested["q"] < 0.05) & (tested["value"] > 0)).sum())
        rows.append({**told, "measure": "significant", "value": count, "unit": f"of {ranked.shape[1]} heads"})
        rows.append({**told, "measure": "share", "unit": "share of positive effects",
                     **_concentrated(ranked, groups, k=k, seed=seed)})  # fmt: skip
    n = {"n": len(pairs), "groups": len(np.unique(groups)), "reason": ""}
    deep = depth(effects, groups, role=role, k=k, seed=seed, mode=mode).to_dict("records")
    rows += [
        {"control": control, "role": role, "kind": "", "measure": f"depth: {each['measure']}", "unit": "layers",
         "value": each["difference"], "low": each["low"], "high": each["high"], "reason": each["reason"]}
        for each in deep
    ]  # fmt: skip
    return pd.DataFrame([{**n, **row} for row in rows], columns=pd.Index(CONTROLS))


def _split(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Two halves that share no group; None where a half would have a single one."""
    return statistics.halves(groups, seed=seed) if len(np.unique(groups)) >= 4 else None


ABSENT = {"value": np.nan, "low": np.nan, "high": np.nan, "reason": FEW}


def _held_out(values: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    """What the head that is best on one half of the groups does on the other."""
    split = _split(groups, seed)
    if split is None:
        return ABSENT
    first, second = split
    best = int(statistics.means(values[first]).argmax())
    low, high = statistics.interval(values[second][:, [best]], groups[second], seed=seed)
    size = {"n": len(second), "groups": len(np.unique(groups[second]))}
    return {"value": statistics.means(values[second])[best], "low": low[0], "high": high[0], **size}


def _concentrated(values: np.ndarray, groups: np.ndarray, *, k: int, seed: int) -> dict[str, Any]:
    """The part of all positive effects on one half that the k best heads of the other have."""
    split = _split(groups, seed)
    if split is None:
        return ABSENT
    first, second = split
    chosen = np.argsort(-statistics.means(values[first]), kind="stable")[:k]
    weights = statistics.resamples(groups[second], seed=seed)
    own = _part(statistics.means(values[second])[None], chosen)[0]
    drawn = _part(statistics.bootstrap_means(values[second], weights), chosen)
    known = bool(np.isfinite(drawn).all() and np.isfinite(own))
    low, high = np.quantile(drawn, [0.025, 0.975]) if known else (np.nan, np.nan)
    size = {"n": len(second), "groups": len(np.unique(groups[second]))}
    return {"value": own, "low": low, "high": high, **size, "reason": "" if known else "no head helps"}


def _part(means: Float[np.ndarray, "resample head"], chosen: np.ndarray) -> Float[np.ndarray, " resample"]:
    """The part of all positive effects that some heads have; their negative ones count against them."""
    total = np.clip(means, 0, None).sum(1)
    return np.where(total > 0, means[:, chosen].sum(1) / np.where(total > 0, total, 1), np.nan)


def changes(model: Model, pairs: RolePairs, *, limits: Limits = DEFAULTS) -> Float[np.ndarray, "example metric"]:
    """How much there is to be explained: the answer's probability after the clean prompt, less after the corrupted one.

    Args:
        model: the model.
        pairs: clean and corrupted chains of one role.
        limits: how much at once.

    Returns:
        That of each example in probability, and in logits. Cost: two forwards of each example.
    """
    portions = [
        torch.stack([
            both.clean.also["probability"] - both.corrupted.also["probability"],
            both.clean.metric - both.corrupted.metric,
        ], 1)
        for both in twins(model, pairs, limits, ("probability",))
    ]  # fmt: skip
    return torch.cat(portions).double().cpu().numpy()


def change_table(
    values: Float[np.ndarray, "example metric"], pairs: RolePairs, *, control: str, role: str, seed: int
) -> pd.DataFrame:
    """The mean of `changes`.

    Args:
        values: from `changes`.
        pairs: what it was given.
        control: a key of `BESIDE`.
        role: the corruption.
        seed: of the resamples.

    Returns:
        `CONTROLS`, a row in probability and one in logits. Cost: no forward pass.
    """
    groups = pairs.groups.cpu().numpy()
    low, high = statistics.interval(values, groups, seed=seed)
    told = {"control": control, "role": role, "kind": "", "n": len(pairs), "groups": len(np.unique(groups))}
    rows = [
        {**told, "measure": name, "value": values[:, at].mean(), "low": low[at], "high": high[at], "unit": unit,
         "reason": ""}
        for at, (name, unit) in enumerate((("change", "probability"), ("change effect", "logits")))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=pd.Index(CONTROLS))


def chosen_by(
    table: pd.DataFrame, selected: Sequence[Selected], *, own: Sequence[Selected], control: str, k: int,
    mode: str = "default",
) -> pd.DataFrame:  # fmt: skip
    """How many heads are selected under a control, how many of them are the model's own, and how many have one role.

    Args:
        table: of heads, under the control.
        selected: the heads of each role and kind, under the control.
        own: those of the model, from all its pairs.
        control: a key of `BESIDE`.
        k: heads of each role and kind.
        mode: by which score heads are ranked.

    Returns:
        `CONTROLS`; no intervals: these are counts.
    """
    whole: Any = table
    n = {name: int(whole[name].min()) for name in ("n", "groups")}
    heads = union(selected)
    rows: list[dict[str, Any]] = [
        {"kind": "", "measure": "selected", "value": len(heads), "unit": "heads"},
        {"kind": "", "measure": "own", "value": len(set(heads) & set(union(own))), "unit": "heads"},
    ]
    for kind, (single, every, _) in alone(table, selected, k=k, mode=mode).items():
        rows.append({"kind": kind, "measure": "alone", "value": single, "unit": "heads"})
        rows.append({"kind": kind, "measure": "places", "value": every, "unit": "heads"})
    told = {"control": control, "role": "", "low": np.nan, "high": np.nan, "reason": "", **n}
    return pd.DataFrame([{**told, **row} for row in rows], columns=pd.Index(CONTROLS))


def confidence_of(forced: Forced, *, control: str, threshold: float, seed: int) -> pd.DataFrame:
    """How many gold tokens are right, how many uncertain, and how many of these are of the three components.

    Args:
        forced: gold tokens with the twin's probabilities.
        control: a key of `BESIDE`.
        threshold: gold tokens below this probability are uncertain.
        seed: of the resamples.

    Returns:
        `CONTROLS`. Cost: no forward pass.
    """
    table: Any = confidence_table(forced, seed=seed, thresholds=(threshold,))
    sure: Any = table[table["unit"] != "nats"].set_index("component")
    three, every = sure.loc[THREE], sure.loc[ALL]
    right = (forced.predicted == forced.gold).astype(float)
    own = np.bincount(forced.chain, right, len(forced.groups)) / np.bincount(forced.chain, minlength=len(forced.groups))
    low, high = statistics.interval(own[:, None], forced.groups, seed=seed)
    tokens = f"of {int(every['tokens'])} tokens"
    rows = [
        ("right", own.mean(), low[0], high[0], "share of a chain's tokens"),
        ("uncertain", every["uncertain"], np.nan, np.nan, tokens),
        ("uncertain: share", three["share"], three["share_low"], three["share_high"], "share of uncertain tokens"),
        ("uncertain: tokens", three["share_tokens"], np.nan, np.nan, "share of all tokens"),
    ]
    size = (len(forced.groups), len(np.unique(forced.groups)))
    return pd.DataFrame(
        [(control, "", "", name, value, low, high, *size, unit, "") for name, value, low, high, unit in rows],
        columns=pd.Index(CONTROLS),
    )


def absent(control: str, reason: str) -> pd.DataFrame:
    """The row of a control that could not be run.

    Args:
        control: a key of `BESIDE`.
        reason: why.
    """
    row = dict.fromkeys(CONTROLS, "") | dict.fromkeys(("value", "low", "high", "n", "groups"), np.nan)
    return pd.DataFrame([row | {"control": control, "measure": "selected", "reason": reason}])


def together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Tables of controls as one.

    Args:
        frames: of `CONTROLS`.
    """
    found = [frame.astype(dict.fromkeys(("value", "low", "high", "n", "groups"), float)) for frame in frames]
    return pd.concat(found, ignore_index=True).loc[:, CONTROLS] if found else pd.DataFrame(columns=pd.Index(CONTROLS))


def _flat(values: torch.Tensor) -> Float[np.ndarray, "example head"]:
    return values.double().cpu().numpy().reshape(len(values), -1)
