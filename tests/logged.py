"""What the logs of the whole test suite say about anybody: nothing that was planted as personal data in any test.

For: tests/conftest.py, which looks at every entry that this process logs and, at the end, at the log files of the
commands that ran beside it. Not for: the places other than logs (attacks/test_planted_person.py looks at them all).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import pytest

from sekisho.core.parties import LOG_NAME
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry

# The people of the small studies and of the example, their records, the words that these are of, names and addresses.
# What goes on in hexadecimal or is longer is the name of a run; a short word within a longer one is base64: in 30 MB of
# signatures and commitments five given letters stand once by chance.
PLANTED = re.compile(
    rb"[a-z]{3}-c\d{3,6}(?![0-9a-f])|[a-z]-\d{3}-[01](?![0-9a-f])|(?<![a-z0-9+/])(?:lovely|tasty|awful|kumquat)(?![a-z0-9+/=])"
    rb"|quastenflosser|planted-|@[a-z]+\.example",
    re.IGNORECASE,
)


def planted_in(bodies: Iterable[bytes]) -> set[bytes]:
    """Whatever stands in them that was planted somewhere."""
    return {found[0] for body in bodies for found in PLANTED.finditer(body)}


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[set[bytes]]:
    """What was planted and is appended to any log of this process meanwhile.

    Entries are looked at as they come, not kept: a list of all of them once grew within a test that measures memory.
    """
    found: set[bytes] = set()
    append_all = AuditLog.append_all

    @wraps(append_all)
    def looked_at(log: AuditLog, entries: Sequence[Entry]) -> int:
        found.update(planted_in(entry.to_bytes() for entry in entries))
        return append_all(log, entries)

    patch.setattr(AuditLog, "append_all", looked_at)
    yield found


def logs_below(root: Path) -> Iterator[bytes]:
    """The raw bytes of every log, write-ahead log and free pages included."""
    for path in root.rglob(f"{LOG_NAME}*"):
        if path.is_file():
            yield path.read_bytes()
