"""Rows of token ids as right-padded arrays."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headscope.errors import UsageError

ABSENT = -1
"""The position of something that an example does not have, and the padding of answer sets."""


def pad(
    rows: Sequence[Sequence[int]], filler: int
) -> tuple[Int[Tensor, "example position"], Bool[Tensor, "example position"]]:
    """Rows of token ids as one right-padded array with its mask, which is True where a token is real.

    Args:
        rows: token ids, of any lengths.
        filler: the id that padding gets; nothing reads it.

    Example:
        >>> pad([[1, 2, 3], [4]], filler=0)[0].tolist()
        [[1, 2, 3], [4, 0, 0]]
    """
    width = max((len(row) for row in rows), default=0)
    tokens = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = True
    return tokens, mask


def right_pad(
    tokens: Int[Tensor, "example position"],
    mask: Bool[Tensor, "example position"],
    positions: Mapping[str, Int[Tensor, " example"]] | None = None,
) -> tuple[Int[Tensor, "example width"], Bool[Tensor, "example width"], dict[str, Int[Tensor, " example"]]]:
    """Token ids padded on any side as right-padded ones, with their mask and positions moved along.

    Columns that are padding in all examples are dropped. Twins go the same way, under the same mask.

    Args:
        tokens: token ids; each row's real tokens stand side by side, with padding before or after them or both.
        mask: True where a token is real.
        positions: named positions in these rows; `ABSENT` stays as it is.

    Returns:
        Tokens, mask and positions.

    Raises:
        UsageError: if a row has no real token or padding between them, or a position is not at a real token.

    Example:
        >>> tokens = torch.tensor([[0, 0, 5, 6], [0, 7, 8, 9]])
        >>> moved, mask, positions = right_pad(tokens, tokens > 0, {"end": torch.tensor([3, 3])})
        >>> moved.tolist(), positions["end"].tolist()
        ([[5, 6, 0], [7, 8, 9]], [1, 2])
    """
    if mask.shape != tokens.shape:
        raise UsageError(
            f"tokens {tuple(tokens.shape)} and a mask {tuple(mask.shape)}",
            "both of one shape, [example, position]",
            "give the mask that belongs to the tokens",
        )
    begins = mask.clone()
    begins[:, 1:] &= ~mask[:, :-1]
    blocks = begins.sum(1)
    if bool((blocks != 1).any()):
        raise UsageError(
            f"a mask whose real tokens are not one block (in {which(blocks != 1)})",
            "in every row real tokens side by side, with padding only before or after them",
            "leave padding inside a prompt and empty prompts out",
        )
    start, lengths = mask.int().argmax(1), mask.sum(1)
    columns = torch.arange(int(lengths.max()) if len(lengths) else 0, device=tokens.device)
    source = (start[:, None] + columns) % max(1, tokens.shape[1])
    moved = {}
    for name, place in (positions or {}).items():
        moved[name] = torch.where(place == ABSENT, ABSENT, place - start)
        outside = (place != ABSENT) & ((moved[name] < 0) | (moved[name] >= lengths))
        if bool(outside.any()):
            raise UsageError(
                f"position {name!r} at padding (in {which(outside)})",
                f"columns of real tokens, or {ABSENT} where an example has none",
                "give positions as columns of the tokens before they are moved",
            )
    return tokens.gather(1, source), columns < lengths[:, None], moved


def which(chosen: Bool[Tensor, " example"]) -> str:
    """The numbers of the examples that are True, for messages; the first five by name.

    Args:
        chosen: one flag per example.

    Example:
        >>> which(torch.tensor([False, True])), which(torch.ones(8) > 0)
        ('example 1', 'examples 0, 1, 2, 3, 4 and 3 more')
    """
    numbers = chosen.nonzero()[:, 0].tolist()
    shown = ", ".join(str(number) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"example{'s' if len(numbers) > 1 else ''} {shown}{more}"
