"""What the shell shows of a run: tables for people, records for programs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headscope.contract import COLUMNS
from headscope.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from headscope.mini.evaluate import Evaluation
    from headscope.runs import Run

WIDE = 100
"""From this width on, tables have room for everything."""

LEGEND = (
    "effect: mean over the examples, with its 95 % interval. rank: among all heads, with its 95 % interval. "
    "share: of the summed absolute effects of all heads. q: Benjamini-Hochberg over all heads."
)

ROLE = " role: the surest; +1: one more, which the report names."


def console() -> Console:
    """Where tables go: as wide as the terminal (or COLUMNS); a log, which has no width of its own, gets 120."""
    found = Console()
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(width=120)


def plain(text: object) -> Text:
    """Text that is shown as it is: no markup, no emoji codes, no control characters.

    Args:
        text: anything, such as a model's name, which is whatever its folder is called.

    Example:
        >>> plain("[red]a\\x1b[2J").plain
        '[red]a\\\\x1b[2J'
    """
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)))


def number(value: float) -> str:
    """A number with two or three significant digits, so that nothing but 0 looks like 0.

    Args:
        value: any number; NaN is `-`.

    Example:
        >>> [number(value) for value in (12.345, -0.41234, 0.0123, 0.000012, 0.0, float("nan"))]
        ['12.3', '-0.412', '0.012', '1.2e-05', '0', '-']
    """
    size = abs(value)
    if math.isnan(value):
        return "-"
    if size == 0:
        return "0"
    if size < 0.001:
        return f"{value:.1e}"
    if size < 0.1:
        return f"{value:#.2g}"
    return f"{value:#.3g}".rstrip(".") if size < 999.5 else f"{value:.0f}"


PROSE = 20
"""Cells that are longer and have spaces may be broken between words, in columns of words."""
BRIEF = 14
"""The narrowest column of roles: where there is less room, rows are printed as lists."""


def shortened(text: str, width: int) -> str:
    """Roles on one line: where they do not fit the surest alone, and cut if it must be, with how many others there are.

    Args:
        text: roles, the surest first, between `; `; a last part such as `+2` says how many are not named.
        width: cells that there are.

    Example:
        >>> roles = "syntax: case to head; copying: word; +2"
        >>> [shortened(roles, width) for width in (40, 30, 14)]
        ['syntax: case to head; copying: word; +2', 'syntax: case to head; +3', 'syntax: c…; +3']
    """
    if cell_len(text) <= width:
        return text
    first, *others = text.split("; ")
    more = len(others) if not others or not others[-1].startswith("+") else len(others) - 1 + int(others[-1][1:])
    rest = f"; +{more}" if more else ""
    kept = Text(first)
    kept.truncate(max(width - len(rest), 1), overflow="ellipsis")
    return kept.plain + rest


class Fitting(Table):
    """A table that fits: names and numbers stay whole, prose is broken between words, and roles are shortened to one
    line; where even that does not fit, rows are printed as lists, with everything.
    """

    def __init__(self, *given: Any, brief: tuple[str, ...] = (), **named: Any) -> None:
        super().__init__(*given, **named)
        self.brief = brief

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """Side by side where there is room, one below the other elsewhere."""
        words = [[_text(cell) for cell in (column.header, *column.cells)] for column in self.columns]
        if self._divide(words, options.max_width):
            for column, (title, *cells) in zip(self.columns, words, strict=True):
                if title in self.brief:
                    column._cells = [Text(shortened(cell, column.width or 0)) for cell in cells]
            yield from super().__rich_console__(console, options)
            return
        first, *others = words
        for at in range(1, self.row_count + 1):
            yield Text(f"{first[0]} {first[at]}", style="bold")
            told = [f"{other[0]}: {other[at]}" for other in others if other[at]]
            yield Padding(Text("\n".join(told)), (0, 0, 0, 2))
        yield Text()

    def _divide(self, words: list[list[str]], width: int) -> bool:
        """Give each column its width: columns of prose share what the others leave; False where that is too little."""
        widest = [max(map(cell_len, column)) for column in words]
        prose = [
            not column.no_wrap and most > PROSE and any(" " in word for word in cells[1:])
            for column, most, cells in zip(self.columns, widest, words, strict=True)
        ]
        least = [
            min(most, BRIEF) if cells[0] in self.brief
            else max(cell_len(piece) for word in cells for piece in word.split()) if broken
            else most
            for broken, most, cells in zip(prose, widest, words, strict=True)
        ]  # fmt: skip
        room = width - 2 * len(words) - sum(least)
        wanted = sum(widest) - sum(least)
        for column, most, fewest in zip(self.columns, widest, least, strict=True):
            share = max(room, 0) / wanted if wanted > room and wanted > 0 else 1.0
            column.width = fewest + int((most - fewest) * share)
        return room >= 0


def _text(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def table(*columns: str, left: tuple[str, ...] = (), brief: tuple[str, ...] = ()) -> Table:
    """An empty table without vertical rules.

    Args:
        columns: their titles.
        left: those that hold words.
        brief: those that hold roles, which are shortened where there is no room for them.
    """
    made = Fitting(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", brief=brief)
    for name in columns:
        made.add_column(name, justify="left" if name in left else "right", no_wrap=name not in left or name in brief)
    return made


def print_tasks(run: Run) -> None:
    """Each task with the model's accuracy, or why it has none."""
    out = console()
    names = ["task", "status", "accuracy [95 %]", "logit difference [95 %]"]
    names += ["in the twin"] if out.width >= WIDE else []
    made = table(*names, "n", "groups", left=("task", "status"))
    rows = run.tasks.to_dict("records")
    for row in rows:
        made.add_row(*_task(row, twin=out.width >= WIDE))
    out.print(Text("Does ") + plain(run.identity["model"]["name"]) + Text(" do the tasks?"), style="bold")
    out.print(made)
    for row in rows:
        if row.get("reason"):
            out.print(plain(f"{row['task']}: {row['reason']}"), style="yellow")


