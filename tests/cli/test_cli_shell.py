"""The commands around analyze: help, version, list, doctor, mini; and what starting them imports and changes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shells import Shell, environment, save

import headscope
from headscope import cli
from headscope.cli import tables
from headscope.methods import METHODS
from headscope.tasks import TASKS

HEAVY = {"torch", "transformers", "transformer_lens", "pandas", "numpy", "scipy", "plotly", "huggingface_hub"}


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment(COLUMNS="80"), check=False
    )


def imported(code: str) -> set[str]:
    """The modules that a fresh Python has imported once it has run `code`."""
    ran = process("-c", f"{code}\nimport sys\nsys.stderr.write(' '.join(sys.modules))")
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.split())


# --- starting


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
sys.argv = ["headscope", "--help"]
from headscope.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
"""
    found = imported(code)
    assert "headscope.cli.analysis" in found
    assert not HEAVY & found


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert {"numpy"} <= HEAVY & imported("import numpy")


def test_importing_headscope_prints_nothing_imports_nothing_and_changes_nothing() -> None:
    code = """
import logging, os, random, signal, sys, warnings
def state():
    return (
        dict(os.environ), list(sys.path), list(warnings.filters), random.getstate(), os.getcwd(), sys.excepthook,
        logging.root.level, list(logging.root.handlers), signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr,
    )
before = state()
import headscope
import headscope.cli
assert [one == other for one, other in zip(before, state())] == [True] * 11, "a global has changed"
"""
    ran = process("-c", code)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not HEAVY & imported("import headscope")


@pytest.mark.parametrize("name", headscope.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(headscope, name).__name__ == name
    assert name in dir(headscope)


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="module 'headscope' has no attribute 'analyse'"):
        headscope.__getattr__("analyse")


