"""What a site has run under before: it never goes back to an earlier roster or policy, nor takes another of a version.

For: refusing a rolled-back, exchanged or forked paper at the site, and missing a stop order that was there. Not for:
whether a paper is signed by those who must (governance/signing/), or tampering with the log itself, which its tree, its
signed heads and its witnesses show.

The memory is the site's own append-only log. An old paper is well signed and may be in force still, so no signature
could tell: somebody who was taken out of the roster would be in it again, and what a policy forbids since be permitted.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType
from ...governance.log.milestones import all_entries, last_entries
from ...governance.policy.policy import Policy
from ...governance.policy.signoff import check_remembered
from ...governance.signing.roster import Roster
from ...governance.signing.succession import SignedRoster, continues
from ..errors import Refused
from ..parties import LOG_NAME, state_folder
from ..study import Study
from .papers import earlier_rosters, read_before, read_signatures
from .stops import Stops, read_stops

ROSTER = "roster.yaml"


def remembered(path: Path, kind: EntryType, name: str) -> tuple[int, str] | None:
    """Version and digest (under ``refs[name]``) of what was accepted last; ``path`` is where the site's log lies.

    Raises:
        BrokenLogError: the log cannot be read.
    """
    _, last = last_entries(path, [str(kind)]).get(str(kind), (0, None))
    if last is None:
        return None
    version = last.data["version"]
    return (version, last.refs[name]) if isinstance(version, int) else None


def accept_roster(log: AuditLog, study_folder: Path, site: str, roster: Roster, *, at: datetime) -> None:
    """Return if ``roster`` is the one that ``site`` accepted last, or one that follows it, which is then logged.

    Raises:
        Refused: ROSTER_ROLLED_BACK, ROSTER_EXCHANGED, ROSTER_FORKED.
    """
    version, fingerprint = remembered(_log_of(study_folder, site), EntryType.ROSTER_ACCEPTED, "roster") or (0, "")
    again = " (this is a demo: `sekisho study reset-demo` forgets it)" if roster.demo else ""
    if roster.version < version:
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
        chain = (SignedRoster(roster, read_signatures(study_folder / ROSTER)), *earlier_rosters(study_folder, roster))
        if version and not continues(chain, roster.party(site), version, fingerprint):
            raise Refused(
                "ROSTER_FORKED",
                f"{site}: this roster does not follow version {version} as it was accepted here",
                "somebody handed on an earlier version twice, perhaps people who were taken out since: ask your "
                f"partners by telephone; a fresh start is signed by every site{again}",
                site=site,
            )
        _remember(log, EntryType.ROSTER_ACCEPTED, site, {"roster": roster.fingerprint}, roster.version, at)


def accept_policy(log: AuditLog, study_folder: Path, site: str, policy: Policy, *, at: datetime) -> None:
    """Return if ``policy`` is what ``site`` ran under last, or descends from it, and is then logged.

    Raises:
        Refused: the codes of ``check_remembered``.
    """
    known = remembered(_log_of(study_folder, site), EntryType.POLICY_LOADED, "policy")
    check_remembered(policy, known, lambda newer: read_before(study_folder, site, newer))
    if known is None or policy.version > known[0]:
        _remember(log, EntryType.POLICY_LOADED, site, {"policy": policy.bytes_digest}, policy.version, at)


def stops_now(
    log: AuditLog, study_folder: Path, site: str, roster: Roster, study: Study, policy: Policy, *, now: datetime
) -> Stops:
    """What ``site`` knows of stops: those that lie here, and those it has honoured before, whose orders must lie here.

    An order that is new is logged first, so that it cannot vanish together with every list that names it.
    """
    known = frozenset(one.refs["order"] for one in all_entries(_log_of(study_folder, site), EntryType.STOP_HONOURED))
    stops = read_stops(study_folder, roster, study, policy, now=now, honoured=known)
    for order in sorted(stops.orders - known):
        log.append(Entry(str(EntryType.STOP_HONOURED), site, now, refs={"order": order}))
    return stops


def _remember(log: AuditLog, kind: EntryType, site: str, refs: dict[str, str], version: int, at: datetime) -> None:
    log.append(Entry(str(kind), site, at, refs=refs, data={"version": version}))


def _log_of(study_folder: Path, site: str) -> Path:
    return state_folder(study_folder, site) / LOG_NAME
