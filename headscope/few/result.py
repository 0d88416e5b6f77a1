"""What a race returns."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from headscope.methods.agreement import Agreement


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Top:
    """The top k arms by their exact mean over all examples, and what it took to find them.

    Attributes:
        chosen: the arms, the largest estimate first. The claim is about the set, not about the order within it.
        estimate: of every arm's mean over all examples, in units of the values.
        low, high: its interval. Those of all arms hold together with the probability `confidence`; an arm that has been
            evaluated on every example has none to speak of: its mean is exact.
        n: on how many examples each arm has been evaluated.
        exact: the exact values; NaN where none was asked for.
        confidence: the probability that the set is right, under what `identify` says of it; 1 if every arm is exact.
        rounds: a row for each round: `round, arms, examples, cells, spent, inside, open, outside, threshold` (arms
            evaluated, the most examples any of them has, cells now and so far, how many arms are sure to be in, open
            and sure to be out, and the size that divides them).
        agreement: of attribution with the exact values, over the evaluated cells; None where a race had none to go by.
        labels: the arms' names.
        note: what else there is to say, such as why there was no guess.
    """

    chosen: tuple[int, ...]
    estimate: Float[np.ndarray, " arm"] = field(repr=False)
    low: Float[np.ndarray, " arm"] = field(repr=False)
    high: Float[np.ndarray, " arm"] = field(repr=False)
    n: Int[np.ndarray, " arm"] = field(repr=False)
    exact: Float[np.ndarray, "example arm"] = field(repr=False)
    confidence: float
    rounds: pd.DataFrame = field(repr=False)
    agreement: Agreement | None = None
    labels: tuple[str, ...] = field(repr=False)
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The chosen arms' names, the largest first."""
        return tuple(self.labels[arm] for arm in self.chosen)

    @property
    def spent(self) -> int:
        """Exact evaluations: cells (example, arm)."""
        return int(self.n.sum())

    @property
    def full(self) -> int:
        """What a sweep over all examples and arms takes."""
        return self.exact.size

    @property
    def saving(self) -> float:
        """How many times fewer evaluations than the full sweep."""
        return self.full / self.spent

    @property
    def exhausted(self) -> tuple[int, ...]:
        """Arms too near the k-th place for any interval: evaluated on every example, so that they are exact."""
        return tuple(np.flatnonzero(self.n == len(self.exact)).tolist())

    def frame(self) -> pd.DataFrame:
        """A row for each arm, the chosen ones first: `arm, label, value, low, high, n, chosen`."""
        rest = [arm for arm in np.argsort(-np.abs(self.estimate), kind="stable").tolist() if arm not in self.chosen]
        order = [*self.chosen, *rest]
        columns = {
            "arm": order,
            "label": [self.labels[arm] for arm in order],
            "value": self.estimate[order],
            "low": self.low[order],
            "high": self.high[order],
            "n": self.n[order],
            "chosen": [arm in self.chosen for arm in order],
        }
        return pd.DataFrame(columns)

    def describe(self) -> str:
        """The result in words."""
        times = f"{self.spent} exact evaluations of {self.full} ({self.saving:.1f}x fewer)"
        sure = "exact" if self.confidence == 1 else f"confidence {self.confidence:.3g}"
        text = f"top {len(self.chosen)}: {', '.join(self.names)} ({sure}); {times}"
        if self.agreement is not None:
            text += f"; attribution: {self.agreement.describe()}"
        return f"{text}; {self.note}" if self.note else text
