"""The list of revoked adapters in the study's folder: read it, revoke on it, remember at a site what it said.

For: whoever revokes (``revoke``; a site with its folder open: revocations.py) and whoever uses an adapter (``judge``).
Not for: the rules of a list (governance/provenance/revocation.py) or an adapter's other conditions (use.py).

Order of calls: ``revoke(study_folder, roster, key, adapter=..., reason=..., now=...)``; a user ``judge(...)``.

The list lies in ``revocations/list.dsse.json``. What a site has seen on it lies in its own state, so that an older list
in its place is noticed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import is_digest
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType
from ...governance.provenance.revocation import (
    LIST,
    MAX_AGE_HOURS,
    ListState,
    check_may_follow,
    check_not_revoked,
    list_state,
    next_list,
)
from ...governance.signing.envelope import sign_statement, write_envelopes
from ...governance.signing.roster import Roster
from ...governance.signing.signer import Signer
from ..errors import BadInputError
from ..parties import READABLE, replace_file, state_folder, write_whole

REVOCATIONS = "revocations"  # in the study's folder, beside ``stops``
MEMORY = "revocations.json"  # in a site's state
MAX_LIST_BYTES = 2**20


@dataclass(frozen=True)
class Memory:
    """The highest version of the list that a site has seen, and every adapter that any list named."""

    version: int = 0
    revoked: frozenset[str] = frozenset()


def revoke(
    study_folder: Path, roster: Roster, key: Signer, *, adapter: str, reason: str, now: datetime, site: str = ""
) -> ListState:
    """Put ``adapter`` (digest) on the list and sign it; a second time changes nothing but the list's age.

    ``key`` is a site's, or that of a person of legal or it; ``site`` whose memory counts, if any. ``adapter`` and
    ``reason`` empty: the list is signed anew as it stands.

    Raises:
        Refused: ROSTER_OUT_OF_DATE, REVOCATION_LIST_UNREADABLE, REVOCATION_LIST_UNVERIFIED.
        BadDocumentError: REVOCATION_MALFORMED. BadInputError: REVOCATIONS_UNWRITABLE, REVOCATIONS_UNREADABLE.
    """
    state = read_list_state(study_folder, roster, now=now)
    check_may_follow(state)
    memory = remembered(study_folder, site) if site else Memory()
    statement = next_list(
        roster, state, issued=now, adapter=adapter, reason=reason, known=memory.revoked, seen_version=memory.version
    )
    folder = study_folder / REVOCATIONS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / LIST, write_envelopes([sign_statement(statement, [key])]), READABLE)
    except OSError as error:
        raise BadInputError(
            "REVOCATIONS_UNWRITABLE",
            f"the list of revoked adapters cannot be written ({error.strerror}); nothing was revoked",
            hint=f"let this user write {REVOCATIONS}/{LIST} in the study's folder",
        ) from None
    return read_list_state(study_folder, roster, now=now)


def judge(study_folder: Path, site: str, roster: Roster, log: AuditLog, adapter: str, *, now: datetime) -> None:
    """Return if a fresh list says that ``adapter`` may be used here, and remember what it said.

    Raises:
        Refused: the codes of ``check_not_revoked``. BadInputError: REVOCATIONS_UNREADABLE.
    """
    memory = remembered(study_folder, site)
    state = read_list_state(study_folder, roster, now=now)
    if state.version >= memory.version and not state.code:
        for digest in sorted(set(state.revoked) - memory.revoked):
            refs, data = {"adapter": digest}, {"reason": state.revoked[digest].reason}
            log.append(Entry(str(EntryType.RELEASE_REVOKED), site, now, refs=refs, data=dict(data)))
        remember(study_folder, site, state)
    check_not_revoked(
        state, adapter, now=now, max_age_hours=MAX_AGE_HOURS, seen_version=memory.version, seen=memory.revoked
    )


def read_list_state(study_folder: Path, roster: Roster, *, now: datetime) -> ListState:
    """What the list in the study's folder says now."""
    path = study_folder / REVOCATIONS / LIST
    if not path.exists() and not path.is_symlink():
        return list_state(roster, None, now=now)
    try:
        data = path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_LIST_BYTES else b""
    except OSError:
        data = b""
    return list_state(roster, data, now=now)


def remembered(study_folder: Path, site: str) -> Memory:
    """What this site has seen on lists. Raises ``BadInputError`` REVOCATIONS_UNREADABLE."""
    path = state_folder(study_folder, site) / MEMORY
    try:
        content = json.loads(path.read_bytes())
        version, revoked = content["version"], content["revoked"]
        whole = type(version) is int and isinstance(revoked, list) and all(map(is_digest, revoked))
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise BadInputError(
            "REVOCATIONS_UNREADABLE",
            f"{MEMORY}, where the site remembers revoked adapters, is damaged",
            hint="restore it from a backup; without it, an older list would not be noticed",
        )
    return Memory(version, frozenset(revoked))


def remember(study_folder: Path, site: str, state: ListState) -> None:
    """Keep the highest version and everything that was ever named."""
    memory = remembered(study_folder, site)
    content = {
        "version": max(memory.version, state.version),
        "revoked": sorted(memory.revoked | set(state.revoked)),
    }
    replace_file(state_folder(study_folder, site) / MEMORY, json.dumps(content).encode("ascii"))
