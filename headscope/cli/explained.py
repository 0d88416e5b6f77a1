"""What the shell shows of an explanation: the strongest votes, and the sum of all parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.text import Text

from headscope.cli.tables import WIDE, console, number, plain, table

if TYPE_CHECKING:
    from headscope.explaining import Explanation

LEGEND = (
    "vote: what a head writes straight into the {of}. above: the share of {others} "
    "for which it is lower{by}. looked: where it attended most, with its weight. through: the token that most of its "
    "vote came from, with that part of the vote; @ its position, where the text has it again. One prompt, direct "
    "effects only."
)
CHOSEN = ", which is often high for a token that was predicted: --against asks more"


def print_explanation(found: Explanation, top: int) -> None:
    """What is explained, the strongest votes for and against, and the sums.

    Args:
        found: the explanation.
        top: heads of each sign.
    """
    from headscope.plots.words import loose

    out = console()
    out.print(plain(found.title()), style="bold")
    for note in found.notes:
        out.print(plain(note), style="yellow")
    heads = loose(found.votes)
    heads = heads.loc[heads["kind"] == "head", "vote"]
    signs = f"{int((heads > 0).sum())} heads for ({signed(heads[heads > 0].sum())})"
    signs += f", {int((heads < 0).sum())} against ({signed(heads[heads < 0].sum())})"
    out.print(_votes(found, top, wide=out.width >= WIDE))
    out.print(plain(signs))
    out.print()
    out.print(_sums(found))
    others = f"{found.n:,} {'pairs of' if found.against else 'other'} tokens"
    of = "difference of the two logits" if found.against else "logit, from its mean over the vocabulary"
    chosen = CHOSEN if found.against is None and found.token.rank == 1 else ""
    out.print(Text(LEGEND.format(of=of, others=others, by=chosen), style="dim"))
    out.print(plain(found.roles), style="dim")


def signed(value: float) -> str:
    """A number with its sign.

    Args:
        value: any number; NaN is `-`.

    Example:
        >>> signed(0.5), signed(-0.5), signed(0.0), signed(float("nan"))
        ('+0.500', '-0.500', '0', '-')
    """
    return ("+" if value > 0 else "") + number(value)


def share(value: float) -> str:
    """A share that is never rounded to all or nothing.

    Args:
        value: between 0 and 1; NaN is `-`.

    Example:
        >>> share(0.5), share(1.0), share(0.9999), share(0.0001), share(float("nan"))
        ('50 %', '100 %', '> 99.9 %', '< 0.1 %', '-')
    """
    if math.isnan(value):
        return "-"
    if 0 < value < 0.001 or 0.999 < value < 1:
        return "< 0.1 %" if value < 0.5 else "> 99.9 %"
    return f"{100 * value:.3g} %"


def _votes(found: Explanation, top: int, *, wide: bool) -> Any:
    roles = bool((found.votes["role"] != "").any())
    names = ["head", "vote", "above", "looked", *(["through"] if wide else []), *(["role"] if roles else [])]
    made = table(*names, left=("head", "looked", "through", "role"), brief=("role",))
    rows = found.top(top).to_dict("records")
    for place, row in enumerate(rows):
        cells = [row["label"], signed(row["vote"]), share(row["below"]), _seen(found, row["looked"], row["attention"])]
        cells += [_seen(found, row["source"], row["source_vote"], vote=True)] if wide else []
        last = place + 1 < len(rows) and row["vote"] > 0 > rows[place + 1]["vote"]
        made.add_row(*map(plain, cells), *([plain(row["role"])] if roles else []), end_section=last)
    return made


def _seen(found: Explanation, position: Any, value: float, *, vote: bool = False) -> str:
    """A token of the text with a number; with its position where the text has it more than once."""
    token = found.tokens[position]
    place = f"@{position}" if found.tokens.count(token) > 1 else ""
    return f"{token!r}{place} {signed(value) if vote else f'{100 * value:.0f} %'}"


def _sums(found: Explanation) -> Any:
    name = "of the difference" if found.against else "of the logit"
    made = table("what", "parts", "vote", name, left=("what",))
    rows = found.sums().to_dict("records")
    for place, row in enumerate(rows):
        exact = f"{row['logit']:+.5f}" if abs(row["logit"]) >= 1e-5 or not row["logit"] else f"{row['logit']:+.0e}"
        cells = (row["name"], str(row["parts"]), signed(row["vote"]), exact)
        made.add_row(
            *map(plain, cells), end_section=place == len(rows) - 2, style="bold" if row["kind"] == "total" else ""
        )
    return made
