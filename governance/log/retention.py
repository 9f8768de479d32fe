"""What a log may let go of when its time is over: the bodies of old, routine entries. Their hashes stay for good.

For: storage limitation without giving up evidence. Every proof, every head that anybody holds and every witness goes on
as before, because the tree of hashes is whole; what is gone is what the entries said. Not for: making anything that was
wrong unsaid (an entry younger than its term stays), or the erasable vault.

Order of calls: ``routine_before(rows, until)`` says which; ``AuditLog.retire`` appends the notice and lets them go in
one transaction; ``gaps_digest`` is what the notice binds, so that not one entry more can be gone than it says.

Instead of a file a year that is thrown away whole: one tree keeps one origin, one chain of heads and one set of
witnesses, and what later decisions rest on (policies, rosters, stops, budgets, releases, withdrawals) stays readable.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime

from ..signing.envelope import read_time
from .entries import EntryType

# What a run's steps write, nearly all of a log. What a later decision, a budget, a release or a person's request is
# read from again is not among it.
ROUTINE = frozenset(
    str(kind)
    for kind in (
        EntryType.CONSENT_SNAPSHOT,
        EntryType.CONTROL_TOLD,
        EntryType.COUNTS_DISCLOSED,
        EntryType.DECISION_PERMIT,
        EntryType.STEP_ABANDONED,
        EntryType.STEP_DISCLOSED,
        EntryType.STEP_OPENED,
        EntryType.STEP_POSTED,
        EntryType.STEP_STARTED,
        EntryType.STEP_SUMMED,
    )
)


def routine_before(rows: Iterable[tuple[int, bytes]], until: datetime) -> Iterator[int]:
    """The numbers of routine entries whose own time is before ``until`` (aware), in order."""
    for index, body in rows:
        entry = json.loads(body)
        if entry["type"] in ROUTINE and read_time(entry["at"]) < until:
            yield index


def gaps_digest(gaps: Iterable[int]) -> tuple[str, int]:
    """SHA-256 over the numbers of all entries that are gone (uint64, little endian, ascending), and how many."""
    found, count = hashlib.sha256(), 0
    for index in gaps:
        found.update(struct.pack("<Q", index))
        count += 1
    return f"sha256:{found.hexdigest()}", count
