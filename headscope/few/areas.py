"""CPR and CMD: the areas under, and between 1 and, the faithfulness of circuits that keep more and more heads."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from headscope.errors import UsageError

MIB_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The shares of items kept at which MIB measures faithfulness (arXiv 2504.13151 and its evaluation code)."""


def kept(heads: int, shares: Iterable[float] = MIB_SHARES) -> Int[np.ndarray, " share"]:
    """How many heads a share keeps: rounded down, as whole items are counted, so that small shares may keep none.

    Args:
        heads: how many there are.
        shares: of them.

    Example:
        >>> kept(96).tolist()
        [0, 0, 0, 0, 1, 4, 9, 19, 48, 96]
    """
    # The last bits of a product such as .07 * 100 must not cost an item.
    return np.array([int(share * heads + 1e-9) for share in shares])


def areas(
    faithfulness: Float[np.ndarray, "*resample share"], shares: Iterable[float] = MIB_SHARES
) -> tuple[Float[np.ndarray, "*resample"], Float[np.ndarray, "*resample"]]:
    """CPR and CMD of faithfulness curves, as MIB defines them.

        CPR = integral of f over the share of items kept          higher is better; above 1 where f is
        CMD = integral of |1 - f|                                  lower is better; 0 is a perfect circuit at any size

    by the trapezoid rule over the requested shares, on a linear axis; below the smallest share nothing is counted.
    Where 0 <= f <= 1 everywhere the two sum to 1 minus the smallest share. MIB's items are edges or nodes of all kinds,
    here they are heads alone: compare with its node-level rows (NAP, NAP-IG).

    Args:
        faithfulness: f at each share, with any axes before it.
        shares: increasing.

    Returns:
        CPR and CMD. NaN where f is.

    Raises:
        UsageError: if there is not one value per share, or the shares do not increase.

    Example:
        >>> cpr, cmd = areas(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0]))  # nothing at half of all, everything at all
        >>> cpr.round(3).item(), cmd.round(3).item()
        (0.25, 0.749)
    """
    axis = np.array(list(shares))
    if faithfulness.shape[-1] != len(axis) or bool((np.diff(axis) <= 0).any()):
        given = f"{faithfulness.shape[-1]} values for {len(axis)} shares"
        raise UsageError(given, "one value for each of increasing shares", "measure the curve at every share")
    both = (faithfulness, np.abs(1 - faithfulness))
    cpr, cmd = (np.asarray(np.trapezoid(each, axis, axis=-1)) for each in both)
    return cpr, cmd
