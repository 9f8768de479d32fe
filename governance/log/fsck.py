"""A whole log recomputed from its entries: every hash, every stored node, every signed head.

For: showing that a log's file says one thing, and the same thing that was signed. Not for: noticing that the whole file
was put back to an older state (witnesses do), or repairing: a log that fails here is kept as it is and compared.

Order of calls: ``recompute(connection, origin, key)`` of a log, ``recompute_witnessed(connection, keys)`` of the file
beside it in which its party keeps what it saw of others; each returns a report or raises.

Source: RFC 6962 section 2.1.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ..errors import BadSignatureError
from ..signing.keys import PublicKey
from .checkpoint import verify_checkpoint
from .entries import Entry, EntryType
from .logfile import check_head, node_key, reading, stored_node
from .merkle import EMPTY_ROOT, Frontier, damaged, leaf_hash
from .retention import gaps_digest

PROGRESS_EVERY = 10_000      # entries; a second or less of work


@dataclass(frozen=True)
class FsckReport:
    """What ``fsck`` recomputed and found in order; ``retired`` of the entries are gone but for their hashes."""

    entries: int
    nodes: int
    heads: int
    root: bytes
    retired: int = 0


@dataclass(frozen=True)
class Witnessed:
    """Heads of other logs: ``verified`` against the key that the log's owner has now; ``otherwise`` signed, as under a
    key that was replaced. ``contradictions`` are pairs of heads that should not both exist."""

    verified: int
    otherwise: int
    contradictions: int


def recompute(
    connection: sqlite3.Connection,
    origin: str,
    key: PublicKey,
    *,
    at_least: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FsckReport:
    """Recompute the log in ``connection``, whose heads ``key`` signs; ``at_least`` entries were acknowledged.

    ``progress(done, total)`` is told of entries. Memory does not grow with the log, but for its signed heads.

    Raises:
        BrokenLogError: LOG_DAMAGED, ENTRY_MALFORMED.
    """
    with reading():
        connection.execute("BEGIN")  # one view of the file, whatever another process appends
        try:
            return _recomputed(connection, origin, key, at_least, progress or _nobody)
        finally:
            connection.execute("COMMIT")


def _recomputed(
    connection: sqlite3.Connection,
    origin: str,
    key: PublicKey,
    at_least: int,
    progress: Callable[[int, int], None],
) -> FsckReport:
    execute = connection.execute
    # 1. The file is a sound database.
    if execute("PRAGMA integrity_check").fetchone() != ("ok",):
        raise damaged("a log's database file is damaged")
    heads = dict(execute("SELECT size, note FROM heads").fetchall())
    total = execute("SELECT COALESCE(MAX(i) + 1, 0) FROM entries").fetchone()[0]
    # 2. Every entry is one, in its place, and every stored node is what the entries give; of those that were retired,
    # what their stored hashes give.
    frontier, created, roots, stored = Frontier(), 0, {0: EMPTY_ROOT}, _StoredNodes(connection)
    gaps: list[int] = []
    explained: tuple[str, object] = gaps_digest(())
    for index, leaf, body in _leaves(connection):
        if body is None:
            gaps.append(index)
        elif (entry := Entry.from_bytes(body)).type == EntryType.LOG_RETIRED:
            explained = (entry.refs.get("gaps", ""), entry.data.get("gone"))
        for node in frontier.add(leaf):
            created += 1
            if stored.next_of(node.level) != (node_key(node.level, node.index), node.hash):
                raise damaged("a log's stored tree does not fit its entries")
        if frontier.size in heads:
            roots[frontier.size] = frontier.root()
        if frontier.size % PROGRESS_EVERY == 0:
            progress(frontier.size, total)
    progress(frontier.size, total)
    if gaps_digest(gaps) != explained:
        raise damaged("a log's entries are not numbered without gaps")
    # 3. Every signed head is of a root that was there.
    for size, note in heads.items():
        check_head(note, origin, key, size, roots.get(size, b""))
    # 4. Nothing is left over, and nothing acknowledged is gone.
    nodes = execute("SELECT COUNT(*) FROM nodes").fetchone()[0]
    if frontier.size < at_least or created != nodes:
        raise damaged("a log holds nodes that no entry explains, or lost entries")
    return FsckReport(frontier.size, nodes, len(heads), frontier.root(), len(gaps))


def _leaves(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Number, leaf hash and body of every entry; of one that is gone the hash that is stored, and no body."""
    expected = 0
    for index, body in connection.execute("SELECT i, body FROM entries ORDER BY i"):
        for gap in range(expected, index):
            yield gap, stored_node(connection, 0, gap), None
        yield index, leaf_hash(body), body
        expected = index + 1


def recompute_witnessed(connection: sqlite3.Connection, keys: Mapping[str, PublicKey]) -> Witnessed:
    """Hold every head in a witness's file against the key of its log (``keys``: origin -> key).

    Raises:
        BrokenLogError: LOG_DAMAGED (the file, or a head that is not of the log that it stands for).
    """
    with reading():
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise damaged("the file of witnessed heads is damaged")
        heads = connection.execute("SELECT origin, size, note FROM heads").fetchall()
        contradictions = connection.execute("SELECT COUNT(*) FROM misbehaviour").fetchone()[0]
    verified = 0
    for origin, size, note in heads:
        try:
            if origin in keys and verify_checkpoint(note, origin, keys[origin]).size != size:
                raise damaged("a witnessed head is kept under another size than it has")
            verified += origin in keys
        except BadSignatureError as error:
            if error.code != "NOTE_UNSIGNED":
                raise damaged("a witnessed head is not signed as it was when it was kept") from error
    return Witnessed(verified, len(heads) - verified, contradictions)


class _StoredNodes:
    """Each level's nodes from left to right, which is the order in which entries create them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._levels: dict[int, Iterator[tuple[int, bytes]]] = {}

    def next_of(self, level: int) -> tuple[int, bytes]:
        """Key and hash of the level's next stored node; of another level's, or none, where it has no more."""
        if level not in self._levels:
            query = "SELECT k, hash FROM nodes WHERE k >= ? ORDER BY k"
            self._levels[level] = self._connection.execute(query, (node_key(level, 0),))
        return next(self._levels[level], (-1, b""))


def _nobody(done: int, total: int) -> None:
    """Nobody wants to know."""
