"""A reproduction as one HTML page: the paper's claims on the left, what was measured on the right."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headscope.deduction.claims import FAILS, HOLDS
from headscope.deduction.heads import KINDS
from headscope.deduction.result import Circuit
from headscope.deduction.settings import CLAIM
from headscope.errors import refusing
from headscope.plots import (
    ablation_curve,
    confidence_curve,
    control_effects,
    heatmap,
    layer_curve,
    path_edges,
    readable_curve,
    words,
)
from headscope.plots.chains import MARK
from headscope.plots.deduction import chain_confidence, set_losses
from headscope.report.circuit_tables import (
    confidence_rows,
    controls_table,
    edges_table,
    heads_table,
    losses_table,
    score_of,
    sweep_table,
    threshold_of,
)
from headscope.report.panels import Panel, draw, panel, plotly_script, themes
from headscope.report.record import command, facts, find, without
from headscope.report.strips import Strip, strips

HERE = Path(__file__).parent

STATES = {HOLDS: "ok", FAILS: "failed"}
"""How a verdict is shown; others are shown as left out."""

MARKS = {"ok": "✓", "failed": "✗", "skipped": "–"}
"""A sign beside the words of a verdict."""


def summary(claims: pd.DataFrame) -> str:
    """How many claims hold, in a sentence.

    Args:
        claims: from `headscope.deduction.claims.claims`.

    Example:
        >>> summary(pd.DataFrame({"name": ["a", "b"], "verdict": ["holds", "does not hold"]}))
        '1 of 2 claims holds (a); 1 does not (b); 0 cannot be tested here.'
    """
    rows = words.loose(claims)
    named = {verdict: rows.loc[rows["verdict"] == verdict, "name"].tolist() for verdict in (HOLDS, FAILS)}
    holds, fails = named[HOLDS], named[FAILS]
    rest = [name for name in claims["name"] if name not in (*holds, *fails)]
    told = (
        (f"{len(holds)} of {len(claims)} claims {'holds' if len(holds) == 1 else 'hold'}", holds),
        (f"{len(fails)} {'does' if len(fails) == 1 else 'do'} not", fails),
        (f"{len(rest)} cannot be tested here", rest),
    )
    return "; ".join(text + (f" ({', '.join(names)})" if names else "") for text, names in told) + "."


@dataclass(frozen=True, slots=True)
class Part:
    """A section of figures.

    Attributes:
        id: of its heading.
        title: its heading.
        note: what it shows.
        panels: the figures.
        strips: chains as coloured text.
    """

    id: str
    title: str
    note: str
    panels: tuple[Panel, ...]
    strips: tuple[Strip, ...] = ()


@refusing("a reproduction whose page cannot be drawn", "a reproduction as headscope made it")
def render(identity: Mapping[str, Any], circuit: Circuit, claims: pd.DataFrame) -> str:
    """The page.

    Args:
        identity: what `run.json` holds.
        circuit: what was measured.
        claims: the verdicts.

    Returns:
        One page that asks for nothing outside itself; every text in it is escaped.
    """
    parts = [part for part in _parts(circuit) if part.panels or part.strips]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("reproduction.html").render(
        model=str(circuit.model.get("name", "an unnamed model")),
        paper=str(find(identity, "paper") or ""),
        summary=summary(claims),
        incomplete=_incomplete(circuit),
        claims=[_told(row) for row in claims.to_dict("records")],
        parts=parts,
        sign=MARK,
        threshold=f"{threshold_of(circuit):g}",
        tables=[
            heads_table(circuit), edges_table(circuit), losses_table(circuit), sweep_table(circuit),
            controls_table(circuit), confidence_rows(circuit),
        ],
        notes=circuit.notes,
        record=facts(without(identity, "model", "command")),
        command=command(identity),
        style="\n".join((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "reproduction.css")),
        draw_script=(HERE / "draw.js").read_text(encoding="utf-8"),
        plotly=plotly_script(),
        figures=draw([each for part in parts for each in part.panels]),
        themes=themes(),
        circuitsvis="",
    )  # fmt: skip


def _told(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A claim as the page shows it: every number of several stands in a line of its own."""
    state = STATES.get(row["verdict"], "skipped")
    split = {name: str(row.get(name, "")).split("; ") for name in ("measured", "controls")}
    return {**row, **split, "state": state, "mark": MARKS[state]}


