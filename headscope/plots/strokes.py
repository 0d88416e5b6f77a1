"""Lines, bands and words of a figure as parts of an SVG picture."""

from html import unescape
from typing import Any

import numpy as np
from jaxtyping import Float

from headscope.plots.words import Number

LETTERS = 11
"""The size of letters, where they have room."""
BROAD, SLIM = "mwMW@%", "ijl.,:;|!' "
"""Letters that are broader than most, and slimmer."""

DASHES = {"dash": "7 5", "dot": "2 4", "dashdot": "7 4 2 4", "longdash": "12 5"}
"""plotly's names of strokes as lengths of ink and gap."""


def strokes(trace: Any, box: Any) -> list[str]:
    """What a trace of points draws beside its marks: its line, or the area that it encloses.

    Args:
        trace: of points.
        box: where data lie on the picture.
    """
    x, y = numbers(trace.x), numbers(trace.y)
    places = [(box.x(one), box.y(other)) for one, other in zip(x, y, strict=True) if np.isfinite(one + other)]
    if not places or "lines" not in (trace.mode or ""):
        return []
    path = "M" + "L".join(f"{one:.1f} {other:.1f}" for one, other in places)
    colour = trace.line.color or "#1f5fa8"
    dash = DASHES.get(trace.line.dash or "", "")
    line = f'stroke="{colour}" stroke-width="{2 if trace.line.width is None else trace.line.width}"'
    line += f' stroke-dasharray="{dash}"' if dash else ""
    if not trace.fill:
        return [f'<path d="{path}" fill="none" {line}/>']
    # The last two of plotly's eight digits are the opacity.
    opacity = int(trace.fillcolor[7:] or "ff", 16) / 255
    return [f'<path d="{path}Z" fill="{trace.fillcolor[:7]}" fill-opacity="{opacity:.2f}" {line}/>']


def numbers(values: Any) -> Float[np.ndarray, " point"]:
    """A trace's values as numbers; none where it has none.

    Args:
        values: of a trace.

    Example:
        >>> numbers(None).tolist(), numbers([1, None]).tolist()
        ([], [1.0, nan])
    """
    return np.array([] if values is None else values, dtype=float)


def bars(trace: Any, way: str) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Where the interval bars of a trace begin and end; at the value itself where there are none.

    Args:
        trace: of points.
        way: `x` or `y`.
    """
    value, ends = numbers(trace[way]), trace[f"error_{way}"]
    more, less = (np.nan_to_num(numbers(side)) for side in (ends.array, ends.arrayminus))
    return value - (less if len(less) else 0.0), value + (more if len(more) else 0.0)


def lettered(trace: Any, box: Any, ink: str) -> list[str]:
    """The words of a trace, each with its lines below one another.

    Args:
        trace: of words.
        box: where data lie on the picture.
        ink: their colour.
    """
    found = []
    for x, y, words in zip(numbers(trace.x), numbers(trace.y), trace.text, strict=True):
        found += block(box.x(x), box.y(y), words, ink, side=trace.textposition or "middle center")
    return found


def block(
    x: Number, y: Number, words: str, ink: str, *, side: str = "middle center", size: Number = LETTERS
) -> list[str]:
    """Lines of text about a place.

    Args:
        x: of the place on the picture.
        y: of the place.
        words: with plotly's line breaks, escaped already.
        ink: their colour.
        side: where they stand, as plotly says it.
        size: of the letters.
    """
    lines = words.split("<br>") if words else []
    vertical, _, horizontal = side.partition(" ")
    anchor = {"left": "end", "right": "start"}.get(horizontal, "middle")
    shift = {"left": -6.0, "right": 6.0}.get(horizontal, 0.0)
    step = 14 * size / LETTERS
    first = {"top": -6.0 - step * (len(lines) - 1), "bottom": 15.0}.get(vertical, 4.0 - step / 2 * (len(lines) - 1))
    return [
        f'<text x="{x + shift:.1f}" y="{y + first + step * row:.1f}" font-size="{size:g}" text-anchor="{anchor}" '
        f'fill="{ink}">{line}</text>'
        for row, line in enumerate(lines)
    ]


def ems(line: str) -> float:
    """About how wide a line is, in sizes of its letters; rather too wide, since readers have different fonts.

    Args:
        line: plain text.

    Example:
        >>> ems("obj"), ems("numm↓")
        (1.6, 4.1)
    """
    each = [
        0.98 if letter in BROAD else 0.34 if letter in SLIM else 0.85 if ord(letter) > 0x2000 else 0.63
        for letter in line
    ]
    return round(float(sum(each)), 1)


def letter_size(texts: Any, wide: Number) -> float:
    """The size of letters with which every text of some cells has room; not below 6, which nobody reads.

    Args:
        texts: of the cells, with plotly's line breaks.
        wide: how wide a cell is.

    Example:
        >>> letter_size([["obj", "numm↓<br>+2*"]], 40), letter_size([["previous token"]], 40)
        (8.7, 6.0)
    """
    lines = [unescape(line) for row in texts for text in row for line in str(text or "").split("<br>")]
    longest = max(map(ems, lines), default=0.0)
    fits = (wide - 4) / longest if longest else LETTERS
    return float(max(6.0, min(float(LETTERS), np.floor(10 * fits) / 10)))