def test_it_starts_as_a_module_too() -> None:
    ran = process("-m", "headscope", "--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"headscope {cli.version()}\n", "")


# --- help


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("analyze",),
        ("compare",),
        ("few",),
        ("explain",),
        ("picture",),
        ("list",),
        ("doctor",),
        ("mini",),
        ("mini", "train"),
        ("mini", "evaluate"),
    ],
)
def test_help_fits_and_says_what_each_option_is(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", columns)
    answer = shell(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= columns
    assert "env var" not in answer.out
    assert shell(*words, "-h").out == answer.out


def test_help_tells_the_exit_codes_and_examples(shell: Shell) -> None:
    assert "Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C." in shell("--help").out
    answer = shell("analyze", "--help").out
    for text in ("Exit codes: 0 done, 1 failed, 2 bad input, 130", "HEADSCOPE_ANALYZE_DEVICE", "--task ioi -n 128"):
        assert text in answer
    for word in ("--task", "--method", "-n", "--seed", "--device", "--dtype", "--batch-size", "--out", "--offline"):
        assert word in answer


def test_no_command_at_all_is_answered_with_the_help(shell: Shell) -> None:
    answer = shell()
    assert answer.code == 2
    assert "Score every attention head of MODEL" in answer.out + answer.err


# --- list


@pytest.mark.parametrize(("what", "names"), [("tasks", list(TASKS)), ("methods", list(METHODS)), ("models", ["mini"])])
def test_lists_as_tables_and_as_json(shell: Shell, what: str, names: list[str]) -> None:
    table = shell("list", what)
    answer = shell("list", what, "--json")
    assert table.code == answer.code == 0
    rows = json.loads(answer.out)
    assert [next(iter(row.values())) for row in rows][: len(names)] == names
    found = [table.out.index(f"\n {name} ") for name in names]
    assert found == sorted(found)
    if what != "models":
        assert all(row["source"] for row in rows)


def test_the_list_of_methods_names_every_score(shell: Shell) -> None:
    rows = {row["method"]: row for row in json.loads(shell("list", "methods", "--json").out)}
    for method in METHODS.values():
        assert rows[method.name]["scores"].split(", ") == [score.name for score in method.scores]


# --- doctor


def test_the_doctor_says_that_the_bundled_model_is_missing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headscope.corpora.files._PACKAGE", tmp_path / "headscope")
    answer = shell("doctor")
    assert answer.code == 1
    assert "FAILS: data 'mini', which is neither in data/ nor in headscope/data/" in answer.out
    assert answer.err.startswith(
        "headscope: data 'mini', which is neither in data/ nor in headscope/data/\n  expected: "
    )
    assert "ready" not in answer.out


def test_the_doctor_finds_a_machine_ready(shell: Shell, monkeypatch: pytest.MonkeyPatch, words: Path) -> None:
    monkeypatch.setattr("headscope.models.sources.data_path", lambda _: words)
    answer = shell("doctor")
    assert (answer.code, answer.err) == (0, "")
    assert "loads, passes its self-check: 2 layers of 4 heads" in answer.out
    assert answer.out.endswith("ready\n")
    for name in ("torch", "transformers", "transformer-lens", "device auto", "Hub cache"):
        assert f"\n {name} " in answer.out


def test_the_doctor_finds_the_real_bundled_model(shell: Shell) -> None:
    assert shell("doctor").code == 0


# --- mini


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training with a recipe whose two steps take a moment."""
    from headscope.mini import recipe

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Small(recipe.Recipe):
        """A recipe whose two steps take a moment."""

        rows: int = 6
        layers: int = 2
        heads: int = 2
        width: int = 16
        inner: int = 16
        warm_up: int = 1

    monkeypatch.setattr(recipe, "Recipe", Small)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_mini_is_trained(shell: Shell) -> None:
    answer = shell("mini", "train", "--steps", "2", "--out", "out", "--seed", "3")
    assert answer.code == 0, answer.err
    assert (answer.out, answer.err) == ("model: out/model\n", "")
    written = json.loads(Path("out/model/recipe.json").read_text())
    assert (written["steps"], written["seed"]) == (2, 3)


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_what_was_trained_is_measured(shell: Shell) -> None:
    shell("mini", "train", "--steps", "2", "--out", "out")
    answer = shell("mini", "evaluate", "--model", "out/model", "-n", "10", "--json")
    assert answer.code == 0, answer.err
    record = json.loads(answer.out, parse_constant=pytest.fail)
    assert record["n"] == 10
    assert record["missing"], "two steps teach nothing"


def test_a_measurement_as_json_has_null_for_what_is_not_a_number(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ids: Path
) -> None:
    asked: list[tuple[str, int, int]] = []

    def measure(model: Any, *, n: int, seed: int) -> Any:
        asked.append((model.name, n, seed))
        return SimpleNamespace(as_record=lambda: {"heads": [{"value": float("nan")}]})

    monkeypatch.setattr("headscope.mini.evaluate.evaluate", measure)
    answer = shell("mini", "evaluate", "--model", ids, "-n", "12", "--seed", "4", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out, parse_constant=pytest.fail) == {"heads": [{"value": None}]}
    assert asked == [("ids", 12, 4)]


def test_a_model_of_other_words_is_not_measured_as_mini(shell: Shell, ids: Path) -> None:
    answer = shell("mini", "evaluate", "--model", ids, "-n", "10")
    assert answer.code == 2
    assert answer.err == (
        "headscope: model 'ids', whose tokenizer does not have the words of the bundled grammar\n"
        "  expected: mini, or a model that headscope mini train wrote\n"
        "  to fix it: give --model the model/ folder of a training\n"
    )


def test_training_into_a_file_is_refused(shell: Shell) -> None:
    Path("taken").write_text("a file")
    answer = shell("mini", "train", "--steps", "2", "--out", "taken")
    assert answer.code == 2
    assert answer.err.startswith("headscope: output folder 'taken', which can be no folder (Not a directory)\n")


# --- parts


def test_small_and_absent_numbers_are_told_apart() -> None:
    numbers = (1234.5, 999.7, 99.96, 1.0, -0.5, 0.0999, 0.00100, -0.00099, 1e-9, 0.0, -0.0)
    shown = ["1234", "1000", "100", "1.00", "-0.500", "0.10", "0.0010", "-9.9e-04", "1.0e-09", "0", "0"]
    assert [tables.number(number) for number in numbers] == shown
    assert tables.number(float("nan")) == "-"


def test_records_hold_only_what_json_holds() -> None:
    import numpy as np

    given: Any = {"a": np.float64("nan"), "b": [np.int64(3), float("inf")], 5: (True, None, "x")}
    assert tables.finite(given) == {"a": None, "b": [3, None], "5": [True, None, "x"]}


def test_a_saved_model_of_the_tests_is_the_same_twice(tmp_path: Path) -> None:
    first, second = (save(tmp_path / name) / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
