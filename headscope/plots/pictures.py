"""Figures as files. SVG is written here, from the figure itself: plotly's own export needs Chrome."""

from html import escape, unescape
from pathlib import Path
from textwrap import wrap
from typing import Any
from zlib import crc32

import numpy as np
from plotly import graph_objects as go

from headscope.errors import HeadscopeError, UsageError
from headscope.plots.words import Number

WIDTH = 760


def save_picture(figure: go.Figure, path: str | Path) -> Path:
    """Write a figure to `path`: `.svg` (needs nothing), `.html` (one file, no network) or `.png` (needs Chrome).

    Args:
        figure: a figure of this package; for SVG any figure of heatmaps and dots.
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
    """A figure of heatmaps or of dots with bars as SVG text, the same colours and places, without hover.

    Example:
        >>> svg(go.Figure(go.Heatmap(z=[[0.0, 1.0]]))).count("<rect")
        3
    """
    shape: Any = figure.layout
    height = shape.height or 400
    longest = max((len(unescape(name)) for name in shape.yaxis.ticktext or ()), default=0)
    below = 40 + 5.5 * longest if shape.xaxis.tickangle else 52
    box = _Box(figure, left=min(300.0, 34 + 6.6 * longest), top=shape.margin.t or 60, bottom=height - below)
    ink = shape.font.color or "#000000"
    lines = [
        _background(height, shape.paper_bgcolor or "#ffffff"),
        *_title(figure, ink),
        *box.axes(ink),
        *_legend(figure, box, ink),
    ]
    for trace in traces(figure):
        lines += _cells(trace, box) if trace.type == "heatmap" else _dots(trace, box)
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

    def x(self, value: Number) -> float:
        return float(self.left + (value - self.xs[0]) / (self.xs[1] - self.xs[0]) * (self.right - self.left))

    def y(self, value: Number) -> float:
        return float(self.top + (value - self.ys[1]) / (self.ys[0] - self.ys[1]) * (self.bottom - self.top))

    def axes(self, ink: str) -> list[str]:
        x, y = self.layout.xaxis, self.layout.yaxis
        marks = x.tickvals if x.tickvals is not None else _round_numbers(*self.xs)
        texts = x.ticktext if x.ticktext is not None else [f"{mark:.3g}" for mark in marks]
        turn, side = x.tickangle or 0, "end" if x.tickangle else "middle"
        names = zip(marks, texts, strict=True)
        lines = [_text(self.x(at), self.bottom + 16, word, ink, side, turn=turn) for at, word in names]
        rows = zip(y.tickvals or (), y.ticktext or (), strict=True)
        lines += [_text(self.left - 8, self.y(at) + 4, word, ink, "end") for at, word in rows]
        middle, foot = (self.left + self.right) / 2, (self.layout.height or 400) - 14
        lines.append(_text(middle, foot, x.title.text or "", ink, "middle"))
        lines.append(_text(self.left, self.top - 6, y.title.text or "", ink, "end"))
        if x.zeroline and self.xs[0] < 0 < self.xs[1]:
            at = self.x(0)
            lines.append(f'<path d="M{at:.1f} {self.top:.1f}V{self.bottom:.1f}" stroke="{x.zerolinecolor or ink}"/>')
        return lines


def traces(figure: go.Figure) -> Any:
    """The traces of a figure, unchecked: plotly's annotations do not say what they are."""
    return figure.data


def _has_dots(figure: go.Figure) -> bool:
    return any(trace.type == "scatter" for trace in traces(figure))


def _extent(figure: go.Figure) -> tuple[list[float], list[float]]:
    if not _has_dots(figure):
        rows, columns = np.shape(traces(figure)[0].z) if figure.data else (1, 1)
        return [-0.5, columns - 0.5], [rows - 0.5, -0.5]
    ends = [end for trace in traces(figure) for end in np.concatenate([np.asarray(side) for side in _bar(trace)])]
    known = np.array([0.0, *ends])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin], [1.0, 0.0]


def _bar(trace: Any) -> tuple[np.ndarray, np.ndarray]:
    value = np.asarray(trace.x, dtype=float)
    return value - np.nan_to_num(trace.error_x.arrayminus), value + np.nan_to_num(trace.error_x.array)


def _round_numbers(low: Number, high: Number) -> list[float]:
    step = 10.0 ** np.floor(np.log10(high - low))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 8)
    return [round(float(mark), 12) for mark in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _cells(trace: Any, box: _Box) -> list[str]:
    values = np.asarray(trace.z, dtype=float)
    low = trace.zmin if trace.zmin is not None else float(np.nanmin(values))
    high = trace.zmax if trace.zmax is not None else float(np.nanmax(values))
    colours = [colour for _, colour in trace.colorscale] if trace.colorscale else ["#ffffff", "#08306b"]
    lines = []
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            place = 0.5 if high == low else min(max((value - low) / (high - low), 0.0), 1.0)
            lines.append(_cell(box, row, column, _mix(colours, place)))
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


def _dots(trace: Any, box: _Box) -> list[str]:
    bar = trace.error_x.color or "#5a6272"
    lines = []
    for value, row, low, high in zip(trace.x, trace.y, *_bar(trace), strict=True):
        y = box.y(row)
        lines.append(f'<path d="M{box.x(low):.1f} {y:.1f}H{box.x(high):.1f}" stroke="{bar}" stroke-width="1.5"/>')
        lines.append(_dot(trace, box.x(value), y))
    return lines


def _dot(trace: Any, x: Number, y: Number) -> str:
    colour = trace.marker.color or "#1f5fa8"
    fill = "none" if str(trace.marker.symbol).endswith("-open") else colour
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _legend(figure: go.Figure, box: _Box, ink: str) -> list[str]:
    lines, x = [], float(box.right)
    for trace in reversed([trace for trace in traces(figure) if trace.type == "scatter" and trace.name]):
        lines.append(_text(x, box.top - 10, trace.name, ink, "end"))
        x -= 16 + 6 * len(unescape(trace.name))
        lines.append(_dot(trace, x + 4, box.top - 14))
        x -= 14
    return lines


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
