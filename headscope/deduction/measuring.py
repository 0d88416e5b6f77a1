"""What a study measures: all that takes a forward pass, in parts that can be kept as soon as they are there.

What is drawn from a seed, and what follows from the numbers, is made anew each time: pairs, tables, sets of heads. It
costs little beside them, and so the parts are all that there is to keep.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from headscope import provenance
from headscope.deduction.confidence import Forced, force
from headscope.deduction.controls import changes
from headscope.deduction.heads import KINDS, SCORES, Effects, role_effects
from headscope.deduction.lens import readable
from headscope.deduction.paths import Node, path_effects
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.tasks.chains import Chains, RolePairs

Arrays = dict[str, np.ndarray]
What = Mapping[str, object]
Remember = Callable[[str, What, Callable[[], Arrays]], Arrays]
"""Given a kind, what determines a part beside the model and the program, and what computes it: the part, which is read
where it is kept, and else computed and kept."""

BLOCK = 32
"""Pairs of one part. As many are held at once unless somebody says otherwise, so that parts cost no time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that is measured.

    Attributes:
        make: gives the model; called only where something is computed.
        limits: how much at once.
        name: what tells it from the model of the study, such as `untrained, seed 0`; empty for that model itself.
        remember: keeps parts; None: nothing is kept.
    """

    make: Callable[[], Model]
    limits: Limits
    name: str = ""
    remember: Remember | None = None

    def part(self, kind: str, what: What, compute: Callable[[Model], Arrays]) -> Arrays:
        """A part: read where it is kept, else computed.

        Args:
            kind: what it is called.
            what: what determines it, beside the model and the program.
            compute: computes it.
        """
        if self.remember is None:
            return compute(self.make())
        return self.remember(kind, {"of": self.name, **what}, lambda: compute(self.make()))


def effects_of(subject: Subject, pairs: RolePairs) -> Effects:
    """What each head does for a role (`headscope.deduction.heads.role_effects`), some pairs at a time.

    Args:
        subject: the model.
        pairs: clean and corrupted chains of the role.
    """

    def measure(model: Model, part: RolePairs) -> Arrays:
        found = role_effects(model, part, limits=subject.limits)
        return {".".join(key): values.cpu().numpy() for key, values in found.items()}

    found = _by_pairs(subject, "heads", pairs, measure)
    return {(kind, score): torch.tensor(found[f"{kind}.{score}"]) for kind in KINDS for score in SCORES}


def paths_of(subject: Subject, pairs: RolePairs, nodes: Sequence[Node]) -> dict[str, Float[Tensor, "example a b"]]:
    """Path patching among heads (`headscope.deduction.paths.path_effects`), some pairs at a time.

    Args:
        subject: the model.
        pairs: clean and corrupted chains of one role.
        nodes: the heads.
    """

    def measure(model: Model, part: RolePairs) -> Arrays:
        found = path_effects(model, part, nodes, limits=subject.limits)
        return {name: values.cpu().numpy() for name, values in found.items()}

    told = {"nodes": [[node.kind, *node.head] for node in nodes]}
    return {name: torch.tensor(values) for name, values in _by_pairs(subject, "paths", pairs, measure, told).items()}


def changes_of(subject: Subject, pairs: RolePairs) -> Float[np.ndarray, "example metric"]:
    """How much there is to be explained (`headscope.deduction.controls.changes`), some pairs at a time.

    Args:
        subject: the model.
        pairs: clean and corrupted chains of one role.
    """
    limits = subject.limits
    return _by_pairs(subject, "change", pairs, lambda model, part: {"all": changes(model, part, limits=limits)})["all"]


Measure = Callable[[Model, RolePairs], Arrays]


def _by_pairs(subject: Subject, kind: str, pairs: RolePairs, measure: Measure, told: What | None = None) -> Arrays:
    found: list[Arrays] = []
    for rows in torch.arange(len(pairs)).split(BLOCK):
        part = pairs.select(rows)
        what = {"pairs": provenance.fingerprint(part), **(told or {})}
        found.append(subject.part(kind, what, lambda model, part=part: measure(model, part)))
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def forced_of(subject: Subject, chains: Chains, *, shots: int) -> Forced:
    """How sure the model is of gold chains (`headscope.deduction.confidence.force`).

    Args:
        subject: the model.
        chains: gold chains.
        shots: of how many solved problems tokens are read, from the last.
    """

    def compute(model: Model) -> Arrays:
        found = force(model, chains, shots=shots)
        return {each.name: getattr(found, each.name) for each in fields(found)}

    return Forced(**subject.part("gold chains", {"chains": provenance.fingerprint(chains), "shots": shots}, compute))


def readable_of(subject: Subject, chains: Chains) -> dict[str, Float[np.ndarray, "token layer"]]:
    """What the logit lens reads of gold chains (`headscope.deduction.lens.readable`).

    Args:
        subject: the model, which can be cut open.
        chains: gold chains.
    """
    return subject.part("lens", {"chains": provenance.fingerprint(chains)}, lambda model: readable(model, chains))
