"""How every command is entered: its environment variables, `--verbose`, and its place in the help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from headscope.cli import options
from headscope.errors import UsageError


class Command(TyperCommand):
    """A command, each option of which is also read from a variable with its own name, such as HEADSCOPE_FEW_SETS.

    Typer alone would name the variable after the parameter of the function, which people do not see.
    """

    def __init__(self, name: str | None, **given: Any) -> None:
        super().__init__(name, **given)
        prefix = (given.get("context_settings") or {}).get("auto_envvar_prefix", "")
        named: list[str] = []
        params: list[Any] = list(self.params)
        for param in params:
            if param.param_type_name == "option" and prefix:
                words = [word.lstrip("-") for word in param.opts]
                param.envvar = [f"{prefix}_{word.replace('-', '_').upper()}" for word in words]
                named.append(max(param.envvar, key=len))
                if "Default:" in (param.help or ""):  # told in words, which a value such as 0 would contradict
                    param.show_default = False
        if not any(param.rich_help_panel for param in params if param.name != "verbose"):
            for param in params:  # no heading for one option alone
                param.rich_help_panel = None
        if named:
            example = f"{prefix}_DEVICE" if f"{prefix}_DEVICE" in named else named[0]
            told = f"Every option has an environment variable, as {example}."
            self.epilog = f"{self.epilog}\n\n{told}" if self.epilog else told

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An empty value, such as that of a variable which a script forgot to set, is no default in disguise.

        Raises:
            UsageError: if an option is given one.
        """
        options = [word for param in self.params for word in param.opts if param.param_type_name == "option"]
        pairs = [(name, value) for name, value in pairwise(args) if name in options and value == ""]
        pairs += [(word[:-1], "") for word in args if word.endswith("=") and word[:-1] in options]
        if pairs:
            raise UsageError(f"an empty value of {pairs[0][0]}", "a value", "give one, or leave the option out")
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        """`--help` takes no value, and shows none."""
        return _bare(super().get_help_option(ctx))


class Group(TyperGroup):
    """A command with commands below it."""

    def get_params(self, ctx: Any) -> Any:
        """Typer's own switches for completion, which are added late, are shown as all others are."""
        found: list[Any] = super().get_params(ctx)
        for param in found:
            if param.param_type_name == "option":
                param.metavar, param.show_envvar = " ", False
        return found

    def get_help_option(self, ctx: Any) -> Any:
        """`--help` takes no value, and shows none."""
        return _bare(super().get_help_option(ctx))


def _bare(found: Any) -> Any:
    if found is not None:
        found.metavar = " "
    return found


def register(
    app: typer.Typer, name: str, function: Callable[..., None], *, epilog: str | None = None, below: str = ""
) -> None:
    """Enter a command: all of them have `--verbose`, and a variable for each option.

    Args:
        app: gets the command.
        name: as typed.
        function: what it does; its parameters are the arguments and options.
        epilog: examples, and what else its help says at the end.
        below: the command that it stands below, as `mini`.
    """
    prefix = "_".join(("HEADSCOPE", *([below] if below else []), name)).replace("-", "_").upper()
    settings = {"auto_envvar_prefix": prefix}
    app.command(name, cls=Command, epilog=epilog, context_settings=settings)(_verbose(function))


def _verbose(function: Callable[..., None]) -> Callable[..., None]:
    """The same command with `--verbose`."""
    signature = inspect.signature(function, eval_str=True)
    added = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=options.Verbose)

    @functools.wraps(function)
    def told(*given: Any, verbose: bool = False, **named: Any) -> None:
        from headscope.cli.telling import telling

        with telling(wanted=verbose):
            function(*given, **named)

    wrapped: Any = told
    wrapped.__signature__ = signature.replace(parameters=[*signature.parameters.values(), added])
    wrapped.__annotations__ = {each.name: each.annotation for each in wrapped.__signature__.parameters.values()}
    return told
