"""compare(): from two runs to all that can be said of their differences."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from headscope import provenance
from headscope.comparing import reading
from headscope.comparing.cells import Cell, Prompting, cell
from headscope.comparing.draws import draw
from headscope.comparing.reading import Key
from headscope.comparing.result import HEADS, Comparison
from headscope.errors import UsageError, meant, refusing, together
from headscope.plots.words import loose, said
from headscope.report import LEADING
from headscope.runs import Run, open_run


@refusing("runs that cannot be compared", "two runs as headscope made them")
def compare(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    run_a: Run | str | Path,
    run_b: Run | str | Path,
    *,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    leading: bool = False,
    top: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Two runs side by side: two models of one shape, two revisions, or two seeds.

    For every task, method and score of both: how far the ranks of the heads agree, how many of the top heads are
    shared, and which heads changed. Runs of the very same prompts are compared example by example; runs of other
    prompts are resampled apart, which needs more examples to see the same change. Models whose grids differ are
    compared in what needs no matching of heads.

    Args:
        run_a: the first run, or its folder.
        run_b: the second.
        tasks: only these; by default all that both have.
        methods: only these; by default all that both have.
        leading: of each task only the score to begin with: the first causal one that both runs have.
        top: how many heads the overlap is about; by default 3 % of them, at least one.
        seed: of resamples, halves, flips and permutations.

    Returns:
        The comparison. Cost: no forward passes; some 0.2 s for a score of a hundred heads on the same prompts, 0.5 s on
        others.

    Raises:
        RunError: if a folder is not a whole run.
        UsageError: if the runs have nothing in common, or `top` is not a number of heads.

    Example:
        >>> from headscope import Grid, analyze
        >>> from headscope.testing import Plant, planted_model
        >>> plants = [Plant(induction=((0, 0), (1, head))) for head in (1, 2)]
        >>> one, other = (planted_model(plant, grid=Grid(2, 3), vocabulary=32, positions=32) for plant in plants)
        >>> options = {"tasks": ["induction"], "methods": ["patching"], "n": 12, "device": "cpu", "progress": False}
        >>> found = compare(analyze(one, **options), analyze(other, **options))
        >>> found.tasks["paired"].tolist(), sorted(found.changed()["label"].unique())
        ([True, True], ['L1H1', 'L1H2'])
    """
    runs = _opened(run_a), _opened(run_b)
    both, left_out = reading.shared(*runs)
    chosen = _chosen(both, tuple(tasks), tuple(methods))
    if top is not None and top < 1:
        raise UsageError(f"top {top}", "1 or more heads", "ask for at least one head")
    first = _leading(runs, chosen)
    drawn: dict[str, Prompting] = {}
    cells = []
    for key in chosen if not leading else (key for key in chosen if key in first):
        if key[0] not in drawn:
            drawn[key[0]] = _prompts(runs, key[0], seed)
        cells.append(cell(runs, key, drawn[key[0]], top=top, seed=seed))
    heads = [each.heads for each in cells if len(each.heads)]
    return Comparison(
        names=tuple(f"{letter}: {_name(run)}" for letter, run in zip("AB", runs, strict=True)),
        differs=reading.differing(*runs),
        tasks=pd.DataFrame([{**each.row, "leading": each.key in first} for each in cells]),
        sides=pd.DataFrame([line for each in cells for line in each.sides]),
        heads=pd.concat(heads, ignore_index=True) if heads else pd.DataFrame(columns=list(HEADS)),
        left_out=tuple(left_out),
        notes=tuple(_notes(runs, drawn, cells)),
        seed=seed,
    )


def _opened(run: Run | str | Path) -> Run:
    if not isinstance(run, (Run, str, Path)):
        raise UsageError(
            f"a {type(run).__name__}", "a run, or the folder of one", "give what headscope.analyze returned"
        )
    return run if isinstance(run, Run) else open_run(run)


