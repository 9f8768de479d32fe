"""Take one subject out of the vault's file so that none of their bytes stays, and look whether any did.

For: ``Vault.erase``. Not for: import files, records and backups, which are the site's own (docs/formats/consent.md).

What a subject leaves in the file is random to everybody without the vault's keys: a handle, a key, fingerprints, sealed
rows. So it can be searched for in the raw file afterwards: SQLite overwrites what it deletes, but a page that was split
earlier may hold an old copy. Where one is found, the file is written anew (VACUUM) and searched again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from ..errors import GovernanceError
from .record import microseconds
from .schema import SCRUB_DUE, write_setting
from .sealing import BLOCK, EMPTY_CHAIN, NONCE_BYTES, VaultKeys

PIECE = 8 * 2**20        # bytes of the file searched at a time


def take_out_traces(connection: sqlite3.Connection, handle: bytes) -> list[bytes]:
    """The bytes by which this subject would be found in the raw file; read before ``take_out``."""
    row = connection.execute("SELECT id, key FROM subject WHERE handle = ?", (handle,)).fetchone()
    if row is None:
        return []
    number, key = row
    rows = connection.execute("SELECT fingerprint, sealed FROM record WHERE subject = ?", (number,))
    return [handle, key, *(part for mark, sealed in rows for part in (mark, sealed[:NONCE_BYTES]))]


def take_out(connection: sqlite3.Connection, keys: VaultKeys, subject: str, at: datetime) -> int:
    """Delete the subject's rows and key, set a tombstone, commit to what is left; returns how many events went.

    Inside the caller's transaction. A subject who is not there leaves no tombstone: a mistyped id must not look obeyed.
    """
    row = connection.execute("SELECT id FROM subject WHERE handle = ?", (keys.handle(subject),)).fetchone()
    if row is None:
        return 0
    of_subject = connection.execute("SELECT sequence FROM record WHERE subject = ?", row)
    blocks = {sequence // BLOCK for (sequence,) in of_subject}
    erased = connection.execute("DELETE FROM record WHERE subject = ?", row).rowcount
    connection.execute("DELETE FROM standing WHERE subject = ?", row)
    connection.execute("DELETE FROM subject WHERE id = ?", row)
    connection.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?)", (keys.tombstone(subject), microseconds(at)))
    # a file that had them is read again, row by row, before it counts as known
    connection.execute("DELETE FROM imported")
    for number in blocks:
        _commit_again(connection, keys, number)
    write_setting(connection, SCRUB_DUE, b"\x01")
    return int(erased)


def _commit_again(connection: sqlite3.Connection, keys: VaultKeys, number: int) -> None:
    left = connection.execute(
        "SELECT fingerprint FROM record WHERE sequence >= ? AND sequence < ? ORDER BY sequence",
        (number * BLOCK, (number + 1) * BLOCK),
    )
    head = keys.chain(EMPTY_CHAIN, (fingerprint for (fingerprint,) in left))
    connection.execute("DELETE FROM block WHERE number = ?", (number,))
    if head != EMPTY_CHAIN:
        connection.execute("INSERT INTO block (number, head) VALUES (?, ?)", (number, head))


def scrub(connection: sqlite3.Connection, raw: int, traces: Sequence[bytes] | None = None) -> None:
    """Empty the journal, and write the file anew if one of ``traces`` is in it still; without traces, always.

    ``raw`` is an open descriptor of the file, which stays open: closing it would take back SQLite's locks.
    Raises GovernanceError VAULT_ERASURE_UNFINISHED; until it has been done, every opening tries again.
    """
    try:
        _empty_journal(connection)
        if traces is None or _found(raw, traces):
            connection.execute("VACUUM")
            _empty_journal(connection)
        if traces and _found(raw, traces):
            raise _unfinished()
        connection.execute("DELETE FROM setting WHERE name = ?", (SCRUB_DUE,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")    # of this last row, which says nothing of anybody
    except (OSError, sqlite3.Error) as error:
        raise _unfinished() from error


def _empty_journal(connection: sqlite3.Connection) -> None:
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise _unfinished()


def _found(raw: int, traces: Sequence[bytes]) -> bool:
    # read, not mapped: Python's mmap closes a copy of the descriptor, which would take back SQLite's locks
    overlap = max(map(len, traces)) - 1
    place, before = 0, b""
    while piece := os.pread(raw, PIECE, place):
        window = before + piece
        if any(trace in window for trace in traces):
            return True
        place, before = place + len(piece), window[-overlap:]
    return False


def _unfinished() -> GovernanceError:
    return GovernanceError(
        "VAULT_ERASURE_UNFINISHED",
        "the rows are erased but the old journal still holds them",
        "end other processes that read the register and erase again",
    )
