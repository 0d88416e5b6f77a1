"""reproduce(): the protocol of a paper on a model, and what of its claims holds there."""

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from headscope import provenance
from headscope.cells import code, key_of, write_whole
from headscope.deduction import Circuit, Settings, read_circuit, study
from headscope.deduction.checking import check_claims
from headscope.deduction.claims import claims
from headscope.deduction.costs import paper_settings
from headscope.deduction.measuring import Remember
from headscope.deduction.result import Stopped
from headscope.errors import HeadscopeError, RunError, UsageError
from headscope.frames import read_frame
from headscope.methods.twins import Limits, advice
from headscope.models import Model, load
from headscope.models.determined import determined
from headscope.pipeline.keeping import ASKED, Home, enter, resuming, used, warnings_of
from headscope.pipeline.sheet import CELLS
from headscope.report.reproduction import write
from headscope.runs import SCHEMA, read_record
from headscope.runs.checking import check_record

PAPERS = {"three-percent": "Nguyen et al. 2026, Revealing Algorithmic Deductive Circuits, arXiv 2605.27824"}
"""What can be reproduced."""

KIND = "reproduce"
"""What `run.json` says it is a run of."""
RECORD, TABLE, CIRCUIT, REPORT = "run.json", "claims.parquet", "circuit", "report.html"


@dataclass(frozen=True, eq=False, kw_only=True)
class Reproduction:
    """A paper's claims beside what was measured, and what it was measured with.

    Attributes:
        identity: model, settings, versions, seed, time.
        circuit: heads, paths, depths, ablations.
        claims: a row for each claim (`headscope.deduction.claims.claims`).
    """

    identity: Mapping[str, Any] = field(repr=False)
    circuit: Circuit
    claims: pd.DataFrame

    def save(self, folder: str | Path) -> Path:
        """Write `run.json`, `claims.parquet`, the circuit's tables under `circuit/`, and `report.html`.

        Every file is written under another name and renamed, `run.json` after the tables: a folder that has it is
        whole. It holds the SHA-256 of all others.

        Args:
            folder: made if it does not exist.

        Returns:
            The folder.

        Raises:
            RunError: if it cannot be written.
        """
        folder = Path(folder)
        try:
            record = {"schema": SCHEMA, **self.identity, "files": _save_tables(self, folder)}
            _save_record(record, folder)
            # Last, because it is the largest: a disk that fills up here has cost no number.
            write(self.identity, self.circuit, self.claims, folder / REPORT)
            if (folder / REPORT).exists():
                record["files"][REPORT] = provenance.digest(folder / REPORT)
            _save_record(record, folder)
        except OSError as error:
            raise RunError(
                f"output folder {str(folder)!r}, which cannot be written ({error.strerror or error})",
                "a folder that may be written to, with some 20 MB left",
                "choose another --out, or free some space",
            ) from error
        return folder


def _save_tables(found: Reproduction, folder: Path) -> dict[str, str]:
    """Write the tables, all under other names before the first is renamed; the SHA-256 of each."""
    parts = {TABLE: folder / f"{TABLE}.part"}
    try:
        (folder / CIRCUIT).mkdir(parents=True, exist_ok=True)
        found.claims.to_parquet(parts[TABLE], index=False)
        staged = found.circuit.save(folder / f"{CIRCUIT}.part")
        parts |= {f"{CIRCUIT}/{path.name}": path for path in sorted(staged.iterdir())}
        files = {name: provenance.digest(part) for name, part in parts.items()}
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        parts[TABLE].unlink(missing_ok=True)
        shutil.rmtree(folder / f"{CIRCUIT}.part", ignore_errors=True)
    return files


def _save_record(record: Mapping[str, Any], folder: Path) -> None:
    write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())


