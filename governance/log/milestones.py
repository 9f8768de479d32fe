"""What a log says without being opened: whose it is, and, by an index, the last milestone of a type.

For: which roster a site accepted last, where a study stands by its runs, which stops it has honoured, how many
withdrawals it took, under which key a log was begun, and up to what time. Not for: evidence, which is what ``AuditLog``
signs and ``fsck`` recomputes; nothing here is verified beyond what opening the log did.

Order of calls: ``AuditLog.open`` keeps the index; ``last_entries(path, types)``, ``all_entries(path, kind)``,
``key_of(path)`` and ``newest_time(path)`` read, also while the log is open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from ..errors import BadSignatureError, BrokenLogError, Refused
from ..signing.envelope import read_time
from .entries import ENTRY_VERSION, Entry, EntryType
from .merkle import damaged

# An entry's bytes are canonical JSON, so its type stands between two fixed texts, at the end (entries.py).
_BEFORE = '"type":"'
_AFTER = f'","v":{ENTRY_VERSION}}}'
_TYPE = f"substr(CAST(body AS TEXT), instr(CAST(body AS TEXT), '{_BEFORE}') + {len(_BEFORE)})"
# Few and far between: an entry of a step costs its append no write more.
INDEXED = (
    EntryType.POLICY_LOADED,
    EntryType.ROSTER_ACCEPTED,
    EntryType.STUDY_OFFERED,
    EntryType.STOP_HONOURED,
    EntryType.BUDGET_RESERVED,
    EntryType.CONSENT_WITHDRAWN,
    EntryType.RUN_FINISHED,
    EntryType.RUN_STOPPED,
    EntryType.RELEASE_PUBLISHED,
    EntryType.RELEASE_REVOKED,
    EntryType.REMEDY_DUE,
    EntryType.REMEDY_DONE,
    EntryType.LOG_RETIRED,
)
_IS_ONE = f"{_TYPE} IN ({', '.join(repr(kind + _AFTER) for kind in map(str, INDEXED))})"
INDEX = f"CREATE INDEX IF NOT EXISTS entries_of_note ON entries ({_TYPE}) WHERE {_IS_ONE};"
ALL = f"SELECT i, body FROM entries WHERE {_IS_ONE} AND {_TYPE} = ? ORDER BY i DESC"  # noqa: S608  fixed text
QUERY = f"{ALL} LIMIT 1"
# A time is the first field of an entry and always written in UTC, so the order of texts is the order of times.
_AT = '{"at":"'
_FROM_TIME = f"substr(CAST(body AS TEXT), {len(_AT) + 1})"
NEWEST = f"SELECT MAX(substr({_FROM_TIME}, 1, instr({_FROM_TIME}, '\"') - 1)) FROM entries"  # noqa: S608  fixed text


def key_of(path: Path) -> str:
    """The id of the key that signs the heads of the log at ``path``, as the log says.

    Raises:
        BrokenLogError: LOG_DAMAGED.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM about WHERE name = 'key'").fetchone()
    except sqlite3.Error as error:
        raise damaged("a log cannot be read") from error
    return str(row[0]) if row else ""


def newest_time(path: Path) -> datetime | None:
    """The latest time (aware, UTC) that any entry of the log at ``path`` claims; ``None`` of an empty log.

    Raises:
        BrokenLogError: LOG_DAMAGED, ENTRY_MALFORMED.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (newest,) = connection.execute(NEWEST).fetchone()
        return None if newest is None else read_time(newest)
    except sqlite3.Error as error:
        raise damaged("a log cannot be read") from error
    except BadSignatureError as error:
        raise BrokenLogError("ENTRY_MALFORMED", "a log holds an entry without a time", "run fsck on it") from error


def last_notice(connection: sqlite3.Connection) -> Entry | None:
    """The last notice of retirement in this log. Raises ``BrokenLogError`` ENTRY_MALFORMED."""
    row = connection.execute(QUERY, (str(EntryType.LOG_RETIRED) + _AFTER,)).fetchone()
    return None if row is None else Entry.from_bytes(bytes(row[1]))


def last_run_begins(connection: sqlite3.Connection) -> int | None:
    """The number of the entry with which this log's last run began; None where it has had none."""
    kinds = (EntryType.BUDGET_RESERVED, EntryType.STUDY_OFFERED)  # at a site, and at the coordinator
    rows = [connection.execute(QUERY, (str(kind) + _AFTER,)).fetchone() for kind in kinds]
    return max((int(row[0]) for row in rows if row is not None), default=None)


def retired_in(connection: sqlite3.Connection) -> int:
    """How many entries of this log are gone, as its last notice of retirement says; 0 where there is none.

    Raises:
        BrokenLogError: ENTRY_MALFORMED.
    """
    notice = last_notice(connection)
    gone = 0 if notice is None else notice.data.get("gone")
    if not isinstance(gone, int) or gone < 0:
        raise BrokenLogError("ENTRY_MALFORMED", "a notice does not say how much is gone", "run fsck on it")
    return gone


def last_entries(path: Path, types: Iterable[str]) -> dict[str, tuple[int, Entry]]:
    """Number and entry of the last of each type; types without one are left out, and so is a log that is not there.

    Raises:
        Refused: ENTRY_TYPE_UNKNOWN (no milestone). BrokenLogError: LOG_DAMAGED, ENTRY_MALFORMED.
    """
    found = _read(path, types, QUERY)
    return {kind: entries[0] for kind, entries in found.items() if entries}


def all_entries(path: Path, kind: str) -> tuple[Entry, ...]:
    """Every entry of one type, the last first; none of a log that is not there. Raises as ``last_entries`` does."""
    return tuple(entry for _, entry in _read(path, [kind], ALL).get(kind, ()))


def _read(path: Path, types: Iterable[str], query: str) -> dict[str, list[tuple[int, Entry]]]:
    types = tuple(types)
    if not set(types) <= set(INDEXED):
        raise Refused("ENTRY_TYPE_UNKNOWN", "a type of entry is no milestone", "add it to INDEXED")
    if not path.exists():
        return {}
    found: dict[str, list[tuple[int, Entry]]] = {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            for kind in types:
                rows = connection.execute(query, (kind + _AFTER,)).fetchall()
                found[kind] = [(int(number), Entry.from_bytes(bytes(body))) for number, body in rows]
    except sqlite3.Error as error:
        raise damaged("a log cannot be read") from error
    if any(entry.type != kind for kind, entries in found.items() for _, entry in entries):
        raise BrokenLogError("LOG_DAMAGED", "a log's index does not fit its entries", "run fsck on it")
    return found
