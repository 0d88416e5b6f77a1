"""What was measured of each claim of the source, with the numbers that it rests on and the verdict of its rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headscope.deduction.ablation import CONTROLS
from headscope.deduction.confidence import THREE, UNCERTAIN
from headscope.deduction.heads import KINDS, RANKED, alone
from headscope.deduction.lens import EVERY
from headscope.deduction.result import Circuit
from headscope.tasks.chains import DECISIONS

HOLDS, FAILS, UNTESTED = "holds", "does not hold", "cannot be tested on this model"
VERDICTS = (HOLDS, FAILS, UNTESTED)
"""What is said of a claim. It holds only where it is shown: an interval that reaches the bound does not show it."""

ABOUT = 1.5
"""How many times the claimed share still is about as much."""

HALF = 0.5
"""What is lost, as a part of what there was, from which on heads carry a task; and what a drop elsewhere must be below,
as a part of the drop on chains, for heads to be selective."""

FAR = 2.0
"""How many times the loss by random sets is far beyond it."""

FEWEST = 20
"""Uncertain tokens from which on their components are told apart."""

CHANCE = 0.05
TRAVERSAL = "demonstrations"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured of one claim.

    Attributes:
        measured: numbers with intervals and n.
        verdict: one of `VERDICTS`.
        why: by which of them, in a sentence.
    """

    measured: str
    verdict: str
    why: str


def uncertainty(circuit: Circuit) -> Finding:
    """Which components uncertain tokens belong to.

    Args:
        circuit: what was measured.
    """
    threshold = float(circuit.settings.get("threshold", UNCERTAIN))
    table: Any = circuit.confidence
    near = table[np.isclose(table["threshold"].to_numpy(dtype=float), threshold)]
    nats = rows_of(table[table["unit"] == "nats"], component=THREE)
    beside = (
        f"; the three hold {_shares(nats[0]['share'], nats[0]['share_low'], nats[0]['share_high'])} of all surprisal, "
        f"in {nats[0]['share_tokens']:.0%} of the tokens (n = {nats[0]['n']} chains)"
        if nats
        else ""
    )
    rows, every = rows_of(near, component=THREE), rows_of(near, component="all")
    if not rows or not every:
        return Finding("no token was read" + beside, UNTESTED, f"there is no row of the threshold {threshold:g}")
    row, unsure = rows[0], int(every[0]["uncertain"])
    told = f"{unsure} of {every[0]['tokens']} gold tokens below {threshold:g}"
    if unsure < FEWEST:
        why = f"fewer than {FEWEST} tokens are uncertain: the model is too sure of these chains"
        return Finding(told + beside, UNTESTED, why)
    told += (
        f"; {_shares(row['share'], row['share_low'], row['share_high'])} of them in the three components, which are "
    )
    told += f"{row['share_tokens']:.0%} of the tokens (n = {row['n']} chains){beside}"
    bound = max(HALF, row["share_tokens"])
    return _judged(told, row["share_low"] > bound, f"the interval lies above {bound:.0%}", f"it reaches {bound:.0%}")


def share(circuit: Circuit) -> Finding:
    """How many heads are selected, and what is lost without them.

    Args:
        circuit: what was measured.
    """
    claim, size = float(circuit.settings.get("claim", 0.03)), len(circuit.union)
    told = f"top {circuit.k} of each role and kind: {size} of {circuit.grid.size} heads ({circuit.share:.1%})"
    rows = _lost(circuit, "step_accuracy")
    if not rows:
        return Finding(told, UNTESTED, "no head helps, or nothing was measured without them")
    told += "; without them " + "; ".join(_drop(row) for row in rows) + _enough(circuit)
    few = circuit.share <= ABOUT * claim
    carried = all(row["lost_low"] > HALF * row["intact"] for row in rows)
    against = [] if few else [f"{circuit.share:.1%} is more than {ABOUT:g} times {claim:.0%}"]
    against += [] if carried else ["they do not surely cost more than half of the steps under every ablation"]
    return _judged(told, few and carried, "so few cost more than half of the steps", "; ".join(against))


def _enough(circuit: Circuit) -> str:
    """The smallest set of all roles that surely costs more than half of the steps, under every ablation."""
    rows = rows_of(circuit.ablation, where="chains", measure="step_accuracy")
    sets: dict[tuple[int, str], list[bool]] = {}
    for row in rows:
        if row["set"] == "all" or str(row["set"]).startswith("top "):
            sets.setdefault((int(row["size"]), str(row["set"])), []).append(row["lost_low"] > HALF * row["intact"])
    found = min((size for (size, _), shown in sets.items() if all(shown)), default=None)
    if found is None:
        return "; no larger set that was tried surely costs more than half of them"
    return f"; {found} heads ({found / circuit.grid.size:.1%}) surely cost more than half of them"


