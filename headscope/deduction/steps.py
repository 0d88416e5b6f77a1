"""The steps of the study, in their order: each reads what those before it found, and adds to it."""

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
import torch

from headscope.deduction import controls as beside
from headscope.deduction.ablation import Lost, Sets, ablation_table, drawn
from headscope.deduction.confidence import THRESHOLDS, confidence_table, token_table
from headscope.deduction.forward import program_of
from headscope.deduction.freerun import chain_table
from headscope.deduction.heads import Effects, head_table, merged, select, union
from headscope.deduction.layers import depth, layer_scores
from headscope.deduction.lens import lens_table
from headscope.deduction.measuring import Subject, changes_of, effects_of, forced_of, paths_of, readable_of
from headscope.deduction.paths import edge_table, nodes_of
from headscope.deduction.removing import Removing, lost_on_chains, lost_on_task, lost_on_text, own_chains_of
from headscope.deduction.sets import HeadSet
from headscope.deduction.settings import EDGED, FREE, claimed_size, sizes
from headscope.deduction.texts import determined, sentences
from headscope.deduction.work import TRAVERSAL, Role, Work
from headscope.errors import ModelError, TaskError, UsageError
from headscope.models import untrained
from headscope.prompts import Pairs
from headscope.tasks import TASKS
from headscope.tasks.chains import CORRUPTIONS, RolePairs, draw_chains, pairs

ALL = "all"
"""The set of all selected heads."""


def ability(work: Work) -> None:
    """Can the model do the chains at all? Its own, written from the question on.

    Args:
        work: the study so far.
    """
    asked = work.settings
    chains = draw_chains(work.reader, n=asked.chains, rng=work.rng("chains"), form=asked.form, setup=asked.setup)
    work.notes.extend(chains.notes)
    able = None if asked.regardless else asked.able
    written = own_chains_of(work.own, chains, Removing(sets=(), modes=asked.modes[:1]), able=able)
    exact, right = (float(np.nanmean(written.lost[0].values[name])) for name in ("exact", "step_accuracy"))
    work.notes.append(f"own chains: {exact:.1%} of {len(chains)} exactly right, {right:.1%} of the steps")
    work.chains = chains


def readings(work: Work) -> None:
    """How sure the model is of each token of gold chains, and after which layer the token is readable.

    Args:
        work: the study so far.
    """
    forced = forced_of(work.own, work.gold, shots=work.settings.shots)
    thresholds = tuple(sorted({*THRESHOLDS, work.settings.threshold}))
    confidence = confidence_table(forced, seed=work.seed("resamples"), thresholds=thresholds)
    if program_of(work.model) is None:
        work.notes.append("no logit lens: the model cannot be cut open")
    else:
        work.keep("lens", lens_table(work.gold, readable_of(work.own, work.gold), seed=work.seed("resamples")))
    work.keep("confidence", confidence)
    work.keep("tokens", token_table(work.model, work.gold, forced))


def heads(work: Work) -> None:
    """What every head does for every role: each corruption that can be made, the traversal last.

    Args:
        work: the study so far.
    """
    asked = work.settings
    for name in CORRUPTIONS:
        try:
            made = pairs(
                work.reader, corruption=name, n=asked.n, rng=work.rng("pairs", name), form=work.form, setup=asked.setup
            )
        except TaskError as problem:
            work.notes.append(f"role {name!r} left out: {problem.given}")
            continue
        work.notes.extend(f"role {name!r}: {note}" for note in made.notes)
        role = Role(name, made, effects_of(work.own, made))
        work.keep("heads", _rows(work, role))
        groups, seed = made.groups.numpy(), work.seed("resamples")
        for score in ("paper", "both"):
            work.keep("layers", layer_scores(role.effects, groups, role=name, seed=seed, score=score))
        work.roles.append(role)
    if not work.roles:
        raise TaskError(
            f"deduction on {work.model.name!r}: no corruption could be made ({'; '.join(work.notes)})",
            f"one or more of: {', '.join(CORRUPTIONS)}",
            "take other problems (Setup), or another model",
        )


def _rows(work: Work, role: Role) -> pd.DataFrame:
    return head_table(role.effects, role.pairs, role=role.name, grid=work.model.grid, seed=work.seed("resamples"))


def ablated(work: Work) -> list[str]:
    """The roles whose heads are ablated: all but the traversal.

    Args:
        work: the study so far.
    """
    return [role.name for role in work.roles if role.name != TRAVERSAL]


