"""The steps of a study: what is read once, for which roles, and what determines what is found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headscope import provenance
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.models.words import read_words
from headscope.prompts import Labelled, Prompts
from headscope.roles.causes import able
from headscope.roles.circuits import circuits, obstacle
from headscope.roles.copying import copying_of
from headscope.roles.coreference import coreference_reader
from headscope.roles.inhibition import inhibition
from headscope.roles.lexical import duplicate_reader, induction_reader, random_repeats
from headscope.roles.longtext import long_text_evidence
from headscope.roles.movers import glance, mover_evidence, strongest, suppression_evidence
from headscope.roles.negative import negative_of
from headscope.roles.passes import Reader, observe
from headscope.roles.positional import delimiter_reader, positional_reader, sink_reader
from headscope.roles.rare import rare_reader, word_counts
from headscope.roles.records import Evidence, nothing
from headscope.roles.retrieval import retrieval
from headscope.roles.settings import Settings
from headscope.roles.syntax import syntax_reader
from headscope.roles.table import ROLES
from headscope.roles.texts import WINDOW, Drawn, digest, sentences, stretches

RANDOM = "random tokens"
IOI = ("ioi", "mini-ioi")
NEEDLES = ("retrieval", "mini-facts-context")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is read in one go.

    Attributes:
        roles: those that it would leave without any evidence if it failed.
        take: reads it; notes what is told of it.
        what: determines what is found, beside the model, and no more than that: a study of more sentences need not look
            up weights anew. None: it cannot be told.
    """

    roles: tuple[str, ...]
    take: Callable[[Bench, dict[str, Any]], Sequence[Evidence]]
    what: Callable[[Bench], dict[str, Any] | None]


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


def _absent(bench: Bench, role: str, reason: str) -> Evidence:
    grid = bench.model.grid
    return nothing(role, "", layers=grid.layers, heads=grid.heads, reason=reason, unit=ROLES[role].unit)


def _text(bench: Bench) -> dict[str, Any]:
    return {"text": digest(bench.drawn)}


def _prompts(bench: Bench) -> dict[str, Any]:
    return {"prompts": bench.settings.prompts, "seed": bench.settings.seed}


def _seed(bench: Bench) -> dict[str, Any]:
    return {"seed": bench.settings.seed}


def _file(bench: Bench) -> dict[str, Any] | None:
    text = bench.settings.long_text
    try:
        return {} if text is None else {"file": text.name, "sha256": provenance.digest(text)}
    except OSError:  # which the step itself explains
        return None


STEPS: dict[str, Step] = {
    "random tokens": Step(roles=("duplicate", "induction"), take=_random, what=_prompts),
    "sentences": Step(roles=("positional", "sink", "delimiter", "rare", "syntax"), take=_sentences, what=_text),
    "windows": Step(roles=("coreference",), take=_windows, what=_text),
    "weights": Step(roles=("copying", "negative"), take=_weights, what=_seed),
    "movers": Step(roles=("mover", "suppression", "inhibition"), take=_movers, what=_prompts),
    "retrieval": Step(roles=("retrieval",), take=_retrieval, what=_prompts),
    "long text": Step(roles=(), take=_long_text, what=_file),
}
"""What is read, for which roles, and how."""
