"""What is lost without sets of heads, in parts that can be kept: some sets and one way to remove them at a time."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from headscope import provenance
from headscope.deduction.ablation import ON_CHAINS, ON_TASK, ON_TEXT, Lost, on_chains, on_task, on_text
from headscope.deduction.freerun import Texts, Written, judged, own_texts, require_able
from headscope.deduction.measuring import Arrays, Subject
from headscope.deduction.sets import HeadSet
from headscope.deduction.texts import Text
from headscope.models import Model
from headscope.prompts import Pairs, Prompts
from headscope.tasks.chains import Chains

SETS = 64
"""Sets of heads of one part, where each is run by itself; the intact model is run once more for each part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removing:
    """Which heads are removed, and how.

    Attributes:
        sets: sets of heads; the intact model is measured first in any case.
        modes: of removal.
        seed: draws other prompts.
    """

    sets: Sequence[HeadSet]
    modes: Sequence[str]
    seed: int = 0

    def parts(self, size: int) -> Iterator[tuple[int, "Removing"]]:
        """One for each mode and some of the sets, with the place of the first of these.

        Args:
            size: how many sets at most.
        """
        for mode in self.modes:
            for start in range(0, max(1, len(self.sets)), size):
                yield start, Removing(sets=self.sets[start : start + size], modes=(mode,), seed=self.seed)

    def told(self) -> dict[str, object]:
        """What of it determines a part."""
        listed = json.dumps([[list(head) for head in each] for each in self.sets])
        return {"sets": provenance.digest(listed.encode()), "modes": list(self.modes), "seed": self.seed}


def own_chains_of(subject: Subject, chains: Chains, removing: Removing, *, able: float | None = None) -> Written:
    """The model's own chains (`headscope.deduction.freerun.on_own_chains`), some sets of heads at a time.

    Args:
        subject: the model.
        chains: whose problems are asked.
        removing: which heads are removed.
        able: the share of steps that the intact model must get right; None: any.

    Raises:
        TaskError: if it does not. Nothing is kept then.
    """

    def compute(model: Model, part: Removing) -> Texts:
        show = subject.limits.progress
        found = own_texts(model, chains, part.sets, modes=part.modes, seed=part.seed, progress=show)
        if able is not None:
            require_able(model, judged(chains, found).lost[0], least=able)
        return found

    if subject.remember is None:
        return judged(chains, compute(subject.make(), removing))
    listed = json.dumps([[each.form, each.given, each.text] for each in chains.chains])
    what = {"chains": provenance.fingerprint(chains), "texts": provenance.digest(listed.encode())}
    texts: Texts = {}
    for start, part in removing.parts(SETS):
        asked = {**what, **part.told()}
        kept = subject.part("own chains", asked, lambda model, part=part: _packed(compute(model, part)))
        for at, found in enumerate(_unpacked(kept)):
            texts[part.modes[0], start + at if at else 0] = found
    written = judged(chains, texts)
    if able is not None:  # it may have been kept by a study that did not ask
        require_able(subject.make(), written.lost[0], least=able)
    return written


def _packed(texts: Texts) -> Arrays:
    return {"texts": np.frombuffer(json.dumps(list(texts.values())).encode(), dtype=np.uint8)}


def _unpacked(arrays: Arrays) -> list[tuple[str, ...]]:
    return [tuple(each) for each in json.loads(arrays["texts"].tobytes())]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where something is lost: what it is called, its prompts, the measures with their units, and how many sets of
    heads are measured in one part (None: `SETS`)."""

    name: str
    prompts: Prompts | Text
    groups: np.ndarray
    units: Mapping[str, str]
    size: int | None = None


Measure = Callable[[Model, Removing], list[Lost]]


def lost_on_chains(subject: Subject, chains: Chains, removing: Removing) -> list[Lost]:
    """What is lost on gold chains (`headscope.deduction.ablation.on_chains`), some sets of heads at a time.

    Args:
        subject: the model.
        chains: gold chains.
        removing: which heads are removed.
    """

    def measure(model: Model, part: Removing) -> list[Lost]:
        show = subject.limits.progress
        return on_chains(model, chains, part.sets, modes=part.modes, seed=part.seed, progress=show)

    place = _Place(name="chains", prompts=chains, groups=chains.groups.numpy(), units=ON_CHAINS)
    return _lost(subject, place, removing, measure)


def lost_on_text(subject: Subject, text: Text, removing: Removing) -> list[Lost]:
    """What is lost on plain text (`headscope.deduction.ablation.on_text`), some sets of heads at a time.

    Args:
        subject: the model.
        text: the texts.
        removing: which heads are removed.
    """

    def measure(model: Model, part: Removing) -> list[Lost]:
        show = subject.limits.progress
        return on_text(model, text, part.sets, modes=part.modes, seed=part.seed, progress=show)

    place = _Place(name=text.name, prompts=text, groups=text.prompts.groups.numpy(), units=ON_TEXT)
    return _lost(subject, place, removing, measure)


def lost_on_task(subject: Subject, pairs: Pairs, removing: Removing) -> list[Lost]:
    """What is lost on another task (`headscope.deduction.ablation.on_task`), one mode at a time.

    Args:
        subject: the model.
        pairs: its examples.
        removing: which heads are removed.
    """

    def measure(model: Model, part: Removing) -> list[Lost]:
        return on_task(model, pairs, part.sets, modes=part.modes, seed=part.seed, limits=subject.limits)

    # All sets at once: which of them run together may change the last digits.
    size = max(1, len(removing.sets))
    place = _Place(name=pairs.task, prompts=pairs, groups=pairs.groups.numpy(), units=ON_TASK, size=size)
    return _lost(subject, place, removing, measure)


def _lost(subject: Subject, place: _Place, removing: Removing, measure: Measure) -> list[Lost]:
    if subject.remember is None:
        return measure(subject.make(), removing)
    found: dict[str, list[Arrays]] = {mode: [] for mode in removing.modes}
    prompts = {"where": place.name, "prompts": provenance.fingerprint(place.prompts)}
    for _, part in removing.parts(place.size or SETS):
        what = {**prompts, **part.told()}
        kept = subject.part("ablation", what, lambda model, part=part: dict(measure(model, part)[0].values))
        found[part.modes[0]].append(kept)
    return [
        Lost(
            where=place.name, mode=mode, groups=place.groups, units=place.units,
            values={name: _joined([each[name] for each in parts]) for name in place.units},
        )
        for mode, parts in found.items()
    ]  # fmt: skip


def _joined(parts: Sequence[np.ndarray]) -> Float[np.ndarray, "example set"]:
    """Values of several parts, of which each has the intact model first."""
    return np.concatenate([parts[0], *(each[:, 1:] for each in parts[1:])], axis=1)
