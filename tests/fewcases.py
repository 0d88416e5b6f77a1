"""A synthetic verdict on the few heads of a task, with believable numbers, for the tests of what is shown of one."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from headscope.few.outcome import TABLES, Few, empty
from headscope.few.verdict import FEW, UNABLE

HEADS = 96
SWEEP = (0, *range(1, 11), 19, 29, 48, 72, 96)
BESIDE = (0, 1, 3, 4, 9, 19, 48, 96)
SHARES = {"resample": 1.0, "mean": 0.9, "zero": 1.25}
"""Every kind of ablation with how much larger its numbers are."""

TEXT = (
    "A few heads carry this task: 3 of 96 heads (3.1 %), selected on 100 examples and measured on 100 others, are "
    "necessary (62 % of the logit difference is lost without them, 95 % interval [55 %, 69 %]) and 12 suffice for 90 %."
)


def invented(task: str = "ioi", *, few: int = 3, seed: int = 0) -> Few:
    """A task that `few` of 96 heads carry.

    Args:
        task: its name.
        few: after how many heads the curves bend.
        seed: another seed, other heads.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "task": task, "unit": "head", "label": FEW, "text": TEXT,
        "facts": {"metric": "logit_difference", "metric_unit": "logits", "direction": "denoising", "by": "value",
                  "ablation": "resample", "measured": 100, "selected": 98, "groups": [11, 12], "seed": seed,
                  "sets": 100, "claim": 0.03, "k": 3, "units": HEADS, "counted": "heads", "stability": 0.71,
                  "runs": 123456,
                  "accuracy": 0.97, "accuracy_low": 0.93, "accuracy_high": 0.99, "model": "mini",
                  "over_total": [0.5, 0.4, math.nan], "draws": [[0, 1, 2], [0, 1, 3]], "needed": 40},
        "heads": _heads(rng, few), "curve": _curve(few), "controls": _controls(), "smallest": _smallest(few),
        "areas": _areas(), "probes": _probes(few), "twin": _twin(), "criteria": _criteria(),
    }  # fmt: skip
    for name, columns in TABLES.items():
        assert tuple(values[name].columns) == columns
    return Few(**values)


def failed(task: str = "agreement") -> Few:
    """The verdict on a task that the model does not do: nothing but words."""
    text = "The model does not do this task (accuracy 52 %, 95 % interval [45 %, 59 %], n = 200)."
    tables: dict[str, Any] = {name: empty(name) for name in TABLES}
    return replace(invented(task), label=UNABLE, text=text, **tables)


def shared(tasks: tuple[str, ...] = ("ioi", "induction", "agreement")) -> pd.DataFrame:
    """The overlap between tasks; the last pair shares nothing and has no interval."""
    rows = [
        {"one": one, "other": other, "shared": "L0H1 L2H3", "jaccard": 0.5, "low": 0.2, "high": 0.8, "chance": 0.016}
        for place, one in enumerate(tasks)
        for other in tasks[place + 1 :]
    ]
    rows[-1] |= {"shared": "", "jaccard": 0.0, "low": np.nan, "high": np.nan}
    return pd.DataFrame(rows)


def _heads(rng: np.random.Generator, few: int) -> pd.DataFrame:
    order = rng.permutation(HEADS)
    selected = np.sort(rng.exponential(0.01, HEADS) + (np.arange(HEADS) < few) * 0.3)[::-1]
    value = selected * 0.85 + rng.normal(0, 0.005, HEADS)
    stability = np.clip(1.2 - 0.15 * np.arange(HEADS), 0.0, 1.0)
    return pd.DataFrame(
        {
            "rank": np.arange(1, HEADS + 1), "label": [f"L{i // 12}H{i % 12}" for i in order], "layer": order // 12,
            "head": order % 12, "selected": selected, "value": value, "low": value - 0.02, "high": value + 0.02,
            "stability": stability,
        }
    )  # fmt: skip


def _part(k: int, bend: float) -> float:
    """How a part of everything grows with the number of heads: all heads reach 1."""
    return float((1 - np.exp(-k / bend)) / (1 - np.exp(-HEADS / bend)))


