"""What was typed wrong, in headscope's three parts: typer would say it in its own way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from headscope.errors import UsageError, meant

EXPECTED = {
    r"(?:as an|valid) integer": "a whole number",
    r"as a number|valid (?:number|float)": "a number",
    r"(?:greater than or equal to|x>=) ?([-\d.]+)": "a number from {}",
    r"(?:less than or equal to|x<=) ?([-\d.]+)": "a number up to {}",
    r"boolean|unable to interpret": "1 or 0",
}
"""What typer's words for a value that does not fit mean."""


def refusal(problem: Any, context: Any) -> UsageError:
    """An error of typer's in three parts.

    Args:
        problem: what typer raised.
        context: of the command that was called.
    """
    name = type(problem).__name__
    made = {"NoSuchOption": _unknown, "MissingParameter": _missing, "BadParameter": _unfit, "BadOptionUsage": _lonely}
    return made.get(name, _other)(problem, context)


def unknown_command(name: str, known: Sequence[str], path: str) -> UsageError:
    """A command that there is not.

    Args:
        name: as typed.
        known: those that there are.
        path: the command that it stands below.

    Example:
        >>> print(unknown_command("analyse", ["analyze", "few"], "headscope"))
        command 'analyse' of headscope
          expected: one of: analyze, few
          to fix it: did you mean 'analyze'?
    """
    fix = meant(name, known, f"see {path} --help")
    return UsageError(f"command {name!r} of {path}", f"one of: {', '.join(known)}", fix)


def _unknown(problem: Any, context: Any) -> UsageError:
    """An option that there is not."""
    name = str(problem.option_name)
    known = [max(each.opts, key=len) for each in _options(context)]
    fix = f"see {context.command_path} --help"
    if _arguments(context):
        fix += "; before a text that begins with - write --"
    fix = meant(name, known, fix) if name.startswith("--") else fix  # letters are all alike
    return UsageError(f"option {name!r} of {context.command_path}", f"one of: {', '.join(known)}", fix)


def _missing(problem: Any, context: Any) -> UsageError:
    """Arguments, or an option, without which a command cannot be understood."""
    param = problem.param
    if param.param_type_name == "option":
        name = max(param.opts, key=len)
        given, fix = f"{context.command_path} without {name}", f"add {name} {_metavar(param)}".rstrip()
        return UsageError(given, f"{name}: {_about(param)}", fix)
    needed = [each for each in _arguments(context) if each.required]
    needed = needed[needed.index(param) :] if param in needed else [param]
    names = " and ".join(_metavar(each) for each in needed)
    expected = "; ".join(f"{_metavar(each)}: {_about(each)}" for each in needed)
    return UsageError(
        f"{context.command_path} without {names}", expected,
        f"write {_usage(context)}; {context.command_path} --help has examples",
    )  # fmt: skip


def _unfit(problem: Any, context: Any) -> UsageError:
    """A value that is not of the kind that is needed."""
    param, message = problem.param, str(problem.message)
    if param is None:
        return _other(problem, context)
    option = param.param_type_name == "option"
    name, value = max(param.opts, key=len) if option else _metavar(param), _value(problem)
    given, fix = f"{name} {value!r}" if value else name, "give one" + (", or leave the option out" if option else "")
    _, among, words = message.partition("is not one of")
    if among:
        choices = re.findall(r"'([^']*)'", words)
        return UsageError(given, f"one of: {', '.join(choices)}", meant(value, choices, "choose one of these"))
    fits = [(words, found) for pattern, words in EXPECTED.items() if (found := re.search(pattern, message))]
    expected = fits[0][0].format(*fits[0][1].groups()) if fits else message.rstrip(".")
    return UsageError(given, f"{expected} ({name}: {_about(param)})", fix)


def _value(problem: Any) -> str:
    """What was typed, where typer's error still knows it."""
    cause: Any = problem.__cause__
    try:
        return str(cause.errors()[0]["input"])
    except (AttributeError, LookupError, TypeError):
        found = re.search(r"'([^']*)'", str(problem.message))
        return found.group(1) if found else ""


def _lonely(problem: Any, context: Any) -> UsageError:
    """An option without its value, or a switch with one."""
    name = str(problem.option_name)
    param = next((each for each in _options(context) if name in each.opts), None)
    told = "" if param is None else _about(param)
    if "does not take" in str(problem.message):
        return UsageError(f"{name} with a value", f"{name} alone, which is a switch", f"leave the value out: {told}")
    metavar = "VALUE" if param is None else _metavar(param)
    return UsageError(f"{name} without a value", f"{name} {metavar}: {told}", f"write a value after {name}")


def _other(problem: Any, context: Any) -> UsageError:
    """More words than a command has arguments, and whatever else typer refuses."""
    message = str(problem.format_message()).rstrip(".")
    extra = re.fullmatch(r"Got unexpected extra arguments? ?\(?s?\)? ?\((.*)\)", message)
    given = f"{extra.group(1)!r}, which {context.command_path} has no use for" if extra else message
    fix = f"leave it out, or put a text of several words in quotes; see {context.command_path} --help"
    return UsageError(given, _usage(context), fix if extra else f"see {context.command_path} --help")


def _options(context: Any) -> list[Any]:
    return [each for each in context.command.params if each.param_type_name == "option" and not each.hidden]


def _arguments(context: Any) -> list[Any]:
    return [each for each in context.command.params if each.param_type_name == "argument"]


def _metavar(param: Any) -> str:
    return str(param.metavar or "").strip() or ("" if getattr(param, "is_flag", False) else str(param.name).upper())


def _usage(context: Any) -> str:
    """How the command is typed."""
    words = [_metavar(each) if each.required else f"[{_metavar(each)}]" for each in _arguments(context)]
    return " ".join([context.command_path, *words, "[OPTIONS]"])


def _about(param: Any) -> str:
    """The first sentence of a parameter's help, without its markup."""
    text = re.sub(r"\[/?bold\]", "", str(getattr(param, "help", "") or "")).replace("\\[", "[")
    return re.split(r"\. (?=[A-Z])", text)[0].removesuffix(".").removesuffix(", ..")
