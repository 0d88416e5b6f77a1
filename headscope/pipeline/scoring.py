"""From a block to its values, and from values to tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from headscope.cells import Cell, Store
from headscope.contract import Method, table, with_metrics
from headscope.errors import RunError, UsageError
from headscope.models import Model
from headscope.models.determined import determined
from headscope.pipeline import keys
from headscope.pipeline.blocks import Block, lay_out, options_of
from headscope.pipeline.halving import in_halves
from headscope.pipeline.planning import Plan
from headscope.pipeline.sheet import Sheet
from headscope.pipeline.states import Setting
from headscope.progress import step
from headscope.prompts import Pairs

KIND = "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The values of a block.

    Attributes:
        arrays: score -> [example, layer, head] of the block's examples and layers.
        refused: why the method does not fit the model or the task; empty where it does.
    """

    arrays: Mapping[str, np.ndarray]
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every block of an analysis is computed from; another process makes the same of the model and the plan.

    Attributes:
        setting: the model and how to run it.
        plan: the plan.
        pairs: task -> its examples.
        facts: what determines the model's numbers; None: nothing can be kept.
        origins: what the functions of methods and metrics are, from `keys.origins`.
    """

    setting: Setting
    plan: Plan
    pairs: Mapping[str, Pairs]
    facts: keys.Facts
    origins: Mapping[str, str | None] = field(default_factory=dict)

    def what(self, block: Block) -> Any:
        """What determines a block's values, as `headscope.pipeline.keys.values` has it.

        Args:
            block: one of the analysis.
        """
        asked = keys.Asked(seed=self.plan.seed, metrics=self.setting.metrics, origins=self.origins)
        return keys.values(self.facts, self.pairs[block.task], self.plan.method(block.method), block, asked)

    def unkept(self) -> list[str]:
        """Functions whose results cannot be kept, in words."""
        return [
            f"{what}, whose source or a value in it cannot be told from another"
            for what, each in self.origins.items()
            if each is None
        ]


Executor = Callable[[Work, Sequence[Block]], Iterable[tuple[Block, Measured]]]
"""Computes blocks, in any order, and gives each as soon as it is done."""


def work_of(
    model: Model, plan: Plan, pairs: Mapping[str, Pairs], *, progress: bool = False, keeps: bool = True
) -> Work:  # fmt: skip
    """What blocks are computed from.

    Args:
        model: the model.
        plan: the plan.
        pairs: task -> its examples, from `build_tasks`.
        progress: draw progress bars.
        keeps: blocks are kept, so that the model must be told from all others. Cost: a pass over the weights.
    """
    setting = Setting(model, plan.batch_size, plan.memory, progress, plan.metrics[1:])
    methods = [plan.method(name) for name in plan.method_names]
    origins = keys.origins(pairs, methods) if keeps else {}
    return Work(setting=setting, plan=plan, pairs=pairs, facts=determined(model) if keeps else None, origins=origins)


def blocks_of(work: Work) -> tuple[Block, ...]:
    """All blocks of an analysis, in order, with their keys.

    Args:
        work: what they are computed from.
    """
    model = work.setting.model
    width = int(model.identity.get("d_model") or model.grid.heads * model.d_head)
    found = []
    for pairs in work.pairs.values():
        for name in work.plan.method_names:
            laid = lay_out(work.plan.method(name), pairs, model.grid, width=width, device=model.device.type)
            for block in laid:
                what = work.what(block)
                key = "" if what is None else Cell(kind=KIND, what=what).key
                found.append(Block(**{**_parts(block), "key": key}))
    return tuple(found)


def _parts(block: Block) -> dict[str, Any]:
    return {name: getattr(block, name) for name in ("task", "method", "rows", "layers")}


def compute(work: Work, block: Block) -> Measured:
    """The values of one block.

    Args:
        work: what it is computed from; in another process than the one that laid it out, made anew.
        block: one of `blocks_of`.

    Raises:
        RunError: if the block was laid out for other prompts, another model or another headscope.
    """
    what = work.what(block)
    if block.key and (what is None or Cell(kind=KIND, what=what).key != block.key):
        given = f"a block of {block.method} on {block.task} that was laid out for another model, prompts or headscope"
        raise RunError(given, "the same model, plan and version in every process", "start all of them from one command")
    part, method = keys.rows_of(work.pairs[block.task], block), work.plan.method(block.method)
    span = None if block.layers is None else range(*block.layers)
    found, refused = _values(work.setting, part, method, work.plan.seed, span)
    layers = slice(None) if span is None else slice(*block.layers) if block.layers else slice(None)
    return Measured(arrays={name: _array(value[:, layers]) for name, value in found.items()}, refused=refused)


def local(work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Measured]]:
    """Compute blocks one after the other, in this process.

    Args:
        work: what they are computed from.
        blocks: which.
    """
    for block in blocks:
        yield block, compute(work, block)


def measured(
    work: Work, sheet: Sheet, store: Store, executor: Executor, found: dict[Block, Measured]
) -> None:  # fmt: skip
    """The values of all blocks: those that are kept are read, the others computed, and kept at once.

    Args:
        work: what they are computed from.
        sheet: all blocks.
        store: where they are kept.
        executor: computes those that are not there.
        found: block -> its values; filled as they come, so that what is there outlasts an interruption.
    """
    read_kept(sheet, store, found)
    missing = [block for block in sheet.blocks if block not in found]
    for block, values in executor(work, missing) if missing else ():
        store.tally.computed.append(KIND)
        keep(work, store, {block: values})
        found[block] = values


def keep(work: Work, store: Store, found: Mapping[Block, Measured]) -> None:
    """Keep the values of blocks that can be kept and are not there yet.

    Args:
        work: what they were computed from.
        store: where they are kept.
        found: block -> its values.
    """
    for block, values in found.items():
        # What memory had no room for may fit the next time: memory is not among what names a cell.
        if block.key and "memory" not in values.refused:
            what = work.what(block)
            store.keep(Cell(kind=KIND, what=what, notes={"refused": values.refused}, arrays=values.arrays))


def read_kept(sheet: Sheet, store: Store, found: dict[Block, Measured]) -> None:
    """The values of those blocks that are kept.

    Args:
        sheet: all blocks.
        store: where they are kept.
        found: block -> its values; filled.
    """
    for block in sheet.blocks:
        cell = store.find(block.key) if block.key else None
        if cell is not None and not _fits(sheet, block, cell):
            store.tally.damaged.append(f"{block.key}: its values are not those of its heads and examples")
        elif cell is not None:
            found[block] = Measured(arrays=cell.arrays, refused=str(cell.notes.get("refused", "")))
            store.tally.reused.append(KIND)


def _fits(sheet: Sheet, block: Block, cell: Cell) -> bool:
    """Whether a cell holds what a block is to: a checksum is no signature."""
    first, last = block.layers or (0, sheet.grid.layers)
    shape = (block.rows[1] - block.rows[0], last - first, sheet.grid.heads)
    return all(array.shape == shape and array.dtype.kind == "f" for array in cell.arrays.values())


def tables(
    sheet: Sheet, found: Mapping[Block, Measured]
) -> tuple[list[pd.DataFrame], dict[str, Tensor]]:  # fmt: skip
    """A table for each task and method of which all blocks are there, and the values behind them.

    Args:
        sheet: all blocks.
        found: block -> its values.

    Returns:
        Tidy rows, in the order of the plan, and `task.method.score` -> [example, layer, head].
    """
    frames, examples = [], {}
    for task, name in sheet.combinations:
        blocks = [block for block in sheet.blocks if (block.task, block.method) == (task, name)]
        if not all(block in found for block in blocks):
            continue
        values = _united(sheet, task, [(block, found[block]) for block in blocks])
        method = sheet.method(task, name)
        frame = table(values, sheet.prompts(task), method, grid=sheet.grid, seed=int(sheet.plan["seed"]))
        if refused := next((found[block].refused for block in blocks if found[block].refused), ""):
            frame["reason"] = refused
        frames.append(frame)
        examples |= {f"{task}.{name}.{score}": value for score, value in values.items()}
    return frames, examples


def score(setting: Setting, pairs: Pairs, method: Method, seed: int) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """A method on a task, as tidy rows and per-example values; NaN with its reason where they do not fit.

    Args:
        setting: the model and how to run it.
        pairs: the examples.
        method: the method.
        seed: of the resamples, and of the method if it draws anything.
    """
    values, refused = _values(setting, pairs, method, seed, None)
    if setting.metrics and "metrics" in options_of(method):
        method = with_metrics(method, pairs, setting.metrics)
    frame = table(values, pairs, method, grid=setting.model.grid, seed=seed)
    if refused:
        frame["reason"] = refused
    return frame, {f"{pairs.task}.{method.name}.{name}": value for name, value in values.items()}


def _values(
    setting: Setting, pairs: Pairs, method: Method, seed: int, layers: range | None
) -> tuple[dict[str, Tensor], str]:
    known = options_of(method)
    options: dict[str, Any] = {"batch_size": setting.batch_size, "progress": setting.progress}
    options |= {"seed": seed} if method.seeded else {}
    options |= {"memory": setting.memory} if "memory" in known else {}
    options |= {} if layers is None else {"layers": layers}
    if setting.metrics and "metrics" in known:
        method, options["metrics"] = with_metrics(method, pairs, setting.metrics), setting.metrics
    grid = setting.model.grid

    def at_once(size: int) -> dict[str, Tensor]:
        return dict(method.function(setting.model, pairs, **(options | {"batch_size": size})))

    try:
        with step(f"{pairs.task}: {method.name}"):
            found = in_halves(at_once, min(setting.batch_size, len(pairs)), setting.model.device)
            return _sound(found, method, (len(pairs), grid.layers, grid.heads)), ""
    except UsageError as refusal:  # one method that does not fit must not cost the others' work
        nothing = {each.name: torch.full((len(pairs), grid.layers, grid.heads), torch.nan) for each in method.scores}
        return nothing, f"{refusal.given}; expected: {refusal.expected}; to fix it: {refusal.fix}"


def _sound(found: dict[str, Tensor], method: Method, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """What a method gave, if it is what it declares: one of the user's need not keep to its contract."""
    names = [score.name for score in method.scores if score.name in found] or ["nothing that it declares"]
    for name in names:
        value = found.get(name)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
            kind = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            given = f"method {method.name!r}, which gave {name}{f' as {kind}' if name in found else ''}"
            fix = "correct the function: headscope.testing.check_method says more"
            raise UsageError(given, f"floats of shape [example, layer, head] = {shape}", fix)
    return found


def _array(values: Tensor) -> np.ndarray:
    # numpy knows no bfloat16, which float32 holds exactly.
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).contiguous().numpy()


def _united(sheet: Sheet, task: str, parts: Sequence[tuple[Block, Measured]]) -> dict[str, Tensor]:
    first = parts[0][1].arrays
    shape = (len(sheet.groups[task]), sheet.grid.layers, sheet.grid.heads)
    united = {name: np.full(shape, np.nan, dtype=array.dtype) for name, array in first.items()}
    for block, values in parts:
        layers = slice(None) if block.layers is None else slice(*block.layers)
        for name, array in values.arrays.items():
            united[name][slice(*block.rows), layers] = array
    # safetensors gives arrays in another order than they were written in.
    order = [each["name"] for each in sheet.scores[task][parts[0][0].method]]
    return {name: torch.from_numpy(united[name]) for name in order if name in united}
