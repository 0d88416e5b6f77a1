"""Is the set of top heads complete, and is each of its members needed?"""

from itertools import chain, combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from headscope import provenance
from headscope.few.curves import Interval, Sample
from headscope.few.outcome import TABLES
from headscope.few.settings import Settings
from headscope.few.split import spread
from headscope.few.study import Study
from headscope.few.units import Members

SUBSETS = 5
"""Up to so many members all their subsets are tried; beyond, random ones, and those that minimality needs."""

RANDOM = 20


def probes(study: Study, settings: Settings) -> pd.DataFrame:
    """Completeness and minimality of the top k heads C, after Wang et al. 2022 (section 4).

    With F(X) the metric where all heads outside X are ablated, and M all heads:

        completeness  max over K in C of |F(C less K) - F(M less K)|    0: C lacks nothing that stands in for K
        minimality    of v in C: max over K of |F(C less K and v) - F(C less K)|    small: v is not needed in C

    both as parts of what all heads together make, F(M) - F(none). K runs through all subsets of up to five members;
    beyond, through 20 random ones, none and all but v, so that the worst case is a lower bound.

    Args:
        study: the model with its top heads.
        settings: what is asked.

    Returns:
        The rows of `Few.probes`, on the controlled examples, with their 95 % intervals. Cost: two runs for each subset
        and controlled example.
    """
    bench, rows = study.bench, spread(study.bench.pairs, settings.controlled, seed=settings.seed)
    subsets = _subsets(study.top, settings)
    removed = [np.array(sorted(each), dtype=np.int64) for each in subsets]
    everything = np.arange(len(bench.units))
    left = [np.setdiff1d(study.top, each) for each in removed]
    without = bench.ablated([everything[:0], everything, *removed], kind=settings.ablation, rows=rows)[bench.main]
    alone = bench.ablated([bench.complement(each) for each in left], kind=settings.ablation, rows=rows)[bench.main]
    sample = Sample.of(
        bench.pairs.groups.cpu().numpy()[rows],
        seed=provenance.seed_for(settings.seed, "probes"),
        resamples_=settings.resamples,
    )
    whole = without[:, 0] - without[:, 1]
    lines = [_complete(study, sample, (removed, alone - without[:, 2:], whole))]
    lines += [_minimal(study, sample, member, (subsets, alone, whole)) for member in study.top.tolist()]
    return pd.DataFrame(lines, columns=list(TABLES["probes"]))


def _subsets(members: Members, settings: Settings) -> list[frozenset[int]]:
    names = members.tolist()
    if len(names) <= SUBSETS:
        every = chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))
        return [frozenset(each) for each in every]
    rng = np.random.default_rng(provenance.seed_for(settings.seed, "subsets"))
    drawn = [frozenset(members[rng.random(len(names)) < 0.5].tolist()) for _ in range(RANDOM)]
    single = [frozenset([name]) for name in names]
    rest = [frozenset(names) - {name} for name in names]
    return list(dict.fromkeys([frozenset(), frozenset(names), *single, *rest, *drawn]))


def _complete(study: Study, sample: Sample, measured: tuple) -> tuple:
    removed, gap, whole = measured
    found, reason = _largest(sample, gap, whole)
    members = "+".join(study.bench.units.labels[unit] for unit in removed[found[0]]) or "none"
    return "completeness", members, study.k, *found[1], reason


def _minimal(study: Study, sample: Sample, member: int, measured: tuple) -> tuple:
    subsets, alone, whole = measured
    place = {each: index for index, each in enumerate(subsets)}
    pairs = [
        (place[each], place[each | {member}]) for each in subsets if member not in each and each | {member} in place
    ]
    before, after = (np.array(column) for column in zip(*pairs, strict=True))
    found, reason = _largest(sample, alone[:, before] - alone[:, after], whole)
    return "minimality", study.bench.units.labels[member], study.k, *found[1], reason


def _largest(
    sample: Sample, gap: Float[np.ndarray, "example set"], whole: Float[np.ndarray, " example"]
) -> tuple[tuple[int, Interval], str]:
    """The largest mean gap whatever its sign, with its interval; chosen on these examples, which flatters it."""
    places: Int[np.ndarray, " set"] = np.arange(gap.shape[1])
    curve = sample.ratio_curve(places, gap, whole)
    if curve.reason:
        return (0, Interval(np.nan, np.nan, np.nan)), curve.reason
    worst = int(np.nanargmax(np.abs(curve.value)))
    value, low, high = curve.at(worst)
    return (worst, Interval(value, low, high) if value >= 0 else Interval(-value, -high, -low)), ""
