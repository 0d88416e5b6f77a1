"""Evidence as sums over groups: all that tests, intervals and splits need, however many instances there were."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from headscope.errors import UsageError
from headscope.roles.records import Evidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """What a reference gets, and on which instances: sums over each group.

    Attributes:
        value: of the heads, over the instances on which both the head and the reference say something.
        reference: of the reference, over the same instances.
        count: how many those are.
        alone: of the reference, over all instances of which it says something; summed over the heads too, if it has a
            value for each.
        known: how many those are.
    """

    value: Float[np.ndarray, "group unit"]
    reference: Float[np.ndarray, "group unit"]
    count: Float[np.ndarray, "group unit"]
    alone: Float[np.ndarray, " group"]
    known: Float[np.ndarray, " group"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class About:
    """Which case of a role it is, without what its instances say: see `headscope.roles.records.Evidence`.

    Attributes:
        role: the role.
        case: its case.
        groups: of the instances.
        unit: of the values.
        reason: why there are no instances.
        also: name -> a further number of each head.
    """

    role: str
    case: str
    groups: Int[np.ndarray, " instance"]
    unit: str
    reason: str
    also: Mapping[str, Float[np.ndarray, "layer head"]]

    def __len__(self) -> int:
        return len(self.groups)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """One case of a role, summed over groups; a unit is a head of the whole model, layer by layer.

    Attributes:
        about: which case it is.
        value: sums of the heads' values.
        count: of the instances that say something of a head.
        baselines: name -> against this baseline.
        null: against the shuffled targets, or None.
        names: the label of each group, in order.
    """

    about: About
    value: Float[np.ndarray, "group unit"]
    count: Float[np.ndarray, "group unit"]
    baselines: Mapping[str, Sums]
    null: Sums | None
    names: Int[np.ndarray, " group"]


def tally(evidence: Evidence) -> Tally:
    """Sum the instances of every group.

    Args:
        evidence: a case of a role.

    Returns:
        Sums in float64. Cost: a pass over the values, and one for each baseline that misses instances; memory of two
        copies of the values while it runs.

    Raises:
        UsageError: for infinite values, or values and groups that do not fit together.

    Example:
        >>> import torch
        >>> values = torch.tensor([1.0, 0.0, 1.0, float("nan")]).view(4, 1, 1)
        >>> found = tally(Evidence(role="rare", values=values, groups=torch.tensor([0, 0, 1, 1])))
        >>> found.value.tolist(), found.count.tolist()
        ([[1.0], [1.0]], [[2.0], [1.0]])
    """
    count = len(evidence)
    values = _array(evidence.values, evidence, (count, -1))
    groups = evidence.groups.cpu().numpy()
    names, label = np.unique(groups, return_inverse=True)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))

    def total(array: Shaped[np.ndarray, "instance unit"]) -> Float[np.ndarray, "group unit"]:
        if not count:
            return np.zeros((0, array.shape[1]))
        # Row by row in memory, however the reader has laid them out: sums over rows then round alike.
        return np.ascontiguousarray(np.add.reduceat(array[order].astype(np.float64), starts, axis=0))

    present = ~np.isnan(values)
    filled = np.where(present, values, 0)
    whole = bool(present.all())
    counts = total(present)
    value = total(filled)

    def against(reference: np.ndarray) -> Sums:
        reference = reference.reshape(count, -1)
        known = ~np.isnan(reference)
        own = total(np.where(known, reference, 0))
        alone, number = own.sum(axis=1), total(known).sum(axis=1)
        if whole and bool(known.all()):
            sums = np.broadcast_to(own, value.shape)
            return Sums(value=value, reference=sums, count=counts, alone=alone, known=number)
        both = present & known
        return Sums(
            value=total(np.where(both, values, 0)),
            reference=total(np.where(both, np.broadcast_to(reference, values.shape), 0)),
            count=total(both), alone=alone, known=number,
        )  # fmt: skip

    baselines = {name: against(_array(each, evidence, (count,))) for name, each in evidence.baselines.items()}
    null = None if evidence.null is None else against(_array(evidence.null, evidence, (count, -1)))
    about = About(
        role=evidence.role, case=evidence.case, groups=groups, unit=evidence.unit, reason=evidence.reason,
        also={name: each.detach().cpu().numpy() for name, each in evidence.also.items()},
    )  # fmt: skip
    return Tally(about=about, value=value, count=counts, baselines=baselines, null=null, names=names)


def _array(tensor: Tensor, evidence: Evidence, shape: tuple[int, ...]) -> Shaped[np.ndarray, "..."]:
    """As numpy, single precision; refused where it cannot be summed."""
    array = tensor.detach().float().cpu().numpy()
    what = f"evidence of role {evidence.role!r}, case {evidence.case!r}"
    if len(array) != shape[0]:
        expected = "values, groups, baselines and null with one entry for each instance"
        raise UsageError(f"{what} with {shape[0]} groups and {len(array)} values", expected, "mend the reader")
    if np.isinf(array).any():
        raise UsageError(
            f"{what} with infinite values",
            "finite values, or NaN where an instance says nothing of a head",
            "look for an overflow in the reader or the model's dtype; try --dtype float32",
        )
    # A half without instances still has its units.
    units = int(np.prod(array.shape[1:], dtype=int))
    return array.reshape(len(array), units) if len(shape) == 2 else array
