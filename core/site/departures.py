"""Whether this site's consent register was put back: who withdrew since is in none of its rows.

For: noticing it at every opening, and taking those withdrawals again, as of the time at which they were taken first:
the record of what a person's data reached (reach.py) has each under a keyed fingerprint. Not for: a state that was put
back as a whole, log and all; only others can see that (heads.py, and the log's witnesses).

Order of calls: ``stop_use`` by whoever takes a withdrawal; ``check_departures`` once log, register and reach are open
and the site's consent file is in the register, before anybody is used.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...governance.consent.consent import ConsentRegister
from ...governance.consent.record import EventKind
from ...governance.consent.withdrawal import Reason
from ...governance.log.entries import EntryType
from ...governance.log.milestones import all_entries
from ..errors import Refused
from .reach import Departure, Reach


def stop_use(register: ConsentRegister, subject: str, at: datetime, reason: Reason, *, scope: str) -> datetime:
    """Use the subject no more from the next step on; until when (aware) what they consented to is over.

    ``scope``: the study's. Raises ``Refused`` CONSENT_SUBJECT_UNKNOWN and other codes of the register.
    """
    if reason is Reason.OBJECTION:
        _object(register, subject, at, scope)
        return at
    granted = _granted(register, subject)
    if not granted:
        register.withdraw(subject, at)  # which says so
    for name, latest in sorted(granted.items()):
        # one that is dated ahead is taken back as of its own date, and keeps nobody from withdrawing the rest
        register.withdraw(subject, max(at, latest), scope=name)
    return max(at, *granted.values())


def check_departures(site: str, register: ConsentRegister, reach: Reach, log: Path, *, scope: str) -> None:
    """Take again, in a register that was put back, whatever withdrawal, objection or erasure it has forgotten.

    Raises:
        Refused: CONSENT_BEHIND_LOG, where what has to be taken again is not known either.
    """
    # 1. each withdrawal is in reach before the log is told, so no crash leaves the log ahead
    departures = reach.departures()
    if len(all_entries(log, EntryType.CONSENT_WITHDRAWN)) > len(departures):
        raise Refused(
            "CONSENT_BEHIND_LOG",
            f"{site}: this site's log tells of withdrawals that its state does not know",
            hint="reach.sqlite was restored from a backup, moved away or made anew; find the newest copy",
            site=site,
        )
    # 2. a register that has all of them is read no further
    noted = register.noted()
    forgotten: dict[bytes, list[Departure]] = {}
    for departure in departures:
        if departure.name not in noted:
            forgotten.setdefault(departure.mark, []).append(departure)
    if not forgotten:
        return
    # 3. who is not in it now may come back with a later file, so their cases stay open
    back = [(subject, found) for subject in register.subjects() if (found := forgotten.get(reach.mark(subject)))]
    for subject, cases in back:
        for departure in cases:
            _leave(register, subject, departure, scope)
            register.note(departure.name)


def _leave(register: ConsentRegister, subject: str, departure: Departure, scope: str) -> None:
    if departure.reason is Reason.OBJECTION:
        _object(register, subject, departure.until, scope)
        return
    for name, latest in sorted(_granted(register, subject).items()):
        if latest <= departure.until:  # else they have consented again since
            register.withdraw(subject, departure.until, scope=name)


def _object(register: ConsentRegister, subject: str, at: datetime, scope: str) -> None:
    for name in sorted({event.scope for event in register.events(subject)} | {scope}):
        register.object(subject, name, at)


def _granted(register: ConsentRegister, subject: str) -> dict[str, datetime]:
    granted: dict[str, datetime] = {}
    for event in register.events(subject):
        if event.kind is EventKind.GRANTED:
            granted[event.scope] = max(event.at, granted.get(event.scope, event.at))
    return granted
