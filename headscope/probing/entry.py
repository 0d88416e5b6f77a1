"""probe() and hierarchy(): from a model's name to what can be read off each head, and at which depth."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from headscope.corpora import Treebank
from headscope.models import load
from headscope.pipeline import Home
from headscope.pipeline.housing import housed, told_name
from headscope.probing.request import INSTANCES, KIND, depth_labels, request, wanted_of
from headscope.probing.work import carry_out
from headscope.runs import Run


def probe(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    model: Any = "mini",
    *,
    labels: Sequence[str | PathLike[str]] = (),
    treebanks: Sequence[Treebank | str | PathLike[str]] = (),
    sites: Sequence[str] = ("z", "resid"),
    kind: Literal["ridge", "logistic"] = "ridge",
    n: int = INSTANCES,
    seed: int = 0,
    untrained: bool = True,
    use: bool = True,
    bits: bool = True,
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
    """What can be read off each head and layer, and does the model use it? `run.probes` holds it (`headscope.probed`).

    Every set of labels is probed at every site, cross-validated by document, against the commonest class, the word's
    own embedding, that of the word before, a control task, and the same model with random weights. What the strongest
    heads' probes read is then removed from their output: does the task suffer that turns on it?

    Args:
        model: whatever `headscope.load` takes, or a model that it returned.
        labels: of `headscope.probing.LABELS` (and `io-name`), or files of one's own (.csv, .jsonl); by default all of
            `LABELS`.
        treebanks: CoNLL-U files, or what `headscope.corpora.read_treebank` returned; by default the bundled gold set,
            whose language is narrow: for claims about English give a treebank of it.
        sites: of `z`, `q`, `k`, `v` (each head) and `resid` (each layer).
        kind: `ridge` or `logistic`.
        n: instances of each set of labels, at most.
        seed: of draws, folds, twin and resamples; the same seed gives the same run.
        untrained: probe the same model with random weights too.
        use: test whether the model uses what is read.
        bits: measure code lengths (minimum description length) too.
        repair: leave out sentences of a file that are not sound, and count them; by default they are an error.
        batch_size: prompts that are held at once; changes speed and memory only.
        memory: bytes of features that are held at once, 2 GiB by default; where that is too little, fewer instances
            are probed, and the record says so.
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        progress: draw progress bars on standard error.
        folder: where the run is saved, and where every set of labels is kept as soon as it is finished: the same call
            goes on where one before it stopped, and further labels cost only themselves. None: nothing is written.
        refresh: probe everything anew, whatever the folder holds.

    Returns:
        The run. Cost: as told by `headscope.methods.probing.study.probe` and `.use.use`.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.
        RunError: if the folder cannot be written, is being written by another process, or holds another kind of run.
        Interrupted: at Ctrl-C, with what was finished.

    Example:
        >>> run = probe("mini", labels=["io"], sites=["resid"], n=100, untrained=False, use=False, bits=False,
        ...             device="cpu", progress=False)
        >>> run.probes.best["label"].tolist(), len(run.probes.hierarchy.curves)
        (['io'], 7)
    """
    asked = request(
        labels=labels, treebanks=treebanks, sites=sites, kind=kind, n=n, seed=seed, untrained=untrained, use=use,
        bits=bits, repair=repair, batch_size=batch_size, memory=memory,
    )  # fmt: skip

    def make(home: Home | None) -> Run:
        loaded = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
        return carry_out(loaded, asked, progress=progress, home=home)

    wanted = wanted_of(asked, model=told_name(model), device=device, dtype=dtype)
    return housed(make, folder, kind=KIND, request=wanted, refresh=refresh)


def hierarchy(  # noqa: PLR0913 - as for `probe`
    model: Any = "mini",
    *,
    treebanks: Sequence[Treebank | str | PathLike[str]] = (),
    kind: Literal["ridge", "logistic"] = "ridge",
    n: int = INSTANCES,
    seed: int = 0,
    untrained: bool = False,
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
    """At which depth does each kind of information appear: is the order syntax < entities < reasoning more than chance?

    It is `probe` with the labels of `headscope.probed.STAGES`, in the stream and in the heads' outputs, and without
    tests of use; the answer is `run.probes.hierarchy`.

    Args:
        model: as for `probe`.
        treebanks: as for `probe`.
        kind: as for `probe`.
        n: as for `probe`.
        seed: as for `probe`.
        untrained: as for `probe`.
        repair: as for `probe`.
        batch_size: as for `probe`.
        memory: as for `probe`.
        device: as for `probe`.
        dtype: as for `probe`.
        offline: as for `probe`.
        progress: as for `probe`.
        folder: as for `probe`; it may be the folder of one.
        refresh: as for `probe`.

    Raises:
        HeadscopeError: as for `probe`.
        Interrupted: as for `probe`.
    """
    asked = request(
        labels=depth_labels(), treebanks=treebanks, sites=("resid", "z"), kind=kind, n=n, seed=seed,
        untrained=untrained, use=False, bits=False, repair=repair, batch_size=batch_size, memory=memory,
    )  # fmt: skip

    def make(home: Home | None) -> Run:
        loaded = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
        return carry_out(loaded, asked, progress=progress, home=home)

    wanted = wanted_of(asked, model=told_name(model), device=device, dtype=dtype)
    return housed(make, folder, kind=KIND, request=wanted, refresh=refresh)
