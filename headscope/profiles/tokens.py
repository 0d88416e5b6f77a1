"""What a head writes, in words: the tokens whose logits it raises and lowers, and what it takes them from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope import replay
from headscope.grid import Grid
from headscope.methods.direct import Frozen, frozen, not_a_sum
from headscope.models import Model
from headscope.profiles.prompts import texts
from headscope.prompts import ABSENT, Pairs
from headscope.replay.spans import program_of

TOKENS = 8
"""Tokens that a head raises, and as many that it lowers, of each prompt."""

SOURCES = 4
"""Attended tokens of each prompt, the most attended first."""

WHERE = ("task", "prompt", "layer", "head", "label")
TOKEN_COLUMNS = [*WHERE, "side", "place", "token", "value", "rank"]
SOURCE_COLUMNS = [*WHERE, "place", "position", "token", "attention", "value", "rank"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Written:
    """What one head writes on some prompts where they are read.

    Attributes:
        logits: what its output adds to every logit, less the mean over the vocabulary.
        attention: its attention from there.
        sources: the most attended positions, the most attended first.
        copied: what the output of each of them alone adds to the logit of the token that stands there, likewise.
        ranks: the place of that logit among all, from 1.
    """

    logits: Float[Tensor, "prompt vocabulary"]
    attention: Float[Tensor, "prompt position"]
    sources: Int[Tensor, "prompt source"]
    copied: Float[Tensor, "prompt source"]
    ranks: Int[Tensor, "prompt source"]


def obstacle(model: Model) -> str:
    """Why a model's logits cannot be taken apart into what its heads write; empty where they can.

    Args:
        model: the model.
    """
    program, reason = getattr(model, "cut", (None, "it offers no parts"))
    return f"the model cannot be cut open: {reason}" if program is None else not_a_sum(program)


@torch.no_grad()
def written(model: Model, pairs: Pairs, heads: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Written]:
    """What heads write straight into the logits where a prompt is read, token by token.

    With z the head's output there, and the last norm's scale as it is in the run (as in `headscope.methods.direct`):

        logits(h)  = norm'(z_h W_O) W_U, less its mean over the vocabulary (a shift of all logits changes nothing)
        copied(k)  = the same of the part of z that comes from position k alone, a_k v_k, for the token that stands at k

    Value biases count as the head's own; capped logits are taken before the cap. Sources: Elhage et al. 2021 (direct
    path, OV circuit); Wang et al. 2022, section 3.1 (copying).

    Args:
        model: a model that adds up what its heads write (see `obstacle`).
        pairs: few prompts.
        heads: (layer, head) of each.

    Returns:
        By head. Cost: one forward for each prompt, and 1 + `SOURCES` products with the unembedding for each head.

    Raises:
        UsageError: if the model cannot be cut open, or the prompts do not fit it.

    Example:
        >>> import numpy as np
        >>> from headscope.models import load
        >>> from headscope.tasks import TASKS
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(induction=((0, 0), (1, 1)))
        >>> model = load(planted_model(plant, grid=Grid(2, 2), vocabulary=32, positions=32), device="cpu")
        >>> pairs = TASKS["induction"].build(model, n=2, rng=np.random.default_rng(0))
        >>> bool((written(model, pairs, [(1, 1)])[1, 1].logits.argmax(1) == pairs.answers[:, 0]).all())
        True
    """
    program = program_of(model, "what the heads write in")
    base = cast(replay.Base, replay.start(model, pairs, pairs.tokens))
    every, end = torch.arange(len(pairs), device=base.mask.device), pairs.end.to(base.mask.device)
    tokens = pairs.tokens.to(base.mask.device)
    norm = frozen(program.norm, base.last[:, 0])
    found = {}
    for layer, head in heads:
        block = program.blocks[layer]
        size, group = program.d_head, program.heads // program.kv_heads
        out = block.out.weight[head * size : (head + 1) * size]
        whole = block.out(base.z[layer][every, end].flatten(1))
        join = frozen(lambda a, block=block: block.join(torch.zeros_like(a), a), whole)
        shares = base.pattern(layer)[every, head, end]
        top = shares.topk(min(SOURCES, shares.shape[1])).indices
        parts = shares.gather(1, top)[:, :, None] * base.v[layer][every[:, None], top, head // group]
        logits = _logits(base.z[layer][every, end, head][:, None] @ out, join, norm, program.unembed.weight)
        alone = _logits(parts @ out, join, norm, program.unembed.weight)
        own = alone.gather(2, tokens.gather(1, top)[:, :, None])
        found[layer, head] = Written(
            logits=logits[:, 0].cpu(), attention=shares.float().cpu(), sources=top.cpu(), copied=own[:, :, 0].cpu(),
            ranks=(1 + (alone > own).sum(2)).cpu(),
        )  # fmt: skip
    return found


def _logits(
    vectors: Float[Tensor, "prompt part d_model"], join: Frozen, norm: Frozen, unembed: Float[Tensor, "d_model word"]
) -> Float[Tensor, "prompt part word"]:
    logits = (_through(norm, _through(join, vectors)) @ unembed).float()
    return logits - logits.mean(-1, keepdim=True)


def _through(norm: Frozen, vectors: Float[Tensor, "prompt part d_model"]) -> Float[Tensor, "prompt part d_model"]:
    """What a norm with its scale held makes of a part of its input."""
    centred = vectors - vectors.mean(-1, keepdim=True) if norm.centred else vectors
    return norm.scale[:, :, None] * norm.gain * centred


def token_rows(
    model: Model, pairs: Pairs, prompts: Int[Tensor, " prompt"], found: dict[tuple[int, int], Written]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`written` as two tidy tables: tokens that are raised and lowered, and tokens that are attended to.

    Args:
        model: whose tokens they are.
        pairs: the prompts that `written` was given.
        prompts: their places in the task.
        found: what it gave.

    Returns:
        `TOKEN_COLUMNS`, in logits, with the sides `raised`, `lowered`, `answer` and `foil`; and `SOURCE_COLUMNS`.
    """
    tokens: list[dict[str, object]] = []
    sources: list[dict[str, object]] = []
    for place, each in found.items():
        names = {"task": pairs.task, "layer": place[0], "head": place[1], "label": Grid.label(*place)}
        for row, prompt in enumerate(prompts.tolist()):
            key = names | {"prompt": prompt}
            tokens += [key | line for line in _token_lines(model, pairs, row, each.logits[row])]
            sources += [key | line for line in _source_lines(model, pairs, row, each)]
    return pd.DataFrame(tokens, columns=TOKEN_COLUMNS), pd.DataFrame(sources, columns=SOURCE_COLUMNS)


