"""From evidence to scores: every case of every role, for every head, on held-out instances and against its nulls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import stdtr

from headscope.grid import Grid
from headscope.roles.records import ELSEWHERE, Evidence
from headscope.roles.table import ROLES, Role
from headscope.roles.tally import Sums, Tally, tally
from headscope.statistics import benjamini_hochberg, halves
from headscope.statistics.bootstrap import percentiles, resamples, skewness

COLUMNS = (
    "role", "case", "layer", "head", "value", "low", "high", "n", "groups", "baseline", "baseline_name", "difference",
    "difference_low", "difference_high", "null", "elsewhere", "p", "q", "threshold", "margin", "best", "passed",
    "confidence", "unit", "reason",
)  # fmt: skip
"""Of the table of scores, one row for each case of a role and head."""

LEVEL = 0.05
"""The false discovery rate over all heads, roles and cases of a study."""

UNPROPOSED = "no q: the rule is not met on the half that puts heads forward"
LEAST_INSTANCES, LEAST_GROUPS = 20, 5
"""On the held-out half: fewer cannot show a role, and are not tested."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """One case of a role on the half that chose nothing; a unit is a head of the whole model, layer by layer.

    Attributes:
        tally: what it is of.
        held: the groups of that half.
        value: the means of the heads.
        count: their instances.
        groups: their groups.
        against: what the chosen baseline gets; None where there is none.
        baseline: its name.
        null: what the shuffled targets get; None where there are none.
        p: that a head exceeds baseline and null; NaN where that cannot be tested.
        best: the head that was best on the other half.
        candidate: heads that met threshold and margin, and exceeded the null, on the other half.
    """

    tally: Tally
    held: Bool[np.ndarray, " group"]
    value: Float[np.ndarray, " unit"]
    count: Float[np.ndarray, " unit"]
    groups: Float[np.ndarray, " unit"]
    against: Sums | None
    baseline: str
    null: Sums | None
    p: Float[np.ndarray, " unit"]
    best: Bool[np.ndarray, " unit"]
    candidate: Bool[np.ndarray, " unit"]

    @property
    def difference(self) -> Float[np.ndarray, " unit"]:
        """The mean value less the baseline's mean, on the instances of both."""
        if self.against is None:
            return np.full(len(self.value), np.nan)
        return _mean(self.against.value - self.against.reference, self.against.count)

    @property
    def role(self) -> Role:
        """The rule."""
        return ROLES[self.tally.about.role]


def decide(tallied: Tally, *, seed: int, swapped: bool = False) -> Decision:
    """Choose the best baseline and the best head on one half of the groups, and measure on the other.

    Args:
        tallied: a case of a role.
        seed: of the halves.
        swapped: choose on the second half and measure on the first.
    """
    held, chosen = _halves(tallied, seed, swapped=swapped)
    name = _best_baseline(tallied, chosen)
    against = _take(tallied.baselines[name], held) if name else None
    null = None if tallied.null is None else _take(tallied.null, held)
    count = tallied.count[held].sum(axis=0)
    groups = (tallied.count[held] > 0).sum(axis=0).astype(float)
    tests = [_exceeds(each) for each in (against, null) if each is not None]
    # A head must exceed both: the larger p is a test of "it does not exceed one of them" (intersection-union).
    p = np.maximum.reduce(tests) if tests else np.full(len(count), np.nan)
    p = np.where((count >= LEAST_INSTANCES) & (groups >= LEAST_GROUPS), p, np.nan)
    return Decision(
        tally=tallied, held=held, value=_mean(tallied.value[held], tallied.count[held]), count=count, groups=groups,
        against=against, baseline=name, null=null, p=p, best=_best_head(tallied, chosen),
        candidate=_candidates(tallied, chosen, name),
    )  # fmt: skip


def passes(decision: Decision, q: Float[np.ndarray, " unit"]) -> Bool[np.ndarray, " unit"]:
    """Whether a head has this case of the role.

    Args:
        decision: the case.
        q: of the heads, over the whole study.
    """
    rule = decision.role
    good = (
        decision.candidate & (q <= LEVEL) & (_or_better(decision.difference, rule.margin) | (decision.against is None))
    )
    if rule.threshold is not None:
        good &= _or_better(decision.value, rule.threshold)
    for _, least, numbers in _further(decision):
        good &= _or_better(numbers, least)
    return good


