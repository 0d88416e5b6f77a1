"""The `headscope` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import (
    analysis,
    bundled,
    citing,
    comparison,
    drawing,
    explain,
    information,
    merging,
    plan,
    probing,
    reproduction,
    roles,
    selection,
)
from headscope.cli.command import Group, register
from headscope.cli.hints import program
from headscope.errors import HeadscopeError, UsageError

app = typer.Typer(
    name="headscope",
    help=(
        "Which attention heads of a transformer matter, for what, and how sure are we?\n\n"
        "[bold]headscope analyze[/bold] scores every head of the bundled model in about a minute on two CPU "
        "cores, prints the top ones, and writes a report that opens in any browser. Then give it your own model."
    ),
    epilog=(
        "[bold]Examples[/bold]\n"
        "  headscope doctor                       is this machine ready?\n"
        "  headscope analyze                      the bundled model, needs no network\n"
        "  headscope analyze gpt2                 from the Hugging Face Hub\n"
        "  headscope analyze ./my-model --offline\n"
        "  headscope few gpt2 --task ioi          do a few heads carry this task?\n"
        "  headscope list tasks                   what a model can be asked\n"
        "  headscope --install-completion         names at Tab, in this shell\n\n"
        "Each command has examples of its own: [bold]headscope analyze --help[/bold].\n\n"
        "All commands know --json (for programs), --quiet, --verbose, and HEADSCOPE_\n"
        "variables for their options. Problems are told in three parts: what was given,\n"
        "what was expected, what to do.\n\n"
        "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
    ),
    no_args_is_help=True,
    cls=Group,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HEADSCOPE"},
)


def _tell_version(wanted: bool) -> bool:
    if wanted:
        sys.stdout.write(f"headscope {version()}\n")
        raise typer.Exit
    return wanted


@app.callback()
def _common(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            show_envvar=False,
            metavar=" ",
            help="Print the version.",
        ),
    ] = False,
) -> None:
    pass


register(app, "analyze", analysis.analyze, epilog=analysis.EPILOG)
register(app, "few", selection.few, epilog=selection.EPILOG)
register(app, "roles", roles.roles, epilog=roles.EPILOG)
register(app, "probe", probing.probe, epilog=probing.EPILOG)
register(app, "hierarchy", probing.hierarchy, epilog=probing.EPILOG_HIERARCHY)
register(app, "reproduce", reproduction.reproduce, epilog=reproduction.EPILOG)
register(app, "compare", comparison.compare, epilog=comparison.EPILOG)
register(app, "picture", drawing.picture, epilog=drawing.EPILOG)
register(app, "explain", explain.explain, epilog=explain.EPILOG)
register(app, "plan", plan.plan, epilog=plan.EPILOG)
register(app, "merge", merging.merge, epilog=merging.EPILOG_MERGE)
register(app, "verify", merging.verify, epilog=merging.EPILOG_VERIFY)
register(app, "list", information.listing, epilog=information.EPILOG)
register(app, "cite", citing.cite, epilog=citing.EPILOG)
register(app, "doctor", information.doctor, epilog=information.EPILOG_DOCTOR)
app.add_typer(bundled.app, name="mini")


def version() -> str:
    """The version of headscope that is running, installed or in a checkout.

    Example:
        >>> version().count(".")
        2
    """
    import tomllib
    from importlib import metadata

    try:
        return metadata.version("headscope")
    except metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


def main() -> None:
    """Run the command line: problems are told in three parts; exit code 1 failed, 2 bad input, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end a finished analysis.
        getattr(stream, "reconfigure", _nothing)(errors="backslashreplace")
    try:
        _check_completion()
        _run()
    except HeadscopeError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop("interrupted before it was done; what was not yet written is lost", 130)
    except Exception as error:
        if os.environ.get("HEADSCOPE_DEBUG"):
            raise
        if isinstance(error, OSError):
            _drop_output()
        _stop(_explained(error), 1)


def _check_completion() -> None:
    asked = {"--install-completion", "--show-completion"} & set(sys.argv[1:2])
    if asked and program() != "headscope":
        raise UsageError(
            f"{asked.pop()} of python -m headscope",
            "the command headscope: a shell completes one word's arguments",
            "install headscope, as the README says, and run headscope --install-completion",
        )


def _run() -> None:
    try:
        app(prog_name=program())
    except SystemExit as stop:
        if stop.code == 130:  # typer's own answer to Ctrl-C, which says nothing
            raise KeyboardInterrupt from None
        # Python would flush after the last chance to explain a full disk.
        sys.stdout.flush()
        raise


def _stop(message: str, code: int) -> None:
    sys.stderr.write(f"headscope: {message}\n")
    raise SystemExit(code) from None


def _explained(error: Exception) -> str:
    given = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    if isinstance(error, MemoryError) or "OutOfMemory" in given or "allocate memory" in given:
        return str(HeadscopeError(given, "enough memory", "give a smaller --batch-size or -n, or another --device"))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return str(HeadscopeError(given, "space on the disk that is written to", "free some space"))
    expected = "no such problem: this is a fault of headscope or of a library below it"
    fix = "run again with HEADSCOPE_DEBUG=1 for the full trace, and report it"
    return str(HeadscopeError(given, expected, fix))


def _drop_output() -> None:
    """Python writes what is left of the output once more on leaving; after a full disk that would only fail again."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _nothing(**_: Any) -> None:
    pass
