"""What people wrote, shown so that it cannot pose as what the system says.

For: every text of a document, a name of a file or a title that stands on a screen among lines of ours. Not for: HTML,
where values are escaped and stand in elements of their own.

    one_line(text)          no line break, no run of spaces, nothing that moves a cursor
    quoted(text)            lines of one width with a bar before each, wrapped here and not by the terminal
"""

from __future__ import annotations

import re
import unicodedata

BAR = "│ "
WIDTH = 76  # columns of a quoted line; a terminal of 80 shows it, its bar and its indentation unwrapped
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
# A word of half-width letters is kept whole where it fits; Japanese may break anywhere.
_PIECES = re.compile(r"[!-~]+|.", re.DOTALL)


def one_line(text: str) -> str:
    """The text on one line: whitespace of any kind and length is one space, what is not seen is shown as U+FFFD."""
    return plain(re.sub(r"\s+", " ", text))


def plain(text: str) -> str:
    """The text with U+FFFD for every character that is not drawn or could move a cursor."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(letter) in _UNSEEN else letter for letter in text)


def quoted(text: str, width: int = WIDTH) -> list[str]:
    """The text in lines of at most ``width`` columns, each with a bar before it; at least one line."""
    lines, line = [], ""
    for piece in _PIECES.findall(one_line(text).strip()):
        for part in [piece] if columns(piece) <= width else list(piece):
            if columns(line) + columns(part) > width:
                lines.append(line)
                line = ""
            line = line + part if line or part != " " else line
    return [BAR + one.rstrip() for one in (*lines, line)]


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: letters of Japanese take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
