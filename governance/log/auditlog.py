"""One party's append-only log: an RFC 6962 Merkle tree over entries, in one SQLite file.

For: recording what a party did so that it can never be changed unseen. Not for: anything that must be
erasable (the vault), or deciding what to do when a log cannot be written: then the act that was to be logged
does not happen, which is the caller's duty.

Order of calls: ``AuditLog.open(...)`` verifies the right edge of the tree and the last signed head;
``append(entry)`` returns when the entry is durable; ``checkpoint()`` signs the head; ``inclusion`` and
``consistency`` prove; ``fsck()`` recomputes everything from the entries.

One writer: a second one is noticed inside the transaction, before it could fork the tree. Restoring an old
copy of the whole file cannot be seen from inside; that is what witnesses are for.

Sources: RFC 6962, C2SP tlog-checkpoint; SQLite WAL with synchronous=FULL, under which a commit survives power
loss on hardware that keeps its flush promises.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import BadSignatureError, BrokenLogError
from ..signing.keys import SigningKey
from .checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from .entries import Entry
from .merkle import (
    EMPTY_ROOT,
    MAX_LEVELS,
    Frontier,
    Node,
    checked_frontier,
    consistency_proof,
    damaged,
    inclusion_proof,
    leaf_hash,
    range_hash,
)
from .milestones import INDEX

SCHEMA_VERSION = "1"
READ_CHUNK = 1000            # entries a read transaction holds: long reads would keep the WAL from shrinking
LOCK_SECONDS = 5.0           # how long to wait for another process that is writing
# FULL: a commit waits for the disk; fullfsync: on macOS fsync alone does not reach it.
_SETTINGS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA fullfsync=ON")
_TABLES = ("entries", "nodes", "heads", "about")
_SCHEMA = "".join(
    (
        "CREATE TABLE IF NOT EXISTS entries (i INTEGER PRIMARY KEY, body BLOB NOT NULL);",
        "CREATE TABLE IF NOT EXISTS nodes (k INTEGER PRIMARY KEY, hash BLOB NOT NULL);",
        "CREATE TABLE IF NOT EXISTS heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL);",
        "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);",
        INDEX,
        *(
            f"CREATE TRIGGER IF NOT EXISTS {table}_{act.lower()} BEFORE {act} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'append only'); END;"
            for table in _TABLES
            for act in ("DELETE", "UPDATE")
        ),
    )
)


@dataclass(frozen=True)
class FsckReport:
    """What ``fsck`` recomputed and found in order."""

    entries: int
    nodes: int
    heads: int
    root: bytes


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
        self._failed = False
        self.origin = origin

    @classmethod
    def open(cls, path: Path, *, origin: str, key: SigningKey) -> AuditLog:
        """Open or create the log of ``origin``, whose heads ``key`` signs.

        Raises:
            BrokenLogError: LOG_UNWRITABLE, LOG_DAMAGED (tree, entries and last head disagree), LOG_OF_ANOTHER
                (another origin or key).
        """
        with _writing():
            _create(path)
            connection = sqlite3.connect(path, LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with _writing():
                for setting in _SETTINGS:
                    connection.execute(setting)
                connection.executescript(_SCHEMA)
                _claim(connection, origin, key.public.key_id)
            with _reading():
                frontier = _frontier(connection)
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
        bodies = [entry.to_bytes() for entry in entries]
        with self._lock:
            self._check_usable()
            first = self.size
            frontier = self._frontier.copy()
            created = [node for body in bodies for node in frontier.add(leaf_hash(body))]
            self._failed = True  # until the commit has returned
            with _writing():
                self._write(first, bodies, created)
            self._frontier, self._failed = frontier, False
            return first

    def _write(self, first: int, bodies: Sequence[bytes], created: Sequence[Node]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            # 1. Nobody else has written since this log was opened: the frontier in memory is the tree's.
            if execute("SELECT COALESCE(MAX(i) + 1, 0) FROM entries").fetchone()[0] != first:
                sentence = "another process has written to this log"
                raise BrokenLogError("LOG_UNWRITABLE", sentence, "one process at a time may")
            # 2. Entries and nodes together, so that no crash leaves one without the other.
            nodes = ((_node_key(node.level, node.index), node.hash) for node in created)
            self._connection.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(bodies, start=first))
            self._connection.executemany("INSERT INTO nodes VALUES (?, ?)", nodes)
            # 3. FULL: the commit returns after the write-ahead log has been flushed.
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def root(self, size: int | None = None) -> bytes:
        """The root hash (32 bytes) of the first ``size`` entries, of all where not given."""
        with self._lock, _reading():
            return range_hash(0, self._checked_size(size), self._node)

    def checkpoint(self) -> str:
        """The signed head (C2SP checkpoint) of the log as it is now; kept, so that nothing can contradict it."""
        with self._lock:
            self._check_usable()
            head = Checkpoint(self.origin, self.size, self._frontier.root())
            note = sign_checkpoint(head, self._key)
            with _writing():
                self._connection.execute("INSERT OR IGNORE INTO heads VALUES (?, ?)", (head.size, note))
            return note

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that entry ``index`` is in the tree of ``size`` (of now, where not given)."""
        with self._lock, _reading():
            return inclusion_proof(index, self._checked_size(size), self._node)

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that the tree of ``size`` (of now, where not given) continues the tree of ``old``."""
        with self._lock, _reading():
            return consistency_proof(old, self._checked_size(size), self._node)

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """The entries' bytes in order, from number ``start``; those that were there when the call began."""
        end = self.size
        while start < end:
            with self._lock, _reading():
                query = "SELECT body FROM entries WHERE i >= ? AND i < ? ORDER BY i"
                rows = self._connection.execute(query, (start, min(end, start + READ_CHUNK))).fetchall()
            if not rows:
                raise damaged("a log lacks entries that it had")
            yield from (bytes(body) for (body,) in rows)
            start += len(rows)

    def fsck(self) -> FsckReport:
        """Recompute every hash from the entries and every head from the hashes; raises LOG_DAMAGED or
        ENTRY_MALFORMED."""
        with self._lock, _reading():
            self._connection.execute("BEGIN")  # one view of the file, whatever another process appends
            try:
                return self._recomputed()
            finally:
                self._connection.execute("COMMIT")

    def _recomputed(self) -> FsckReport:
        execute = self._connection.execute
        # 1. The file is a sound database.
        if execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise damaged("a log's database file is damaged")
        heads = dict(execute("SELECT size, note FROM heads").fetchall())
        # 2. Every entry is one, in its place, and every stored node is what the entries give.
        frontier, created, roots = Frontier(), 0, {0: EMPTY_ROOT}
        for index, body in execute("SELECT i, body FROM entries ORDER BY i"):
            if index != frontier.size:
                raise damaged("a log's entries are not numbered without gaps")
            Entry.from_bytes(body)
            for node in frontier.add(leaf_hash(body)):
                created += 1
                if self._node(node.level, node.index) != node.hash:
                    raise damaged("a log's stored tree does not fit its entries")
            if frontier.size in heads:
                roots[frontier.size] = frontier.root()
        # 3. Every signed head is of a root that was there.
        for size, note in heads.items():
            self._check_head(note, size, roots.get(size, b""))
        # 4. Nothing is left over, and nothing acknowledged is gone.
        nodes = execute("SELECT COUNT(*) FROM nodes").fetchone()[0]
        if frontier.size < self.size or created != nodes:
            raise damaged("a log holds nodes that no entry explains, or lost entries")
        return FsckReport(frontier.size, nodes, len(heads), frontier.root())

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
        return _stored_node(self._connection, level, index)

    def _check_usable(self) -> None:
        if self._failed:
            raise _unwritable()

    def _checked_size(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise BrokenLogError("NO_SUCH_SIZE", "a log never had this size", "ask for one that it had")
        return size

    def _check_last_head(self) -> None:
        with _reading():
            row = self._connection.execute("SELECT size, note FROM heads ORDER BY size DESC").fetchone()
        if row is None:
            return
        if row[0] > self.size:
            raise damaged("a log has fewer entries than its last signed head says")
        self._check_head(row[1], row[0], self.root(row[0]))

    def _check_head(self, note: str, size: int, root: bytes) -> None:
        try:
            head = verify_checkpoint(note, self.origin, self._key.public)
        except BadSignatureError as error:
            raise damaged("a log's stored head is not signed by its key") from error
        if (head.size, head.root) != (size, root):
            raise damaged("a log's entries do not give the root that it signed")


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _unwritable() from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise damaged("a log cannot be read") from error


def _create(path: Path) -> None:
    """The file itself, mode 0600 from its first moment on; SQLite gives its side files the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # a name that power loss can take away would take the whole log with it
    finally:
        os.close(folder)


def _claim(connection: sqlite3.Connection, origin: str, key_id: str) -> None:
    """Write down whose log this is, or check that it is."""
    about = {"schema": SCHEMA_VERSION, "origin": origin, "key": key_id}
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", sorted(about.items()))
    connection.execute("COMMIT")
    if dict(connection.execute("SELECT name, value FROM about").fetchall()) != about:
        hint = "change the study's id back; after a new key, see ADR 0011: an empty log forgets rosters, stops and runs"
        raise BrokenLogError("LOG_OF_ANOTHER", "a log file belongs to another study, party or key", hint)


def _frontier(connection: sqlite3.Connection) -> Frontier:
    """The right edge of the stored tree, checked against itself and the entries there."""

    def leaf(index: int) -> bytes:
        row = connection.execute("SELECT body FROM entries WHERE i = ?", (index,)).fetchone()
        return leaf_hash(row[0]) if row else b""

    count, size = connection.execute("SELECT COUNT(*), COALESCE(MAX(i) + 1, 0) FROM entries").fetchone()
    if count != size:
        raise damaged("a log's entries are not numbered without gaps")
    if connection.execute("SELECT 1 FROM nodes WHERE k = ?", (_node_key(0, size),)).fetchone():
        raise damaged("a log has fewer entries than its tree has leaves")
    return checked_frontier(size, partial(_stored_node, connection), leaf)


def _stored_node(connection: sqlite3.Connection, level: int, index: int) -> bytes:
    row = connection.execute("SELECT hash FROM nodes WHERE k = ?", (_node_key(level, index),)).fetchone()
    if row is None:
        raise damaged("a log's stored tree has a hole")
    return bytes(row[0])


def _node_key(level: int, index: int) -> int:
    return (level << MAX_LEVELS) | index


def _unwritable() -> BrokenLogError:
    sentence = "the audit log cannot be written, so nothing may happen"
    return BrokenLogError("LOG_UNWRITABLE", sentence, "check disk space and permissions, then start again")
