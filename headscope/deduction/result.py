"""What a study of a deductive circuit returns."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from headscope.deduction.checking import check_circuit
from headscope.deduction.heads import Selected, union
from headscope.deduction.sets import HeadSet
from headscope.errors import HeadscopeError, RunError
from headscope.frames import read_frame, read_record
from headscope.grid import Grid

FRAMES = ("confidence", "tokens", "lens", "heads", "layers", "depths", "edges", "controls", "ablation", "chains")
"""The tables of a circuit, in the order of the study."""

RECORD = "circuit.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class Circuit:
    """A deductive circuit: which heads read facts and rules, which decide, and what is lost without them.

    Attributes:
        model: the model's identity.
        settings: what was asked, as JSON.
        form: `symbolic` or `plain`.
        grid: the model's layers and heads.
        selected: the heads of each role and kind, best first.
        k: how many of each at most.
        traversal: those of the traversal algorithm, which are not among the ablated ones.
        confidence: a row for each component and threshold (`headscope.deduction.confidence.confidence_table`).
        tokens: a row for each gold token, with its probability (`token_table`).
        lens: how readable gold tokens are after each layer (`headscope.deduction.lens.lens_table`).
        heads: every head's effects, by role, kind and score (`headscope.deduction.heads.HEADS`).
        layers: the source's layer score (`headscope.deduction.layers.layer_scores`).
        depths: reading against decision, in layers (`headscope.deduction.layers.depth`).
        edges: path patching among the selected heads (`headscope.deduction.paths.edge_table`).
        controls: the same protocol on the untrained twin and with exchanged twins
            (`headscope.deduction.controls.CONTROLS`).
        ablation: what is lost without sets of heads, beside random ones (`headscope.deduction.ablation.ABLATION`).
        chains: own chains as text (`headscope.deduction.freerun.chain_table`).
        sizes: heads in each ablated set, by name.
        notes: what people must know to read the numbers.
        seconds: how long each finished step took.
        stopped: the step during which Ctrl-C came; empty if all are done. Tables of later steps are empty.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    form: str
    grid: Grid
    selected: tuple[Selected, ...]
    k: int
    traversal: tuple[Selected, ...] = ()
    confidence: pd.DataFrame = field(repr=False)
    tokens: pd.DataFrame = field(repr=False)
    lens: pd.DataFrame = field(repr=False)
    heads: pd.DataFrame = field(repr=False)
    layers: pd.DataFrame = field(repr=False)
    depths: pd.DataFrame = field(repr=False)
    edges: pd.DataFrame = field(repr=False)
    controls: pd.DataFrame = field(repr=False)
    ablation: pd.DataFrame = field(repr=False)
    chains: pd.DataFrame = field(repr=False)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    stopped: str = ""

    @property
    def union(self) -> HeadSet:
        """All selected heads, each once."""
        return union(self.selected)

    @property
    def share(self) -> float:
        """The part of all heads that they are."""
        return len(self.union) / self.grid.size

    @property
    def found(self) -> bool:
        """Whether any table has rows: of a study that was stopped at once there is nothing to show."""
        return any(len(frame) for frame in self.frames().values())

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables, by name."""
        return {name: getattr(self, name) for name in FRAMES}

    def record(self) -> dict[str, Any]:
        """All but the tables, as JSON."""
        return {
            "model": self.model, "settings": self.settings, "form": self.form, "k": self.k,
            "grid": [self.grid.layers, self.grid.heads], "sizes": self.sizes, "notes": list(self.notes),
            "seconds": self.seconds, "selected": [_listed(each) for each in self.selected],
            "traversal": [_listed(each) for each in self.traversal], "stopped": self.stopped,
        }  # fmt: skip

    def save(self, folder: Path) -> Path:
        """Write the record as JSON and every table as Parquet.

        Args:
            folder: made if it is not there.

        Returns:
            The folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(json.dumps(self.record(), indent=2), encoding="utf-8")
        for name, frame in self.frames().items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)
        return folder


class Stopped(HeadscopeError):
    """Ctrl-C during a study; `circuit` holds the steps that were finished, `done` of `planned`."""

    exit_code = 130

    def __init__(self, circuit: Circuit, *, done: int, planned: int) -> None:
        super().__init__(
            f"interrupted during step {done + 1} of {planned} ({circuit.stopped})",
            "the protocol to go on to its end",
            ("what was finished is kept" if circuit.found else "nothing was finished yet")
            + "; give fewer examples or random sets for a shorter run",
        )
        self.circuit = circuit


def read_circuit(folder: Path) -> Circuit:
    """A circuit that `Circuit.save` wrote.

    Args:
        folder: where to.

    Raises:
        RunError: if something is missing, or is no circuit.
    """
    missing = [name for name in (RECORD, *(f"{name}.parquet" for name in FRAMES)) if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"a folder without {', '.join(missing)}", "a circuit as Circuit.save writes it", "name the folder it is in"
        )
    try:
        held = read_record(folder / RECORD)
        frames = {name: read_frame(folder / f"{name}.parquet") for name in FRAMES}
        selected, traversal = (tuple(_selected(each) for each in held.pop(name)) for name in ("selected", "traversal"))
        grid, notes = Grid(*held.pop("grid")), tuple(held.pop("notes"))
        check_circuit(grid, frames, held)
        parts: dict[str, Any] = {**held, **frames}
        return Circuit(grid=grid, notes=notes, selected=selected, traversal=traversal, **parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as problem:
        given = f"a circuit that cannot be read: {problem!s:.300}"
        raise RunError(given, "files as Circuit.save writes them", "run it again") from problem


def _listed(selected: Selected) -> dict[str, Any]:
    return {"role": selected.role, "kind": selected.kind, "heads": [list(head) for head in selected.heads]}


def _selected(listed: dict[str, Any]) -> Selected:
    return Selected(listed["role"], listed["kind"], tuple((int(layer), int(head)) for layer, head in listed["heads"]))
