"""Models over several devices, or partly on disk: what goes where, where they run, and how their weights are read.

Hugging Face's `device_map` does the placing. A block's weights stay where the map puts them, and what is computed with
them is computed there; all that headscope keeps, compares or edits is gathered on one device, the model's `home`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headscope.errors import ModelError, UsageError

WORDS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Maps that Hugging Face makes by itself."""
SLOW = ("cpu", "disk")

_EXPECTED = f"one of {', '.join(WORDS)}; or a device for every part, such as {{'model.layers.0': 'cuda:1', ...}}"
_MIXED = "GPUs alone, or cpu and disk alone: a mix of both has never been tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a model is to be spread.

    Attributes:
        device_map: a word of `WORDS`, or a device for each part.
        max_memory: the most that each device may take; None: what is free.
        offload: a folder for weights on disk that cannot stay in the model's own files; None: there is none.
    """

    device_map: str | dict[str, Any]
    max_memory: dict[int | str, Any] | None = None
    offload: str | None = None

    def told(self) -> dict[str, Any]:
        """The words of Hugging Face's `from_pretrained`."""
        return {"device_map": self.device_map, "max_memory": self.max_memory, "offload_folder": self.offload}


def asked(
    device_map: str | Mapping[str, Any] | None, *, max_memory: Any = None, offload: Any = None, device: str = "auto"
) -> Spread | None:
    """What was asked for, checked; None where the model is to lie on one device.

    Args:
        device_map: a word, a mapping, or the path of a JSON file that holds one.
        max_memory: a mapping from devices to amounts, or its text, such as `0=20GiB,1=20GiB,cpu=64GiB`.
        offload: a folder.
        device: the one device that was asked for; with a map it must be `auto`.

    Raises:
        UsageError: if they contradict each other, or are not what they should be.

    Example:
        >>> asked({"": "cpu"}), asked(None)
        (Spread(device_map={'': 'cpu'}, max_memory=None, offload=None), None)
    """
    if device_map is None:
        if max_memory is not None or offload is not None:
            given = "max_memory without device_map" if offload is None else "offload without device_map"
            raise UsageError(given, "a device_map as well", "add a device_map such as auto, or leave it out")
        return None
    if device != "auto":
        given = f"device {device!r} together with a device_map"
        raise UsageError(given, "one of the two: one device for all, or a map over several", "leave the device out")
    found = device_map if isinstance(device_map, str) and device_map in WORDS else _map(device_map)
    folder = None if offload is None else str(offload)
    return Spread(device_map=found, max_memory=_budgets(max_memory), offload=folder)


def _map(given: Any) -> dict[str, Any]:
    if isinstance(given, str) and given.endswith(".json"):
        try:
            given = json.loads(Path(given).read_text())
        except (OSError, ValueError, RecursionError) as problem:
            wrong = f"device_map file {given!r}, which cannot be read: {problem}"
            raise UsageError(wrong, "a JSON file with a device for every part", "correct the path or file") from problem
    if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) for name in given):
        raise UsageError(f"device_map {given!r:.100}", _EXPECTED, "use auto")
    found = {name: device if device == "disk" else device_of(device, part=name) for name, device in given.items()}
    if _mixed(found.values()):
        raise UsageError("a device_map that mixes GPUs with cpu or disk", _MIXED, "use auto, or leave some out")
    return {name: _name(device) for name, device in found.items()}


