"""One party's append-only log: an RFC 6962 Merkle tree over entries, in one SQLite file.

For: recording what a party did so that it can never be changed unseen. Not for: anything that must be
erasable (the vault), or deciding what to do when a log cannot be written: then the act that was to be logged
does not happen, which is the caller's duty.

Order of calls: ``AuditLog.open(...)`` verifies the right edge of the tree and the last signed head;
``append(entry)`` returns when the entry is durable; ``checkpoint()`` signs the head; ``inclusion`` and
``consistency`` prove; ``fsck()`` recomputes everything from the entries; ``retire`` lets old routine entries go.

Threads that append at the same time share a commit: whoever comes to the file first writes for all who wait, and
each returns when that commit has reached the disk. So many threads cost few flushes, and one thread waits for nobody.

One writer: a second one is noticed inside the transaction, before it could fork the tree. Restoring an old
copy of the whole file cannot be seen from inside; that is what witnesses are for.

Sources: RFC 6962, C2SP tlog-checkpoint; SQLite as ``logfile`` sets it up.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from ..errors import BrokenLogError
from ..signing.envelope import read_time
from ..signing.keys import SigningKey
from . import fsck
from .checkpoint import Checkpoint, sign_checkpoint
from .entries import Entry, EntryType, Value
from .logfile import (
    append_rows,
    check_head,
    claim,
    connect,
    reading,
    settle,
    stored_frontier,
    stored_node,
    unwritable,
    writing,
)
from .merkle import Frontier, consistency_proof, damaged, inclusion_proof, leaf_hash, range_hash
from .milestones import last_notice, last_run_begins
from .retention import gaps_digest, routine_before

READ_CHUNK = 1000            # entries a read transaction holds: long reads would keep the WAL from shrinking


class _Waiting:
    """What one caller wants appended; ``first`` is its number once it is durable."""

    __slots__ = ("bodies", "first", "taken")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.first: int | None = None
        self.taken = False


class AuditLog:
    """A party's log. Threads of one process may share it; one process at a time may write."""

    def __init__(
        self, connection: sqlite3.Connection, origin: str, key: SigningKey, frontier: Frontier
    ) -> None:
        """Use ``open``: a log that was not checked on opening proves nothing."""
        self._connection = connection
        self._key = key
        self._frontier = frontier
        self._lock = threading.RLock()
        self._waiting: deque[_Waiting] = deque()  # append and popleft are atomic
        self._failed = False
        self.origin = origin

    @classmethod
    def open(cls, path: Path, *, origin: str, key: SigningKey) -> AuditLog:
        """Open or create the log of ``origin``, whose heads ``key`` signs.

        Raises:
            BrokenLogError: LOG_UNWRITABLE, LOG_DAMAGED (tree, entries and last head disagree), LOG_OF_ANOTHER
                (another origin or key).
        """
        connection = connect(path)
        try:
            with writing():
                claim(connection, origin, key.public.key_id)
            with reading():
                frontier = stored_frontier(connection)
            log = cls(connection, origin, key, frontier)
            log._check_last_head()
        except BaseException:
            connection.close()
            raise
        return log

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return self._frontier.size

    def append(self, entry: Entry) -> int:
        """Append one entry; its number, when it is durable. Raises as ``append_all`` does."""
        return self.append_all((entry,))

    def append_all(self, entries: Sequence[Entry]) -> int:
        """Append entries in one transaction, all or none; the number of the first, when they are durable.

        Raises:
            BrokenLogError: LOG_UNWRITABLE; the log then refuses to write until it is opened again, because
                nobody knows whether the last commit reached the disk.
        """
        wanted = _Waiting([entry.to_bytes() for entry in entries])
        self._waiting.append(wanted)
        with self._lock:
            if not wanted.taken:  # else somebody who had the lock before has committed it, or failed to
                self._commit_waiting()
        if wanted.first is None:
            raise unwritable()
        return wanted.first

    def _commit_waiting(self) -> None:
        """Append for all who wait, in the order in which they came, in one transaction."""
        # 1. Taken first: whatever happens now, nobody's entry is tried twice.
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for one in taken:
            one.taken = True
        self._check_usable()
        # 2. The tree that they give, beside the one that is.
        frontier, bodies = self._frontier.copy(), [body for one in taken for body in one.bodies]
        created = [node for body in bodies for node in frontier.add(leaf_hash(body))]
        # 3. Nothing is acknowledged, and nothing else may be written, until the commit has returned.
        self._failed, first = True, self.size
        append_rows(self._connection, first, bodies, created)
        self._frontier, self._failed = frontier, False
        for one in taken:
            one.first, first = first, first + len(one.bodies)

    def root(self, size: int | None = None) -> bytes:
        """The root hash (32 bytes) of the first ``size`` entries, of all where not given."""
        with self._lock, reading():
            return range_hash(0, self._checked_size(size), self._node)

    def checkpoint(self) -> str:
        """The signed head (C2SP checkpoint) of the log as it is now; kept, so that nothing can contradict it."""
        with self._lock:
            self._check_usable()
            head = Checkpoint(self.origin, self.size, self._frontier.root())
            note = sign_checkpoint(head, self._key)
            self._failed = True  # as with an entry: a head that may be on the disk or not is no ground to go on
            with writing():
                self._connection.execute("INSERT OR IGNORE INTO heads VALUES (?, ?)", (head.size, note))
                settle(self._connection)
            self._failed = False
            return note

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that entry ``index`` is in the tree of ``size`` (of now, where not given)."""
        with self._lock, reading():
            return inclusion_proof(index, self._checked_size(size), self._node)

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that the tree of ``size`` (of now, where not given) continues the tree of ``old``."""
        with self._lock, reading():
            return consistency_proof(old, self._checked_size(size), self._node)

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """The entries' bytes in order, from number ``start``; those that were there when the call began."""
        return (body for _, body in self.rows(start))

    def rows(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """As ``entries``, each with its number; what was retired is left out."""
        end = self.size
        while start < end:
            with self._lock, reading():
                query = "SELECT i, body FROM entries WHERE i >= ? AND i < ? ORDER BY i LIMIT ?"
                rows = self._connection.execute(query, (start, end, READ_CHUNK)).fetchall()
            if not rows:  # the last entry is never one that was retired
                raise damaged("a log lacks entries that it had")
            yield from ((index, bytes(body)) for index, body in rows)
            start = rows[-1][0] + 1

    def whole_since(self) -> datetime | None:
        """The time from which on no entry was retired; None where none ever was."""
        with self._lock, reading():
            notice = last_notice(self._connection)
        return None if notice is None else read_time(f"{notice.data['until']}T00:00:00Z")

    def retire(self, until: datetime, *, party: str, at: datetime) -> int:
        """Let the routine entries from before ``until`` go; how many. ``at``: when ``party`` does so, for its notice.

        Those of the last run stay, however old it is.

        Raises:
            BrokenLogError: LOG_UNWRITABLE, LOG_DAMAGED.
        """
        with self._lock:
            self._check_usable()
            # 1. Which ones; where there are none there is nothing to say.
            until = until.replace(hour=0, minute=0, second=0, microsecond=0)  # as the notice says it, by days of UTC
            with reading():
                begins = last_run_begins(self._connection)
            # of the last run every step is counted against the ledger at each opening (core/site/put_back.py)
            leaving = [index for index in routine_before(self.rows(), until) if begins is None or index < begins]
            if not leaving:
                return 0
            # 2. The notice binds every gap there will be, so that nothing else can be taken out under its name.
            digest, gone = gaps_digest(sorted([*self._gaps(), *leaving]))
            told: dict[str, Value] = {"until": until.date().isoformat(), "entries": len(leaving), "gone": gone}
            body = Entry(str(EntryType.LOG_RETIRED), party, at, {"gaps": digest}, told).to_bytes()
            # 3. Notice and gaps in one transaction: neither is ever there without the other.
            frontier = self._frontier.copy()
            created = list(frontier.add(leaf_hash(body)))
            self._failed = True
            append_rows(self._connection, self.size, [body], created, leaving)
            self._frontier = frontier
            # 4. And out of the write-ahead log, where what was deleted still stands.
            with writing():
                settle(self._connection)
            self._failed = False
            return len(leaving)

    def _gaps(self) -> Iterator[int]:
        expected = 0
        for (index,) in self._connection.execute("SELECT i FROM entries ORDER BY i"):
            yield from range(expected, index)
            expected = index + 1

    def fsck(self, progress: Callable[[int, int], None] | None = None) -> fsck.FsckReport:
        """Recompute every hash from the entries and every head from the hashes; ``progress(done, total)`` entries.

        Raises:
            BrokenLogError: LOG_DAMAGED, ENTRY_MALFORMED.
        """
        with self._lock:
            return fsck.recompute(
                self._connection, self.origin, self._key.public, at_least=self.size, progress=progress
            )

    def close(self) -> None:
        """Close the file; the log can be opened again."""
        with self._lock:
            self._failed = True
            self._connection.close()

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _node(self, level: int, index: int) -> bytes:
        return stored_node(self._connection, level, index)

    def _check_usable(self) -> None:
        if self._failed:
            raise unwritable()

    def _checked_size(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise BrokenLogError("NO_SUCH_SIZE", "a log never had this size", "ask for one that it had")
        return size

    def _check_last_head(self) -> None:
        with reading():
            row = self._connection.execute("SELECT size, note FROM heads ORDER BY size DESC").fetchone()
        if row is None:
            return
        if row[0] > self.size:
            raise damaged("a log has fewer entries than its last signed head says")
        check_head(row[1], self.origin, self._key.public, row[0], self.root(row[0]))
