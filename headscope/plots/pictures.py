"""Figures as files. SVG is written here, from the figure itself: plotly's own export needs Chrome."""

from html import escape, unescape
from pathlib import Path
from textwrap import wrap
from typing import Any
from zlib import crc32

import numpy as np
from plotly import graph_objects as go

from headscope.errors import HeadscopeError, UsageError
from headscope.plots.strokes import DASHES, LETTERS, bars, block, letter_size, lettered, numbers, strokes
from headscope.plots.words import Number

WIDTH = 760


def save_picture(figure: go.Figure, path: str | Path) -> Path:
    """Write a figure to `path`: `.svg` (needs nothing), `.html` (one file, no network) or `.png` (needs Chrome).

    Args:
        figure: a figure of this package; for SVG any figure of heatmaps, lines and dots.
        path: where to write; its ending chooses the format.

    Returns:
        The path.

    Raises:
        UsageError: if the ending is another one.
        HeadscopeError: if PNG is asked for and kaleido or Chrome is absent.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_picture(go.Figure(go.Heatmap(z=[[0.0, 1.0]])), Path(folder, "a.svg")).stat().st_size > 300
        True
    """
    path = Path(path)
    match path.suffix.lower():
        case ".svg":
            path.write_text(svg(figure), encoding="utf-8")
        case ".html":
            figure.write_html(path, include_plotlyjs=True, config={"displaylogo": False})
        case ".png":
            _png(figure, path)
        case other:
            raise UsageError(f"a picture ending in {other!r}", ".svg, .html or .png", "choose one of these endings")
    return path


def _png(figure: go.Figure, path: Path) -> None:
    try:
        figure.write_image(path, width=WIDTH, scale=2)
    except (ValueError, RuntimeError, ImportError) as error:
        raise HeadscopeError(
            f"{path.name}, and no way to make a PNG here ({str(error).strip().splitlines()[0]})",
            "the extra 'png' (kaleido) and an installed Chrome",
            "write an .svg, which needs neither; or pip install 'headscope[png]' and install Chrome",
        ) from error


def svg(figure: go.Figure) -> str:
    """A figure of heatmaps, or of lines, areas and dots with bars, as SVG text: the same colours and places, no hover.

    Example:
        >>> svg(go.Figure(go.Heatmap(z=[[0.0, 1.0]]))).count("<rect")
        3
    """
    shape: Any = figure.layout
    height = shape.height or 400
    longest = max((len(unescape(name)) for name in shape.yaxis.ticktext or ()), default=0)
    below = 40 + 5.5 * longest if shape.xaxis.tickangle else 52
    below = max(below, shape.margin.b or 0) if _at_foot(figure) else below
    left = min(300.0, 34 + 6.6 * longest + (14 if shape.yaxis.title.standoff else 0))
    box = _Box(figure, left=left, top=shape.margin.t or 60, bottom=height - below)
    ink = shape.font.color or "#000000"
    lines = [
        _background(height, shape.paper_bgcolor or "#ffffff"),
        *_title(figure, ink),
        *box.axes(ink),
        *_legend(figure, box, ink),
    ]
    for trace in traces(figure):
        lines += _cells(trace, box) if trace.type == "heatmap" else _points(trace, box, ink)
    family = escape(shape.font.family or "sans-serif")
    space = 'xmlns="http://www.w3.org/2000/svg"'
    head = f'<svg {space} viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" font-family="{family}">'
    return "\n".join([head, *lines, "</svg>", ""])


