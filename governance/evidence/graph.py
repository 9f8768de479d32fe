"""A self-contained SVG of what went into something and what came of it: rows in groups on both sides of a spine.

For: pictures that are opened by themselves, so that styles stand inside; no script, no external file, and no colour
that carries meaning alone: each row has a sign, a line of its own style and, where it does not hold, words. Not for:
what is drawn or said (the caller passes finished words), or charts inside a page (charts.py).

Every line runs straight from its row to the spine, so that none crosses another; what came of something that came of
the spine hangs below it. Order of calls: build `Row` and `Group` values, call `graph`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape

from .charts import Svg, ems

WIDTH, MARGIN = 1180, 24
COLUMN = 440            # of the rows on either side
SPINE = 150
HEAD, ROW, REASON, GAP, PAD = 34, 30, 18, 16, 10
TOP, LEGEND = 84, 52
FONT, SMALL = 14, 12
SIGN = 9                # radius
BRANCH = 22             # how far what hangs below something is set in

STYLE = """
.ground{fill:#fff}.card{fill:#f6f7f9;stroke:#c9ced6}.spine{fill:#1f2a44}
text{font-family:system-ui,"Noto Sans","Noto Sans CJK JP","Noto Sans JP","Hiragino Sans","Yu Gothic",sans-serif}
.title{font-size:20px;font-weight:600;fill:#141a26}.sub{font-size:14px;fill:#3c4658}
.head{font-size:13px;font-weight:600;fill:#3c4658}.label{font-size:14px;fill:#141a26}
.detail{font-size:12px;fill:#5a6474;font-family:ui-monospace,"DejaVu Sans Mono",monospace}
.why{font-size:12px;fill:#9a1c1c}.open{font-size:12px;fill:#5a6474}.name{font-size:14px;fill:#fff}
.kind{font-size:13px;fill:#c8d0e4}
.line{fill:none;stroke-width:1.6}.verified{stroke:#1c6b3a}.broken{stroke:#b3261e;stroke-dasharray:7 4}
.unchecked{stroke:#7a8494;stroke-dasharray:2 4}
.disc-verified{fill:#1c6b3a}.disc-broken{fill:#b3261e}.disc-unchecked{fill:#7a8494}
.stroke{fill:none;stroke:#fff;stroke-width:2.2;stroke-linecap:round;stroke-linejoin:round}
.ask{font-size:13px;font-weight:700;fill:#fff}
"""


class Sign(StrEnum):
    """How a row stands; each has a disc, a stroke in it and a line of its own."""

    VERIFIED = "verified"
    BROKEN = "broken"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Row:
    """One thing: ``detail`` stands at its right in small letters, ``reason`` below it where it does not hold."""

    label: str
    detail: str
    sign: Sign
    reason: str = ""

    @property
    def height(self) -> int:
        return ROW + (REASON if self.reason else 0)


@dataclass(frozen=True)
class Group:
    """Rows under a heading. ``hangs``: the first row comes of the last row above, and the others of the first."""

    heading: str
    rows: tuple[Row, ...]
    hangs: bool = False

    @property
    def height(self) -> int:
        return HEAD + sum(row.height for row in self.rows) + PAD


def graph(title: str, summary: str, *, spine: tuple[str, str], left: Sequence[Group], right: Sequence[Group],
          legend: Sequence[tuple[Sign, str]]) -> Svg:
    """The picture. ``spine``: what stands in the middle, its kind and its name."""
    tall = max(_height(left), _height(right))
    height = TOP + tall + LEGEND + MARGIN
    middle = (WIDTH - SPINE) / 2
    body = [
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        _text(MARGIN, 38, title, "title", room=WIDTH - 2 * MARGIN, size=20),
        _text(MARGIN, 62, summary, "sub", room=WIDTH - 2 * MARGIN, size=14),
    ]
    body += _side(left, MARGIN, middle, rightwards=True)
    body += _side(right, WIDTH - MARGIN - COLUMN, middle + SPINE, rightwards=False)
    body.append(f'<rect class="spine" x="{_n(middle)}" y="{TOP}" width="{SPINE}" height="{tall}" rx="8"/>')
    centre, y = middle + SPINE / 2, TOP + tall / 2
    body.append(_text(centre, y - 14, spine[0], "kind", anchor="middle", room=SPINE - 16, size=13))
    for index, piece in enumerate(_pieces(spine[1], SPINE - 16)):
        body.append(_text(centre, y + 8 + 20 * index, piece, "name", anchor="middle", room=SPINE - 16))
    body += _legend(legend, TOP + tall + LEGEND - 10)
    spoken = "; ".join(f"{group.heading}: " + ", ".join(f"{row.label} {row.sign}" for row in group.rows)
                       for group in (*left, *right))
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}"><title>{escape(title)}</title><desc>{escape(spoken)}</desc><style>{STYLE}</style>'
        + "".join(body) + "</svg>\n")


def _height(groups: Sequence[Group]) -> int:
    return sum(group.height for group in groups) + GAP * max(len(groups) - 1, 0)


def _side(groups: Sequence[Group], x: float, spine: float, *, rightwards: bool) -> list[str]:
    """All groups of one column; ``spine``: the edge that their lines run to."""
    body: list[str] = []
    y: float = TOP
    above = y
    for group in groups:
        cards = [f'<rect class="card" x="{_n(x)}" y="{_n(y)}" width="{COLUMN}" height="{group.height}" rx="8"/>',
                 _text(x + 14, y + 22, group.heading, "head", room=COLUMN - 28, size=13)]
        at = y + HEAD
        for index, row in enumerate(group.rows):
            middle = at + ROW / 2
            inset = BRANCH if group.hangs and index else 0
            if not group.hangs:
                body.append(_line(row.sign, [(spine, middle), (x + COLUMN if rightwards else x, middle)]))
            elif index == 0:
                bend = x - (x - spine) / 2
                body.append(_line(row.sign, [(bend, above), (bend, middle), (x, middle)]))
            cards += _row(row, x + inset, at, COLUMN - inset, rightwards=rightwards)
            if inset:
                stem = x + 14 + SIGN
                start = above + SIGN if index == 1 else above
                cards.append(_line(row.sign, [(stem, start), (stem, middle), (x + inset + 14, middle)]))
            above = middle
            at += row.height
        body += cards
        y += group.height + GAP
    return body


def _row(row: Row, x: float, y: float, width: float, *, rightwards: bool) -> list[str]:
    """Sign beside the line; label, detail, and below them the reason."""
    sign_x = x + width - 14 - SIGN if rightwards else x + 14 + SIGN
    left = x + 14 if rightwards else x + 14 + 2 * SIGN + 10
    right = x + width - 14 - (2 * SIGN + 10 if rightwards else 0)
    detail = ems(row.detail) * SMALL * 1.08       # a monospaced letter is somewhat wider
    baseline = y + ROW / 2 + 5
    parts = [_sign(row.sign, sign_x, y + ROW / 2),
             _text(left, baseline, row.label, "label", room=right - left - detail - 12)]
    if row.detail:
        parts.append(_text(right, baseline, row.detail, "detail", anchor="end"))
    if row.reason:
        style = "why" if row.sign is Sign.BROKEN else "open"
        parts.append(_text(left, baseline + REASON, row.reason, style, room=right - left, size=SMALL))
    return parts


def _sign(sign: Sign, x: float, y: float) -> str:
    disc = f'<circle class="disc-{sign}" cx="{_n(x)}" cy="{_n(y)}" r="{SIGN}"/>'
    if sign is Sign.UNCHECKED:
        return disc + _text(x, y + 4.5, "?", "ask", anchor="middle")
    path = (f"M{_n(x - 4)} {_n(y)}l3 3.5l5.5 -7" if sign is Sign.VERIFIED
            else f"M{_n(x - 3.5)} {_n(y - 3.5)}l7 7m0 -7l-7 7")
    return disc + f'<path class="stroke" d="{path}"/>'


def _line(sign: Sign, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline class="line {sign}" points="{path}"/>'


def _legend(entries: Sequence[tuple[Sign, str]], y: float) -> list[str]:
    body, x = [], float(MARGIN)
    for sign, words in entries:
        body += [_line(sign, [(x, y), (x + 44, y)]), _sign(sign, x + 58, y),
                 _text(x + 74, y + 5, words, "sub")]
        x += 74 + ems(words) * FONT + 36
    return body


def _pieces(name: str, room: float) -> list[str]:
    """A name on one line if it fits, else broken behind its last hyphen: an identifier has no spaces to break at."""
    if ems(name) * FONT <= room:
        return [name]
    head, hyphen, tail = name.rpartition("-")
    return [piece for piece in (head + hyphen, tail) if piece]


def _text(
    x: float, y: float, text: str, style: str, *, anchor: str = "start", room: float = 0, size: int = FONT
) -> str:
    squeeze = f' textLength="{_n(room)}" lengthAdjust="spacingAndGlyphs"' if room and ems(text) * size > room else ""
    return (f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{squeeze}>'
            f"{escape(text, quote=True)}</text>")


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
