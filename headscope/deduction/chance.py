"""What the controls say to each claim: the same numbers on random weights, and with the twins of other pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from headscope.deduction.controls import SHUFFLED, TRAINED, UNTRAINED
from headscope.deduction.findings import TRAVERSAL, rows_of
from headscope.deduction.heads import KINDS
from headscope.deduction.result import Circuit

NAMES = {TRAINED: "the model", UNTRAINED: "untrained twin", SHUFFLED: "exchanged twins"}
"""What each control is called in a sentence."""

NONE = "no controls were run"
NO_PART = "none applies: the controls choose heads for the chains and measure nothing elsewhere"


def of(circuit: Circuit, control: str, measure: str, **where: str) -> list[dict[str, Any]]:
    """Rows of a measure under a control that hold a number.

    Args:
        circuit: what was measured.
        control: a key of `headscope.deduction.controls.BESIDE`.
        measure: a key of `headscope.deduction.controls.MEASURES`.
        where: values of other columns.
    """
    found = rows_of(circuit.controls, control=control, measure=measure, **where)
    return [row for row in found if np.isfinite(float(row["value"]))]


def each(circuit: Circuit, say: Callable[[str], str]) -> str:
    """What is said of every control that was run, and why one was not.

    Args:
        circuit: what was measured.
        say: of a control, by its key; nothing if empty.
    """
    if not len(circuit.controls):
        return NONE
    parts = []
    for control, name in NAMES.items():
        reasons = [row["reason"] for row in rows_of(circuit.controls, control=control) if row["reason"]]
        told = say(control)
        if told:
            parts.append(f"{name}: {told}")
        elif control != TRAINED and len(reasons) == len(rows_of(circuit.controls, control=control)):
            parts.append(f"{name}: {reasons[0] if reasons else 'not reached'}")
    return "; ".join(parts) or NONE


def uncertainty(circuit: Circuit) -> str:
    """Of uncertain tokens.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        unsure, share, tokens = (
            of(circuit, control, name) for name in ("uncertain", "uncertain: share", "uncertain: tokens")
        )
        if control != UNTRAINED or not (unsure and share and tokens):
            return ""
        low, high = share[0]["low"], share[0]["high"]
        return (
            f"{unsure[0]['value']:.0f} {unsure[0]['unit']} are uncertain, {share[0]['value']:.0%} [{low:.0%}, "
            f"{high:.0%}] of them in the three components, which are {tokens[0]['value']:.0%} of the tokens"
        )

    return each(circuit, say)


def share(circuit: Circuit) -> str:
    """Of the selected heads: how strong the best are, how many help, and how many are chosen again.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        size, own = of(circuit, control, "selected"), of(circuit, control, "own")
        if not size:
            return ""
        told = f"{_best(circuit, control)}; {_helping(circuit, control)}"
        if control == TRAINED:
            return told + f" (n = {size[0]['n']:.0f} pairs a role)"
        chance = size[0]["value"] * len(circuit.union) / circuit.grid.size
        return (
            f"{told}; it selects {size[0]['value']:.0f} heads, {own[0]['value']:.0f} of them the model's own "
            f"(by chance {chance:.1f}){_without(circuit, control)}"
        )

    return each(circuit, say)


def _best(circuit: Circuit, control: str, **where: str) -> str:
    """The best head's effect over all roles, by kind, on the half of the pairs that it was not chosen on."""
    parts = []
    whole = [row["value"] for row in of(circuit, control, "change effect", **where)]
    for measure, name in (("held out", "AIE"), ("held out effect", "effect")):
        found = {kind: of(circuit, control, measure, kind=kind, **where) for kind in KINDS}
        most = {kind: max(rows, key=lambda row: row["value"]) for kind, rows in found.items() if rows}
        if most and (name == "AIE" or next(iter(most.values()))["unit"] != "probability"):
            unit = "" if name == "AIE" else f" logits of a change of up to {max(whole):.1f}" if whole else " logits"
            told = ", ".join(f"{kind} {_small(row['value'])}" for kind, row in most.items())
            parts.append(f"best {name} held out: {told}{unit}")
    return ", ".join(parts) if parts else "no effect that is held out"


def _small(value: float) -> str:
    """An effect that may be next to nothing, and is not nothing."""
    return f"{value:.3f}" if abs(value) >= 5e-4 else f"{value:.0e}"


def _helping(circuit: Circuit, control: str) -> str:
    counts = [row["value"] for kind in KINDS for row in of(circuit, control, "significant", kind=kind)]
    if not counts:
        return "no head was tested"
    return f"{min(counts):.0f} to {max(counts):.0f} heads of a role and kind help at q < .05"


def _without(circuit: Circuit, control: str) -> str:
    rows = rows_of(circuit.ablation, where="chains", measure="step_accuracy", set=control)
    parts = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        own = [row for row in rows if row["mode"] == mode]
        matched = [row for row in own if row["control"] == "layer"]
        beside = f", layer-matched sets {matched[0]['random_lost']:.2f}" if matched else ""
        low, high = own[0]["lost_low"], own[0]["lost_high"]
        parts.append(f"{own[0]['lost']:.2f} [{low:.2f}, {high:.2f}] ({mode}{beside})")
    return f", without which the model loses {' and '.join(parts)} of its steps" if parts else ""


def specialised(circuit: Circuit) -> str:
    """Of heads of one role only.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        parts = []
        for kind in KINDS:
            single, every = of(circuit, control, "alone", kind=kind), of(circuit, control, "places", kind=kind)
            if single and every:
                parts.append(f"{kind} {single[0]['value']:.0f} of {every[0]['value']:.0f} heads of one role only")
        return ", ".join(parts)

    return each(circuit, say)


def depth(circuit: Circuit) -> str:
    """Of depths.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        rows = [row for name in ("selected", "centre") for row in of(circuit, control, f"depth: {name}")]
        if not rows:
            return ""
        above = sum(row["low"] > 0 for row in rows)
        least, most = (end(row["value"] for row in rows) for end in (min, max))
        return f"{above} of {len(rows)} intervals lie above 0 (differences {least:+.2f} to {most:+.2f} layers)"

    return each(circuit, say)


def necessary(circuit: Circuit) -> str:
    """Of what is lost without heads that a control chose.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        if control == TRAINED:
            return ""
        told = _without(circuit, control).removeprefix(", ")
        size = circuit.sizes.get(control, 0)
        return f"it selects {size} heads, {told}" if told else ""

    return each(circuit, say)


def selective(circuit: Circuit) -> str:
    """Of other abilities.

    Args:
        circuit: what was measured.
    """
    return NO_PART if len(circuit.controls) else NONE


def integration(circuit: Circuit) -> str:
    """Of what becomes readable.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        rows = of(circuit, control, "right")
        return f"{rows[0]['value']:.0%} of the gold tokens are readable after the last layer" if rows else ""

    return each(circuit, say)


def traversal(circuit: Circuit) -> str:
    """Of heads of the traversal algorithm.

    Args:
        circuit: what was measured.
    """

    def say(control: str) -> str:
        if not of(circuit, control, "best", role=TRAVERSAL):
            return ""
        return _best(circuit, control, role=TRAVERSAL)

    tested = any(of(circuit, control, "best", role=TRAVERSAL) for control in NAMES)
    return each(circuit, say) if tested else "none: there is nothing to set them beside"
