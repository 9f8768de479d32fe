"""Read consent events from a JSON Lines file, row by row, and say of each bad row where it is and why.

For: turning a site's export into ``ConsentEvent`` values before anything is recorded.
Not for: recording (``consent.py`` does, in one transaction). Row content never reaches a message: a refused
     row is a file name, a line number and a code.

Order of calls: ``read_jsonl`` → ``ConsentRegister.import_jsonl`` looks at ``refused`` and records all events
or none. A file with one bad row is refused whole, because the bad row may be the withdrawal.

Row: ``{"subject", "scope", "event": "granted|withdrawn|objected", "at", "expires": time|null, "notice"}``;
times are RFC 3339 with a zone. A name that ends in .gz is unpacked.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BadDocumentError
from .vault import ConsentEvent, EventKind

FIELDS = frozenset({"subject", "scope", "event", "at", "expires", "notice"})
# Python reads more forms of ISO 8601 than RFC 3339 has; a week date in a consent file is likelier a mistake.
RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
LONGEST_ROW = 4096       # bytes; six short ids and times fit many times over


@dataclass(frozen=True)
class RefusedRow:
    """Where a row stands and why it was refused; ``line`` counts from 1. Holds nothing of the row itself."""

    file: str
    line: int
    code: str


@dataclass(frozen=True)
class ImportReport:
    """What an import did: ``recorded`` new events, ``known`` that were there already, ``refused`` rows.

    With a refused row nothing was recorded.
    """

    recorded: int
    known: int
    refused: tuple[RefusedRow, ...]


def read_jsonl(path: Path) -> tuple[tuple[ConsentEvent, ...], tuple[RefusedRow, ...]]:
    """All good events and all refused rows of a file.

    Raises BadDocumentError CONSENT_FILE_UNREADABLE if the file is missing or is no gzip file though so named.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise BadDocumentError(
            "CONSENT_FILE_UNREADABLE", "the consent file cannot be read", "check the path", file=path.name
        ) from error
    rows = data.split(b"\n")
    if rows[-1] == b"":
        rows.pop()
    events: list[ConsentEvent] = []
    refused: list[RefusedRow] = []
    for line, row in enumerate(rows, start=1):
        try:
            events.append(_event(row))
        except BadDocumentError as error:
            refused.append(RefusedRow(path.name, line, error.code))
    return tuple(events), tuple(refused)


def _event(row: bytes) -> ConsentEvent:
    if len(row) > LONGEST_ROW:
        raise BadDocumentError("CONSENT_ROW_TOO_LONG", "the row is too long")
    try:
        value = json.loads(row.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise BadDocumentError("CONSENT_ROW_NOT_UTF8", "the row is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BadDocumentError("CONSENT_ROW_NOT_JSON", "the row is not JSON") from error
    if not isinstance(value, dict) or value.keys() != FIELDS:
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row has missing or unknown fields")
    try:
        kind = EventKind(_string(value["event"]))
    except ValueError as error:
        raise BadDocumentError("CONSENT_BAD_EVENT", "the event is not a known one") from error
    return ConsentEvent(
        subject=_string(value["subject"]),
        scope=_string(value["scope"]),
        kind=kind,
        at=_time(value["at"]),
        expires=None if value["expires"] is None else _time(value["expires"]),
        notice=_string(value["notice"]),
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "the row names a field twice")
    return dict(pairs)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise BadDocumentError("CONSENT_ROW_FIELDS", "a field is not text")
    return value


def _time(value: object) -> datetime:
    text = _string(value)
    try:
        if not RFC3339.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadDocumentError("CONSENT_BAD_TIME", "a time is not RFC 3339 with a zone") from error
