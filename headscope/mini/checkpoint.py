"""Checkpoints of a training: one safetensors file with weights, optimiser and state, replaced in one move."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from headscope.errors import UsageError
from headscope.frames import check_plain
from headscope.mini.recipe import Recipe

NAME = "checkpoint.safetensors"
LARGEST = 2**34
"""Bytes of the largest checkpoint that is read."""


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
        UsageError: if the checkpoint is of another recipe, or none.
    """
    from safetensors import safe_open

    if not (folder / NAME).exists():
        return fresh(recipe)
    try:
        check_plain(folder / NAME, most=LARGEST)
        with safe_open(folder / NAME, "pt") as file:
            return _restored(file, folder, model, optimiser, recipe)
    except UsageError:
        raise
    except Exception as problem:  # what is no checkpoint can raise nearly every built-in error
        given = f"checkpoint {str(folder / NAME)!r}: {type(problem).__name__}: {problem!s:.200}"
        fix = "delete it to train from the beginning, or choose another --out"
        raise UsageError(given, "what headscope mini train wrote", fix) from problem


def _restored(
    file: Any, folder: Path, model: GPTNeoXForCausalLM, optimiser: torch.optim.AdamW, recipe: Recipe
) -> dict[str, Any]:  # fmt: skip
    parameters = dict(model.named_parameters())
    state = json.loads(file.metadata()["state"])
    _check_state(state)
    _check_recipe(folder, state["recipe"], asdict(recipe))
    for key in file.keys():  # noqa: SIM118 - a safetensors handle, not a dict
        kind, _, rest = key.partition(".")
        value = file.get_tensor(key)
        if kind == "model":
            parameters[rest].data.copy_(_alike(value, parameters[rest]))
            continue
        moment, _, name = rest.partition(".")
        # AdamW counts its steps on the CPU, wherever the weights are.
        held = value if moment == "step" else _alike(value, parameters[name]).to(parameters[name].device)
        optimiser.state[parameters[name]][moment] = held
    return state


def _alike(value: Tensor, parameter: Tensor) -> Tensor:
    """The value; what has another shape would be repeated in silence."""
    if value.shape != parameter.shape:
        raise ValueError(f"an array of shape {list(value.shape)} for one of {list(parameter.shape)}")
    return value


def _check_state(state: dict[str, Any]) -> None:
    kinds = {"step": int, "learnt": dict, "tokens": int, "seconds": (int, float), "recipe": dict, "curve": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(state[name], kind)]
    wrong += [name for name, value in state["learnt"].items() if not isinstance(value, (int, float))]
    if wrong or state["step"] < 0:
        raise ValueError(f"a state with another {', '.join(map(str, wrong)) or 'step'}")


def _check_recipe(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    if differing:
        raise UsageError(
            f"folder {str(folder)!r}, which holds a training of another recipe (other: {', '.join(differing)})",
            "a new folder, or the recipe that was begun there",
            "choose another --out, or give the same --seed and --steps to go on",
        )
