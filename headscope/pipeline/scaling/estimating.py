"""What an analysis will cost on a model, before its weights are loaded: cells, operations, memory, hours."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from headscope.errors import UsageError
from headscope.models.outline import Outline
from headscope.pipeline.blocks import Block, lay_out
from headscope.pipeline.building import build_tasks
from headscope.pipeline.planning import Plan
from headscope.pipeline.scaling.costs import cost_of
from headscope.replay.plan import CPU_TOKENS, GPU_TOKENS

BYTES = {"float32": 4, "fp32": 4, "bfloat16": 2, "bf16": 2, "float16": 2, "fp16": 2}
PROGRAM = 700 * 2**20
"""Bytes that Python takes with PyTorch and Transformers, before any model."""
EFFICIENCY = 0.9
"""The share of a large matrix product's speed that those of a model reach."""
_WIDEST = 2048
COLUMNS = ["task", "method", "examples", "cells", "runs", "operations", "seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a worker is.

    Attributes:
        operations: floating-point operations of matrix products a second.
        entry: seconds of the activation of one number, which stands for all that is no matrix product.
        call: seconds of a call into PyTorch.
        source: where the numbers are from.
    """

    operations: float
    call: float
    source: str
    entry: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """What an analysis will cost.

    Attributes:
        outline: the model.
        frame: a row for each task and method: `task, method, examples, cells, runs` (forwards and counterfactual runs
            of one prompt), `operations` (floating-point), `seconds` (of one worker). NaN where a method's cost is not
            known.
        rate: how fast a worker is taken to be.
        workers: how many.
        memory: bytes that a worker needs: `program`, `weights`, `results` (intermediate ones).
        skipped: task -> why it is left out.
    """

    outline: Outline
    frame: pd.DataFrame
    rate: Rate
    workers: int
    memory: dict[str, float]
    skipped: dict[str, str]

    @property
    def hours(self) -> float:
        """Hours for all workers together: no fewer than the longest cell takes, which one worker computes alone."""
        known: Any = self.frame.dropna()
        longest = float((known["seconds"] / known["cells"]).max()) if len(known) else 0.0
        return max(float(known["seconds"].sum()) / self.workers, longest) / 3600


def estimate(
    outline: Outline, plan: Plan, *, workers: int = 1, rate: Rate | None = None, dtype: str = "float32",
    device: str = "cpu",
) -> Estimate:  # fmt: skip
    """Count what an analysis will cost. No weights are read; prompts are made as the analysis will make them.

    Only the scores of heads are counted. What is shown beside them (roles, profiles, the attention of leading heads,
    the report) is left out, which on a model of a few million parameters takes as long again.

    Args:
        outline: the model, from `headscope.models.outline.outline`.
        plan: what to do.
        workers: processes or machines of this rate.
        rate: how fast one is; None: `measured_rate`.
        dtype: of the weights.
        device: `cpu` or another kind: how large cells and chunks are.

    Raises:
        UsageError: for fewer than one worker or an unknown dtype.
        TaskError: if a task that the plan names cannot be expressed, or none can.

    Example:
        >>> from headscope.models.outline import outline
        >>> plan = Plan(tasks=("induction",), methods=("patching", "attention"), n=8)
        >>> found = estimate(outline("mini"), plan, rate=Rate(operations=1e10, call=1e-5, source="given"))
        >>> found.frame[["method", "cells", "runs"]].to_numpy().tolist()
        [['patching', 1, 1552.0], ['attention', 1, 8.0]]
    """
    if workers < 1 or dtype not in BYTES:
        given = f"workers {workers}" if workers < 1 else f"dtype {dtype!r}"
        raise UsageError(given, f"at least 1 worker; a dtype of: {', '.join(BYTES)}", "correct it")
    rate = rate or measured_rate(outline.d_model)
    pairs, rows = build_tasks(outline, plan)
    lines = []
    for task, each in pairs.items():
        for name in plan.method_names:
            method = plan.method(name)
            laid = lay_out(method, each, outline.grid, width=outline.d_model, device=device)
            cost = cost_of(outline, each, method, batch_size=_rows(laid, plan), device=device)
            count = (task, name, len(each), len(laid))
            if cost is None:
                lines.append((*count, float("nan"), float("nan"), float("nan")))
                continue
            seconds = cost.operations / rate.operations + cost.entries * rate.entry + cost.calls * rate.call
            lines.append((*count, cost.runs, cost.operations, seconds))
    longest = max(each.tokens.shape[1] for each in pairs.values())
    held = min(plan.batch_size, plan.n)
    return Estimate(
        outline=outline, frame=pd.DataFrame(lines, columns=COLUMNS), rate=rate, workers=workers,
        memory=_memory(outline, BYTES[dtype], tokens=held * longest, device=device),
        skipped={task: str(row["reason"]) for task, row in rows.items() if row.get("status") == "skipped"},
    )  # fmt: skip


def _rows(laid: Sequence[Block], plan: Plan) -> int:
    return max(1, min(plan.batch_size, *(block.rows[1] - block.rows[0] for block in laid)))


def _memory(outline: Outline, size: int, *, tokens: int, device: str) -> dict[str, float]:
    inner = outline.grid.heads * outline.d_head
    kept = outline.grid.layers * (outline.d_model + 2 * inner + 2 * outline.kv_heads * outline.d_head)
    chunk = (CPU_TOKENS if device == "cpu" else GPU_TOKENS) * (
        3 * outline.d_model + 2 * outline.block / outline.d_model
    )
    return {
        "program": float(PROGRAM), "weights": float((outline.parameters + outline.fused) * size),
        "results": float(size * (2 * tokens * kept + chunk)),
    }  # fmt: skip


def measured_rate(width: int, *, seconds: float = 0.2) -> Rate:
    """How fast this machine is: `EFFICIENCY` of a matrix product of the model's width, an activation, a call.

    With as many threads as this process has: a worker with fewer is slower. Cost: about `seconds` three times.

    Args:
        width: of the model's residual stream; wider ones than 2,048 are measured at that width.
        seconds: of each measurement.

    Example:
        >>> measured_rate(64, seconds=0.01).operations > 0
        True
    """
    width = min(width, _WIDEST)
    rows, wide, small = torch.ones(CPU_TOKENS // 4, width), torch.ones(width, 4 * width), torch.ones(8, 8)
    hidden = torch.ones(CPU_TOKENS // 4, 4 * width)
    product = _per_call(lambda: torch.mm(rows, wide), seconds)
    single = _per_call(lambda: torch.nn.functional.gelu(hidden, approximate="tanh"), seconds)
    call = _per_call(lambda: torch.add(small, small), seconds)
    threads = torch.get_num_threads()
    told = f"measured on this machine, {threads} thread{'s' * (threads > 1)}"
    speed = EFFICIENCY * 2 * rows.numel() * 4 * width / product
    return Rate(operations=speed, entry=single / hidden.numel(), call=call, source=told)


def _per_call(work: Callable[[], object], seconds: float) -> float:
    """Seconds of a call on a machine with nothing else to do: the processor's time of all threads, by their number."""
    work()
    calls, began, end = 0, time.process_time(), time.perf_counter() + seconds
    while not calls or time.perf_counter() < end:
        work()
        calls += 1
    return (time.process_time() - began) / calls / torch.get_num_threads()
