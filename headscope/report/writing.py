"""What a head's profile says, as tables: the spread of its effect, the tokens that it writes, whom it acts through."""

from typing import Any

from headscope.plots import words
from headscope.profiles import Profiles
from headscope.report.few import Table

ISOLATE = "\u2068{}\u2069"
"""Keeps a token of a right-to-left script from turning what stands around it."""


def token(text: str) -> str:
    """A token as text: in quotation marks, for spaces matter, and with line breaks that can be seen.

    Args:
        text: the token.

    Example:
        >>> token(" the").strip("\u2068\u2069"), token("\\n").strip("\u2068\u2069")
        ('“ the”', '“↵”')
    """
    return ISOLATE.format("“" + text.replace("\r", "").replace("\n", "↵") + "”")


def spread_table(profiles: Profiles, label: str) -> Table:
    """How a head's effect spreads over the examples.

    Args:
        profiles: of a run.
        label: the head.
    """
    rows = []
    for row in _of(profiles.heads, label):
        names = ("least", "lower", "median", "upper", "most")
        cells = [words.number(getattr(row, name), signed=True) for name in names]
        what = f"{row.task}: {row.method}, {row.score.replace('_', ' ')}"
        share = words.percent(row.positive) if row.positive == row.positive else f"absent: {words.said(row.reason)}"
        rows.append((what, *cells, share, f"{words.count(row.n)}, {row.unit}"))
    titles = ("effect on single examples", "least", "lower quarter", "median", "upper quarter", "most", "above 0",
              "n, unit")  # fmt: skip
    return Table(caption=f"Spread of the effect of {label}", titles=titles, rows=tuple(rows))


def words_table(profiles: Profiles, label: str) -> Table:
    """The tokens whose logits a head raises and lowers most.

    Args:
        profiles: of a run.
        label: the head.
    """
    rows = []
    lines = _of(profiles.tokens, label)
    for task, prompt in dict.fromkeys((row.task, row.prompt) for row in lines):
        sides: dict[str, list[str]] = {}
        for row in lines:
            if (row.task, row.prompt) == (task, prompt):
                rank = f" (rank {row.rank})" if row.side in {"answer", "foil"} else ""
                told = f"{token(row.token)} {words.number(row.value, signed=True)}{rank}"
                sides.setdefault(row.side, []).append(told)
        cells = [", ".join(sides.get(side, ["none"])) for side in ("raised", "lowered", "answer", "foil")]
        rows.append((_prompt(profiles, task, prompt), *cells))
    caption = f"What {label} writes straight into the logits where the prompt is read (less the mean over all tokens)"
    titles = ("prompt", "raises most", "lowers most", "answer", "foil")
    return Table(caption=caption, titles=titles, rows=tuple(rows))


def sources_table(profiles: Profiles, label: str) -> Table:
    """The tokens that a head attends to most from where the prompt is read, and whether it writes them.

    Args:
        profiles: of a run.
        label: the head.
    """
    rows = tuple(
        (
            f"{row.task}, prompt {row.prompt + 1}",
            f"{token(row.token)} at {row.position}",
            words.percent(row.attention),
            words.number(row.value, signed=True),
            words.count(row.rank),
        )
        for row in _of(profiles.sources, label)
        if row.attention >= 0.005
    )
    titles = ("prompt", "attended token", "attention", "adds to that token's own logit", "rank of that logit")
    return Table(caption=f"What {label} takes it from, and whether it copies it", titles=titles, rows=rows)


def edges_table(profiles: Profiles, label: str) -> Table:
    """Edges from and to a head that are shown to differ from 0, or else the strongest.

    Args:
        profiles: of a run.
        label: the head.
    """
    rows: Any = words.loose(profiles.edges)
    own = rows[(rows["sender"] == label) | (rows["receiver"] == label)] if len(rows) else rows
    sure = own[own["q"] < 0.05] if len(own) else own
    shown = (sure if len(sure) else own.head(3)).head(12)
    cells = tuple(
        (
            f"{row.sender} → {row.receiver}",
            row.through,
            str(row.task),
            f"{words.number(row.value, signed=True)} {words.interval(row.low, row.high, signed=True)}",
            words.probability(row.q).removeprefix("= "),
            f"{words.count(row.n)} ({words.count(row.groups)})",
        )
        for row in shown.itertuples(index=False)
    )
    which = "with q < 0.05" if len(sure) else "strongest (none with q < 0.05)"
    titles = ("edge", "through", "task", "effect [95%]", "q", "n (groups)")
    return Table(caption=f"Edges of {label} to and from the other leading heads, {which}", titles=titles, rows=cells)


def _prompt(profiles: Profiles, task: str, prompt: int) -> str:
    rows = words.loose(profiles.prompts)
    text = rows.loc[(rows["task"] == task) & (rows["prompt"] == prompt), "text"]
    told = str(text.iloc[0]) if len(text) else ""
    return f"{task}, prompt {prompt + 1}: {ISOLATE.format(told if len(told) <= 160 else '...' + told[-157:])}"


def _of(frame: Any, label: str) -> list[Any]:
    return list(frame[frame["label"] == label].itertuples(index=False)) if len(frame) else []
