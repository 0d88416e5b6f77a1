"""Activation patching: which heads carry what the corruption takes away, by which of their parts, and where?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from headscope import replay
from headscope.contract import Method, Score, further_name
from headscope.methods.twins import (
    DEFAULTS,
    DIRECTIONS,
    Limits,
    Swap,
    all_effects,
    check_site,
    place,
    twins,
)
from headscope.metrics import Metric, name_of, signs
from headscope.models import Model
from headscope.prompts import Pairs

QKV_PATTERN = ("q", "k", "v", "pattern")


def patching(  # noqa: PLR0913 - the contract's options and what is exchanged
    model: Model,
    pairs: Pairs,
    *,
    metrics: Sequence[Metric] = (),
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Denoising and noising of each head's z, at all positions, in both directions.

    With m the metric (minus it where lower is better, see `headscope.metrics.BETTER`), h a head, and x <- h(y) the run
    on x in which h puts out what it does on y:

        denoising(h) = m(corrupted <- h(clean)) - m(corrupted)     is the head sufficient to restore the answer?
        noising(h)   = m(clean) - m(clean <- h(corrupted))         is it necessary?

    Positive values mean that the head helps. The two are not symmetric: with a backup behind it a head can be
    sufficient and not necessary (Heimersheim & Nanda 2024, section 3).

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        metrics: further ones beside the pairs' own, such as `kl` or `accuracy`, read off the same runs.
        layers: only their heads are computed, the others are NaN; None: all.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `denoising` and `noising`, in units of the pairs' metric, and `denoising.kl` and so on for further ones, each in
        its own unit. Cost: 2 x heads counterfactual runs for each example, from the head's layer and the first
        difference on, for all metrics together.

    Raises:
        UsageError: if there is no such metric, or it does not fit the pairs' answers.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> [(value.mean(0) > 1).nonzero().tolist() for value in patching(model, pairs).values()]
        [[[0, 0], [1, 1]], [[0, 0], [1, 1]]]
        >>> list(patching(model, pairs, metrics=["kl"]))
        ['denoising', 'noising', 'denoising.kl', 'noising.kl']
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    return patch(model, pairs, metrics=metrics, layers=layers, limits=limits)


def parts(  # noqa: PLR0913 - the contract's options and what is exchanged
    model: Model,
    pairs: Pairs,
    *,
    sites: Sequence[str] = QKV_PATTERN,
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Denoising and noising of each head's query, key, value and attention pattern, at all positions.

    As `patching`, with only a part of the head exchanged: where it looks (pattern, and of that the looking, q, and the
    being looked at, k) or what it takes from there (v). The parts need not add up to the whole.

    With grouped queries several heads share a key and a value. Here every query head has its own copy, and only that
    one is exchanged; `by_group` exchanges them for the whole group.

    Args:
        model: the model; its architecture must be known.
        pairs: clean and corrupted prompts of equal length.
        sites: which parts; `z` is the whole head.
        layers: only their heads are computed, the others are NaN; None: all.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `denoising_q`, `noising_q` and so on, in units of the pairs' metric.
        Cost: 2 x heads counterfactual runs for each example and part, the first layer's attention included.

    Raises:
        UsageError: if a site is unknown, or the model's architecture is not known.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> effects = parts(model, pairs, sites=["q", "k", "v"])  # the words that matter move: what is looked at
        >>> [bool(effects[name].mean(0)[1, 1] > 1) for name in ("noising_q", "noising_k")]
        [False, True]
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    return patch(model, pairs, sites=sites, layers=layers, limits=limits)


def positions(  # noqa: PLR0913 - the contract's options and what is exchanged
    model: Model,
    pairs: Pairs,
    *,
    at: Sequence[str] = ("reading", "decision"),
    layers: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory: int | None = None,
    progress: bool = False,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Denoising and noising of each head's z at named positions only.

    A head that matters at `reading`, where the twins differ, reads what the corruption changes; one that matters at
    `decision`, where the metric reads, brings it to the answer (arXiv 2605.27824, eq. 1 with its two choices of s).

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        at: `reading`, `decision`, `all`, or positions that the task names, such as `s2`.
        layers: only their heads are computed, the others are NaN; None: all.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `denoising_reading`, `noising_reading` and so on, in units of the pairs' metric; NaN for examples that lack
        the position. Cost: 2 x heads counterfactual runs for each example and position name.

    Raises:
        UsageError: if the task has no such position.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> effects = positions(model, pairs)
        >>> [(effects[f"noising_{name}"].mean(0) > 1).nonzero().tolist() for name in ("reading", "decision")]
        [[], [[1, 1]]]
        >>> positions(model, pairs, at=["sorce"])
        Traceback (most recent call last):
        headscope.errors.UsageError: position 'sorce' of task 'induction'
          expected: one of: all, reading, decision, earlier, source, end
          to fix it: did you mean 'source'?
    """
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    return patch(model, pairs, at=at, layers=layers, limits=limits)


