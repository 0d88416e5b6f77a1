"""The documentation as data: its pages, their blocks, links and commands, and the tables that are made, not written.

`python -m tests.documents` writes the tables of docs/ anew from the tables of the package; `tests/test_docs.py` holds
them to it.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
HAND_MADE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
SHELL, PLAIN, PYTHON = "sh", "text", "python"
"""What a block may be: executed by a shell, told but not executed, executed by Python."""
INSTALLS = "python3 -m venv"
"""How the blocks begin that make an environment; `.ci/run` executes them."""
_MARKED = re.compile(r"(<!-- made: (\w+) -->\n)(?:(?!<!-- ).)*(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """All pages of the documentation."""
    return [*(ROOT / name for name in HAND_MADE), *sorted((ROOT / "docs").glob("*.md"))]


class Block(NamedTuple):
    """A block of code: its kind, text, and the line of the page on which its text begins."""

    kind: str
    text: str
    line: int


def parsed(page: Path) -> list[Token]:
    """The parts of a page."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, in order; indented ones, which are formulas, are none."""
    fences = [token for token in parsed(page) if token.type == "fence"]
    return [Block(token.info.strip(), token.content, token.map[0] + 2) for token in fences if token.map]


def inline(page: Path) -> Iterator[Token]:
    """The parts of the lines of a page."""
    for token in parsed(page):
        yield from token.children or ()


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead."""
    found = [token.attrGet("href") or token.attrGet("src") for token in inline(page)]
    return [str(each) for each in found if each]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    tokens, found = parsed(page), []
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            words = "".join(part.content for part in tokens[at + 1].children or ())
            found.append(re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-"))
    return set(found)


def commands(text: str) -> list[list[str]]:
    """The arguments of every `headscope` command in a block: comments and line ends are as the shell takes them.

    What is written to a file is left out, from the sign > on.
    """
    lines = text.replace("\\\n", " ").split("\n")
    found = [shlex.split(line.strip().removeprefix(".venv/bin/"), comments=True) for line in lines]
    found = [words[: words.index(">")] if ">" in words else words for words in found]
    return [words[1:] for words in found if words[:1] == ["headscope"]]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _methods() -> str:
    from headscope.methods import DEFAULT, METHODS

    rows = [
        (f"**{each.name}**" if each.name in DEFAULT else each.name, each.about, each.source)
        for each in METHODS.values()
    ]
    return table(("method", "what it does", "source"), rows)


def _scores() -> str:
    from headscope.methods import METHODS

    rows = [
        (each.name, score.name, score.meaning, score.unit or "the metric's")
        for each in METHODS.values()
        for score in each.scores
    ]
    return table(("method", "score", "a head with a positive (high) value", "unit"), rows)


def _metrics() -> str:
    from headscope import metrics

    rows = [
        (name, _first(function), metrics.UNITS[name], str(metrics.BETTER[name]))
        for name, function in metrics.METRICS.items()
    ]
    return table(("metric", "what it is", "unit", "better"), rows)


def _roles() -> str:
    from headscope.roles import ROLES

    titles = ("role", "a head with it", "value", "at least", "over the baseline by", "from", "set against", "read from")
    rows = []
    for role in ROLES.values():
        least = [
            "-" if role.threshold is None else f"{role.threshold:g}",
            *(f"{name} {at:g}" for name, at in role.also),
        ]
        facts = (f"**{role.name}**", role.about, role.unit, "; ".join(least), f"{role.margin:g}", role.source)
        rows.append((*facts, role.null, role.needs))
    return table(titles, rows)


def _tasks() -> str:
    from headscope.tasks import TASKS

    rows = [(task.name, task.about, task.source) for task in TASKS.values()]
    return table(("task", "what is asked", "source"), rows)


def _first(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


MADE: dict[str, Callable[[], str]] = {
    "methods": _methods, "scores": _scores, "metrics": _metrics, "roles": _roles, "tasks": _tasks,
}  # fmt: skip
"""The tables that are made, by the name in their marks."""


def made_anew(text: str) -> str:
    """A page with its tables made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{MADE[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    for each in pages():
        each.write_text(made_anew(each.read_text("utf-8")), "utf-8")
