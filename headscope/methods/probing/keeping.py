"""The probes of one set of labels, as arrays and back: no pickle, and every number to its last bit."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from headscope import provenance
from headscope.cells import frame_from, frame_in, packed, unpacked
from headscope.methods.probing.fit import Fitted, right
from headscope.methods.probing.labels import Labels
from headscope.methods.probing.records import Linear
from headscope.methods.probing.results import Directions, Found
from headscope.methods.probing.settings import Settings

Arrays = Mapping[str, np.ndarray]
LINEAR = ("weights", "bias", "penalty", "converged", "constant")
READ = ("basis", "mean", "class_means")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What was found of one set of labels.

    Attributes:
        found: its instances and probes.
        frame: its rows of the study's table, before q.
        read: what its probes read in every head's z; None where z was not probed.
    """

    found: Found
    frame: pd.DataFrame
    read: Directions | None


def described(
    labels: Labels, settings: Settings, twin: Callable[[], Mapping[str, Any] | None] | None
) -> dict[str, Any] | None:  # fmt: skip
    """What determines the probes of a set of labels, beside the model.

    Args:
        labels: the set, as it is probed.
        settings: how.
        twin: what determines the model with random weights, if it is asked for; None: there is none.

    Returns:
        None where nothing tells the twin from others.
    """
    facts = None if twin is None else twin()
    if twin is not None and facts is None:
        return None
    words = hashlib.sha256(json.dumps([labels.values, labels.types]).encode()).hexdigest()
    instances = provenance.fingerprint(labels)
    return {"label": labels.name, "words": words, "instances": instances, "twin": facts, "how": asdict(settings)}


def pack(outcome: Outcome) -> dict[str, np.ndarray]:
    """What was found of one set of labels, as arrays.

    Args:
        outcome: what was found.
    """
    found, read = outcome.found, outcome.read
    record = {
        "baseline": found.baseline,
        "fitted": {site: _words(each) for site, each in found.fitted.items()},
        "read": None if read is None else {"label": read.label, "classes": list(read.classes)},
    }
    arrays = {"frame": frame_in(outcome.frame), "best": _array(found.best)}
    for site, each in found.fitted.items():
        arrays |= _fitted_in(site, each)
    if read is not None:
        arrays |= {f"read.{name}": _array(part) for name in READ if (part := getattr(read, name)) is not None}
    return packed(record) | arrays


def unpack(arrays: Arrays, labels: Labels) -> Outcome:
    """What `pack` was given.

    Args:
        arrays: of a cell.
        labels: the set that was probed.

    Raises:
        LookupError: if a part is missing.
        ValueError: if a part is of another shape.
        TypeError: if a part is of another kind.
    """
    record = unpacked(arrays)
    fitted = {str(site): _fitted_from(str(site), words, arrays, labels) for site, words in record["fitted"].items()}
    best = _tensor(arrays["best"], (len(labels),))
    found = Found(labels=labels, fitted=fitted, best=best, baseline=str(record["baseline"]))
    read = None if record["read"] is None else _read_from(record["read"], arrays, fitted["z"])
    return Outcome(found=found, frame=frame_from(arrays["frame"]), read=read)


def _words(fitted: Fitted) -> dict[str, Any]:
    dropped = {name: list(counts) for name, counts in fitted.dropped.items()}
    return {"kind": fitted.kind, "classes": list(fitted.classes), "dropped": dropped, "unlabelled": fitted.unlabelled}


def _fitted_in(site: str, fitted: Fitted) -> dict[str, np.ndarray]:
    # What is correct follows from predictions and labels, and classes are few.
    small = _array(fitted.predictions).astype(np.int16 if len(fitted.classes) < 2**15 else np.int64)
    arrays = {"codes": _array(fitted.codes), "fold": _array(fitted.fold), "predictions": small}
    arrays |= {name: _array(getattr(fitted.probes, name)) for name in LINEAR}
    return {f"{site}.{name}": array for name, array in arrays.items()}


def _fitted_from(site: str, words: Mapping[str, Any], arrays: Arrays, labels: Labels) -> Fitted:
    codes, fold = (_tensor(arrays[f"{site}.{name}"], (len(labels),)) for name in ("codes", "fold"))
    probes = Linear(**{name: _torch(arrays[f"{site}.{name}"]) for name in LINEAR})
    if probes.weights.ndim != 4 or probes.bias.shape != probes.weights[:, :, 0].shape:
        raise ValueError(f"weights of shape {list(probes.weights.shape)} and a bias of {list(probes.bias.shape)}")
    predictions = _tensor(arrays[f"{site}.predictions"], (len(labels), len(probes.weights))).long()
    dropped = {str(name): (int(count), int(groups)) for name, (count, groups) in words["dropped"].items()}
    return Fitted(
        kind="logistic" if words["kind"] == "logistic" else "ridge", classes=tuple(map(str, words["classes"])),
        codes=codes, dropped=dropped, unlabelled=int(words["unlabelled"]), groups=labels.groups,
        fold=fold, predictions=predictions, correct=right(predictions, codes, fold), probes=probes,
    )  # fmt: skip


def _read_from(words: Mapping[str, Any], arrays: Arrays, fitted: Fitted) -> Directions:
    parts: dict[str, Any] = {name: _torch(arrays[f"read.{name}"]) for name in READ if f"read.{name}" in arrays}
    if parts["basis"].shape[:2].numel() != len(fitted.weights):
        raise ValueError(f"directions of shape {list(parts['basis'].shape)} for {len(fitted.weights)} heads")
    shape = (len(parts["basis"]), -1)
    if "class_means" in parts:  # not of pairs, whose probes read more than one place
        parts |= {name: getattr(fitted, name).unflatten(0, shape).contiguous() for name in ("weights", "bias")}
    return Directions(label=str(words["label"]), classes=tuple(map(str, words["classes"])), **parts)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def _tensor(array: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is expected")
    return _torch(array)


def _torch(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: what was read from a file may not be written to
