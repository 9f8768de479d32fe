"""What a site has run under before: the latest policy or roster that its own log says was accepted here.

For: noticing that a paper of today is older than one that was in force, or another one under the same version; no
signature can show that, for an older paper was signed as well. Not for: what happens then, which is for who reads the
paper; nor for tampering with the log itself, which its tree, its signed heads and its witnesses show.

Order of calls, at every opening: ``highest(log, kind)``; the caller refuses or goes on; ``remember(log, kind, ...)``.

A lower version is never remembered after a higher one, so the last entry of a kind is the highest. One is written at
every opening, so it lies near the end and is found from there.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import check_remembered
from .papers import read_before

CHUNK = 500  # entries read at once, from the end: a pilot writes fewer between two openings


def highest(log: AuditLog, kind: EntryType) -> tuple[int, str] | None:
    """Version and digest of the last ``kind`` (POLICY_LOADED, ROSTER_ACCEPTED); None where there was none yet.

    Raises:
        BrokenLogError: the log cannot be read.
    """
    mark = f'"type":"{kind}"'.encode("ascii")
    end = log.size
    while end:
        start = max(0, end - CHUNK)
        for body in reversed(list(islice(log.entries(start), end - start))):
            if mark in body and (entry := Entry.from_bytes(body)).type == kind:
                version = entry.data["version"]
                if isinstance(version, int):
                    return version, entry.refs[_about(kind)]
        end = start
    return None


def remember(log: AuditLog, kind: EntryType, *, party: str, version: int, digest: str, at: datetime) -> None:
    """Write down, durably, that this version with this digest is in force at ``party`` from ``at`` on."""
    log.append(Entry(kind, party, at, refs={_about(kind): digest}, data={"version": version}))


def check_policy_is_newest(log: AuditLog, study_folder: Path, site: str, policy: Policy, *, now: datetime) -> None:
    """Refuse a policy that is not what this site ran under last, or a descendant of it; then remember this one.

    Raises:
        Refused: the codes of ``check_remembered``.
    """
    known = highest(log, EntryType.POLICY_LOADED)
    check_remembered(policy, known, lambda newer: read_before(study_folder, site, newer))
    remember(log, EntryType.POLICY_LOADED, party=site, version=policy.version, digest=policy.bytes_digest, at=now)


def _about(kind: EntryType) -> str:
    return str(kind).partition(".")[0]