def _token_lines(model: Model, pairs: Pairs, row: int, logits: Float[Tensor, " word"]) -> list[dict[str, object]]:
    count = min(TOKENS, len(logits))
    high, low = logits.topk(count).indices.tolist(), logits.topk(count, largest=False).indices.tolist()
    sides = {"raised": high, "lowered": low}
    sides |= {
        side: [i for i in words[row].tolist() if i != ABSENT][:2]
        for side, words in (("answer", pairs.answers), ("foil", pairs.foils))
    }
    lines: list[dict[str, object]] = []
    for side, ids in sides.items():
        for place, (i, text) in enumerate(zip(ids, texts(model, ids), strict=True), start=1):
            rank = 1 + int((logits > logits[i]).sum())
            lines.append({"side": side, "place": place, "token": text, "value": float(logits[i]), "rank": rank})
    return lines


def _source_lines(model: Model, pairs: Pairs, row: int, each: Written) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    ids = pairs.tokens[row][each.sources[row]].tolist()
    for place, (position, text) in enumerate(zip(each.sources[row].tolist(), texts(model, ids), strict=True), start=1):
        share = float(each.attention[row, position])
        if share > 0:  # what a causal head cannot see is no source
            line = {"place": place, "position": position, "token": text, "attention": share}
            at = place - 1
            lines.append(line | {"value": float(each.copied[row, at]), "rank": int(each.ranks[row, at])})
    return lines
