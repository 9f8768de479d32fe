"""The tables of the vault's file, and how an earlier file becomes one of today.

For: ``Vault.open``. Not for: reading or writing events.

Format 1 had one table of events in the clear. It is migrated in one transaction: after a crash in the middle the file
is still format 1, whole. What the clear rows leave in free pages is scrubbed afterwards, at this opening or the next
one (``SCRUB_DUE`` stands in the file until it is done).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime

from ..errors import GovernanceError
from .record import ConsentEvent, EventKind
from .sealing import VaultKeys

FORMAT = 2
COMMITMENT_KEY, INDEX_KEY, SCRUB_DUE = "commitment-key", "index-key", "scrub-due"
CASE = "case/"  # and the drawn name of a withdrawal's case
TABLES_OF_FORMAT_1 = {"setting", "event"}

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
    "CREATE TABLE subject (id INTEGER PRIMARY KEY, handle BLOB NOT NULL UNIQUE, key BLOB NOT NULL) STRICT",
    """CREATE TABLE record (
        sequence    INTEGER PRIMARY KEY,
        subject     INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        sealed      BLOB NOT NULL,
        UNIQUE (subject, fingerprint)
    ) STRICT""",
    # derived from the records, for speed; `Vault.check` holds it to them
    """CREATE TABLE standing (
        subject INTEGER NOT NULL,
        scope   TEXT NOT NULL,
        rank    INTEGER NOT NULL,
        at      INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (subject, scope)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE block (number INTEGER PRIMARY KEY, head BLOB NOT NULL) STRICT",
    "CREATE TABLE tombstone (mark BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE imported (mark BLOB PRIMARY KEY, events INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
        BEGIN SELECT RAISE(ABORT, 'consent events are never changed'); END""",
)


def found_format(connection: sqlite3.Connection) -> int:
    """0 for an empty file, else its format.

    Raises GovernanceError VAULT_NEWER, or VAULT_UNREADABLE for a database of something else.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise GovernanceError(
            "VAULT_NEWER",
            "the consent register was written by a later version of Sekisho",
            "use that version; an older one would not see everything that was withdrawn",
        )
    if version:
        return int(version)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and tables != TABLES_OF_FORMAT_1:
        raise GovernanceError(
            "VAULT_UNREADABLE",
            "the consent register's file is a database of something else",
            "check the site's state folder",
        )
    return 1 if tables else 0


def create(connection: sqlite3.Connection) -> None:
    """Make the tables and fresh keys; keys of an earlier format are kept. Inside the caller's transaction."""
    for statement in SCHEMA:
        connection.execute(statement)
    fresh = VaultKeys.fresh()
    for name, value in ((COMMITMENT_KEY, fresh.commitment), (INDEX_KEY, fresh.index)):
        connection.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (name, value))
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def read_keys(connection: sqlite3.Connection) -> VaultKeys:
    """The keys of the vault. Raises ValueError if one is missing or has another length."""
    return VaultKeys(setting(connection, INDEX_KEY), setting(connection, COMMITMENT_KEY))


def setting(connection: sqlite3.Connection, name: str) -> bytes:
    """The value of one setting; empty if it is not there."""
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
    return bytes(row[0]) if row else b""


def write_setting(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Set one setting, inside the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))


def events_of_format_1(connection: sqlite3.Connection) -> Iterator[ConsentEvent]:
    """All events of a file of format 1, in order of arrival. Raises ValueError or BadDocumentError."""
    rows = connection.execute("SELECT subject, scope, kind, at, expires, notice FROM event ORDER BY sequence")
    for subject, scope, kind, at, expires, notice in rows:
        end = datetime.fromisoformat(expires) if expires else None
        yield ConsentEvent(subject, scope, EventKind(kind), datetime.fromisoformat(at), end, notice)


def drop_format_1(connection: sqlite3.Connection) -> None:
    """Take the clear rows out, and remember that their old pages are still to be scrubbed."""
    connection.execute("DROP TABLE event")
    write_setting(connection, SCRUB_DUE, b"\x01")
