"""headscope: which attention heads matter, for what, and how sure are we?

Example:
    run = headscope.analyze("mini")   # scores every head of the bundled model
    run.top(8)                        # a pandas frame: effects with intervals
    run.heatmap("ioi")                # a plotly Figure

Nothing heavy is imported before a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headscope.classifying import classify
    from headscope.comparing import Comparison, compare
    from headscope.errors import HeadscopeError, ModelError, RunError, TaskError, UsageError
    from headscope.explaining import Explanation, explain
    from headscope.few import race
    from headscope.grid import Grid
    from headscope.judging import judge
    from headscope.models import Edit, Model, load
    from headscope.pipeline import analyze, merge, verify
    from headscope.probing import hierarchy, probe
    from headscope.prompts import Pairs, Prompts
    from headscope.reproducing import reproduce
    from headscope.runs import Run, open_run
    from headscope.tasks.own import pairs

_HOMES = {
    "HeadscopeError": "errors", "ModelError": "errors", "RunError": "errors", "TaskError": "errors",
    "UsageError": "errors",
    "Grid": "grid", "Edit": "models", "Model": "models", "load": "models", "Pairs": "prompts", "Prompts": "prompts",
    "Run": "runs", "open_run": "runs", "analyze": "pipeline", "pairs": "tasks.own", "race": "few",
    "judge": "judging", "classify": "classifying", "probe": "probing", "hierarchy": "probing",
    "reproduce": "reproducing", "Comparison": "comparing", "compare": "comparing",
    "Explanation": "explaining", "explain": "explaining", "merge": "pipeline", "verify": "pipeline",
}  # fmt: skip

__all__ = [
    "Comparison",
    "Edit",
    "Explanation",
    "Grid",
    "HeadscopeError",
    "Model",
    "ModelError",
    "Pairs",
    "Prompts",
    "Run",
    "RunError",
    "TaskError",
    "UsageError",
    "analyze",
    "classify",
    "compare",
    "explain",
    "hierarchy",
    "judge",
    "load",
    "merge",
    "open_run",
    "pairs",
    "probe",
    "race",
    "reproduce",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headscope' has no attribute {name!r}")
    return getattr(import_module(f"headscope.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
