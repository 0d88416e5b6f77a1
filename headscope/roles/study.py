"""The study of a model's heads: prompts of every kind, all roles read off them, scores, labels, causes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from headscope import progress, provenance
from headscope.corpora import Treebank, gold_treebank
from headscope.errors import HeadscopeError
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.models.words import read_words
from headscope.prompts import Labelled, Prompts
from headscope.roles.causes import able, confirm, effects
from headscope.roles.circuits import circuits, obstacle
from headscope.roles.copying import copying_of
from headscope.roles.coreference import coreference_reader
from headscope.roles.inhibition import inhibition
from headscope.roles.judge import judge_tallies
from headscope.roles.label import label_heads
from headscope.roles.lexical import duplicate_reader, induction_reader, random_repeats
from headscope.roles.longtext import long_text_evidence
from headscope.roles.movers import glance, mover_evidence, strongest, suppression_evidence
from headscope.roles.negative import negative_of
from headscope.roles.passes import Reader, observe
from headscope.roles.positional import delimiter_reader, positional_reader, sink_reader
from headscope.roles.rare import rare_reader, word_counts
from headscope.roles.records import Evidence, nothing
from headscope.roles.result import Roles
from headscope.roles.retrieval import retrieval
from headscope.roles.settings import Settings, check_treebanks
from headscope.roles.stability import stability
from headscope.roles.syntax import syntax_reader
from headscope.roles.table import ROLES
from headscope.roles.tally import Tally, tally
from headscope.roles.texts import WINDOW, Drawn, draw, sentences, stretches

RANDOM = "random tokens"
IOI = ("ioi", "mini-ioi")
NEEDLES = ("retrieval", "mini-facts-context")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all steps share.

    Attributes:
        model: the model.
        settings: what to do.
        drawn: the sentences.
        limits: what is held at once, and progress bars.
    """

    model: Model
    settings: Settings
    drawn: Drawn
    limits: Limits

    @property
    def rows(self) -> int:
        """Examples in one forward pass."""
        return self.limits.batch_size or 32


def study(
    model: Model,
    *,
    treebanks: Sequence[Treebank] = (),
    settings: Settings | None = None,
    limits: Limits | None = None,
) -> Roles:
    """What does each head of a model do? Every role of `headscope.roles.ROLES`, each with its null.

    Sentences of the treebanks, windows of them, repeated random tokens and task prompts are read once each, by all
    roles that they serve. A role that cannot be read from this model or these texts is left with the reason.

    Args:
        model: the model.
        treebanks: with gold trees, and coreference where they have it; by default the bundled gold set.
        settings: how many sentences and prompts, seeds, and whether causes are measured.
        limits: what is held at once, and progress bars; changes speed and memory only.

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
    given = tuple(treebanks)
    check_treebanks(given)
    found = Found()
    try:
        banks = given or _default(model, found)
        drawn = draw(banks, n=settings.n, seed=settings.seed)
        bench = Bench(model=model, settings=settings, drawn=drawn, limits=limits)
        found.record["treebanks"] = _said(banks, drawn)
        for name, (roles, step) in STEPS.items():
            if name == "long text" and settings.long_text is None:
                continue
            with progress.step(f"roles: {name}"):
                _carry_out(name, roles, step, bench, found)
    except KeyboardInterrupt:
        found.stopped = True
    return _conclude(model, found, settings, limits, began)


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


Step = Callable[[Bench, dict[str, Any]], Sequence[Evidence]]


def _carry_out(name: str, roles: Sequence[str], step: Step, bench: Bench, found: Found) -> None:
    """One step; what it cannot read is left with the reason, so that it costs no other's work."""
    began, told = time.monotonic(), {}
    try:
        evidence = list(step(bench, told))
    except HeadscopeError as error:
        told["reason"] = error.given
        grid = bench.model.grid
        evidence = [
            nothing(role, "", layers=grid.layers, heads=grid.heads, reason=error.given, unit=ROLES[role].unit)
            for role in roles
        ]
    found.cases += [tally(each) for each in evidence]
    found.record[name] = told | {"cases": len(evidence), "seconds": round(time.monotonic() - began, 2)}


def _labelled(bench: Bench, passages: Sequence[Any], told: dict[str, Any], *, task: str) -> Labelled:
    prompts = read_words(bench.model, passages, task=task, overflow="skip" if task == "sentences" else "cut")
    told |= {
        "texts": len(prompts), "words": sum(len(each.words) for each in prompts.passages), "lost": dict(prompts.lost),
        "groups": len(prompts.groups.unique()), "sha256": provenance.fingerprint(prompts),
    }  # fmt: skip
    return prompts


def _observed(bench: Bench, prompts: Prompts, readers: Sequence[Reader]) -> list[Evidence]:
    return observe(bench.model, prompts, readers, batch_size=bench.rows, progress=bench.limits.progress)


