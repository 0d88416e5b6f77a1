"""`headscope roles`: what does each head do? Prints the roles, writes the run folder and the report."""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headscope.cli import hints, options
from headscope.cli.finishing import finish, tell_cells
from headscope.cli.options import HOW, WHAT, option
from headscope.cli.resumed import Wanted, in_folder

if TYPE_CHECKING:
    from headscope.pipeline import Home
    from headscope.runs import Run

EPILOG = (
    "[bold]Examples[/bold]\n"
    "  headscope roles                              mini, on the bundled sentences\n"
    "  headscope roles gpt2 --treebank gum.conllu   your own gold trees\n"
    "  headscope roles minilm --treebank gum.conllu --treebank ewt.conllu\n"
    "  headscope roles gpt2 --long-text book.txt    retrieval, sinks in long text\n"
    "  headscope roles gpt2 --no-confirm --json > roles.json\n\n"
    "[bold]What is done[/bold]: every head is scored at every instance of every role:\n"
    "offsets, sinks, repeated and rare words, copying, each syntactic relation in\n"
    "both directions, coreference. The text is split into halves: baselines and\n"
    "best heads are chosen on one, and heads get a role on the other, where they\n"
    "exceed its rule, the best rule that looks at no head, and shuffled targets.\n"
    "Heads that exceed none are unassigned. Roles that a task tests are then\n"
    "confirmed, or not, by an effect. See headscope list roles.\n\n"
    "[bold]It goes on where it stopped[/bold]: every cell (a step) is kept as soon\n"
    "as it is finished. After Ctrl-C, a crash or a power cut the same command takes\n"
    "the rest; with other settings and the same --out what depends on them.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Treebanks = Annotated[list[Path] | None, options.treebanks("coreference in GUM's Entity= field if there is any")]
_LongText = Annotated[
    Path | None,
    option(
        "--long-text",
        panel=WHAT,
        metavar="FILE",
        help="Plain text, read as far as the model's context goes, by chunks of queries.",
    ),
]
_Sentences = Annotated[
    int,
    option(
        "-n",
        "--sentences",
        panel=WHAT,
        metavar="N",
        span=options.MANY,
        help="Sentences, of all treebanks together, drawn at random where there are more. From 20.",
    ),
]
_NoConfirm = Annotated[
    bool, option("--no-confirm", panel=HOW, help="Leave out the effects on tasks: all labels are observed only.")
]
_Repair = Annotated[
    bool,
    option(
        "--repair", panel=HOW, help="Leave out the faulty sentences of a treebank, and count them, and use the rest."
    ),
]
_Out = Annotated[Path | None, options.out("runs/MODEL-roles")]
_Json = Annotated[bool, options.as_json("labels, best heads, paths")]


def roles(  # noqa: PLR0913 - one parameter for each option of the command
    model: options.Model = "mini",
    treebank: _Treebanks = None,
    long_text: _LongText = None,
    n: _Sentences = 1000,
    seed: options.Seed = 0,
    no_confirm: _NoConfirm = False,
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
    """What does each head of MODEL do? Roles from gold trees, coreference and controls.

    Prints the labels of every head and the best head of every relation, and
    writes a folder: report.html (open it in any browser), roles.parquet (every
    score), labels.parquet and run.json; and cells/, by which a run that was
    stopped goes on.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.classifying import KIND, carry_out, request, wanted_of
    from headscope.models import load
    from headscope.pipeline import Interrupted, command_line
    from headscope.replay.memory import parse

    asked = request(
        treebanks=treebank or (),
        long_text=long_text,
        n=n,
        seed=seed,
        confirm=not no_confirm,
        repair=repair,
        batch_size=batch_size,
        memory=None if memory is None else parse(memory),
    )
    wanted = wanted_of(asked, model=model, device=device, dtype=dtype)
    show = not (quiet or as_json) and sys.stderr.isatty()
    loading = {"device": device, "device_map": device_map, "max_memory": max_memory, "dtype": dtype, "offline": offline}
    loaded = cache(partial(load, model, **loading))

    def begin(folder: Path, home: Home) -> None:
        try:
            run = carry_out(loaded(), asked, progress=show, command=command_line(), home=home)
        except Interrupted as stop:
            if stop.run.roles is not None:
                _finish(stop.run, folder, model, quiet=quiet, as_json=as_json)
            raise
        _finish(run, folder, model, quiet=quiet, as_json=as_json)

    in_folder(Wanted(out, model, "-roles", KIND, wanted, refresh), begin)


def _finish(run: Run, folder: Path, model: str, *, quiet: bool, as_json: bool) -> None:
    from headscope.cli import labels

    show, record = partial(labels.print_roles, run), partial(labels.as_record, run)
    finish(run.save, folder, show=show, record=record, quiet=quiet, as_json=as_json)
    tell_cells(run.identity, quiet=quiet or as_json)
    then = (hints.opened(folder / "report.html"), *labels.next_commands(run, model))
    hints.tell(*then, quiet=quiet, as_json=as_json)
