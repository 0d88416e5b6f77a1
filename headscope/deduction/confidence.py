"""How sure a model is of each token of a gold chain, and in which components it is not."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope import statistics
from headscope.deduction.forward import batches, read_gold
from headscope.models import Model
from headscope.prompts import ABSENT
from headscope.tasks.chains import COMPONENTS, DECISIONS, Chains

UNCERTAIN = 0.8
"""A gold token is uncertain if its probability is below this (arXiv 2605.27824, section 1.3)."""

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where the curve over thresholds is drawn."""

ALL, THREE = "all", "decisions"
"""Rows of all tokens, and of the three components in which the source finds most uncertain tokens."""

CONFIDENCE = [
    *("component", "threshold", "tokens", "uncertain", "rate", "rate_low", "rate_high"),
    *("share", "share_low", "share_high", "share_tokens", "n", "groups", "unit", "reason"),
]
"""Columns of `confidence_table`."""

TOKENS = ["chain", "position", "token", "component", "step", "probability", "predicted", "right"]
"""Columns of `token_table`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Forced:
    """What a model says of the gold tokens of chains, each given those before it.

    Attributes:
        chain: which chain each token is of.
        position: where it stands.
        component: its place in `COMPONENTS`.
        step: of the derivation.
        gold: the token.
        predicted: the one that the model finds likeliest there.
        log_probability: of the gold token, in nats.
        groups: of the chains.
    """

    chain: Int[np.ndarray, " token"]
    position: Int[np.ndarray, " token"] = field(repr=False)
    component: Int[np.ndarray, " token"] = field(repr=False)
    step: Int[np.ndarray, " token"] = field(repr=False)
    gold: Int[np.ndarray, " token"] = field(repr=False)
    predicted: Int[np.ndarray, " token"] = field(repr=False)
    log_probability: Float[np.ndarray, " token"] = field(repr=False)
    groups: Int[np.ndarray, " example"] = field(repr=False)

    @property
    def probability(self) -> Float[np.ndarray, " token"]:
        """Of the gold token."""
        return np.exp(self.log_probability)


def gold_tokens(chains: Chains, *, shots: int = 1) -> Bool[Tensor, "example position"]:
    """Where the tokens of the gold chains are, of the problem that is asked and the demonstrations next to it.

    Args:
        chains: the chains.
        shots: of how many solved problems, from the last; the source reads the last five of nine.

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import draw_chains
        >>> made = draw_chains(load("mini", check=False), n=1, rng=np.random.default_rng(0))
        >>> int(gold_tokens(made).sum()) == int(made.end[0] - made.place("begin")[0])
        True
    """
    asked = chains.shot.amax(1, keepdim=True)
    return (chains.component != ABSENT) & (chains.shot > asked - shots)


def force(model: Model, chains: Chains, *, shots: int = 1) -> Forced:
    """Teacher-force gold chains: the probability of each of their tokens given what stands before it.

    Args:
        model: the model.
        chains: gold chains.
        shots: of how many solved problems tokens are read, from the last.

    Returns:
        A number for each gold token. Cost: a forward for each chain.

    Example:
        >>> from headscope.models import load
        >>> from headscope.tasks.chains import draw_chains
        >>> model = load("mini", check=False)
        >>> forced = force(model, draw_chains(model, n=4, rng=np.random.default_rng(0)))
        >>> float((forced.predicted == forced.gold).mean()) > 0.9
        True
    """
    reads = gold_tokens(chains, shots=shots)
    parts = [read_gold(model, batch) for batch in batches(model, chains, reads)]
    example, position = reads.nonzero().T
    return Forced(
        chain=example.numpy(), position=position.numpy(), component=chains.component[reads].numpy(),
        step=chains.step[reads].numpy(), gold=chains.tokens[reads].numpy(), groups=chains.groups.numpy(),
        predicted=torch.cat([part.predicted for part in parts]).numpy(),
        log_probability=torch.cat([part.log_probability for part in parts]).numpy(),
    )  # fmt: skip


def confidence_table(forced: Forced, *, seed: int, thresholds: tuple[float, ...] = THRESHOLDS) -> pd.DataFrame:
    """Which components uncertain tokens belong to, at several thresholds.

    Args:
        forced: gold tokens with their probabilities.
        seed: of the resamples, which draw whole groups of chains.
        thresholds: a token is uncertain if its probability is below.

    Returns:
        A row for each component and threshold, for `all` tokens, and for the three `decisions` of the source together:
        `tokens` and how many of them are `uncertain`; `rate`, that share; `share`, the component's part of all
        uncertain tokens, to be set against `share_tokens`, its part of all tokens; with 95 % intervals. NaN, with the
        reason, where there is none. Rows of the unit `nats` (threshold NaN) are by surprisal, which needs no threshold:
        `rate` is the mean surprisal of the component's tokens, and `share` its part of the whole. Cost: no forward
        pass.

    Example:
        >>> ids = np.array([0, 0, 1])
        >>> forced = Forced(chain=ids, position=ids, component=np.array([0, 2, 2]), step=ids, gold=ids, predicted=ids,
        ...                 log_probability=np.log([0.9, 0.5, 0.7]), groups=np.arange(2))
        >>> table = confidence_table(forced, seed=0, thresholds=(0.8,)).set_index(["component", "threshold"])
        >>> table.loc[("premise_selection", 0.8), ["tokens", "uncertain", "rate", "share"]].tolist()
        [2.0, 2.0, 1.0, 1.0]
    """
    weights = statistics.resamples(forced.groups, seed=seed)
    present = [at for at in range(len(COMPONENTS)) if bool((forced.component == at).any())]
    chosen = {COMPONENTS[at]: forced.component == at for at in present}
    three = np.isin(forced.component, [COMPONENTS.index(each) for each in DECISIONS])
    chosen |= {THREE: three, ALL: np.ones_like(three)}
    rows = [
        _row(forced, weights, name, inside, threshold) for threshold in thresholds for name, inside in chosen.items()
    ]
    rows += [_surprisal(forced, weights, name, inside) for name, inside in chosen.items()]
    return pd.DataFrame(rows, columns=CONFIDENCE)


def _surprisal(forced: Forced, weights: np.ndarray, name: str, inside: np.ndarray) -> dict[str, object]:
    nats = np.bincount(forced.chain, -forced.log_probability, len(forced.groups))
    own = np.bincount(forced.chain[inside], -forced.log_probability[inside], len(forced.groups))
    tokens = _count(forced, inside)
    rate, rate_low, rate_high = _ratio(own, tokens, weights)
    share, low, high = _ratio(own, nats, weights)
    held = tokens > 0
    return {
        "component": name, "threshold": np.nan, "tokens": int(tokens.sum()), "uncertain": np.nan, "rate": rate,
        "rate_low": rate_low, "rate_high": rate_high, "share": share, "share_low": low, "share_high": high,
        "share_tokens": float(inside.mean()), "n": int(held.sum()), "groups": len(np.unique(forced.groups[held])),
        "unit": "nats", "reason": "" if nats.sum() else "no token has any surprisal",
    }  # fmt: skip


def _row(forced: Forced, weights: np.ndarray, name: str, inside: np.ndarray, threshold: float) -> dict[str, object]:
    unsure = forced.probability < threshold
    tokens, found, every = (_count(forced, each) for each in (inside, inside & unsure, unsure))
    rate, rate_low, rate_high = _ratio(found, tokens, weights)
    share, low, high = _ratio(found, every, weights)
    held = tokens > 0
    reason = "" if every.sum() else "no token is uncertain at this threshold"
    return {
        "component": name, "threshold": threshold, "tokens": int(tokens.sum()), "uncertain": int(found.sum()),
        "rate": rate, "rate_low": rate_low, "rate_high": rate_high, "share": share, "share_low": low,
        "share_high": high, "share_tokens": float(inside.mean()), "n": int(held.sum()),
        "groups": len(np.unique(forced.groups[held])), "unit": "share of tokens", "reason": reason,
    }  # fmt: skip


def _count(forced: Forced, which: np.ndarray) -> Float[np.ndarray, " example"]:
    return np.bincount(forced.chain[which], minlength=len(forced.groups)).astype(float)


def _ratio(above: np.ndarray, below: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """A ratio of sums over chains with its 95 % interval; a resample without any in the denominator is left out."""
    if not below.sum():
        return np.nan, np.nan, np.nan
    drawn = weights @ below
    ratios = (weights @ above)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(above.sum() / below.sum()), float(low), float(high)


def token_table(model: Model, chains: Chains, forced: Forced) -> pd.DataFrame:
    """Every gold token with how sure the model is of it: what a chain is coloured by.

    Args:
        model: whose tokenizer, for the tokens as text.
        chains: the chains.
        forced: their gold tokens.

    Returns:
        `TOKENS`, a row for each gold token.
    """
    names = {ident: _text(model, ident) for ident in {*forced.gold.tolist(), *forced.predicted.tolist()}}
    return pd.DataFrame(
        {
            "chain": forced.chain,
            "position": forced.position,
            "token": [names[each] for each in forced.gold.tolist()],
            "component": [COMPONENTS[at] for at in forced.component.tolist()],
            "step": forced.step,
            "probability": forced.probability,
            "predicted": [names[each] for each in forced.predicted.tolist()],
            "right": forced.gold == forced.predicted,
        }
    )


def _text(model: Model, ident: int) -> str:
    return str(ident) if model.tokenizer is None else str(model.tokenizer.decode([ident]))
