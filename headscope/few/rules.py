"""What a race seeks, how many examples it takes at a time, and how it shares out the risk of an error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from headscope.errors import UsageError
from headscope.statistics import By


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is sought, and how it is sought.

    Attributes:
        k: how many arms.
        confidence: the probability with which the set is to be right.
        by: "magnitude" seeks the largest means whatever their sign, "value" the highest.
        first: examples on which every arm is evaluated before any is dropped; None: a twentieth of all, at least 5.
        growth: by how much the examples of an open arm grow in a round.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> Rules(k=0, growth=1.0)
        Traceback (most recent call last):
        headscope.errors.UsageError: k 0; growth 1.0
          expected: k from 1; confidence between 0 and 1; first from 2; growth above 1
          to fix it: ask for at least one; write 1.5 to grow by half
    """

    k: int = 5
    confidence: float = 0.95
    by: By = "magnitude"
    first: int | None = None
    growth: float = 1.5

    def __post_init__(self) -> None:
        checks = [
            (f"k {self.k}", self.k >= 1, "ask for at least one"),
            (f"confidence {self.confidence}", 0 < self.confidence < 1, "write 0.95 for 95 %"),
            (f"first {self.first}", self.first is None or self.first >= 2, "a spread needs 2 examples or more"),
            (f"growth {self.growth}", self.growth > 1, "write 1.5 to grow by half"),
        ]
        if wrong := [(given, fix) for given, fine, fix in checks if not fine]:
            given, fixes = zip(*wrong, strict=True)
            expected = "k from 1; confidence between 0 and 1; first from 2; growth above 1"
            raise UsageError("; ".join(given), expected, "; ".join(fixes))

    def levels(self, examples: int) -> Int[np.ndarray, " level"]:
        """How many examples an arm may have been evaluated on at the end of a round, up to all of them.

        Args:
            examples: how many there are.

        Example:
            >>> Rules().levels(40).tolist()
            [5, 8, 12, 18, 27, 40]
        """
        first = max(5, -(-examples // 20)) if self.first is None else self.first
        found = [min(first, examples)]
        while found[-1] < examples:
            step = max(found[-1] + 1, int(np.ceil(found[-1] * self.growth)))
            # Stopping a few examples short of all would not repay its share of the risk.
            found.append(examples if step >= 0.95 * examples else step)
        return np.array(found)

    def risks(self, examples: int, arms: int) -> Float[np.ndarray, " level"]:
        """The probability of an error that one arm's interval may have in one direction, at each level.

        Args:
            examples: how many there are.
            arms: how many there are.

        Example:
            >>> rules = Rules(confidence=0.9)
            >>> round(float(rules.risks(40, arms=10).sum()) * 2 * 10, 6)
            0.1
        """
        share = 1 / self.levels(examples)
        share[-1] = 0  # with all examples there is no error
        return (1 - self.confidence) / (2 * arms) * share / max(share.sum(), np.finfo(float).tiny)
