"""Add events to an open vault, sealed and indexed, inside one transaction of ``vault.py``.

For: ``Vault.record`` and imports of any length; memory holds one chunk. Not for: committing (the vault does).

Order of calls: ``add`` for each event → ``write``, which the vault calls before it commits.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from .record import ConsentEvent, microseconds
from .sealing import BLOCK, EMPTY_CHAIN, KEY_BYTES, SubjectSeal, VaultKeys
from .standing import Standing, decisive, standing_of

CHUNK = 5000             # events held before they are written: large enough that Python's share of the work is small
ASKED_AT_ONCE = 500      # values of one look-up: the time for each falls no further from here on
MARKS = ", ".join("?" * ASKED_AT_ONCE)
SUBJECTS = f"SELECT id, handle, key FROM subject WHERE handle IN ({MARKS})"  # noqa: S608  only question marks
FINGERPRINTS = f"SELECT subject, fingerprint FROM record WHERE subject IN ({MARKS})"  # noqa: S608  as above
STANDINGS = f"SELECT subject, scope, rank, at, expires FROM standing WHERE subject IN ({MARKS})"  # noqa: S608  as above

T = TypeVar("T")


def portions(values: Iterable[T], size: int = ASKED_AT_ONCE) -> Iterator[tuple[T, ...]]:
    """``values`` in tuples of ``size``; the last may be shorter."""
    waiting = iter(values)
    while portion := tuple(islice(waiting, size)):
        yield portion


@dataclass
class _Subject:
    id: int
    seal: SubjectSeal
    fingerprints: set[bytes] = field(default_factory=set)
    standings: dict[str, Standing] = field(default_factory=dict)


class Recording:
    """Events on their way into the vault; once written, ``recorded``, ``known`` and ``erased`` count them.

    ``known`` events stood there already. ``erased`` ones belong to a subject who was erased at a later time than
    theirs: an old file does not bring anybody back. Who sets ``abandoned`` takes everything back.
    """

    def __init__(self, connection: sqlite3.Connection, keys: VaultKeys) -> None:
        self.recorded = self.known = self.erased = 0
        self.abandoned = False
        self._connection = connection
        self._keys = keys
        self._waiting: list[ConsentEvent] = []
        (self._next_id,) = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM subject").fetchone()
        (self._next_event,) = connection.execute("SELECT coalesce(max(sequence), 0) + 1 FROM record").fetchone()
        self._tombstones = dict(connection.execute("SELECT mark, at FROM tombstone"))

    def add(self, event: ConsentEvent) -> None:
        """Take one event; an equal one that is there already changes nothing."""
        self._waiting.append(event)
        if len(self._waiting) >= CHUNK:
            self.write()

    def write(self) -> None:
        """Write what is held and commit to it; the caller ends the transaction."""
        events = [event for event in self._waiting if not self._is_erased(event)]
        self.erased += len(self._waiting) - len(events)
        self._waiting = []
        handles = [self._keys.handle(event.subject) for event in events]
        subjects = self._look_up(handles)
        new: list[tuple[int, bytes, bytes]] = []
        rows: list[tuple[int, int, bytes, bytes]] = []
        changed: dict[tuple[int, str], Standing] = {}
        for event, handle in zip(events, handles, strict=True):
            subject = subjects.get(handle)
            if subject is None:
                key = secrets.token_bytes(KEY_BYTES)
                subject = subjects[handle] = _Subject(self._next_id + len(new), SubjectSeal(key, handle))
                new.append((subject.id, handle, key))
            written = event.written()
            fingerprint = self._keys.fingerprint(written)
            if fingerprint in subject.fingerprints:
                continue
            subject.fingerprints.add(fingerprint)
            rows.append((self._next_event + len(rows), subject.id, fingerprint, subject.seal.seal(written)))
            before, own = subject.standings.get(event.scope), standing_of(event)
            now = subject.standings[event.scope] = own if before is None else decisive(before, own)
            changed[subject.id, event.scope] = now
        self._store(new, rows, changed)
        self.recorded += len(rows)
        self.known += len(events) - len(rows)

    def remember_file(self, digest: bytes) -> None:
        """Remember that the file of this SHA-256 is in the register, so that the same file need not be read again."""
        self.write()
        mark = self._keys.file_mark(digest)
        self._connection.execute("INSERT OR REPLACE INTO imported VALUES (?, ?)", (mark, self.recorded + self.known))

    def _store(
        self,
        new: Sequence[tuple[int, bytes, bytes]],
        rows: Sequence[tuple[int, int, bytes, bytes]],
        changed: dict[tuple[int, str], Standing],
    ) -> None:
        run = self._connection.executemany
        run("INSERT INTO subject (id, handle, key) VALUES (?, ?, ?)", new)
        run("INSERT INTO record (sequence, subject, fingerprint, sealed) VALUES (?, ?, ?, ?)", rows)
        run(
            "INSERT OR REPLACE INTO standing (subject, scope, rank, at, expires) VALUES (?, ?, ?, ?, ?)",
            ((subject, scope, *standing) for (subject, scope), standing in changed.items()),
        )
        by_block: dict[int, list[bytes]] = {}
        for sequence, _, fingerprint, _ in rows:
            by_block.setdefault(sequence // BLOCK, []).append(fingerprint)
        for number, fingerprints in by_block.items():
            before = self._connection.execute("SELECT head FROM block WHERE number = ?", (number,)).fetchone()
            head = self._keys.chain(before[0] if before else EMPTY_CHAIN, fingerprints)
            self._connection.execute("INSERT OR REPLACE INTO block (number, head) VALUES (?, ?)", (number, head))
        self._next_id += len(new)
        self._next_event += len(rows)

    def _is_erased(self, event: ConsentEvent) -> bool:
        if not self._tombstones:
            return False
        at = self._tombstones.get(self._keys.tombstone(event.subject))
        return at is not None and microseconds(event.at) <= at

    def _look_up(self, handles: Iterable[bytes]) -> dict[bytes, _Subject]:
        found = {}
        for id_, handle, key in self._rows_of(SUBJECTS, dict.fromkeys(handles)):
            found[handle] = _Subject(id_, SubjectSeal(key, handle))
        by_id = {subject.id: subject for subject in found.values()}
        for id_, fingerprint in self._rows_of(FINGERPRINTS, by_id):
            by_id[id_].fingerprints.add(fingerprint)
        for id_, scope, *standing in self._rows_of(STANDINGS, by_id):
            by_id[id_].standings[scope] = Standing(*standing)
        return found

    def _rows_of(self, statement: str, values: Iterable[object]) -> Iterator[tuple[Any, ...]]:
        for portion in portions(values):
            yield from self._connection.execute(statement, (*portion, *(None,) * (ASKED_AT_ONCE - len(portion))))
