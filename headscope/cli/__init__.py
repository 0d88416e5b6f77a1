"""The `headscope` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys

import typer

from headscope.cli import analysis, bundled, information
from headscope.errors import HeadscopeError

app = typer.Typer(
    name="headscope",
    help=(
        "Which attention heads of a transformer matter, for what, and how sure are we?\n\n"
        "Start with [bold]headscope analyze[/bold]: it scores every head of the bundled model in under a minute and "
        "writes a report that opens in any browser. Then give it your own model."
    ),
    epilog="Every option can also be set as HEADSCOPE_<COMMAND>_<OPTION>, for example HEADSCOPE_ANALYZE_DEVICE=cuda.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "HEADSCOPE"},
)
app.command("analyze")(analysis.analyze)
app.command("list")(information.listing)
app.command("doctor")(information.doctor)
app.add_typer(bundled.app, name="mini")


def _complain(message: str) -> None:
    sys.stderr.write(f"headscope: {message}\n")


def main() -> None:
    """Run the command line: problems are told in three parts, with exit code 1 (failed), 2 (bad input) or 130 (Ctrl-C)."""
    try:
        app()
    except HeadscopeError as error:
        _complain(str(error))
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _complain("interrupted before any result was finished")
        raise SystemExit(130) from None
    except Exception as error:
        if os.environ.get("HEADSCOPE_DEBUG"):
            raise
        _complain(
            f"{type(error).__name__}: {error}\n  expected: no such problem: this is a fault of headscope or of a library "
            "below it\n  to fix it: run again with HEADSCOPE_DEBUG=1 for the full trace, and report it"
        )
        raise SystemExit(1) from None
