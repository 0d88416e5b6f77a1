"""`headscope probe` and `headscope hierarchy`: what can be read off each head, and at which depth."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from headscope.cli import complete, folders, hints, names, options
from headscope.cli.finishing import finish, tell_cells
from headscope.cli.options import HOW, WHAT, option
from headscope.cli.resumed import Wanted, in_folder

if TYPE_CHECKING:
    from headscope.pipeline import Home
    from headscope.runs import Run

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope probe                              mini, on the bundled sentences\n"
    "  headscope probe gpt2 --treebank gum.conllu   your own gold trees\n"
    "  headscope probe gpt2 -l upos -l number --site z --site q\n"
    "  headscope probe gpt2 --treebank gum.conllu --label my-labels.csv\n"
    "  headscope probe minilm --kind logistic --no-use --json > probes.json\n\n"
    "[bold]What is done[/bold]: linear probes of every head's output and of the residual\n"
    "stream are fitted on some documents and tested on others, for labels of\n"
    "words (part of speech, number, entity type, end of sentence, relation), of\n"
    "pairs of words (arc, coreference) and of prompts (io, rule). They are set\n"
    "against the commonest class, the word's own embedding, that of the word\n"
    "before, a control task and the same model with random weights. What the\n"
    "strongest heads' probes read is then removed: does the task suffer that\n"
    "turns on it? Present is not used.\n\n"
    "[bold]It goes on where it stopped[/bold]: every cell (a set of labels) is kept\n"
    "as soon as it is finished. After Ctrl-C, a crash or a power cut the same\n"
    "command probes the rest; with more labels and the same --out it probes what is\n"
    "new.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
EPILOG_HIERARCHY = (
    "[bold]Examples[/bold]\n"
    "  headscope hierarchy                              mini, bundled sentences\n"
    "  headscope hierarchy gpt2 --treebank gum.conllu   your own gold trees\n"
    "  headscope hierarchy gpt2 --twin --json > depths.json\n\n"
    "[bold]What is done[/bold]: the probes of headscope probe for the labels of three\n"
    "stages, syntax (part of speech, relation, arc), entities (type, coreference)\n"
    "and reasoning (which name is the indirect object, which rule applies). The\n"
    "depth at which each is gained has an interval, and the order of the stages a\n"
    "test.\n\n"
    "[bold]It goes on where it stopped[/bold]: every cell (a set of labels) is kept\n"
    "as soon as it is finished, and the same command probes the rest.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Labels = Annotated[
    list[str] | None,
    option(
        "--label",
        "-l",
        panel=WHAT,
        metavar="NAME",
        offer=complete.several(names.LABELS),
        help="upos, number, entity, boundary, relation, arc, coreference, io, io-name, rule, or a file of your own "
        "(.csv or .jsonl with sentence, word, label); repeat, or separate by commas. Default: all but io-name.",
    ),
]
_Treebanks = Annotated[list[Path] | None, options.treebanks("entities in GUM's Entity= field if there are any")]
_Sites = Annotated[
    list[str] | None,
    option(
        "--site",
        panel=WHAT,
        metavar="NAME",
        offer=complete.several(names.SITES),
        help="z (a head's output), q, k, v, resid (the stream at each depth); repeat, or separate by commas. "
        "Default: z, resid.",
    ),
]
_Kind = Annotated[
    str,
    option(
        "--kind",
        panel=HOW,
        metavar="NAME",
        offer=complete.among(names.KINDS),
        help="ridge (fast) or logistic (slower).",
    ),
]
_Instances = Annotated[
    int,
    option(
        "-n",
        "--instances",
        panel=WHAT,
        metavar="N",
        span=options.MANY,
        help="Words (or pairs, or prompts) of each label at most, drawn by passage. From 100.",
    ),
]
_NoTwin = Annotated[bool, option("--no-twin", panel=HOW, help="Leave out the same model with random weights.")]
_Twin = Annotated[bool, option("--twin", panel=HOW, help="Probe the same model with random weights too.")]
_NoUse = Annotated[bool, option("--no-use", panel=HOW, help="Leave out the tests of use.")]
_NoBits = Annotated[bool, option("--no-bits", panel=HOW, help="Leave out code lengths: about half of the time.")]
_Repair = Annotated[
    bool,
    option("--repair", panel=HOW, help="Leave out the faulty sentences of a treebank, count them, and use the rest."),
]
_Out = Annotated[Path | None, options.out("runs/MODEL-probes")]
_OutDepth = Annotated[Path | None, options.out("runs/MODEL-hierarchy")]
_Json = Annotated[bool, options.as_json("all of them")]


def probe(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    label: _Labels = None,
    treebank: _Treebanks = None,
    site: _Sites = None,
    kind: _Kind = "ridge",
    n: _Instances = 4000,
    seed: options.Seed = 0,
    no_twin: _NoTwin = False,
    no_use: _NoUse = False,
    no_bits: _NoBits = False,
    repair: _Repair = False,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 32,
    memory: options.Memory = None,
    offline: options.Offline = False,
    out: _Out = None,
    refresh: options.Refresh = False,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """What can be read off each head of MODEL, and does the model use it?

    Prints the best head and depth for every label, where it is gained, and what
    removing it does to a task, and writes a folder: report.html (open it in any
    browser), probes.parquet (every head and layer) and other tables, run.json.
    """
    asked = {"labels": folders.names(label), "treebanks": treebank or (),
             "sites": folders.names(site) or ("z", "resid"), "kind": kind, "n": n,
             "seed": seed, "untrained": not no_twin, "use": not no_use, "bits": not no_bits, "repair": repair,
             "batch_size": batch_size, "memory": memory}  # fmt: skip
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    _run(model, asked, loading, Place(out, "-probes", refresh), quiet=quiet, as_json=as_json)


def hierarchy(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    treebank: _Treebanks = None,
    kind: _Kind = "ridge",
    n: _Instances = 4000,
    seed: options.Seed = 0,
    twin: _Twin = False,
    repair: _Repair = False,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 32,
    memory: options.Memory = None,
    offline: options.Offline = False,
    out: _OutDepth = None,
    refresh: options.Refresh = False,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """At which depth of MODEL does each kind of information appear? Syntax, entities, reasoning.

    Prints the depths with intervals and a verdict on the order, and writes a
    folder: report.html (open it in any browser), tables and run.json.
    """
    from headscope.probing.request import depth_labels

    asked = {"labels": depth_labels(), "treebanks": treebank or (), "sites": ("resid", "z"), "kind": kind, "n": n,
             "seed": seed, "untrained": twin, "use": False, "bits": False, "repair": repair, "batch_size": batch_size,
             "memory": memory}  # fmt: skip
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    _run(model, asked, loading, Place(out, "-hierarchy", refresh), quiet=quiet, as_json=as_json)


class Place(NamedTuple):
    """Where a run goes: the folder that was asked for, what its name ends in otherwise, and whether to begin anew."""

    out: Path | None
    ending: str
    refresh: bool


def _run(
    model: str, asked: Mapping[str, Any], loading: Mapping[str, Any], place: Place, *, quiet: bool, as_json: bool
) -> None:
    if loading["offline"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope import probing
    from headscope.models import load
    from headscope.pipeline import Interrupted, command_line
    from headscope.replay.memory import parse

    memory = asked["memory"]
    request = probing.request(**{**asked, "memory": None if memory is None else parse(memory)})
    wanted = probing.wanted_of(request, model=model, device=loading["device"], dtype=loading["dtype"])
    show = not (quiet or as_json) and sys.stderr.isatty()
    loaded = cache(partial(load, model, **loading))

    def begin(folder: Path, home: Home) -> None:
        try:
            run = probing.carry_out(loaded(), request, progress=show, command=command_line(), home=home)
        except Interrupted as stop:
            _finish(stop.run, folder, model, quiet=quiet, as_json=as_json)
            raise
        _finish(run, folder, model, quiet=quiet, as_json=as_json)

    in_folder(Wanted(place.out, model, place.ending, probing.KIND, wanted, place.refresh), begin)


def _finish(run: Run, folder: Path, model: str, *, quiet: bool, as_json: bool) -> None:
    from headscope.cli import depths

    show, record = partial(depths.print_probes, run), partial(depths.as_record, run)
    finish(run.save, folder, show=show, record=record, quiet=quiet, as_json=as_json)
    tell_cells(run.identity, quiet=quiet or as_json)
    then = (hints.opened(folder / "report.html"), *depths.next_commands(run, model))
    hints.tell(*then, quiet=quiet, as_json=as_json)
