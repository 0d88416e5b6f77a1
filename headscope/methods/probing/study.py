"""A study of probes: several sets of labels, all sites of a model, with every control that an accuracy needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from headscope.cells import Kept
from headscope.errors import UsageError
from headscope.methods.probing.batches import Features
from headscope.methods.probing.classes import encode
from headscope.methods.probing.controls import control_labels, majority
from headscope.methods.probing.drawing import by_prompts, draw, spans_of
from headscope.methods.probing.features import BASELINES, SITES, Joined, narrowed, places, read_features, span_bytes
from headscope.methods.probing.fit import Fitted, Kind, cross_validate
from headscope.methods.probing.keeping import Outcome, described, pack, unpack
from headscope.methods.probing.labels import Labels, word_labels
from headscope.methods.probing.mdl import code_length
from headscope.methods.probing.results import COLUMNS, Directions, Found, Probes, directions
from headscope.methods.probing.scores import score, selectivity
from headscope.methods.probing.settings import Settings
from headscope.models import Model
from headscope.models.determined import determined
from headscope.progress import track
from headscope.prompts import Labelled, Prompts
from headscope.statistics import benjamini_hochberg

MEMORY = 2 * 2**30
"""Bytes of features that are held at once by default; fits take as much again at the most."""

LEVEL = 0.05
"""The false discovery rate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Store:
    """Features of all spans of some prompts, and which span each end of an instance is.

    Attributes:
        own: kind of site -> features of the model, and of the baselines.
        twin: the same of the model with random weights.
        ends: label -> the span of each end of each instance.
    """

    own: Mapping[str, Float[Tensor, "span site feature"]]
    twin: Mapping[str, Float[Tensor, "span site feature"]]
    ends: Mapping[str, Int[Tensor, "instance end"]]


