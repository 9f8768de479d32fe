"""What a party has seen of other parties' logs: a log that shows two histories convicts itself here.

For: accepting a newer head of another log only if it continues the last one, and keeping both heads when it does
not. Not for: the other log's entries, or what to do about a fork: the caller stops the run.

Order of calls: ``Witness(path)``; ``last(origin)`` says from which size the log's owner must prove;
``check_and_persist_all(...)`` compares and stores in one transaction, each head with this party's cosignature;
``cosigned(origin)`` is the newest. ``misbehaviour()`` lists what was kept.

A log is known by its origin and its key: whoever comes under a new key (a new roster says so) begins a new log.

The first head of a log is taken on trust. A smaller head can also be an old one that somebody replays: it is
kept and refused like a fork, but only two different roots of one size prove that the log's owner lied.

Source: C2SP tlog-witness (add-checkpoint), including the race that it names: between two requests the stored
size must never go back.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import BadSignatureError, BrokenLogError
from ..signing.keys import PublicKey
from .checkpoint import Checkpoint, verify_checkpoint, with_cosignature
from .merkle import EMPTY_ROOT, verify_consistency

LOCK_SECONDS = 5.0
MAX_PROOF = 64    # a proof has at most two hashes a level of a tree that fits a disk
_SCHEMA = """
CREATE TABLE IF NOT EXISTS heads (
    origin TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, note TEXT NOT NULL,
    cosignature TEXT NOT NULL, PRIMARY KEY (origin, key)
);
CREATE TABLE IF NOT EXISTS misbehaviour (
    origin TEXT NOT NULL, kind TEXT NOT NULL, seen TEXT NOT NULL, offered TEXT NOT NULL,
    PRIMARY KEY (origin, seen, offered)
);
CREATE TRIGGER IF NOT EXISTS heads_only_grow BEFORE UPDATE ON heads WHEN NEW.size < OLD.size
    BEGIN SELECT RAISE(ABORT, 'a witnessed head never goes back'); END;
CREATE TRIGGER IF NOT EXISTS heads_stay BEFORE DELETE ON heads
    BEGIN SELECT RAISE(ABORT, 'a witnessed head is not forgotten'); END;
CREATE TRIGGER IF NOT EXISTS misbehaviour_stays BEFORE DELETE ON misbehaviour
    BEGIN SELECT RAISE(ABORT, 'evidence is not deleted'); END;
CREATE TRIGGER IF NOT EXISTS misbehaviour_unchanged BEFORE UPDATE ON misbehaviour
    BEGIN SELECT RAISE(ABORT, 'evidence is not changed'); END;
