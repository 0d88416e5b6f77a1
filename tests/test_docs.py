"""The documentation: blocks run, commands parse, links lead somewhere, and tables are those of the program."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import INSTALLS, PLAIN, PYTHON, ROOT, SHELL, anchors, blocks, commands, inline, links, made_anew, pages
from typer.main import get_command

from headscope.cli import app, names

PAGES = [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in pages()]


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    return request.param


def installs(text: str) -> bool:
    return text.startswith(INSTALLS)


def having(kind: str) -> list[Any]:
    """The pages with blocks of a kind that a test here executes."""
    found = [each for each in pages() if any(b.kind == kind and not installs(b.text) for b in blocks(each))]
    return [pytest.param(each, id=each.name) for each in found]


def parse(words: list[str]) -> None:
    """Parse a command as the shell would give it, without running it."""
    found: Any = get_command(app)
    path = "headscope"
    while words and not words[0].startswith("-") and hasattr(found, "commands"):
        assert words[0] in found.commands, f"{path} has no command {words[0]}"
        path, found, words = f"{path} {words[0]}", found.commands[words[0]], words[1:]
    found.make_context(path, list(words))


# --- light: what can be seen without running it


def test_blocks_are_of_a_kind_that_is_looked_at(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in (SHELL, PLAIN, PYTHON), f"line {block.line}: {block.kind!r}"
        if block.kind == PYTHON:
            compile(block.text, str(page), "exec")


def test_every_command_parses(page: Path) -> None:
    for block in blocks(page):
        for words in commands(block.text):
            try:
                parse(words)
            except Exception as error:
                pytest.fail(f"line {block.line}: headscope {' '.join(words)}: {error}")


def test_every_option_in_the_text_exists(page: Path) -> None:
    known = known_options()
    for token in inline(page):
        if token.type == "code_inline" and token.content.startswith("headscope "):
            words = token.content.split()[1:]
            assert words[0] in known or words[0].startswith("-"), token.content
            wrong = [word for word in words if word.startswith("-") and word not in known.get(words[0], known[""])]
            assert not wrong, token.content


def known_options() -> dict[str, set[str]]:
    """The options of every command, and under "" those of the program."""
    command: Any = get_command(app)
    found: dict[str, set[str]] = {"": {"--help", "-h", "--version", "--install-completion", "--show-completion"}}
    for name, each in command.commands.items():
        below = getattr(each, "commands", {}).values()
        found[name] = {word for one in (each, *below) for param in one.params for word in param.opts} | {"--help"}
    return found


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("headscope analyze mini --taks ioi", "--taks"),
        ("headscope few mini -n many", "a whole number"),
        ("headscope frobnicate", "frobnicate"),
        ("headscope explain mini", "without TEXT"),
    ],
)
def test_a_wrong_command_is_noticed(line: str, part: str) -> None:
    (words,) = commands(line)
    with pytest.raises(Exception, match=re.escape(part)):
        parse(words)


def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), f"{link}: {sorted(anchors(target))}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert {page.relative_to(ROOT).as_posix() for page in pages()} <= linked | {"README.md"}


def test_tables_are_those_of_the_program(page: Path) -> None:
    assert made_anew(page.read_text("utf-8")) == page.read_text("utf-8"), "run python -m tests.documents"


def test_the_marks_of_made_tables_are_seen() -> None:
    text = "<!-- made: metrics -->\nold\n<!-- end -->\nkept\n<!-- made: metrics -->\n<!-- end -->\n"
    made = made_anew(text)
    assert "old" not in made
    assert made.count("| logit_difference |") == 2
    assert "\nkept\n" in made
    assert made_anew(made) == made


def test_labels_and_tasks_in_the_text_are_those_of_the_program() -> None:
    text = (ROOT / "docs" / "methods.md").read_text("utf-8")
    listed = {name for row in re.findall(r"^\| ([a-z, -]+) \|", text, re.MULTILINE) for name in row.split(", ")}
    assert set(names.LABELS) <= listed


def test_the_readme_opens_with_what_ci_runs() -> None:
    opening = [block for block in blocks(ROOT / "README.md") if block.kind == SHELL][:2]
    assert all(installs(block.text) for block in opening)
    ours = [block.text for page in pages() for block in blocks(page) if installs(block.text)]
    known = [line for block in opening for line in block.text.strip().split("\n")] + ["bash .ci/run"]
    assert len(ours) > 2, "CONTRIBUTING.md"
    for line in "".join(ours).strip().split("\n"):
        assert line in known, f"{line}: not run by .ci/run, for the README does not have it"


def test_lines_fit() -> None:
    for page in pages():
        long = [line for line in page.read_text("utf-8").split("\n") if len(line) > 120 and not line.startswith("|")]
        assert not long, f"{page.name}: {long[0]}"


# --- the blocks themselves


@pytest.mark.slow
@pytest.mark.parametrize("page", having(PYTHON))
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables_as_they_were: None) -> None:
    """All blocks of a page, one after the other, in one namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks(page):
        if block.kind == PYTHON:
            source = "\n" * (block.line - 1) + block.text  # a traceback names the line of the page
            exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.slow
@pytest.mark.parametrize("page", having(SHELL))
def test_shell_runs(page: Path, tmp_path: Path) -> None:
    """All blocks of a page in one folder, in order, with `headscope` as this checkout has it."""
    shim = tmp_path / "bin" / "headscope"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m headscope "$@"\n')
    shim.chmod(0o755)
    env = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    folder = tmp_path / "here"
    folder.mkdir()
    for block in blocks(page):
        if block.kind == SHELL and not installs(block.text):
            shell = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"line {block.line}: {done.stdout[-500:]}{done.stderr[-2000:]}"


@pytest.fixture
def tables_as_they_were() -> Iterator[None]:
    """What a page enters into the tables of methods, tasks and roles is gone after it."""
    from headscope.methods import METHODS
    from headscope.roles import ROLES
    from headscope.tasks import TASKS

    tables: tuple[Any, ...] = (METHODS, TASKS, ROLES)
    before = [dict(table) for table in tables]
    yield
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)
