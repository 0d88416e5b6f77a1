"""Do a few heads carry a task? The whole protocol, for one task."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from headscope import metrics, provenance
from headscope.ability import ability
from headscope.few import verdict
from headscope.few.areas import areas, kept
from headscope.few.concentration import sweep_sizes
from headscope.few.controls import controls
from headscope.few.curves import Curve, Interval, Sample, smallest
from headscope.few.outcome import TABLES, Few, empty
from headscope.few.probes import probes
from headscope.few.settings import BESIDE, MIB_KIND, TARGETS, Settings
from headscope.few.shadow import Shadow, shadow
from headscope.few.split import split, spread
from headscope.few.study import Study, study
from headscope.few.sweep import accuracy_curves, set_curves, sweep
from headscope.methods.twins import DEFAULTS, Limits
from headscope.models import Model
from headscope.prompts import Pairs

Curves = dict[str, Curve]

DRAWS = 200
"""Resamples whose top k are kept, for the overlap between tasks."""


def few_heads(
    model: Model,
    pairs: Pairs,
    *,
    settings: Settings | None = None,
    limits: Limits = DEFAULTS,
    able: Mapping[str, Any] | None = None,
) -> Few:
    """Do a few heads carry this task? Selected on one half of the pairs, measured on the other, against controls.

    Concentration alone proves nothing, so: heads are ranked by exact patching effects on one half; on the other half,
    sets of the top k are ablated together (necessity) and kept alone (faithfulness), at sizes from one head to all;
    beside them at least 100 random sets, uniform and layer-matched, and the same model with random weights through the
    same pipeline; with the smallest k for 50, 80 and 90 %, the areas CPR and CMD of MIB, completeness and minimality,
    and how stable the choice is. The ablation that is chosen swings these numbers: several are shown side by side.

    Args:
        model: the model.
        pairs: clean and corrupted prompts in groups; at least ten groups.
        settings: what is asked; see `Settings`.
        limits: how much at once; changes speed and memory only.
        able: what `ability` says of the measuring half, if that is known already.

    Returns:
        The verdict with all its tables. A task that the model fails gets the verdict "the model does not do this task"
        and nothing else, unless `settings.regardless`. Cost in counterfactual runs: of each head for every example, and
        for those that the twin is run on too; some 40 whole sets for every held-out example, and 8 x sets for those
        that random sets are measured on. `facts["runs"]` says how many were made, without the twin's.

    Raises:
        UsageError: if there are too few groups, or one prompt is in both halves.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 4), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=24, rng=np.random.default_rng(0))
        >>> found = few_heads(model, pairs, settings=Settings(claim=0.25, sets=20, twin=False))
        >>> found.label, sorted(found.heads["label"][:2])
        ('a few heads carry it', ['L0H0', 'L1H1'])
    """
    settings = settings or Settings()
    halves = split(pairs, seed=settings.seed)
    able = able or ability(model, halves.measure, seed=settings.seed)
    facts = _facts(model, halves.select, able, settings)
    if able["status"] == "failed" and not settings.regardless:
        return _unable(pairs.task, able, facts, settings)
    found = study(model, halves, settings, limits)
    drawn = controls(found, settings)
    curves = _all_curves(found, settings)
    twin = shadow(model, halves, found, settings, limits) if settings.twin else None
    least = _smallest_rows(curves, found, settings)
    ninety: Any = least[(least["measure"] == "faithfulness") & (least["target"] == 0.9)]
    evidence = _evidence(found, drawn, twin)
    judged = verdict.criteria(evidence)
    named = verdict.label(judged)
    probed = probes(found, settings)
    facts |= _measured_facts(found, evidence, twin)
    return Few(
        task=pairs.task, unit=settings.unit, label=named,
        text=verdict.text(pairs.task, named, evidence, facts, ninety),
        facts=facts, heads=_heads(found), curve=_curve_rows(curves, len(found.order)), controls=drawn,
        smallest=least, areas=_area_rows(curves, len(found.order)),
        probes=probed, twin=empty("twin") if twin is None else twin.table, criteria=verdict.frame(judged),
    )  # fmt: skip


def _facts(model: Model, select: Pairs, able: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    names = ("accuracy", "accuracy_low", "accuracy_high", "metric", "corruption", "reason")
    told: dict[str, Any] = {name: able[name] for name in names}
    told |= {"selected": len(select), "measured": able["n"], "groups": [len(select.groups.unique()), able["groups"]]}
    told |= {"metric_unit": metrics.unit_of(select), "model": model.name, "counted": f"{settings.unit}s"}
    asked = ("ablation", "other", "direction", "by", "claim", "sets", "controlled", "resamples", "seed")
    return told | {name: getattr(settings, name) for name in asked} | {"beside": list(settings.beside)}


def _measured_facts(found: Study, evidence: verdict.Evidence, twin: Shadow | None) -> dict[str, Any]:
    half = (evidence.effect.high - evidence.effect.low) / 2
    distance = abs(evidence.effect.value - verdict.HALF)
    # Intervals shrink with the square root of the number of examples.
    needed = len(found.effects) * (half / distance) ** 2 if distance > 0 else math.inf
    facts = {
        "units": len(found.order), "k": found.k, "stability": found.choice.stability,
        "over_total": list(found.over_total()), "needed": math.ceil(needed) if math.isfinite(needed) else "very many",
        "runs": sum(found.bench.spent) + found.spent, "draws": found.draws[:DRAWS].tolist(),
    }  # fmt: skip
    if twin is not None:
        facts |= {"beside_twin": list(twin.trained), "twin_pairs": [twin.selected, twin.measured]}
    return facts


def _unable(task: str, able: Mapping[str, Any], facts: dict[str, Any], settings: Settings) -> Few:
    tables: dict[str, Any] = {name: empty(name) for name in TABLES}
    said = verdict.unable_text(task, able)
    return Few(task=task, unit=settings.unit, label=verdict.UNABLE, text=said, facts=facts, **tables)


def _all_curves(found: Study, settings: Settings) -> dict[str, Curves]:
    """Every measure under every kind of ablation; the effect and its part of the total belong to none."""
    bench, units = found.bench, len(found.order)
    curves = {
        "": {name: found.curves[name] for name in ("effect", "over_total")},
        settings.ablation: {name: found.curves[name] for name in ("necessity", "faithfulness")},
    }
    curves[settings.ablation] |= accuracy_curves(bench, found.sweep, found.sample)
    rows = spread(bench.pairs, settings.other, seed=settings.seed)
    groups, seed = bench.pairs.groups.cpu().numpy()[rows], provenance.seed_for(settings.seed, "beside")
    sample = Sample.of(groups, seed=seed, resamples_=settings.resamples)
    coarse = {found.k, *sweep_sizes(units, shares=BESIDE, up_to=0).tolist()}
    for kind in settings.kinds[1:]:
        sizes = coarse | set(kept(units).tolist() if kind == MIB_KIND else ())
        swept = sweep(bench, found.order, sizes, kind=kind, rows=rows)
        curves[kind] = set_curves(bench.main, swept, sample) | accuracy_curves(bench, swept, sample)
    return curves


def _evidence(found: Study, drawn: pd.DataFrame, twin: Shadow | None) -> verdict.Evidence:
    rows: Any = drawn[(drawn["k"] == found.k) & (drawn["control"] == "layer")]
    chance = dict(zip(rows["measure"], rows["p"], strict=True))
    total, total_drawn = found.sample.means(found.sweep.whole(found.bench.main)[:, None])
    nothing = Interval(math.nan, math.nan, math.nan)
    return verdict.Evidence(
        whole=found.sample.curve(np.array([0]), total, total_drawn).at(0),
        effect=found.curves["effect"].at(found.k),
        beyond=nothing if twin is None else twin.more,
        untrained=nothing if twin is None else twin.untrained,
        necessity=found.curves["necessity"].at(found.k),
        faithfulness=found.curves["faithfulness"].at(found.k),
        lost_by_chance=chance["necessity"],
        left_by_chance=chance["faithfulness"],
        stability=found.choice.stability,
    )


def _heads(found: Study) -> pd.DataFrame:
    units, order = found.bench.units, found.order
    single = found.sample.curve(np.arange(len(order)), *found.sample.means(found.effects))
    columns = {
        "rank": np.arange(1, len(order) + 1), "label": np.array(units.labels)[order], "layer": units.layer[order],
        "head": units.index[order], "selected": found.choice.mean[order], "value": single.value[order],
        "low": single.low[order], "high": single.high[order], "stability": found.choice.often[order],
    }  # fmt: skip
    return pd.DataFrame(columns)


def _curve_rows(curves: Mapping[str, Curves], units: int) -> pd.DataFrame:
    lines = [
        (kind, name, size, size / units, *curve.at(size), curve.reason)
        for kind, each in curves.items()
        for name, curve in each.items()
        for size in curve.size.tolist()
    ]
    return pd.DataFrame(lines, columns=list(TABLES["curve"]))


def _smallest_rows(curves: Mapping[str, Curves], found: Study, settings: Settings) -> pd.DataFrame:
    lines = []
    for kind, each in curves.items():
        coarse = kind not in ("", settings.ablation)
        for name in ("effect", "necessity", "faithfulness"):
            for target in TARGETS if name in each else ():
                size, reason = smallest(each[name], target)
                sizes = ", ".join(map(str, each[name].size.tolist()))
                told = "; ".join(filter(None, (reason, f"measured at {sizes} only" if coarse else "")))
                lines.append((kind, name, target, size.value, size.value / len(found.order), size.low, size.high, told))
    return pd.DataFrame(lines, columns=list(TABLES["smallest"]))


def _area_rows(curves: Mapping[str, Curves], units: int) -> pd.DataFrame:
    lines = []
    for kind, each in curves.items():
        curve = each.get("faithfulness")
        if curve is not None and np.isin(kept(units), curve.size).all():
            places = np.searchsorted(curve.size, kept(units))
            point, drawn = areas(curve.value[places]), areas(curve.drawn[:, places])
            for name, value, spread in zip(("CPR", "CMD"), point, drawn, strict=True):
                low, high = (np.nan, np.nan) if np.isnan(value) else np.nanquantile(spread, [0.025, 0.975])
                lines.append((kind, name, float(value), float(low), float(high)))
    return pd.DataFrame(lines, columns=list(TABLES["areas"]))