"""


class Kind(StrEnum):
    """How an offered head contradicts the one seen before."""

    FORK = "LOG_FORKED"                # same size, other root: proof by itself
    ROLLBACK = "LOG_ROLLED_BACK"       # smaller than what was seen
    INCONSISTENT = "LOG_INCONSISTENT"  # larger, but not shown to continue it


@dataclass(frozen=True)
class Misbehaviour:
    """Two signed heads of one log that should not both exist."""

    origin: str
    kind: Kind
    seen: str
    offered: str


@dataclass(frozen=True)
class Offered:
    """A head that another party shows: its signed text, the proof from the last one seen, and the log's key.

    ``proof`` is empty where no head was seen, or one of size 0. ``cosignature`` is this party's line over the head,
    to be kept if the head is accepted; empty where it gives none.
    """

    origin: str
    note: str
    proof: Sequence[bytes]
    key: PublicKey
    cosignature: str = ""


class Witness:
    """One party's memory of other logs' heads, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            BrokenLogError: WITNESS_UNWRITABLE.
        """
        self._lock = threading.Lock()
        with _sqlite():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=LOCK_SECONDS, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA fullfsync=ON")
            self._connection.executescript(_SCHEMA)

    def check_and_persist(
        self, origin: str, checkpoint: str, proof: Sequence[bytes], key: PublicKey
    ) -> Checkpoint:
        """As ``check_and_persist_all``, for one head; the head, when it is durable."""
        return self.check_and_persist_all((Offered(origin, checkpoint, proof, key),))[0]

    def check_and_persist_all(self, offers: Sequence[Offered]) -> tuple[Checkpoint, ...]:
        """Accept each head if it continues the last one seen of its log; durable when it returns.

        Where one does not, the others are kept all the same, and the first that does not is raised.

        Raises:
            BadSignatureError: the codes of ``verify_checkpoint``; nothing is stored.
            BrokenLogError: LOG_FORKED, LOG_ROLLED_BACK, LOG_INCONSISTENT, after both heads were stored;
                WITNESS_UNWRITABLE.
        """
        # 1. The log's own key signed it; else it is nobody's misbehaviour.
        heads = tuple(verify_checkpoint(one.note, one.origin, one.key) for one in offers)
        kinds: list[Kind | None] = []
        with self._lock, _sqlite():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                # 2. Compare with the last head and store the outcome, in the same transaction.
                kinds = [self._compare_and_store(head, one) for head, one in zip(heads, offers, strict=True)]
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        # 3. Refuse only now that the evidence is durable.
        for kind in kinds:
            if kind is not None:
                raise _misbehaved(kind)
        return heads

    def _compare_and_store(self, offered: Checkpoint, one: Offered) -> Kind | None:
        place = (offered.origin, one.key.key_id)
        row = self._connection.execute("SELECT note FROM heads WHERE origin = ? AND key = ?", place).fetchone()
        if row is None:
            fresh = (*place, offered.size, one.note, one.cosignature)
            self._connection.execute("INSERT INTO heads VALUES (?, ?, ?, ?, ?)", fresh)
            return None
        seen = head_of(row[0])
        kind = contradiction(seen, offered, one.proof)
        if kind is not None:
            self._connection.execute(
                "INSERT OR IGNORE INTO misbehaviour VALUES (?, ?, ?, ?)",
                (offered.origin, str(kind), row[0], one.note),
            )
        elif offered.size > seen.size:  # of one that stands still, the first sight of it is kept
            self._connection.execute(
                "UPDATE heads SET size = ?, note = ?, cosignature = ? WHERE origin = ? AND key = ?",
                (offered.size, one.note, one.cosignature, *place),
            )
        return kind

    def last(self, origin: str, key: PublicKey | None = None) -> Checkpoint | None:
        """The newest head seen of a log, verified when it was stored; of the log under ``key``, where given."""
        note = self.last_note(origin, key)
        return None if note is None else head_of(note)

    def last_note(self, origin: str, key: PublicKey | None = None) -> str | None:
        """The signed text of the newest head seen of a log."""
        row = self._row(origin, key)
        return None if row is None else row[0]

    def cosigned(self, origin: str, key: PublicKey | None = None) -> str | None:
        """As ``last_note``, with this party's cosignature line where it gave one."""
        row = self._row(origin, key)
        if row is None:
            return None
        return with_cosignature(row[0], row[1]) if row[1] else row[0]

    def origins(self) -> tuple[str, ...]:
        """The logs that were seen, in order of their names."""
        with self._lock, _sqlite():
            rows = self._connection.execute("SELECT DISTINCT origin FROM heads ORDER BY origin").fetchall()
        return tuple(str(origin) for (origin,) in rows)

    def _row(self, origin: str, key: PublicKey | None) -> tuple[str, str] | None:
        query = "SELECT note, cosignature FROM heads WHERE origin = ? AND ? IN ('', key) ORDER BY rowid DESC"
        with self._lock, _sqlite():
            row = self._connection.execute(query, (origin, "" if key is None else key.key_id)).fetchone()
        return None if row is None else (str(row[0]), str(row[1]))

    def misbehaviour(self) -> tuple[Misbehaviour, ...]:
        """Every contradiction seen, oldest first."""
        with self._lock, _sqlite():
            rows = self._connection.execute(
                "SELECT origin, kind, seen, offered FROM misbehaviour ORDER BY rowid"
            ).fetchall()
        return tuple(Misbehaviour(origin, Kind(kind), seen, offered) for origin, kind, seen, offered in rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def contradiction(seen: Checkpoint, offered: Checkpoint, proof: Sequence[bytes]) -> Kind | None:
    """How ``offered`` fails to continue ``seen``; None where it does. ``proof`` is from ``seen.size``."""
    if offered.size < seen.size:
        return Kind.ROLLBACK
    if offered.size == seen.size:
        return None if offered.root == seen.root else Kind.FORK
    if seen.size == 0:  # everything continues the empty tree, so there is nothing to prove
        return None if seen.root == EMPTY_ROOT else Kind.INCONSISTENT
    if len(proof) > MAX_PROOF:
        return Kind.INCONSISTENT
    try:
        verify_consistency(seen.size, offered.size, proof, seen.root, offered.root)
    except BrokenLogError:
        return Kind.INCONSISTENT
    return None


def head_of(note: str) -> Checkpoint:
    """The head in a note that was verified when it was stored. Raises ``BrokenLogError`` WITNESS_DAMAGED."""
    try:
        return Checkpoint.parse(note.rpartition("\n\n")[0] + "\n")
    except BadSignatureError as error:
        raise BrokenLogError(
            "WITNESS_DAMAGED", "a stored head cannot be read", "restore the witness file from a copy"
        ) from error


def _misbehaved(kind: Kind) -> BrokenLogError:
    sentence = {
        Kind.FORK: "another party's log shows two histories of the same length",
        Kind.ROLLBACK: "another party's log shows less than it had shown before",
        Kind.INCONSISTENT: "another party's log does not show that it continues what was seen",
    }[kind]
    return BrokenLogError(
        str(kind), sentence, "both signed heads are kept: stop, and compare them with other parties"
    )


@contextmanager
def _sqlite() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise BrokenLogError(
            "WITNESS_UNWRITABLE", "what was seen of other logs cannot be recorded, so nothing may happen",
            "check disk space and permissions, then start again",
        ) from error