def selection(work: Work) -> None:
    """The heads of each role, how deep they are, and the sets of them that will be ablated.

    Args:
        work: the study so far.
    """
    asked, grid, table = work.settings, work.model.grid, work.table("heads")
    named = ablated(work)
    work.selected, work.k = select(table, grid, roles=named, mode=asked.mode, k=asked.k, claim=asked.claim)
    last = [role.name for role in work.roles if role.name == TRAVERSAL]
    work.traversal, _ = select(table, grid, roles=last, mode=asked.mode, k=work.k)
    size = len(union(work.selected))
    work.notes.append(
        f"{size} of {grid.size} heads selected ({size / grid.size:.1%}): the top {work.k} of each role and kind"
    )
    if size > asked.claim * grid.size and asked.k is None:
        work.notes.append(f"even the best head of each is more than the claimed {asked.claim:.1%} of all heads")
    for role in work.roles:
        groups, seed = role.pairs.groups.numpy(), work.seed("resamples")
        work.keep("depths", depth(role.effects, groups, role=role.name, k=work.k, seed=seed, mode=asked.mode))
    order = merged(table, roles=named, mode=asked.mode)
    found: dict[str, HeadSet] = {ALL: union(work.selected)}
    found |= {name: union([each for each in work.selected if each.role == name]) for name in named}
    found |= {f"top {count}": order[:count] for count in sizes(grid) if count <= len(order)}
    work.sets = {name: chosen for name, chosen in found.items() if chosen}


def paths(work: Work) -> None:
    """Path patching among the first heads of every role.

    Args:
        work: the study so far.
    """
    if program_of(work.model) is None:
        work.notes.append("no paths: the model cannot be cut open")
        return
    for role in work.roles:
        chosen, _ = select(
            work.table("heads"), work.model.grid, roles=[role.name], mode=work.settings.mode, k=EDGED
        )  # fmt: skip
        nodes = nodes_of(chosen, role.name)
        effects = paths_of(work.own, role.pairs, nodes)
        work.keep("edges", edge_table(effects, role.pairs, nodes, role=role.name, seed=work.seed("resamples")))


@dataclass(frozen=True, eq=False)
class _Control:
    """One control as it goes on: which, on what model, with how many pairs."""

    name: str
    subject: Subject
    count: int


def controls(work: Work) -> None:
    """The same heads where there is nothing to find: on the untrained twin, and with the twins of other pairs.

    Args:
        work: the study so far.
    """
    asked = work.settings
    if not asked.controls:
        work.notes.append("no controls: they were not asked for")
        return
    count = min(asked.controls, asked.n)
    _control(work, _Control(beside.TRAINED, work.own, count))
    # A second model in memory, made only where something of it was not kept.
    made = cache(lambda: untrained(work.model, seed=asked.seed))
    twin = replace(work.own, make=made, name=f"untrained, seed {asked.seed}")
    try:
        forced = forced_of(twin, work.gold, shots=asked.shots)
    except ModelError as problem:
        work.keep("controls", beside.absent(beside.UNTRAINED, problem.given))
        work.notes.append(f"no untrained twin: {problem.given}")
    else:
        seed = work.seed("resamples")
        told = beside.confidence_of(forced, control=beside.UNTRAINED, threshold=asked.threshold, seed=seed)
        work.keep("controls", told)
        _control(work, _Control(beside.UNTRAINED, twin, count))
    _control(work, _Control(beside.SHUFFLED, work.own, count))


def _control(work: Work, control: _Control) -> None:
    asked, found, told = work.settings, [], []
    for role in work.roles:
        try:
            made = _made(work, role, control)
        except TaskError as problem:
            work.notes.append(f"control {control.name!r} left out for {role.name!r}: {problem.given}")
            continue
        known = control.name == beside.TRAINED  # measured already
        effects = _first(role.effects, len(made)) if known else effects_of(control.subject, made)
        one = Role(role.name, made, effects)
        seed = work.seed("resamples")
        told.append(
            beside.found_by(
                effects, made, control=control.name, role=role.name, k=work.k, seed=seed, mode=asked.mode
            )
        )  # fmt: skip
        change = changes_of(control.subject, made)
        told.append(beside.change_table(change, made, control=control.name, role=role.name, seed=seed))
        found.append(_rows(work, one))
    if not found:
        work.keep("controls", beside.absent(control.name, "no role has pairs for it"))
        return
    table = pd.concat(found, ignore_index=True)
    named = [name for name in ablated(work) if name in set(table["role"])]
    chosen, _ = select(table, work.model.grid, roles=named, mode=asked.mode, k=work.k)
    told.append(beside.chosen_by(table, chosen, own=work.selected, control=control.name, k=work.k, mode=asked.mode))
    work.keep("controls", beside.together(told))
    if control.name != beside.TRAINED and union(chosen):
        work.sets[control.name] = union(chosen)


