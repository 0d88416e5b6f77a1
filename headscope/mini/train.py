"""Training the bundled model from scratch: seeded, in steps, resumable after a stop at any moment."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from headscope.grammar import FAMILIES, splits
from headscope.mini import checkpoint, texts, tokenizer
from headscope.mini.recipe import Recipe
from headscope.mini.score import right, summary, training_reader
from headscope.models.quiet import quiet


def initial_model(recipe: Recipe, size: int) -> GPTNeoXForCausalLM:
    """A GPT-NeoX decoder with fresh weights; what each block adds to the residual stream starts small, as in GPT-2.

    Args:
        recipe: the architecture and the seed.
        size: words in the vocabulary.
    """
    torch.manual_seed(recipe.seed)
    config = GPTNeoXConfig(
        vocab_size=size,
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=recipe.positions,
        hidden_act="gelu_pytorch_tanh",
        rope_parameters={"rope_type": "default", "rope_theta": recipe.theta, "partial_rotary_factor": recipe.rotary},
        initializer_range=recipe.spread,
        tie_word_embeddings=True,
        use_parallel_residual=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
                weight /= math.sqrt(2 * recipe.layers)
        for name, bias in model.named_parameters():
            if name.endswith("attention.query_key_value.bias"):
                _prefer_distances(bias, recipe)
    return model


def _prefer_distances(joint: Tensor, recipe: Recipe) -> None:
    """Give queries and keys random biases where they rotate: each head starts with distances that it prefers."""
    d_head = recipe.width // recipe.heads
    rotated = int(d_head * recipe.rotary)
    parts = joint.view(recipe.heads, 3, d_head)
    parts[:, :2, :rotated] = recipe.distance * torch.randn(recipe.heads, 2, rotated)


def _optimiser(model: GPTNeoXForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


def _rate(recipe: Recipe, step: int) -> float:
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    last = recipe.rate * recipe.floor
    if step >= recipe.steps:
        return last + (recipe.finish_rate - last) * (1 - (step - recipe.steps) / recipe.finish)
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * (recipe.floor + (1 - recipe.floor) * 0.5 * (1 + math.cos(math.pi * done)))


def _loss(model: GPTNeoXForCausalLM, batch: texts.Batch) -> Tensor:
    logits = model(
        input_ids=batch.tokens, position_ids=batch.places, attention_mask=batch.attend, use_cache=False
    ).logits
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    weights = batch.weights.flatten()
    return (each * weights).sum() / weights.sum()


def _mixture(recipe: Recipe, learnt: dict[str, float], step: int) -> dict[str, float]:
    """Base weights times what is left to learn on the dev split."""
    more = recipe.finish_weights if step >= recipe.steps else {}
    return {f: more.get(f, 1.0) * recipe.weights[f] * min(1.0, max(0.2, 1.1 - learnt.get(f, 0.0))) for f in FAMILIES}


def train(recipe: Recipe, folder: Path, *, device: str = "cpu", every: int = 200, progress: bool = True) -> Path:
    """Train, or go on where a stopped run with the same recipe left off, and write the model in Hugging Face's layout.

    Args:
        recipe: what to train.
        folder: gets `checkpoint.safetensors`, `curve.jsonl` and, at the end, `model/`.
        device: `cpu` or `cuda`.
        every: steps between looks at the dev split (and checkpoints).
        progress: show a progress bar.

    Returns:
        The folder of the finished model.

    Raises:
        UsageError: if the folder holds a training of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer.build()
    ids = words.get_vocab()
    model = initial_model(recipe, len(ids))
    model.to(torch.device(device))  # pyright: ignore[reportArgumentType]
    optimiser = _optimiser(model, recipe)
    state = checkpoint.restore(folder, model, optimiser, recipe)
    dev = {family: splits.held_out(family, "dev", 60, recipe.seed) for family in FAMILIES}
    total = recipe.steps + recipe.finish
    bar = tqdm(total=total, initial=state["step"], disable=not progress, unit="step")
    began = time.monotonic() - state["seconds"]
    while state["step"] < total:
        step = state["step"]
        batch = texts.batch(recipe, step, _mixture(recipe, state["learnt"], step), ids)
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        loss = _loss(model, texts.Batch(*(part.to(device) for part in batch)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        state["step"] += 1
        state["tokens"] += int((batch.weights > 0).sum())
        bar.update()
        if state["step"] % every == 0 or state["step"] == total:
            state["seconds"] = time.monotonic() - began
            _look(model, dev, ids, state, loss.item())
            checkpoint.save(folder, model, optimiser, state)
    bar.close()
    return _release(model, words, recipe, folder / "model")


def _look(model: GPTNeoXForCausalLM, dev: dict, ids: dict[str, int], state: dict[str, Any], loss: float) -> None:
    """Measure the dev split, remember it for the mixture and append it to the learning curve."""
    read = training_reader(model)
    scores = {family: summary(right(read, documents, ids)) for family, documents in dev.items()}
    state["learnt"] = {family: score.documents for family, score in scores.items()}
    line = {
        "step": state["step"],
        "tokens": state["tokens"],
        "seconds": round(state["seconds"]),
        "loss": round(loss, 4),
    }
    line |= {family: [round(score.queries, 4), round(score.documents, 4)] for family, score in scores.items()}
    state["curve"].append(line)


def _release(model: GPTNeoXForCausalLM, words: PreTrainedTokenizerFast, recipe: Recipe, target: Path) -> Path:
    with quiet():
        model.half().save_pretrained(target, safe_serialization=True)
        words.save_pretrained(target)
    (target / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    return target
