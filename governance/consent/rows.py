"""Rows of a consent file -> events, one at a time; of each bad row its number and why, never what is in it.

For: the two plain forms, JSON Lines and CSV. Not for: FHIR (``fhir.py``), opening files and recording
     (``consent_import.py``).

Fields: ``subject, scope, event (granted | withdrawn | objected), at, expires, notice``, and where the site has them the
fields of ``RecordHeader``. Times are RFC 3339 with a zone.

* JSON Lines: one object a line, ``expires`` a time or null, lists as lists.
* CSV (RFC 4180, UTF-8, a byte order mark is passed over): a header row with the names in any order; an empty field is
  one that is not there; terms of a list are separated by one blank. RFC 4180 lets a quoted field hold a line break;
  no field here can, so every line is a row, and a row that goes over several lines is refused.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import BadDocumentError
from .record import HEADER_FIELDS, NO_HEADER, TERM_LISTS, ConsentEvent, EventKind, RecordHeader

FIELDS = frozenset({"subject", "scope", "event", "at", "expires", "notice"})
ALL_FIELDS = FIELDS | set(HEADER_FIELDS)
# Python reads more forms of ISO 8601 than RFC 3339 has; a week date in a consent file is likelier a mistake.
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
LONGEST_ROW = 4096       # bytes; short ids, times and a header fit many times over

Row = tuple[int, ConsentEvent | str]     # its number from 1 on, and the event or the code of why there is none


@dataclass(frozen=True)
class RowFormat:
    """How a file's lines become events. ``name`` also says what a remembered import was read as."""

    name: str
    longest_line: int
    rows: Callable[[Iterator[bytes]], Iterator[Row]]


def read_row(number: int, line: bytes, parse: Callable[[bytes], ConsentEvent]) -> Row:
    """What ``parse`` makes of a line, or the code with which it refuses it."""
    try:
        return number, parse(line)
    except BadDocumentError as error:
        return number, error.code


def _jsonl_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        yield read_row(number, line, _jsonl_event)


def _jsonl_event(line: bytes) -> ConsentEvent:
    return event_of(json_object(line, LONGEST_ROW))


def _csv_rows(lines: Iterator[bytes]) -> Iterator[Row]:
    first = next(lines, b"").removeprefix(codecs.BOM_UTF8)
    try:
        names = _csv_fields(first)
    except BadDocumentError as error:
        yield 1, error.code
        return
    if not FIELDS <= set(names) <= ALL_FIELDS or len(set(names)) != len(names):
        # without its names no column means anything, so no further row can be judged
        yield 1, "CONSENT_HEADER"
        return
    for number, line in enumerate(lines, start=2):
        yield read_row(number, line, lambda row: event_of(_csv_object(names, row)))


def _csv_fields(line: bytes) -> list[str]:
    try:
        return next(csv.reader([_decoded(line, LONGEST_ROW).removesuffix("\r")], strict=True), [])
    except csv.Error as error:
        raise BadDocumentError("CONSENT_ROW_NOT_CSV", "the row is not RFC 4180") from error


def _csv_object(names: list[str], line: bytes) -> dict[str, Any]:
    fields = _csv_fields(line)
    if len(fields) != len(names):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row has missing or unknown fields")
    value: dict[str, Any] = {}
    for name, text in zip(names, fields, strict=True):
        if name in FIELDS:
            value[name] = None if name == "expires" and not text else text
        elif text:
            value[name] = text.split(" ") if name in TERM_LISTS else text
    return value


def event_of(value: Mapping[str, Any]) -> ConsentEvent:
    """The event of one row's fields. Raises BadDocumentError with the code of what is wrong."""
    more = value.keys() - FIELDS
    if len(value) - len(more) != len(FIELDS):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row has missing or unknown fields")
    header = RecordHeader.read({name: value[name] for name in more}) if more else NO_HEADER
    try:
        kind = EventKind(_string(value["event"]))
    except ValueError as error:
        raise BadDocumentError("CONSENT_BAD_EVENT", "the event is not a known one") from error
    return ConsentEvent(
        subject=_string(value["subject"]),
        scope=_string(value["scope"]),
        kind=kind,
        at=time_of(value["at"]),
        expires=None if value["expires"] is None else time_of(value["expires"]),
        notice=_string(value["notice"]),
        header=header,
    )


def json_object(line: bytes, longest: int) -> dict[str, Any]:
    """One JSON object, no name twice. Raises BadDocumentError with the code of what is wrong."""
    text = _decoded(line, longest)
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadDocumentError("CONSENT_ROW_NOT_JSON", "the row is not JSON") from error
    if not isinstance(value, dict):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row is no object")
    return value


def _decoded(line: bytes, longest: int) -> str:
    if len(line) > longest:
        raise BadDocumentError("CONSENT_ROW_TOO_LONG", "the row is too long")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadDocumentError("CONSENT_ROW_NOT_UTF8", "the row is not UTF-8") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row names a field twice")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_object)      # once: to make one costs as much as to read a row


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "a field is not text")
    return value


def time_of(value: object) -> datetime:
    """An RFC 3339 time with its zone, in UTC. Raises BadDocumentError CONSENT_BAD_TIME."""
    text = _string(value)
    try:
        if not RFC3339.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadDocumentError("CONSENT_BAD_TIME", "a time is not RFC 3339 with a zone") from error


JSONL = RowFormat("jsonl", LONGEST_ROW, _jsonl_rows)
CSV = RowFormat("csv", LONGEST_ROW, _csv_rows)
