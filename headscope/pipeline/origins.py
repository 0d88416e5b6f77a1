"""What a function that a user wrote depends on: its source, and the values that it was made with."""

import dis
import functools
import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from headscope import provenance
from headscope.cells.code import PACKAGE

OURS, LIBRARY = "headscope", "library"
LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, Path, Enum, torch.dtype, torch.device)
_CALLED = (FunctionType, BuiltinFunctionType, MethodType, functools.partial)
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_MOST = 100
"""Functions that may be wrapped around one another."""


class _Unknown(Exception):
    """Something that could change without a trace."""


def origin(function: Any) -> str | None:
    """What a function is: its name in headscope, or a hash of its source and of the values that it was made with.

    Counted are the file that it stands in (in a notebook: its own text), the defaults of its parameters, what it holds
    of functions around it, and what it names: functions, modules and values; of libraries their versions.

    Args:
        function: of a method, a task or a metric.

    Returns:
        Such as `headscope.methods.patching.patching`, whose sources are part of every key anyway; or 64 hexadecimal
        digits. None where that cannot be known: there is no source, as of functions typed into a shell, or there is a
        value of a kind that cannot be compared, such as a model. Cost: reads the file.

    Example:
        >>> from headscope.methods.patching import patching
        >>> origin(patching), len(origin(functools.partial(patching, memory=1)))
        ('headscope.methods.patching.patching', 64)
        >>> scope = {}
        >>> exec("def typed(model, pairs): ...", scope)
        >>> origin(scope["typed"]) is None
        True
    """
    try:
        told = _told(function, [])
    except (_Unknown, RecursionError):
        return None
    ours = len(told) == 1 and str(told[0]).startswith(f"{OURS}.")
    return str(told[0]) if ours else hashlib.sha256(json.dumps(told).encode()).hexdigest()


def is_ours(found: str | None) -> bool:
    """Whether an origin is that of a function of headscope, which every process has.

    Args:
        found: from `origin`.
    """
    return found is not None and found.startswith(f"{OURS}.")


def _told(value: Any, seen: list[Any]) -> list[Any]:
    """A value as JSON: other values give another text, if not always the other way round."""
    if isinstance(value, _PLAIN):
        return [type(value).__qualname__, repr(value)]
    for at, each in enumerate(seen):
        if each is value:  # a function that calls itself, a list that holds itself
            return ["again", at]
    seen.append(value)
    if isinstance(value, _CALLED) or hasattr(value, "__wrapped__"):
        return _function(value, seen)
    if isinstance(value, ModuleType):
        return _file(value, getattr(value, "__file__", None))
    if isinstance(value, type):
        return _file(value, getattr(sys.modules.get(value.__module__), "__file__", None))
    if isinstance(value, torch.Tensor | np.ndarray):
        return _array(value)
    return _collected(value, seen)


def _collected(value: Any, seen: list[Any]) -> list[Any]:
    kind = type(value)
    if isinstance(value, dict):
        return [kind.__qualname__, *([_told(name, seen), _told(each, seen)] for name, each in value.items())]
    if isinstance(value, list | tuple):
        return [kind.__qualname__, *(_told(each, seen) for each in value)]
    if isinstance(value, set | frozenset):
        return [kind.__qualname__, *sorted((_told(each, seen) for each in value), key=json.dumps)]
    if is_dataclass(value):
        return [_told(kind, seen), *(_told(getattr(value, item.name), seen) for item in fields(value))]
    if _place(getattr(sys.modules.get(kind.__module__), "__file__", None)) == "" and hasattr(value, "__dict__"):
        return [_told(kind, seen), _told(vars(value), seen)]
    raise _Unknown


def _array(value: Any) -> list[Any]:
    name = str(value.dtype)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if value.dtype.hasobject:
        raise _Unknown
    return ["array", name, list(value.shape), provenance.digest(np.ascontiguousarray(value).tobytes())]


def _file(thing: Any, path: str | None) -> list[Any]:
    """A module or a class: of a library its version, of the user's the file that it stands in."""
    name = f"{getattr(thing, '__module__', '')} {getattr(thing, '__qualname__', getattr(thing, '__name__', ''))}"
    place = _place(path)
    if place == OURS:
        return [OURS, name]
    if place:
        return [name, _version(thing)]
    if path is None or not Path(path).is_file():
        raise _Unknown
    return [name, provenance.digest(Path(path))]


def _place(file: str | None) -> str:
    """Where a file lies: in `headscope`, in a `library`, or in neither (empty)."""
    if file is None or file.startswith(("<frozen ", "<@beartype")):  # built in, or made to check what it is given
        return LIBRARY
    path = Path(file).resolve()
    if path.is_relative_to(PACKAGE):
        return OURS
    return LIBRARY if any(path.is_relative_to(each) for each in LIBRARIES) else ""


def _version(thing: Any) -> str:
    module = str(getattr(thing, "__module__", None) or getattr(thing, "__name__", ""))
    return str(getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))


def _function(value: Any, seen: list[Any]) -> list[Any]:
    if isinstance(value, functools.partial):
        return ["partial", *(_told(each, seen) for each in (value.func, value.args, value.keywords))]
    if isinstance(value, MethodType):
        return ["method", _told(value.__func__, seen), _told(value.__self__, seen)]
    links, outermost = list(_links(value)), len(seen) == 1
    told: list[Any] = []
    for link in links:
        code, last = getattr(link, "__code__", None), link is links[-1]
        place = LIBRARY if code is None else _place(code.co_filename)
        if place == "" or (place == LIBRARY and outermost and last and code is not None):
            told += [_source(link), *_held(link, seen), *_named(link, seen)]
        elif last:
            told += [f"{link.__module__}.{link.__qualname__}", *([] if place == OURS else [_version(link)])]
            told += _cells(link, seen) if place == OURS else []
    return told


def _links(function: Any) -> Iterator[Any]:
    """A function, and those that it was wrapped around, inwards."""
    for _ in range(_MOST):
        yield function
        if not hasattr(function, "__wrapped__"):
            return
        function = function.__wrapped__
    raise _Unknown


def _source(function: Any) -> str:
    """The file that a function stands in, with all that it uses from there; else its own text."""
    path = Path(function.__code__.co_filename)
    try:
        return provenance.digest(path) if path.is_file() else inspect.getsource(function)
    except (OSError, TypeError):
        raise _Unknown from None


def _held(function: Any, seen: list[Any]) -> list[Any]:
    """The defaults of a function's parameters, and what it holds of functions around it."""
    defaults = (function.__defaults__ or (), function.__kwdefaults__ or {})
    return [function.__qualname__, *(_told(each, seen) for each in defaults), *_cells(function, seen)]


def _cells(function: Any, seen: list[Any]) -> list[Any]:
    try:
        return [_told(cell.cell_contents, seen) for cell in getattr(function, "__closure__", None) or ()]
    except ValueError:  # a name that has no value yet
        raise _Unknown from None


def _named(function: Any, seen: list[Any]) -> list[Any]:
    """What a function names outside itself."""
    filed, found = Path(function.__code__.co_filename).is_file(), []
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        try:
            found += [name, _told(function.__globals__[name], seen)]
        except _Unknown:
            if not filed:  # else the file says what it is
                raise
    return found


def _names(code: CodeType) -> set[str]:
    own = {str(each.argval) for each in dis.get_instructions(code) if each.opname in _GLOBAL}
    return own.union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))
