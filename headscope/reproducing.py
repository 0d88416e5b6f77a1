"""reproduce(): the protocol of a paper on a model, and what of its claims holds there."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from headscope import provenance
from headscope.deduction import Circuit, Settings, read_circuit, study
from headscope.deduction.claims import claims
from headscope.deduction.costs import paper_settings
from headscope.deduction.result import Stopped
from headscope.errors import HeadscopeError, RunError, UsageError
from headscope.methods.twins import Limits, advice
from headscope.models import Model, load
from headscope.report.reproduction import write

PAPERS = {"three-percent": "Nguyen et al. 2026, Revealing Algorithmic Deductive Circuits, arXiv 2605.27824"}
"""What can be reproduced."""


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

        Args:
            folder: made if it does not exist.

        Returns:
            The folder.

        Raises:
            RunError: if it cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.claims.to_parquet(folder / "claims.parquet", index=False)
            self.circuit.save(folder / "circuit")
            (folder / "run.json").write_text(json.dumps(dict(self.identity), indent=2) + "\n", encoding="utf-8")
            write(self.identity, self.circuit, self.claims, folder / "report.html")
        except OSError as error:
            raise RunError(
                f"output folder {str(folder)!r}, which cannot be written ({error.strerror or error})",
                "a folder that may be written to, with some 20 MB left",
                "choose another --out, or free some space",
            ) from error
        return folder


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
        identity = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return Reproduction(identity=identity, circuit=circuit, claims=pd.read_parquet(folder / "claims.parquet"))
    except (OSError, ValueError) as error:
        expected = "run.json and claims.parquet as headscope reproduce writes them"
        raise RunError(f"folder {str(folder)!r}: {error}", expected, "check the path, or run it again") from error


class Interrupted(HeadscopeError):
    """Ctrl-C during a reproduction; `found` holds the steps that were finished."""

    exit_code = 130

    def __init__(self, found: Reproduction, stop: Stopped) -> None:
        super().__init__(stop.given, stop.expected, stop.fix)
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

    Returns:
        The claims with their verdicts, and the circuit. Cost: as told by `headscope.deduction.costs.describe`; some
        minutes for the bundled model.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
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
    loaded: Any = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
    return carry_out(loaded, settings, limits=Limits(batch_size=batch_size, memory=memory, progress=progress))


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


def carry_out(
    model: Model, settings: Settings, *, limits: Limits, command: Sequence[str] | None = None
) -> Reproduction:  # fmt: skip
    """Run the protocol on a loaded model.

    Args:
        model: the model.
        settings: what is asked.
        limits: how much at once.
        command: the command line, for the record.

    Raises:
        Interrupted: at Ctrl-C, with what was finished.
    """
    began = time.monotonic()
    record = provenance.record(command=command, seed=settings.seed)
    stop = None
    try:
        circuit = study(model, settings=settings, limits=limits)
    except Stopped as early:
        circuit, stop = early.circuit, early
    identity = {
        "paper": PAPERS["three-percent"], "model": model.identity, "settings": circuit.settings, "provenance": record,
        "complete": stop is None, "steps": circuit.seconds, "stopped": circuit.stopped,
        "wall_seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
    found = Reproduction(identity=identity, circuit=circuit, claims=claims(circuit))
    if stop is not None:
        raise Interrupted(found, stop)
    return found