def _curve(few: int) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for k in SWEEP[1:]:
        value = _part(k, few / 1.5)
        rows += [_row("", "effect", k, value), _row("", "over_total", k, 0.8 * value)]
    for kind, size in SHARES.items():
        for k in SWEEP if kind == "resample" else BESIDE:
            lost, left = (min(_part(k, few * bend / size), 1.02) for bend in (0.8, 1.5))
            rows += [_row(kind, "necessity", k, lost), _row(kind, "faithfulness", k, left)]
            rows += [_row(kind, "accuracy_necessity", k, 0.97 - 0.9 * lost)]
            rows += [_row(kind, "accuracy_faithfulness", k, 0.5 + 0.47 * left)]
            rows += [_row(kind, "top1_necessity", k, 0.9 - 0.88 * _part(k, 2))]
            rows += [_row(kind, "top1_faithfulness", k, _part(k, 20))]
    return pd.DataFrame(rows, columns=list(TABLES["curve"]))


def _row(kind: str, measure: str, k: int, value: float) -> dict[str, Any]:
    row = {"ablation": kind, "measure": measure, "k": k, "share": k / HEADS, "value": value, "reason": ""}
    return row | {"low": value - 0.07, "high": value + 0.05}


def _controls() -> pd.DataFrame:
    rows = []
    for name in ("effect", "necessity", "faithfulness"):
        for control, half in (("uniform", 0.08), ("layer", 0.15)):
            for k in (1, 3, 5, 10, 19):
                mean = k / HEADS * (1 if control == "uniform" else 1.6)
                row = {"ablation": "resample", "measure": name, "control": control, "k": k, "sets": 100, "mean": mean}
                rows.append(row | {"low": mean - half, "high": mean + half, "p": 1 / 101})
    return pd.DataFrame(rows, columns=list(TABLES["controls"]))


def _smallest(few: int) -> pd.DataFrame:
    rows = []
    for name, times in (("effect", 0.7), ("necessity", 0.8), ("faithfulness", 1.5)):
        for target in (0.5, 0.8, 0.9):
            k = float(np.ceil(-few * times * np.log(1 - target)))
            row = {"ablation": "" if name == "effect" else "resample", "measure": name, "target": target, "k": k}
            rows.append(row | {"share": k / HEADS, "low": max(k - 1, 1.0), "high": k + 2, "reason": ""})
    rows[5] |= {"high": np.nan, "reason": "more than 2.5 % of the resamples do not reach it with 96"}
    rows[8] |= {"k": np.nan, "share": np.nan, "low": 70.0, "high": np.nan, "reason": "not <reached> with up to 96"}
    return pd.DataFrame(rows, columns=list(TABLES["smallest"]))


def _areas() -> pd.DataFrame:
    rows = [(kind, name, value, value - 0.03, value + 0.04) for kind in SHARES for name, value in AREAS.items()]
    return pd.DataFrame(rows, columns=list(TABLES["areas"]))


AREAS = {"CPR": 0.92, "CMD": 0.085}


def _probes(few: int) -> pd.DataFrame:
    rows = [("completeness", "L0H1", 1, 0.1, 0.02, 0.2, ""), ("minimality", "L2H3", few, 0.05, 0.01, 0.09, "")]
    return pd.DataFrame(rows, columns=list(TABLES["probes"]))


def _twin() -> pd.DataFrame:
    rows = [
        (name, k, value, value - 0.1, value + 0.1)
        for name, size in (("effect", 0.9), ("necessity", 0.3), ("faithfulness", 0.15))
        for k in SWEEP[1:]
        for value in [size * _part(k, 6)]
    ]
    return pd.DataFrame([*rows, ("stability", 3, 0.1, np.nan, np.nan)], columns=list(TABLES["twin"]))


def _criteria() -> pd.DataFrame:
    rows = [
        ("necessity at 3 %", 0.62, 0.55, 0.69, "above .50", True, "what is lost when the top 3 % are ablated"),
        ("against random heads", 0.01, np.nan, np.nan, "p < .05", True, "random sets that do as well"),
        ("stability", 0.71, 0.5, 0.9, "above .60", True, "mean overlap of the sets that two resamples select"),
        ("faithfulness at 3 %", 0.44, 0.36, 0.51, "above .80", False, "what the top 3 % keep alone"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["criteria"]))
