"""The self-check that every model passes on loading: identities that hold exactly if reading and editing work."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from headscope.errors import ModelError
from headscope.models.bridge import BridgeModel
from headscope.models.protocol import Edit

PROBE_LENGTH = 12
"""Tokens per probe prompt, where the model reads as many."""


def probe(vocabulary: int, max_length: int) -> Int[Tensor, "example position"]:
    """Three seeded random prompts: A; A with every token but the last changed; A with only the last changed.

    Args:
        vocabulary: the number of token ids, at least 2.
        max_length: the longest prompt that the model reads, at least 2.

    Example:
        >>> a, b, c = probe(50, 1024)
        >>> bool((a != b)[:-1].all()), bool(a[-1] == b[-1]), bool((a == c)[:-1].all()), bool(a[-1] != c[-1])
        (True, True, True, True)
    """
    generator = torch.Generator().manual_seed(20)
    length = max(2, min(PROBE_LENGTH, max_length))
    first = torch.randint(vocabulary, (length,), generator=generator)
    other = (first + torch.randint(1, vocabulary, (length,), generator=generator)) % vocabulary
    return torch.stack([first, torch.cat([other[:-1], first[-1:]]), torch.cat([first[:-1], other[-1:]])])


def self_check(
    model: BridgeModel, *, reference: Float[Tensor, "example position vocabulary"] | None = None
) -> dict[str, Any]:
    """Check on random tokens that the model is read and edited rightly; about twelve short forward passes.

    Every number is a largest absolute difference, over the scale of what is compared (its largest absolute value):

    * `finite`: no logit is NaN or infinite (here the number of those that are).
    * `logits_equal_hugging_face`: logits are those of Hugging Face's own forward; None where there is no plain model
      to ask, as for a live bridge.
    * `causal`: for a decoder, changing the last token leaves all earlier logits alone.
    * `run_at_equals_run`, `padding_changes_nothing`: reading one position, and padding on the right.
    * `patch_with_self_changes_nothing`: every head's z replaced by itself.
    * `patch_everything_gives_clean`: in a prompt of other tokens, every head's z replaced by the clean run's gives the
      clean logits at the position whose token is the same (the other residual streams start from other embeddings).
    * `edit_acts`: replacing every z by noise reaches the attention's output in every layer, as z @ W_O + b_O says.
    * `heads_sum_to_attention`: the sum over heads of z @ W_O, plus b_O, is the attention's output.
    * `patterns_sum_to_one`: attention from each position.

    Args:
        model: a loaded model.
        reference: Hugging Face's logits on `probe(model.vocabulary, model.max_length)`.

    Returns:
        The differences by name, with `tolerance`: JSON-able.

    Raises:
        ModelError: naming the first check that fails, and its number.
    """
    tokens = probe(model.vocabulary, model.max_length)
    logits = model.run(tokens)
    wrong = int((~torch.isfinite(logits)).sum())
    if wrong:
        raise _failed(model, "finite", wrong, 0)
    found: dict[str, float | None] = {"finite": 0.0, "logits_equal_hugging_face": None}
    if reference is not None:
        found["logits_equal_hugging_face"] = _distance(logits, reference.to(logits.device))
    found |= _reading(model, tokens, logits) | _patching(model, tokens, logits) | _heads(model, tokens)
    limit = tolerance(model)
    for name, value in found.items():
        if value is not None and not value <= limit:
            raise _failed(model, name, value, limit)
    return {**found, "tolerance": limit}


def tolerance(model: BridgeModel) -> float:
    """The largest relative difference that passes: 1e-4 in float32, and 64 steps of the type in half precision.

    Args:
        model: a loaded model.
    """
    return max(1e-4, 64 * torch.finfo(model.W_E.dtype).eps)


def _reading(model: BridgeModel, tokens: Tensor, logits: Tensor) -> dict[str, float | None]:
    length, short = tokens.shape[1], tokens.shape[1] // 2
    at = torch.tensor([length - 1, 0, short])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, short:] = False
    alone, padded = model.run(tokens[1:2, :short])[0], model.run(tokens, mask)[1, :short]
    sums = torch.stack([pattern.sum(-1) for _, pattern in model.patterns(tokens[:1])])
    return {
        "causal": _distance(logits[2, :-1], logits[0, :-1]) if model.causal else None,
        "run_at_equals_run": _distance(model.run_at(tokens, None, at), logits[torch.arange(3), at]),
        "padding_changes_nothing": _distance(padded, alone),
        "patterns_sum_to_one": _distance(sums, torch.ones_like(sums)),
    }


def _patching(model: BridgeModel, tokens: Tensor, logits: Tensor) -> dict[str, float | None]:
    z = model.outputs(tokens)
    heads = torch.ones(len(tokens), model.grid.heads, dtype=torch.bool)
    own = [Edit(layer=layer, heads=heads, values=z[layer]) for layer in range(model.grid.layers)]
    clean = [Edit(layer=e.layer, heads=e.heads, values=e.values[:1].expand_as(e.values)) for e in own]
    return {
        "patch_with_self_changes_nothing": _distance(model.run(tokens, edits=own), logits),
        # Row 1 shares only its last token with row 0.
        "patch_everything_gives_clean": _distance(model.run(tokens, edits=clean)[1, -1], logits[0, -1]),
    }


def _heads(model: BridgeModel, tokens: Tensor) -> dict[str, float | None]:
    row = tokens[:1]
    z = model.outputs(row)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(21)).to(z)
    heads = torch.ones(1, model.grid.heads, dtype=torch.bool)
    edits = [Edit(layer=layer, heads=heads, values=noise[layer]) for layer in range(model.grid.layers)]
    return {
        "heads_sum_to_attention": _distance(_summed(model, z), model.attention_outputs(row)),
        "edit_acts": _distance(_summed(model, noise), model.attention_outputs(row, edits=edits)),
    }


def _summed(model: BridgeModel, z: Tensor) -> Tensor:
    return torch.einsum("lephd,lhdm->lepm", z, model.W_O) + model.b_O[:, None, None]


def _distance(one: Tensor, other: Tensor) -> float:
    # Below this, differences are rounding: a model may well put out nothing but zeros.
    scale = max(1e-3, float(other.abs().max()))
    return float((one.float() - other.float()).abs().max()) / scale


def _failed(model: BridgeModel, name: str, value: float, limit: float) -> ModelError:
    return ModelError(
        f"model {model.name!r}, which fails the self-check {name!r}: {value:.3g}",
        f"at most {limit:.3g}",
        "do not trust numbers from it; try dtype='float32' and device='cpu', or look into it with check=False",
    )
