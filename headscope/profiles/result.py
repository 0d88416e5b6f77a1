"""What a run keeps of its heads' profiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

FRAMES = ("profiles", "profile_prompts", "profile_tokens", "profile_sources", "profile_edges")
"""The files that a run keeps, each a table."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profiles:
    """The heads that lead each task, more closely. Few prompts: an illustration of what the scores say, not evidence.

    Attributes:
        heads: one row for each task and head: the leading score, and how it spreads over the examples.
        prompts: the prompts that are shown, with answers and foils.
        tokens: what each head's output adds to the logits of those tokens that it raises and lowers most, and of
            answers and foils, on each prompt.
        sources: the tokens that it attends to most where the prompt is read, and whether it writes them.
        edges: path patching among the heads of a task, through queries, keys and values.
        record: settings, seconds, and why parts are absent (task -> part -> reason), as JSON.
    """

    heads: pd.DataFrame
    prompts: pd.DataFrame
    tokens: pd.DataFrame
    sources: pd.DataFrame
    edges: pd.DataFrame
    record: Mapping[str, Any]

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables, by the names of `FRAMES`."""
        return dict(zip(FRAMES, (self.heads, self.prompts, self.tokens, self.sources, self.edges), strict=True))

    def kept(self) -> dict[str, Any]:
        """What a run's record holds of them, as JSON: all but the tables."""
        return {"record": dict(self.record)}

    def absent(self, task: str, part: str) -> str:
        """Why a part of a task's profiles is absent; empty where it is there.

        Args:
            task: one of the run's tasks.
            part: `tokens` or `edges`.
        """
        return str(self.record.get("absent", {}).get(task, {}).get(part, ""))


def profiles_from(kept: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> Profiles:
    """What `Profiles.kept` gave, with its tables, as `Profiles` again.

    Args:
        kept: from a run's record.
        frames: from a run's files, by the names of `FRAMES`.

    Raises:
        LookupError: if a part is missing.
        TypeError: if a part is of another kind.

    Example:
        >>> empty = pd.DataFrame()
        >>> made = Profiles(heads=empty, prompts=empty, tokens=empty, sources=empty, edges=empty, record={"seconds": 1})
        >>> profiles_from(made.kept(), made.frames()).record
        {'seconds': 1}
    """
    heads, prompts, tokens, sources, edges = (frames[name] for name in FRAMES)
    record = dict(kept["record"])
    return Profiles(heads=heads, prompts=prompts, tokens=tokens, sources=sources, edges=edges, record=record)