def open_reproduction(folder: str | Path) -> Reproduction:
    """Read back what `Reproduction.save` wrote.

    Args:
        folder: where to.

    Raises:
        RunError: if something is missing, or is none.
    """
    folder = Path(folder)
    circuit = read_circuit(folder / "circuit")
    try:
        record = read_record(folder / RECORD)
        if (schema := record.get("schema", SCHEMA)) != SCHEMA:
            fix = "open it with the headscope that wrote it (run.json names the version)"
            raise RunError(f"reproduction {str(folder)!r} of schema {schema!r:.40}", f"schema {SCHEMA}", fix)
        identity = {name: value for name, value in record.items() if name not in ("schema", "files")}
        told = read_frame(folder / TABLE)
        check_claims(told)
        check_record(identity)
        return Reproduction(identity=identity, circuit=circuit, claims=told)
    except (OSError, ValueError, TypeError) as error:
        expected = "run.json and claims.parquet as headscope reproduce writes them"
        raise RunError(f"folder {str(folder)!r}: {error}", expected, "check the path, or run it again") from error


class Interrupted(HeadscopeError):
    """Ctrl-C during a reproduction; `found` holds the steps that were finished."""

    exit_code = 130

    def __init__(self, found: Reproduction, stop: Stopped, *, resumes: bool = False) -> None:
        again = "run the same command again: it goes on where this one stopped"
        super().__init__(stop.given, stop.expected, again if resumes else stop.fix)
        self.found = found


def reproduce(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    paper: str = "three-percent",
    model: Any = "mini",
    *,
    own: bool = False,
    n: int = 0,
    sets: int = 100,
    controls: int | None = None,
    seed: int = 0,
    regardless: bool = False,
    batch_size: int = 32,
    memory: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = False,
    progress: bool = True,
    folder: str | Path | None = None,
    refresh: bool = False,
) -> Reproduction:
    """Does "about 3 % of heads" hold here? The protocol of arXiv 2605.27824, and a verdict on each of its claims.

    Args:
        paper: one of `PAPERS`.
        model: whatever `headscope.load` takes, or a model that it returned.
        own: the source's own settings (`headscope.deduction.costs.paper_settings`), with their weaknesses; by default
            heads are ranked by the logit difference in both directions and ablated by resampling and to zero.
        n: pairs for each role; 0: 100, or 500 with `own`.
        sets: random sets of each kind; from 20.
        controls: pairs of each role on which the same heads are sought on the untrained twin and with exchanged twins;
            None: 30, or 25 with `own`; 0: none, and no second model in memory.
        seed: of problems, other prompts, random sets and resamples; the same seed gives the same result.
        regardless: go on where the model cannot do the chains; no claim about heads can then be tested.
        batch_size: examples that are held at once; changes speed and memory only.
        memory: bytes for intermediate results, by default half of what is free; changes speed and memory only.
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        progress: draw progress bars on standard error.
        folder: where the result is saved, and where every part of what is measured is kept as soon as it is there: the
            same call goes on where one before it stopped, and one with other settings measures what is new. None:
            nothing is written.
        refresh: measure everything anew, whatever the folder holds.

    Returns:
        The claims with their verdicts, and the circuit. Cost: as told by `headscope.deduction.costs.describe`; some
        minutes for the bundled model.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
        RunError: if the folder cannot be written, is being written by another process, or holds another kind of run.
        Interrupted: at Ctrl-C, with what was finished.

    Example:
        >>> reproduce("three-procent")
        Traceback (most recent call last):
        headscope.errors.UsageError: paper 'three-procent'
          expected: one of: three-percent
          to fix it: did you mean 'three-percent'?
    """
    name = model if isinstance(model, str) else getattr(model, "name", "")
    settings = request(paper, str(name), own=own, n=n, sets=sets, controls=controls, seed=seed, regardless=regardless)
    limits = Limits(batch_size=batch_size, memory=memory, progress=progress)
    typed = str(model) if isinstance(model, str | Path) else type(model).__name__
    wanted = request_of(typed, settings, dtype=dtype, device=device)
    place = None if folder is None else Path(folder)
    opened = resuming(place, request=wanted, refresh=refresh, kind=KIND) if place else contextlib.nullcontext()
    with opened as home:
        loaded: Any = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
        try:
            found = carry_out(loaded, settings, limits=limits, home=home)
        except Interrupted as stop:
            if place and stop.found.circuit.found:
                stop.found.save(place)
            raise
        if place:
            found.save(place)
    for told in warnings_of(found.identity):
        warnings.warn(told, stacklevel=2)
    return found


