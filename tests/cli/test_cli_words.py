"""Words that no command understands: three parts for each, with the nearest that there is, and exit code 2."""

from typing import Any

import pytest
import typer
from shells import Shell
from test_cli_commands import ALL, REQUIRED

from headscope import cli
from headscope.errors import UsageError

PROGRAM: Any = typer.main.get_command(cli.app)
LARGEST = "9223372036854775807"
WORDS: list[tuple[tuple[str, ...], str, str, str]] = [
    (("analyse",), "command 'analyse' of headscope", "one of: analyze, few, roles, ", "did you mean 'analyze'?"),
    (("xyzzy",), "command 'xyzzy' of headscope", "one of: analyze, few, roles, ", "see headscope --help"),
    (("mini", "relase"), "command 'relase' of headscope mini", "one of: train, evaluate", "did you mean 'release'?"),
    (("--vresion",), "option '--vresion' of headscope", "one of: --version, ", "did you mean '--version'?"),
    (("analyze", "--taks", "ioi"), "option '--taks' of headscope analyze", "one of: --task", "did you mean '--task'?"),
    (("few", "--set", "3"), "option '--set' of headscope few", "one of: --task, ", "did you mean '--sets'?"),
    (("explain", "mini", "-x"), "option '-x' of headscope explain", "one of: --token, ",
     "see headscope explain --help; before a text that begins with - write --"),
    (("list", "methds"), "WHAT 'methds'", "one of: models, tasks, methods, metrics, roles", "did you mean 'methods'?"),
    (("list", "task"), "WHAT 'task'", "one of: models, tasks, ", "did you mean 'tasks'?"),
    (("list", "heads"), "WHAT 'heads'", "one of: models, tasks, ", "choose one of these"),
    (("list",), "headscope list without WHAT", "WHAT: models, tasks, methods, metrics or roles",
     "write headscope list WHAT [OPTIONS]; headscope list --help has examples"),
    (("explain", "mini"), "headscope explain without TEXT", "TEXT: The prompt whose next token is explained",
     "write headscope explain MODEL TEXT [OPTIONS]; "),
    (("explain",), "headscope explain without MODEL and TEXT", "MODEL: ", "write headscope explain MODEL TEXT "),
    (("compare", "one"), "headscope compare without RUN", "RUN: Another", "write headscope compare RUN RUN "),
    (("merge", "out"), "headscope merge without RUN...", "RUN...: Folders that", "write headscope merge OUT RUN... "),
    (("mini", "train"), "headscope mini train without --out", "--out: Gets checkpoints", "add --out FOLDER"),
    (("doctor", "extra"), "'extra', which headscope doctor has no use for", "headscope doctor [OPTIONS]",
     "leave it out, or put a text of several words in quotes; see headscope doctor --help"),
    (("analyze", "--seed"), "--seed without a value", "--seed N: Of prompts and", "write a value after --seed"),
    (("analyze", "--json=3"), "--json with a value", "--json alone, which is a switch", "leave the value out: "),
    (("analyze", "-n", "many"), "--examples 'many'", "a whole number (--examples", "give one, or leave the option out"),
    (("analyze", "-n", "1.5"), "--examples '1.5'", "a whole number (--examples: ", "give one, or "),
    (("analyze", "-n", "1000001"), "--examples '1000001'", "a number up to 1000000 (--examples: ", "give one, or "),
    (("mini", "train", "--out", "x", "--steps", "-1"), "--steps '-1'", "a number from 1 (--steps: ", "give one, or "),
]  # fmt: skip


def refused(*words: str) -> UsageError:
    """What the command line says of some words."""
    with pytest.raises(UsageError) as caught:
        PROGRAM.main(args=list(words), prog_name="headscope")
    return caught.value


@pytest.mark.parametrize(("words", "given", "expected", "fix"), WORDS, ids=[" ".join(each[0]) for each in WORDS])
def test_words_that_no_command_has_are_told(words: tuple[str, ...], given: str, expected: str, fix: str) -> None:
    told = refused(*words)
    assert told.given == given
    assert told.expected.startswith(expected)
    assert told.fix.startswith(fix)


def test_they_are_told_in_three_lines_with_exit_code_two(shell: Shell) -> None:
    answer = shell("list", "methds")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "headscope: WHAT 'methds'\n  expected: one of: models, tasks, methods, metrics, roles\n"
        "  to fix it: did you mean 'methods'?\n"
    )


def arguments(name: str) -> list[Any]:
    return [param for param in ALL[name].params if param.param_type_name == "argument" and param.required]


@pytest.mark.parametrize("name", [name for name in ALL if arguments(name)])
def test_a_missing_argument_of_every_command_is_told(name: str) -> None:
    needed = [param.metavar for param in arguments(name)]
    told = refused(*name.split())
    assert told.given == f"headscope {name} without {' and '.join(needed)}"
    assert told.expected.startswith(f"{needed[0]}: ")
    assert told.fix.startswith(f"write headscope {name} {' '.join(needed)} ")


@pytest.mark.parametrize("name", [name for name in ALL if any(param.name == "seed" for param in ALL[name].params)])
def test_a_seed_that_no_generator_takes_is_refused_at_once(name: str) -> None:
    told = refused(*name.split(), *REQUIRED.get(name, []), "--seed", "9" * 23)
    assert told.given == f"--seed '{'9' * 23}'"
    assert told.expected.startswith(f"a number up to {LARGEST} (--seed: ")


def test_a_wrong_value_of_a_variable_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCOPE_LIST_JSON", "perhaps")
    told = refused("list", "models")
    assert (told.given, told.expected[:37]) == ("--json 'perhaps'", "1 or 0 (--json: Print JSON instead of")


def test_no_command_and_half_a_command_show_the_help(shell: Shell) -> None:
    for words in ((), ("mini",)):
        answer = shell(*words)
        assert answer.code == 2
        assert "expected:" not in answer.err
        assert "Examples" in answer.out + answer.err


def test_at_tab_nothing_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("headscope analyze --out= ", "headscope analyze --taks ", "headscope explain mini "):
        monkeypatch.setenv("_HEADSCOPE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "3")
        answer = shell()
        assert (answer.code, answer.err) == (0, "")