def _sentences(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    model, passages = bench.model, sentences(bench.drawn)
    prompts = _labelled(bench, passages, told, task="sentences")
    readers = [positional_reader(model), sink_reader(model), delimiter_reader(model)]
    readers += [rare_reader(model, word_counts(passages)), syntax_reader(model, prompts)]
    return _observed(bench, prompts, readers)


def _windows(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    model = bench.model
    passages = stretches(bench.drawn, longest=min(WINDOW, int(0.7 * model.max_length)))
    prompts = _labelled(bench, passages, told, task="windows")
    readers = [duplicate_reader(model), induction_reader(model), coreference_reader(model, prompts)]
    return _observed(bench, prompts, readers)


def _random(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    model = bench.model
    rng = np.random.default_rng(provenance.seed_for(bench.settings.seed, RANDOM))
    prompts = random_repeats(model, n=bench.settings.prompts, rng=rng)
    told["texts"] = len(prompts)
    readers = [duplicate_reader(model, case=RANDOM), induction_reader(model, case=RANDOM)]
    # Without a tokenizer there is no other text to read these from.
    readers += [positional_reader(model), sink_reader(model)] if model.tokenizer is None else []
    return _observed(bench, prompts, readers)


def _weights(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    grid, reason = bench.model.grid, obstacle(bench.model)
    if reason:
        told["reason"] = reason
        return [_absent(bench, role, reason) for role in ("copying", "negative")]
    found = circuits(bench.model, seed=bench.settings.seed, progress=bench.limits.progress)
    told |= {"tokens": len(found.tokens), "heads": grid.size}
    return [copying_of(found), negative_of(found)]


def _movers(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    model, settings, roles = bench.model, bench.settings, ("mover", "suppression", "inhibition")
    if reason := obstacle(model):
        told["reason"] = reason
        return [_absent(bench, role, reason) for role in roles]
    asked = {"n": settings.prompts, "seed": settings.seed, "batch_size": bench.rows}
    first = able(model, IOI, use="roles", **asked)
    told |= {"absent": dict(first.absent)}
    if first.pairs is None:
        reason = "; ".join(f"{task}: {why}" for task, why in first.absent.items())
        return [_absent(bench, role, reason) for role in roles]
    told["task"] = first.pairs.task
    seen = glance(model, first.pairs, batch_size=bench.rows, progress=bench.limits.progress)
    found = [mover_evidence(seen), suppression_evidence(seen)]
    # The heads that they act through are chosen on other prompts than those that the effects are measured on.
    second = able(model, (first.pairs.task,), use="inhibition", **asked)
    if second.pairs is None:
        return [*found, _absent(bench, "inhibition", "; ".join(second.absent.values()))]
    movers, limits = strongest(found[0]), bench.limits
    told["movers"] = [model.grid.label(*place) for place in movers]
    held = {"batch_size": limits.batch_size, "memory": limits.memory, "progress": limits.progress}
    return [*found, inhibition(model, second.pairs, movers, **held)]


def _retrieval(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    model, settings = bench.model, bench.settings
    if not model.causal:
        told["reason"] = "an encoder predicts no next token, so it copies none"
        return [_absent(bench, "retrieval", told["reason"])]
    found = able(model, NEEDLES, n=settings.prompts, seed=settings.seed, use="roles", batch_size=bench.rows)
    told |= {"absent": dict(found.absent)}
    if found.pairs is None:
        return [_absent(bench, "retrieval", "; ".join(f"{task}: {why}" for task, why in found.absent.items()))]
    told["task"] = found.pairs.task
    seen = retrieval(model, found.pairs, progress=bench.limits.progress)
    told["accuracy"] = round(seen.accuracy, 3)
    return [seen.evidence]


def _long_text(bench: Bench, told: dict[str, Any]) -> list[Evidence]:
    text = bench.settings.long_text
    if text is None:  # such a step is not taken at all
        return []
    options = {} if bench.limits.memory is None else {"memory": bench.limits.memory}
    found = long_text_evidence(bench.model, text, **options)
    told |= {"file": text.name, "tokens": found.tokens, "windows": found.windows, "left": found.left}
    return [replace(each, case=f"{each.case} (long text)") for each in found.evidence]


STEPS: dict[str, tuple[tuple[str, ...], Step]] = {
    "random tokens": (("duplicate", "induction"), _random),
    "sentences": (("positional", "sink", "delimiter", "rare", "syntax"), _sentences),
    "windows": (("coreference",), _windows),
    "weights": (("copying", "negative"), _weights),
    "movers": (("mover", "suppression", "inhibition"), _movers),
    "retrieval": (("retrieval",), _retrieval),
    "long text": ((), _long_text),
}
"""What is read, for which roles, and how."""


def _absent(bench: Bench, role: str, reason: str) -> Evidence:
    grid = bench.model.grid
    return nothing(role, "", layers=grid.layers, heads=grid.heads, reason=reason, unit=ROLES[role].unit)


def _conclude(model: Model, found: Found, settings: Settings, limits: Limits, began: float) -> Roles:
    grid, cases = model.grid, _without_doubles(found.cases)
    scores = judge_tallies(cases, grid=grid, seed=settings.seed)
    labels = label_heads(scores, grid)
    labels, table = stability(cases, labels, grid=grid, seed=settings.seed, seeds=settings.splits)
    counts = {"cases": len(cases), "tests": int(np.isfinite(scores["p"].to_numpy(float)).sum()), "heads": grid.size}
    if settings.confirm and not found.stopped:
        started = time.monotonic()
        try:
            wanted = list(dict.fromkeys(zip(labels["role"], labels["case"], strict=True)))
            measured = effects(
                model, wanted, seed=settings.seed, batch_size=limits.batch_size, progress=limits.progress
            )
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
        name = each.evidence.role, each.evidence.case
        if name not in best or not len(best[name].names):
            best[name] = each
    read = {role for role, case in best if case}
    kept = [each for (role, case), each in best.items() if case or len(each.names) or role not in read]
    return sorted(kept, key=lambda each: list(ROLES).index(each.evidence.role))