def probe(  # noqa: PLR0913 - every option is one that users set
    model: Model,
    prompts: Labelled | None,
    *,
    labels: Sequence[str] = (),
    also: Sequence[Labels] = (),
    sites: Sequence[str] = ("z", "resid"),
    kind: Kind = "ridge",
    folds: int = 5,
    instances: int = 4000,
    twin: Model | None = None,
    bits: bool = True,
    seed: int = 0,
    memory: int = MEMORY,
    batch_size: int = 32,
    progress: bool = False,
    kept: Kept | None = None,
) -> Probes:
    """What can be read off every head and layer, how much of it a control reads as well, and what it costs in bits.

    Every set of labels is probed at every site by linear probes, cross-validated by group (document), against five
    controls: the commonest class; the embeddings of the word's own tokens, and of the token before it; a control task
    that only a memory for words can do (Hewitt and Liang 2019); and, where a `twin` is given, the same site of a model
    with random weights. What a site has beyond the best of the first three is tested, with a false discovery rate over
    all sites and labels. Bits are the online code length (Voita and Titov 2020). That something can be read off a head
    does not mean that the model uses it: `use`.

    A pair of words is read at both ends, with the product of the two; residual streams (and embeddings) wider than 128
    are turned to their 128 principal axes for pairs first.

    Args:
        model: the model.
        prompts: gold text in its tokens, of several sentences each for `boundary` and `coreference`
            (`headscope.corpora.windows`); None where only `also` is probed.
        labels: of `upos`, `number`, `entity`, `boundary`, `relation`, `arc`, `coreference`.
        also: further sets, from `task_labels`, `prompt_labels` or `read_labels`.
        sites: of `z`, `q`, `k`, `v` (each head) and `resid` (each layer).
        kind: `ridge` or `logistic`.
        folds: of the cross-validation.
        instances: of each set of labels, at most: whole prompts are drawn until there are as many.
        twin: the model with random weights (`headscope.models.untrained`), to be probed likewise; doubles the cost.
        bits: measure code lengths; about half of the cost.
        seed: of draws, folds and resamples.
        memory: bytes of features that are held at once; fewer prompts are drawn where they would take more.
        batch_size: prompts per forward pass; changes speed and memory only.
        progress: draw a progress bar.
        kept: where every set of labels is kept as soon as it is finished, and found again; None: nothing is kept.

    Returns:
        The study. Cost: one forward for each prompt that is drawn (two with a twin), and the fits. A set of labels that
        cannot be probed is skipped, with the reason; a class in fewer groups than folds is dropped, named and counted.
        After Ctrl-C the sets that were finished, with `complete` False (where none was, `KeyboardInterrupt`).

    Raises:
        UsageError: for unknown labels or sites, no labels, sets of one name, or text without such labels.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.methods.probing.labels import prompt_labels
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=60, rng=np.random.default_rng(0))
        >>> halves = ["low" if answer < 16 else "high" for answer in pairs.answers[:, 0].tolist()]
        >>> labels = prompt_labels(pairs, halves, name="half")
        >>> study = probe(model, None, also=[labels], sites=["z"], bits=False)
        >>> study.frame["decodable"].tolist()  # only the second head of the pair knows what comes next
        [False, False, False, True]
    """
    _check(sites, labels, also, prompts, instances)
    kept = kept or Kept()
    settings = Settings(sites=tuple(dict.fromkeys(sites)), kind=kind, folds=folds, seed=seed, bits=bits)
    sets, skipped = _word_sets(labels, prompts, seed)
    drawn, notes = draw([*sets, *also], instances, memory // span_bytes(model, (*settings.sites, *BASELINES)), seed)
    facts = None if twin is None else cache(partial(determined, twin))
    frames: list[pd.DataFrame] = []
    found: dict[str, Found] = {}
    read: dict[str, Directions] = {}
    dropped: dict[str, Mapping[str, tuple[int, int]]] = {}
    complete = True
    try:
        for together in by_prompts(drawn):
            # Of all sets that share prompts, whichever are kept already: other batches would round differently. And not
            # before a set is not kept.
            store = cache(
                partial(_store, model, twin, together, settings.sites, batch_size=batch_size, progress=progress)
            )
            for each in track(together, f"{model.name}: probes", show=progress, unit="label"):
                try:
                    outcome = kept.remember(
                        "probes", partial(described, each, settings, facts),
                        partial(_outcome, model, each, store, settings), pack=pack, unpack=partial(unpack, labels=each),
                    )  # fmt: skip
                except Unfit as stop:
                    skipped[each.name] = f"{stop.problem.given}; {stop.problem.expected}"
                    continue
                if outcome.read is not None:
                    read[each.name] = outcome.read
                result = found[each.name] = outcome.found
                dropped[each.name] = result.fitted[settings.sites[0]].dropped
                frames.append(outcome.frame)
    except KeyboardInterrupt:
        if not frames:
            raise
        complete = False
        rest = [each.name for each in drawn if each.name not in found and each.name not in skipped]
        skipped |= dict.fromkeys(rest, "interrupted before it was probed")
    if not frames:
        given = "; ".join(f"label {name!r}: {reason}" for name, reason in skipped.items())
        raise UsageError(given, "one set of labels that can be probed", "bring more text, or ask for fewer folds")
    frame = pd.concat(frames, ignore_index=True)
    frame["q"] = benjamini_hochberg(frame["p"].to_numpy())
    frame["decodable"] = (frame["q"] <= LEVEL) & (frame["difference"] > 0) & frame["converged"]
    return Probes(
        frame=frame.loc[:, list(COLUMNS)], dropped=dropped, skipped=skipped, found=found, directions=read, kind=kind,
        seed=seed, notes=(*notes, *_told(dropped, skipped)), complete=complete,
    )  # fmt: skip


class Unfit(Exception):
    """A set of labels that cannot be probed, which is found out anew each time."""

    def __init__(self, problem: UsageError) -> None:
        super().__init__(problem.given)
        self.problem = problem


def _outcome(model: Model, labels: Labels, store: Callable[[], _Store], settings: Settings) -> Outcome:
    try:
        # First, because it costs nothing: a set that has too few classes needs no features.
        encode(labels.values, labels.groups, least=settings.folds)
    except UsageError as problem:
        raise Unfit(problem) from problem
    read = store()
    try:
        found, frame = _study(model, labels, read, settings)
    except UsageError as problem:
        raise Unfit(problem) from problem
    if "z" not in settings.sites:
        return Outcome(found=found, frame=frame, read=None)
    fitted, z, ends = found.fitted["z"], read.own["z"], read.ends[labels.name]
    return Outcome(found=found, frame=frame, read=directions(fitted, z, labels, ends, layers=model.grid.layers))


def _word_sets(labels: Sequence[str], prompts: Any, seed: int) -> tuple[list[Labels], dict[str, str]]:
    """The labels of words, and why some are left out."""
    sets: list[Labels] = []
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(labels):
        try:
            sets.append(word_labels(prompts, name, seed=seed))
        except UsageError as problem:
            skipped[name] = f"{problem.given}; {problem.expected}"
    return sets, skipped


def _check(
    sites: Sequence[str], labels: Sequence[str], also: Sequence[Labels], prompts: Prompts | None, instances: int
) -> None:
    wrong = [site for site in sites if site not in SITES]
    if wrong or not sites:
        raise UsageError(f"sites {list(sites)}", f"one or more of: {', '.join(SITES)}", "correct the kinds of sites")
    if not labels and not also:
        raise UsageError("no labels to probe", "one set or more", "name one, such as labels=['upos']")
    if labels and prompts is None:
        given = f"labels {', '.join(labels)} without prompts"
        raise UsageError(given, "gold text (headscope.models.words.read_words)", "give prompts")
    names = [*dict.fromkeys(labels), *(each.name for each in also)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two sets of labels named {twice[0]!r}", "a name of its own for each", "rename one of them")
    if instances < 1:
        raise UsageError(f"instances={instances}", "1 or more", "ask for a few thousand")


def _store(
    model: Model, twin: Model | None, together: Sequence[Labels], sites: tuple[str, ...],
    *, batch_size: int, progress: bool,
) -> _Store:  # fmt: skip
    spans, ends = spans_of(together)
    prompts = together[0].prompts
    wanted = (*sites, *BASELINES)
    own = read_features(model, prompts, spans, sites=wanted, batch_size=batch_size, progress=progress)
    other = {} if twin is None else read_features(
        twin, prompts, spans, sites=sites, batch_size=batch_size, progress=progress
    )  # fmt: skip
    return _Store(own=own, twin=other, ends=ends)


def _features(
    features: Float[Tensor, "span site feature"], labels: Labels, ends: Int[Tensor, "instance end"]
) -> Features:
    if not labels.paired:
        return features[ends[:, 0]]
    used, index = ends.unique(return_inverse=True)
    return Joined(narrowed(features[used]), index)


def _study(model: Model, labels: Labels, store: _Store, settings: Settings) -> tuple[Found, pd.DataFrame]:
    """All sites' probes of one set of labels, with their controls."""
    ends, groups = store.ends[labels.name], labels.groups

    def fitted(features: Float[Tensor, "span site feature"], values: Sequence[str]) -> Fitted:
        return cross_validate(
            _features(features, labels, ends), values, groups, kind=settings.kind, folds=settings.folds,
            seed=settings.seed,
        )  # fmt: skip

    baselines = {name: fitted(store.own[name], labels.values) for name in BASELINES}
    own = {site: fitted(store.own[site], labels.values) for site in settings.sites}
    right = {"majority": majority(own[settings.sites[0]])}
    right |= {name: each.correct[:, 0] for name, each in baselines.items()}
    name = max(right, key=lambda key: float(right[key].nanmean()))
    random = control_labels(labels.types, labels.values, seed=settings.seed)
    frames = []
    for site in settings.sites:
        frame = _scored(own[site], right[name], seed=settings.seed)
        frame[["layer", "head"]] = places(model, site)
        frame = frame.assign(label=labels.name, site=site, baseline=name, classes=len(own[site].classes))
        frame = frame.assign(**{key: float(value.nanmean()) for key, value in right.items()})
        untrained = fitted(store.twin[site], labels.values).correct.nanmean(0).numpy() if store.twin else np.nan
        frame["untrained"] = untrained
        _add_control(frame, own[site], lambda site=site: fitted(store.own[site], random), settings)
        _add_bits(frame, store.own[site], labels, ends, settings)
        frames.append(frame)
    return Found(labels=labels, fitted=own, best=right[name], baseline=name), pd.concat(frames, ignore_index=True)


def _scored(fitted: Fitted, best: Float[Tensor, " instance"], *, seed: int = 0) -> pd.DataFrame:
    frame = score(fitted, best, seed=seed).drop(columns="baseline")
    reasons = np.where(frame["converged"], "", "the fit did not converge")
    width = fitted.weights.shape[1]
    blank = frame["constant"].to_numpy() == width
    frame["reason"] = np.where(blank, "all features are constant", reasons)
    return frame


def _add_control(frame: pd.DataFrame, fitted: Fitted, control: Callable[[], Fitted], settings: Settings) -> None:
    """Accuracy on the control task, in place; NaN with the reason where chance left it fewer than two classes."""
    names = {"control": "control", "selectivity": "selectivity", "low": "selectivity_low", "high": "selectivity_high"}
    frame[list(names.values())] = np.nan
    try:
        against = selectivity(fitted, control(), seed=settings.seed)
    except UsageError as problem:
        _say(frame, f"no control task ({problem.given})")
        return
    for column, name in names.items():
        frame[name] = against[column].to_numpy()


def _add_bits(
    frame: pd.DataFrame,
    features: Float[Tensor, "span site feature"],
    labels: Labels,
    ends: Int[Tensor, "instance end"],
    settings: Settings,
) -> None:
    """Code lengths, in place."""
    frame[["bits", "compression"]] = np.nan
    if not settings.bits:
        return
    read = _features(features, labels, ends)
    found = code_length(read, labels.values, labels.groups, seed=settings.seed, least=settings.folds)
    good = found.converged.numpy()
    frame["bits"] = np.where(good, found.per_label.numpy(), np.nan)
    frame["compression"] = np.where(good, found.compression.numpy(), np.nan)
    _say(frame, "a fit of the code length did not converge", ~good)


def _say(frame: pd.DataFrame, reason: str, where: np.ndarray | None = None) -> None:
    said = frame["reason"].to_numpy()
    added = np.array([f"{each}; {reason}" if each else reason for each in said], dtype=object)
    frame["reason"] = added if where is None else np.where(where, added, said)


def _told(dropped: Mapping[str, Mapping[str, tuple[int, int]]], skipped: Mapping[str, str]) -> list[str]:
    """What was left out, in words for people."""
    told = [f"label {name!r} was not probed: {reason}" for name, reason in skipped.items()]
    for name, classes in dropped.items():
        if classes:
            each = ", ".join(f"{label} ({count} in {groups} groups)" for label, (count, groups) in classes.items())
            told.append(f"classes of {name!r} in fewer groups than folds were dropped: {each}")
    return told