class _Box:
    """Where the data's coordinates lie on the picture."""

    def __init__(self, figure: go.Figure, *, left: Number, top: Number, bottom: Number) -> None:
        self.left, self.right, self.top, self.bottom = left, WIDTH - 84, top, bottom
        self.layout: Any = figure.layout
        xs, ys = _extent(figure)
        self.xs = self.layout.xaxis.range or xs
        self.ys = self.layout.yaxis.range or ys
        self.log = self.layout.xaxis.type == "log"
        if self.layout.yaxis.scaleanchor:  # a unit is as long either way
            half = abs((bottom - top) * (self.xs[1] - self.xs[0]) / (self.ys[1] - self.ys[0])) / 2
            middle = (self.left + self.right) / 2
            self.left, self.right = middle - half, middle + half
        # Of one size in all cells of a figure, as plotly draws them.
        lettered = [trace.text for trace in traces(figure) if trace.type == "heatmap" and trace.texttemplate]
        wide = abs(self.x(1) - self.x(0)) if lettered else 0.0
        self.letters = min((letter_size(texts, wide) for texts in lettered), default=float(LETTERS))

    def x(self, value: Number) -> float:
        value = np.log10(value) if self.log else value
        return float(self.left + (value - self.xs[0]) / (self.xs[1] - self.xs[0]) * (self.right - self.left))

    def y(self, value: Number) -> float:
        return float(self.top + (value - self.ys[1]) / (self.ys[0] - self.ys[1]) * (self.bottom - self.top))

    def axes(self, ink: str) -> list[str]:
        x, y = self.layout.xaxis, self.layout.yaxis
        marks = x.tickvals if x.tickvals is not None else _round_numbers(*self.xs)
        texts = x.ticktext if x.ticktext is not None else [f"{mark:.3g}" for mark in marks]
        names = [pair for pair in zip(marks, texts, strict=True) if self._inside(pair[0])]
        names = [] if x.showticklabels is False else names
        turn, side = x.tickangle or 0, "end" if x.tickangle else "middle"
        lines = [_text(self.x(at), self.bottom + 16, word, ink, side, turn=turn) for at, word in names]
        rows = zip(y.tickvals or (), y.ticktext or (), strict=True)
        lines += [_text(self.left - 8, self.y(at) + 4, word, ink, "end") for at, word in rows]
        middle, foot = (self.left + self.right) / 2, min((self.layout.height or 400) - 14, self.bottom + 38)
        lines.append(_text(middle, foot, x.title.text or "", ink, "middle"))
        if y.title.standoff:  # beside the numbers, upwards
            lines.append(_text(14, (self.top + self.bottom) / 2, y.title.text or "", ink, "middle", turn=-90))
        else:
            lines.append(_text(self.left, self.top - 6, y.title.text or "", ink, "end"))
        if x.zeroline and self.xs[0] < 0 < self.xs[1]:
            at = self.x(0)
            lines.append(f'<path d="M{at:.1f} {self.top:.1f}V{self.bottom:.1f}" stroke="{x.zerolinecolor or ink}"/>')
        return lines

    def _inside(self, value: Number) -> bool:
        return not self.log or bool(self.left - 1 <= self.x(value) <= self.right + 1)


def traces(figure: go.Figure) -> Any:
    """The traces of a figure, unchecked: plotly's annotations do not say what they are."""
    return figure.data


def _has_dots(figure: go.Figure) -> bool:
    return any(trace.type == "scatter" for trace in traces(figure))


def _extent(figure: go.Figure) -> tuple[list[float], list[float]]:
    if not _has_dots(figure):
        rows, columns = np.shape(traces(figure)[0].z) if figure.data else (1, 1)
        return [-0.5, columns - 0.5], [rows - 0.5, -0.5]
    dotted = [trace for trace in traces(figure) if trace.type == "scatter"]
    ends = [end for trace in dotted for end in np.concatenate(bars(trace, "x"))]
    known = np.array([0.0, *ends])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin], [1.0, 0.0]


def _round_numbers(low: Number, high: Number) -> list[float]:
    step = 10.0 ** np.floor(np.log10(high - low))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 8)
    return [round(float(mark), 12) + 0.0 for mark in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _cells(trace: Any, box: _Box) -> list[str]:
    values = np.asarray(trace.z, dtype=float)
    low = float(np.nanmin(values) if trace.zmin is None else trace.zmin)
    high = float(np.nanmax(values) if trace.zmax is None else trace.zmax)
    colours = [colour for _, colour in trace.colorscale] if trace.colorscale else ["#ffffff", "#08306b"]
    lines, letters = [], box.letters
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            place = 0.5 if high == low else min(max((value - low) / (high - low), 0.0), 1.0)
            colour = _mix(colours, place)
            lines.append(_cell(box, row, column, colour))
            if trace.texttemplate:
                light = sum(int(colour[at : at + 2], 16) for at in (1, 3, 5)) > 380
                paint = "#1b1f27" if light else "#ffffff"
                lines += block(box.x(column), box.y(row), trace.text[row][column], paint, size=letters)
    return lines + (_key(box, colours, (low, high)) if trace.showscale is not False else [])


def _cell(box: _Box, row: int, column: int, colour: str) -> str:
    x, y = box.x(column - 0.5), box.y(row - 0.5)
    wide, high = box.x(column + 0.5) - x, box.y(row + 0.5) - y
    return f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{wide - 1:.1f}" height="{high - 1:.1f}" fill="{colour}"/>'


def _key(box: _Box, colours: list[str], ends: tuple[float, float]) -> list[str]:
    stops = "".join(f'<stop offset="{i / (len(colours) - 1):.3f}" stop-color="{c}"/>' for i, c in enumerate(colours))
    name = f"key{crc32(stops.encode()):08x}"
    x, tall = box.right + 14, box.bottom - box.top
    ink = box.layout.font.color or "#000000"
    marks = [(ends[1], box.top + 10), (sum(ends) / 2, (box.top + box.bottom) / 2 + 4), (ends[0], box.bottom)]
    return [
        f'<linearGradient id="{name}" x1="0" y1="1" x2="0" y2="0">{stops}</linearGradient>',
        f'<path d="M{x:.1f} {box.top:.1f}h12v{tall:.1f}h-12z" fill="url(#{name})"/>',
        *(_text(x + 18, y, f"{value:.3g}", ink, "start") for value, y in marks),
    ]


def _mix(colours: list[str], place: Number) -> str:
    index = min(int(place * (len(colours) - 1)), len(colours) - 2)
    part = place * (len(colours) - 1) - index
    ends = [[int(colours[index + i][k : k + 2], 16) for k in (1, 3, 5)] for i in (0, 1)]
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(*ends, strict=True))


