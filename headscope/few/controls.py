"""Random sets of heads, as many as the top ones: what would any heads do?"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from headscope import provenance
from headscope.few.concentration import claimed
from headscope.few.outcome import TABLES
from headscope.few.settings import CONTROLLED, Settings
from headscope.few.split import spread
from headscope.few.study import Study
from headscope.few.units import Members, layer_matched_sets, uniform_sets

LESS_IS_MORE = ("accuracy_necessity", "top1_necessity")
"""Measures that are low where a set matters: what is still right without it."""


class _Drawn(NamedTuple):
    """Random sets of one size: what they are called, and each set's measures."""

    control: str
    k: int
    measures: dict[str, Float[np.ndarray, " set"]]
    own: dict[str, float]


def controls(study: Study, settings: Settings) -> pd.DataFrame:
    """The measures of random sets of heads, uniform and layer-matched, beside those of the top heads.

    Random sets are measured on some of the examples only (`settings.controlled`, spread over the groups), and there
    the top heads are measured too: both on the same examples, so that `p` is about the choice of heads alone. It is
    (1 + the sets that do at least as well) / (1 + sets), of Phipson and Smyth 2010. The effect needs no further run,
    so it is over all examples.

    Args:
        study: the model with its top heads.
        settings: what is asked.

    Returns:
        The rows of `Few.controls`. Cost: two counterfactual runs for each set, kind, size and controlled example.
    """
    units, bench = study.bench.units, study.bench
    rows = spread(bench.pairs, settings.controlled, seed=settings.seed)
    sizes = sorted({min(claimed(len(units), share), len(units) - 1) for share in (*CONTROLLED, settings.claim)})
    found = []
    for k in sizes:
        chosen = study.order[:k]
        rng = np.random.default_rng(provenance.seed_for(settings.seed, "controls", str(k)))
        for name, sets in (
            ("uniform", uniform_sets(units, k, sets=settings.sets, rng=rng)),
            ("layer", layer_matched_sets(units, chosen, sets=settings.sets, rng=rng)),
        ):
            found.append(_measured(study, [chosen, *sets], name, rows, settings.ablation))
    lines = [line for each in found for line in _lines(each, settings.ablation)]
    return pd.DataFrame(lines, columns=list(TABLES["controls"]))


def _measured(study: Study, sets: list[Members], control: str, rows: np.ndarray, kind: str) -> _Drawn:
    bench = study.bench
    everything = np.arange(len(bench.units))
    without = bench.ablated([everything[:0], everything, *sets], kind=kind, rows=rows)
    alone = bench.ablated([bench.complement(each) for each in sets], kind=kind, rows=rows)
    full, none, *lost = np.nanmean(without[bench.main], axis=0)
    left = np.nanmean(alone[bench.main], axis=0)
    whole = full - none if full > none else np.nan
    measures = {
        "necessity": (full - np.array(lost)) / whole,
        "faithfulness": (left - none) / whole,
        "effect": _effect_shares(study, sets),
    }
    for label, metric in (("accuracy", bench.accuracy), ("top1", "accuracy")):
        measures[f"{label}_necessity"] = np.nanmean(without[metric], axis=0)[2:]
        measures[f"{label}_faithfulness"] = np.nanmean(alone[metric], axis=0)
    own = {name: float(values[0]) for name, values in measures.items()}
    return _Drawn(control, len(sets[0]), {name: values[1:] for name, values in measures.items()}, own)


def _effect_shares(study: Study, sets: list[Members]) -> Float[np.ndarray, " set"]:
    mean = study.effects.mean(axis=0)
    whole = np.clip(mean, 0, None).sum()
    return np.array([mean[each].sum() for each in sets]) / (whole if whole > 0 else np.nan)


def _lines(drawn: _Drawn, kind: str) -> list[tuple]:
    lines = []
    for measure, values in drawn.measures.items():
        own = drawn.own[measure]
        if np.isnan(values).any() or np.isnan(own):
            mean = low = high = p = np.nan
        else:
            mean, (low, high) = values.mean(), np.quantile(values, [0.025, 0.975])
            # Sets that are equal on paper differ by rounding, and must count as equal.
            slack = 1e-5 * max(1.0, abs(own))
            beaten = values <= own + slack if measure in LESS_IS_MORE else values >= own - slack
            p = (1 + beaten.sum()) / (1 + len(values))
        lines.append((kind, measure, drawn.control, drawn.k, len(values), mean, low, high, p))
    return lines
