"""What every exchange between a prompt and its twin shares: both runs, what one puts into the other, and the effect."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import metrics, replay
from headscope.errors import UsageError
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs
from headscope.replay.edits import SITES

DIRECTIONS = ("denoising", "noising")
PLACES = ("all", "reading", "decision")
"""Names of positions that every task has; the others are its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is done at once; changes speed and memory only.

    Attributes:
        batch_size: examples that are held at once; None: as many as fit.
        memory: bytes for intermediate results; None: half of what is free.
        progress: draw a progress bar.
    """

    batch_size: int | None = None
    memory: int | None = None
    progress: bool = False


DEFAULTS = Limits()


@dataclass(frozen=True, eq=False, kw_only=True)
class Twins:
    """A portion of examples with the finished runs of both prompts.

    Attributes:
        pairs: the portion.
        clean, corrupted: the runs.
        memory: bytes that one exchange may take.
        progress: draw progress bars.
        signs: of each metric's name, whether higher (1) or lower (-1) is better.
    """

    pairs: Pairs = field(repr=False)
    clean: replay.Run = field(repr=False)
    corrupted: replay.Run = field(repr=False)
    memory: int
    progress: bool = False
    signs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Swap:
    """What is put into the other run.

    Attributes:
        direction: `denoising` (clean into corrupted) or `noising` (corrupted into clean).
        site: `z`, `q`, `k`, `v` or `pattern`.
        heads: which heads each edit exchanges.
        places: sets of positions, True where something is exchanged (for patterns: of queries).
        at: which set of positions each edit uses; None: all use the first.
    """

    direction: str
    site: str = "z"
    heads: Bool[Tensor, "edit layer head"]
    places: Bool[Tensor, "place example position"]
    at: Int[Tensor, " edit"] | None = None


def twins(model: Model, pairs: Pairs, limits: Limits, also: Sequence[metrics.Metric] = ()) -> Iterator[Twins]:
    """Run both prompts of every example, a portion at a time.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        limits: how much at once.
        also: further metrics, for `all_effects`.

    Raises:
        UsageError: if there is no such metric, or it does not fit the pairs' answers.
    """
    memory, signs = replay.budget(model, limits.memory), metrics.signs(pairs, also)
    for rows in replay.portions(model, pairs, batch_size=limits.batch_size, memory=memory, also=also):
        part = pairs.select(rows)
        yield Twins(
            pairs=part,
            clean=replay.start(model, part, part.tokens, also=also),
            corrupted=replay.start(model, part, part.corrupted, also=also),
            memory=memory // 2,
            progress=limits.progress,
            signs=signs,
        )


def effects(both: Twins, swap: Swap) -> Float[Tensor, "example edit"]:
    """Denoising `m(corrupted <- clean) - m(corrupted)`, or noising `m(clean) - m(clean <- corrupted)`.

    m is the metric, or minus it where lower is better (`metrics.BETTER`): positive values mean that heads help.

    Args:
        both: the runs.
        swap: what is exchanged.

    Returns:
        One effect for each example and edit, in units of the metric (double precision).

    Raises:
        UsageError: if the model's architecture does not allow the edits.
    """
    base, edits, memory, label = _exchange(both, swap)
    patched = replay.replay(base, edits, memory=memory, progress=label)
    return _sign(swap, metrics.sign_of(both.pairs)) * (patched - base.metric[:, None])


def all_effects(both: Twins, swap: Swap) -> dict[str, Float[Tensor, "example edit"]]:
    """`effects` by every metric that the twins were run for, in one sweep: the pairs' own first, each under its name.

    Args:
        both: the runs.
        swap: what is exchanged.

    Returns:
        One effect for each example and edit, in units of each metric (double precision).

    Raises:
        UsageError: if the model's architecture does not allow the edits.
    """
    base, edits, memory, label = _exchange(both, swap)
    patched = replay.measure(base, edits, memory=memory, progress=label)
    before = [base.metric, *base.also.values()]
    signs = {name: _sign(swap, sign) for name, sign in both.signs.items()}
    return {
        name: signs[name] * (value - own[:, None]) for own, (name, value) in zip(before, patched.items(), strict=True)
    }


def _sign(swap: Swap, better: int) -> int:
    """Denoising counts what the exchange gains, noising what it costs."""
    return better if swap.direction == "denoising" else -better


def _exchange(both: Twins, swap: Swap) -> tuple[replay.Run, replay.Edits, int, str]:
    """The run that is edited, the edits, the memory that is left for them, and the label of the progress bar."""
    base, donor = (both.corrupted, both.clean) if swap.direction == "denoising" else (both.clean, both.corrupted)
    at = torch.zeros(len(swap.heads), dtype=torch.long) if swap.at is None else swap.at
    room = both.memory // 4 if swap.site == "pattern" else 0
    values = _values(donor, swap.site, room)
    edits = replay.Edits(site=swap.site, heads=swap.heads, values=values, places=swap.places, at=at)
    label = f"{both.pairs.task}: {swap.direction} {swap.site}" if both.progress else ""
    return base, edits, both.memory - room, label


def check_site(site: str) -> None:
    """Raise unless there is such a site.

    Args:
        site: as given.

    Raises:
        UsageError: with the nearest name.

    Example:
        >>> check_site("patern")
        Traceback (most recent call last):
        headscope.errors.UsageError: site 'patern'
          expected: one of: z, q, k, v, pattern
          to fix it: did you mean 'pattern'?
    """
    if site not in SITES:
        raise UsageError(f"site {site!r}", f"one of: {', '.join(SITES)}", advice(site, SITES, "correct the site"))


def check_direction(direction: str) -> None:
    """Raise unless there is such a direction.

    Args:
        direction: as given.

    Raises:
        UsageError: with the nearest name.
    """
    if direction not in DIRECTIONS:
        fix = advice(direction, DIRECTIONS, "correct the direction")
        raise UsageError(f"direction {direction!r}", f"one of: {', '.join(DIRECTIONS)}", fix)


def place(pairs: Pairs, name: str) -> Bool[Tensor, "example position"]:
    """Where a named place is in each prompt; nowhere in prompts that lack it.

        all        every position
        reading    where the twins differ
        decision   where the metric reads: `end`, and under `log_probability` one more for each further answer token
        otherwise  a position that the task names

    Args:
        pairs: the prompts.
        name: of the place.

    Raises:
        UsageError: if the task has no such position.
    """
    if name == "all":
        return pairs.mask
    if name == "reading":
        return (pairs.tokens != pairs.corrupted) & pairs.mask
    if name != "decision" and name not in pairs.positions:
        known = (*PLACES, *pairs.positions)
        fix = advice(name, known, "name a position that the task has, or choose another task")
        raise UsageError(f"position {name!r} of task {pairs.task!r}", f"one of: {', '.join(known)}", fix)
    found = pairs.reads if name == "decision" else pairs.place(name)[:, None]
    columns = torch.arange(pairs.tokens.shape[1], device=found.device)
    return ((columns == found[..., None]) & (found != ABSENT)[..., None]).any(1) & pairs.mask


def advice(given: str, known: Sequence[str], otherwise: str) -> str:
    """The third part of an error about a name: the nearest one that is known.

    Args:
        given: the unknown name.
        known: names that are known.
        otherwise: what to say if none is near.

    Example:
        >>> advice("zreo", ["zero", "mean"], "correct the kind")
        "did you mean 'zero'?"
    """
    near = difflib.get_close_matches(given, known, 1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else otherwise


class _Computed(Sequence[Tensor]):
    """What stands at a site of each layer, computed when it is asked for."""

    def __init__(self, run: replay.Run, site: str, layers: int) -> None:
        self.run, self.site, self.layers = run, site, layers

    def __len__(self) -> int:
        return self.layers

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(index, slice):
            return [self.run.site(self.site, layer) for layer in range(self.layers)[index]]
        return self.run.site(self.site, range(self.layers)[index])


def _values(run: replay.Run, site: str, room: int) -> Sequence[Tensor]:
    """What stands at a site of every layer; patterns that do not fit into `room` bytes are computed anew when asked."""
    found = _Computed(run, site, len(run.z))
    if site == "pattern":
        examples, width, heads, _ = run.z[0].shape
        if len(run.z) * examples * heads * width**2 * run.z[0].element_size() > room:
            return found
    return list(found)
