"""The SQLite file of one log: its tables, how it is written so that a commit survives, whose it is, its stored tree.

For: what ``auditlog`` and ``fsck`` both read and write. Not for: what may be appended and when (``auditlog``), or
whether all of it is right (``fsck``).

Order of calls: ``connect(path)`` creates or opens; ``claim(...)`` says whose it is; ``stored_frontier(...)`` reads the
right edge; ``append_rows(...)`` writes entries and nodes in one transaction; ``settle(...)`` after each signed head.

Source: SQLite WAL with synchronous=FULL, under which a commit survives power loss on hardware that keeps its flush
promises. tests/faults holds this to what the system was really asked to flush.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..errors import BadSignatureError, BrokenLogError
from ..signing.keys import PublicKey
from .checkpoint import verify_checkpoint
from .merkle import MAX_LEVELS, Frontier, Node, checked_frontier, damaged, leaf_hash
from .milestones import INDEX, retired_in

SCHEMA_VERSION = "1"
LOCK_SECONDS = 5.0           # how long to wait for another process that is writing
# FULL: a commit waits for the disk; fullfsync: on macOS fsync alone does not reach it.
# secure_delete: what is let go of after its term is overwritten, not only unlinked.
_SETTINGS = (
    "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA fullfsync=ON", "PRAGMA secure_delete=ON",
)
_TABLES = ("entries", "nodes", "heads", "about")


def _trigger(table: str, act: str) -> str:
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_{act.lower()} BEFORE {act} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'append only'); END;"
    )


_SCHEMA = "".join(
    (
        "CREATE TABLE IF NOT EXISTS entries (i INTEGER PRIMARY KEY, body BLOB NOT NULL);",
        "CREATE TABLE IF NOT EXISTS nodes (k INTEGER PRIMARY KEY, hash BLOB NOT NULL);",
        "CREATE TABLE IF NOT EXISTS heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL);",
        "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);",
        INDEX,
        *(
            _trigger(table, act)
            for table in _TABLES
            for act in ("DELETE", "UPDATE")
        ),
    )
)
_MAY_DELETE = "DROP TRIGGER entries_delete"


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the file with its tables; a commit through this connection waits for the disk.

    Raises:
        BrokenLogError: LOG_UNWRITABLE.
    """
    with writing():
        _create(path)
        connection = sqlite3.connect(path, LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        with writing():
            for setting in _SETTINGS:
                connection.execute(setting)
            connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """The file, for reading alone; the caller closes it.

    Raises:
        BrokenLogError: LOG_DAMAGED.
    """
    with reading():
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", LOCK_SECONDS, uri=True, isolation_level=None)


def append_rows(
    connection: sqlite3.Connection,
    first: int,
    bodies: Sequence[bytes],
    created: Sequence[Node],
    retired: Sequence[int] = (),
) -> None:
    """Entries from number ``first`` on and the nodes that they create, in one transaction; durable on return.

    ``retired``: entries whose bodies go in the same transaction, because the entry that is appended says so.

    Raises:
        BrokenLogError: LOG_UNWRITABLE.
    """
    execute = connection.execute
    with writing():
        execute("BEGIN IMMEDIATE")
        try:
            # 1. Nobody else has written since this log was opened: the frontier in memory is the tree's.
            if execute("SELECT COALESCE(MAX(i) + 1, 0) FROM entries").fetchone()[0] != first:
                sentence = "another process has written to this log"
                raise BrokenLogError("LOG_UNWRITABLE", sentence, "one process at a time may")
            # 2. Entries and nodes together, so that no crash leaves one without the other.
            nodes = ((node_key(node.level, node.index), node.hash) for node in created)
            connection.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(bodies, start=first))
            connection.executemany("INSERT INTO nodes VALUES (?, ?)", nodes)
            if retired:
                execute(_MAY_DELETE)
                connection.executemany("DELETE FROM entries WHERE i = ?", ((index,) for index in retired))
                execute(_trigger("entries", "DELETE"))
            # 3. FULL: the commit returns after the write-ahead log has been flushed.
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise


