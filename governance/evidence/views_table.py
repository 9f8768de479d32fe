"""A view as a table: rows in two languages, each pointing at the entries that it rests on, and its CSV and JSON.

For: the families of views (views_*.py make these values) and whoever writes them out. Not for: what the rows say, or
HTML (views_pages.py).

    Table(name, columns, rows) -> .to_json() canonical bytes, .to_csv("ja") bytes

A CSV is for a spreadsheet: UTF-8 with a byte order mark, and no cell is taken for a formula. JSON has the plain values,
the same in every language.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..canonical import canonical_bytes
from ..language import Language, Text
from ..quoting import one_line
from .material import Logged

BOM = "\ufeff"              # without it Excel reads Japanese as another encoding
LINE = "\n"                 # between the lines of one cell
FORMULA = "=+-@＝＋－＠"     # what begins a formula in a spreadsheet; the full-width ones do in a Japanese one
INERT = "'"                 # in front of it, a spreadsheet shows the cell as text (OWASP, CSV injection)


@dataclass(frozen=True)
class Pointer:
    """Where it is written: entry ``index`` (from 0) in the log of ``party``, or line ``index`` (from 1) of a member."""

    party: str
    index: int
    member: str = ""

    @classmethod
    def to(cls, *logged: Logged) -> tuple[Pointer, ...]:
        """Pointers to these entries."""
        return tuple(cls(one.party, one.index) for one in logged)

    @property
    def anchor(self) -> str:
        """The place of an entry on the page of entries; empty for a line of a paper."""
        return "" if self.member else f"{self.party}-{self.index}"

    def __str__(self) -> str:
        return f"{self.member}:{self.index}" if self.member else f"{self.party} #{self.index}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in a view's JSON."""
        if self.member:
            return {"member": self.member, "line": self.index}
        return {"party": self.party, "index": self.index}


@dataclass(frozen=True)
class Cell:
    """One value: as a program reads it, and as people do, in lines."""

    value: str | int
    text: Text | None = None

    def __getitem__(self, language: Language) -> str:
        shown = self.text[language] if self.text else str(self.value)
        return LINE.join(one_line(line) for line in shown.split(LINE))


@dataclass(frozen=True)
class Column:
    """A column: its name for programs, its title for people. ``number``: figures stand to the right."""

    name: str
    title: Text
    number: bool = False


@dataclass(frozen=True)
class Row:
    """One row, and where each of its statements is written: at least one place."""

    cells: tuple[Cell, ...]
    pointers: tuple[Pointer, ...]


@dataclass(frozen=True)
class Table:
    """A view. Its columns do not name the pointers, which every row has."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> bytes:
        """RFC 8785 bytes: the columns by name, and the rows as objects with their ``entries``."""
        names = [column.name for column in self.columns]
        rows = [
            {**{name: cell.value for name, cell in zip(names, row.cells, strict=True)},
             "entries": [pointer.to_json() for pointer in row.pointers]}
            for row in self.rows
        ]  # fmt: skip
        return canonical_bytes({"view": self.name, "columns": [*names, "entries"], "rows": rows})

    def to_csv(self, language: Language, *, entries: Text) -> bytes:
        """UTF-8 with a byte order mark, CRLF (RFC 4180); ``entries`` is the title of the last column."""
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writerow(inert([*(column.title[language] for column in self.columns), entries[language]]))
        for row in self.rows:
            shown = (cell[language].replace(LINE, "; ") for cell in row.cells)
            writer.writerow(inert([*shown, "; ".join(map(str, row.pointers))]))
        return (BOM + out.getvalue()).encode("utf-8")


def inert(cells: Iterable[str]) -> list[str]:
    """The cells on one line each, with those that a spreadsheet would calculate made text."""
    plain = (one_line(cell) for cell in cells)
    return [INERT + cell if cell.lstrip()[:1] in tuple(FORMULA) else cell for cell in plain]


def lines(cells: Sequence[Cell]) -> Cell:
    """Several cells as the lines of one."""
    text = Text(en=LINE.join(c["en"] for c in cells) or "–", ja=LINE.join(c["ja"] for c in cells) or "–")
    return Cell("; ".join(str(cell.value) for cell in cells), text)
