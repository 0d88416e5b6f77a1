"""An explanation as one HTML page without a script: the text coloured by votes, bars, a grid of heads, all parts."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from headscope.plots import words
from headscope.plots.explanation import DIFFERENCE, UNIT, steps

if TYPE_CHECKING:
    from headscope.explaining.result import Explanation

MOST = 256
"""Tokens of the text that are shown with each head: the last ones."""
TOLD = 0.05
"""From which share of a head's absolute votes on a token's vote is written below it."""
SMALL = 0.1
"""Where not even the strongest vote of a head reaches this, votes in the grid are written as powers."""
STRONGEST = 0.55
"""How much of a colour the strongest vote gets: dark text on it must stay readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bit:
    """A token of the text as it is shown: its text, what is said of it, its colour, and whether it votes for."""

    text: str
    title: str
    below: str
    strength: float
    positive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The text as one head (or all together) voted through it."""

    name: str
    about: str
    positive: bool
    bits: tuple[Bit, ...]
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar between two places on a line from 0 to 100."""

    name: str
    value: str
    left: float
    width: float
    positive: bool
    total: bool = False


def render(found: "Explanation", k: int = 8) -> str:
    """The page.

    Args:
        found: what to show.
        k: heads of each sign that are shown with the text.

    Returns:
        HTML that asks for nothing outside itself and runs nothing; every text in it is escaped.
    """
    top = found.top(k)
    bars, zero = _bars(found)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        model=str(found.model.get("name", "an unnamed model")),
        word=visible(found.token.text),
        title=found.title(),
        facts=_facts(found),
        notes=found.notes,
        whole=_whole(found),
        bars=bars,
        zero=zero,
        against_word=visible(found.against.text) if found.against else "",
        unit=DIFFERENCE if found.against else UNIT,
        grid=_grid(found),
        for_=[_strip(found, row) for row in words.loose(top).itertuples() if row.vote > 0],
        against=[_strip(found, row) for row in words.loose(top).itertuples() if row.vote < 0],
        sums=_sums(found),
        parts=_parts(found),
        n=found.n,
        pairs=found.against is not None,
        roles=found.roles,
        record=_record(found),
        command=shlex.join(found.record.get("command") or []),
    )


