"""What determines each part of probing a model, beside the model and the program."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.util import hash_pandas_object

from headscope import provenance
from headscope.methods.probing.results import Probes
from headscope.prompts import Labelled, Pairs


def of_ability(pairs: Pairs, seed: int) -> dict[str, Any] | None:
    """What determines how well a model does a task.

    Args:
        pairs: the examples.
        seed: of the resamples.

    Returns:
        None where a function of the user's has part in it.
    """
    if not isinstance(pairs.metric, str):
        return None
    told = [pairs.task, pairs.corruption, list(pairs.notes), pairs.consecutive]
    return {"prompts": provenance.fingerprint(pairs), "told": told, "seed": seed}


def of_use(found: Probes, label: str, pairs: Pairs, *, top: int, seed: int) -> dict[str, Any] | None:
    """What determines whether a model uses what the probes of a label read.

    Args:
        found: the study. Which heads are the strongest, and whether they exceed the baseline, depends on all labels.
        label: the set of labels.
        pairs: prompts of the task that turns on it.
        top: how many heads.
        seed: of random directions and resamples.

    Returns:
        None where a function of the user's has part in it.
    """
    what = of_ability(pairs, seed)
    if what is None:
        return None
    whole: Any = found.frame
    rows = whole[(whole["label"] == label) & (whole["site"] == "z")]
    words = isinstance(found.found[label].labels.prompts, Labelled)
    read = provenance.fingerprint(found.directions[label])
    return {**what, "label": label, "words": words, "read": read, "rows": digest(rows), "top": top}


def digest(frame: pd.DataFrame) -> str:
    """The SHA-256 of a table: its columns and rows, not its index.

    Args:
        frame: the table.

    Example:
        >>> one, other = (pd.DataFrame({"a": [1.0, last], "b": ["x", None]}) for last in (2.0, 3.0))
        >>> digest(one) == digest(one.set_index(pd.Index([5, 6]))) != digest(other)
        True
    """
    hashes: Any = hash_pandas_object
    columns: Sequence[str] = list(frame.columns)
    return hashlib.sha256(repr(columns).encode() + hashes(frame, index=False).to_numpy().tobytes()).hexdigest()
