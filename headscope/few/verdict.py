"""From numbers to a verdict: which criteria are met, and what that says in plain words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headscope.few.curves import Interval
from headscope.few.outcome import TABLES

HALF = 0.5
STABLE = 0.8
"""Of circuits that are found again when prompts are resampled: Méloux et al. 2025 (arXiv 2510.00845) want 0.8."""

UNABLE = "the model does not do this task"
NOTHING = "no effect of heads to explain"
FEW = "a few heads carry it"
NEEDED = "a few heads are needed, but do not suffice"
NEITHER = "not concentrated / not stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that must hold before a few heads can be said to carry a task.

    Attributes:
        name: in a word or two.
        found: the number, with its interval where there is one.
        wanted: in words.
        met: whether it holds; None where it was not measured.
        meaning: what it says.
    """

    name: str
    found: Interval
    wanted: str
    met: bool | None
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the criteria are made of, all at the claimed number of heads and on the measuring half.

    Attributes:
        whole: what all heads together make, in units of the metric.
        effect: the held-out share of the summed positive effects.
        beyond: the same share less that of the untrained twin, both on the same examples; NaN where it was not run.
        untrained: that of the twin.
        necessity, faithfulness: by the metric.
        lost_by_chance, left_by_chance: p against layer-matched random sets; NaN where not measured.
        stability: mean Jaccard index of the choice under resampling.
    """

    whole: Interval
    effect: Interval
    beyond: Interval
    untrained: Interval
    necessity: Interval
    faithfulness: Interval
    lost_by_chance: float
    left_by_chance: float
    stability: float


def criteria(found: Evidence) -> tuple[Criterion, ...]:
    """The criteria, in the order in which they are asked.

    Args:
        found: the numbers.

    Example:
        >>> sure = Interval(0.8, 0.7, 0.9)
        >>> evidence = Evidence(
        ...     whole=Interval(3.0, 2.0, 4.0), effect=sure, beyond=Interval(0.5, 0.2, 0.8),
        ...     untrained=Interval(0.3, 0.1, 0.5), necessity=sure, faithfulness=Interval(0.1, 0.0, 0.2),
        ...     lost_by_chance=0.01, left_by_chance=0.3, stability=0.95,
        ... )
        >>> [each.name for each in criteria(evidence) if not each.met]
        ['sufficient']
    """
    alone = Interval(found.stability, math.nan, math.nan)
    return (
        Criterion(
            name="total effect", found=found.whole, wanted="interval above 0", met=found.whole.low > 0,
            meaning="what is lost when all heads are ablated, in the metric's unit",
        ),
        Criterion(
            name="concentrated", found=found.effect, wanted="interval above .5", met=found.effect.low > HALF,
            meaning="held-out share of the summed positive effects of single heads",
        ),
        Criterion(
            name="beyond random weights", found=found.beyond, wanted="interval above 0",
            met=None if math.isnan(found.beyond.value) else found.beyond.low > 0,
            meaning="that share less the one of the same model with random weights, on the same examples",
        ),
        Criterion(
            name="stable", found=alone, wanted="at least .8", met=found.stability >= STABLE,
            meaning="mean Jaccard index of the chosen heads with those of resampled prompts",
        ),
        Criterion(
            name="necessary", found=found.necessity, wanted="interval above .5, and p < .05 against random sets",
            met=_both(found.necessity, found.lost_by_chance),
            meaning=f"lost when they are ablated together; p = {_p(found.lost_by_chance)} against layer-matched sets",
        ),
        Criterion(
            name="sufficient", found=found.faithfulness, wanted="interval above .5, and p < .05 against random sets",
            met=_both(found.faithfulness, found.left_by_chance),
            meaning=f"left with them alone; p = {_p(found.left_by_chance)} against layer-matched sets",
        ),
    )  # fmt: skip


def _both(share: Interval, p: float) -> bool:
    return share.low > HALF and not p >= 0.05


def label(found: Sequence[Criterion]) -> str:
    """The verdict in a few words.

    Args:
        found: the criteria.
    """
    met = {each.name: each.met is not False for each in found}
    if not met["total effect"]:
        return NOTHING
    concentrated = met["concentrated"] and met["beyond random weights"]
    if concentrated and met["stable"]:
        needed = NEEDED if not met["sufficient"] else FEW
        return needed if met["necessary"] else "concentrated, but not necessary"
    if concentrated:
        return "concentrated, but not stable"
    return "stable, but not concentrated" if met["stable"] else NEITHER


def frame(found: Sequence[Criterion]) -> pd.DataFrame:
    """The criteria as the rows of `Few.criteria`.

    Args:
        found: the criteria.
    """
    lines = [(each.name, *each.found, each.wanted, each.met, each.meaning) for each in found]
    return pd.DataFrame(lines, columns=list(TABLES["criteria"]))


def unable_text(task: str, able: Mapping[str, Any]) -> str:
    """The verdict on a task that the model fails, and nothing else.

    Args:
        task: the task.
        able: its row of the table of tasks.
    """
    share = f"{able['accuracy']:.2f} [{able['accuracy_low']:.2f}, {able['accuracy_high']:.2f}]"
    return f"{task}: the model does not do this task (accuracy {share} on {able['n']} held-out pairs)."


def text(task: str, verdict: str, found: Evidence, facts: Mapping[str, Any], ninety: pd.DataFrame) -> str:
    """The verdict in a paragraph of plain words with numbers.

    Args:
        task: the task.
        verdict: the label.
        found: the numbers.
        facts: as in `Few.facts`.
        ninety: the rows of `Few.smallest` for the faithfulness of 90 %, the verdict's own kind of ablation first.
    """
    units, kind = facts["units"], facts["ablation"]
    does = f"{task}: accuracy {facts['accuracy']:.2f} on {facts['measured']} held-out pairs"
    if verdict == NOTHING:
        return (
            f"{does}. Ablating all heads together ({kind}) changes the metric by {_number(found.whole)} "
            f"{facts['metric_unit']}, which cannot be told from nothing: there is no effect of heads to be shared out."
        )
    who = f"The top {facts['k']} of {units} {facts['counted']} ({_percent(facts['k'] / units)}), chosen on "
    who += f"{facts['selected']} other pairs, carry {_shares(found.effect)} of the summed positive effect of single "
    who += facts["counted"]
    if not math.isnan(found.untrained.value):
        who += f" ({_percent(found.untrained.value)} in the same model with random weights)"
    lost = f"Ablating them together ({kind}) takes away {_shares(found.necessity)} of what all heads make"
    lost += _p_words(found.lost_by_chance)
    left = f"they alone keep {_shares(found.faithfulness)} of it{_p_words(found.left_by_chance)}"
    stable = f"Resampling the prompts chooses the same ones to {found.stability:.2f} (Jaccard)"
    return f"{does}. {who}. {lost}; {left}. {_keeping(ninety, facts)} {stable}. {_conclusion(verdict, found, facts)}"


def _keeping(ninety: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """How many it takes to keep 90 %, under each kind of ablation: the kinds disagree, often by a lot."""
    told = []
    for row in ninety.to_dict("records"):
        if math.isnan(row["k"]):
            told.append(f"none is enough ({row['ablation']})")
            continue
        if "measured at" in row["reason"]:
            told.append(f"up to {row['k']:.0f} ({row['ablation']}, at a few sizes only)")
            continue
        high = "?" if math.isnan(row["high"]) else f"{row['high']:.0f}"
        told.append(f"{row['k']:.0f} [{row['low']:.0f}, {high}] ({row['ablation']})")
    return f"To keep 90 %, of {facts['units']} {facts['counted']} it takes {', '.join(told)}."


def _conclusion(verdict: str, found: Evidence, facts: Mapping[str, Any]) -> str:
    claim = f"The claim that about {_percent(facts['claim'])} of heads carry a task"
    if verdict == FEW:
        return f"Verdict: {verdict}: they are necessary, and suffice. {claim} holds here."
    if verdict == NEEDED:
        return f"Verdict: {verdict}. {claim} holds here for what is lost without them, not for what is left with them."
    told = f"Verdict: {verdict}. {claim} does not hold here."
    if found.effect.low <= HALF < found.effect.high:
        told += (
            f" The interval of the share holds one half: about {facts['needed']} pairs in each half would decide it."
        )
    return told


def _percent(share: float) -> str:
    if math.isnan(share):
        return "-"
    return f"{round(100 * share, 1 if abs(share) < 0.1 else 0):g} %"


def _shares(found: Interval) -> str:
    value, low, high = ("-" if math.isnan(each) else str(round(100 * each)) for each in found)
    return f"{value} % [{low}, {high}]"


def _number(found: Interval) -> str:
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"


def _p_words(value: float) -> str:
    return "" if math.isnan(value) else f" (p = {_p(value)} against random sets in the same layers)"
