"""Readers of what headscope keeps: folders that other people send, opened as every command would open them."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from fuzz import kept

MARK = "<x9>"
"""A tag that mutations put into texts: no page may hold it as a tag."""


def cells(folder: Path) -> None:
    """Every cell, and every result that is made of one."""
    from headscope import judging
    from headscope.cells import Damaged, Store, packed, read_cells, unpacked
    from headscope.errors import RunError
    from headscope.pipeline import showing

    unpackers: dict[str, Callable[[Any], Any]] = {
        "views": showing._views_from, "profiles": showing._profiles_from, "roles": showing._roles_from,
        "few": judging._unpacked, "ability": unpacked,
    }  # fmt: skip
    place = folder / "cells"
    found = [cell for _, cell in read_cells(place)]
    problems = [str(cell) for cell in found if isinstance(cell, Damaged)]
    store = Store(place)
    for cell in found:
        if isinstance(cell, Damaged):
            continue
        unpack = unpackers.get(cell.kind, dict)

        def absent() -> Any:
            raise LookupError

        with suppress(LookupError):
            store.remember(cell.kind, cell.what, absent, pack=packed, unpack=unpack)
    problems += store.tally.damaged
    if problems:
        raise RunError(problems[0], "cells as they were written", "they are computed again")


def sheet(folder: Path) -> None:
    """The plan of an analysis, and all that `headscope merge` asks of it."""
    from headscope.pipeline.sheet import read_sheet

    found = read_sheet(folder)
    if found is not None:
        for task in found.groups:
            len(found.prompts(task))
        for task, name in found.combinations:
            found.method(task, name)
        str(found.grid)


def merged(folder: Path) -> None:
    """What `headscope merge` makes of a run, with its report."""
    from headscope.pipeline import merge

    out = folder.parent / "merged"
    try:
        merge(out, [folder])
        _check_page((out / "report.html").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(out, ignore_errors=True)


def verified(folder: Path) -> None:
    """What `headscope verify` says of a run, and what it prints."""
    from headscope.cli.merging import _told
    from headscope.pipeline import verify

    found: Any = verify(folder)
    json.dumps(found.to_dict("records"))
    for line in found.to_dict("records"):
        _told(line).encode()


def noted(folder: Path) -> None:
    """What is said in passing of a folder that is there: who writes it, of which kind it is, what was asked."""
    from headscope.cells.lock import holder
    from headscope.pipeline import keeping
    from headscope.runs import complete, kind_of

    model: Any = SimpleNamespace(name="m", identity={"weights_sha256": "00", "dtype": "float32"})
    for text in (holder(folder), kind_of(folder), str(complete(folder)), str(keeping.unfinished(folder, "x"))):
        text.encode("utf-8", "backslashreplace")
    with patch("headscope.pipeline.keeping.write_whole"):
        facts = json.loads(kept.notes()[0]["cells/request.json"])["facts"]
        keeping.enter(keeping.Home(folder=folder), model, facts)


def cited(folder: Path) -> None:
    """What `headscope cite` names."""
    from headscope.cli import citing

    papers, unknown = citing.behind(folder)
    for paper, uses in papers.items():
        citing._text(paper), citing._bibtex(paper, ", ".join(uses))
    for name, uses in unknown.items():
        f"{name} (for {', '.join(uses)})".encode("utf-8", "backslashreplace")


def reproduction(folder: Path) -> None:
    """A reproduction as Python reads it back."""
    from headscope.reproducing import open_reproduction

    open_reproduction(folder)


def reproduced_page(folder: Path) -> None:
    """The page of a reproduction, drawn anew."""
    from headscope.report.reproduction import render
    from headscope.reproducing import open_reproduction

    found = open_reproduction(folder)
    _check_page(render(found.identity, found.circuit, found.claims))


def report(folder: Path) -> None:
    """The report of a run, drawn anew."""
    from headscope.report import render
    from headscope.runs import open_run

    _check_page(render(open_run(folder)))


def pictures(folder: Path) -> None:
    """Every figure that `headscope picture` draws, and the tables that commands print."""
    from headscope.cli import tables
    from headscope.errors import HeadscopeError
    from headscope.report.pictures import PICTURES, picture
    from headscope.report.roles import role_texts
    from headscope.runs import open_run

    run = open_run(folder)
    for name in PICTURES:
        with suppress(HeadscopeError):
            picture(run, name).to_json()
    if {"model", "complete"} <= set(run.identity):
        json.dumps(tables.as_record(run, 3, None), allow_nan=False)
    role_texts(run.roles)


def _check_page(page: str) -> None:
    if MARK in page:
        raise AssertionError(f"{MARK} stands in a page as a tag")
    page.encode()


def cache(folder: Path) -> None:
    """What `headscope few` finds in its cache."""
    from headscope.few.shadow import _read

    _read(folder / "0a.safetensors")


def checkpoint(folder: Path) -> None:
    """The checkpoint of a training."""
    from headscope.mini.checkpoint import restore

    model, optimiser, recipe = kept.learner()
    restore(folder, model, optimiser, recipe)


def outlined(folder: Path) -> None:
    """A model's configuration as `headscope plan` reads it."""
    from headscope.models.outline import outline

    found = outline(str(folder))
    str(found.W_Q.shape), str(found.W_U.shape)


def long_text(folder: Path) -> None:
    """A text file in which long-range heads are looked for."""
    from headscope.roles.longtext import text_of

    text_of(folder / "in.txt")
