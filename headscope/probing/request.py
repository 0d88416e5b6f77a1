"""What is to be probed, checked before any weights are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import get_args

from headscope.cells import key_of
from headscope.corpora import Treebank, as_treebank
from headscope.errors import UsageError, meant, together, tried
from headscope.methods.probing.features import SITES
from headscope.methods.probing.fit import Kind
from headscope.methods.probing.labels import NAMES, TASK_NAMES
from headscope.methods.probing.study import MEMORY
from headscope.pipeline.housing import content_of
from headscope.probed import STAGES
from headscope.roles.texts import digest

LABELS = (*NAMES, "io", "rule")
"""What is probed unless it is said: all labels of gold text, and the variables that two tasks turn on."""

INSTANCES = 4000
"""Of each set of labels, at most."""

KIND = "probe"
"""What `run.json` says it is a run of; `hierarchy` is one with other labels."""

LEAST = 100
FILES = (".csv", ".jsonl")
"""How the names of files with labels of one's own end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be probed, and how.

    Attributes:
        labels: of `NAMES` and `TASK_NAMES`.
        files: labels of one's own.
        treebanks: read and sound; none means the bundled gold set.
        sites: of `SITES`.
        kind: of probe.
        n: instances of each set of labels, at most.
        seed: of draws, folds, twin and resamples.
        untrained: whether the random-weights twin is probed too.
        use: whether the use of what is read is tested.
        bits: whether code lengths are measured.
        batch_size: prompts that are held at once.
        memory: bytes of features that are held at once.
    """

    labels: tuple[str, ...]
    files: tuple[Path, ...] = ()
    treebanks: tuple[Treebank, ...] = ()
    sites: tuple[str, ...] = ("z", "resid")
    kind: Kind = "ridge"
    n: int = INSTANCES
    seed: int = 0
    untrained: bool = True
    use: bool = True
    bits: bool = True
    batch_size: int = 32
    memory: int = MEMORY


def depth_labels() -> tuple[str, ...]:
    """The labels that stand for the stages of the hierarchy.

    Example:
        >>> depth_labels()
        ('upos', 'relation', 'arc', 'entity', 'coreference', 'io', 'rule')
    """
    return tuple(label for labels in STAGES.values() for label in labels)


def wanted_of(asked: Request, **more: str) -> str:
    """The hash of what is asked: the same command asks the same.

    Args:
        asked: from `request`.
        more: the model as typed, and how it is loaded.

    Example:
        >>> wanted_of(request(n=100), model="mini") == wanted_of(request(n=100, batch_size=1), model="mini")
        True
    """
    names = ("labels", "sites", "kind", "n", "seed", "untrained", "use", "bits")
    files = [[path.name, content_of(path)] for path in asked.files]
    banks = [[each.sha256 or digest((each,)), dict(each.skipped)] for each in asked.treebanks]
    how = {name: getattr(asked, name) for name in names}
    return key_of({"probes": how, "files": files, "treebanks": banks, **more})


def request(  # noqa: PLR0913 - what users choose
    *,
    labels: Sequence[str | PathLike[str]] = (),
    treebanks: Sequence[Treebank | str | PathLike[str]] = (),
    sites: Sequence[str] = ("z", "resid"),
    kind: str = "ridge",
    n: int = INSTANCES,
    seed: int = 0,
    untrained: bool = True,
    use: bool = True,
    bits: bool = True,
    repair: bool = False,
    batch_size: int = 32,
    memory: int | None = None,
) -> Request:
    """Check what was asked and read the treebanks, before any weights are loaded.

    Args:
        labels: as for `probe`.
        treebanks: as for `probe`.
        sites: as for `probe`.
        kind: as for `probe`.
        n: as for `probe`.
        seed: as for `probe`.
        untrained: as for `probe`.
        use: as for `probe`.
        bits: as for `probe`.
        repair: as for `probe`.
        batch_size: as for `probe`.
        memory: as for `probe`.

    Raises:
        UsageError: naming everything that is wrong at once.

    Example:
        >>> request(labels=["uposs"], n=3)
        Traceback (most recent call last):
        headscope.errors.UsageError: label 'uposs'; n 3
          expected: one or more of: upos, number, entity, boundary, relation, arc, coreference, io, io-name, rule; or \
a file ending in .csv or .jsonl; n from 100
          to fix it: did you mean 'upos'?; a few thousand instances give intervals that decide anything
    """
    problems: list[UsageError] = []
    names = [str(each) for each in labels]
    files = tuple(Path(name) for name in names if name.lower().endswith(FILES))
    chosen = tuple(dict.fromkeys(name for name in names if not name.lower().endswith(FILES)))
    known = (*NAMES, *TASK_NAMES)
    fix = "a few thousand instances give intervals that decide anything"
    checks = [
        *(
            (name not in known, f"label {name!r}", f"one or more of: {', '.join(known)}; or a file ending in .csv or "
             ".jsonl", meant(name, known, "choose one of these")) for name in chosen
        ),
        *((not path.is_file(), f"label file {str(path)!r}, which is no file", "a file", "check the path")
          for path in files),
        *((site not in SITES, f"site {site!r}", f"one or more of: {', '.join(SITES)}",
           meant(site, SITES, "choose one of these")) for site in sites),
        (not sites, "no site", f"one or more of: {', '.join(SITES)}", "name one"),
        (kind not in get_args(Kind), f"kind {kind!r}", f"one of: {', '.join(get_args(Kind))}",
         meant(kind, get_args(Kind), "choose one of these")),
        (n < LEAST, f"n {n}", f"n from {LEAST}", fix),
        (seed < 0, f"seed {seed}", "seed from 0", "give a whole number"),
        (batch_size < 1, f"batch_size {batch_size}", "batch_size from 1", "leave it out: it changes speed only"),
        (memory is not None and memory < 1, f"memory {memory}", "memory from 1 byte", "leave it out"),
    ]  # fmt: skip
    problems += [UsageError(*parts) for wrong, *parts in checks if wrong]
    read = [tried(lambda given=given: as_treebank(given, repair=repair), problems) for given in treebanks]
    if problems:
        raise together(problems)
    return Request(
        labels=chosen if names else LABELS, files=files, treebanks=tuple(each for each in read if each is not None),
        sites=tuple(dict.fromkeys(sites)), kind="logistic" if kind == "logistic" else "ridge", n=n, seed=seed,
        untrained=untrained, use=use, bits=bits, batch_size=batch_size, memory=MEMORY if memory is None else memory,
    )  # fmt: skip