def _incomplete(circuit: Circuit) -> str:
    if not circuit.stopped:
        return ""
    done = ", ".join(circuit.seconds) or "nothing"
    return f"The run was stopped during: {circuit.stopped}. Finished before it: {done}."


def write(identity: Mapping[str, Any], circuit: Circuit, claims: pd.DataFrame, path: Path) -> Path:
    """Write the page; an older one is replaced only once the new one is complete.

    Args:
        identity: as for `render`.
        circuit: as for `render`.
        claims: as for `render`.
        path: the file.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(render(identity, circuit, claims), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _parts(circuit: Circuit) -> list[Part]:
    """All figures, in the order of the study; those whose tables are empty are left out."""
    score = score_of(circuit)
    strip = strips(circuit.tokens, threshold=threshold_of(circuit))
    return [
        Part("unsure", "How sure is the model of a gold chain?", "Gold chains are given to the model token by token.",
             _unsure(circuit), strip),
        Part("maps", "Which heads read, and which decide?", f"Every head, by the score that ranks them ({score}).",
             _maps(circuit, score)),
        Part("paths", "Which head hears which?", "Path patching among the first heads of each role.", _paths(circuit)),
        Part("deep", "How deep is it?", "Layers of the heads, and of what can be read off the stream.", _deep(circuit)),
        Part("lost", "What is lost without the heads?", "Heads are removed at every token; beside them random heads.",
             _lost(circuit)),
        Part("beside", "What do controls find?", "The same protocol where there is nothing to find: on the model's "
             "random-weights twin, and with the corrupted twin of another pair.", _beside(circuit)),
    ]  # fmt: skip


def _unsure(circuit: Circuit) -> tuple[Panel, ...]:
    if not len(circuit.confidence):
        return ()
    curve = confidence_curve(circuit.confidence, threshold=threshold_of(circuit))
    return (panel("confidence", chain_confidence(circuit.confidence)), panel("thresholds", curve))


def _maps(circuit: Circuit, score: str) -> tuple[Panel, ...]:
    every = words.loose(circuit.heads)
    table = every[every["score"] == score].assign(flagged=False, signed=True)
    table = table.assign(model=str(circuit.model.get("name", "")), task=table["role"], method=table["name"])
    named = table[["task", "method"]].drop_duplicates().itertuples(index=False)
    return tuple(
        panel(f"heads-{at}", heatmap(table, task=role, method=name, score=score))
        for at, (role, name) in enumerate(named)
    )


def _paths(circuit: Circuit) -> tuple[Panel, ...]:
    score = "paper" if circuit.settings.get("mode") == "paper" else "logit_difference"
    roles = dict.fromkeys(circuit.edges["role"])
    return tuple(
        panel(f"paths-{at}", path_edges(circuit.edges, role=str(role), score=score)) for at, role in enumerate(roles)
    )


def _deep(circuit: Circuit) -> tuple[Panel, ...]:
    scores = dict.fromkeys(("paper", score_of(circuit)))  # the source's own first
    found = [
        panel(f"layers-{score}-{kind}", layer_curve(circuit.layers, kind=kind, score=score))
        for score in scores
        for kind in KINDS
        if len(circuit.layers) and score in set(circuit.layers["score"])
    ]
    if "right" in set(circuit.lens["measure"]):
        found.append(panel("lens", readable_curve(circuit.lens)))
    return tuple(found)


def _lost(circuit: Circuit) -> tuple[Panel, ...]:
    every = words.loose(circuit.ablation)
    rows = every[(every["where"] == "chains") & (every["measure"] == "step_accuracy")]
    swept = rows[rows["set"].astype(str).str.startswith("top ")]
    claim = float(circuit.settings.get("claim", CLAIM))
    found = [
        panel(f"curve-{mode}", ablation_curve(circuit.ablation, heads=circuit.grid.size, mode=str(mode), claim=claim))
        for mode in dict.fromkeys(swept["mode"])
    ]
    if len(rows) > len(swept):
        found.append(panel("losses", set_losses(circuit.ablation)))
    return tuple(found)


def _beside(circuit: Circuit) -> tuple[Panel, ...]:
    held = set(words.loose(circuit.controls).dropna(subset="value")["measure"]) if len(circuit.controls) else set()
    measures = [name for name in ("held out effect", "held out") if name in held]
    return tuple(
        panel(f"control-{at}", control_effects(circuit.controls, measure=name)) for at, name in enumerate(measures)
    )
