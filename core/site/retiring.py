"""A party lets go of routine log entries that are past the study's term.

For: ``sekisho compliance retire``, at the machine that holds the party's log and key. Not for: which entries are
routine, or how a log stays provable without them (governance/log/retention.py).

The term is the study's ``audit_years``, and no shorter than what this site's own policy asks for. Both count as people
once signed them, however long ago: whoever types a shorter term into a file lets nothing go. The policy is the one that
the log itself says was run under last, so that no earlier one takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.canonical import digest_bytes
from ...governance.log.entries import EntryType
from ...governance.policy.policy import Policy
from ...governance.signing.approvals import once_approved
from ...governance.signing.envelope import PREDICATES
from ...governance.signing.roster import PartyKind, Roster
from ...governance.signing.succession import SignedRoster
from ..errors import Refused
from ..parties import LOG_NAME, StateLock, state_folder
from ..study import Study
from .exporting import open_logs
from .memory import remembered
from .papers import EARLIER, earlier_rosters, policy_signers, read_file, read_signatures, read_study
from .versions import once_accepted

LEAP_DAY = (2, 29)


@dataclass(frozen=True)
class Retired:
    """How many entries went, those from before the day ``until``; and how many the log has had in all."""

    entries: int
    until: datetime
    size: int


def retire(study_folder: Path, party: str, *, clock: Callable[[], datetime]) -> Retired:
    """Let the entries go, and say so in the log.

    Raises:
        BadInputError: NO_LOG. Refused: PARTY_UNKNOWN, STATE_BUSY, KEY_MISSING, RETENTION_UNKNOWN, RETENTION_UNSIGNED,
            POLICY_MISSING.
        BrokenLogError: of a log that is damaged or cannot be written.
    """
    study, roster = read_study(study_folder), Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    is_site = roster.party(party).kind is PartyKind.SITE
    if study.audit_years < 1:
        raise Refused(
            "RETENTION_UNKNOWN",
            "study.yaml names no term for which evidence is kept",
            hint="what has no term is kept; give audit_years in study.yaml, and sign it",
        )
    now = clock()
    state = state_folder(study_folder, party, coordinator=party == roster.coordinator.id)
    lock = StateLock(state, party) if (state / LOG_NAME).exists() else None
    try:
        with open_logs(study_folder, study.id, roster, [party]) as (one,):
            # under the lock, since a log that is at work may load another policy
            _check_signed(study_folder, study, roster)
            wanted = _years_of_policy(study_folder, party, state / LOG_NAME) if is_site else 0
            until = years_before(now, max(study.audit_years, wanted))
            return Retired(one.log.retire(until, party=party, at=now), until, one.log.size)
    finally:
        if lock is not None:
            lock.release()


def _check_signed(study_folder: Path, study: Study, roster: Roster) -> None:
    """Return if people of a roster that was accepted in its time once approved the study as it stands."""
    path = study_folder / "roster.yaml"
    whole = (SignedRoster(roster, read_signatures(path)), *earlier_rosters(study_folder, roster))
    envelopes = read_signatures(study_folder / "study.yaml")
    subjects, kind = frozenset({study.digest, study.canonical_digest}), PREDICATES["study-approval"]
    for one in once_accepted(whole):
        approved = once_approved(one, envelopes, subjects=subjects, predicate_type=kind, shown=None)
        if approved.reaches(policy_signers(one)):
            return
    raise Refused(
        "RETENTION_UNSIGNED",
        "legal and IT have not signed study.yaml as it stands, so nothing is let go of by its audit_years",
        hint="put back the study that was signed, with its signatures; another term is signed like any other change",
    )


def _years_of_policy(study_folder: Path, site: str, log: Path) -> int:
    """What the policy asks for under which the site ran last; 0 where it never ran."""
    known = remembered(log, EntryType.POLICY_LOADED, "policy")
    if known is None:
        return 0
    home = study_folder / "sites" / site
    for path in (home / "policy.yaml", home / EARLIER / f"{known[0]}.yaml"):
        if path.is_file() and digest_bytes(data := read_file(path)) == known[1]:
            return int(Policy.parse(data, path.name).clause("retention").audit_years)
    raise Refused(
        "POLICY_MISSING",
        f"{site}: the policy under which this site ran last, version {known[0]}, is not here as it was",
        hint=f"what it wants kept is not known without it; put it back, as policy.yaml or {EARLIER}/{known[0]}.yaml",
        site=site,
    )


def years_before(now: datetime, years: int) -> datetime:
    """The same day ``years`` earlier; of a leap day the day before it."""
    day = 28 if (now.month, now.day) == LEAP_DAY else now.day
    return now.replace(year=now.year - years, day=day)
