"""How large is a vote by chance? The same part's votes for all other words of the vocabulary."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.methods.decomposition import Decomposition
from headscope.methods.held import wide
from headscope.models.program import Program

CHUNK = 2**26
"""Bytes of votes that are held at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Standing:
    """Where each part's vote stands among its votes for the rest of the vocabulary.

    Attributes:
        logit: what it adds to the logit, or to the difference of two logits.
        vote: the same less its mean over the vocabulary, which no probability depends on; of a difference, the same.
        spread: the standard deviation of its votes over the vocabulary (of differences, over pairs of tokens).
        below: the share of other tokens (or pairs) that it votes for less; ties count half. NaN where it tells no token
            from any other.
        n: how many other tokens, or pairs.
    """

    logit: Float[Tensor, " part"]
    vote: Float[Tensor, " part"]
    spread: Float[Tensor, " part"]
    below: Float[Tensor, " part"] = field(repr=False)
    n: int

    @property
    def z(self) -> Float[Tensor, " part"]:
        """The vote in standard deviations; NaN where there is no spread."""
        return torch.where(self.spread > 0, self.vote / self.spread, torch.nan)


@torch.no_grad()
def standing(found: Decomposition, token: int, against: int | None = None) -> Standing:
    """Each part's vote for a token, and how it compares with its votes for every other token.

    A logit means nothing by itself: adding one number to all of them changes no probability. So votes are taken from
    their mean over the vocabulary. Of the difference of two logits the null is the difference between a token and
    another one drawn for it (seed 0), for every token. This describes one prompt: it is no test that a head matters.

    Args:
        found: from `decompose`.
        token: the id that is voted for.
        against: the id that it is set against, or None.

    Returns:
        Votes in double precision, their standing from single precision. Cost: one product of the parts with the
        unembedding.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> from headscope.methods.decomposition import decompose
        >>> from headscope.models import load
        >>> plain = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50, n_positions=32))
        >>> found = standing(decompose(load(plain, device="cpu"), torch.tensor([[1, 2]]), at=1), 7)
        >>> found.n, bool((found.below >= 0).all()), bool((found.below <= 1).all())
        (49, True, True)
    """
    program = found.program
    size = program.unembed.weight.shape[1]
    centre = mean_word(program)
    logit = found.votes(found.word(token) if against is None else found.word(token) - found.word(against))
    vote = logit - found.votes(centre) if against is None else logit
    others = torch.arange(size)[torch.arange(size) != token] if against is None else torch.arange(size)
    partners = None if against is None else torch.randperm(size, generator=torch.Generator().manual_seed(0))
    if partners is not None:
        others = others[partners != others]
    less, same, square = (torch.zeros(len(vote), dtype=torch.float64) for _ in range(3))
    device = program.unembed.weight.device
    vectors, own = found.vectors.to(device, torch.float32), vote.to(device, torch.float32)[:, None]
    for chunk in others.split(max(1, CHUNK // (4 * (len(vote) + len(centre))))):
        weights = _columns(program, chunk)
        weights -= centre.to(weights)[:, None] if partners is None else _columns(program, partners[chunk])
        votes = vectors @ weights
        less += wide((votes < own).sum(1))
        same += wide((votes == own).sum(1))
        square += wide((votes**2).sum(1))
    n = len(others)
    spread = ((square + (vote**2 if partners is None else 0)) / (n + (partners is None))).sqrt()
    below = torch.where(spread > 0, (less + same / 2) / n, torch.nan)
    return Standing(logit=logit, vote=vote, spread=spread, below=below, n=n)


def _columns(program: Program, tokens: Tensor) -> Tensor:
    """As `columns`, where the model is and in single precision."""
    at = tokens.to(program.unembed.weight.device)
    weights, bias = program.unembed.weight[:, at].float(), program.unembed.bias
    below = torch.zeros_like(weights[0]) if bias is None else bias[at].float()
    return torch.cat([weights, below[None]])


def mean_word(program: Program) -> Float[Tensor, " d_model_and_1"]:
    """The mean of all tokens' directions in front of the unembedding, in double precision.

    Args:
        program: the model, cut open.
    """
    weights, bias = program.unembed.weight, program.unembed.bias
    mean = torch.cat([wide(each).mean(1) for each in weights.split(256)])
    return torch.cat([mean, torch.zeros(1).double() if bias is None else wide(bias).mean()[None]])
