"""explain(): from a text to the heads that voted for and against its next token."""

import math
import time
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from headscope import provenance
from headscope.errors import UsageError
from headscope.explaining.frames import sources_frame, votes_frame
from headscope.explaining.request import Asked, Text, Word, read, spelt
from headscope.explaining.result import Choice, Explanation
from headscope.methods.decomposition import Decomposition, decompose
from headscope.methods.vocabulary import standing
from headscope.models import Model, load
from headscope.plots.words import loose
from headscope.report.roles import role_texts
from headscope.runs import Run, open_run

ROUNDING = 1e-4
"""How much of the largest vote rounding may be without a word."""

NO_ROLES = "No roles are shown: give the run folder of headscope roles or analyze (run=..., at the shell --run)"


def explain(  # noqa: PLR0913 - the one call that users write: each word is an option of the command
    model: Any = "mini",
    text: Text = "",
    *,
    token: Word | None = None,
    against: Word | None = None,
    at: int | None = None,
    run: Run | str | PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    offline: bool = False,
    command: list[str] | None = None,
) -> Explanation:
    """Which heads voted for and against one token, on one prompt: an exact decomposition of its logit.

    The model's own logit is the sum of what every head, every MLP, the embedding and the biases write, with each norm's
    scale as it is in this run. What is not linear (a soft-cap, the activation before BERT's unembedding) and what
    floating point rounds stand as rows of their own. Votes are taken from their mean over the vocabulary, as adding a
    number to all logits changes nothing, and set against the same part's votes for every other token. See
    `headscope.methods.decomposition.decompose` for what is counted where, and its sources.

    This is one prompt, and direct effects only: a head that acts through later heads and MLPs has its effect in theirs.
    `headscope.analyze` measures effects on many prompts, with intervals.

    Args:
        model: whatever `headscope.load` takes, or a model that it returned.
        text: the prompt, or its token ids. An encoder's has one mask token.
        token: what is voted for, one token as it stands in the vocabulary (` Mary` with its space) or its id; None
            means the token that the model predicts.
        against: explain the difference from this token's logit.
        at: explain the logits at this position: what comes after that token, or, for an encoder, what stands there.
            From 0, special tokens counted, or from -1 backwards; None means the end, or the mask.
        run: a run with roles (`headscope.classify`, `headscope.analyze`) of the same model, or its folder.
        device: for loading, as in `headscope.load`.
        dtype: for loading, as in `headscope.load`.
        offline: for loading, as in `headscope.load`.
        command: what was typed, for the record.

    Returns:
        The explanation. Cost: two forwards of the prompt and one product of all parts with the unembedding.

    Raises:
        HeadscopeError: naming what was given, what was expected and what to do.

    Example:
        >>> found = explain("mini", "mary and john went to the shop and john gave the book to", against="john")
        >>> found.token.text, found.token.rank
        ('mary', 1)
        >>> found.sums()["name"].tolist()
        ['embedding', 'heads', 'MLPs', 'biases', 'rounding', 'total']
        >>> bool(abs(found.votes["logit"].sum() - found.logit) < 1e-4)
        True
    """
    began = time.perf_counter()
    loaded: Model = model if hasattr(model, "run_at") else load(model, device=device, dtype=dtype, offline=offline)
    asked = read(loaded, text, token=token, against=against, at=at)
    roles, told = _roles(loaded, run)
    found = decompose(loaded, torch.tensor([asked.ids]), at=asked.at)
    ident = int(found.logits.argmax()) if asked.token is None else asked.token
    _check_apart(loaded, ident, asked)
    stood = standing(found, ident, asked.against)
    sources = sources_frame(found, asked.tokens, token=ident, against=asked.against)
    votes = votes_frame(found, stood, sources, token=ident, against=asked.against, roles=roles)
    record = provenance.record(command=command, seed=0)
    return Explanation(
        model=loaded.identity,
        text=asked.text,
        tokens=asked.tokens,
        at=asked.at,
        token=_choice(loaded, found, ident),
        against=None if asked.against is None else _choice(loaded, found, asked.against),
        votes=votes,
        sources=sources,
        n=stood.n,
        mean=float(found.logits.mean()),
        roles=told,
        notes=(*asked.notes, *_rounded(loaded, votes)),
        record={**record, "seconds": round(time.perf_counter() - began, 3)},
    )


def _check_apart(model: Model, token: int, asked: Asked) -> None:
    if token == asked.against:
        given = f"against {spelt(model, token)!r}, which is what {model.name!r} predicts there"
        raise UsageError(given, "another token than the predicted one", "say which token is voted for (token=...)")


def _rounded(model: Model, votes: pd.DataFrame) -> list[str]:
    """A word on rounding where it can be seen."""
    left = float(loose(votes)["logit"].iloc[-1])
    if abs(left) <= ROUNDING * max(1.0, float(loose(votes)["logit"].abs().max())):
        return []
    kind = model.identity.get("dtype", "its precision")
    return [f"The model computes in {kind}: its own logit is {left:+.1e} from the sum of its parts (row rounding)."]


def _choice(model: Model, found: Decomposition, token: int) -> Choice:
    logit = float(found.logits[token])
    return Choice(
        id=token,
        text=spelt(model, token),
        logit=logit,
        probability=math.exp(logit - float(found.logits.logsumexp(0))),
        rank=1 + int((found.logits > logit).sum()),
    )


def _roles(model: Model, run: Run | str | PathLike[str] | None) -> tuple[dict[str, str], str]:
    """Each head's role from a run of the same model, and where they come from."""
    if run is None:
        return {}, NO_ROLES
    opened = run if isinstance(run, Run) else open_run(str(run))
    name = "the run" if isinstance(run, Run) else f"run {Path(str(run)).name!r}"
    if opened.roles is None:
        fix = "give one that headscope roles or headscope analyze (without --no-roles) wrote"
        raise UsageError(f"{name}, which has no roles", "a run with roles", fix)
    theirs, ours = opened.identity["model"].get("weights_sha256"), model.identity.get("weights_sha256")
    if theirs != ours:
        given = f"{name} of model {opened.identity['model'].get('name')!r}, for {model.name!r}"
        raise UsageError(given, "a run of the same weights", "give a run of the model that is explained")
    found = dict(role_texts(opened.roles))
    return found, f"Roles: from {name}, measured there on other text"
