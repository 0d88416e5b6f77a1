"""Tiny, randomly initialised models of every architecture that headscope promises, from their configurations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

ARCHITECTURES = ("gpt2", "gpt_neox", "llama", "qwen2", "qwen3", "gemma2", "gpt_neo", "opt", "bert")
VOCABULARY, LAYERS, HEADS, D_HEAD, LONGEST = 97, 3, 4, 8, 32

_SPECIAL = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_WIDTH = HEADS * D_HEAD
_COMMON: dict[str, Any] = {
    **_SPECIAL,
    "hidden_size": _WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": LONGEST,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_CONFIGS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=_WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=LONGEST, **_SPECIAL
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_COMMON),
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    # Wider heads than d_model / heads, so that W_O is not square.
    "qwen3": lambda: transformers.Qwen3Config(head_dim=D_HEAD * 2, **_GROUPED),
    # A window shorter than the test prompts: local layers must stay local.
    "gemma2": lambda: transformers.Gemma2Config(head_dim=D_HEAD, sliding_window=6, **_GROUPED),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        hidden_size=_WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
        attention_types=[[["global", "local", "global"], 1]],
        max_position_embeddings=LONGEST,
        window_size=4,
        intermediate_size=48,
        **_SPECIAL,
    ),
    "opt": lambda: transformers.OPTConfig(
        hidden_size=_WIDTH,
        ffn_dim=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=LONGEST,
        word_embed_proj_dim=_WIDTH,
        **_SPECIAL,
    ),
    "bert": lambda: transformers.BertConfig(**_COMMON),
}


def tiny(architecture: str, *, seed: int = 0) -> Any:
    """A tiny model with its language-modelling head, in evaluation mode, with attention that returns patterns.

    Every parameter is moved away from its initial value, so that biases and norms are not trivial.
    """
    config = _CONFIGS[architecture]()
    auto = transformers.AutoModelForMaskedLM if architecture == "bert" else transformers.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = auto.from_config(config, attn_implementation="eager").eval()
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def put_in_cache(cache: Path, name: str, commit: str = "a" * 40) -> None:
    """Lay a tiny GPT-2 down in a Hugging Face cache, as if it had been fetched under that name."""
    home = cache / f"models--{name.replace('/', '--')}"
    tiny("gpt2").save_pretrained(home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
