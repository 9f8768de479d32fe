"""Which roster a site accepted last: it never goes back to an earlier one, nor takes another of the same version.

For: refusing a rolled-back or exchanged roster at the site. Not for: whether a roster is signed by those who must
(governance/signing/succession.py).

The memory is the site's own append-only log. An old roster is well signed and may be in force still, so no signature
could tell: somebody who was taken out of the roster would be in it again.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType
from ...governance.log.milestones import last_entries
from ...governance.signing.roster import Roster
from ..errors import Refused


def accept_roster(log: AuditLog, path: Path, site: str, roster: Roster, *, at: datetime) -> None:
    """Return if ``roster`` is the one that ``site`` accepted last, or a later one, which is then logged.

    ``path`` is where ``log`` lies.

    Raises:
        Refused: ROSTER_ROLLED_BACK, ROSTER_EXCHANGED.
    """
    kind = str(EntryType.ROSTER_ACCEPTED)
    _, last = last_entries(path, [kind]).get(kind, (0, None))
    version = last.data["version"] if last is not None else 0
    fingerprint = last.refs["roster"] if last is not None else ""
    again = " (this is a demo: `sekisho study reset-demo` forgets it)" if roster.demo else ""
    if not isinstance(version, int) or roster.version < version:
        raise Refused(
            "ROSTER_ROLLED_BACK",
            f"{site}: this is version {roster.version} of the roster, and version {version} was accepted here before",
            f"fetch the latest roster; people who were taken out of it would be in it again{again}",
            site=site,
        )
    if roster.version == version and roster.fingerprint != fingerprint:
        raise Refused(
            "ROSTER_EXCHANGED",
            f"{site}: another roster of version {version} was accepted here before",
            f"a changed roster is a new version{again}",
            site=site,
        )
    if roster.version > version:
        refs, data = {"roster": roster.fingerprint}, {"version": roster.version}
        log.append(Entry(type=kind, party=site, at=at, refs=refs, data=data))
