"""Circuits of an invented model in which every claim of the source holds, to be changed one table at a time."""

from dataclasses import replace
from typing import Any

import pandas as pd

from headscope.deduction.ablation import ABLATION
from headscope.deduction.confidence import CONFIDENCE, TOKENS
from headscope.deduction.controls import CONTROLS
from headscope.deduction.heads import HEADS, Selected
from headscope.deduction.layers import DEPTHS, LAYERS
from headscope.deduction.lens import LENS
from headscope.deduction.paths import EDGES
from headscope.deduction.result import Circuit
from headscope.grid import Grid

GRID = Grid(8, 25)
ROLES = ("facts", "rules")
KINDS = ("reading", "decision")
HEAD = {(role, kind): (1 + 4 * at, 3 * number) for number, role in enumerate(ROLES) for at, kind in enumerate(KINDS)}


def frame(columns: Any, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([{"n": 40, "groups": 20, "reason": "", **row} for row in rows], columns=pd.Index(list(columns)))


def loss(where: str, measure: str, mode: str, **told: float) -> list[dict[str, Any]]:
    row = {"where": where, "measure": measure, "set": "all", "heads": "", "size": 4, "mode": mode, "unit": "share",
           "intact": 1.0, **told}  # fmt: skip
    row |= {"value": row["intact"] - row["lost"], "low": 0.1, "high": 0.2, "random": 0.95, "random_low": 0.9}
    row |= {"random_high": 1.0, "random_lost": 0.05, "p": 0.01, "sets": 100, "ratio": 10.0}
    return [{**row, "control": control} for control in ("uniform", "layer")]


def losses() -> pd.DataFrame:
    rows = []
    for mode in ("resample", "zero"):
        rows += loss("chains", "step_accuracy", mode, lost=0.8, lost_low=0.7, lost_high=0.9)
        rows += loss("chains", "surprisal", mode, lost=2.0, lost_low=1.5, lost_high=2.5)
        rows += loss("own chains", "step_accuracy", mode, lost=0.9, lost_low=0.8, lost_high=1.0)
        rows += loss("ioi", "accuracy", mode, lost=0.1, lost_low=0.0, lost_high=0.2)
        rows += loss("text", "loss", mode, lost=0.2, lost_low=0.1, lost_high=0.3, intact=3.0)
    return frame(ABLATION, rows)


def confidence() -> pd.DataFrame:
    told = {"tokens": 500, "uncertain": 80, "rate": 0.16, "rate_low": 0.1, "rate_high": 0.2, "unit": "share of tokens"}
    three = {**told, "component": "decisions", "share": 0.9, "share_low": 0.8, "share_high": 0.95, "share_tokens": 0.6}
    every = {**told, "component": "all", "tokens": 900, "uncertain": 90, "share": 1.0, "share_low": 1.0,
             "share_high": 1.0, "share_tokens": 1.0}  # fmt: skip
    rows = [{**row, "threshold": threshold} for threshold in (0.5, 0.8) for row in (three, every)]
    return frame(CONFIDENCE, rows + [{**row, "threshold": float("nan"), "unit": "nats"} for row in (three, every)])


def heads() -> pd.DataFrame:
    rows = []
    for role in ROLES:
        for kind in KINDS:
            for at, head in HEAD.items():
                own = at == (role, kind)
                rows.append({"role": role, "kind": kind, "name": f"{kind} {role}", "score": "both", "layer": head[0],
                             "head": head[1], "value": 1.0 if own else 0.01, "low": 0.0, "high": 1.1, "p": 0.01,
                             "q": 0.02, "rank": 1 if own else 9, "rank_low": 1 if own else 5,
                             "rank_high": 2 if own else 12, "share": 0.5, "unit": "logits",
                             "selected": own})  # fmt: skip
    for kind in KINDS:  # one head helps, of those of the traversal
        own = {"role": "demonstrations", "kind": kind, "name": kind, "layer": 1, "head": 1, "p": 0.01, "q": 0.02,
               "rank": 1, "rank_low": 1, "rank_high": 1, "share": 0.5, "selected": False}  # fmt: skip
        rows += [
            {**own, "score": "both", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "logits"},
            {**own, "score": "paper", "value": 0.02, "low": 0.01, "high": 0.03, "unit": "probability"},
        ]
    return frame(HEADS, rows)


def controls() -> pd.DataFrame:
    """What the model shows beside an untrained twin in which nothing does anything, and exchanged twins."""
    rows: list[dict[str, Any]] = []
    for at, control in enumerate(("trained", "untrained", "shuffled")):
        told: dict[str, Any] = {"control": control, "role": "", "kind": "", "unit": "heads"}
        rows += [{**told, "measure": "selected", "value": 4 - at}, {**told, "measure": "own", "value": 4 - 2 * at}]
        for kind in KINDS:
            rows += [{**told, "kind": kind, "measure": name, "value": 2} for name in ("alone", "places")]
            for role in (*ROLES, "demonstrations"):
                own = {**told, "kind": kind, "role": role}
                rows += [{**own, "measure": name, "value": 0.5 - 0.2 * at, "low": 0.1, "high": 0.6,
                          "unit": "probability" if name == "held out" else "logits"}
                         for name in ("held out", "held out effect")]  # fmt: skip
                rows += [{**own, "measure": "significant", "value": 3 - at, "unit": "of 200 heads"}]
        rows += [
            {**told, "measure": "depth: centre", "value": 2.0 - at, "low": 1.5 - at, "high": 3.0, "unit": "layers"}
        ]
        rows += [{**told, "measure": "change effect", "value": 9.0, "unit": "logits"}]
    twin: dict[str, Any] = {"control": "untrained", "role": "", "kind": ""}
    shares = {"right": 0.01, "uncertain": 900, "uncertain: share": 0.55, "uncertain: tokens": 0.56}
    rows += [{**twin, "measure": name, "value": value, "low": 0.5, "high": 0.6, "unit": "of 900 tokens"}
             for name, value in shares.items()]  # fmt: skip
    return frame(CONTROLS, rows)


def tokens() -> pd.DataFrame:
    kinds = (("A", "premise_selection", 0.3), ("<b>", "syntax", 0.99))
    rows = [
        (chain, at, token, component, 0, min(0.99, chance + 0.3 * chain), token, True)
        for chain in range(3)
        for at, (token, component, chance) in enumerate(kinds)
    ]
    return pd.DataFrame(rows, columns=pd.Index(TOKENS))


def circuit(name: str = "invented", **changes: Any) -> Circuit:
    """A circuit of four heads in 200 for which all claims hold.

    Args:
        name: of the model.
        changes: fields that are other.
    """
    depths = [{"role": role, "measure": measure, "reading": 1.0, "decision": 5.0, "difference": 4.0, "low": 3.0,
               "high": 5.0, "unit": "layers"} for role in ROLES for measure in ("selected", "centre")]  # fmt: skip
    layers = [{"role": role, "kind": kind, "score": "paper", "layer": layer, "value": float(layer == 5), "low": 0.0,
               "high": 1.0, "heads": 4, "unit": "probability"}
              for role in ROLES for kind in KINDS for layer in range(8)]  # fmt: skip
    lens = [{"component": component, "step": -1, "layer": -1, "measure": "settled", "value": 5.5, "low": 5.0,
             "high": 6.0, "tokens": 80, "unit": "layer"} for component in ("rule_selection", "answer")]  # fmt: skip
    edges = [{"role": "rules", "sender": "L1H3", "sender_kind": "reading", "receiver": "L5H3",
              "receiver_kind": "decision", "score": "logit_difference", "value": 0.5, "low": 0.4, "high": 0.6,
              "p": 0.001, "q": 0.002, "unit": "logits"}]  # fmt: skip
    made = Circuit(
        model={"name": name},
        settings={"threshold": 0.8, "claim": 0.03, "mode": "default", "able": 0.4, "modes": ["resample", "zero"]},
        form="symbolic", grid=GRID, k=1,
        selected=tuple(Selected(role, kind, (head,)) for (role, kind), head in HEAD.items()),
        traversal=(Selected("demonstrations", "reading", ((1, 1),)),),
        confidence=confidence(), tokens=tokens(), lens=frame(LENS, lens), heads=heads(), controls=controls(),
        layers=frame(LAYERS, layers), depths=frame(DEPTHS, depths), edges=frame(EDGES, edges), ablation=losses(),
        chains=pd.DataFrame({"chain": [0]}), sizes={"all": 4},
    )  # fmt: skip
    return replace(made, **changes)


def told(table: pd.DataFrame, where: dict[str, Any], **values: Any) -> pd.DataFrame:
    """The table with other values in the rows that match."""
    chosen = pd.Series(True, index=table.index)
    for name, value in where.items():
        chosen &= table[name] == value
    assert chosen.any(), f"no row with {where}"
    changed = table.copy()
    for name, value in values.items():
        changed[name] = changed[name].mask(chosen, value)
    return changed
