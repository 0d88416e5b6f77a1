"""The grid of attention heads: names, parsing, and [layer, head] arrays as rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headscope.errors import UsageError

_NAME = re.compile(r"^\s*(?:[Ll](\d+)\s*[Hh](\d+)|(\d+)\.(\d+)|\(?\s*(\d+)\s*,\s*(\d+)\s*\)?)\s*$")


MOST_HEADS = 2**16
"""Of a model in a record from outside: four times what any published one has, and few enough for a picture."""


def check_heads(layers: object, heads: object) -> None:
    """Raise unless a record from outside names layers and heads that a model can have.

    Args:
        layers: how many, as it says.
        heads: of each layer.

    Raises:
        ValueError: if one is no whole number from 1, or there are more than `MOST_HEADS` heads.

    Example:
        >>> check_heads(12, 10**9)
        Traceback (most recent call last):
        ValueError: 12 layers of 1000000000 heads
    """
    sizes = (layers, heads)
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 < size <= MOST_HEADS for size in sizes):
        raise ValueError(f"{layers!r:.40} layers of {heads!r:.40} heads")
    if isinstance(layers, int) and isinstance(heads, int) and layers * heads > MOST_HEADS:
        raise ValueError(f"{layers} layers of {heads} heads")


@dataclass(frozen=True, slots=True)
class Grid:
    """The shape of a model's attention: `layers` x `heads`, both counted from 0.

    Example:
        >>> grid = Grid(layers=12, heads=12)
        >>> grid.size, grid.label(5, 1), grid.parse("5.1")
        (144, 'L5H1', (5, 1))
    """

    layers: int
    heads: int

    @property
    def size(self) -> int:
        """The number of heads in the whole model."""
        return self.layers * self.heads

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every (layer, head), layer by layer: the order in which [layer, head] arrays flatten."""
        return ((layer, head) for layer in range(self.layers) for head in range(self.heads))

    @staticmethod
    def _read(name: str) -> tuple[int, int]:
        match = _NAME.match(name)
        if match is None:
            expected, fix = "a head such as L5H1, 5.1 or (5, 1)", "write the layer and the head, both from 0"
            raise UsageError(f"head {name!r}", expected, fix)
        layer, head = (int(part) for part in match.groups() if part is not None)
        return layer, head

    @staticmethod
    def label(layer: int, head: int) -> str:
        """The head's name in text, such as `L5H1`."""
        return f"L{layer}H{head}"

    def parse(self, name: str | tuple[int, int]) -> tuple[int, int]:
        """Read `L5H1`, `5.1`, `(5, 1)` or a pair of integers.

        Raises:
            UsageError: if it is not such a name, or the model has no such head.
        """
        layer, head = name if isinstance(name, tuple) else self._read(name)
        if not (0 <= layer < self.layers and 0 <= head < self.heads):
            raise UsageError(
                f"head {self.label(layer, head)}",
                f"layers 0-{self.layers - 1} and heads 0-{self.heads - 1}",
                "both are counted from 0",
            )
        return layer, head
