"""Inline SVG for pages that are read on screen, on a phone and on paper: bars, lines, intervals.

What it is for: small charts drawn from finished numbers and finished words, with no script, no external file and no
colour that carries meaning alone. What it is NOT for: words (the caller passes them, in its language) and layout.

Every chart is 360 units wide and meant to be shown at 20 to 27 rem, so that its 13-unit text stays near the size of
the text around it on a phone as on paper. Labels stand above their row: Japanese company names fit.

Order of calls: build `Bar`, `Interval`, `Track` or `Series` values, call one of `bars`, `intervals`, `lines`,
`timeline`, and put the `Svg` into a template as it is (it declares itself safe; everything inside it was escaped here).
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from ..errors import BadDocumentError

WIDTH = 360
MARGIN = 8
SMALL = 11  # size of small letters, as page.css has it
ROW = 46            # one labelled row: a line of text and a bar under it
AXIS = 30
CHART_HEIGHT = 200
LEGEND_ROW = 22
LINE_STYLES = ("solid", "dashed", "dotted", "mixed")


class Svg(str):
    """SVG text whose every part was escaped when it was made."""

    def __html__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Bar:
    """One row: ``parts`` are lengths in order, drawn dark, middle, light; ``text`` is the figure as people read it."""

    label: str
    parts: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Interval:
    """A measured value with its 95 % bounds, and the target it was held against (None: no target)."""

    label: str
    value: float
    low: float
    high: float
    text: str
    target: float | None = None


@dataclass(frozen=True)
class Track:
    """What happened to one thing: (place from 0 to 1 along the axis, which of the kinds it was, from 0 to 3)."""

    label: str
    marks: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Series:
    """A line: points by rising x."""

    label: str
    points: tuple[tuple[float, float], ...]


def bars(title: str, rows: Sequence[Bar], *, maximum: float | None = None, limit: str = "") -> Svg:
    """Horizontal bars from zero; with ``maximum`` each row shows its whole track, whose end ``limit`` names."""
    _finite(part for row in rows for part in row.parts)
    top = maximum if maximum is not None else max((sum(row.parts) for row in rows), default=1.0)
    top = top if top > 0 else 1.0
    body = []
    for index, row in enumerate(rows):
        y = MARGIN + index * ROW
        body.append(_row_head(row.label, row.text, y))
        if maximum is not None:
            body.append(f'<rect class="track" x="0" y="{y + 22}" width="{WIDTH}" height="12"/>')
        x = 0.0
        for part, shade in zip(row.parts, ("strong", "middle", "light"), strict=False):
            width = min(part / top * WIDTH, WIDTH - x)
            body.append(f'<rect class="{shade}" x="{_n(x)}" y="{y + 22}" width="{_n(width)}" height="12"/>')
            x += width
    height = MARGIN * 2 + len(rows) * ROW
    if limit:
        body.append(_text(WIDTH, height + 4, limit, "small", "end"))
        height += 10
    return _svg(title, "; ".join(f"{row.label}: {row.text}" for row in rows), height, body)


def intervals(title: str, rows: Sequence[Interval], *, low: float, high: float, target: str = "") -> Svg:
    """Value (dot), bounds (line with ends) and target (tick across the row) on one axis from ``low`` to ``high``."""
    _finite((low, high))
    _finite(number for row in rows for number in (row.value, row.low, row.high, row.target or 0.0))
    span = high - low
    if span <= 0:
        raise BadDocumentError("CHART_RANGE", "a chart's axis must run upwards", "pass low < high")

    def place(value: float) -> float:
        return MARGIN + min(max((value - low) / span, 0.0), 1.0) * (WIDTH - 2 * MARGIN)

    body = []
    for index, row in enumerate(rows):
        y = MARGIN + index * ROW
        middle = y + 29
        left, right = place(row.low), place(row.high)
        body.append(_row_head(row.label, row.text, y))
        body.append(f'<line class="hair" x1="{MARGIN}" y1="{middle}" x2="{WIDTH - MARGIN}" y2="{middle}"/>')
        if row.target is not None:
            x = place(row.target)
            body.append(f'<line class="target" x1="{_n(x)}" y1="{middle - 8}" x2="{_n(x)}" y2="{middle + 9}"/>')
        body.append(f'<line class="bound" x1="{_n(left)}" y1="{middle}" x2="{_n(right)}" y2="{middle}"/>')
        for x in (left, right):
            body.append(f'<line class="bound" x1="{_n(x)}" y1="{middle - 5}" x2="{_n(x)}" y2="{middle + 5}"/>')
        body.append(f'<circle class="dot" cx="{_n(place(row.value))}" cy="{middle}" r="4.5"/>')
    base = MARGIN + len(rows) * ROW
    for share in (0.0, 0.5, 1.0):
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[share]
        body.append(_text(place(low + share * span), base + 14, f"{low + share * span:.3g}", "small", anchor))
    if target:
        body.append(f'<line class="target" x1="{MARGIN}" y1="{base + 24}" x2="{MARGIN}" y2="{base + 36}"/>')
        body.append(_text(MARGIN + 8, base + 34, target, "small", "start"))
    height = base + AXIS + (14 if target else 0)
    return _svg(title, "; ".join(f"{row.label}: {row.text}" for row in rows), height, body)


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    low: float = 0.0,
    x_ticks: Sequence[tuple[float, str]] = (),
    y_ticks: Sequence[tuple[float, str]] = (),
) -> Svg:
    """Up to four lines over one pair of axes: x from zero, y from ``low``; each has dashes and marks of its own.

    ``x_ticks`` and ``y_ticks`` are places with their words; without any, both ends of an axis are named.
    """
    points = [point for line in series for point in line.points]
    _finite(number for point in points for number in point)
    _finite((low, *(place for place, _ in (*x_ticks, *y_ticks))))
    right = max((*(x for x, _ in points), *(place for place, _ in x_ticks)), default=1.0) or 1.0
    top = max((*(y for _, y in points), *(place for place, _ in y_ticks)), default=low + 1.0)
    top = top if top > low else low + 1.0
    left_edge, base, head = 38, CHART_HEIGHT - AXIS, 26
    wide, tall = WIDTH - left_edge - 2 * MARGIN, base - head

    def at(x: float, y: float) -> tuple[float, float]:
        return (left_edge + min(max(x / right, 0.0), 1.0) * wide,
                base - min(max((y - low) / (top - low), 0.0), 1.0) * tall)

    body = [_text(0, 12, y_label, "small", "start"), _text(WIDTH, CHART_HEIGHT + 2, x_label, "small", "end")]
    for place, words in y_ticks or ((low, f"{low:.3g}"), (top, f"{top:.3g}")):
        y = at(0, place)[1]
        body.append(f'<line class="hair" x1="{left_edge}" y1="{_n(y)}" x2="{WIDTH - MARGIN}" y2="{_n(y)}"/>')
        body.append(_text(left_edge - 5, y + 4, words, "small", "end"))
    for place, words in x_ticks or ((0.0, "0"), (right, f"{right:.3g}")):
        x = at(place, low)[0]
        body.append(f'<line class="hair" x1="{_n(x)}" y1="{base}" x2="{_n(x)}" y2="{base + 4}"/>')
        past = x + ems(words) * SMALL / 2 > WIDTH - MARGIN / 2  # centred, a wider font would lose the end
        body.append(_text(WIDTH if past else x, base + 16, words, "small", "end" if past else "middle"))
    body.append(f'<line class="hair" x1="{left_edge}" y1="{head}" x2="{left_edge}" y2="{base}"/>')
    height = CHART_HEIGHT + MARGIN
    for line, style in zip(series, LINE_STYLES, strict=False):
        places = [at(x, y) for x, y in line.points]
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
        body.append(f'<polyline class="line {style}" points="{path}"/>')
        body += [_mark(style, x, y) for x, y in places]
        # the legend stands under the axes: ends of lines that lie close would write over each other
        height += LEGEND_ROW
        y = height - 8
        body.append(f'<polyline class="line {style}" points="0,{y} 34,{y}"/>{_mark(style, 17.0, float(y))}')
        body.append(_squeezed(42, y + 4, line.label, WIDTH - 42.0))
    spoken = "; ".join(
        f"{line.label}: " + ", ".join(f"{y:.3g}" for _, y in line.points) for line in series if line.points
    )
    return _svg(title, spoken, height + MARGIN, body)


def timeline(title: str, rows: Sequence[Track], *, kinds: Sequence[str], ends: tuple[str, str]) -> Svg:
    """A row of marks for each track along one axis of time; up to four ``kinds``, each with a shape of its own.

    ``ends`` are the words at both ends of the axis; the legend stands under it.
    """
    _finite(place for row in rows for place, _ in row.marks)
    body = []
    for index, row in enumerate(rows):
        y = MARGIN + index * ROW
        body.append(_squeezed(0, y + 14, row.label, float(WIDTH)))
        body.append(f'<line class="hair" x1="{MARGIN}" y1="{y + 29}" x2="{WIDTH - MARGIN}" y2="{y + 29}"/>')
        for place, kind in row.marks:
            x = MARGIN + min(max(place, 0.0), 1.0) * (WIDTH - 2 * MARGIN)
            body.append(_mark(LINE_STYLES[kind], x, y + 29.0))
    base = MARGIN + len(rows) * ROW
    body.append(_text(0, base + 12, ends[0], "small", "start"))
    body.append(_text(WIDTH, base + 12, ends[1], "small", "end"))
    height = base + AXIS
    for style, words in zip(LINE_STYLES, kinds, strict=False):
        body.append(_mark(style, MARGIN, height + 8.0) + _text(MARGIN + 14, height + 12, words, "small", "start"))
        height += LEGEND_ROW
    spoken = "; ".join(f"{row.label}: {len(row.marks)}" for row in rows)
    return _svg(title, spoken, height, body)


def _mark(style: str, x: float, y: float) -> str:
    """A point of a line: each style has its own shape, so that print and every eye can tell them apart."""
    if style == "solid":
        return f'<circle class="dot" cx="{_n(x)}" cy="{_n(y)}" r="4"/>'
    if style == "dashed":
        return f'<rect class="mark" x="{_n(x - 3.5)}" y="{_n(y - 3.5)}" width="7" height="7"/>'
    corners = ((0, -5), (4.5, 3.5), (-4.5, 3.5)) if style == "dotted" else ((0, -5), (5, 0), (0, 5), (-5, 0))
    path = " ".join(f"{_n(x + dx)},{_n(y + dy)}" for dx, dy in corners)
    return f'<polygon class="mark" points="{path}"/>'


def _svg(title: str, description: str, height: int, body: Sequence[str]) -> Svg:
    # The same chart has the same identifier on every run: reports are compared byte by byte.
    label = "c" + hashlib.sha256(f"{title}\0{description}".encode()).hexdigest()[:12]
    return Svg(
        f'<svg class="chart" role="img" aria-labelledby="{label}" viewBox="0 0 {WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{label}">{_clean(title)}: {_clean(description)}</title>'
        + "".join(body) + "</svg>")


def _row_head(label: str, text: str, y: int) -> str:
    # A long label is squeezed to what the figure at its right leaves over, never drawn over it.
    return _squeezed(0, y + 14, label, WIDTH - ems(text) * 13 - 16) + _text(WIDTH, y + 14, text, "figure", "end")


def _squeezed(x: float, y: float, label: str, room: float) -> str:
    squeeze = f' textLength="{_n(room)}" lengthAdjust="spacingAndGlyphs"' if ems(label) * 13 > room else ""
    return f'<text class="label" x="{_n(x)}" y="{_n(y)}"{squeeze}>{_clean(label)}</text>'


def ems(text: str) -> float:
    """Estimated width in ems: a full-width character is one, any other somewhat above half."""
    return sum(1.0 if unicodedata.east_asian_width(c) in "WFA" else 0.58 for c in text)


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{_clean(text)}</text>'


def _clean(text: str) -> str:
    return escape(text, quote=True)


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _finite(numbers: Iterable[float]) -> None:
    for number in numbers:
        if not math.isfinite(number):
            raise BadDocumentError("CHART_NUMBER", "a chart was given a number that is not finite",
                                   "show the value as text instead")
