"""check_method: what every method must keep to, ours and those of people who extend headscope."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from headscope import replay
from headscope.contract import Method, with_metrics
from headscope.errors import HeadscopeError
from headscope.models import Model
from headscope.prompts import Pairs, Prompts

TOLERANCE = 1e-5
"""The largest difference between results that should be equal, as a part of the largest value or metric."""

Found = Mapping[str, Tensor]  # whatever the method returned, before its shapes are known to be right

SPEED_ONLY = ("batch_size", "progress")
"""Options that every method takes and that never change its numbers."""

MEMORY = "memory"
"""An option of methods that run many forwards: bytes for intermediate results, which never changes their numbers."""

METRICS = "metrics"
"""An option of methods that read further metrics off the same runs: each adds the scores that `with_metrics` says."""

LAYERS = "layers"
"""An option of methods that can leave layers out: only the heads of those named are computed, the others are NaN."""

TINY = 2**16
"""Bytes with which next to nothing fits at once."""

SPEED_WORDS = "speed and memory only"
"""An option whose line in the docstring says this may change nothing else."""


class ContractError(HeadscopeError):
    """A method or a task that breaks its contract: what it did, what it must do, and where to look."""


def check_method(method: Method, model: Model, prompts: Prompts, *, variants: Mapping[str, Any] | None = None) -> None:
    """Raise unless a method keeps to the contract of `headscope.contract.Method` on these prompts.

    It must return its declared scores as [example, layer, head]; give the same numbers at any batch size, with any
    `memory` if it has that option, in any order of the examples and twice with one seed; give the same for examples by
    themselves, unless it says `across`; change with its seed if it has one; let every other option change something,
    `metrics` add what `headscope.contract.with_metrics` says, and `layers` leave out all others; return no infinity,
    and NaN only where its score says why; and leave the prompts, the weights and the model's hooks as they were.

    Args:
        method: the method.
        model: a small model will do.
        prompts: four or more examples of several groups and lengths.
        variants: for an option whose other values cannot be guessed: a value that is not its default.

    Raises:
        ContractError: naming the first rule that is broken. Cost: 10 calls of the method and one for each option.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.methods import METHODS
        >>> from headscope.models import load
        >>> from headscope.prompts import pad
        >>> config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=9, n_positions=8)
        >>> tokens, mask = pad([[1, 3, 4, 3], [1, 5, 5]], filler=0)
        >>> prompts = Prompts(task="own", tokens=tokens, mask=mask, groups=torch.arange(2))
        >>> check_method(METHODS["attention"], load(GPT2LMHeadModel(config), device="cpu"), prompts)
    """
    if not isinstance(prompts, method.needs):
        raise ContractError(
            f"method {method.name!r} on {type(prompts).__name__}", method.needs.__name__, "check it on what it needs"
        )
    options = _options(method)
    before, same = _Snapshot(model, prompts), _Same(method, model, prompts)
    plain = _run(method, model, prompts)
    before.compare(method)
    _check_values(method, model, prompts, plain)
    own = inspect.signature(method.function).parameters["batch_size"].default
    for size in dict.fromkeys((1, 8, 3 if own is inspect.Parameter.empty else own)):
        same.expect(_run(method, model, prompts, batch_size=size), plain, f"at batch size {size}")
    if MEMORY in options:
        same.expect(_run(method, model, prompts, memory=TINY), plain, "with little memory")
    same.expect(_run(method, model, prompts, progress=True), plain, "with a progress bar")
    order = torch.arange(len(prompts)).roll(1)
    moved = _run(method, model, prompts.select(order))
    same.expect(moved, {name: value[order] for name, value in plain.items()}, "in another order of examples")
    same.expect(_run(method, model, prompts), plain, "at a second call")
    if not method.across:
        _check_alone(same, model, prompts, plain)
    if method.seeded:
        _check_seed(same, model, prompts)
    for name, default in options.items():
        if name == METRICS:
            _check_metrics(same, model, prompts, plain)
        if name == LAYERS:
            _check_layers(same, model, prompts, plain)
        if name in {MEMORY, METRICS, LAYERS}:
            continue
        _check_option(same, model, prompts, (name, _other_value(method, name, default, variants or {})), plain)
    before.compare(method)


def _run(method: Method, model: Model, prompts: Prompts, **options: Any) -> Found:
    settings: dict[str, Any] = {"batch_size": 3} | ({"seed": 0} if method.seeded else {}) | options
    return method.function(model, prompts, **settings)


def _options(method: Method) -> dict[str, Any]:
    """The method's own options with their defaults; raises if its signature is not the contract's."""
    parameters = inspect.signature(method.function).parameters
    own = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    required = [*SPEED_ONLY, *(["seed"] if method.seeded else [])]
    missing = [name for name in required if name not in own]
    undeclared = "seed" in own and not method.seeded
    if missing or undeclared:
        problem = f"without the options {', '.join(missing)}" if missing else "with a seed that it does not declare"
        raise ContractError(
            f"method {method.name!r} {problem}",
            "(model, prompts, *, batch_size, progress), perhaps memory, and seed exactly where seeded=True",
            "correct the function's keyword-only options or the Method's `seeded`",
        )
    return {name: default for name, default in own.items() if name not in (*SPEED_ONLY, "seed")}


def _check_values(method: Method, model: Model, prompts: Prompts, values: Found) -> None:
    declared = [score.name for score in method.scores]
    if list(values) != declared:
        raise ContractError(
            f"method {method.name!r}, which returns {list(values)}",
            f"the scores that it declares, in order: {declared}",
            "correct the keys or the Method's `scores`",
        )
    shape = (len(prompts), model.grid.layers, model.grid.heads)
    for score in method.scores:
        value = values[score.name]
        found = tuple(value.shape)
        if found != shape or not value.is_floating_point():
            raise ContractError(
                f"method {method.name!r}, score {score.name!r} of shape {found} and type {value.dtype}",
                f"floats of shape [example, layer, head] = {shape}",
                "return one number for every example and head, before any mean",
            )
        if value.isinf().any() or (value.isnan().any() and not score.absent.strip()):
            raise ContractError(
                f"method {method.name!r}, score {score.name!r} with {int((~value.isfinite()).sum())} values not finite",
                "finite values, or NaN where the Score's `absent` says why",
                "look for a division by zero, or give the reason in `absent`",
            )


class _Same:
    """Whether two results of one method are equal, up to what rounding can do."""

    def __init__(self, method: Method, model: Model, prompts: Prompts) -> None:
        self.method = method
        self.metric = 0.0
        if isinstance(prompts, Pairs):
            self.metric = float(replay.start(model, prompts, prompts.tokens).metric.abs().max())

    def gap(self, one: Found, other: Found) -> float:
        """The largest difference as a part of the score's scale; infinite where only one of two is NaN.

        The scale is the score's largest value. Effects are differences of metrics: theirs is at least the metric's, for
        that is what is rounded.
        """
        least = {score.name: self.metric if score.unit is None else 0.0 for score in self.method.scores}
        gaps = [0.0]
        for name in one:
            a, b = one[name].double(), other[name].double()
            if a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
                return float("inf")
            scale = max(float(b.nan_to_num().abs().max()) if b.numel() else 0.0, least.get(name, 0.0))
            difference = float((a - b).nan_to_num().abs().max()) if b.numel() else 0.0
            gaps.append(difference / scale if scale else difference)
        return max(gaps)

    def expect(self, found: Found, expected: Found, when: str) -> None:
        """Raise unless both results are equal."""
        gap = self.gap(found, expected) if found.keys() == expected.keys() else float("inf")
        if gap > TOLERANCE:
            raise ContractError(
                f"method {self.method.name!r}, whose values differ {when}: by {gap:.2g} of the largest value",
                f"the same values, to {TOLERANCE:g}",
                "let every example's value depend on its prompt, the options and the seed alone",
            )


def _check_seed(same: _Same, model: Model, prompts: Prompts) -> None:
    method = same.method
    first = _run(method, model, prompts)
    if all(same.gap(_run(method, model, prompts, seed=seed), first) <= TOLERANCE for seed in (1, 2)):
        raise ContractError(
            f"method {method.name!r}, which gives the same values for seeds 0, 1 and 2",
            "other values for another seed",
            "use the seed, declare seeded=False, or check it on more examples",
        )


def _other_value(method: Method, name: str, default: Any, variants: Mapping[str, Any]) -> Any:
    if name in variants:
        return variants[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 1
    if isinstance(default, tuple | list) and len(default) > 1:
        return default[1:]
    raise ContractError(
        f"option {name!r} of method {method.name!r}, by default {default!r}",
        "a second value to check that it changes something",
        f"give check_method variants={{{name!r}: ...}}",
    )


def _check_option(same: _Same, model: Model, prompts: Prompts, option: tuple[str, Any], plain: Found) -> None:
    method, (name, value) = same.method, option
    changed = _run(method, model, prompts, **{name: value})
    unchanged = changed.keys() == plain.keys() and same.gap(changed, plain) <= TOLERANCE
    lines = (inspect.getdoc(method.function) or "").splitlines()
    for_speed = any(line.strip().startswith(f"{name}:") and SPEED_WORDS in line for line in lines)
    if unchanged != for_speed:
        what = "changes nothing" if unchanged else "changes the values"
        raise ContractError(
            f"option {name!r} of method {method.name!r}: {value!r} {what}",
            "every option changes something" if unchanged else f"nothing, for its docstring says {SPEED_WORDS!r}",
            f"remove it, or say {SPEED_WORDS!r} in its line" if unchanged else "correct the method or its docstring",
        )


def _check_metrics(same: _Same, model: Model, prompts: Prompts, plain: Found) -> None:
    """Further metrics add their scores, which do not follow from their order, and leave the others as they were."""
    method, also = same.method, ("kl", "accuracy")
    if not isinstance(prompts, Pairs):
        raise ContractError(f"method {method.name!r} with metrics of prompts", "metrics of pairs", "let it need Pairs")
    found = _run(method, model, prompts, **{METRICS: also})
    _check_values(with_metrics(method, prompts, also), model, prompts, found)
    same.expect({name: found[name] for name in plain}, plain, "with further metrics")
    turned = _run(method, model, prompts, **{METRICS: also[::-1]})
    same.expect({name: turned[name] for name in found}, found, "with further metrics in another order")


def _check_alone(same: _Same, model: Model, prompts: Prompts, plain: Found) -> None:
    """An example by itself gives what it gives in company: so its value can be kept when others come and go."""
    lengths = prompts.mask.sum(1)
    for row in {int(lengths.argmin()), int(lengths.argmax())}:
        alone = _run(same.method, model, prompts.select(torch.tensor([row])))
        expected = {name: value[row : row + 1] for name, value in plain.items()}
        same.expect(alone, expected, f"when example {row} is by itself (declare across=True if it must)")


def _check_layers(same: _Same, model: Model, prompts: Prompts, plain: Found) -> None:
    """Only the heads of the named layers are computed, and as they are among all."""
    for layer in range(model.grid.layers):
        found = _run(same.method, model, prompts, **{LAYERS: [layer]})
        expected = {name: torch.full_like(value, torch.nan) for name, value in plain.items()}
        for name, value in plain.items():
            expected[name][:, layer] = value[:, layer]
        same.expect(found, expected, f"with layers=[{layer}]: all but that layer must be NaN, and it as among all")


class _Snapshot:
    """The prompts, the weights and the hooks at one moment."""

    def __init__(self, model: Model, prompts: Prompts) -> None:
        self.model, self.prompts = model, prompts
        self.prompt_tensors = {name: value.clone() for name, value in _tensors(prompts)}
        self.weights = {name: value.clone() for name, value in _weights(model)}
        self.logits = model.run(prompts.tokens, prompts.mask)
        self.hooks = _hooks(model)  # after a first run: TransformerLens places some of its own at that time

    def compare(self, method: Method) -> None:
        """Raise unless all is as it was."""
        rules: tuple[tuple[str, Callable[[], bool]], ...] = (
            ("the prompts", lambda: _equal(self.prompt_tensors, dict(_tensors(self.prompts)))),
            ("the model's weights", lambda: _equal(self.weights, dict(_weights(self.model)))),
            ("the model's hooks", lambda: self.hooks == _hooks(self.model)),
            ("what the model computes", lambda: self._same_logits()),
        )
        for what, unchanged in rules:
            if not unchanged():
                raise ContractError(
                    f"method {method.name!r}, which changes {what}",
                    "prompts, weights and hooks as they were before the call",
                    "work on copies, and remove hooks in a finally block",
                )

    def _same_logits(self) -> bool:
        real = self.prompts.mask.to(self.logits.device)
        return torch.equal(self.model.run(self.prompts.tokens, self.prompts.mask)[real], self.logits[real])


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _tensors(prompts: Prompts) -> Iterator[tuple[str, Tensor]]:
    for item in fields(prompts):
        value = getattr(prompts, item.name)
        if isinstance(value, Tensor):
            yield item.name, value
    yield from ((f"positions.{name}", value) for name, value in prompts.positions.items())


def _modules(model: Model) -> list[nn.Module]:
    return [part for part in getattr(model, "__dict__", {}).values() if isinstance(part, nn.Module)]


def _weights(model: Model) -> Iterator[tuple[str, Tensor]]:
    for name in ("W_Q", "W_K", "W_V", "W_O", "W_E", "W_U"):
        yield name, getattr(model, name)
    for part in _modules(model):
        yield from ((name, value.detach()) for name, value in part.named_parameters())


def _hooks(model: Model) -> dict[str, int]:
    """How many hooks every part of the model has."""
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = [named for module in _modules(model) for named in module.named_modules()]
    return {name: sum(len(getattr(part, table, ())) for table in tables) for name, part in parts}