def _points(trace: Any, box: _Box, ink: str) -> list[str]:
    """A line or an area, words, and marks with their interval bars."""
    if trace.mode == "text":
        return lettered(trace, box, ink)
    lines = strokes(trace, box)
    if "markers" not in (trace.mode or "markers"):
        return lines
    x, y = numbers(trace.x), numbers(trace.y)
    for one, other, low, high, foot, head in zip(x, y, *bars(trace, "x"), *bars(trace, "y"), strict=True):
        if not np.isfinite(one + other):  # a line of the legend alone
            continue
        across, up = box.x(one), box.y(other)
        paint = f'stroke="{trace.error_x.color or trace.error_y.color or "#5a6272"}" stroke-width="1.5"'
        lines += [f'<path d="M{box.x(low):.1f} {up:.1f}H{box.x(high):.1f}" {paint}/>'] if low < high else []
        lines += [f'<path d="M{across:.1f} {box.y(foot):.1f}V{box.y(head):.1f}" {paint}/>'] if foot < head else []
        lines.append(_dot(trace, across, up))
    return lines


def _dot(trace: Any, x: Number, y: Number) -> str:
    colour = trace.marker.color or trace.marker.line.color or "#1f5fa8"
    if str(trace.marker.symbol).startswith("x"):
        cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
        return f'<path d="{cross}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    if str(trace.marker.symbol).startswith("line-ns"):
        return f'<path d="M{x:.1f} {y - 7:.1f}v14" stroke="{trace.marker.line.color}" stroke-width="2.5"/>'
    fill = "none" if str(trace.marker.symbol).endswith("-open") else colour
    if str(trace.marker.symbol).startswith("square"):
        place = f'x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"'
        return f'<rect {place} fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
    corners = {"diamond": "0 -6l6 6l-6 6l-6 -6z", "triangle": "0 -6l6 10h-12z"}
    path = next((path for name, path in corners.items() if str(trace.marker.symbol).startswith(name)), "")
    if path:
        return f'<path d="M{x:.1f} {y:.1f}m{path}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _at_foot(figure: go.Figure) -> bool:
    legend: Any = figure.layout.legend  # pyright: ignore[reportAttributeAccessIssue]
    return legend.yref == "container"


def _legend(figure: go.Figure, box: _Box, ink: str) -> list[str]:
    listed = [
        trace for trace in traces(figure) if trace.type == "scatter" and trace.name and trace.showlegend is not False
    ]
    lines: list[str] = []
    if _at_foot(figure):
        columns = 2 if max((len(unescape(trace.name)) for trace in listed), default=0) > 34 else 3
        for place, trace in enumerate(listed):
            x, y = 60 + 690 // columns * (place % columns), box.bottom + 62 + 18 * (place // columns)
            lines.append(_text(x + 32, y, trace.name, ink, "start"))
            lines += _sample(trace, x, y - 4)
        return lines
    x = float(box.right)
    for trace in reversed(listed):
        lines.append(_text(x, box.top - 10, trace.name, ink, "end"))
        x -= 16 + 6 * len(unescape(trace.name))
        lines.append(_dot(trace, x + 4, box.top - 14))
        x -= 14
    return lines


def _sample(trace: Any, x: Number, y: Number) -> list[str]:
    """How a line or a mark looks, for the legend."""
    lines = []
    if "lines" in (trace.mode or ""):
        dash = DASHES.get(trace.line.dash or "", "")
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        lines.append(f'<path d="M{x:.1f} {y:.1f}h26" stroke="{trace.line.color}" stroke-width="2"{dash}/>')
    return lines + ([_dot(trace, x + 13, y)] if "markers" in (trace.mode or "markers") else [])


def _background(height: Number, colour: str) -> str:
    return f'<rect width="{WIDTH}" height="{height}" fill="{colour}"/>'


def _title(figure: go.Figure, ink: str) -> list[str]:
    meta: Any = figure.layout.meta or {}  # pyright: ignore[reportAttributeAccessIssue]
    rows = [(meta.get("title", ""), 16, "bold")]
    rows += [(line, 12, "normal") for line in wrap(meta.get("note", ""), 96)]
    rows += [(meta.get("flag", ""), 12, "bold")]
    return [
        f'<text x="12" y="{26 + 18 * i}" font-size="{size}" font-weight="{weight}" fill="{ink}">{escape(words)}</text>'
        for i, (words, size, weight) in enumerate(row for row in rows if row[0])
    ]


def _text(x: Number, y: Number, words: str, ink: str, anchor: str, *, turn: Number = 0) -> str:
    # Labels are written for plotly: its entities are XML's too, its line breaks are not.
    place = f'x="{x:.1f}" y="{y:.1f}"' + (f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else "")
    words = words.replace("<br>", " ")
    return f'<text {place} font-size="11" text-anchor="{anchor}" fill="{ink}">{words}</text>'
