"""The whole study of a deductive circuit, from confidence to ablation; it reads as a table of contents."""

from headscope.deduction import steps
from headscope.deduction.measuring import Remember
from headscope.deduction.result import Circuit, Stopped
from headscope.deduction.settings import Settings
from headscope.deduction.work import Work
from headscope.errors import UsageError
from headscope.methods.twins import DEFAULTS, Limits, advice
from headscope.models import Model
from headscope.tasks import TASKS

STEPS = {
    "ability": steps.ability,
    "confidence and lens": steps.readings,
    "heads": steps.heads,
    "selection": steps.selection,
    "paths": steps.paths,
    "controls": steps.controls,
    "ablation on chains": steps.on_gold_chains,
    "own chains": steps.own_chains,
    "ablation elsewhere": steps.elsewhere,
}
"""What is done, in order; each step reads what those before it found."""


def study(
    model: Model, *, settings: Settings | None = None, limits: Limits = DEFAULTS, remember: Remember | None = None
) -> Circuit:
    """Find the heads by which a model deduces, and test them (arXiv 2605.27824).

    Confidence in gold chains, reading and decision heads of every role, paths among them, their depth, and what is lost
    without them: on gold chains, the model's own, other tasks and plain text, beside random sets. Heads are selected on
    pairs of their own; chains on which they are ablated are drawn apart. The same heads are sought on the untrained
    twin and with exchanged twins, and ablated in the model too.

    Args:
        model: a decoder with a tokenizer.
        settings: what is asked; by default some minutes for the bundled model.
        limits: how much at once.
        remember: reads or keeps each part of what is measured, so that a study that was stopped can go on; None: all is
            measured anew.

    Returns:
        The circuit. Cost: see `headscope.deduction.settings.planned`.

    Raises:
        TaskError: if the model cannot write or read chains, or cannot do them (see `Settings.able`).
        UsageError: if the architecture does not allow edits, or there is no such task.
        Stopped: at Ctrl-C, with the steps that were finished.

    Example:
        >>> from headscope.models import load
        >>> study(load("mini", check=False), settings=Settings(tasks=("iio",)))
        Traceback (most recent call last):
        headscope.errors.UsageError: tasks iio
          expected: names of tasks, as `headscope list tasks` gives them
          to fix it: did you mean 'ioi'?
    """
    work = Work(model, settings or Settings(), limits, remember)
    _check_tasks(work.settings)
    for name, step in STEPS.items():
        try:
            with work.timed(name):
                step(work)
        except KeyboardInterrupt:
            raise Stopped(work.circuit(stopped=name), done=len(work.seconds), planned=len(STEPS)) from None
    return work.circuit()


def _check_tasks(settings: Settings) -> None:
    unknown = [name for name in settings.tasks if name not in TASKS]
    if unknown:
        expected = "names of tasks, as `headscope list tasks` gives them"
        raise UsageError(f"tasks {', '.join(unknown)}", expected, advice(unknown[0], list(TASKS), "correct the names"))
