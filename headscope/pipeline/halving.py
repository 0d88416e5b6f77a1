"""Work that is done with fewer examples at once where memory does not suffice."""

from collections.abc import Callable
from typing import TypeVar

import torch

from headscope.errors import UsageError
from headscope.replay.memory import out_of_memory

SMALLER = "a smaller batch_size"
"""What errors say that fewer examples at once would help."""

Made = TypeVar("Made")


def in_halves(work: Callable[[int], Made], size: int, device: torch.device) -> Made:
    """What is computed of so many examples at once; of half as many where memory does not suffice, down to one.

    How many are held at once changes no number.

    Args:
        work: computes it, given how many examples it may hold at once.
        size: how many at first.
        device: where it runs.

    Raises:
        UsageError: if memory does not suffice for one.

    Example:
        >>> sizes = []
        >>> def work(size):
        ...     sizes.append(size)
        ...     if size > 3:
        ...         raise MemoryError
        ...     return size
        >>> in_halves(work, 16, torch.device("cpu")), sizes
        (2, [16, 8, 4, 2])
    """
    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError, UsageError) as problem:
            if not (out_of_memory(problem) or (isinstance(problem, UsageError) and SMALLER in problem.fix)):
                raise
            if size <= 1:
                given = "a single example, which does not fit into memory"
                fix = "use shorter prompts, a smaller model or another device"
                raise UsageError(given, "enough free memory", fix) from problem
        size //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