def _chosen(both: list[Key], tasks: tuple[str, ...], methods: tuple[str, ...]) -> list[Key]:
    problems, fix = [], "name what both runs have, or leave it out"
    for place, (kind, asked) in enumerate((("task", tasks), ("method", methods))):
        have = list(dict.fromkeys(key[place] for key in both))
        problems += [
            (f"{kind} {name!r}", f"{kind}s of both runs: {', '.join(have)}", meant(name, have, fix))
            for name in asked
            if name not in have
        ]
    chosen = [key for key in both if key[0] in (tasks or key) and key[1] in (methods or key)]
    if not chosen and not problems:
        there = ", ".join(dict.fromkeys(f"{task} by {method}" for task, method, _ in both))
        problems.append((f"{' or '.join(tasks)} by {' or '.join(methods)}", f"one of: {there}", fix))
    if problems:
        raise together([UsageError(*problem) for problem in problems])
    return chosen


def _prompts(runs: tuple[Run, Run], task: str, seed: int) -> Prompting:
    same = reading.same_prompts(*runs, task)
    groups = [reading.groups_of(run, task) for run in runs]
    recorded = all(said(reading.task_row(run, task).get("prompts")) for run in runs)
    if groups[0] is None or groups[1] is None:
        return Prompting(same=same, draws=None, recorded=recorded)
    first = draw(groups[0], seed=seed)
    second = first if same else draw(groups[1], seed=provenance.seed_for(seed, "the second run"))
    return Prompting(same=same, draws=(first, second), recorded=recorded)


def _leading(runs: tuple[Run, Run], chosen: list[Key]) -> list[Key]:
    """The score that each task begins with: the first causal one that has a number in both runs, else any."""
    order = {pair: place for place, pair in enumerate(LEADING)}
    known = [
        {(str(t), str(m), str(s)) for t, m, s in rows.itertuples(index=False)}
        for rows in (loose(run.scores).dropna(subset="value")[["task", "method", "score"]] for run in runs)
    ]
    best: dict[str, Key] = {}
    for key in sorted(chosen, key=lambda key: (any(key not in each for each in known), order.get(key[1:], len(order)))):
        best.setdefault(key[0], key)
    return list(best.values())


def _name(run: Run) -> str:
    model = run.identity.get("model", {})
    return str(model.get("name", "unnamed")) if isinstance(model, dict) else str(model)


def _notes(runs: tuple[Run, Run], drawn: dict[str, Prompting], cells: list[Cell]) -> list[str]:
    """What a reader must know before the numbers."""
    notes = []
    equal = all(len(each.heads) and each.heads["difference"].fillna(0).eq(0).all() for each in cells)
    same_weights = _weights(runs[0]) == _weights(runs[1]) and _weights(runs[0]) != ""
    if equal and same_weights and all(each.same for each in drawn.values()):
        notes.append("Both are one run, or two with the same numbers: every correlation is 1 and no head can differ.")
    elif not same_weights:
        notes.append(
            "Heads are matched by layer and number. That means something for revisions and fine-tunings of one "
            "training; in models trained apart the order of the heads within a layer is arbitrary."
        )
    for letter, run in zip("AB", runs, strict=True):
        if run.identity.get("complete") is False:
            notes.append(f"Run {letter} was interrupted: only what it had finished is compared.")
    for task, prompts in drawn.items():
        if not prompts.recorded:
            notes.append(f"{task}: a run does not record its prompts, so they are taken for different ones.")
    failed: dict[str, list[str]] = {}
    for line in (line for each in cells for line in each.sides if line["status"] == "failed"):
        failed.setdefault(line["task"], []).append(line["run"].upper())
    for task, letters in failed.items():
        who = " and ".join(dict.fromkeys(letters))
        notes.append(f"{task}: the model of run {who} fails this task, so its effects explain a failure.")
    return notes


def _weights(run: Run) -> str:
    model = run.identity.get("model", {})
    return str(model.get("weights_sha256") or "") if isinstance(model, dict) else ""
