"""The plan of an analysis as a file: all that is needed to put tables together from cells, without the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from headscope import metrics
from headscope.cells import write_whole
from headscope.contract import Method, Score, with_metrics
from headscope.errors import RunError
from headscope.frames import read_record
from headscope.grid import Grid
from headscope.metrics import Metric
from headscope.pipeline.blocks import Block, options_of
from headscope.pipeline.trusting import check
from headscope.prompts import Pairs, Prompts

SCHEMA = 1
NAME = "plan.json"
CELLS = "cells"
"""The folder of a run that holds its cells, and beside them the plan that they belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What an analysis consists of.

    Attributes:
        model: the model's identity, as it goes into `run.json`.
        facts: what determines the model's numbers.
        plan: the plan, as it goes into `run.json`.
        command: as typed; None where there was none.
        rows: of the table of tasks, by task, as far as they are known before anything is measured.
        groups: task -> the group of each example.
        scores: task -> method -> its scores, with their units on this task.
        blocks: all that is to be computed, in order, each with its key.
        keys: kind of result (`ability`, `file`) -> task -> its key.
        notes: task -> what must be known of all items of its file.
    """

    model: Mapping[str, Any]
    facts: Mapping[str, Any] | None
    plan: Mapping[str, Any]
    command: Sequence[str] | None = None
    rows: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Sequence[int]] = field(repr=False)
    scores: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    keys: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)

    @property
    def grid(self) -> Grid:
        """The model's layers and heads."""
        return Grid(layers=int(self.model["layers"]), heads=int(self.model["heads"]))

    @property
    def combinations(self) -> list[tuple[str, str]]:
        """Every task with every method, in order."""
        return [(task, method) for task, methods in self.scores.items() for method in methods]

    def prompts(self, task: str) -> Prompts:
        """What the statistics need to know of a task's prompts: how many there are, and their groups.

        Args:
            task: one of the tasks.
        """
        groups = torch.tensor(list(self.groups[task]), dtype=torch.long)
        ids = torch.zeros(len(groups), 1, dtype=torch.long)
        return Prompts(task=task, tokens=ids, mask=ids == 0, groups=groups)

    def method(self, task: str, name: str) -> Method:
        """The facts about a method's scores on a task, with their units.

        Args:
            task: one of the tasks.
            name: one of its methods.
        """
        scores = tuple(Score(meaning="", **each) for each in self.scores[task][name])
        return Method(name=name, function=dict, needs=Prompts, scores=scores, source="", about="")


def scores_of(method: Method, pairs: Pairs, also: Sequence[Metric]) -> list[dict[str, Any]]:
    """A method's scores on a task, as JSON.

    Args:
        method: the method.
        pairs: the task's examples.
        also: further metrics.
    """
    made = with_metrics(method, pairs, also) if also and "metrics" in options_of(method) else method
    unit = metrics.unit_of(pairs)
    kept = ("name", "unit", "signed", "absent")
    return [{name: asdict(each)[name] for name in kept} | {"unit": each.unit or unit} for each in made.scores]


def write_sheet(folder: Path, sheet: Sheet) -> None:
    """Write a plan beside its cells.

    Args:
        folder: of the run.
        sheet: the plan.

    Raises:
        OSError: if it cannot be written.
    """
    record = {name: getattr(sheet, name) for name in Sheet.__dataclass_fields__ if name != "blocks"}
    record |= {"schema": SCHEMA, "blocks": [block.record() for block in sheet.blocks]}
    write_whole(folder / CELLS / NAME, (json.dumps(record) + "\n").encode())


def read_sheet(folder: Path) -> Sheet | None:
    """The plan of the last analysis in a folder; None where there is none.

    Args:
        folder: of the run.

    Raises:
        RunError: if it is there and cannot be used.
    """
    path = folder / CELLS / NAME
    try:
        record = read_record(path)
        schema = record.pop("schema")
        if schema != SCHEMA:
            raise ValueError(f"schema {schema!r:.40}, not {SCHEMA}")
        check(record)
        record["blocks"] = tuple(Block.of(each) for each in record["blocks"])
        return Sheet(**record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"the plan {str(path)!r}: {type(error).__name__}: {error!s:.300}",
            "what headscope analyze writes there",
            "delete that file: the cells beside it stay, and the same command finds them again",
        ) from error
