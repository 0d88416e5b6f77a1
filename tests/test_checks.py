"""Our methods keep the contract, and check_method and check_task reject each way of breaking it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_tasks import random_pairs, reader

from headscope.contract import Method, Score, Task, Values
from headscope.errors import UsageError
from headscope.methods import METHODS
from headscope.models import Model
from headscope.prompts import ABSENT, Pairs, Prompts
from headscope.tasks import TASKS
from headscope.testing import ContractError, check_method, check_task

LONG = {"ablation", "mediation", "parts", "patching", "path-patching", "positions", "self-repair"}
"""Methods whose bookkeeping the default tests check on one architecture only."""


def contracts() -> Iterator[Any]:
    for architecture in ("gpt2", "bert"):
        for name in METHODS:
            slow = [pytest.mark.slow] if architecture == "bert" and name in LONG else []
            yield pytest.param(architecture, name, marks=slow, id=f"{architecture}-{name}")


@pytest.mark.parametrize(("architecture", "name"), list(contracts()), indirect=["architecture"], scope="session")
def test_every_method_keeps_its_contract(name: str, model: Model) -> None:
    # Equality with plain loops covers the other architectures; this is about bookkeeping.
    check_method(METHODS[name], model, random_pairs())


# --- broken methods: a sound one, and one flaw at a time


def sound(
    model: Model, pairs: Prompts, *, power: int = 1, seed: int = 0, batch_size: int = 8, progress: bool = False
) -> dict[str, torch.Tensor]:
    """Mean z of each head, with a seeded weight for each prompt.

    Args:
        model: any.
        pairs: any.
        power: of the weight.
        seed: of the weights.
        batch_size: changes speed and memory only.
        progress: ignored.
    """
    z = model.outputs(pairs.tokens, pairs.mask)[:, :, 0].mean(-1).permute(1, 0, 2)
    weight = torch.tensor([1 + hash((seed, *row)) % 7 for row in pairs.tokens.tolist()]) ** power
    return {"mean_z": z * weight[:, None, None]}


def sound_without_a_seed(model: Model, pairs: Prompts, *, batch_size: int = 8, progress: bool = False) -> Values:
    """Mean z of each head."""
    return sound(model, pairs)


def method(function: Callable[..., Any] = sound, **given: Any) -> Method:
    facts = {"name": "own", "needs": Prompts, "scores": (Score(name="mean_z", meaning="writes much"),), "source": "own"}
    return Method(**{**facts, "function": function, "about": "for tests", "seeded": True, **given})


def change(what: Callable[..., Any]) -> Callable[..., Any]:
    """A method that does what `sound` does, but for `what(values, model, pairs, options)`."""

    def function(
        model: Model, pairs: Prompts, *, power: int = 1, seed: int = 0, batch_size: int = 8, progress: bool = False
    ) -> Values:
        options = {"power": power, "seed": seed, "batch_size": batch_size, "progress": progress}
        values = sound(model, pairs, power=power, seed=seed)
        return what(values, model, pairs, options) or values

    return function


def scaled(by: Callable[[Any, dict[str, Any]], Any]) -> Callable[..., Any]:
    return change(lambda values, _model, pairs, options: {"mean_z": values["mean_z"] * by(pairs, options)})


def tokens_changed(_values: Any, _model: Model, pairs: Prompts, _options: Any) -> None:
    pairs.tokens[0, 0] += 1


def place_changed(_values: Any, _model: Model, pairs: Prompts, _options: Any) -> None:
    pairs.positions["end"][0] -= 1


def weight_changed(_values: Any, model: Any, _pairs: Prompts, _options: Any) -> None:
    model.bridge.blocks[0].ln1.weight.data[0] += 0.01


def hook_left(_values: Any, model: Any, _pairs: Prompts, _options: Any) -> None:
    model.bridge.blocks[0].register_forward_hook(lambda *_: None)


def infinite(values: Any, _model: Any, _pairs: Any, _options: Any) -> None:
    values["mean_z"][0, 0, 0] = torch.inf


def holed(values: Any, _model: Any, _pairs: Any, _options: Any) -> None:
    values["mean_z"][0, 0, 0] = torch.nan


def centred(values: Any, _model: Any, _pairs: Any, _options: Any) -> Any:
    return {"mean_z": values["mean_z"] - values["mean_z"].mean(0)}


calls = iter(range(10**6))
BROKEN: dict[str, tuple[Callable[[], Method], str]] = {
    "no batch size": (lambda: method(lambda model, pairs, *, seed, progress: {}), "without the options batch_size"),
    "seed not taken": (lambda: method(sound_without_a_seed), "without the options seed"),
    "seed not declared": (lambda: method(seeded=False), "with a seed that it does not declare"),
    "other keys": (lambda: method(change(lambda v, *_: {"z": v["mean_z"]})), r"which returns \['z'\]\n.*\['mean_z'\]"),
    "a mean already": (lambda: method(change(lambda v, *_: {"mean_z": v["mean_z"].mean(0)})), r"of shape \(3, 4\)"),
    "whole numbers": (lambda: method(change(lambda v, *_: {"mean_z": v["mean_z"].int()})), "type torch.int32"),
    "infinity": (lambda: method(change(infinite)), "with 1 values not finite"),
    "NaN without a reason": (
        lambda: method(change(holed), scores=(Score(name="mean_z", meaning="m", absent=" "),)),
        "with 1 values not finite\n.*where the Score's `absent` says why",
    ),
    "batch size": (lambda: method(scaled(lambda _, o: 1 + (o["batch_size"] == 8) / 100)), "differ at batch size 8"),
    "progress": (lambda: method(scaled(lambda _, o: 1 + o["progress"])), "differ with a progress bar"),
    "order": (lambda: method(scaled(lambda p, _: torch.arange(1.0, 1 + len(p))[:, None, None])), "in another order of"),
    "NaN by order": (lambda: method(change(holed)), "in another order of examples: by inf"),
    "unseeded": (lambda: method(scaled(lambda *_: 1 + next(calls))), "differ at batch size 1"),
    "seed ignored": (lambda: method(change(lambda _v, m, p, o: sound(m, p, power=o["power"]))), "for seeds 0, 1 and 2"),
    "option ignored": (lambda: method(change(lambda _v, m, p, o: sound(m, p, seed=o["seed"]))), "'power' .* nothing"),
    "across not declared": (
        lambda: method(change(centred), across=False),
        r"is by itself \(declare across=True if it must\)",
    ),
    "tokens": (lambda: method(change(tokens_changed)), "which changes the prompts"),
    "positions": (lambda: method(change(place_changed)), "which changes the prompts"),
    "weights": (lambda: method(change(weight_changed)), "which changes the model's weights"),
    "hooks": (lambda: method(change(hook_left)), "which changes the model's hooks"),
}  # fmt: skip


def fresh() -> Model:
    from architectures import tiny

    from headscope.models import load

    return load(tiny("gpt2"), device="cpu", check=False)


def test_the_sound_method_is_accepted() -> None:
    check_method(method(), fresh(), random_pairs())
    check_method(method(sound_without_a_seed, seeded=False), fresh(), random_pairs())


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_broken_method_is_rejected(flaw: str) -> None:
    broken, text = BROKEN[flaw]
    with pytest.raises(ContractError, match=text):
        check_method(broken(), fresh(), random_pairs())


def test_other_prompts_than_it_needs_are_refused() -> None:
    pairs = random_pairs()
    prompts = Prompts(task="own", tokens=pairs.tokens, mask=pairs.mask, groups=pairs.groups)
    with pytest.raises(ContractError, match=r"method 'own' on Prompts\n  expected: Pairs"):
        check_method(method(needs=Pairs), fresh(), prompts)


def test_an_option_that_says_it_is_for_speed_must_keep_the_values() -> None:
    def function(model: Model, pairs: Prompts, *, chunk: float = 1, batch_size: int = 8, progress: bool = False):
        """For tests.

        chunk: changes speed and memory only.
        """
        return {"mean_z": chunk * sound(model, pairs)["mean_z"]}

    with pytest.raises(ContractError, match=r"'chunk' .* 2 changes the values\n.*'speed and memory only'"):
        check_method(method(function, seeded=False), fresh(), random_pairs())


def test_layers_must_leave_out_all_others() -> None:
    def function(model: Model, pairs: Prompts, *, layers: Any = None, batch_size: int = 8, progress: bool = False):
        """For tests."""
        return sound(model, pairs)

    with pytest.raises(ContractError, match=r"with layers=\[0\]: all but that layer must be NaN, and it as among all"):
        check_method(method(function, seeded=False), fresh(), random_pairs())


def test_memory_must_not_change_the_values() -> None:
    def function(
        model: Model, pairs: Prompts, *, memory: int | None = None, batch_size: int = 8, progress: bool = False
    ) -> Values:
        """For tests."""
        return {"mean_z": (1 if memory is None else 1.01) * sound(model, pairs)["mean_z"]}

    with pytest.raises(ContractError, match="whose values differ with little memory"):
        check_method(method(function, seeded=False), fresh(), random_pairs())


def test_effects_are_compared_on_the_scale_of_the_metric_that_they_are_differences_of() -> None:
    calls = count()

    def function(model: Model, pairs: Prompts, *, batch_size: int = 8, progress: bool = False) -> Values:
        """For tests: values far below what rounding does to a metric."""
        return {"mean_z": (1 + next(calls)) * 1e-8 * sound(model, pairs)["mean_z"]}

    check_method(method(function, seeded=False), fresh(), random_pairs())
    of_its_own = (Score(name="mean_z", meaning="writes much", unit="own"),)
    with pytest.raises(ContractError, match="whose values differ at batch size 1"):
        check_method(method(function, seeded=False, scores=of_its_own), fresh(), random_pairs())


def test_an_option_of_unknown_values_needs_a_variant() -> None:
    def function(model: Model, pairs: Prompts, *, how: str = "one", batch_size: int = 8, progress: bool = False):
        """For tests."""
        return {"mean_z": (1 + (how == "two")) * sound(model, pairs)["mean_z"]}

    own = method(function, seeded=False)
    with pytest.raises(ContractError, match=r"option 'how' .*, by default 'one'(.|\n)*variants=\{'how': \.\.\.\}"):
        check_method(own, fresh(), random_pairs())
    check_method(own, fresh(), random_pairs(), variants={"how": "two"})
    with pytest.raises(ContractError, match="'how' of method 'own': 'three' changes nothing"):
        check_method(own, fresh(), random_pairs(), variants={"how": "three"})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("", ""),
        (
            "forgets",
            r"which returns \['mean_z'\]\n  expected: the scores that it declares, in order: \['mean_z', 'mean_z.kl'",
        ),
        ("spoils", "whose values differ with further metrics: by"),
        ("orders", "whose values differ with further metrics in another order: by"),
    ],
)
def test_metrics_add_their_scores_and_change_no_other(fault: str, words: str) -> None:
    def function(
        model: Model, pairs: Prompts, *, metrics: tuple[str, ...] = (), batch_size: int = 8, progress: bool = False
    ) -> Values:
        """For tests."""
        own = sound(model, pairs)["mean_z"]
        found = {"mean_z": own * (1 + (fault == "spoils") * len(metrics))}
        for place, name in enumerate(() if fault == "forgets" else metrics):
            found[f"mean_z.{name}"] = own * (1 + (fault == "orders") * place)
        return found

    broken = method(function, seeded=False)
    if not fault:
        check_method(broken, fresh(), random_pairs())
        return
    with pytest.raises(ContractError, match=words):
        check_method(broken, fresh(), random_pairs())


# --- broken tasks


def spoiled(task: str, spoil: Callable[[Pairs], dict[str, Any]]) -> Task:
    """One of our tasks with some fields of its pairs replaced."""

    def build(model: Any, *, n: int, rng: np.random.Generator) -> Pairs:
        pairs = TASKS[task].build(model, n=n, rng=rng)
        return replace(pairs, **spoil(pairs))

    return replace(TASKS[task], build=build)


def put(values: torch.Tensor, example: int, at: Any, value: int) -> torch.Tensor:
    changed = values.clone()
    changed[example, at] = value
    return changed


def moved(pairs: Pairs, name: str, by: int) -> dict[str, Any]:
    return {"positions": {**pairs.positions, name: pairs.positions[name] + by}}


def fewer(model: Any, *, n: int, rng: np.random.Generator) -> Pairs:
    return TASKS["ioi"].build(model, n=n, rng=rng).select(torch.arange(n - 1))


def shorter_twin(pairs: Pairs) -> dict[str, Any]:
    return {"corrupted": put(pairs.corrupted, 2, int(pairs.end[2]), 0)}


def with_seed(seed: int | None) -> Task:
    build = TASKS["ioi"].build
    return replace(TASKS["ioi"], build=lambda model, n, rng: build(model, n=n, rng=np.random.default_rng(seed)))


ioi, agreement = partial(spoiled, "ioi"), partial(spoiled, "agreement")
BROKEN_TASKS: dict[str, tuple[Callable[[], Task], str]] = {
    "name": (lambda: ioi(lambda p: {"task": "other"}), r"'ioi': Pairs named 'other'\n  expected: Pairs named 'ioi'"),
    "number": (lambda: replace(TASKS["ioi"], build=fewer), r"15 examples\n  expected: 16"),
    "texts": (lambda: ioi(lambda p: {"texts": p.texts[:3]}), "3 texts"),
    "source": (lambda: ioi(lambda p: {"source": ""}), "no source or no corruption"),
    "metric": (lambda: ioi(lambda p: {"metric": "los"}), r"metric 'los'\n  expected: one of: logit_difference, probab"),
    "groups": (lambda: ioi(lambda p: {"groups": torch.zeros_like(p.groups)}), r"1 group\n  expected: 2 or more"),
    "vocabulary": (lambda: ioi(lambda p: {"tokens": put(p.tokens, 3, 2, 10**6)}), r"the vocabulary \(example 3\)"),
    "shorter twin": (lambda: ioi(shorter_twin), r"of another length than its prompt \(example 2\)"),
    "equal twin": (lambda: ioi(lambda p: {"corrupted": p.tokens}), r"a twin equal to its prompt \(example 0\)"),
    "no end": (lambda: ioi(lambda p: {"positions": {}}), "no position named 'end'"),
    "end outside": (lambda: agreement(lambda p: moved(p, "end", 1)), r"'end' outside the prompt \(example 0\)"),
    "place outside": (lambda: agreement(lambda p: moved(p, "subject", 5)), "'subject' outside the prompt"),
    "another word": (lambda: ioi(lambda p: moved(p, "io", 1)), r"'io' at another word \(example 0\)\n.*of its answers"),
    "no word": (lambda: agreement(lambda p: moved(p, "subject", -2)), r"'subject' at a token not in the text"),
    "no answer": (lambda: ioi(lambda p: {"answers": put(p.answers, 4, 0, ABSENT)}), r"without answers.*\(example 4\)"),
    "unknown foil": (lambda: ioi(lambda p: {"foils": put(p.foils, 5, 0, 10**6)}), r"without foils, .*\(example 5\)"),
    "answer is foil": (lambda: agreement(lambda p: {"foils": p.answers}), r"that is also a foil \(example 0\)"),
    "not seeded": (lambda: with_seed(None), "other prompts for the same seed"),
    "seed ignored": (lambda: with_seed(7), "the same prompts for another seed"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", BROKEN_TASKS)
def test_a_broken_task_is_rejected(flaw: str) -> None:
    broken, text = BROKEN_TASKS[flaw]
    with pytest.raises(ContractError, match=text):
        check_task(broken(), reader("words"))


def test_a_metric_without_a_number_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reader("words")
    nothing = torch.full((16, model.vocabulary), torch.nan)
    monkeypatch.setattr(type(model), "run_at", lambda *_: nothing)
    with pytest.raises(ContractError, match="after the prompt, metric 'logit_difference' of task 'ioi', which is NaN"):
        check_task(TASKS["ioi"], model)


def test_padding_inside_a_prompt_is_rejected_when_the_pairs_are_made() -> None:
    broken = ioi(lambda pairs: {"mask": put(pairs.mask, 1, 3, False)})
    with pytest.raises(UsageError, match=r"prompts of task 'ioi' that are not right-padded \(example 1\)"):
        check_task(broken, reader("words"))


def test_a_prompt_longer_than_the_context_is_rejected() -> None:
    model = replace(reader("words"), max_length=12)  # type: ignore[type-var]
    build = TASKS["ioi"].build
    blind = replace(TASKS["ioi"], build=lambda _model, n, rng: build(reader("words"), n=n, rng=rng))
    with pytest.raises(ContractError, match=r"prompts of \d+ tokens\n  expected: at most 12"):
        check_task(blind, model)
