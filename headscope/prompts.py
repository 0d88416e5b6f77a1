"""What methods are given: frozen, tokenised prompts with named positions and groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Chosen = TypeVar("Chosen", bound="Prompts")  # typing.Self cannot be checked at run time, method by method

ABSENT = -1
"""The position of something that an example does not have, and the padding of answer sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Right-padded token ids with what a method may need to know of them.

    Attributes:
        task: the task that made them.
        tokens: token ids; padding is at the right.
        mask: True where a token is real.
        groups: examples with equal numbers belong together (same template, same sentence) and are
            resampled together by the bootstrap.
        positions: named token positions, one per example; `ABSENT` where an example has none.
            `end` is where the metric reads: the last token for decoders.
        texts: the prompts as text, for people.
        source: the paper or procedure that the task follows.
    """

    task: str
    tokens: Int[Tensor, "example position"]
    mask: Bool[Tensor, "example position"]
    groups: Int[Tensor, " example"]
    positions: Mapping[str, Int[Tensor, " example"]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    source: str = ""

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def end(self) -> Int[Tensor, " example"]:
        """Where the metric reads."""
        return self.positions["end"]

    def select(self: Chosen, index: Int[Tensor, " chosen"]) -> Chosen:
        """The examples at `index`, in that order; columns that are padding in all of them are dropped.

        Args:
            index: which examples; one may be asked for several times.

        Example:
            >>> tokens, mask = pad([[1, 2, 3], [4]], filler=0)
            >>> Prompts(task="t", tokens=tokens, mask=mask, groups=torch.arange(2)).select(torch.tensor([1])).tokens
            tensor([[4]])
        """
        width = int(self.mask[index].sum(1).max()) if len(index) else self.tokens.shape[1]
        changed: dict[str, object] = {"texts": tuple(self.texts[i] for i in index.tolist()) if self.texts else ()}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                is_grid = item.name in {"tokens", "mask", "corrupted"}
                changed[item.name] = value[index, :width] if is_grid else value[index]
        changed["positions"] = {name: place[index] for name, place in self.positions.items()}
        return replace(self, **changed)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Prompts):
    """Clean prompts with a corrupted twin of equal length, and the answers that the metric compares.

    Attributes:
        corrupted: the twin's token ids, under the same mask.
        answers: right next tokens after the clean prompt, padded with `ABSENT`.
        foils: the wrong next tokens that the metric sets against them, padded with `ABSENT`.
        corruption: what the twin changes, in words.
        metric: the name of the task's own metric (see `headscope.metrics`).
    """

    corrupted: Int[Tensor, "example position"]
    answers: Int[Tensor, "example answer"]
    foils: Int[Tensor, "example foil"]
    corruption: str = ""
    metric: str = "logit_difference"

    @property
    def first_difference(self) -> Int[Tensor, " example"]:
        """The first position at which the twins differ; the prompt's width where they are equal."""
        differs = (self.tokens != self.corrupted) & self.mask
        return torch.where(differs.any(1), differs.int().argmax(1), self.tokens.shape[1])


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
