"""A party's log as others hold it: its entries up to the last head that it signed, and that head.

For: reading a log without the key that signs it, from its file or from an evidence bundle, and holding entries against
the head. Not for: writing (auditlog.py), or entries that no head covers yet: nobody has signed for them.

Order of calls: ``read_copy(path)`` or ``LogCopy(entries, note)`` -> ``verified_entries(copy, party, key)``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadSignatureError, BrokenLogError
from ..signing.keys import PublicKey
from .checkpoint import Note, verify_checkpoint
from .entries import Entry
from .merkle import damaged, leaf_hash, root_of

LAST_HEAD = "SELECT size, note FROM heads ORDER BY size DESC LIMIT 1"
UP_TO = "SELECT body FROM entries WHERE i < ? ORDER BY i"


@dataclass(frozen=True)
class LogCopy:
    """Entries' bytes in order, and the signed head (C2SP checkpoint) that covers exactly these."""

    entries: Sequence[bytes]
    note: str


def read_copy(path: Path) -> LogCopy | None:
    """The log at ``path`` up to its last signed head; None where there is no log, or none of it was signed yet.

    Raises:
        BrokenLogError: LOG_DAMAGED.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            head = connection.execute(LAST_HEAD).fetchone()
            if head is None:
                return None
            bodies = [bytes(body) for (body,) in connection.execute(UP_TO, (head[0],))]
    except sqlite3.Error as error:
        raise damaged("a log cannot be read") from error
    return LogCopy(bodies, str(head[1]))


def verified_entries(copy: LogCopy, party: str, key: PublicKey) -> list[Entry]:
    """The entries of ``party``'s log, which ``key`` signed for.

    Raises:
        BadSignatureError: the codes of ``verify_checkpoint``.
        BrokenLogError: LOG_DAMAGED (other entries than the head covers, or another party's), ENTRY_MALFORMED.
    """
    # 1. The head is this party's, by its own name for the log.
    origin = Note.parse(copy.note).text.split("\n", 1)[0]
    if origin.rpartition("/")[2] != party:
        raise BadSignatureError("ORIGIN_WRONG", "a checkpoint belongs to another log", "ask the party for its own")
    head = verify_checkpoint(copy.note, origin, key)
    # 2. The entries are exactly those that it covers.
    if (head.size, head.root) != (len(copy.entries), root_of([leaf_hash(body) for body in copy.entries])):
        raise damaged("a log's entries do not give the root that was signed")
    # 3. Each is an entry, and of this party.
    entries = [Entry.from_bytes(body) for body in copy.entries]
    if any(entry.party != party for entry in entries):
        raise BrokenLogError("LOG_DAMAGED", "a log holds an entry of another party", "ask the party for its own log")
    return entries
