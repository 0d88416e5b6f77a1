"""`python -m tests.fuzz --seed 0 --inputs 1000000 [--reader NAME]`: fuzz every reader of outside input.

Every input is made from a sound file by one to three faults, and named by seed, reader and number, so that
`--reader NAME --first N --inputs 1` repeats it. Readers that are cheap get most of the inputs; each one's number is
printed first. Exit code 1 if any input was neither read nor refused in three parts. `python -m tests.fuzz.guided` goes
by coverage instead, where a reader is written in Python.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Run the campaign that the command line asks for."""
    from fuzz.campaign import campaign, line
    from fuzz.readers import READERS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all readers together")
    parser.add_argument("--first", type=int, default=0, help="the number of each reader's first input")
    parser.add_argument("--reader", action="append", choices=list(READERS), help="only this one; repeat")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--out", type=Path, help="for result.json and the inputs that failed")
    given = parser.parse_args()
    out = given.out or Path(tempfile.mkdtemp(prefix="headscope-fuzz-"))
    names = given.reader or list(READERS)
    tallies = campaign(seed=given.seed, inputs=given.inputs, names=names, out=out, first=given.first, jobs=given.jobs)
    sys.stdout.write(f"\n{sum(tally.inputs for tally in tallies.values()):,} inputs; everything in {out}\n")
    for name, tally in tallies.items():
        if tally.failed:
            sys.stdout.write(line(name, tally) + "\n")
        for what, numbers in tally.failures.items():
            sys.stdout.write(f"    {what}\n        inputs {', '.join(map(str, numbers))}\n")
    return int(any(tally.failed for tally in tallies.values()))


if __name__ == "__main__":
    raise SystemExit(main())