def visible(token: str) -> str:
    """A token with its white space made visible.

    Args:
        token: as text.

    Example:
        >>> visible(" Mary"), visible("\\n"), visible("")
        ('·Mary', '\\\\n', '(nothing)')
    """
    shown = "".join("·" if c == " " else c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return shown or "(nothing)"


def _facts(found: "Explanation") -> list[tuple[str, str]]:
    rows = []
    for name, choice in (("voted for", found.token), ("set against", found.against)):
        if choice is not None:
            chance = (
                f"probability {words.number(choice.probability)}, rank {choice.rank} of {found.model['vocabulary']}"
            )
            rows.append((name, f"{visible(choice.text)} (id {choice.id}): logit {choice.logit:.4f}, {chance}"))
    place = "at the mask" if not found.model.get("causal", True) else "what comes after"
    rows.append(("where", f"position {found.at}, {place} {visible(found.tokens[found.at])}"))
    rows.append(("mean logit", f"{found.mean:.4f} over the vocabulary: votes are counted from there, where it matters"))
    return rows


def _bars(found: "Explanation") -> tuple[list[Bar], float]:
    """The way from 0 through every layer to the sum, and where 0 lies."""
    rows = words.loose(steps(found.votes))
    total = float(words.loose(found.votes)["vote"].sum())
    low, high = min(0.0, float(rows["end"].min())), max(0.0, float(rows["end"].max()), total)
    span = (high - low) or 1.0

    def bar(name: str, start: float, end: float, *, total: bool = False) -> Bar:
        left, width = (min(start, end) - low) / span * 100, abs(end - start) / span * 100
        value = words.number(end - start, signed=True)
        return Bar(
            name=name, value=value, left=round(left, 3), width=round(width, 3), positive=end >= start, total=total
        )

    made = [bar(row.name, row.start, row.end) for row in rows.itertuples(index=False)]
    return [*made, bar("total", 0.0, total, total=True)], round(-low / span * 100, 3)


def _grid(found: "Explanation") -> list[list[tuple[str, str, float, bool]]]:
    """Every head: what is said of it, its vote, how strong its colour is, and its sign; a row for each layer."""
    heads = words.loose(found.votes)
    heads = heads[heads["kind"] == "head"]
    most = float(heads["vote"].abs().max()) or 1.0
    rows: dict[int, list[tuple[str, str, float, bool]]] = {}
    for row in heads.itertuples():
        said = f"{row.label}: {words.number(row.vote, signed=True)}" + (f", {row.role}" if row.role else "")
        cell = (
            said,
            f"{row.vote:+.2f}" if most >= SMALL else f"{row.vote:+.0e}",
            _alpha(row.vote / most),
            row.vote > 0,
        )
        rows.setdefault(int(row.layer), []).append(cell)
    return [rows[layer] for layer in sorted(rows)]


def _alpha(share: float) -> float:
    return 0.0 if math.isnan(share) else round(STRONGEST * min(1.0, abs(share)), 3)


def _whole(found: "Explanation") -> Strip:
    """All heads together."""
    summed = words.loose(found.sources).groupby("position")["vote"].sum()
    bits, left_out = _bits(found.tokens, summed.tolist(), None)
    total = float(summed.sum())
    about = f"all heads together, by the token that they looked at: {words.number(total, signed=True)}"
    return Strip(name="all heads", about=about, positive=total > 0, bits=bits, left_out=left_out)


def _strip(found: "Explanation", row: Any) -> Strip:
    seen = found.looked(row.label)
    bits, left_out = _bits(found.tokens, seen["vote"].tolist(), seen["attention"].tolist())
    other = "pairs" if found.against is not None else "tokens"
    told = [f"{words.number(row.vote, signed=True)} ({words.number(row.logit, signed=True)} of the logit)"]
    told.append(f"more than for {_percent(row.below)} of {found.n} other {other}")
    told.append(f"looked most at {_named(found, row.looked)} ({words.percent(row.attention)})")
    told += [str(row.role)] if row.role else []
    return Strip(name=row.label, about="; ".join(told), positive=row.vote > 0, bits=bits, left_out=left_out)


def _bits(
    tokens: Sequence[str], votes: Sequence[float], attention: Sequence[float] | None
) -> tuple[tuple[Bit, ...], str]:
    """The tokens with their votes, and what is said of those that are too many to show."""
    start = max(0, len(votes) - MOST)
    most, total = max((abs(vote) for vote in votes), default=0.0) or 1.0, sum(abs(vote) for vote in votes) or 1.0
    bits = []
    for place in range(start, len(votes)):
        vote = votes[place]
        looked = "" if attention is None else f", attention {words.percent(attention[place])}"
        told = words.number(vote, signed=True)
        bits.append(
            Bit(
                text=visible(tokens[place]), title=f"position {place}{looked}, vote {told}",
                below=told if abs(vote) >= TOLD * total else "", strength=_alpha(vote / most), positive=vote > 0,
            )
        )  # fmt: skip
    if not start:
        return tuple(bits), ""
    return tuple(bits), f"{start} earlier tokens: {words.number(sum(votes[:start]), signed=True)}"


def _sums(found: "Explanation") -> list[tuple[str, ...]]:
    return [
        (row.name, str(row.parts), words.number(row.vote, signed=True), _exact(row.logit))
        for row in words.loose(found.sums()).itertuples()
    ]


def _exact(value: float) -> str:
    """A number with its digits, so that the eye can add a column up; what is smaller than they show, as a power."""
    return f"{value:+.6f}" if abs(value) >= 1e-5 or value == 0 else f"{value:+.1e}"


def _percent(share: float) -> str:
    """A share that is never rounded to all or nothing.

    >>> _percent(0.9998), _percent(1.0), _percent(float("nan"))
    ('99.98%', '100%', 'absent')
    """
    return words.percent(share) if math.isnan(share) or share in (0.0, 1.0) else f"{100 * share:.4g}%"


def _parts(found: "Explanation") -> list[tuple[str, ...]]:
    """Every part, the strongest vote first."""
    rows = words.loose(found.votes)
    rows = rows.reindex(rows["vote"].abs().sort_values(ascending=False, kind="stable").index)
    return [
        (
            row.part, row.kind, words.number(row.vote, signed=True), words.number(row.logit, signed=True),
            _percent(row.below), _seen(found, row.looked, row.attention),
            _seen(found, row.source, row.source_vote), row.role,
        )
        for row in rows.itertuples()
    ]  # fmt: skip


def _named(found: "Explanation", position: Any) -> str:
    """A token of the text; with its position where the text has it more than once."""
    token = found.tokens[position]
    return visible(token) + (f" at position {position}" if found.tokens.count(token) > 1 else "")


def _seen(found: "Explanation", position: Any, value: float) -> str:
    return "" if math.isnan(value) else f"{_named(found, position)} ({words.number(value, signed=value < 0)})"


def _record(found: "Explanation") -> list[tuple[str, str]]:
    versions = found.record.get("versions", {})
    rows = [(name, str(found.model[name])) for name in ("name", "source", "revision", "weights_sha256", "dtype")
            if found.model.get(name)]  # fmt: skip
    rows += [(name, str(versions[name])) for name in ("headscope", "torch", "transformers") if versions.get(name)]
    return [*rows, ("started", str(found.record.get("started", "not recorded")))]
