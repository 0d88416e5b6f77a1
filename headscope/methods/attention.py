"""Where every head looks: shares of attention on fixed targets, its spread and its reach."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from headscope.contract import Method, Score
from headscope.models import Model
from headscope.progress import track
from headscope.prompts import Prompts

Weights = Float[Tensor, "example head query key"]


def attention(
    model: Model, prompts: Prompts, *, batch_size: int = 32, progress: bool = False
) -> dict[str, Float[Tensor, "example layer head"]]:
    """Attention of every head, averaged over the tokens after the first.

        previous_token  to the token before
        first_token     to the first token (often an attention sink)
        self            to the token itself
        duplicate       to earlier copies of the token                 (only tokens that have one)
        induction       to what followed earlier copies of the token   (only tokens that have one): prefix matching
        entropy         of the attention weights, in nats
        distance        mean |query - key| under the attention weights, in tokens

    The first token is left out as a query: it can look nowhere else (for decoders). Sources: Olsson et al. 2022
    (previous token, prefix matching), Voita et al. 2019 (positional), Gu et al. 2025 (sinks), Clark et al. 2019
    (entropy).

    Args:
        model: the model.
        prompts: any prompts.
        batch_size: rows per forward pass; changes speed and memory only.
        progress: draw a progress bar.

    Returns:
        One array for each name above; `duplicate` and `induction` are NaN for prompts without a repeated token.
        Cost: one forward for each example; one layer's patterns in memory at a time.

    Example:
        >>> from headscope.grid import Grid
        >>> from headscope.models import load
        >>> from headscope.testing import Plant, planted_model
        >>> plant = Plant(previous_token=(0, 1))
        >>> model = load(planted_model(plant, grid=Grid(1, 2), vocabulary=8, positions=8), device="cpu")
        >>> tokens = torch.tensor([[3, 4, 5, 6]])
        >>> prompts = Prompts(task="own", tokens=tokens, mask=tokens > 0, groups=torch.tensor([0]))
        >>> attention(model, prompts)["previous_token"].round(decimals=2).tolist()
        [[[0.36, 1.0]]]
    """
    blocks: dict[str, list[Float[Tensor, "example layer head"]]] = {}
    chunks = torch.arange(len(prompts)).split(batch_size)
    for rows in track(chunks, f"{prompts.task}: attention", show=progress, unit="batch"):
        part = prompts.select(rows)
        targets = _targets(part)
        layers = [
            _scores(weights.cpu().double(), targets, part.mask) for _, weights in model.patterns(part.tokens, part.mask)
        ]
        for name in layers[0]:
            blocks.setdefault(name, []).append(torch.stack([layer[name] for layer in layers], dim=1))
    return {name: torch.cat(parts) for name, parts in blocks.items()}


def _targets(prompts: Prompts) -> dict[str, Bool[Tensor, "example query key"]]:
    """For every query token, which keys count."""
    size = prompts.tokens.shape[1]
    query, key = torch.arange(size)[:, None], torch.arange(size)[None, :]
    shape = (len(prompts), size, size)
    real = prompts.mask[:, :, None] & prompts.mask[:, None, :]
    copies = (prompts.tokens[:, :, None] == prompts.tokens[:, None, :]) & real & (key < query)
    followed = torch.zeros_like(copies)
    followed[:, :, 1:] = copies[:, :, :-1]
    return {
        "previous_token": (key == query - 1).expand(shape) & real,
        "first_token": (key == 0).expand(shape) & real,
        "self": (key == query).expand(shape) & real,
        "duplicate": copies,
        "induction": followed,
    }


def _mean(
    values: Float[Tensor, "example head query"], counted: Bool[Tensor, "example query"]
) -> Float[Tensor, "example head"]:
    """Mean over the counted queries; NaN where there is none."""
    kept = torch.where(counted[:, None], values, 0.0)
    return kept.sum(-1) / counted.sum(-1, keepdim=True).to(values)


def _scores(
    weights: Weights, targets: dict[str, Bool[Tensor, "example query key"]], mask: Bool[Tensor, "example query"]
) -> dict[str, Float[Tensor, "example head"]]:
    size = mask.shape[1]
    counted = mask & (torch.arange(size) > 0)
    scores = {}
    for name, target in targets.items():
        share = torch.where(target[:, None], weights, 0.0).sum(-1)
        scores[name] = _mean(share, counted & target.any(-1))
    reach = (torch.arange(size)[:, None] - torch.arange(size)[None, :]).abs().to(weights)
    scores["entropy"] = _mean(torch.special.entr(weights).sum(-1), counted)
    scores["distance"] = _mean((weights * reach).sum(-1), counted)
    return scores


def _share(name: str, meaning: str, absent: str = "no token to look from") -> Score:
    return Score(name=name, meaning=meaning, unit="share of attention", signed=False, absent=absent)


_NO_COPY = "no prompt repeats a token"
ATTENTION = Method(
    name="attention",
    function=attention,
    needs=Prompts,
    scores=(
        _share("previous_token", "looks at the token before"),
        _share("first_token", "looks at the first token, as an attention sink does"),
        _share("self", "looks at the token itself"),
        _share("duplicate", "looks at earlier copies of the token", _NO_COPY),
        _share("induction", "looks at what followed earlier copies of the token", _NO_COPY),
        Score(name="entropy", meaning="spreads its attention widely", unit="nats", signed=False),
        Score(name="distance", meaning="looks far", unit="tokens", signed=False),
    ),
    source="Olsson et al. 2022; Voita et al. 2019; Clark et al. 2019; Gu et al. 2025",
    about="where a head looks: previous, first, same and repeated tokens; entropy and distance",
    across=False,
)
