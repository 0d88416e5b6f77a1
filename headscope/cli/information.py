"""`headscope list` and `headscope doctor`: what there is, and whether this machine is ready."""

from __future__ import annotations

import enum
import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


class Kind(enum.StrEnum):
    """What can be listed."""

    models = "models"
    tasks = "tasks"
    methods = "methods"


def listing(
    what: Annotated[Kind, typer.Argument(help="models, tasks or methods.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models, tasks or methods that headscope knows, each with its source."""
    rows = {Kind.models: _models, Kind.tasks: _tasks, Kind.methods: _methods}[what]()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


def _models() -> list[dict[str, str]]:
    return [
        {"model": "mini", "what": "the bundled model: about a hundred heads, needs no network"},
        {"model": "gpt2, EleutherAI/pythia-70m, ...", "what": "a Hub name; read from the local cache with --offline"},
        {"model": "./directory", "what": "a local Hugging Face directory: config.json, safetensors, tokenizer files"},
    ] + [{"model": name, "what": "architecture tested with headscope"} for name in _ARCHITECTURES]


_ARCHITECTURES = ("GPT-2", "GPT-NeoX", "Llama", "Qwen2, Qwen3", "Gemma-2", "GPT-Neo", "OPT", "BERT (masked language model)")


def _tasks() -> list[dict[str, str]]:
    from headscope.tasks import TASKS

    return [{"task": task.name, "what": task.about, "source": task.source} for task in TASKS.values()]


def _methods() -> list[dict[str, str]]:
    from headscope.methods import METHODS

    return [
        {"method": m.name, "what": m.about, "scores": ", ".join(s.name for s in m.scores), "source": m.source}
        for m in METHODS.values()
    ]


def doctor() -> None:
    """Check this machine: versions, device, the bundled model, the Hub cache; exit code 1 if something is wrong."""
    import shutil

    import torch

    from headscope import provenance
    from headscope.errors import HeadscopeError
    from headscope.models import load
    from headscope.models.sources import cache_folder

    table = Table("check", "finding")
    for name, version in provenance.record(command=None, seed=0)["versions"].items():
        table.add_row(name, str(version or "not installed"))
    table.add_row("device (auto)", "cuda" if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads")
    table.add_row("Hub cache", str(cache_folder()))
    table.add_row("free disk here", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB")
    try:
        checks = load("mini", offline=True).identity["self_check"]
        table.add_row("bundled model", "loads; self-check passed: " + ", ".join(checks))
        problem = None
    except HeadscopeError as error:
        table.add_row("bundled model", f"FAILS: {error.given}")
        problem = error
    Console().print(table)
    if problem is not None:
        raise problem
