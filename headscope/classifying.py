"""classify(): from a model's name to what each of its heads does."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from headscope import provenance
from headscope.cells import Kept, key_of
from headscope.contract import COLUMNS
from headscope.corpora import Treebank, as_treebank
from headscope.errors import UsageError, together, tried
from headscope.methods.twins import Limits
from headscope.models import Model, load
from headscope.models.determined import determined
from headscope.pipeline import ABSENT_TASK, Home, Interrupted
from headscope.pipeline.housing import content_of, housed, told_name
from headscope.pipeline.keeping import enter, used
from headscope.roles.longtext import text_of
from headscope.roles.settings import SENTENCES, Settings, check_treebanks
from headscope.roles.steps import STEPS
from headscope.roles.study import study
from headscope.roles.texts import digest
from headscope.runs import Run

KIND = "roles"
"""What `run.json` says it is a run of."""


def classify(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    model: Any = "mini",
    *,
    treebanks: Sequence[Treebank | str | PathLike[str]] = (),
    long_text: str | PathLike[str] | None = None,
    n: int = SENTENCES,
    seed: int = 0,
    confirm: bool = True,
    repair: bool = False,
    batch_size: int = 32,
    memory: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
    refresh: bool = False,
) -> Run:
    """What does each head do? `run.roles` holds scores, labels and their stability (`headscope.roles.Roles`).

    Every head is tested for every role of `headscope.roles.ROLES`: positional, sink, delimiter, duplicate token,
    induction, rare word, copying, negative, retrieval, syntax for each relation and direction, coreference, mover,
    inhibition. A head may have several; one to which no rule gives any is `unassigned`.

    Args:
        model: whatever `headscope.load` takes, or a model that it returned.
        treebanks: CoNLL-U files, or what `headscope.corpora.read_treebank` returned; by default the bundled gold set,
            whose language is narrow: for claims about English give a treebank of it.
        long_text: a file of plain text that is read in one piece, as far as the model's context goes.
        n: sentences, drawn from all treebanks together.
        seed: of sentences, prompts, halves and resamples; the same seed gives the same run.
        confirm: measure what each head does for the tasks that need its roles.
        repair: leave out sentences of a file that are not sound, and count them; by default they are an error.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        progress: draw progress bars on standard error.
        folder: where the run is saved, and where every step is kept as soon as it is finished: the same call goes on
            where one before it stopped, and other settings or texts cost only the steps that depend on them. None:
            nothing is written.
        refresh: compute everything anew, whatever the folder holds.

    Returns:
        The run. Cost: as told by `headscope.roles.study.study`.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
        RunError: if the folder cannot be written, is being written by another process, or holds another kind of run.
        Interrupted: at Ctrl-C, with what was finished.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.testing import Plant, planted_model
        >>> planted = planted_model(Plant(first_token=(0, 1)), grid=Grid(1, 2), vocabulary=32, positions=64)
        >>> run = classify(planted, confirm=False, device="cpu", progress=False)
        >>> labels = run.roles.labels
        >>> labels.loc[labels["role"] == "sink", ["layer", "head", "case"]].values.tolist()
        [[0, 1, 'first token']]
    """
    asked = request(
        treebanks=treebanks, long_text=long_text, n=n, seed=seed, confirm=confirm, repair=repair,
        batch_size=batch_size, memory=memory,
    )  # fmt: skip

    def make(home: Home | None) -> Run:
        loaded = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
        return carry_out(loaded, asked, progress=progress, home=home)

    wanted = wanted_of(asked, model=told_name(model), device=device, dtype=dtype)
    return housed(make, folder, kind=KIND, request=wanted, refresh=refresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be found out, and from which texts.

    Attributes:
        treebanks: read and sound; none means the bundled gold set.
        settings: sentences, prompts, seeds.
        batch_size: examples that are held at once.
        memory: bytes for intermediate results; None means half of what is free.
    """

    treebanks: tuple[Treebank, ...]
    settings: Settings
    batch_size: int = 32
    memory: int | None = None


