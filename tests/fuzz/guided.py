"""`python -m tests.fuzz.guided --seconds 300 [--reader NAME]`: fuzz readers written in Python, by their coverage.

Needs the extra `fuzz` (atheris). Where `python -m tests.fuzz` draws faults that files are known to have, this keeps
every input that reached a new branch and goes on from there. libFuzzer ends the process that it runs in, so each reader
has one of its own. Nothing is kept but inputs that failed. Exit code 1 if any was neither read nor refused.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))


@dataclass(frozen=True, slots=True)
class Guided:
    """What is spoilt for a reader, and where branches are counted.

    Attributes:
        file: how the name of the file ends that is spoilt, within each sound folder.
        code: packages and modules whose branches are counted.
    """

    file: str
    code: tuple[str, ...]


_FILES, _CHAINS = ("headscope.tasks.files", "headscope.tasks.own"), ("headscope.tasks.chains", "headscope.tasks.files")
GUIDED = {
    "conllu": Guided(".conllu", ("headscope.corpora",)),
    **{name: Guided(".jsonl", _FILES) for name in ("lambada", "commonsenseqa", "relations", "pairs", "winograd")},
    "prontoqa": Guided(".json", _CHAINS),
    "proofwriter": Guided(".jsonl", _CHAINS),
    "labels": Guided(".csv", ("headscope.methods.probing.labelfile", "csv")),
    "cells": Guided(".safetensors", ("headscope.cells",)),
    "sheet": Guided("plan.json", ("headscope.pipeline.sheet", "headscope.pipeline.blocks", "headscope.frames")),
    "notes": Guided("request.json", ("headscope.pipeline.keeping", "headscope.frames", "headscope.cells")),
}
"""Readers whose work is done in Python, where coverage can guide: not those in which parquet or tokenizers do it."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=list(GUIDED), help="only this one; repeat")
    parser.add_argument("--out", type=Path, help="for the inputs that failed")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        _inside(given.inside, given.out, seconds=given.seconds, seed=given.seed)
    out = given.out or Path(tempfile.mkdtemp(prefix="headscope-guided-"))
    names = given.reader or list(GUIDED)
    failed = 0
    for name in names:
        failed += _one(name, out, seconds=max(1, given.seconds // len(names)), seed=given.seed)
    sys.stdout.write(f"everything in {out}\n")
    return int(failed > 0)


def _one(name: str, out: Path, *, seconds: int, seed: int) -> int:
    """Run one reader in a process of its own, and tell in a line what came of it; the number of its failures."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", "--inside", name, "--out", str(folder)]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT, check=False)
    (folder / "log.txt").write_text(done.stdout + done.stderr)
    told = re.findall(r"#\d+\s+\w+\s+cov: (\d+)", done.stderr)
    units = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    if not units:
        sys.stdout.write(f"{name:14} ended with {done.returncode}: see {folder / 'log.txt'}\n")
        return 1
    failures = json.loads((folder / "failures.json").read_text()) if (folder / "failures.json").exists() else {}
    covered = f"branches {told[0]} -> {told[-1]}" if told else "no branches"
    sys.stdout.write(f"{name:14} {int(units[0]):>9,} inputs  {covered}  {len(failures)} kinds of failure\n")
    for what, file in failures.items():
        sys.stdout.write(f"    {what}\n        {folder / file}\n")
    sys.stdout.flush()
    return len(failures)


def _inside(name: str, out: Path, *, seconds: int, seed: int) -> None:
    """Fuzz one reader; does not return."""
    import atheris  # pyright: ignore[reportMissingImports]

    with atheris.instrument_imports(include=list(GUIDED[name].code), enable_loader_override=False):
        from fuzz.readers import READERS

        for module in GUIDED[name].code:
            __import__(module)
    from fuzz.campaign import warm
    from fuzz.running import attempt, bounded, fault_of, signature, write

    from headscope.errors import HeadscopeError

    warm(name)
    reader, failures = READERS[name], {}
    base = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    sound = next(files for files in reader.seeds() if any(path.endswith(GUIDED[name].file) for path in files))
    place, corpus = base / "place", base / "corpus"
    corpus.mkdir()
    path = next(path for path in sorted(sound) if path.endswith(GUIDED[name].file))
    for number, files in enumerate(reader.seeds()):
        for each, data in files.items():
            if each.endswith(GUIDED[name].file) and len(data) < 1 << 16:
                (corpus / f"{number}-{Path(each).name}").write_bytes(data)
    place.mkdir()
    write(place, sound)
    bounded()

    def one(data: bytes) -> None:
        (place / path).write_bytes(data)
        problem: Any = attempt(lambda: reader.read(place), reader.seconds)
        if problem is None or (isinstance(problem, HeadscopeError) and not fault_of(problem)):
            return
        what = fault_of(problem) if isinstance(problem, HeadscopeError) else signature(problem)
        if what not in failures:
            failures[what] = f"{len(failures)}.bin"
            (out / failures[what]).write_bytes(data)
            (out / "failures.json").write_text(json.dumps(failures, indent=1))

    options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-max_len=16384", "-timeout=0", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
