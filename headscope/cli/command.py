"""How every command is entered: its environment variables, `--verbose`, and its place in the help."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from headscope.cli import options
from headscope.cli.refusing import refusal, unknown_command
from headscope.errors import HeadscopeError, UsageError


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
        """What is wrong is told in three parts; an empty value, such as that of a variable which a script forgot to
        set, is no default in disguise.

        Raises:
            UsageError: if something is.
        """
        if ctx.resilient_parsing:
            _leave(self.get_params(ctx))
            return super().parse_args(ctx, args)
        params: list[Any] = [param for param in self.params if param.param_type_name == "option"]
        several = {word: param.multiple for param in params for word in param.opts}
        typed = [*pairwise(args), *(word.partition("=")[::2] for word in args if "=" in word)]
        for name, value in typed:
            if name in several and not (value.strip(" ,") if several[name] else value):
                raise UsageError(f"an empty value of {name}", "a value", "give one, or leave the option out")
        with _told(ctx):
            return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        """`--help` takes no value, and shows none."""
        return _bare(super().get_help_option(ctx))


def _leave(params: Any) -> None:
    """At Tab values are left as they were typed: what makes numbers and paths of them takes longer than the rest."""
    for param in params:
        param.process_value = _same


def _same(_: Any, value: Any) -> Any:
    return value


@contextlib.contextmanager
def _told(ctx: Any) -> Iterator[None]:
    """Errors of typer's own, whichever class this version of it has for them, in three parts."""
    try:
        yield
    except HeadscopeError:
        raise
    except Exception as problem:
        if not hasattr(problem, "format_message") or type(problem).__name__ == "NoArgsIsHelpError":
            raise
        raise refusal(problem, ctx) from None


class Group(TyperGroup):
    """A command with commands below it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What is wrong is told in three parts.

        Raises:
            UsageError: if something is.
        """
        if ctx.resilient_parsing:
            _leave(self.get_params(ctx))
        with _told(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called.

        Raises:
            UsageError: if there is none of that name, with the nearest.
        """
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            known = [each for each in self.list_commands(ctx) if not self.commands[each].hidden]
            raise unknown_command(name, known, ctx.command_path)
        return super().resolve_command(ctx, args)

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
