"""A study as it goes on: what was asked, and what its steps have found so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import cast

import numpy as np
import pandas as pd

from headscope import provenance
from headscope.deduction.ablation import ABLATION
from headscope.deduction.confidence import CONFIDENCE, TOKENS
from headscope.deduction.controls import CONTROLS
from headscope.deduction.freerun import CHAINS
from headscope.deduction.heads import HEADS, Effects, Selected, marked
from headscope.deduction.layers import DEPTHS, LAYERS
from headscope.deduction.lens import LENS
from headscope.deduction.measuring import Remember, Subject
from headscope.deduction.paths import EDGES
from headscope.deduction.result import Circuit
from headscope.deduction.sets import HeadSet
from headscope.deduction.settings import Settings
from headscope.errors import HeadscopeError
from headscope.methods.twins import Limits
from headscope.models import Model
from headscope.tasks.chains import Chains, RolePairs
from headscope.tasks.words import Reader

TRAVERSAL = "demonstrations"
"""The corruption whose heads implement the traversal: looked at, and not among those that are ablated."""

TABLES = {
    "confidence": CONFIDENCE, "tokens": TOKENS, "lens": LENS, "heads": HEADS, "layers": LAYERS, "depths": DEPTHS,
    "edges": EDGES, "controls": CONTROLS, "ablation": ABLATION, "chains": CHAINS,
}  # fmt: skip
"""Columns of the tables that steps fill; a table that no step came to is empty."""


@dataclass(frozen=True, eq=False)
class Role:
    """The pairs of one corruption, and what every head does on them."""

    name: str
    pairs: RolePairs
    effects: Effects


@dataclass(eq=False)
class Work:
    """The study as it goes on.

    Attributes:
        model, settings, limits: what was asked.
        remember: keeps what was measured; None: nothing is kept.
        chains: gold chains for confidence, the lens and own chains; `fresh` ones are for ablation.
        roles: every corruption that could be made, the traversal last.
        selected: the heads of each role and kind; `traversal`: those that are not ablated.
        k: heads of each role and kind.
        sets: sets of heads to ablate, by name.
        frames: tables, by name.
        notes: what people must know to read the numbers.
        seconds: how long each finished step took.
    """

    model: Model
    settings: Settings
    limits: Limits
    remember: Remember | None = None
    chains: Chains | None = None
    fresh: Chains | None = None
    roles: list[Role] = field(default_factory=list)
    selected: tuple[Selected, ...] = ()
    traversal: tuple[Selected, ...] = ()
    k: int = 0
    sets: dict[str, HeadSet] = field(default_factory=dict)
    frames: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def own(self) -> Subject:
        """The model as it is measured."""
        return Subject(make=lambda: self.model, limits=self.limits, remember=self.remember)

    @property
    def reader(self) -> Reader:
        """The model as tasks see it."""
        return cast(Reader, self.model)

    @property
    def form(self) -> str:
        """How chains are written."""
        return self.gold.chains[0].form

    @property
    def gold(self) -> Chains:
        """The chains that the first step drew."""
        if self.chains is None:
            raise HeadscopeError("a study without chains", "its first step done", "run its steps in order")
        return self.chains

    def rng(self, *names: str) -> np.random.Generator:
        """Random numbers for one purpose, whatever else is drawn."""
        return np.random.default_rng(self.seed(*names))

    def seed(self, *names: str) -> int:
        """A seed for one purpose."""
        return provenance.seed_for(self.settings.seed, "deduction", *names)

    def keep(self, name: str, *frames: pd.DataFrame) -> None:
        """Add rows to a table."""
        self.frames.setdefault(name, []).extend(frame for frame in frames if len(frame))

    def table(self, name: str) -> pd.DataFrame:
        """A table as far as it is filled."""
        parts = self.frames.get(name)
        if not parts:
            return pd.DataFrame(columns=pd.Index(TABLES[name]))
        return pd.concat(parts, ignore_index=True).loc[:, TABLES[name]]

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how long a step took, once it is done."""
        since = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - since, 2)

    def circuit(self, *, stopped: str = "") -> Circuit:
        """What was found so far.

        Args:
            stopped: the step during which Ctrl-C came; empty if none.
        """
        tables = {name: self.table(name) for name in TABLES}
        tables["heads"] = marked(tables["heads"], (*self.selected, *self.traversal))
        return Circuit(
            model=self.model.identity, settings=plain(self.settings), form=self.form if self.chains else "",
            grid=self.model.grid, selected=self.selected, k=self.k, traversal=self.traversal, **tables,
            sizes={name: len(heads) for name, heads in self.sets.items()}, notes=tuple(self.notes),
            seconds=self.seconds, stopped=stopped,
        )  # fmt: skip


def plain(settings: Settings) -> dict[str, object]:
    """Settings as JSON; problems of one's own are counted only.

    Args:
        settings: what was asked.
    """
    found = asdict(settings)
    if settings.setup is not None and settings.setup.problems:
        found["setup"]["problems"] = f"{len(settings.setup.problems)} of one's own"
    return found