def judge(evidence: Sequence[Evidence], *, grid: Grid, seed: int, n_resamples: int = 1000) -> pd.DataFrame:
    """Score every head in every case of every role, and decide by the rules of `headscope.roles.ROLES`.

    Groups are split into two halves. On the first the best baseline and the best head are chosen, and the heads put
    forward that meet threshold and margin there; everything that is reported is measured on the second. A head that was
    put forward passes where its value reaches the rule's threshold and exceeds the baseline by the rule's margin again,
    both by its point estimate, and q <= .05 over all heads, roles and cases that were put forward (Benjamini-Hochberg;
    the halves share no group, so the choice is independent of the tests), in a one-sided test that it exceeds the
    baseline and (intersection-union) the shuffled targets.

    The test is a t-test of the mean difference with groups as clusters. Its degrees of freedom are those of the
    effective number of groups (Kish: groups of unequal size count for fewer), and its standard error is never below one
    instance in all. Heads with fewer than 20 instances or 5 groups on the measured half are not tested. Of hits and
    misses under the null, in 5 to 100 groups, equal or not, dependent within or not, at most 1.4 times as many p-values
    lie below .05, .01, .001 as should (`tests/roles/test_judge.py`).

    Args:
        evidence: cases of roles.
        grid: the model's layers and heads.
        seed: of halves and resamples.
        n_resamples: of the groups, for intervals and confidence; shared by all heads.

    Returns:
        The columns `COLUMNS`. `low` and `high`, `difference_low` and `difference_high` are 95 % group-bootstrap
        intervals; `baseline` is the chosen one's mean on the head's instances and `null` that of the shuffled targets;
        `n` and `groups` count the measured half; `elsewhere` is what the head gets where another word at such a
        distance looks (syntax only, on all instances; it tells a link from a noun that all words look at, and no rule
        reads it); `best` marks the head that was best on the other half; `confidence` is the share of resamples in
        which threshold and margin hold and the null is exceeded; `p` is there for every head that can be tested, `q`
        for those that were put forward. What is absent is NaN, with a reason. Sources: Liang and Zeger 1986 (clustered
        errors); Carter, Schnepel and Steigerwald 2017 (effective number of clusters); Berger 1982 (intersection-union);
        Bourgon, Gentleman and Huber 2010 (independent filtering).

    Raises:
        UsageError: for infinite values.

    Example:
        >>> import torch
        >>> hits = torch.zeros(100, 1, 2)
        >>> hits[:, 0, 1] = 1
        >>> case = Evidence(role="syntax", case="det to head", values=hits, groups=torch.arange(100) // 2,
        ...                 baselines={"offset +1": torch.tensor([1.0, 0.0]).repeat(50)})
        >>> judge([case], grid=Grid(1, 2), seed=0)[["value", "baseline", "passed", "best"]].values.tolist()
        [[0.0, 0.5, False, False], [1.0, 0.5, True, True]]
    """
    return judge_tallies([tally(each) for each in evidence], grid=grid, seed=seed, n_resamples=n_resamples)


def judge_tallies(tallies: Sequence[Tally], *, grid: Grid, seed: int, n_resamples: int = 1000) -> pd.DataFrame:
    """`judge` from sums over groups.

    Args:
        tallies: cases of roles.
        grid: as for `judge`.
        seed: as for `judge`.
        n_resamples: as for `judge`.
    """
    decisions = [decide(each, seed=seed) for each in tallies]
    if not decisions:
        return pd.DataFrame(columns=pd.Index(COLUMNS))
    q = adjusted(decisions)
    spread = [_spread(each, seed=seed, n_resamples=n_resamples) for each in decisions]
    frames = [_rows(each, q[index], spread[index], grid) for index, each in enumerate(decisions)]
    return pd.concat(frames, ignore_index=True).loc[:, list(COLUMNS)]