def specialised(circuit: Circuit) -> Finding:
    """Heads of one role only.

    Args:
        circuit: what was measured.
    """
    mode = str(circuit.settings.get("mode", "default"))
    found = alone(circuit.heads, circuit.selected, k=circuit.k, mode=mode)
    parts = []
    for kind, (single, every, overlap) in found.items():
        shared = f", overlap of roles' sets {overlap:.2f}" if np.isfinite(overlap) else ""
        parts.append(f"{kind}: {single} of {every} heads are of one role only{shared}")
    told = "; ".join(parts)
    if len({each.role for each in circuit.selected if each.heads}) < 2 or not all(found[kind][1] for kind in KINDS):
        return Finding(told, UNTESTED, "fewer than two roles have heads of both kinds")
    shared_by = [kind for kind, (single, every, _) in found.items() if 2 * single <= every]
    return _judged(
        told,
        not shared_by,
        "most heads rank outside the top of every other role",
        f"{' and '.join(shared_by)} heads are shared",
    )


def depth(circuit: Circuit) -> Finding:
    """Whether reading heads sit below decision heads.

    Args:
        circuit: what was measured.
    """
    rows = [row for row in rows_of(circuit.depths) if np.isfinite(row["difference"])]
    if not rows:
        return Finding("no role has both kinds", UNTESTED, "no head of one of the kinds helps")
    told = "; ".join(
        f"{row['role']} ({row['measure']}): layer {row['reading']:.1f} to {row['decision']:.1f}, "
        f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        for row in rows
    )
    against = sorted({row["role"] for row in rows if not row["low"] > 0})
    told += f" (n = {min(row['n'] for row in rows)} pairs a role)"
    return _judged(told, not against, "every interval lies above 0", f"not shown for {', '.join(against)}")


def necessary(circuit: Circuit) -> Finding:
    """What is lost without the heads, beside random ones.

    Args:
        circuit: what was measured.
    """
    rows = _lost(circuit, "step_accuracy", compared=True)
    kinds = {row["control"] for row in rows}
    if kinds != set(CONTROLS):
        return Finding("no random sets of both kinds", UNTESTED, "random sets of both kinds are needed")
    told = "; ".join(
        f"{row['mode']}: {row['lost']:.2f} [{row['lost_low']:.2f}, {row['lost_high']:.2f}] of {row['intact']:.2f}, "
        f"{_control(row['control'])} sets {row['random_lost']:.2f} (p = {row['p']:.3f})"
        for row in rows
    )
    least = min(row["sets"] for row in rows)
    told += f" (n = {rows[0]['n']} chains, {least:.0f} sets)"
    if 1 / (1 + least) > CHANCE:
        return Finding(told, UNTESTED, f"{least:.0f} random sets cannot show p <= {CHANCE}")
    against = [
        f"{row['mode']} ablation against {_control(row['control'])} sets"
        for row in rows
        if not (row["p"] <= CHANCE and row["lost_low"] > 0 and row["lost"] >= FAR * row["random_lost"])
    ]
    return _judged(told, not against, "so for every ablation and both kinds of random sets",
                   f"not for {', '.join(against)}")  # fmt: skip


def selective(circuit: Circuit) -> Finding:
    """What is lost elsewhere.

    Args:
        circuit: what was measured.
    """
    parts, against = [], []
    for here, there, own in (("step_accuracy", "accuracy", True), ("surprisal", "loss", False)):
        base = {row["mode"]: row for row in _lost(circuit, here)}
        for row in _elsewhere(circuit, there):
            chains = base.get(row["mode"])
            if chains is None:
                continue
            one, other = (chains["intact"], row["intact"]) if own else (1.0, 1.0)
            if not (one and other):  # nothing of a measure that is 0 can be lost
                continue
            drop, most = row["lost"] / other, row["lost_high"] / other
            least = chains["lost_low"] / one
            ratio = f"{drop * one / chains['lost']:.2f} of it" if chains["lost"] > 0 else "no ratio"
            unit = "" if own else " nats"
            parts.append(f"{row['mode']}, {row['where']}: {drop:.2f}{unit} against {chains['lost'] / one:.2f}{unit} "
                         f"on chains ({ratio})")  # fmt: skip
            if not (least > 0 and most <= HALF * least):
                against.append(f"{row['where']} under {row['mode']} ablation")
    told = "; ".join(parts)
    if not parts:
        return Finding("nothing beside chains", UNTESTED, "no other task and no plain text could be measured")
    return _judged(told, not against, "every drop elsewhere is surely less than half of that on chains",
                   f"not shown for {', '.join(against)}")  # fmt: skip


