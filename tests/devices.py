"""GPUs that are not there: tensors stay on the CPU, say that they lie elsewhere, and refuse to meet those of others.

Every torch call is watched. A result lies where what it was made of lies; a call on tensors of two devices fails as it
does on real ones (a CPU scalar may meet any tensor, and a CPU index any tensor that it picks from).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")

_PICKS = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put_, Tensor.index_put}
_ACROSS = {"copy_", "set_", "set_data", "_has_compatible_shallow_copy_type"}


def _device(given: Any) -> torch.device:
    return torch.device("cuda", given) if isinstance(given, int) else torch.device(given)


class Elsewhere(TorchFunctionMode):
    """While it is entered, `.to("cuda:1")` works without any GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.device] = set()

    def place(self, value: Tensor) -> torch.device:
        with torch._C.DisableTorchFunction():
            return value.__dict__.get("_place", CPU)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return self.place(args[0])
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return self.place(args[0]).type == "cuda"
        if name in ("to", "cpu", "cuda") and isinstance(args[0], Tensor):
            return self._moved(name, args[0], args[1:], kwargs)
        if name in ("numpy", "__array__") and self.place(args[0]) != CPU:
            raise TypeError(f"can't convert {self.place(args[0])} device type tensor to numpy")
        if func == Tensor.data.__set__:  # type: ignore[attr-defined] - a module that is moved
            func(*args)
            return self.tag(args[0], self.place(args[1]))
        device = kwargs.pop("device", None)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        common = self._common(func, name, args, tensors)
        found = func(*args, **kwargs)
        if name == "grad" and tensors:  # of each input, where that lies
            inputs = tree_leaves(args[1] if len(args) > 1 else kwargs["inputs"])
            for each, own in zip(tree_leaves(found), inputs, strict=True):
                self.tag(each, self.place(own))
            return found
        for each in tree_leaves(found):
            if isinstance(each, Tensor):
                self.tag(each, common if device is None else _device(device))
        return found

    def tag(self, value: Tensor, device: torch.device) -> None:
        self.seen.add(device)
        with torch._C.DisableTorchFunction():
            value._place = device  # type: ignore[attr-defined]

    def _moved(self, name: str, value: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        target, dtype = self.place(value), kwargs.get("dtype")
        given = [*args, *(kwargs[word] for word in ("device", "other") if kwargs.get(word) is not None)]
        for each in given:
            if isinstance(each, torch.dtype):
                dtype = each
            elif isinstance(each, Tensor):
                target, dtype = self.place(each), each.dtype
            elif each is not None and not isinstance(each, bool):
                target = _device(each)
        target = CPU if name == "cpu" else _device("cuda:0") if name == "cuda" else target
        if target.type == "cuda" and target.index is None:
            target = _device("cuda:0")
        found = value if dtype in (None, value.dtype) else value.to(dtype)
        found = found.clone() if target != self.place(value) and found is value else found
        self.tag(found, target)
        return found

    def _common(self, func: Any, name: str, args: Any, tensors: list[Tensor]) -> torch.device:
        if name in _ACROSS:
            return self.place(args[0])
        places = [(self.place(each), each.dim()) for each in tensors]
        if func in _PICKS:
            own, (index, *value) = self.place(args[0]), args[1:]
            others = [self.place(each) for each in tree_leaves(index) if isinstance(each, Tensor)]
            wrong = [each for each in others if each not in (own, CPU)]
            for each in tree_leaves(value):  # a slice is copied into across devices, an index is not
                if isinstance(each, Tensor) and each.dim() and others and self.place(each) != own:
                    wrong.append(self.place(each))
            if wrong:
                raise RuntimeError(f"indices and values should be on {own}, found {wrong[0]}")
            return own
        found = {place for place, dimension in places if dimension or place != CPU}
        if len(found) > 1:
            names = " and ".join(sorted(map(str, found)))
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {names}! ({name})")
        return next(iter(found), CPU)


def dispatch(model: Any, places: dict[str, str]) -> Any:
    """Spread a Hugging Face model over devices, as accelerate does; only while the mode is entered."""
    return dispatch_model(model, device_map={**places}, skip_keys=model._skip_keys_device_placement)


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """The mode, entered, with as much memory on every device as is free here."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**30, 2**31))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    make = Tensor._make_subclass  # how a parameter is made of a tensor, which no mode sees

    def made(kind: type, data: Tensor, *more: Any, **words: Any) -> Tensor:
        found = make(kind, data, *more, **words)
        mode.tag(found, mode.place(data))
        return found

    with Elsewhere() as mode:
        monkeypatch.setattr(Tensor, "_make_subclass", staticmethod(made))
        yield mode