def adjusted(decisions: Sequence[Decision]) -> list[Float[np.ndarray, " unit"]]:
    """The q-values over the heads and cases of a study that one half put forward, one array for each case.

    The others are NaN: the half on which they would be tested had no part in leaving them out.

    Args:
        decisions: all cases.
    """
    sizes = np.cumsum([len(each.p) for each in decisions])[:-1]
    tested = [np.where(each.candidate, each.p, np.nan) for each in decisions]
    return np.split(benjamini_hochberg(np.concatenate(tested)), sizes)


def _halves(tallied: Tally, seed: int, *, swapped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which groups measure, and which choose; a single group can do neither, and is left to measure."""
    if len(tallied.names) < 2:
        everything = np.ones(len(tallied.names), dtype=bool)
        return everything, ~everything
    groups = tallied.about.groups
    first, _ = halves(groups, seed=seed)
    chosen = np.isin(tallied.names, groups[first])
    return (chosen, ~chosen) if swapped else (~chosen, chosen)


def _take(sums: Sums, held: Bool[np.ndarray, " group"]) -> Sums:
    return Sums(
        value=sums.value[held], reference=sums.reference[held], count=sums.count[held], alone=sums.alone[held],
        known=sums.known[held],
    )  # fmt: skip


def _best_baseline(tallied: Tally, chosen: Bool[np.ndarray, " group"]) -> str:
    scores = {
        name: float(each.alone[chosen].sum() / max(each.known[chosen].sum(), 1))
        for name, each in tallied.baselines.items()
    }
    return max(scores, key=lambda name: scores[name], default="")


def _best_head(tallied: Tally, chosen: Bool[np.ndarray, " group"]) -> Bool[np.ndarray, " unit"]:
    value = _mean(tallied.value[chosen], tallied.count[chosen])
    best = np.zeros(len(value), dtype=bool)
    if not np.isnan(value).all():
        best[np.nanargmax(value)] = True
    return best


def _candidates(tallied: Tally, chosen: Bool[np.ndarray, " group"], name: str) -> Bool[np.ndarray, " unit"]:
    """The heads that the half that chooses puts forward: by its point estimates they meet the rule."""
    rule = ROLES[tallied.about.role]
    value = _mean(tallied.value[chosen], tallied.count[chosen])
    good = ~np.isnan(value) if rule.threshold is None else _or_better(value, rule.threshold)
    for sums, least in ((tallied.baselines.get(name), rule.margin), (tallied.null, 0.0)):
        if sums is not None:
            part = _take(sums, chosen)
            good &= _or_better(_mean(part.value - part.reference, part.count), least)
    return good


def _mean(sums: Float[np.ndarray, "group unit"], counts: Float[np.ndarray, "group unit"]) -> Float[np.ndarray, " unit"]:
    total = counts.sum(axis=0)
    return sums.sum(axis=0) / np.where(total > 0, total, np.nan)


def _exceeds(sums: Sums) -> Float[np.ndarray, " unit"]:
    """One-sided p-values of "the mean difference is 0 or less", by a t-test with clustered errors."""
    excess, count = sums.value - sums.reference, sums.count
    total, groups = count.sum(axis=0), (count > 0).sum(axis=0)
    mean = _mean(excess, count)
    spread = ((excess - count * np.nan_to_num(mean)) ** 2).sum(axis=0) * groups / np.maximum(groups - 1, 1)
    effective = total**2 / np.maximum((count**2).sum(axis=0), 1)
    # Where all groups agree their spread says nothing: the error is then at least what one instance more could add.
    t = mean * total / np.maximum(np.sqrt(spread), 1)
    return np.where(groups >= 2, stdtr(np.maximum(effective - 1, 1), -t), np.nan)


def _or_better(values: Float[np.ndarray, "*shape"], least: float) -> Bool[np.ndarray, "*shape"]:
    return values >= least - 1e-9  # a mean of tenths is not always the tenth that it is on paper


def _further(decision: Decision) -> list[tuple[str, float, Float[np.ndarray, " unit"]]]:
    """Name, least value and values of the further numbers that the rule reads."""
    have = decision.tally.about.also
    return [(name, least, have[name].reshape(-1)) for name, least in decision.role.also if name in have]


def _spread(decision: Decision, *, seed: int, n_resamples: int) -> dict[str, Float[np.ndarray, " unit"]]:
    """Intervals of value and difference, and the share of resamples in which the rule holds."""
    held, units = decision.held, len(decision.value)
    names = ("low", "high", "difference_low", "difference_high", "confidence")
    if not held.any():
        return {name: np.full(units, np.nan) for name in names}
    weights = resamples(np.arange(int(held.sum())), seed=seed, n_resamples=n_resamples)
    value, count = decision.tally.value[held], decision.tally.count[held]
    zero = np.zeros_like(value)
    own = Sums(value=value, reference=zero, count=count, alone=zero[:, 0], known=zero[:, 0])
    draws = _draws(own, weights)
    low, high = _limits(own, draws, decision.groups)
    rule = decision.role
    holds = np.ones_like(draws, dtype=bool) if rule.threshold is None else _or_better(draws, rule.threshold)
    limits = np.full(units, np.nan), np.full(units, np.nan)
    if decision.against is not None:
        beyond = _draws(decision.against, weights)
        limits = _limits(decision.against, beyond, decision.groups)
        holds &= _or_better(beyond, rule.margin)
    if decision.null is not None:
        holds &= _draws(decision.null, weights) > 0
    known = ~np.isnan(draws)
    seen = known.sum(axis=0)
    confidence = (holds & known).sum(axis=0) / np.where((seen > 0) & (decision.groups >= 2), seen, np.nan)
    return dict(zip(names, (low, high, *limits, confidence), strict=True))


def _draws(sums: Sums, weights: Float[np.ndarray, "resample group"]) -> Float[np.ndarray, "resample unit"]:
    counts = weights @ sums.count
    with np.errstate(invalid="ignore"):
        return (weights @ (sums.value - sums.reference)) / np.where(counts > 0, counts, np.nan)


def _limits(
    sums: Sums, draws: Float[np.ndarray, "resample unit"], groups: Float[np.ndarray, " unit"]
) -> tuple[Float[np.ndarray, " unit"], Float[np.ndarray, " unit"]]:
    skewed = skewness(sums.value - sums.reference, sums.count)
    return percentiles(draws, groups.astype(int), 0.95, expand=True, acceleration=skewed)


def _rows(
    decision: Decision, q: Float[np.ndarray, " unit"], spread: dict[str, Float[np.ndarray, " unit"]], grid: Grid
) -> pd.DataFrame:
    about, rule, units = decision.tally.about, decision.role, len(decision.value)
    layers, heads = np.divmod(np.arange(units), grid.heads)
    absent = np.full(units, np.nan)
    baseline = absent if decision.against is None else _mean(decision.against.reference, decision.against.count)
    null = absent if decision.null is None else _mean(decision.null.reference, decision.null.count)
    elsewhere = about.also.get(ELSEWHERE, absent)
    columns = {
        "role": about.role, "case": about.case, "layer": layers, "head": heads, "value": decision.value,
        "n": decision.count.astype(int), "groups": decision.groups.astype(int), "baseline": baseline,
        "baseline_name": decision.baseline, "difference": decision.difference, "null": null,
        "elsewhere": elsewhere.reshape(-1), "p": decision.p, "q": q,
        "threshold": np.nan if rule.threshold is None else rule.threshold, "margin": rule.margin,
        "best": decision.best, "passed": passes(decision, q), "unit": about.unit, "reason": _reasons(decision),
        **spread,
    }  # fmt: skip
    return pd.DataFrame(columns)


def _reasons(decision: Decision) -> list[str]:
    about = decision.tally.about
    if not len(about):
        return [about.reason or "no instance"] * len(decision.value)
    little = f"fewer than {LEAST_INSTANCES} in {LEAST_GROUPS} groups: not tested"
    told = [
        f"{int(count)} held-out instances in {int(groups)} groups: {little}" if np.isnan(p)
        else about.reason if forward else UNPROPOSED
        for count, groups, p, forward in zip(
            decision.count, decision.groups, decision.p, decision.candidate, strict=True
        )
    ]  # fmt: skip
    for name, least, numbers in _further(decision):
        told = [
            f"{why}; {name} {number:.2f}, which should be {least:.2f} or more".removeprefix("; ")
            if number < least else why
            for why, number in zip(told, numbers, strict=True)
        ]  # fmt: skip
    return told