def _elsewhere(circuit: Circuit, measure: str) -> list[dict[str, Any]]:
    rows = rows_of(circuit.ablation, set="all", measure=measure)
    return _once([row for row in rows if row["where"] not in ("chains", "own chains")])


def integration(circuit: Circuit) -> Finding:
    """After which layer right tokens are readable.

    Args:
        circuit: what was measured.
    """
    middle = (circuit.grid.layers - 1) / 2
    if not len(circuit.lens):
        return Finding("no logit lens", UNTESTED, "the model cannot be cut open")
    rows = [
        row
        for name in (*DECISIONS, "fact_derivation", "answer")
        for row in rows_of(circuit.lens, component=name, measure="settled", step=EVERY)
        if np.isfinite(row["value"])
    ]
    if not rows:
        return Finding("no token is right", UNTESTED, "the model gets none of these tokens right")
    told = "right tokens are readable from layer " + "; ".join(
        f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}] on ({row['component'].replace('_', ' ')})"
        for row in rows
    )
    told += f", of 0 to {circuit.grid.layers - 1} (n = {min(row['n'] for row in rows)} chains)"
    peaks = _peaks(circuit.layers)
    told += f"; highest layer score of decision heads: {peaks}" if peaks else ""
    against = [row["component"].replace("_", " ") for row in rows if not row["low"] >= middle]
    return _judged(told, not against, "all are in the upper half", f"{', '.join(against)}: not in the upper half")


def traversal(circuit: Circuit) -> Finding:
    """Heads that read the traversal algorithm in demonstrations, and heads that implement it.

    Args:
        circuit: what was measured.
    """
    rows = rows_of(circuit.heads, role=TRAVERSAL)
    if not rows:
        left = f"role {TRAVERSAL!r} left out: "
        reasons = [note.removeprefix(left) for note in circuit.notes if note.startswith(left)]
        return Finding("no such heads were sought", UNTESTED, reasons[0] if reasons else "there are no demonstrations")
    score = RANKED[str(circuit.settings.get("mode", "default"))]
    parts, against = [], []
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        best = max((row for row in own if row["score"] == "paper"), key=lambda row: row["value"])
        helping = [row for row in own if row["score"] == score and row["value"] > 0 and row["q"] < CHANCE]
        parts.append(
            f"{kind}: best AIE {best['value']:.4f} [{best['low']:.4f}, {best['high']:.4f}] "
            f"(L{best['layer']}H{best['head']}), {len(helping)} heads help at q < {CHANCE}"
        )
        against += [] if helping and best["low"] > 0 else [kind]
    told = "; ".join(parts) + f" (n = {rows[0]['n']} pairs)"
    return _judged(told, not against, "heads of both kinds help", f"no {' and no '.join(against)} head surely helps")


def _peaks(layers: Any) -> str:
    rows = layers[(layers["kind"] == "decision") & (layers["score"] == "paper")]
    best = {role: each.loc[each["value"].idxmax(), "layer"] for role, each in rows.groupby("role", sort=False)}
    return ", ".join(f"layer {layer} ({role})" for role, layer in best.items())


def _lost(circuit: Circuit, measure: str, *, compared: bool = False) -> list[dict[str, Any]]:
    """Rows of all selected heads on gold chains: one for each mode, or for each mode and control."""
    rows = rows_of(circuit.ablation, where="chains", measure=measure, set="all")
    return [row for row in rows if row["control"]] if compared else _once(rows)


def _once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(row["where"], row["mode"]): row for row in rows}.values())


def _drop(row: Mapping[str, Any]) -> str:
    return (
        f"{row['lost']:.2f} [{row['lost_low']:.2f}, {row['lost_high']:.2f}] of {row['intact']:.2f} step accuracy is "
        f"lost ({row['mode']}, n = {row['n']} chains)"
    )


def _control(name: str) -> str:
    return {"uniform": "random", "layer": "layer-matched"}[name]


def _shares(value: float, low: float, high: float) -> str:
    return f"{value:.0%} [{low:.0%}, {high:.0%}]"


def _judged(measured: str, holds: bool, because: str, against: str) -> Finding:
    return Finding(measured, HOLDS, because) if holds else Finding(measured, FAILS, against)


def rows_of(frame: Any, **equal: object) -> list[dict[str, Any]]:
    """Rows whose columns have these values, as plain dicts.

    Args:
        frame: a table.
        equal: values of columns.
    """
    chosen = frame
    for name, value in equal.items():
        chosen = chosen[chosen[name] == value]
    return [dict(row) for row in chosen.to_dict("records")]
