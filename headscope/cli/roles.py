"""`headscope roles`: what does each head do? Prints the roles, writes the run folder and the report."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headscope.cli import folders, hints, options
from headscope.cli.finishing import finish
from headscope.cli.options import HOW, WHAT, option

if TYPE_CHECKING:
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
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 32,
    memory: options.Memory = None,
    offline: options.Offline = False,
    out: _Out = None,
    quiet: options.Quiet = False,
    as_json: _Json = False,
) -> None:
    """What does each head of MODEL do? Roles from gold trees, coreference and controls.

    Prints the labels of every head and the best head of every relation, and
    writes a folder: report.html (open it in any browser), roles.parquet (every
    score), labels.parquet and run.json.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.classifying import carry_out, request
    from headscope.models import load
    from headscope.pipeline import Interrupted, command_line
    from headscope.replay.memory import parse
    from headscope.runs import check_writable

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
    place = folders.default_folder(model)
    folder = out or folders.free(place.with_name(f"{place.name}-roles"))
    show = not (quiet or as_json) and sys.stderr.isatty()
    with folders.no_litter(folder):
        check_writable(folder)
        loaded = load(model, device=device, dtype=dtype, offline=offline)
        try:
            run = carry_out(loaded, asked, progress=show, command=command_line())
        except Interrupted as stop:
            if stop.run.roles is not None:
                _finish(stop.run, folder, model, quiet=quiet, as_json=as_json)
            raise
        _finish(run, folder, model, quiet=quiet, as_json=as_json)


def _finish(run: Run, folder: Path, model: str, *, quiet: bool, as_json: bool) -> None:
    from headscope.cli import labels

    show, record = partial(labels.print_roles, run), partial(labels.as_record, run)
    finish(run.save, folder, show=show, record=record, quiet=quiet, as_json=as_json)
    then = (hints.opened(folder / "report.html"), *labels.next_commands(run, model))
    hints.tell(*then, quiet=quiet, as_json=as_json)
