"""The study of a model's heads: prompts of every kind, all roles read off them, scores, labels, causes."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from headscope import progress
from headscope.cells import Kept, Unkept
from headscope.corpora import Treebank, gold_treebank
from headscope.errors import HeadscopeError
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.roles.causes import confirm, effects
from headscope.roles.judge import judge_tallies
from headscope.roles.keeping import Taken, pack, unpack
from headscope.roles.label import label_heads
from headscope.roles.records import nothing
from headscope.roles.result import Roles
from headscope.roles.settings import Settings, check_treebanks
from headscope.roles.stability import stability
from headscope.roles.steps import STEPS, Bench, Step
from headscope.roles.table import ROLES
from headscope.roles.tally import Tally, tally
from headscope.roles.texts import Drawn, draw


@dataclass(slots=True, kw_only=True, eq=False)
class Found:
    """What a study has gathered so far.

    Attributes:
        cases: evidence as sums over groups; the instances themselves are not kept.
        record: what was read, and why families of roles were left out, as JSON.
        stopped: whether Ctrl-C ended it.
    """

    cases: list[Tally] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False


def study(
    model: Model,
    *,
    treebanks: Sequence[Treebank] = (),
    settings: Settings | None = None,
    limits: Limits | None = None,
    kept: Kept | None = None,
) -> Roles:
    """What does each head of a model do? Every role of `headscope.roles.ROLES`, each with its null.

    Sentences of the treebanks, windows of them, repeated random tokens and task prompts are read once each, by all
    roles that they serve. A role that cannot be read from this model or these texts is left with the reason.

    Args:
        model: the model.
        treebanks: with gold trees, and coreference where they have it; by default the bundled gold set.
        settings: how many sentences and prompts, seeds, and whether causes are measured.
        limits: what is held at once, and progress bars; changes speed and memory only.
        kept: where every step is kept as soon as it is finished, and found again; None: nothing is kept.

    Returns:
        Scores, labels, their stability, and the record. After Ctrl-C what was finished, with `record["complete"]`
        False. Cost: one forward for each sentence, window and prompt; for the causes as many counterfactual runs as
        there are heads, for each of 40 prompts of each task that is needed.

    Raises:
        UsageError: if a treebank is given twice.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)), duplicate_token=(0, 1))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=128), device="cpu")
        >>> found = study(model, settings=Settings(prompts=40, confirm=False)).labels
        >>> sorted({(row.layer, row.head, row.role) for row in found.itertuples()})  # doctest: +NORMALIZE_WHITESPACE
        [(0, 0, 'positional'), (0, 1, 'duplicate'), (1, 0, 'unassigned'), (1, 1, 'induction')]
    """
    began, settings, limits = time.monotonic(), settings or Settings(), limits or Limits()
    kept = kept or Kept()
    given = tuple(treebanks)
    check_treebanks(given)
    found = Found()
    try:
        banks = given or _default(model, found)
        drawn = draw(banks, n=settings.n, seed=settings.seed)
        bench = Bench(model=model, settings=settings, drawn=drawn, limits=limits)
        found.record["treebanks"] = _said(banks, drawn)
        for name, step in STEPS.items():
            if name == "long text" and settings.long_text is None:
                continue
            with progress.step(f"roles: {name}"):
                _carry_out(name, step, bench, found, kept)
    except KeyboardInterrupt:
        found.stopped = True
    return _conclude(model, found, settings, limits, kept, began)


def _default(model: Model, found: Found) -> tuple[Treebank, ...]:
    if model.tokenizer is None:
        return ()
    try:
        return (gold_treebank(),)
    except HeadscopeError as error:
        found.record["gold set"] = f"{error.given}; {error.fix}"
        return ()


def _said(banks: Sequence[Treebank], drawn: Drawn) -> dict[str, Any]:
    """What was given and what was drawn of it, by name; two of one name are numbered."""
    told: dict[str, Any] = {}
    for bank, part in zip(banks, drawn, strict=True):
        name = bank.name if bank.name not in told else f"{bank.name} ({len(told) + 1})"
        told[name] = {
            "sha256": bank.sha256, "sentences": len(bank.sentences), "used": len(part.sentences),
            "documents": len({each.document for each in part.sentences}), "skipped": dict(bank.skipped),
        }  # fmt: skip
    return told


def _carry_out(name: str, step: Step, bench: Bench, found: Found, kept: Kept) -> None:
    taken = kept.remember(
        f"roles: {name}", lambda: step.what(bench), lambda: _take(step, bench),
        pack=pack, unpack=partial(unpack, grid=bench.model.grid),
    )  # fmt: skip
    found.cases += taken.cases
    found.record[name] = dict(taken.told)


def _take(step: Step, bench: Bench) -> Taken:
    """One step; what it cannot read is left with the reason, so that it costs no other's work."""
    began, grid, failed = time.monotonic(), bench.model.grid, False
    told: dict[str, Any] = {}
    try:
        evidence = list(step.take(bench, told))
    except HeadscopeError as error:
        told["reason"], failed = error.given, True
        evidence = [
            nothing(role, "", layers=grid.layers, heads=grid.heads, reason=error.given, unit=ROLES[role].unit)
            for role in step.roles
        ]
    told |= {"cases": len(evidence), "seconds": round(time.monotonic() - began, 2)}
    taken = Taken(told=told, cases=tuple(tally(each) for each in evidence))
    # What failed may be read the next time, as what memory had no room for: memory is not among what names a cell.
    if failed or any("memory" in each.about.reason for each in taken.cases):
        raise Unkept(taken)
    return taken


def _conclude(
    model: Model, found: Found, settings: Settings, limits: Limits, kept: Kept, began: float
) -> Roles:  # fmt: skip
    grid, cases = model.grid, _without_doubles(found.cases)
    scores = judge_tallies(cases, grid=grid, seed=settings.seed)
    labels = label_heads(scores, grid)
    labels, table = stability(cases, labels, grid=grid, seed=settings.seed, seeds=settings.splits)
    counts = {"cases": len(cases), "tests": int(np.isfinite(scores["p"].to_numpy(float)).sum()), "heads": grid.size}
    if settings.confirm and not found.stopped:
        started = time.monotonic()
        try:
            wanted = list(dict.fromkeys(zip(labels["role"], labels["case"], strict=True)))
            measured = effects(model, wanted, seed=settings.seed, limits=limits, kept=kept)
            labels = confirm(labels, measured)
            told = {"tasks": list(measured.frames), "absent": dict(measured.absent)}
            found.record["causes"] = told | {"seconds": round(time.monotonic() - started, 2)}
        except KeyboardInterrupt:
            found.stopped = True
    asked = asdict(settings) | {"long_text": settings.long_text.name if settings.long_text else None}
    record = {"settings": asked, "counts": counts, **found.record, "complete": not found.stopped}
    record["seconds"] = round(time.monotonic() - began, 2)
    return Roles(grid=grid, scores=scores, labels=labels, stability=table, record=record)


def _without_doubles(cases: Sequence[Tally]) -> list[Tally]:
    """One tally for each case of a role: one with instances before one that says why there are none.

    A whole role that could not be read from one kind of text is not told where another kind has given its cases.
    """
    best: dict[tuple[str, str], Tally] = {}
    for each in cases:
        name = each.about.role, each.about.case
        if name not in best or not len(best[name].names):
            best[name] = each
    read = {role for role, case in best if case}
    kept = [each for (role, case), each in best.items() if case or len(each.names) or role not in read]
    return sorted(kept, key=lambda each: list(ROLES).index(each.about.role))
