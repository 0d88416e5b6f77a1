"""What the bundled model must reach before it ships: accuracy in every family, and recognisable heads."""

from __future__ import annotations

import pandas as pd

from headscope.plots.words import loose

QUERIES, DOCUMENTS = 0.95, 0.90
"""Least accuracy per determined word, and per whole document, in every family and named sub-family."""
ATTENTION = 0.6
"""Least mean attention of the best head for each pattern of `heads.PATTERNS` that is a gate."""
RELATION, BASELINE, LEAST = 0.8, 0.6, 30
"""A relation counts if a head's accuracy reaches .8 where the best fixed offset has at most .6, on 30 arcs or more."""
PATTERN_GATES = (
    "previous_token",
    "first_token",
    "duplicate_token",
    "induction",
    "verb_to_subject",
    "end_to_repeated_name",
    "pronoun_to_antecedent_gender",
    "pronoun_to_antecedent_winograd",
)
LISTS = frozenset({"list"})
"""Relations that only say `first of the list`: no syntax, so they do not count."""


def accuracy_gates(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Each family and sub-family with whether it reaches both accuracies."""
    passed = (accuracy["queries"] >= QUERIES) & (accuracy["documents"] >= DOCUMENTS)
    return accuracy.assign(passed=passed)


def best_heads(patterns: pd.DataFrame) -> pd.DataFrame:
    """The best head of each pattern, how many heads reach the gate, and whether it is passed."""
    best = patterns.loc[patterns.groupby("pattern", sort=False)["value"].idxmax()]
    many = patterns[patterns["value"] >= ATTENTION].groupby("pattern").size()
    return best.assign(
        heads=best["pattern"].map(many).fillna(0).astype(int),
        gate=best["pattern"].isin(PATTERN_GATES),
        passed=best["value"] >= ATTENTION,
    ).reset_index(drop=True)


def best_relations(relations: pd.DataFrame) -> pd.DataFrame:
    """The best head of each relation and direction, with its offset baseline and whether it counts."""
    best = relations.loc[relations.groupby(["relation", "direction"])["value"].idxmax()]
    counts = (best["n"] >= LEAST) & ~best["relation"].isin(LISTS)
    passed = counts & (best["value"] >= RELATION) & (best["baseline"] <= BASELINE)
    return best.assign(passed=passed).sort_values("value", ascending=False).reset_index(drop=True)


def missing(accuracy: pd.DataFrame, heads: pd.DataFrame, relations: pd.DataFrame) -> list[str]:
    """Every gate that is not passed, in words; none means that the model may ship as it is."""
    short = [
        f"{row.family} {row.kind}: {row.queries:.3f} / {row.documents:.3f}"
        for row in loose(accuracy).itertuples()
        if not row.passed
    ]
    short += [f"{row.pattern}: {row.value:.2f}" for row in loose(heads).itertuples() if row.gate and not row.passed]
    for direction in ("dependent_to_head", "head_to_dependent"):
        if not relations.loc[relations["direction"] == direction, "passed"].any():
            short.append(f"no relation {direction}")
    return short