def _made(work: Work, role: Role, control: _Control) -> RolePairs:
    if control.name == beside.SHUFFLED:
        made = beside.shuffled(role.pairs, seed=work.seed("exchanged twins", role.name))
        return made.select(torch.arange(min(control.count, len(made))))
    return role.pairs.select(torch.arange(control.count))


def _first(effects: Effects, count: int) -> Effects:
    return {key: values[:count] for key, values in effects.items()}


def on_gold_chains(work: Work) -> None:
    """What is lost on gold chains without each set, beside random ones of the same size.

    Args:
        work: the study so far.
    """
    asked = work.settings
    compared = {ALL: asked.sets} if ALL in work.sets else {}
    claimed = f"top {claimed_size(work.model.grid, asked)}"
    for name in work.sets:
        if name.startswith("top ") or name in beside.BESIDE:
            compared[name] = asked.sets if name == claimed else asked.swept
    many = _drawn(work, {name: sets for name, sets in compared.items() if sets})
    fresh = draw_chains(work.reader, n=asked.measured, rng=work.rng("measured"), form=asked.form, setup=asked.setup)
    work.fresh = fresh
    found = lost_on_chains(work.own, fresh, _removing(work, many))
    work.keep("ablation", ablation_table(found, many, seed=work.seed("resamples")))


def _drawn(work: Work, compared: dict[str, int]) -> Sets:
    return drawn(work.model, work.sets, compared=compared, seed=work.seed("random sets"))


def _removing(work: Work, sets: Sets) -> Removing:
    return Removing(sets=sets.listed(), modes=work.settings.modes, seed=work.seed("other prompts"))


def own_chains(work: Work) -> None:
    """What is lost of the model's own chains.

    Args:
        work: the study so far.
    """
    few = _drawn(work, {ALL: min(FREE, work.settings.sets)} if ALL in work.sets else {})
    fresh = work.fresh
    if fresh is None:
        return
    written = own_chains_of(work.own, fresh, _removing(work, few))
    work.keep("ablation", ablation_table(written.lost, few, seed=work.seed("resamples")))
    work.keep("chains", chain_table(fresh, written, list(work.sets)))


def elsewhere(work: Work) -> None:
    """What is lost on plain text and on other tasks.

    Args:
        work: the study so far.
    """
    many = _drawn(work, {ALL: work.settings.sets} if ALL in work.sets else {})
    removing = _removing(work, many)
    lost = [*_on_text(work, removing), *_on_tasks(work, removing)]
    if lost:
        work.keep("ablation", ablation_table(lost, many, seed=work.seed("resamples")))


def _on_text(work: Work, removing: Removing) -> list[Lost]:
    """Sentences of the gold set; for a model of no such text, the words that are determined."""
    n, nothing = work.settings.measured, Removing(sets=(), modes=removing.modes[:1])
    try:
        text = sentences(work.model, n=n, rng=work.rng("text"))
        intact = float(lost_on_text(work.own, text, nothing)[0].values["loss"].mean())
        if intact > math.log(work.model.vocabulary):
            work.notes.append(
                f"plain text: {intact:.2f} nats a token, worse than a guess among all {work.model.vocabulary} tokens; "
                "in its place stand words that what comes before them determines"
            )
            text = determined(work.model, n=n, rng=work.rng("text"))
    except TaskError as problem:
        work.notes.append(f"plain text left out: {problem.given}")
        return []
    return lost_on_text(work.own, text, removing)


def _on_tasks(work: Work, removing: Removing) -> list[Lost]:
    found: list[Lost] = []
    for name in work.settings.tasks:
        try:
            made: Pairs = TASKS[name].build(work.model, n=work.settings.measured, rng=work.rng("task", name))
            found += lost_on_task(work.own, made, removing)
        except (TaskError, UsageError) as problem:
            work.notes.append(f"task {name!r} left out: {problem.given}")
    return found
