"""How much memory is free, and whether an error says that it ran out."""

import re

import psutil
import torch

from headscope.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


def available(device: torch.device) -> int:
    """Bytes that are free on a device.

    Args:
        device: where tensors are put.

    Example:
        >>> available(torch.device("cpu")) > 0
        True
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def out_of_memory(problem: BaseException) -> bool:
    """Whether an error means that memory ran out.

    Args:
        problem: what was raised.

    Example:
        >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("shapes do not match"))
        (True, False)
    """
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return True
    told = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(problem, RuntimeError) and any(words in str(problem) for words in told)


def parse(text: str) -> int:
    """Bytes from what people write.

    Args:
        text: a number with K, M or G (powers of 1024), such as `512M` or `1.5GiB`; without a unit: bytes.

    Raises:
        UsageError: if it is not an amount of memory of at least one mebibyte.

    Example:
        >>> parse("512M") == 512 * 2**20, parse("1.5 GiB") == 1536 * 2**20
        (True, True)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 2**20:
        raise UsageError(f"memory {text!r}", "an amount of at least 1M, such as 512M or 2G", "correct the amount")
    return size
