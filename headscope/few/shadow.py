"""The same model with random weights, through the same pipeline: what an architecture alone looks like."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs
import torch
from jaxtyping import Float

from headscope import provenance
from headscope.few.curves import Curve, Interval, Sample
from headscope.few.interventions import Bench
from headscope.few.outcome import TABLES
from headscope.few.ranking import Choice, choose, over_total, share_curve
from headscope.few.settings import Settings
from headscope.few.split import Halves, spread
from headscope.few.study import Study
from headscope.few.sweep import Side, Sweep, set_curves, sweep
from headscope.few.units import units_of
from headscope.frames import check_plain
from headscope.methods.twins import Limits
from headscope.models import Model, untrained
from headscope.prompts import Pairs

VERSION = 1
"""Raised when the numbers change, so that none are taken from an older cache."""

LARGEST = 2**31
"""Bytes of the largest file that is read back."""

Arrays = Mapping[str, Float[np.ndarray, "example column"]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Shadow:
    """The untrained twin beside the trained model, on the same examples.

    Attributes:
        table: the rows of `Few.twin`.
        untrained: the held-out share of its top k.
        trained: the same for the trained model, chosen and measured on the same examples.
        more: trained less untrained, resampled together.
        selected: pairs that both were chosen on here.
        measured: pairs that both were measured on here.
    """

    table: pd.DataFrame = field(repr=False)
    untrained: Interval
    trained: Interval
    more: Interval
    selected: int
    measured: int


def shadow(model: Model, halves: Halves, found: Study, settings: Settings, limits: Limits) -> Shadow:
    """Heads of the untrained model, selected on one half and measured on the other, as for the trained one.

    A trained and an untrained GPT-2 show the same in-sample share of effect in their top 3 % of heads. What tells them
    apart is the held-out share, the stability of the choice, and the size of the effects beside the total effect.

    Both are compared on the same `settings.shadowed` examples of each half, spread over the groups: the fewer examples
    there are to choose on, the lower the held-out share, of either. What was run is kept in the user's cache folder
    (`HEADSCOPE_CACHE` moves it; empty: nothing is kept), under a hash of the untrained weights, the prompts and the
    settings.

    Args:
        model: the trained model.
        halves: the examples.
        found: what was found on the trained model.
        settings: what is asked; its seed is the untrained model's.
        limits: how much at once.

    Returns:
        The comparison. Cost: two counterfactual runs of each head for each of these examples, or none if cached.
    """
    rows = [spread(half, settings.shadowed, seed=settings.seed) for half in halves]
    part = Halves(*(half.select(torch.from_numpy(each)) for half, each in zip(halves, rows, strict=True)))
    arrays = _arrays(model, part, settings, limits)
    picking, sample = (
        Sample.of(half.groups.cpu().numpy(), seed=provenance.seed_for(settings.seed, name), resamples_=len(found.draws))
        for half, name in zip(part, ("shadow select", "shadow measure"), strict=True)
    )
    own = choose(arrays["select"], picking, settings)
    theirs = choose(found.selecting[rows[0]], picking, settings)
    random = share_curve(arrays["measure"], own.order, sample)
    trained = share_curve(found.effects[rows[1]], theirs.order, sample)
    at = np.array([found.k - 1])
    gap = sample.curve(at, (trained.value - random.value)[at], (trained.drawn - random.drawn)[:, at])
    total = over_total(arrays["measure"], own.order, arrays["total"][:, 0], sample)
    curves = {"effect": random, "over_total": total} | _set_curves(arrays, found, sample)
    return Shadow(
        table=_rows(curves, own), untrained=random.at(found.k), trained=trained.at(found.k), more=gap.at(found.k - 1),
        selected=len(rows[0]), measured=len(rows[1]),
    )  # fmt: skip


def _arrays(model: Model, part: Halves, settings: Settings, limits: Limits) -> Arrays:
    """What was run on the twin, now or before."""
    twin = untrained(model, seed=settings.seed)
    path = _place(twin, part, settings)
    known = _read(path)
    if known is not None:
        return known
    units = units_of(twin, settings.unit)
    benches = [Bench(model=twin, pairs=half, units=units, seed=settings.seed, limits=limits) for half in part]
    (select, _), (measure, total) = (bench.effects(settings.direction) for bench in benches)
    sample = Sample.of(part.select.groups.cpu().numpy(), seed=0, resamples_=1)
    own, bench = choose(select, sample, settings), benches[1]
    swept = sweep(bench, own.order, [own.k], kind=settings.ablation)
    arrays = {
        "select": select, "measure": measure, "total": total[:, None],
        "without": swept.without.values[bench.main], "alone": swept.alone.values[bench.main],
    }  # fmt: skip
    _write(path, arrays)
    return arrays


def _set_curves(arrays: Arrays, found: Study, sample: Sample) -> dict[str, Curve]:
    name, units = found.bench.main, len(found.order)
    # A claim of all units is measured once, not beside itself.
    size = np.array(sorted({0, found.k, units}))
    without, alone = (Side(size=size, values={name: arrays[side]}) for side in ("without", "alone"))
    swept = Sweep(without=without, alone=alone)
    return set_curves(name, swept, sample)


def _rows(curves: Mapping[str, Curve], own: Choice) -> pd.DataFrame:
    lines: list[tuple] = [
        (name, size, *curve.at(size)) for name, curve in curves.items() for size in curve.size.tolist()
    ]
    lines.append(("stability", own.k, own.stability, float("nan"), float("nan")))
    return pd.DataFrame(lines, columns=list(TABLES["twin"]))


def _place(twin: Model, part: Halves, settings: Settings) -> Path | None:
    folder = os.environ.get("HEADSCOPE_CACHE", str(platformdirs.user_cache_path("headscope")))
    weights = twin.identity.get("weights_sha256")
    if not folder or not weights or not isinstance(part.select.metric, str):
        return None  # a function of the user's may have changed without changing its name
    asked = [settings.unit, settings.ablation, settings.direction, settings.by, settings.claim, settings.seed]
    facts = [VERSION, weights, twin.identity.get("dtype"), twin.device.type, asked, *map(_content, part)]
    return Path(folder) / "few" / f"{provenance.digest(json.dumps(facts).encode())[:32]}.safetensors"


def _content(pairs: Pairs) -> str:
    names = ("tokens", "corrupted", "mask", "answers", "foils", "groups", "reads")
    content = [getattr(pairs, name).tolist() for name in names]
    return provenance.digest(json.dumps([*content, str(pairs.metric)]).encode())


def _read(path: Path | None) -> Arrays | None:
    """What was kept; None where there is nothing that can be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path is None:
        return None
    try:
        check_plain(path, most=LARGEST)
        arrays = load_file(path)
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):  # types that numpy lacks
        return None
    return arrays if _fits(arrays) else None


def _fits(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays are what `_arrays` makes: they lie where others may write, too."""
    if arrays.keys() != {"select", "measure", "total", "without", "alone"}:
        return False
    if any(each.ndim != 2 or each.dtype.kind != "f" for each in arrays.values()):
        return False
    return arrays["total"].shape == (len(arrays["measure"]), 1)


def _write(path: Path | None, arrays: Arrays) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if path is None:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, part)
        part.replace(path)
    except (OSError, SafetensorError):  # a cache that cannot be written costs time, not results
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
