"""A CSV file read strictly: rows with the line on which they begin, the columns a study needs, nothing guessed.

For: ``sekisho study new``. Not for: who goes where (division.py), a site's own records once they are written
(data/dataset.py), or features: a text is passed on as it stands.

Order of calls: ``read_table(path, columns, sites=...)`` -> ``Table``.

A refusal names file and line and never shows what stands there, not even a column's name: a file without a header
begins with a record. Only labels are named, where they are few and short, since a person chose that column for labels.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...governance.characters import first_fault
from ...governance.consent.record import SUBJECT_PATTERN
from ..data.dataset import LONGEST_NAME, LONGEST_TEXT, MOST_BYTES
from ..errors import BadInputError

LONGEST_LABEL = 40  # characters; a label is a name, and a longer one is likelier a wrong column
MOST_NAMED = 5  # labels named in a refusal: with more values the column holds something else
ROWS_A_LABEL = 5  # on average, else none is named: a column of ids or texts has a value for each row
DEFAULTS: Mapping[str, str] = {"text": "text", "label": "label", "subject": "subject", "site": "site", "id": "id"}
REQUIRED = ("text", "label")


@dataclass(frozen=True)
class Columns:
    """The names of columns; None is the default name, which must be there for text and label only."""

    text: str | None = None
    label: str | None = None
    subject: str | None = None
    site: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Row:
    """One record of the table. Its ``repr`` shows nothing, so that no message can show it by accident."""

    line: int
    id: str
    subject: str
    site: str
    text: str
    label: str

    def __repr__(self) -> str:
        return "Row(...)"


@dataclass(frozen=True)
class Table:
    """What was read. ``labels`` are the two values of the label column, sorted.

    Without a column of subjects each row is a subject of its own; without one of sites every row's ``site`` is empty.
    """

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    has_subjects: bool
    has_sites: bool

    def __repr__(self) -> str:
        return "Table(...)"


def read_table(
    path: Path, columns: Columns, *, sites: Sequence[str] = (), separator: str = ",", labels: Sequence[str] = ()
) -> Table:
    """Read a table of records; ``sites`` and ``labels`` are those that may occur, where that is known beforehand.

    Raises:
        BadInputError: TABLE_UNREADABLE, TABLE_TOO_LARGE, TABLE_NOT_UTF8, TABLE_MALFORMED, TABLE_COLUMN_MISSING,
            TABLE_COLUMN_TWICE, TABLE_ROW_WIDTH, TABLE_VALUE, TABLE_SUBJECT, TABLE_SITE, TABLE_DUPLICATE_ID,
            TABLE_LABELS, TABLE_EMPTY.
    """
    lines = _lines(path, _text_of(path), separator)
    _, header = next(lines, (0, []))
    if not header:
        _refuse("TABLE_EMPTY", f"{path.name} has no line of column names", "name the columns in the first line")
    place = _places(path, header, columns, separator)
    rows: list[Row] = []
    seen: set[str] = set()
    for line, fields in lines:
        where = f"{path.name}:{line}"
        if len(fields) != len(header):
            _refuse(
                "TABLE_ROW_WIDTH",
                f"{where}: the row has {len(fields)} fields and the first line names {len(header)}",
                "put quotation marks around a field that holds the separator or a line break",
            )
        row = _row(where, line, {name: fields[index] for name, index in place.items()}, len(rows) + 1)
        if row.id in seen:
            _refuse("TABLE_DUPLICATE_ID", f"{where}: the row's id was used before", "give every record its own id")
        seen.add(row.id)
        if "site" in place and row.site not in sites:
            _refuse(
                "TABLE_SITE", f"{where}: the row's site is not one of the study's", f"--sites names {', '.join(sites)}"
            )
        rows.append(row)
    if not rows:
        _refuse("TABLE_EMPTY", f"{path.name} holds no record", "a row below the column names is a record")
    return Table(tuple(rows), _labels(path, rows, labels), "subject" in place, "site" in place)


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        _refuse(
            "TABLE_UNREADABLE",
            f"{path.name} cannot be read ({error.strerror})",
            "--from names a CSV file whose first line names the columns",
        )
    if len(data) > MOST_BYTES:
        _refuse("TABLE_TOO_LARGE", f"{path.name} has more than {MOST_BYTES >> 20} MiB", "split the data set")
    try:
        return data.decode("utf-8-sig")  # spreadsheets mark UTF-8 by three bytes at the start, which are not content
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(
            "TABLE_NOT_UTF8",
            f"{path.name}:{line}: the line is not UTF-8 text",
            "save the file as UTF-8 (in a spreadsheet: 'CSV UTF-8')",
        )


def _lines(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the line on which it begins."""
    csv.field_size_limit(LONGEST_TEXT)  # characters of one field
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                _refuse(
                    "TABLE_VALUE",
                    f"{path.name}:{line}: a field has more than {LONGEST_TEXT} characters",
                    "shorten it; if none is so long, a quotation mark is opened there and never closed",
                )
            _refuse(
                "TABLE_MALFORMED",
                f"{path.name}:{line}: quotation marks are not closed, or stand in the middle of a field",
                'write a quotation mark inside a quoted field twice: ""',
            )
        if any(fields):
            yield line, fields