def request(  # noqa: PLR0913 - what users choose
    paper: str, model: str, *, own: bool = False, n: int = 0, sets: int = 100, controls: int | None = None,
    seed: int = 0, regardless: bool = False,
) -> Settings:  # fmt: skip
    """Check what was asked, before any weights are loaded.

    Args:
        paper: as for `reproduce`.
        model: its name, for the source's k.
        own: as for `reproduce`.
        n: as for `reproduce`.
        sets: as for `reproduce`.
        controls: as for `reproduce`.
        seed: as for `reproduce`.
        regardless: as for `reproduce`.

    Raises:
        UsageError: naming what is wrong.
    """
    if paper not in PAPERS:
        expected = f"one of: {', '.join(PAPERS)}"
        raise UsageError(f"paper {paper!r}", expected, advice(paper, list(PAPERS), "correct the name"))
    if sets < 20:
        raise UsageError(f"sets {sets}", "20 or more", "fewer random sets could not show p < .05")
    if own:
        found = paper_settings(model, n=n or 500, sets=sets, seed=seed, regardless=regardless)
    else:
        found = Settings(n=n or 100, sets=sets, seed=seed, regardless=regardless)
    return found if controls is None else replace(found, controls=controls)


def request_of(model: str, settings: Settings, *, dtype: str, device: str) -> str:
    """The hash of what was asked: the same command asks the same.

    Args:
        model: as typed.
        settings: what is asked.
        dtype: as typed.
        device: as typed.
    """
    return key_of({"kind": KIND, "model": model, "settings": asdict(settings), "dtype": dtype, "device": device})


def carry_out(
    model: Model,
    settings: Settings,
    *,
    limits: Limits,
    command: Sequence[str] | None = None,
    home: Home | None = None,
) -> Reproduction:
    """Run the protocol on a loaded model.

    Args:
        model: the model.
        settings: what is asked.
        limits: how much at once.
        command: the command line, for the record.
        home: where each part of what is measured is kept as soon as it is there, and found again; None: nothing is
            kept.

    Raises:
        RunError: if the folder holds a run of another model.
        Interrupted: at Ctrl-C, with what was finished.
    """
    began, home = time.monotonic(), home or Home()
    record = provenance.record(command=command, seed=settings.seed)
    facts = None if home.folder is None else determined(model)
    enter(home, model, facts)
    stop = None
    with _no_note(home):
        try:
            circuit = study(model, settings=settings, limits=limits, remember=_remembering(home, facts))
        except Stopped as early:
            circuit, stop = early.circuit, early
    identity = {
        "kind": KIND, "paper": PAPERS["three-percent"], "model": model.identity, "settings": circuit.settings,
        "provenance": record, "complete": stop is None, "steps": circuit.seconds, "stopped": circuit.stopped,
        "wall_seconds": round(time.monotonic() - began, 3), **used(home, facts),
    }  # fmt: skip
    found = Reproduction(identity=identity, circuit=circuit, claims=claims(circuit))
    if stop is not None:
        tally = home.store.tally
        raise Interrupted(found, stop, resumes=home.folder is not None and bool(tally.computed or tally.reused))
    return found


def _remembering(home: Home, facts: Mapping[str, Any] | None) -> Remember | None:
    """What reads and keeps the parts of a study; None where nothing can be kept."""
    if home.folder is None or facts is None:
        return None
    same = {"model": facts, "code": code()}

    def remember(kind: str, what: Mapping[str, object], compute: Any) -> Any:
        return home.store.remember(kind, {**same, **what}, compute, pack=dict, unpack=dict)

    return remember


@contextlib.contextmanager
def _no_note(home: Home) -> Iterator[None]:
    """Take back the note of what was asked, if nothing came to be kept beside it: of a model that is refused."""
    try:
        yield
    finally:
        place = None if home.folder is None else home.folder / CELLS
        with contextlib.suppress(OSError):
            if place is not None and [path.name for path in place.iterdir()] == [ASKED]:
                (place / ASKED).unlink()
                place.rmdir()
