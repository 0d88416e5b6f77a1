"""Relation triples from a table: subject, template and object on each row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headscope.prompts import Pairs
from headscope.tasks.files.reading import Faults
from headscope.tasks.files.table import read_records
from headscope.tasks.relations import SOURCE, Triple, build_relations
from headscope.tasks.words import Reader

__all__ = ["SOURCE", "build", "read"]

COLUMNS = {"subject": "subject", "template": "template", "relation": "template", "object": "object"}
"""A column's name -> what is in it; `relation` is another name for `template`."""


def read(path: Path) -> tuple[Triple, ...]:
    """The facts of a CSV or JSONL file with the columns `subject`, `template` and `object`.

    The template says the fact up to its object, with `{}` for the subject: `France,The capital of {} is,Paris`.

    Args:
        path: of the file.

    Raises:
        UsageError: with every row whose template lacks the subject's place, or that has an empty cell.
    """
    faults = Faults(f"file {str(path)!r}")
    triples = []
    for where, record in read_records(faults, path, COLUMNS, needed=("subject", "template", "object")):
        cells = {}
        for name in ("subject", "template", "object"):
            cell = record.get(name)
            if cell is None or (isinstance(cell, str) and not cell.strip()):
                faults.say("empty cells", f"{where}: {name!r}")
            elif not isinstance(cell, str):
                faults.say("cells of another kind", f"{where}: {name!r} is {cell!r:.40}")
            else:
                cells[name] = cell.strip()
        if "template" in cells and cells["template"].count("{}") != 1:
            faults.say(
                "templates", f"{where}: {cells['template']!r:.60} with {{}} {cells['template'].count('{}')} times"
            )
        if len(cells) == 3:
            triples.append(Triple(**cells, where=where))
    faults.settle()
    return tuple(triples)


def build(triples: Sequence[Triple], model: Reader, *, n: int, rng: np.random.Generator, task: str) -> Pairs:
    """The facts as pairs; see `headscope.tasks.relations.build_relations`.

    Args:
        triples: from `read`.
        model: whose tokenizer the prompts are made for.
        n: pairs.
        rng: draws subjects and twins.
        task: the task's name.

    Raises:
        TaskError: if too few facts can be used.
    """
    return build_relations(model, triples, n=n, rng=rng, task=task)
