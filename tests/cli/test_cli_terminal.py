"""What a person at a terminal gets: tables of roles at every width, and commands that can be typed next."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from test_cli_commands import ALL

from headscope.cli import hints, tables

ROLES = ("syntax: case to head; copying: word; +2", "sink: first token", "unassigned", "induction; retrieval")
ROWS = [(f"L{at}H1", "-0.609 [-2.19, 0.825]", "6 [2, 138]", "11.4 %", "0.658", role) for at, role in enumerate(ROLES)]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, ROLES),
        (80, ("syntax: case to …; +3", *ROLES[1:])),
        (120, ROLES),
    ],
)
def test_roles_stand_on_one_line_or_in_a_list(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, width: int, shown: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    made = tables.table(
        "head", "effect [95 %]", "rank [95 %]", "share", "q", "role", left=("head", "role"), brief=("role",)
    )
    for row in ROWS:
        made.add_row(*row)
    tables.console().print(made)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= width
    found = [line for line in lines if any(line.endswith(role) for role in shown)]
    assert len(found) == len(ROWS), "\n".join(lines)
    for (label, *cells, _), role, line in zip(ROWS, shown, found, strict=True):
        if width == 60:
            assert line == f"role: {role}"
        else:
            assert re.split(r"\s{2,}", line) == [label, *cells, role]
    assert ("head L0H1" in lines) == (width == 60)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("sink: first token", 17, "sink: first token"),
        ("sink: first token", 16, "sink: first tok…"),
        ("sink: first token; mover: ioi", 28, "sink: first token; +1"),
        ("sink: first token; mover: ioi; +1", 28, "sink: first token; +2"),
        ("sink: first token; +11", 15, "sink: fir…; +11"),
        ("unassigned", 14, "unassigned"),
    ],
)
def test_no_role_is_left_out_without_a_number(text: str, width: int, shown: str) -> None:
    assert tables.shortened(text, width) == shown
    assert len(shown) <= width


# --- what comes next


def run_of(
    *rows: tuple[str, str, str], causal: bool = True, tokenizer: bool = True, roles: bool = True, status: str = "ok"
) -> Any:
    """As much of a run as hints look at."""
    prompts = pd.DataFrame(rows, columns=["text", "answers", "foils"])
    return SimpleNamespace(
        identity={"model": {"causal": causal, "tokenizer": {"size": 9} if tokenizer else None}},
        tasks=pd.DataFrame([{"task": "ioi", "status": status}]),
        profiles=SimpleNamespace(prompts=prompts),
        roles=object() if roles else None,
    )


CAUSAL = ("<bos> mary and john met . john thanked", "mary", "john")


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (run_of(CAUSAL), ["mini", CAUSAL[0][6:], "--token", "mary", "--against", "john", "--run", "runs/my run"]),
        (run_of(("<|endoftext|>It's Mary's", " Mary", " John"), roles=False),
         ["mini", "It's Mary's", "--token", " Mary", "--against", " John"]),
        (run_of(("[CLS] paris is in [MASK]. [SEP]", "france", "spain"), causal=False, roles=False),
         ["mini", "paris is in [MASK].", "--token", "france", "--against", "spain"]),
        (run_of(("5 9 3", "7", "8"), tokenizer=False, roles=False),
         ["mini", "5 9 3", "--token", "7", "--against", "8", "--ids"]),
        (run_of(CAUSAL, ("met", "a", "b"), roles=False), ["mini", "met", "--token", "a", "--against", "b"]),
        (run_of(("met", "a, b", "c"), CAUSAL, roles=False),
         ["mini", CAUSAL[0][6:], "--token", "mary", "--against", "john"]),
    ],
    ids=["causal", "quotes", "masked", "no tokenizer", "the shortest", "several answers"],
)  # fmt: skip
def test_an_analysis_leads_to_an_explanation_that_can_be_typed(run: Any, told: list[str]) -> None:
    (line,) = [each for each in hints.after_analysis(run, "mini", Path("runs/my run")) if each and " explain " in each]
    words = shlex.split(line)[shlex.split(line).index("explain") + 1 :]
    assert words == told
    with ALL["explain"].make_context("explain", list(words)) as context:
        assert context.params["text"] == told[1]


@pytest.mark.parametrize(
    "run",
    [
        run_of(),
        run_of(("[CLS] no mask at all [SEP]", "a", "b"), causal=False),
        run_of(("word " * 80, "a", "b")),
        run_of(("two\nlines", "a", "b")),
        run_of(("- a dash", "a", "b")),
        SimpleNamespace(**{**vars(run_of()), "profiles": None}),
    ],
)
def test_a_run_without_a_prompt_that_can_be_typed_leads_to_the_rest(run: Any) -> None:
    told = [each for each in hints.after_analysis(run, "mini", Path("runs/mini")) if each]
    assert not any(" explain " in each for each in told)
    assert told[-2:] == [hints.command("few", "mini", "--task", "ioi"), hints.command("roles", "mini")]