def settle(connection: sqlite3.Connection) -> None:
    """Move what was committed from the write-ahead log into the file itself, and empty that log.

    Whoever then loses, cuts or swaps the write-ahead log, takes a copy without it or tidies it away, cannot make the
    log shorter than what stands here. Where another process is reading it stays; the next call moves it.
    """
    connection.execute("PRAGMA busy_timeout = 0")  # a long reader is not waited for
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {int(LOCK_SECONDS * 1000)}")


def check_head(note: str, origin: str, key: PublicKey, size: int, root: bytes) -> None:
    """Return if ``note`` is ``key``'s head of the log ``origin`` at this size with this root; else LOG_DAMAGED."""
    try:
        head = verify_checkpoint(note, origin, key)
    except BadSignatureError as error:
        raise damaged("a log's stored head is not signed by its key") from error
    if (head.size, head.root) != (size, root):
        raise damaged("a log's entries do not give the root that it signed")


@contextmanager
def writing() -> Iterator[None]:
    """What cannot be written is LOG_UNWRITABLE."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise unwritable() from error


@contextmanager
def reading() -> Iterator[None]:
    """What cannot be read is LOG_DAMAGED."""
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


def claim(connection: sqlite3.Connection, origin: str, key_id: str) -> None:
    """Write down whose log this is, or check that it is; else LOG_OF_ANOTHER."""
    about = {"schema": SCHEMA_VERSION, "origin": origin, "key": key_id}
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", sorted(about.items()))
    connection.execute("COMMIT")
    check_claim(connection, origin, key_id)


def check_claim(connection: sqlite3.Connection, origin: str, key_id: str) -> None:
    """Return if this is the log of ``origin`` under that key; else LOG_OF_ANOTHER, or LOG_DAMAGED if it is none."""
    about = {"schema": SCHEMA_VERSION, "origin": origin, "key": key_id}
    with reading():
        found = dict(connection.execute("SELECT name, value FROM about").fetchall())
    if found != about:
        hint = "change the study's id back; after a new key, see ADR 0011: an empty log forgets rosters, stops and runs"
        raise BrokenLogError("LOG_OF_ANOTHER", "a log file belongs to another study, party or key", hint)


def stored_frontier(connection: sqlite3.Connection) -> Frontier:
    """The right edge of the stored tree, checked against itself and the entries there; else LOG_DAMAGED."""

    def leaf(index: int) -> bytes:
        row = connection.execute("SELECT body FROM entries WHERE i = ?", (index,)).fetchone()
        if row is None and gone:
            return stored_node(connection, 0, index)  # fsck holds each gap to the notice that explains it
        return leaf_hash(row[0]) if row else b""

    gone = retired_in(connection)
    count, size = connection.execute("SELECT COUNT(*), COALESCE(MAX(i) + 1, 0) FROM entries").fetchone()
    if count + gone != size:
        raise damaged("a log's entries are not numbered without gaps")
    if connection.execute("SELECT 1 FROM nodes WHERE k = ?", (node_key(0, size),)).fetchone():
        raise damaged("a log has fewer entries than its tree has leaves")
    return checked_frontier(size, partial(stored_node, connection), leaf)


def stored_node(connection: sqlite3.Connection, level: int, index: int) -> bytes:
    """The stored hash (32 bytes) of one complete subtree; LOG_DAMAGED where there is none."""
    row = connection.execute("SELECT hash FROM nodes WHERE k = ?", (node_key(level, index),)).fetchone()
    if row is None:
        raise damaged("a log's stored tree has a hole")
    return bytes(row[0])


def node_key(level: int, index: int) -> int:
    """Where a subtree's hash stands: by level, then by place."""
    return (level << MAX_LEVELS) | index


def unwritable() -> BrokenLogError:
    """Nobody may act any more as if it had been logged."""
    sentence = "the audit log cannot be written, so nothing may happen"
    return BrokenLogError("LOG_UNWRITABLE", sentence, "check disk space and permissions, then start again")