def _task(row: dict[Any, Any], *, twin: bool) -> list[Text]:
    words = [plain(row["task"]), plain(row["status"])]
    if row["status"] == "skipped" or math.isnan(row["accuracy"]):
        return words + [Text("-")] * (5 if twin else 4)
    cells = [_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("accuracy", "logit_difference")]
    cells += [number(row["corrupted"])] if twin else []
    return words + [Text(cell) for cell in (*cells, f"{row['n']:.0f}", f"{row['groups']:.0f}")]


def print_absent(run: Run) -> None:
    """Methods that gave no number for a task, and why."""
    from headscope.plots.words import loose

    told: dict[str, str] = {}
    for row in loose(run.scores.groupby(["task", "method"], sort=False).filter(_absent)).itertuples():
        told[f"{row.task}, {row.method}"] = row.reason
    for cell, reason in told.items():
        console().print(plain(f"{cell}: no numbers, for {reason}"), style="yellow")


def _absent(rows: pd.DataFrame) -> bool:
    return bool(rows["value"].isna().all())


def print_top(run: Run, k: int) -> None:
    """The top heads of each task, with effect, interval, rank interval and share of the total effect."""
    try:
        top = run.top(k)
    except UsageError:
        return
    from headscope.report.roles import role_texts

    out, role_of = console(), role_texts(run.roles)
    for task, rows in top.groupby("task", sort=False):
        first = rows.iloc[0]
        out.print()
        out.print(plain(f"{task}: top heads by {first['method']}, {first['score']} (in {first['unit']})"), style="bold")
        if first["flagged"]:
            out.print(Text("The model fails this task.", style="yellow"))
        out.print(_ranking(rows, role_of))
        for line in run.identity.get("agreement", []):
            if line["task"] == task:
                out.print(plain(f"attribution against {line['direction']}: {line['text']}"))
    out.print(Text(LEGEND + (ROLE if role_of else ""), style="dim"))


