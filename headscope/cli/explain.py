"""`headscope explain`: which heads voted for and against one token, on one prompt."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import complete, folders, hints, options
from headscope.cli.options import OUTPUT, WHAT, option

if TYPE_CHECKING:
    from headscope.explaining import Explanation

EPILOG = (
    "[bold]Examples[/bold]\n"
    '  headscope explain mini "mary and john met . john thanked"   what it predicts\n'
    '  headscope explain gpt2 "The capital of France is" --token " Paris"\n'
    '  headscope explain gpt2 "When Mary and John met, John thanked" \\\n'
    '      --token " Mary" --against " John" --run runs/gpt2 --html why.html\n'
    '  headscope explain bert-base-uncased "Paris is in [MASK]."   an encoder\n'
    '  headscope explain ./no-tokenizer "5 9 3 44" --ids --token 7\n\n'
    "[bold]What is shown[/bold]: the logit as an exact sum over every head, every MLP, the\n"
    "embedding and the biases, each norm at its scale in this run. Votes count\n"
    "from the mean of the vocabulary, and stand beside the same head's votes for\n"
    "all other tokens. One prompt, direct effects only: headscope analyze\n"
    "measures the rest.\n\n"
    "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C."
)
_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete.models,
        help="As for headscope analyze: mini, a Hub name, or a Hugging Face directory.",
    ),
]
_Text = Annotated[
    str,
    typer.Argument(metavar="TEXT", help="The prompt whose next token is explained; for an encoder, with its mask."),
]
_Token = Annotated[
    str | None,
    option(
        "--token",
        panel=WHAT,
        metavar="TOKEN",
        help="What is voted for: one token as it stands in the vocabulary, often with a space before it. "
        "Default: what the model predicts.",
    ),
]
_Against = Annotated[
    str | None, option("--against", panel=WHAT, metavar="TOKEN", help="Explain the difference from this token's logit.")
]
_At = Annotated[
    int | None,
    option(
        "--at",
        panel=WHAT,
        metavar="N",
        help="Explain what follows the token at this position, from 0 with special tokens counted, or from -1 "
        "backwards. Default: the last, or an encoder's mask.",
    ),
]
_Ids = Annotated[
    bool, option("--ids", panel=WHAT, help="TEXT, --token and --against are token ids, for a model without tokenizer.")
]
_Run = Annotated[
    Path | None,
    option(
        "--run",
        panel=WHAT,
        metavar="FOLDER",
        offer=complete.runs,
        help="A run of the same model, which knows what each head does.",
    ),
]
_Top = Annotated[
    int, option("--top", panel=OUTPUT, metavar="N", span=(1, None), help="Heads of each sign that are printed.")
]
_Html = Annotated[Path | None, option("--html", panel=OUTPUT, metavar="FILE", help="Write one page, for any browser.")]
_Out = Annotated[
    Path | None,
    option("--out", panel=OUTPUT, metavar="FOLDER", help="Write the page, all votes and where each head looked."),
]
_Json = Annotated[bool, options.as_json("all votes, sums, where the strongest heads looked, paths")]
_Quiet = Annotated[bool, option("--quiet", "-q", panel=OUTPUT, help="No tables: print only where the page is.")]


def explain(  # noqa: PLR0913 - one parameter for each option of the command
    model: _Model,
    text: _Text,
    token: _Token = None,
    against: _Against = None,
    at: _At = None,
    ids: _Ids = False,
    run: _Run = None,
    top: _Top = 8,
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    max_memory: options.MaxMemory = None,
    dtype: options.Dtype = "float32",
    offline: options.Offline = False,
    html: _Html = None,
    out: _Out = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
) -> None:
    """Which heads of MODEL voted for and against one token after TEXT?

    Prints the strongest votes with where each head looked, and the sum of all
    parts, which is the model's own logit. Nothing is written without --html or
    --out.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the Hub's client is imported
    from headscope.explaining import explain as carry_out
    from headscope.explaining.files import check_free
    from headscope.models import load
    from headscope.pipeline import command_line
    from headscope.runs import check_run

    words = _numbers(text, token, against) if ids else {"text": text, "token": token, "against": against}
    with folders.no_litter(out or Path()):
        check_free(out, html)
        if run is not None:
            check_run(run)
        loaded = load(model, device=device, device_map=device_map, max_memory=max_memory, dtype=dtype, offline=offline)
        found = carry_out(loaded, **words, at=at, run=run, command=command_line())
        _finish(found, out, html, top=top, quiet=quiet, as_json=as_json)
    pages = [path for path in (html, out and out / "explanation.html") if path]
    then = [hints.opened(pages[0])] if pages else [hints.command("explain", model, text, "--html", "votes.html")]
    hints.tell(*then, hints.command("analyze", model), quiet=quiet, as_json=as_json)


def _numbers(text: str, token: str | None, against: str | None) -> dict[str, Any]:
    """Token ids as typed."""
    from headscope.errors import UsageError, together

    problems: list[UsageError] = []

    def number(word: str, name: str) -> int:
        try:
            return int(word)
        except ValueError:
            fix = "write whole numbers with spaces or commas between, or leave --ids out"
            problems.append(UsageError(f"{name} {word!r} with --ids", "a token id", fix))
            return 0

    found = {
        "text": [number(word, "id") for word in text.replace(",", " ").split()],
        "token": None if token is None else number(token, "token"),
        "against": None if against is None else number(against, "against"),
    }
    if problems:
        raise together(problems)
    return found


def _finish(
    found: Explanation, out: Path | None, html: Path | None, *, top: int, quiet: bool, as_json: bool
) -> None:  # fmt: skip
    """Print before anything is written: a full disk must not lose what was found."""
    from headscope.cli.explained import print_explanation

    if not (quiet or as_json):
        print_explanation(found, top)
    saved = None if out is None else found.save(out, k=top)
    page = None if html is None else found.save_html(html, k=top)
    if as_json:
        paths = {"folder": saved, "html": page or (saved and saved / "explanation.html")}
        record = {**found.as_record(top), **{name: path and str(path) for name, path in paths.items()}}
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
        return
    for path in filter(None, (page, saved and saved / "explanation.html")):
        sys.stdout.write(f"page: {path}\n")
