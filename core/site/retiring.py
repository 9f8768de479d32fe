"""A party lets go of routine log entries that are past the study's term.

For: ``sekisho compliance retire``, at the machine that holds the party's log and key. Not for: which entries are
routine, or how a log stays provable without them (governance/log/retention.py).

The term is the study's ``audit_years``, which every site's policy holds to its own minimum before a run: nobody can
let go of an entry that a policy still wants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ...governance.signing.roster import Roster
from ..errors import Refused
from ..parties import LOG_NAME, StateLock, state_folder
from .exporting import open_logs
from .papers import read_file, read_study

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
        BadInputError: NO_LOG. Refused: PARTY_UNKNOWN, STATE_BUSY, KEY_MISSING, RETENTION_UNKNOWN.
        BrokenLogError: of a log that is damaged or cannot be written.
    """
    study, roster = read_study(study_folder), Roster.parse(read_file(study_folder / "roster.yaml"), "roster.yaml")
    roster.party(party)
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
            until = years_before(now, study.audit_years)
            return Retired(one.log.retire(until, party=party, at=now), until, one.log.size)
    finally:
        if lock is not None:
            lock.release()


def years_before(now: datetime, years: int) -> datetime:
    """The same day ``years`` earlier; of a leap day the day before it."""
    day = 28 if (now.month, now.day) == LEAP_DAY else now.day
    return now.replace(year=now.year - years, day=day)