def _places(path: Path, header: Sequence[str], columns: Columns, separator: str) -> dict[str, int]:
    """Which column is which. A column that was named must be there; so must text and label."""
    names = [name.strip() for name in header]
    place: dict[str, int] = {}
    # columns that were named come first: one that is only named so by default gives way to them
    for field in sorted(DEFAULTS, key=lambda field: getattr(columns, field) is None):
        asked: str | None = getattr(columns, field)
        name = asked or DEFAULTS[field]
        needed = asked is not None or field in REQUIRED
        if name not in names:
            if needed:
                shown = "a tab" if separator == "\t" else f"'{separator}'"
                _refuse(
                    "TABLE_COLUMN_MISSING",
                    f"{path.name}:1: none of the {len(names)} columns is called '{name}'",
                    f"say with --{field} which column it is; columns are named in the first line, separated by {shown} "
                    "(--separator); the line is not shown, since it may hold data",
                )
            continue
        taken = names.index(name) in place.values()
        if names.count(name) > 1 or (taken and needed):
            _refuse(
                "TABLE_COLUMN_TWICE",
                f"{path.name}:1: the column '{name}' is there twice, or is to serve for two things",
                "give every column its own name, and name a different one for each of text, label, subject, site, id",
            )
        if not taken:
            place[field] = names.index(name)
    return place


def _row(where: str, line: int, given: Mapping[str, str], number: int) -> Row:
    # names that look alike are one person, one label: two spellings would be two budgets
    named = {
        field: unicodedata.normalize("NFC", value.strip()) for field, value in given.items() if field != "text"
    }
    text = given["text"]
    if not text.strip() or not all(named.values()):
        _refuse(
            "TABLE_VALUE",
            f"{where}: a field that the study needs is empty",
            "every record has a text and a label, and a value in each column of subjects, sites and ids",
        )
    if any(len(value) > LONGEST_NAME for value in named.values()):
        _refuse(
            "TABLE_VALUE",
            f"{where}: a label, subject, site or id has more than {LONGEST_NAME} characters",
            "check that the columns named are the right ones",
        )
    own = named.get("id", f"row-{number:06d}")
    subject = named.get("subject", f"row-{number:06d}")
    if not SUBJECT_PATTERN.fullmatch(subject):
        _refuse(
            "TABLE_SUBJECT",
            f"{where}: the subject is not a pseudonym",
            "a pseudonym has letters, digits and . _ : / - and no blank or @: replace names and addresses beforehand",
        )
    return Row(line, own, subject, named.get("site", ""), text, named["label"])


def _labels(path: Path, rows: Sequence[Row], expected: Sequence[str]) -> tuple[str, ...]:
    """The two labels, sorted. Refused at the first row that has one too many."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.label, row.line)
    for label, line in first.items():
        if len(label) > LONGEST_LABEL or first_fault(label):
            _refuse(
                "TABLE_LABELS",
                f"{path.name}:{line}: a label is longer than {LONGEST_LABEL} characters, or has hidden ones",
                "check --label: the column holds two short names",
            )
    found = sorted(first)
    allowed = sorted(expected or found[:2])
    if found == allowed and len(found) == 2:
        return tuple(found)
    few = len(found) <= MOST_NAMED and len(found) * ROWS_A_LABEL <= len(rows)
    named = f" ({', '.join(found)})" if few else ""
    strange = sorted((line, label) for label, line in first.items() if label not in allowed)
    third = sorted(first.values())[2] if len(found) > 2 else rows[0].line
    line = strange[0][0] if expected and strange else third
    _refuse(
        "TABLE_LABELS",
        f"{path.name}:{line}: the label column has {len(found)} distinct value{'s' if len(found) != 1 else ''}{named} "
        "where a study has two",
        f"the labels are {', '.join(expected)}" if expected else
        "two labels are told apart: leave out the other rows, or join labels beforehand; --label names the column",
    )


def _refuse(code: str, sentence: str, hint: str) -> NoReturn:
    # without a cause: the cause's message could show the line
    raise BadInputError(code, sentence, hint) from None
