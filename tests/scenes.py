"""Scenes for the replay engine: awkward pairs, edits of every kind, and what plain Hugging Face says of them."""

from collections.abc import Callable
from typing import Any

import architectures
import oracles_attention
import torch
import transformers
from torch import Tensor

from headscope import metrics
from headscope.models import Model, load
from headscope.models.cutting import Cut
from headscope.prompts import ABSENT, LOG_PROBABILITY, Pairs
from headscope.replay import Edits

WIDTH, LENGTHS = 13, (13, 9, 12, 13, 6, 13)
EXAMPLES = len(LENGTHS)


def pairs(*, seed: int = 0, vocabulary: int = architectures.VOCABULARY, metric: Any = "logit_difference") -> Pairs:
    """Six pairs of unequal lengths; the twins differ first at 0, at the last token, in the middle, ... and never."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, vocabulary, (EXAMPLES, WIDTH), generator=draw)
    lengths = torch.tensor(LENGTHS)
    corrupted = tokens.clone()
    for example, first in enumerate((0, LENGTHS[1] - 1, 5, 2, 3)):
        corrupted[example, first] = 3 + (tokens[example, first] - 2) % (vocabulary - 3)
        later = (torch.rand(WIDTH, generator=draw) < 0.3) & (torch.arange(WIDTH) > first)
        corrupted[example, later] = torch.randint(3, vocabulary, (int(later.sum()),), generator=draw)
    answers = torch.randint(3, vocabulary, (EXAMPLES, 2), generator=draw)
    foils = torch.stack([(answers[:, 0] + 1) % vocabulary, torch.full((EXAMPLES,), ABSENT)], 1)
    end = lengths - 1
    end[3] = 7  # the metric need not read at the last token
    if metric == LOG_PROBABILITY:
        end, answers = _continued(tokens, corrupted, lengths, answers)
    return Pairs(
        task="scene",
        tokens=tokens,
        corrupted=corrupted,
        mask=torch.arange(WIDTH) < lengths[:, None],
        groups=torch.arange(EXAMPLES),
        positions={"end": end, "cue": torch.tensor([0, 4, ABSENT, 2, 3, ABSENT])},
        answers=answers,
        foils=foils,
        metric=metric,
    )


def _continued(tokens: Tensor, corrupted: Tensor, lengths: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Answers of one to three tokens, all but the last of which follow `end` in both prompts."""
    answers = torch.cat([answers, answers[:, :1]], 1)
    for example, length in enumerate((3, 1, 2, 3, 2, 3)):
        answers[example, length:] = ABSENT
        for step in range(length - 1):
            for prompt in (tokens, corrupted):
                prompt[example, lengths[example] - 3 + step] = answers[example, step]
    return lengths - 4, answers


def read(logits: Tensor, pairs: Pairs) -> Tensor:
    """The pairs' metric of the logits of all positions."""
    rows = torch.arange(len(pairs))[:, None]
    return metrics.evaluate(logits[rows, pairs.reads.clamp(min=0)], pairs)


def expected(plain: Any, pairs: Pairs, tokens: Tensor, donor: Tensor, edits: Edits) -> Tensor:
    """The metric [example, edit] by one whole Hugging Face forward for each edit, its values read off `donor`."""
    _, own = oracles_attention.run(plain, tokens, pairs.mask)
    _, other = oracles_attention.run(plain, donor, pairs.mask)
    columns = []
    for index in range(len(edits)):
        change = oracles_attention.Change(
            site=edits.site,
            heads=edits.heads[index],
            values=getattr(other, edits.site),
            places=edits.places[edits.at[index]] & pairs.mask,
            frozen=None if edits.frozen is None else edits.frozen[index],
            kept=own.z,
        )
        logits, _ = oracles_attention.run(plain, tokens, pairs.mask, change)
        columns.append(read(logits, pairs))
    return torch.stack(columns, 1)


def apart(one: Tensor, other: Tensor, scale: Tensor | None = None) -> float:
    """The largest difference, over the scale of what it should be."""
    scale = other if scale is None else scale
    return float((one - other).abs().max()) / max(1e-3, float(scale.abs().max()))


def _grouped(**more: Any) -> dict[str, Any]:
    return {**architectures._GROUPED, **more}


def _gpt2(**more: Any) -> Any:
    width = architectures.HEADS * architectures.D_HEAD
    sizes = {"n_embd": width, "n_layer": architectures.LAYERS, "n_head": architectures.HEADS, "n_positions": 32}
    return transformers.GPT2Config(**sizes, **architectures._SPECIAL, **more)


VARIANTS: dict[str, Callable[[], Any]] = {
    "mistral, window of 5": lambda: transformers.MistralConfig(**_grouped(sliding_window=5, head_dim=8)),
    "qwen2, window in later layers": lambda: transformers.Qwen2Config(
        **_grouped(use_sliding_window=True, sliding_window=5, max_window_layers=1)
    ),
    "gemma": lambda: transformers.GemmaConfig(**_grouped(head_dim=8)),
    "gpt2, scaled by layer": lambda: _gpt2(scale_attn_by_inverse_layer_idx=True),
    "neox, one after the other": lambda: transformers.GPTNeoXConfig(
        **architectures._COMMON, use_parallel_residual=False, rotary_pct=0.5
    ),
    "llama, scaled rotary positions": lambda: transformers.LlamaConfig(
        **_grouped(
            attention_bias=True,
            mlp_bias=True,
            rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 1e4},
        )
    ),
}
"""Ways in which models of one family differ from the ones in `architectures`."""
FALLBACKS: dict[str, Callable[[], Any]] = {
    "phi": lambda: transformers.PhiConfig(**architectures._COMMON),
    "bloom": lambda: transformers.BloomConfig(hidden_size=32, n_layer=3, n_head=4, **architectures._SPECIAL),
}
"""Models that are not cut open."""


def not_cut_open(plain: Any, reason: str) -> Model:
    """A model as headscope loads it, if it could not be started in the middle."""
    model = load(plain, device="cpu")
    made = object.__new__(type("Whole", (type(model),), {"cut": Cut(None, reason)}))
    made.__dict__.update(vars(model))
    return made


def random_model(config: Any) -> Any:
    """A random model of a configuration, moved away from its initial values as in `architectures.tiny`."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
