"""One analysis in shares: each process computes its own blocks, and `headscope merge` unites them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headscope.errors import UsageError
from headscope.pipeline.blocks import Block, cost, options_of
from headscope.pipeline.scoring import Executor, Measured, Work, blocks_of, local


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """An executor that computes one share of an analysis' blocks and leaves the others.

    Every process lays out the same blocks and deals them out alike, the dearest first, each to the share that has least
    so far: shares cost about the same, and nothing needs to be agreed on. What is there already changes no share.

    Attributes:
        index: which share, from 1.
        count: how many there are.
        within: computes the blocks of the share.

    Raises:
        UsageError: if there is no such share.
    """

    index: int
    count: int
    within: Executor = local

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise _refused(f"{self.index}/{self.count}")

    def __call__(self, work: Work, blocks: Sequence[Block]) -> Iterable[tuple[Block, Measured]]:
        """Compute those of the blocks that are of this share.

        Args:
            work: what they are computed from.
            blocks: those that are not there yet.

        Raises:
            UsageError: if a share could not be united with the others, because something in it cannot be kept.
        """
        if work.facts is not None and (lost := work.unkept()):
            given = f"a share of an analysis with {'; '.join(lost)}"
            fix = "write the function into a file and import it, or compute the whole in one process"
            raise UsageError(given, "results that can be kept and united", fix)
        own = shares(work, blocks_of(work), self.count)[self.index - 1]
        return self.within(work, [block for block in blocks if block in own])


def parse_shard(text: str) -> tuple[int, int]:
    """Which share of how many.

    Args:
        text: as `3/8`.

    Raises:
        UsageError: if it is not of this form.

    Example:
        >>> parse_shard("3/8")
        (3, 8)
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise _refused(text)
    return int(found[1]), int(found[2])


def shares(work: Work, blocks: Sequence[Block], count: int) -> list[frozenset[Block]]:
    """Blocks in shares of about equal cost: the same shares in every process.

    Args:
        work: what the blocks are computed from.
        blocks: all blocks of the analysis, in order.
        count: of shares.
    """
    costs = [_cost(work, block) for block in blocks]
    found: list[set[Block]] = [set() for _ in range(count)]
    loads = [0.0] * count
    for place in sorted(range(len(blocks)), key=lambda place: (-costs[place], place)):
        least = min(range(count), key=lambda share: (loads[share], share))
        found[least].add(blocks[place])
        loads[least] += costs[place]
    return [frozenset(each) for each in found]


def _cost(work: Work, block: Block) -> float:
    model, method = work.setting.model, work.plan.method(block.method)
    width = int(model.identity.get("d_model") or model.grid.heads * model.d_head)
    tokens = work.pairs[block.task].tokens.shape[1]
    each = cost(method, model.grid, width=width, tokens=tokens, by_layer="layers" in options_of(method))
    layers = range(model.grid.layers) if block.layers is None else range(*block.layers)
    part = sum(model.grid.layers - layer for layer in layers) / sum(range(1, model.grid.layers + 1))
    return each * (block.rows[1] - block.rows[0]) * part


def _refused(given: str) -> UsageError:
    fix = "give the share, and how many there are"
    return UsageError(f"shard {given!r}", "I/K, with I from 1 to K, such as 1/8", fix)
