"""A circuit's numbers as the tables of its report."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from headscope.deduction.chance import NAMES as CONTROL_NAMES
from headscope.deduction.confidence import THREE, UNCERTAIN
from headscope.deduction.controls import MEASURES
from headscope.deduction.heads import RANKED
from headscope.deduction.result import Circuit
from headscope.grid import Grid
from headscope.plots import words
from headscope.plots.deduction import NAMES
from headscope.report.few import Table

EDGES = 10
"""Edges that are listed for each role."""


def threshold_of(circuit: Circuit) -> float:
    """The probability below which a token is uncertain.

    Args:
        circuit: what was measured.
    """
    return float(circuit.settings.get("threshold", UNCERTAIN))


def score_of(circuit: Circuit) -> str:
    """The score by which heads are ranked.

    Args:
        circuit: what was measured.
    """
    return RANKED[str(circuit.settings.get("mode", "default"))]


def heads_table(circuit: Circuit) -> Table:
    """The selected heads of each role and kind with their effects.

    Args:
        circuit: what was measured.
    """
    score = score_of(circuit)
    every = words.loose(circuit.heads)
    chosen = every[every["selected"] & (every["score"] == score)]
    rows = tuple(
        (
            Grid.label(int(row.layer), int(row.head)), row.name, f"{row.role}, {row.kind}",
            f"{words.number(row.value, signed=True)} {words.interval(row.low, row.high, signed=True)} {row.unit}",
            words.ranks(row.rank_low, row.rank_high), words.probability(row.q).removeprefix("= "),
            f"{words.count(row.n)} ({words.count(row.groups)})",
        )
        for row in chosen.itertuples(index=False)
    )  # fmt: skip
    titles = ("head", "name", "role", f"effect by {score} [95%]", "rank [95%]", "q", "n (groups)")
    return Table(caption="The selected heads", titles=titles, rows=rows)


def edges_table(circuit: Circuit) -> Table:
    """The strongest edges of each role.

    Args:
        circuit: what was measured.
    """
    score = "paper" if circuit.settings.get("mode") == "paper" else "logit_difference"
    every = words.loose(circuit.edges)
    edges = every[every["score"] == score].groupby("role", sort=False).head(EDGES)
    rows = tuple(
        (
            row.role, f"{row.sender} ({row.sender_kind})", f"{row.receiver} ({row.receiver_kind})",
            f"{words.number(row.value, signed=True)} {words.interval(row.low, row.high, signed=True)} {row.unit}",
            words.probability(row.q).removeprefix("= "), f"{words.count(row.n)} ({words.count(row.groups)})",
        )
        for row in edges.itertuples(index=False)
    )  # fmt: skip
    caption = f"Paths among the first heads of each role, the strongest {EDGES}"
    return Table(caption=caption, titles=("role", "from", "to", "effect [95%]", "q", "n (groups)"), rows=rows)


def losses_table(circuit: Circuit) -> Table:
    """What is lost everywhere without the selection, beside random sets.

    Args:
        circuit: what was measured.
    """
    every = words.loose(circuit.ablation)
    compared = every[(every["control"] != "") & (every["set"] == "all")]
    return Table(
        caption="What is lost without the selected heads, and without random ones",
        titles=("where", "set", *LOST),
        rows=_losses(compared, lambda row: f"{row.where}: {row.measure.replace('_', ' ')}"),
    )  # fmt: skip


def sweep_table(circuit: Circuit) -> Table:
    """What is lost on chains without sets of other sizes, and without those that controls select.

    Args:
        circuit: what was measured.
    """
    every = words.loose(circuit.ablation)
    asked = (every["where"] == "chains") & (every["measure"] == "step_accuracy") & (every["set"] != "all")
    caption = "Step accuracy on gold chains without the first heads of all roles, and without what controls select"
    share = circuit.grid.size
    return Table(
        caption=caption, titles=("share of heads", "set", *LOST),
        rows=_losses(every[asked], lambda row: f"{int(row.size) / share:.1%}"),
    )  # fmt: skip


LOST = ("ablation", "with to without [95%]", "without random sets [95% of them]", "p", "n (groups)")


def _losses(rows: Any, first: Callable[[Any], str]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            first(row), f"{NAMES.get(row.set, row.set)} ({row.size} heads)", row.mode,
            f"{words.number(row.intact)} to {words.number(row.value)} {words.interval(row.low, row.high)}",
            *_beside(row), f"{words.count(row.n)} ({words.count(row.groups)})",
        )
        for row in rows.itertuples(index=False)
    )  # fmt: skip


def _beside(row: Any) -> tuple[str, str]:
    """What is left without random sets, and how often they cost as much."""
    if not row.control:
        return "none drawn", "not tested"
    limits = words.interval(row.random_low, row.random_high)
    return f"{words.number(row.random)} {limits} ({row.control}, {row.sets:g})", f"{row.p:.3f}"


def controls_table(circuit: Circuit) -> Table:
    """All that is told of the controls, beside the model on as few pairs.

    Args:
        circuit: what was measured.
    """
    rows = tuple(
        (
            str(MEASURES.get(row.measure, row.measure)), f"{row.role} {row.kind}".strip() or "all roles",
            str(CONTROL_NAMES.get(row.control, row.control)),
            _counted(row),             f"{words.count(row.n)} ({words.count(row.groups)})",
        )
        for row in words.loose(circuit.controls).sort_values(["measure", "role", "kind"], kind="stable").itertuples()
    )  # fmt: skip
    return Table(caption="Controls", titles=("what", "role", "found on", "value [95%]", "n (groups)"), rows=rows)


def _counted(row: Any) -> str:
    if pd.isna(row.value):
        return f"absent: {row.reason}"
    limits = "" if pd.isna(row.low) else f" {words.interval(row.low, row.high)}"
    return f"{words.number(row.value)}{limits} {row.unit}"


def confidence_rows(circuit: Circuit) -> Table:
    """Uncertain tokens by component at the threshold, and surprisal.

    Args:
        circuit: what was measured.
    """
    threshold = threshold_of(circuit)
    table = words.loose(circuit.confidence)
    near = table[(table["threshold"] - threshold).abs() < 1e-9].set_index("component")
    rows = []
    for row in table[table["unit"] == "nats"].itertuples(index=False):
        known = near.loc[row.component] if row.component in near.index else None
        told = "absent" if known is None else f"{int(known['uncertain'])} of {int(known['tokens'])}"
        name = "the three deciding ones" if row.component == THREE else row.component.replace("_", " ")
        share = f"{words.percent(row.share)} {words.percents(row.share_low, row.share_high)}"
        rows.append((name, told, words.percent(row.share_tokens), share, words.count(row.n)))
    titles = ("component", f"tokens below {threshold:g}", "share of tokens", "share of surprisal [95%]", "n")
    return Table(caption="Confidence in gold chains", titles=titles, rows=tuple(rows))