def _ranking(rows: pd.DataFrame, role_of: Mapping[str, str]) -> Table:
    names = ["head", "effect [95 %]", "rank [95 %]", "share", "q"] + (["role"] if role_of else [])
    made = table(*names, left=("head", "role"), brief=("role",))
    for row in rows.to_dict("records"):
        rank = (
            "-" if math.isnan(row["rank_low"]) else f"{row['rank']:.0f} [{row['rank_low']:.0f}, {row['rank_high']:.0f}]"
        )
        cells = (
            row["label"],
            _interval(row["value"], row["low"], row["high"]),
            rank,
            _share(row["share"]),
            number(row["q"]),
        )
        made.add_row(*(Text(cell) for cell in cells), *([plain(role_of[row["label"]])] if role_of else []))
    return made


def _interval(value: float, low: float, high: float) -> str:
    return "-" if math.isnan(value) else f"{number(value)} [{number(low)}, {number(high)}]"


def _share(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "< 0.1 %" if 0 < value < 0.0005 else f"{100 * value:.1f} %"


def as_record(run: Run, k: int, folder: Path | None) -> dict[str, Any]:
    """The same as JSON: tasks, top heads, where the run is (None if it could not be written); NaN becomes null."""
    from headscope.report.roles import role_texts

    try:
        top = run.top(k).to_dict("records")
    except UsageError:
        top = []
    record = {
        "model": run.identity["model"]["name"],
        "complete": run.identity["complete"],
        "folder": None if folder is None else str(folder),
        "report": None if folder is None else str(folder / "report.html"),
        "tasks": run.tasks.to_dict("records"),
        "agreement": run.identity.get("agreement", []),
        "top": [{name: row[name] for name in ("label", *COLUMNS, "flagged")} for row in top],
    }
    role_of = role_texts(run.roles)
    if role_of:
        record["top"] = [{**row, "role": role_of[row["label"]]} for row in record["top"]]
    return finite(record)


def finite(value: Any) -> Any:
    """A copy that JSON can hold: numpy's numbers as Python's, NaN and infinities as None.

    Args:
        value: dicts and lists of plain values.

    Example:
        >>> finite({"a": [float("nan"), 1.5]})
        {'a': [None, 1.5]}
    """
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_evaluation(result: Evaluation, *, quiet: bool = False) -> None:
    """What the bundled model can do: accuracy, the best head of each pattern and of each relation.

    Args:
        result: from `headscope.mini.evaluate`.
        quiet: only what was not reached.
    """
    out = console()
    reached = plain("gates not reached: " + ("; ".join(result.missing) or "none"))
    if quiet:
        out.print(reached)
        return
    from headscope.plots.words import loose

    names = ("family", "kind", "per word", "words", "per document [95 %]", "documents", "reached")
    accuracy = table(*names, left=names[:2])
    for row in loose(result.accuracy).itertuples():
        span = f"{row.documents:.3f} [{row.documents_low:.3f}, {row.documents_high:.3f}]"
        cells = (f"{row.queries:.3f}", str(row.n_queries), span, str(row.n_documents))
        accuracy.add_row(row.family, row.kind, *cells, "yes" if row.passed else "NO")
    heads = table("pattern", "best head", "mean attention", "heads above the gate", "n", "reached", left=("pattern",))
    for row in loose(result.heads).itertuples():
        told = ("yes" if row.passed else "NO") if row.gate else "no gate"
        heads.add_row(row.pattern, f"L{row.layer}H{row.head}", f"{row.value:.3f}", str(row.heads), str(row.n), told)
    names = ("relation", "direction", "best head", "accuracy", "best offset", "n", "counts")
    relations = table(*names, left=("relation", "direction"))
    for row in loose(result.relations).itertuples():
        told = (f"{row.value:.3f}", f"{row.baseline:.3f}", str(row.n), "yes" if row.passed else "no")
        relations.add_row(row.relation, row.direction.replace("_", " "), f"L{row.layer}H{row.head}", *told)
    out.print(plain(f"held-out texts, {result.n} documents a family, seed {result.seed}"))
    out.print(accuracy, heads, relations)
    out.print(reached)
