"""What the source claims, beside what was measured: claim by claim, each by a stated rule on intervals and tests."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from headscope.deduction import chance, findings
from headscope.deduction.findings import ABOUT, CHANCE, FAILS, FAR, HOLDS, UNTESTED, VERDICTS, Finding, rows_of
from headscope.deduction.result import Circuit

__all__ = ["CLAIMS", "COLUMNS", "FAILS", "HOLDS", "UNTESTED", "VERDICTS", "Claim", "claims"]

COLUMNS = ("name", "claim", "measured", "controls", "verdict", "why", "rule")
"""Columns of a table of claims."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the source and the rule by which it is judged.

    Attributes:
        name: short.
        claim: what the source says, with its number.
        rule: when it holds.
        find: measures it.
        beside: what the controls say to it.
        needs: tables of the circuit without which it was not reached.
        causal: whether it is about heads, which mean nothing where the model cannot do the chains.
    """

    name: str
    claim: str
    rule: str
    find: Callable[[Circuit], Finding]
    beside: Callable[[Circuit], str]
    needs: tuple[str, ...]
    causal: bool = True


def claims(circuit: Circuit) -> pd.DataFrame:
    """The claims of arXiv 2605.27824 beside what a circuit shows.

    Args:
        circuit: from `headscope.deduction.study`.

    Returns:
        `COLUMNS`, a row for each of `CLAIMS`: what the source says, what was measured (with 95 % intervals and n), what
        the same protocol finds on the controls, a verdict of `VERDICTS` and why. Cost: no forward pass.

    Example:
        >>> [each.name for each in CLAIMS][:4]
        ['uncertainty', 'three percent', 'specialised', 'reading first']
    """
    unable = _unable(circuit)
    rows = []
    for each in CLAIMS:
        if circuit.stopped and not all(len(circuit.frames()[name]) for name in each.needs):
            found = Finding("not measured", UNTESTED, f"the run was stopped before it, during: {circuit.stopped}")
        else:
            found = each.find(circuit)
        if unable and each.causal:
            found = Finding(found.measured, UNTESTED, unable)
        beside = each.beside(circuit)
        rows.append((each.name, each.claim, found.measured, beside, found.verdict, found.why, each.rule))
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _unable(circuit: Circuit) -> str:
    """Why nothing can be said of heads, if the model does not do the chains; else nothing."""
    rows = rows_of(circuit.ablation, where="own chains", measure="step_accuracy")
    least = float(circuit.settings.get("able", 0))
    if not rows or rows[0]["intact"] >= least:
        return ""
    return (
        f"the model gets {rows[0]['intact']:.0%} of the steps of its own chains right, fewer than {least:.0%}: "
        "heads of a model that cannot do a task say nothing of it"
    )


CLAIMS = (
    Claim(
        "uncertainty",
        "Uncertain tokens (gold probability below .8) are mostly of three components: premise selection, its "
        "termination, rule selection.",
        "the 95 % interval of their share lies above half and above their share of all tokens",
        findings.uncertainty,
        chance.uncertainty,
        ("confidence",),
        causal=False,
    ),
    Claim(
        "three percent",
        "About 3 % of heads do it: the top 5 (or 8) reading and decision heads of three roles are 2.6 to 3.0 %.",
        f"at most {ABOUT:g} times the claimed share, and the interval of what is lost lies above half of the steps "
        "under every ablation",
        findings.share,
        chance.share,
        ("depths", "ablation"),
    ),
    Claim(
        "specialised",
        "Heads are specialised by role, though some are shared.",
        "of reading and of decision heads, more than half have a rank interval outside the top of every other role",
        findings.specialised,
        chance.specialised,
        ("depths",),
    ),
    Claim(
        "reading first",
        "Reading heads sit in earlier layers than decision heads, in all models.",
        "the interval of decision less reading depth lies above 0 for every role and both measures of depth",
        findings.depth,
        chance.depth,
        ("depths",),
    ),
    Claim(
        "necessary",
        "Without them the steps fail (accuracy about 0), far beyond random heads (ProntoQA .000-.446 against "
        ".808-.951).",
        f"the loss is above 0, {FAR:g} times that of random sets or more, and p <= {CHANCE} against random and "
        "layer-matched sets under every ablation",
        findings.necessary,
        chance.necessary,
        ("ablation",),
    ),
    Claim(
        "selective",
        "Other abilities suffer only slightly (introduction), although MMLU falls from .683 to .380 in Llama-3.1-8B "
        "(random heads: .527).",
        "for every other task and plain text the interval of the drop, as a part of what there was, lies below half of "
        "the drop on chains",
        findings.selective,
        chance.selective,
        ("ablation",),
    ),
    Claim(
        "integration",
        "Lower layers read facts and rules; higher layers (17 to 30 of 32) integrate them.",
        "tokens that decide become readable in the upper half of the layers, by the whole interval",
        findings.integration,
        chance.integration,
        ("lens",),
    ),
    Claim(
        "traversal",
        "Some heads read the traversal algorithm in the demonstrations, others implement it (best AIE about .02 and "
        ".01 in Llama-3.1-8B).",
        "of both kinds one head or more helps at q < .05, and the interval of the best AIE lies above 0",
        findings.traversal,
        chance.traversal,
        ("depths",),
    ),
)
"""The claims, in the order in which they are told."""