def request(  # noqa: PLR0913 - what users choose
    *,
    treebanks: Sequence[Treebank | str | PathLike[str]] = (),
    long_text: str | PathLike[str] | None = None,
    n: int = SENTENCES,
    seed: int = 0,
    confirm: bool = True,
    repair: bool = False,
    batch_size: int = 32,
    memory: int | None = None,
) -> Request:
    """Check what was asked and read the treebanks, before any weights are loaded.

    Args:
        treebanks: as for `classify`.
        long_text: as for `classify`.
        n: as for `classify`.
        seed: as for `classify`.
        confirm: as for `classify`.
        repair: as for `classify`.
        batch_size: as for `classify`.
        memory: as for `classify`.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> request(n=3, batch_size=0)
        Traceback (most recent call last):
        headscope.errors.UsageError: batch_size 0; n 3
          expected: 1 or more; n from 20; prompts from 40; seed from 0; splits from 1
          to fix it: leave it out: it changes speed and memory only; some hundred sentences give each common relation \
enough instances; the defaults are sound
    """
    problems: list[UsageError] = []
    for name, value in (("batch_size", batch_size), ("memory", memory)):
        if value is not None and value < 1:
            fix = "leave it out: it changes speed and memory only"
            problems.append(UsageError(f"{name} {value}", "1 or more", fix))
    text = None if long_text is None else Path(long_text)
    if text is not None and not text.is_file():
        problems.append(UsageError(f"long text {str(text)!r}, which is no file", "a file of text", "check the path"))
    elif text is not None:
        tried(lambda: text_of(text), problems)
    settings = tried(lambda: Settings(n=n, seed=seed, confirm=confirm, long_text=text), problems)
    read = [tried(lambda given=given: as_treebank(given, repair=repair), problems) for given in treebanks]
    banks = tuple(each for each in read if each is not None)
    tried(lambda: check_treebanks(banks), problems)
    if settings is None or problems:
        raise together(problems)
    return Request(treebanks=banks, settings=settings, batch_size=batch_size, memory=memory)


def wanted_of(asked: Request, **more: str) -> str:
    """The hash of what is asked: the same command asks the same.

    Args:
        asked: from `request`.
        more: the model as typed, and how it is loaded.
    """
    text = asked.settings.long_text
    settings = asdict(asked.settings) | {"long_text": None if text is None else content_of(text)}
    banks = [each.sha256 or digest((each,)) for each in asked.treebanks]
    repaired = [dict(each.skipped) for each in asked.treebanks]
    return key_of({"roles": settings, "treebanks": banks, "skipped": repaired, **more})


def carry_out(
    model: Model,
    asked: Request,
    *,
    progress: bool = True,
    command: Sequence[str] | None = None,
    home: Home | None = None,
) -> Run:
    """Find out what each head of a loaded model does.

    Args:
        model: the model.
        asked: what to do.
        progress: draw progress bars.
        command: the command line, for the record.
        home: where every step is kept as soon as it is finished, and found again; None: nothing is kept.

    Raises:
        RunError: if the folder holds a run of another model.
        Interrupted: at Ctrl-C, with what was finished.
    """
    began, home = time.monotonic(), home or Home()
    record = provenance.record(command=command, seed=asked.settings.seed)
    limits = Limits(batch_size=asked.batch_size, memory=asked.memory, progress=progress)
    facts = None if home.folder is None else determined(model)
    enter(home, model, facts)
    kept = Kept(store=home.store, facts=facts)
    roles = study(model, treebanks=asked.treebanks, settings=asked.settings, limits=limits, kept=kept)
    complete = bool(roles.record["complete"])
    text = asked.settings.long_text
    plan = asdict(asked.settings) | {"long_text": text.name if text else None, "batch_size": asked.batch_size}
    plan |= {"treebanks": [each.name for each in asked.treebanks] or ["the bundled gold set"]}
    identity = {
        "kind": KIND, "model": model.identity, "plan": plan, "provenance": record, "complete": complete,
        "wall_seconds": round(time.monotonic() - began, 3), **used(home, facts),
    }  # fmt: skip
    nothing = pd.DataFrame(columns=pd.Index([*COLUMNS, "model", "flagged"]))
    tasks = pd.DataFrame(columns=pd.Index([*ABSENT_TASK, "model"]))
    run = Run(identity=identity, scores=nothing, tasks=tasks, roles=roles)
    if not complete:
        planned = [name for name in STEPS if name != "long text" or text] + ["causes"] * asked.settings.confirm
        done = sum(name in roles.record for name in planned)
        raise Interrupted(run, done, len(planned), resumes=home.folder is not None)
    return run
