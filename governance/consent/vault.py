"""The site's erasable store: consent events in SQLite, under pseudonyms, outside every log.

For: keeping what people allowed, withdrew or objected to, in one file of the site's state folder that nobody
     else reads; forgetting one subject so that nothing of them is left in the file or its journal.
Not for: judging (``consent.py``), reading import files (``consent_import.py``), or names, mail addresses and
     record content: a subject is a pseudonym here, and its pattern has no room for an address.

Order of calls: ``Vault.open`` → ``record`` / ``events`` / ``erase`` → ``close``.

Events are only added; a correction is a later event. Erasure is the one way to take rows out. One process
writes at a time (SQLite's own lock); every write is one transaction and durable when the call returns.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from ..errors import BadDocumentError, GovernanceError

# No "@" and no blank: neither a mail address nor a full name fits.
SUBJECT_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
SCOPE_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
NOTICE_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{1,200}")    # an id of the notice shown, never its text
BUSY_SECONDS = 10.0      # how long a write waits for another process before it refuses
COMMITMENT_KEY_BYTES = 32
COLUMNS = "subject, scope, kind, at, expires, notice"

SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY,
    subject  TEXT NOT NULL,
    scope    TEXT NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('granted', 'withdrawn', 'objected')),
    at       TEXT NOT NULL,
    expires  TEXT NOT NULL,           -- '' where the consent has no end: NULLs would not be unique
    notice   TEXT NOT NULL,
    UNIQUE (subject, scope, kind, at, expires, notice)
) STRICT;
CREATE TRIGGER IF NOT EXISTS event_is_never_changed BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'consent events are never changed'); END;
"""


class EventKind(StrEnum):
    """The consent states of ISO/IEC TS 27560 that a register receives; *expired* follows from ``expires``."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    OBJECTED = "objected"


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One event of one pseudonymous subject (the ``events`` of a TS 27560 record, with its notice).

    ``scope`` is what was asked (for instance ``fl-training/2026-11``); ``at`` and ``expires`` are aware
    times; ``expires`` None means that the consent has no end. Raises BadDocumentError, one code a field.
    """

    subject: str
    scope: str
    kind: EventKind
    at: datetime
    expires: datetime | None
    notice: str

    def __post_init__(self) -> None:
        if not SUBJECT_PATTERN.fullmatch(self.subject):
            raise BadDocumentError("CONSENT_BAD_SUBJECT", "the subject is not a pseudonymous id")
        if not SCOPE_PATTERN.fullmatch(self.scope):
            raise BadDocumentError("CONSENT_BAD_SCOPE", "the scope is not an id")
        if not NOTICE_PATTERN.fullmatch(self.notice):
            raise BadDocumentError("CONSENT_BAD_NOTICE", "the notice is not an id")
        if self.at.tzinfo is None or (self.expires is not None and self.expires.tzinfo is None):
            raise BadDocumentError("CONSENT_BAD_TIME", "a time has no zone")
        if self.expires is not None and (self.kind is not EventKind.GRANTED or self.expires <= self.at):
            raise BadDocumentError("CONSENT_BAD_EXPIRY", "only a grant expires, and only after it was given")


def _text(time: datetime) -> str:
    """Fixed width and UTC, so that the order of the texts is the order of the times."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _row(event: ConsentEvent) -> tuple[str, str, str, str, str, str]:
    end = _text(event.expires) if event.expires else ""
    return (event.subject, event.scope, event.kind.value, _text(event.at), end, event.notice)


class Vault:
    """Consent events of one site.

    Raises GovernanceError VAULT_UNREADABLE or VAULT_UNWRITABLE; who gets one uses nobody's records.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, commitment_key: bytes) -> None:
        self.path = path
        self._connection = connection
        self._commitment_key = commitment_key

    @classmethod
    def open(cls, path: Path) -> Vault:
        """Open or create the store at ``path`` (mode 0600); another file there is refused, never replaced."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")    # freed bytes are overwritten
            connection.executescript(SCHEMA)
            connection.execute(
                "INSERT OR IGNORE INTO setting VALUES ('commitment-key', ?)",
                (secrets.token_bytes(COMMITMENT_KEY_BYTES),),
            )
            (key,) = connection.execute("SELECT value FROM setting WHERE name = 'commitment-key'").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise GovernanceError(
                "VAULT_UNREADABLE",
                "the consent register cannot be opened",
                "check the site's state folder and its disk",
            ) from error
        return cls(path, connection, bytes(key))

    def close(self) -> None:
        """Close the file; a vault is not used again afterwards."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:                     # also Ctrl-C: a half-written import must not stay
                if self._connection.in_transaction:   # SQLite has rolled back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise GovernanceError(
                "VAULT_UNWRITABLE",
                "the consent register cannot be written",
                "check the site's state folder and its disk",
            ) from error

    def record(self, events: Iterable[ConsentEvent]) -> int:
        """Add all events or none, in one transaction; returns how many were new (equal: kept once)."""
        with self._writing() as connection:
            before = connection.total_changes
            connection.executemany(
                f"INSERT OR IGNORE INTO event ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608  a constant
                (_row(event) for event in events),
            )
            return connection.total_changes - before

    def events(self, subject: str | None = None) -> Iterator[ConsentEvent]:
        """The events of one subject, or of all, by subject; each is validated again on its way out."""
        where, values = ("WHERE subject = ?", (subject,)) if subject is not None else ("", ())
        try:
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM event {where} ORDER BY {COLUMNS}",  # noqa: S608  constants
                values,
            )
            for name, scope, kind, at, expires, notice in rows:
                end = datetime.fromisoformat(expires) if expires else None
                yield ConsentEvent(name, scope, EventKind(kind), datetime.fromisoformat(at), end, notice)
        except (sqlite3.Error, ValueError, BadDocumentError) as error:
            raise GovernanceError(
                "VAULT_UNREADABLE",
                "the consent register holds a row that cannot be read",
                "restore it from a backup",
            ) from error

    def erase(self, subject: str) -> int:
        """Forget one subject; returns how many rows went. No file or journal holds the pseudonym then."""
        with self._writing() as connection:
            erased = connection.execute("DELETE FROM event WHERE subject = ?", (subject,)).rowcount
        try:
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            busy = 1
        if busy:
            raise GovernanceError(
                "VAULT_ERASURE_UNFINISHED",
                "the rows are erased but the old journal still holds them",
                "end other processes that read the register and erase again",
            )
        return int(erased)

    def commitment(self) -> str:
        """Keyed digest of the whole store, for the log: without this file's key no guess can be tested."""
        mac = hmac.new(self._commitment_key, digestmod=hashlib.sha256)
        for event in self.events():
            mac.update(json.dumps(_row(event), separators=(",", ":")).encode() + b"\n")
        return "sha256:" + mac.hexdigest()