def patch(  # noqa: PLR0913 - what is exchanged, where, and what is measured
    model: Model,
    pairs: Pairs,
    *,
    sites: Sequence[str] = ("z",),
    at: Sequence[str] = ("all",),
    metrics: Sequence[Metric] = (),
    layers: Sequence[int] | None = None,
    limits: Limits = DEFAULTS,
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Denoising and noising of each head, for any parts of it at any named positions.

    Args:
        model: the model.
        pairs: clean and corrupted prompts of equal length.
        sites: `z`, `q`, `k`, `v`, `pattern` (for patterns, positions are those of queries).
        at: `all`, `reading` (where the twins differ), `decision` (where the metric reads), or names of the task.
        metrics: further ones beside the pairs' own.
        layers: only their heads are computed, the others are NaN; None: all.
        limits: how much at once.

    Returns:
        `{direction}_{site}_{position}`, without the site where it is z and without the position where it is all, and
        followed by `.{metric}` for further ones; NaN for examples that lack the position.

    Raises:
        UsageError: if there is no such site, position or metric, or the model's architecture does not allow the site.
    """
    for site in sites:
        check_site(site)
    for name in at:
        place(pairs, name)  # raises here, before anything runs
    singles = replay.single_heads(model.grid, layers)
    heads, which = singles.repeat(len(at), 1, 1), torch.arange(len(at)).repeat_interleave(len(singles))
    own, found = name_of(pairs), {}
    for metric, site, name, direction in product(signs(pairs, metrics), sites, at, DIRECTIONS):
        found[further_name(score_name(direction, site, name), "" if metric == own else metric)] = []
    for both in twins(model, pairs, limits, metrics):
        places = torch.stack([place(both.pairs, name) for name in at])
        for direction, site in product(DIRECTIONS, sites):
            swap = Swap(direction=direction, site=site, heads=heads, places=places, at=which)
            for metric, effect in all_effects(both, swap).items():
                values = effect.unflatten(1, (len(at), -1))
                values[~places.any(-1).T] = torch.nan
                for index, name in enumerate(at):
                    told = further_name(score_name(direction, site, name), "" if metric == own else metric)
                    found[told].append(replay.on_grid(values[:, index], model.grid, layers))
    return {name: torch.cat(values) for name, values in found.items()}


def score_name(direction: str, site: str = "z", name: str = "all") -> str:
    """What an effect is called: `{direction}_{site}_{position}`, without z and without `all`.

    Args:
        direction: of the exchange.
        site: what is exchanged.
        name: of the position.

    Example:
        >>> score_name("noising"), score_name("noising", "k"), score_name("noising", "z", "end")
        ('noising', 'noising_k', 'noising_end')
    """
    return "_".join([direction, *[site] * (site != "z"), *[name] * (name != "all")])


def _both(suffix: str, what: str) -> tuple[Score, Score]:
    restores = f"its clean {what} alone restores the answer in the corrupted run"
    damages = f"its corrupted {what} alone damages the answer in the clean run"
    return (
        Score(name=f"denoising{suffix}", meaning=restores),
        Score(name=f"noising{suffix}", meaning=damages),
    )


PATCHING = Method(
    name="patching",
    function=patching,
    needs=Pairs,
    scores=_both("", "output"),
    source="Vig et al. 2020; Heimersheim & Nanda 2024 (arXiv 2404.15255)",
    about="put a head's clean output into the corrupted run, and the other way round",
    across=False,
)
_NAMES = {"q": "query", "k": "key", "v": "value", "pattern": "attention pattern"}
PARTS = Method(
    name="parts",
    function=parts,
    needs=Pairs,
    scores=tuple(score for site in QKV_PATTERN for score in _both(f"_{site}", _NAMES[site])),
    source="Vig et al. 2020 (patterns); Heimersheim & Nanda 2024 (arXiv 2404.15255)",
    about="put only a head's query, key, value or attention pattern into the other run",
    across=False,
)
POSITIONS = Method(
    name="positions",
    function=positions,
    needs=Pairs,
    scores=(
        *(
            replace(score, absent="the twins do not differ")
            for score in _both("_reading", "output where the twins differ")
        ),
        *_both("_decision", "output where the metric reads"),
    ),
    source="arXiv 2605.27824, equation 1; Heimersheim & Nanda 2024 (arXiv 2404.15255)",
    about="put a head's output into the other run only where the twins differ, or where the metric reads",
    across=False,
)
