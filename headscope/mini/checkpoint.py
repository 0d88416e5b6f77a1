"""Checkpoints of a training: one safetensors file with weights, optimiser and state, replaced in one move."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GPTNeoXForCausalLM

from headscope.errors import UsageError
from headscope.mini.recipe import Recipe

NAME = "checkpoint.safetensors"


def fresh(recipe: Recipe) -> dict[str, Any]:
    """The state of a training that has not begun.

    Args:
        recipe: what is trained.
    """
    return {"step": 0, "learnt": {}, "tokens": 0, "seconds": 0.0, "recipe": asdict(recipe), "curve": []}


def save(folder: Path, model: GPTNeoXForCausalLM, optimiser: torch.optim.AdamW, state: dict[str, Any]) -> None:
    """Write a checkpoint, and the learning curve that it has reached.

    A stop while writing leaves the checkpoint before. The curve is part of the state, so no step is in it twice.

    Args:
        folder: where to.
        model: its weights.
        optimiser: its moments.
        state: everything else, as JSON.
    """
    from safetensors.torch import save_file

    names = {id(p): n for n, p in model.named_parameters()}
    arrays = {f"model.{name}": p.detach().clone() for name, p in model.named_parameters()}
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            arrays[f"optimiser.{key}.{names[id(parameter)]}"] = value.detach().clone()
    partial = folder / "checkpoint.partial"
    save_file(arrays, partial, metadata={"state": json.dumps(state)})
    partial.replace(folder / NAME)
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in state["curve"]))


def restore(folder: Path, model: GPTNeoXForCausalLM, optimiser: torch.optim.AdamW, recipe: Recipe) -> dict[str, Any]:
    """Load the checkpoint of a folder into a model and its optimiser; without one, the state of a fresh start.

    Args:
        folder: where from.
        model: gets the weights.
        optimiser: gets the moments.
        recipe: what is being trained.

    Raises:
        UsageError: if the checkpoint is of another recipe.
    """
    from safetensors import safe_open

    if not (folder / NAME).exists():
        return fresh(recipe)
    parameters = dict(model.named_parameters())
    with safe_open(folder / NAME, "pt") as file:
        state = json.loads(file.metadata()["state"])
        _check_recipe(folder, state["recipe"], asdict(recipe))
        for key in file.keys():  # noqa: SIM118 - a safetensors handle, not a dict
            kind, _, rest = key.partition(".")
            if kind == "model":
                parameters[rest].data.copy_(file.get_tensor(key))
                continue
            moment, _, name = rest.partition(".")
            value = file.get_tensor(key)
            # AdamW counts its steps on the CPU, wherever the weights are.
            optimiser.state[parameters[name]][moment] = value if moment == "step" else value.to(parameters[name].device)
    return state


def _check_recipe(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if differing:
        raise UsageError(
            f"folder {str(folder)!r}, which holds a training of another recipe (other: {', '.join(differing)})",
            "a new folder, or the recipe that was begun there",
            "choose another --out, or give the same --seed and --steps to go on",
        )
