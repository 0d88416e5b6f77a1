"""What is lost without the selected heads, beside what is lost without random ones: on chains, tasks and plain text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope import replay, statistics
from headscope.deduction.confidence import gold_tokens
from headscope.deduction.forward import MODES, Batch, Read, Removal, batches, check_mode, read_gold, removed
from headscope.deduction.sets import HeadSet, layer_matched, named, uniform
from headscope.deduction.texts import Text
from headscope.methods.ablation import ablate_sets
from headscope.methods.twins import DEFAULTS, Limits
from headscope.models import Model
from headscope.progress import track
from headscope.prompts import Pairs, Prompts
from headscope.tasks.chains import COMPONENTS, DECISIONS, Chains

STEPPED = (*DECISIONS, "fact_derivation", "answer")
"""Components that make a step right: its premises, where they end, its rule, what follows, and the answer at last."""

MEASURES = {
    "step_accuracy": "share of steps whose every deciding token is the likeliest, given the gold chain before it",
    "exact": "share of chains whose every deciding token is",
    "format_failures": "share of gold tokens in whose place the model would say a token that no chain has there",
    "wrong_answers": "share of gold tokens in whose place it would say another token of that component",
    "surprisal": "mean surprisal of gold tokens",
}
"""What is measured on chains."""

ON_CHAINS = {name: "nats" if name == "surprisal" else "share" for name in MEASURES}
ON_TEXT, ON_TASK = {"loss": "nats"}, {"accuracy": "share"}
"""What is measured in each place, with its unit."""

LOWER_IS_WORSE = ("step_accuracy", "exact", "accuracy", "answer")
"""Measures that fall when something is lost; the others rise."""

CONTROLS = ("uniform", "layer")
"""Random sets: any heads, or other heads of the same layers."""

ABLATION = [
    *("where", "measure", "set", "heads", "size", "mode", "value", "low", "high", "n", "groups", "intact", "lost"),
    *("lost_low", "lost_high", "unit", "control", "sets", "random", "random_low", "random_high"),
    *("random_lost", "p", "ratio", "reason"),
]
"""Columns of a table of ablations."""

NO_CONTROL = "no random sets were asked for"
Values = dict[str, Float[np.ndarray, "example set"]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Lost:
    """What several sets of heads cost in one place.

    Attributes:
        where: `chains`, `own chains`, `text`, `determined words`, or the name of a task.
        mode: how heads were removed.
        values: of each measure, for every example and set; the first set is empty.
        groups: of the examples.
        units: of each measure.
    """

    where: str
    mode: str
    values: Values = field(repr=False)
    groups: np.ndarray = field(repr=False)
    units: Mapping[str, str]


def on_chains(
    model: Model, chains: Chains, sets: Sequence[HeadSet], *, modes: Sequence[str] = MODES, seed: int = 0,
    progress: bool = False,
) -> list[Lost]:  # fmt: skip
    """How well gold chains are followed, token by token, when all heads of a set are removed together.

    Args:
        model: the model.
        chains: gold chains.
        sets: sets of heads; the empty set, which is measured too, need not be among them.
        modes: `resample`: heads put out what they do on another chain; `zero`: nothing, at every token (the source).
        seed: draws the other chains.
        progress: draw a progress bar.

    Returns:
        For each mode the measures of `MEASURES`, for the empty set and then for each set. Cost: a forward for each
        chain, set and mode, from the set's first layer on, and two more.

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import draw_chains
        >>> model = load("mini", check=False)
        >>> made = draw_chains(model, n=3, rng=np.random.default_rng(0))
        >>> lost, = on_chains(model, made, [tuple(model.grid)], modes=["zero"])
        >>> lost.values["step_accuracy"].mean(0).tolist()
        [1.0, 0.0]
    """
    reads, heard = gold_tokens(chains), vocabulary_of(chains, model.vocabulary)

    def measured(batch: Batch, read: Read) -> dict[str, np.ndarray]:
        return _measured(chains.select(batch.rows), batch.reads, read, heard)

    return _sweep(model, chains, reads, sets, _Sweep("chains", tuple(modes), seed, progress, ON_CHAINS, measured))


def on_text(
    model: Model, text: Text, sets: Sequence[HeadSet], *, modes: Sequence[str] = MODES, seed: int = 0,
    progress: bool = False,
) -> list[Lost]:  # fmt: skip
    """The loss on plain text when all heads of a set are removed together.

    Args:
        model: the model.
        text: from `headscope.deduction.texts`, or one's own.
        sets: sets of heads.
        modes: as for `on_chains`; other texts are drawn from among these.
        seed: draws them.
        progress: draw a progress bar.

    Returns:
        For each mode `loss`, a text's mean over the tokens that are read, in nats. Cost: as for `on_chains`.
    """

    def measured(batch: Batch, read: Read) -> dict[str, np.ndarray]:
        return {"loss": _mean(batch.reads, -read.log_probability)}

    asked = _Sweep(text.name, tuple(modes), seed, progress, ON_TEXT, measured)
    return _sweep(model, text.prompts, text.reads, sets, asked)


def on_task(
    model: Model, pairs: Pairs, sets: Sequence[HeadSet], *, modes: Sequence[str] = MODES, seed: int = 0,
    limits: Limits = DEFAULTS,
) -> list[Lost]:  # fmt: skip
    """The accuracy on another task, answer against foils, when all heads of a set are removed together.

    Args:
        model: the model.
        pairs: its examples.
        sets: sets of heads.
        modes: as for `on_chains`; other prompts are drawn from among these.
        seed: draws them.
        limits: how much at once.

    Returns:
        For each mode `accuracy`, a choice of two or more (see `headscope.metrics.choice`). Cost: a counterfactual run
        for each example, set and mode.

    Raises:
        UsageError: if an example has no foil.
    """
    judged, found = replace(pairs, metric="choice"), []
    own = []
    memory = replay.budget(model, limits.memory)
    for rows in replay.portions(model, judged, batch_size=limits.batch_size, memory=memory, runs=1):
        part = judged.select(rows)
        own.append(replay.start(model, part, part.tokens).metric)
    intact = torch.cat(own).double().cpu().numpy()[:, None]
    for mode in modes:
        check_mode(mode)
        lost = ablate_sets(model, judged, [(), *sets], kind=mode, seed=seed, limits=limits).numpy()
        values = {"accuracy": intact - lost}
        found.append(Lost(where=pairs.task, mode=mode, values=values, groups=pairs.groups.numpy(), units=ON_TASK))
    return found


def vocabulary_of(chains: Chains, vocabulary: int) -> Bool[Tensor, "component token"]:
    """Which tokens stand in each component, in any of the chains.

    Args:
        chains: gold chains.
        vocabulary: the number of token ids.
    """
    heard = torch.zeros(len(COMPONENTS), vocabulary, dtype=torch.bool)
    reads = gold_tokens(chains)
    heard[chains.component[reads], chains.tokens[reads]] = True
    heard[COMPONENTS.index("syntax")] = False  # there each place has one right token: any other breaks the form
    return heard


@dataclass(frozen=True, eq=False)
class _Sweep:
    where: str
    modes: tuple[str, ...]
    seed: int
    progress: bool
    units: dict[str, str]
    measured: Callable[[Batch, Read], dict[str, np.ndarray]]


def _sweep(model: Model, prompts: Prompts, reads: Tensor, sets: Sequence[HeadSet], asked: _Sweep) -> list[Lost]:
    for mode in asked.modes:
        check_mode(mode)
    tables = [removed(model.grid, each) for each in sets]
    parts: dict[str, list[dict[str, np.ndarray]]] = {mode: [] for mode in asked.modes}
    for batch in batches(model, prompts, reads, modes=asked.modes, seed=asked.seed):
        intact = asked.measured(batch, read_gold(model, batch))
        for mode in asked.modes:
            label = f"{asked.where}: {mode} ablation"
            found = [intact]
            for heads in track(tables, label, show=asked.progress, unit="set"):
                removal = Removal(heads=heads, values=batch.instead[mode]) if bool(heads.any()) else None
                found.append(asked.measured(batch, read_gold(model, batch, removal)))
            parts[mode].append({name: np.stack([each[name] for each in found], 1) for name in intact})
    return [
        Lost(
            where=asked.where, mode=mode, groups=prompts.groups.numpy(), units=asked.units,
            values={name: np.concatenate([part[name] for part in parts[mode]]) for name in asked.units},
        )
        for mode in asked.modes
    ]  # fmt: skip


def _measured(chains: Chains, reads: Tensor, read: Read, heard: Tensor) -> dict[str, np.ndarray]:
    """The measures of each chain."""
    gold, component = chains.tokens[reads], chains.component[reads]
    right = read.predicted == gold
    said = heard[component, read.predicted]
    deciding = torch.isin(component, torch.tensor([COMPONENTS.index(each) for each in STEPPED]))
    example = reads.nonzero()[:, 0]
    steps = chains.step[reads]
    good = torch.ones(len(chains), int(steps.max()) + 1)
    taken = torch.zeros_like(good)
    good.index_put_((example[deciding & ~right], steps[deciding & ~right]), torch.tensor(0.0))
    taken.index_put_((example[deciding], steps[deciding]), torch.tensor(1.0))
    followed = (good * taken).sum(1) / taken.sum(1)
    return {
        "step_accuracy": followed.double().numpy(),
        "exact": (followed == 1).double().numpy(),
        "format_failures": _mean(reads, (~right & ~said).double()),
        "wrong_answers": _mean(reads, (~right & said).double()),
        "surprisal": _mean(reads, -read.log_probability),
    }


def _mean(reads: Tensor, values: Tensor) -> np.ndarray:
    """Each example's mean over what is read of it."""
    table = torch.zeros(reads.shape, dtype=torch.float64)
    table[reads] = values.double()
    return (table.sum(1) / reads.sum(1)).numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """Sets of heads to remove, and random ones to compare with.

    Attributes:
        chosen: by name.
        random: of each name that is to be compared, by control.
    """

    chosen: dict[str, HeadSet]
    random: dict[tuple[str, str], tuple[HeadSet, ...]]

    def listed(self) -> list[HeadSet]:
        """All of them in one list: the chosen, then the random ones."""
        return [*self.chosen.values(), *(each for drawn in self.random.values() for each in drawn)]


