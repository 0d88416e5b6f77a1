"""Probing as a way of scoring heads: can a task's answer be read off each head's output?"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.contract import Method, Score
from headscope.errors import UsageError
from headscope.methods.probing.classes import encode
from headscope.methods.probing.features import read_features
from headscope.methods.probing.folds import folds
from headscope.methods.probing.moments import gather
from headscope.methods.probing.ridge import fit_ridge
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs
from headscope.prompts.records import EMBEDDING_CONTRAST

FOLDS = 5
LEAST = 3
"""Groups that an answer must be in: enough that two of them are always in the training part."""
BATCH = 32


def probing(
    model: Model, pairs: Pairs, *, batch_size: int | None = None, progress: bool = False
) -> dict[str, Float[Tensor, "example layer head"]]:
    """How well the answer can be read off each head's output at the position that is read: held-out R².

    With y the answer of an example as a one-hot vector, p the answers' shares in the training part and f(z) a ridge
    regression of y on the head's output z there, fitted on the other folds (closed form, standardised, penalty chosen
    inside the training part):

        readable = (|y - p|² - |y - f(z)|²) / mean over examples of |y - p|²

    Its mean is the share of the answers' variance that a linear probe explains on groups that it was not fitted on: 1
    where the answer can be read off perfectly, 0 where the probe knows no more than how frequent each answer is, and
    below 0 where it misleads. Folds keep groups together and go by what the prompts hold, not by their order: prompts
    in another order get the same values. What can be read off a head need not be used, nor stem from it: a name that
    stands in the prompt can be read wherever it is attended to (`headscope.methods.probing.use` asks for use).

    Args:
        model: any.
        pairs: their clean prompts are probed, with `answers` (all of an example's together) as its class.
        batch_size: examples that are held at once, 32 by default; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        `readable`, a share; NaN for an example whose answer is in fewer than 3 groups, and throughout
        where fewer than two answers are left or none is read (`embedding_contrast`). Cost: one forward for each
        example, and 16 eigendecompositions of [d_head, d_head] for each head.

    Example:
        >>> import numpy as np
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=100, rng=np.random.default_rng(0))
        >>> (probing(model, pairs)["readable"].nanmean(0) > 0.5).tolist()  # the head that copies what comes next
        [[False, False], [False, True]]
    """
    values = torch.full((len(pairs), model.grid.size), torch.nan, dtype=torch.double)
    order, groups = _canonical(pairs)
    labels = ["" if pairs.metric == EMBEDDING_CONTRAST else _answer(row) for row in pairs.answers[order].tolist()]
    labels = [label if at != ABSENT else "" for label, at in zip(labels, pairs.end[order].tolist(), strict=True)]
    try:
        codes = encode(labels, groups, least=LEAST).codes
        fold = folds(groups, codes, k=FOLDS, seed=0)
    except UsageError:  # too few answers or groups: every score's `absent` says so
        return {"readable": values.unflatten(1, (model.grid.layers, model.grid.heads))}
    kept = fold >= 0
    spans = torch.stack([order[kept], pairs.end[order[kept]], pairs.end[order[kept]] + 1], 1)
    z = read_features(model, pairs, spans, sites=["z"], batch_size=batch_size or BATCH, progress=progress)["z"].double()
    values[order[kept]] = _explained(z, codes[kept], fold[kept])
    return {"readable": values.unflatten(1, (model.grid.layers, model.grid.heads))}


def _answer(tokens: list[int]) -> str:
    return " ".join(str(token) for token in tokens if token != ABSENT)


def _canonical(pairs: Pairs) -> tuple[Int[Tensor, " example"], Int[Tensor, " example"]]:
    """An order of the examples that follows from what they hold, and their groups' numbers in that order.

    Groups that hold the same are one: no prompt is on both sides of a split.
    """
    tokens = [tuple(row[real].tolist()) for row, real in zip(pairs.tokens, pairs.mask, strict=True)]
    keys = list(zip(tokens, map(tuple, pairs.answers.tolist()), strict=True))
    members: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for group, key in zip(pairs.groups.tolist(), keys, strict=True):
        members.setdefault(group, []).append(key)
    held = {group: tuple(sorted(each)) for group, each in members.items()}
    number = {content: place for place, content in enumerate(sorted(set(held.values())))}
    numbers = [number[held[group]] for group in pairs.groups.tolist()]
    order = sorted(range(len(keys)), key=lambda row: (numbers[row], keys[row]))
    return torch.tensor(order), torch.tensor([numbers[row] for row in order])


def _explained(
    z: Float[Tensor, "example site feature"], codes: Int[Tensor, " example"], fold: Int[Tensor, " example"]
) -> Float[Tensor, "example site"]:
    """The squared error that the probes save on held-out examples, as a part of what there is on average."""
    probes = fit_ridge(gather(z, codes, fold))
    truth = torch.nn.functional.one_hot(codes).double()
    saved = torch.zeros(z.shape[:2], dtype=torch.double)
    total = torch.zeros(len(codes), dtype=torch.double)
    for out in range(int(fold.max()) + 1):
        test = fold == out
        total[test] = (truth[test] - truth[~test].mean(0)).square().sum(-1)
        scores = torch.einsum("esf,sfc->esc", z[test], probes.weights[:, out + 1]) + probes.bias[:, out + 1]
        saved[test] = total[test, None] - (truth[test, None] - scores).square().sum(-1)
    return saved / total.mean()


PROBING = Method(
    name="probing",
    function=probing,
    needs=Pairs,
    scores=(
        Score(
            name="readable",
            meaning="the answer can be read off the head's output, whether or not the model uses it",
            unit="share of variance",
            absent="its answer is in fewer than 3 groups, or no two answers are left",
        ),
    ),
    source="Alain and Bengio 2016 (1610.01644): linear probes; held-out R² of the one-hot answer is ours",
    about="can the answer be read off a head's output? held-out linear probes",
)
