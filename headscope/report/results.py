"""What a report needs of a run."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import pandas as pd
from torch import Tensor

from headscope.attention import View
from headscope.few.outcome import Few
from headscope.probed import Probed
from headscope.profiles import Profiles
from headscope.roles.result import Roles


@runtime_checkable
class Results(Protocol):
    """What a report needs of a run: `headscope.runs.Run` has it."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What `run.json` records: model, command, seed, versions, hashes."""
        ...

    @property
    def scores(self) -> pd.DataFrame:
        """The tidy scores."""
        ...

    @property
    def tasks(self) -> pd.DataFrame:
        """One row per task: its status, the model's accuracy, where it comes from."""
        ...

    @property
    def views(self) -> tuple[View, ...]:
        """The attention of the top heads."""
        ...

    @property
    def few(self) -> Mapping[str, Few]:
        """The verdicts on the few heads of its tasks; empty where none was asked for."""
        ...

    @property
    def roles(self) -> Roles | None:
        """What each head does; None where it was not asked."""
        ...

    @property
    def probes(self) -> Probed | None:
        """What can be read off each head and depth; None where it was not asked."""
        ...

    @property
    def examples(self) -> Mapping[str, Tensor]:
        """`task.method.score` -> the per-example values behind a score; empty where they were not kept."""
        ...

    @property
    def groups(self) -> Mapping[str, Tensor]:
        """Task -> the group of every example."""
        ...

    @property
    def profiles(self) -> Profiles | None:
        """The heads that lead each task, more closely; None where that was not measured."""
        ...
