"""The site's erasable store: consent events in SQLite, sealed a subject at a time, outside every log.

For: keeping what people allowed, withdrew or objected to, in one file of the site's state folder that nobody
     else reads; forgetting one subject so that nothing of them is left in the file or its journal.
Not for: judging (``standing.py``, ``consent.py``), reading import files (``consent_import.py``).

Order of calls: ``Vault.open`` → ``record`` / ``recording`` / ``events`` / ``standings`` / ``erase`` → ``close``.

Events are only added; a correction is a later event. Erasure is the one way to take rows out. One process
writes at a time (SQLite's own lock); every write is one transaction and durable when the call returns. A process that
is killed in the middle leaves what was there before: SQLite takes an unfinished transaction back at the next opening.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BadDocumentError, GovernanceError
from .erasing import scrub, take_out, take_out_traces
from .record import ConsentEvent, microseconds, read_event
from .recording import ASKED_AT_ONCE, Recording, portions
from .schema import (
    CASE,
    FORMAT,
    SCRUB_DUE,
    create,
    drop_format_1,
    events_of_format_1,
    found_format,
    read_keys,
    setting,
    write_setting,
)
from .sealing import BLOCK, EMPTY_CHAIN, SubjectSeal, VaultKeys
from .standing import GRANT, Standing, decisive, standing_of

BUSY_SECONDS = 10.0      # how long a write waits for another process before it refuses
CACHE_KIB = 65_536       # holds the index of a million subjects, so that importing them does not thrash
ASKED = ", ".join(["(?)"] * ASKED_AT_ONCE)
# CROSS JOIN: SQLite takes the tables in this order, so that the work is that of the handles asked about
LOOK_UP = (
    f"WITH asked (mark) AS (VALUES {ASKED}) "  # noqa: S608  only question marks are put in
    "SELECT mark, rank, at, expires FROM asked CROSS JOIN subject ON handle = mark "
    "LEFT JOIN standing ON standing.subject = id AND scope = ?"
)


def _unreadable(sentence: str, hint: str) -> GovernanceError:
    return GovernanceError("VAULT_UNREADABLE", sentence, hint)


class Vault:
    """Consent events of one site.

    Raises GovernanceError VAULT_UNREADABLE, VAULT_UNWRITABLE, VAULT_BUSY or VAULT_NEWER; who gets one uses nobody's
    records.
    """

    def __init__(self, path: Path, raw: int, connection: sqlite3.Connection, keys: VaultKeys) -> None:
        self.path = path
        self._raw = raw
        self._connection = connection
        self._keys = keys

    @classmethod
    def open(cls, path: Path) -> Vault:
        """Open or create the store at ``path`` (mode 0600); another file there is refused, never replaced.

        A file of an earlier format is migrated first, whole or not at all.
        """
        try:
            raw = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _cannot_open() from error
        connection = None
        try:
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            return cls._opened(path, raw, connection)
        except BaseException as error:
            _shut(connection, raw)
            if isinstance(error, (OSError, sqlite3.Error, ValueError, BadDocumentError)):
                raise _cannot_open() from error
            raise

    @classmethod
    def _opened(cls, path: Path, raw: int, connection: sqlite3.Connection) -> Vault:
        found_format(connection)                                # before anything is changed
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")         # freed bytes are overwritten
        connection.execute("PRAGMA temp_store = MEMORY")        # nothing of it in a temporary folder
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if found_format(connection) < FORMAT:
            _bring_up(connection)
        vault = cls(path, raw, connection, read_keys(connection))
        if setting(connection, SCRUB_DUE):
            # another process may be reading; the flag stays until it has been done
            with suppress(GovernanceError):
                scrub(connection, raw)
        return vault

    def close(self) -> None:
        """Close the file; a vault is not used again afterwards."""
        _shut(self._connection, self._raw)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with _transaction(self._connection) as connection:
                yield connection
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise GovernanceError(
                    "VAULT_BUSY",
                    "another process is writing the consent register",
                    "try again when its import has ended; nothing was changed",
                ) from error
            raise GovernanceError(
                "VAULT_UNWRITABLE",
                "the consent register cannot be written",
                "check the site's state folder and its disk",
            ) from error

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Add events in one transaction: all of them, or none if the block raises or sets ``abandoned``."""
        with suppress(_AbandonedError), self._writing() as connection:
            recording = Recording(connection, self._keys)
            yield recording
            if recording.abandoned:
                raise _AbandonedError
            recording.write()

    def record(self, events: Iterable[ConsentEvent]) -> int:
        """Add all events or none, in one transaction; returns how many were new (equal: kept once)."""
        with self.recording() as recording:
            for event in events:
                recording.add(event)
        return recording.recorded

    def imported(self, digest: bytes) -> int | None:
        """How many events came of a file of this SHA-256, if it was imported and nobody was erased since."""
        rows = self._reading("SELECT events FROM imported WHERE mark = ?", (self._keys.file_mark(digest),))
        return next((int(events) for (events,) in rows), None)

    def events(self, subject: str | None = None) -> Iterator[ConsentEvent]:
        """The events of one subject, or of all, a subject at a time; each is validated again on its way out."""
        where, values = ("", ()) if subject is None else ("WHERE handle = ?", (self._keys.handle(subject),))
        rows = self._reading(
            f"SELECT id, handle, key, sealed FROM subject JOIN record ON record.subject = id {where} ORDER BY id",  # noqa: S608  a constant
            values,
        )
        last, seal = 0, None
        for id_, handle, key, sealed in rows:
            if seal is None or id_ != last:
                last, seal = id_, SubjectSeal(key, handle)
            try:
                yield read_event(seal.open(sealed))
            except (ValueError, BadDocumentError) as error:
                raise _damaged() from error

    def standings(
        self, subjects: Iterable[str], scope: str
    ) -> Iterator[tuple[str, tuple[bytes, int | None, int, int] | None]]:
        """Each of ``subjects`` in order with its handle and the parts of its ``Standing`` in ``scope``; None: unknown.

        The rank is None where the subject has no event of the scope. Reads the rows of these subjects and of nobody
        else.
        """
        for asked in portions(subjects):
            handles = [self._keys.handle(subject) for subject in asked]
            blanks = (None,) * (ASKED_AT_ONCE - len(handles))
            found = {row[0]: row for row in self._all(LOOK_UP, (*handles, *blanks, scope))}
            for subject, handle in zip(asked, handles, strict=True):
                yield subject, found.get(handle)

    def all_standings(self, scope: str) -> Iterator[tuple[int, int | None, int, int]]:
        """Everybody in the register, as a number that ``subject_events`` knows, and the parts of their ``Standing``."""
        yield from self._reading(
            "SELECT id, rank, at, expires FROM subject LEFT JOIN standing ON standing.subject = id AND scope = ?",
            (scope,),
        )

    def lasting_grants(self, scope: str, now: datetime) -> Iterator[tuple[int, int, int, int]]:
        """Those whose deciding event is a grant that has not ended at ``now``; one is found without reading all."""
        yield from self._reading(
            "SELECT subject, rank, at, expires FROM standing WHERE scope = ? AND rank = ? AND expires > ?",
            (scope, GRANT, microseconds(now)),
        )

    def subject_events(self, number: int) -> tuple[ConsentEvent, ...]:
        """The events of the subject with this number (``all_standings``)."""
        rows = self._reading(
            "SELECT handle, key, sealed FROM subject JOIN record ON record.subject = id WHERE id = ?", (number,)
        )
        try:
            return tuple(read_event(SubjectSeal(key, handle).open(sealed)) for handle, key, sealed in rows)
        except (ValueError, BadDocumentError) as error:
            raise _damaged() from error

    def erase(self, subject: str, at: datetime) -> int:
        """Forget one subject at ``at``; returns how many events went.

        Rows, key and what was derived from them leave the file, its journal and its free pages. Raises GovernanceError
        VAULT_ERASURE_UNFINISHED while another process still reads the old journal; to erase again finishes it.
        """
        with self._writing() as connection:
            traces = take_out_traces(connection, self._keys.handle(subject))
            erased = take_out(connection, self._keys, subject, at)
        if erased:
            scrub(self._connection, self._raw, traces)
        elif setting(self._connection, SCRUB_DUE):
            scrub(self._connection, self._raw)
        return erased

    def note(self, case: str) -> None:
        """Remember the drawn name of a case; it says nothing of anybody, and an erasure leaves it."""
        with self._writing() as connection:
            write_setting(connection, CASE + case, b"\x01")

    def noted(self) -> frozenset[str]:
        """The names that were remembered."""
        rows = self._reading("SELECT name FROM setting WHERE name GLOB ?", (CASE + "*",))
        return frozenset(name.removeprefix(CASE) for (name,) in rows)

    def commitment(self) -> str:
        """Keyed digest of the whole store, for the log: without this file's key no guess can be tested.

        It changes with every event and is kept as events arrive: asking for it reads the heads of the blocks.
        """
        return self._keys.told(head for (head,) in self._reading("SELECT head FROM block ORDER BY number"))

    def check(self) -> int:
        """Read everything again and hold what is derived to it; returns the number of events.

        Raises GovernanceError VAULT_UNREADABLE if a row, an index or the commitment is not what the events say.
        """
        blocks: dict[int, bytes] = {}
        folded: dict[tuple[int, str], Standing] = {}
        rows = self._reading(
            "SELECT sequence, id, handle, key, fingerprint, sealed FROM record JOIN subject ON subject.id = subject "
            "ORDER BY sequence"
        )
        events = 0
        try:
            for sequence, id_, handle, key, fingerprint, sealed in rows:
                events += 1
                written = SubjectSeal(key, handle).open(sealed)
                event = read_event(written)
                if fingerprint != self._keys.fingerprint(written) or handle != self._keys.handle(event.subject):
                    raise _damaged()
                number = sequence // BLOCK
                blocks[number] = self._keys.chain(blocks.get(number, EMPTY_CHAIN), (fingerprint,))
                own = standing_of(event)
                folded[id_, event.scope] = decisive(folded.get((id_, event.scope), own), own)
        except (ValueError, BadDocumentError) as error:
            raise _damaged() from error
        kept = self._reading("SELECT subject, scope, rank, at, expires FROM standing")
        same = {(row[0], row[1]): Standing(*row[2:]) for row in kept} == folded
        (counted,) = next(self._reading("SELECT count(*) FROM record"))
        # a row without its subject is in no join
        if not same or counted != events or dict(self._reading("SELECT number, head FROM block")) != blocks:
            raise _damaged()
        return events

    def _all(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _damaged() from error

    def _reading(self, statement: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise _damaged() from error


class _AbandonedError(Exception):
    """Takes an import back; nobody outside this file sees it."""


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:                  # also Ctrl-C: a half-written import must not stay
        if connection.in_transaction:      # SQLite has rolled back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _shut(connection: sqlite3.Connection | None, raw: int) -> None:
    # in this order: closing any descriptor of a file takes back the locks that SQLite holds on it for this process
    if connection is not None:
        connection.close()
    os.close(raw)


def _bring_up(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        found = found_format(connection)   # again: another process may have been faster
        if found == FORMAT:
            return
        create(connection)
        if found:
            recording = Recording(connection, read_keys(connection))
            for event in events_of_format_1(connection):
                recording.add(event)
            recording.write()
            drop_format_1(connection)


def _cannot_open() -> GovernanceError:
    return _unreadable("the consent register cannot be opened", "check the site's state folder and its disk")


def _damaged() -> GovernanceError:
    return _unreadable("the consent register holds a row that cannot be read", "restore it from a backup")