def device_of(name: Any, *, part: str | None = None) -> torch.device:
    """A device that this machine has.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, `mps`, or the number of a GPU.
        part: of a device_map, for the message.

    Raises:
        UsageError: if it is none, or is not there.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    given = f"device {name!r:.100}" if part is None else f"device {name!r:.100} for part {part!r:.100} in a device_map"
    fix = "use auto" if part is None else "correct it, or use auto instead of a device for every part"
    try:
        device = torch.device("cuda", name) if type(name) is int else torch.device(name)
    except (RuntimeError, TypeError) as problem:
        known = "auto, cpu, cuda, cuda:N or mps" if part is None else "cpu, disk, cuda:N or the number of a GPU"
        raise UsageError(given, known, fix) from problem
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= present.get(device.type, 0):
        found = ", ".join(f"{count} {kind}" for kind, count in present.items() if count)
        raise UsageError(f"{given}, which is not there", f"a device of this machine: {found}", fix)
    return device


def _budgets(given: Any) -> dict[int | str, Any] | None:
    if given is None:
        return None
    from accelerate.utils import convert_file_size_to_int

    told = given
    if isinstance(told, str):
        told = {name.strip(): size.strip() for name, _, size in (part.partition("=") for part in told.split(","))}
    try:
        found = {int(name) if str(name).isdigit() else name: size for name, size in dict(told).items()}
        wrong = [name for name in found if not (isinstance(name, int) or name in ("cpu", "mps"))]
        for size in found.values():
            convert_file_size_to_int(size)
    except (TypeError, ValueError, AttributeError):  # the last for a size that is neither text nor whole
        found, wrong = {}, [""]
    if wrong or not found:
        expected = "an amount for each device, such as 0=20GiB,1=20GiB,cpu=64GiB"
        raise UsageError(f"max_memory {given!r:.100}", expected, "name GPUs by number, and the memory as cpu")
    return found


def _name(device: Any) -> str:
    return device if device == "disk" else str(torch.device("cuda", device) if type(device) is int else device)


def _mixed(devices: Any) -> bool:
    slow = [_name(device).partition(":")[0] in SLOW for device in devices]
    return any(slow) and not all(slow)


def placed(model: Any) -> dict[str, str] | None:
    """Which part lies on which device, `disk` included; None for a model on one device.

    Args:
        model: a Hugging Face model, wrapped or not.

    Example:
        >>> placed(nn.Linear(2, 2)) is None
        True
    """
    found = getattr(model, "hf_device_map", None) or {}
    named = {name: _name(device) for name, device in found.items()}
    return named if len(set(named.values())) > 1 or "disk" in named.values() else None


def home(model: Any) -> torch.device:
    """Where all that is kept is gathered: for a model over several devices, where its logits come out.

    Args:
        model: a Hugging Face model, wrapped or not.

    Example:
        >>> home(nn.Linear(2, 2))
        device(type='cpu')
    """
    found = placed(model)
    if found is None:
        return next(model.parameters()).device
    if any(device in SLOW for device in found.values()):
        return torch.device("cpu")
    head = model.get_output_embeddings()
    return next((model if head is None else head).parameters()).device


def apart(model: nn.Module, places: Mapping[str, str]) -> dict[str, str]:
    """A map of parts none of which lies inside another, which is what accelerate can put on disk.

    Args:
        model: whose parts they are.
        places: a device for each; what stands nearest to a part counts.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
        >>> apart(model, {"": "cpu", "1.0": "disk"})
        {'0': 'cpu', '1.0': 'disk', '1.1': 'cpu'}
    """
    found: dict[str, str] = {}

    def walk(name: str, module: nn.Module | None, device: str | None) -> None:
        device = places.get(name, device)
        start = f"{name}." if name else ""
        if module is None or not any(each != name and each.startswith(start) for each in places):
            if device is not None:
                found[name] = device
            return
        for below, _ in module.named_parameters(recurse=False):
            walk(start + below, None, device)
        for below, child in module.named_children():
            walk(start + below, child, device)

    walk("", model, None)
    return found


def lies(module: nn.Module, otherwise: torch.device) -> torch.device:
    """Where a module computes.

    Args:
        module: any.
        otherwise: where one without weights of its own in memory does.

    Example:
        >>> lies(nn.LayerNorm(2), torch.device("meta"))
        device(type='cpu')
    """
    first = next(module.parameters(), None)
    return otherwise if first is None or first.is_meta else first.device


def entry(model: Any) -> torch.device:
    """Where tokens go in.

    Args:
        model: a Hugging Face model that is not wrapped.
    """
    first = next(model.get_input_embeddings().parameters()).device
    return home(model) if first.type == "meta" else first


def refuse(model: Any, *, name: str) -> None:
    """Refuse a model whose parts lie where they cannot be used.

    Args:
        model: a Hugging Face model that is not wrapped.
        name: what to call it in errors.

    Raises:
        ModelError: if GPUs are mixed with cpu or disk, or weights are neither in memory nor on disk.
    """
    found = placed(model)
    if found is not None and _mixed(found.values()):
        fewer = "use more GPUs, a smaller dtype, or the cpu alone: max_memory of 0 for every GPU"
        raise ModelError(f"model {name!r}, of which only a part fits the GPUs", _MIXED, fewer)
    for where, _, value in _offloaded(model):
        if found is None or _source(where) is None:
            given = f"model {name!r}, whose weights (such as one of {tuple(value.shape)}) are not in memory"
            fix = "load it with its weights, or by from_pretrained(..., device_map=...)"
            raise ModelError(given, "weights in memory, or on disk where a device_map put them", fix)


def _offloaded(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None and value.is_meta:
                yield module, name, value


def _source(module: nn.Module) -> Any:
    """Where Hugging Face's accelerate finds the weights of a module that it has put on disk."""
    hook: Any = getattr(module, "_hf_hook", None)
    for each in (hook, *getattr(hook, "hooks", ())):
        if getattr(each, "offload", False) and (found := each.weights_map) is not None:
            return found
    return None


def read(module: nn.Module, name: str) -> Tensor | None:
    """One weight of a module, from disk if it lies there; None where it has none.

    Args:
        module: that owns it.
        name: such as `weight`.

    Example:
        >>> read(nn.Linear(2, 3), "bias").shape
        torch.Size([3])
    """
    value = getattr(module, name)
    source = _source(module) if value is not None and value.is_meta else None
    return None if value is None else (value if source is None else source[name]).detach()


def weights(model: nn.Module, *, ordered: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Every parameter by name, with its numbers; those on disk are read one at a time.

    Args:
        model: any module.
        ordered: in the order of their names, not of the modules.

    Example:
        >>> [name for name, _ in weights(nn.Linear(2, 3))]
        ['weight', 'bias']
    """
    away = {id(value): (module, name) for module, name, value in _offloaded(model)}
    named = list(model.named_parameters())
    for name, value in sorted(named, key=lambda each: each[0]) if ordered else named:
        found = read(*away[id(value)]) if id(value) in away else value.detach()
        yield name, value if found is None else found


@contextmanager
def present(*modules: nn.Module) -> Iterator[None]:
    """Have the weights of modules in memory for a while, if they lie on disk.

    Args:
        modules: with all that is inside them.

    Example:
        >>> with present(nn.Linear(2, 3)):
        ...     pass
    """
    away = {id(owner): owner for module in modules for owner, _, _ in _offloaded(module)}
    with ExitStack() as stack:
        if away:
            from accelerate.utils import align_module_device

            for owner in away.values():
                stack.enter_context(align_module_device(owner))
        yield


def like(fresh: Any, model: Any) -> Any:
    """Another model of the same class, put where a model lies; what lies on disk stays in memory.

    Args:
        fresh: on the CPU.
        model: whose places it takes.
    """
    found = placed(model)
    if found is None or "disk" in found.values():
        return fresh.to(home(model))
    from accelerate import dispatch_model

    return dispatch_model(fresh, device_map={**found}, skip_keys=fresh._skip_keys_device_placement)