def drawn(model: Model, chosen: Mapping[str, HeadSet], *, compared: Mapping[str, int], seed: int) -> Sets:
    """Random sets beside chosen ones: uniform, and of other heads in the same layers.

    Args:
        model: the model.
        chosen: sets by name.
        compared: which of them get random sets, and how many of each control.
        seed: draws them.
    """
    rng = np.random.default_rng(seed)
    random: dict[tuple[str, str], tuple[HeadSet, ...]] = {}
    for name, sets in compared.items():
        heads = chosen[name]
        random[name, "uniform"] = tuple(uniform(model.grid, len(heads), sets=sets, rng=rng))
        random[name, "layer"] = tuple(layer_matched(model.grid, heads, sets=sets, rng=rng))
    return Sets(chosen=dict(chosen), random=random)


def ablation_table(lost: Sequence[Lost], sets: Sets, *, seed: int) -> pd.DataFrame:
    """What is lost without each chosen set, beside the random ones.

    Args:
        lost: from `on_chains`, `on_text` and `on_task`, of `sets.listed()`.
        sets: the sets.
        seed: of the resamples of examples, which all sets share.

    Returns:
        `ABLATION`, a row for each place, measure, chosen set, mode and control. `value` with its 95 % interval is the
        measure without the set, `intact` with all heads; `lost` is the difference, positive where the model does worse.
        `random` is the mean over random sets, `random_low` and `random_high` hold 95 % of them, `random_lost` is their
        mean loss; `p` = (1 + random sets that cost as much) / (1 + random sets), and `ratio` is `lost / random_lost`,
        NaN where random sets cost nothing or less. Cost: no forward pass.
    """
    rows: list[dict[str, object]] = []
    names = list(sets.chosen)
    starts, at = {}, 1 + len(names)
    for key, random in sets.random.items():
        starts[key], at = slice(at, at + len(random)), at + len(random)
    for part in lost:
        for measure, values in part.values.items():
            sign = 1.0 if measure in LOWER_IS_WORSE else -1.0
            cost = sign * (values[:, :1] - values)
            low, high = statistics.interval(values[:, : 1 + len(names)], part.groups, seed=seed)
            cost_low, cost_high = statistics.interval(cost[:, : 1 + len(names)], part.groups, seed=seed)
            mean, mean_cost = values.mean(0), cost.mean(0)
            for index, name in enumerate(names, 1):
                row: dict[str, object] = {
                    "where": part.where, "measure": measure, "set": name, "heads": named(sets.chosen[name]),
                    "size": len(sets.chosen[name]), "mode": part.mode, "value": mean[index], "low": low[index],
                    "high": high[index], "n": len(values), "groups": len(np.unique(part.groups)), "intact": mean[0],
                    "lost": mean_cost[index], "lost_low": cost_low[index], "lost_high": cost_high[index],
                    "unit": part.units[measure],
                }  # fmt: skip
                controls = [control for control in CONTROLS if (name, control) in starts]
                for control in controls:
                    span = starts[name, control]
                    rows.append(row | _compared(control, mean[span], mean_cost[span], mean_cost[index]))
                if not controls:
                    rows.append(row | {"control": "", "sets": 0, "reason": NO_CONTROL})
    return pd.DataFrame(rows, columns=ABLATION)


def _compared(control: str, values: np.ndarray, costs: np.ndarray, own: float) -> dict[str, object]:
    low, high = np.quantile(values, [0.025, 0.975])
    # Sets that are equal on paper differ by rounding, and must count as equal.
    beaten = int((costs >= own - 1e-9).sum())
    cost = float(costs.mean())
    return {
        "control": control, "sets": len(values), "random": float(values.mean()), "random_low": low, "random_high": high,
        "random_lost": cost, "p": (1 + beaten) / (1 + len(values)), "ratio": own / cost if cost > 1e-9 else np.nan,
        "reason": "" if cost > 1e-9 else "random sets cost nothing: there is no ratio",
    }  # fmt: skip
