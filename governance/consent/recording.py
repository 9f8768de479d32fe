"""Add events to an open vault, sealed and indexed, inside one transaction of ``vault.py``.

For: ``Vault.record`` and imports of any length; memory holds one chunk. Not for: committing (the vault does).
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass, field

from .record import ConsentEvent
from .schema import CHAIN_HEAD, setting, write_setting
from .sealing import KEY_BYTES, SubjectSeal, VaultKeys
from .standing import Standing, decisive, microseconds, standing_of

CHUNK = 5000             # events held before they are written: large enough that Python's share of the work is small


@dataclass
class _Subject:
    id: int
    seal: SubjectSeal
    fingerprints: set[bytes] = field(default_factory=set)
    standings: dict[str, Standing] = field(default_factory=dict)


class Recording:
    """Events on their way into the vault; ``recorded``, ``known`` and ``erased`` count them.

    ``known`` events stood there already. ``erased`` ones belong to a subject who was erased at a later time than
    theirs: an old file does not bring anybody back.
    """

    def __init__(self, connection: sqlite3.Connection, keys: VaultKeys) -> None:
        self.recorded = self.known = self.erased = 0
        self.abandoned = False
        self._connection = connection
        self._keys = keys
        self._head = setting(connection, CHAIN_HEAD)
        (self._next_id,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM subject").fetchone()
        self._tombstones = dict(connection.execute("SELECT mark, at FROM tombstone"))
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._subjects: dict[bytes, _Subject] = {}
        self._new: list[tuple[int, bytes, bytes]] = []
        self._rows: list[tuple[int, bytes, bytes]] = []
        self._standings: dict[tuple[int, str], Standing] = {}

    def add(self, event: ConsentEvent) -> None:
        """Take one event; an equal one that is there already changes nothing."""
        if max(len(self._rows), len(self._subjects)) >= CHUNK:
            self.write()
        if self._tombstones and self._is_erased(event):
            self.erased += 1
            return
        written = event.written()
        fingerprint = self._keys.fingerprint(written)
        subject = self._subject(self._keys.handle(event.subject))
        if fingerprint in subject.fingerprints:
            self.known += 1
            return
        subject.fingerprints.add(fingerprint)
        self._rows.append((subject.id, fingerprint, subject.seal.seal(written)))
        self._head = self._keys.chain(self._head, (fingerprint,))
        before, own = subject.standings.get(event.scope), standing_of(event)
        subject.standings[event.scope] = own if before is None else decisive(before, own)
        self._standings[subject.id, event.scope] = subject.standings[event.scope]
        self.recorded += 1

    def remember_file(self, digest: bytes) -> None:
        """Remember that the file of this SHA-256 is in the register, so that the same file need not be read again."""
        mark = self._keys.file_mark(digest)
        self._connection.execute("INSERT OR REPLACE INTO imported VALUES (?, ?)", (mark, self.recorded + self.known))

    def write(self) -> None:
        """Write what is held, with the head of the chain; the caller commits."""
        run = self._connection.executemany
        run("INSERT INTO subject (id, handle, key) VALUES (?, ?, ?)", self._new)
        run("INSERT INTO record (subject, fingerprint, sealed) VALUES (?, ?, ?)", self._rows)
        run(
            "INSERT OR REPLACE INTO standing (subject, scope, rank, at, expires) VALUES (?, ?, ?, ?, ?)",
            ((subject, scope, *standing) for (subject, scope), standing in self._standings.items()),
        )
        write_setting(self._connection, CHAIN_HEAD, self._head)
        self._begin_chunk()

    def _is_erased(self, event: ConsentEvent) -> bool:
        at = self._tombstones.get(self._keys.tombstone(event.subject))
        return at is not None and microseconds(event.at) <= at

    def _subject(self, handle: bytes) -> _Subject:
        held = self._subjects.get(handle)
        if held is None:
            held = self._subjects[handle] = self._look_up(handle) or self._make(handle)
        return held

    def _look_up(self, handle: bytes) -> _Subject | None:
        execute = self._connection.execute
        row = execute("SELECT id, key FROM subject WHERE handle = ?", (handle,)).fetchone()
        if row is None:
            return None
        subject = _Subject(row[0], SubjectSeal(row[1], handle))
        rows = execute("SELECT fingerprint FROM record WHERE subject = ?", (subject.id,))
        subject.fingerprints.update(fingerprint for (fingerprint,) in rows)
        for scope, *values in execute("SELECT scope, rank, at, expires FROM standing WHERE subject = ?", (subject.id,)):
            subject.standings[scope] = Standing(*values)
        return subject

    def _make(self, handle: bytes) -> _Subject:
        key = secrets.token_bytes(KEY_BYTES)
        subject = _Subject(self._next_id, SubjectSeal(key, handle))
        self._next_id += 1
        self._new.append((subject.id, handle, key))
        return subject
