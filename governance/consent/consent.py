"""Who may be used, now: consent and objection per pseudonymous subject.

For: the answer to "may this subject's records be used for this scope at this time?", and its reason;
     importing a site's consent file; taking a withdrawal, which counts from the next question on.
Not for: records, budgets or thresholds (a cohort's size is judged on public numbers, never on these counts),
     and not for anything that leaves a site: pseudonyms and counts by reason stay in the site's own report.

Order of calls: ``ConsentRegister.open`` → ``import_jsonl`` → ``eligible`` before every step →
``snapshot_digest`` for the log → ``close``. ``judge`` is the whole rule; it does no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import Refused
from .consent_import import ImportReport, read_jsonl
from .vault import ConsentEvent, EventKind, Vault

WITHDRAWAL_NOTICE = "withdrawal"      # a withdrawal shows no notice; the field says what the event is


class Reason(StrEnum):
    """Why a subject may or may not be used; GRANTED is the only yes."""

    GRANTED = "granted"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    NEVER_ASKED = "never-asked"
    OBJECTED = "objected"
    NOT_YET_VALID = "not-yet-valid"
    OTHER_SCOPE = "other-scope"


@dataclass(frozen=True)
class ConsentStatus:
    """One subject's answer for one scope at one time."""

    eligible: bool
    reason: Reason


class Eligibility(NamedTuple):
    """The subjects that may be used, in the order asked, and how many may not, by reason."""

    eligible: tuple[str, ...]
    excluded: Counter[str]


def judge(events: Iterable[ConsentEvent], *, scope: str, now: datetime) -> ConsentStatus:
    """The rule, on all events of ONE subject. Every doubt is a no.

    1. An objection stands, whatever came before or after it: lifting one is a matter for people, not dates.
    2. Otherwise the latest event of this scope decides; at the same instant a withdrawal is the later one.
       A grant counts from its own time on; a withdrawal counts as soon as it is known, even if dated ahead.
    3. A grant with an end counts until just before that end.
    """
    known = tuple(events)
    asked = [event for event in known if event.scope == scope]
    if any(event.kind is EventKind.OBJECTED for event in asked):
        return ConsentStatus(False, Reason.OBJECTED)
    if not asked:
        return ConsentStatus(False, Reason.OTHER_SCOPE if known else Reason.NEVER_ASKED)
    counting = [event for event in asked if event.kind is EventKind.WITHDRAWN or event.at <= now]
    if not counting:
        return ConsentStatus(False, Reason.NOT_YET_VALID)
    latest = max(event.at for event in counting)
    deciding = [event for event in counting if event.at == latest]
    if any(event.kind is EventKind.WITHDRAWN for event in deciding):
        return ConsentStatus(False, Reason.WITHDRAWN)
    if any(event.expires is not None and event.expires <= now for event in deciding):
        return ConsentStatus(False, Reason.EXPIRED)
    return ConsentStatus(True, Reason.GRANTED)


class ConsentRegister:
    """A site's consent and objection register on its erasable vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    @classmethod
    def open(cls, path: Path) -> ConsentRegister:
        """Open or create the register; GovernanceError VAULT_UNREADABLE if ``path`` holds something else."""
        return cls(Vault.open(path))

    def close(self) -> None:
        """Close the vault below."""
        self._vault.close()

    def import_jsonl(self, path: Path) -> ImportReport:
        """Record a consent file (see consent_import.py); one refused row and nothing is recorded.

        Importing the same file again changes nothing.
        """
        events, refused = read_jsonl(path)
        if refused:
            return ImportReport(recorded=0, known=0, refused=refused)
        recorded = self._vault.record(events)
        return ImportReport(recorded=recorded, known=len(events) - recorded, refused=())

    def status(self, subject: str, *, scope: str, now: datetime) -> ConsentStatus:
        """Whether one subject may be used for ``scope`` at ``now`` (aware time), and why."""
        return judge(self._vault.events(subject), scope=scope, now=_aware(now))

    def eligible(self, subjects: Iterable[str], scope: str, now: datetime) -> Eligibility:
        """Which of ``subjects`` may be used now. A subject the register does not know is NEVER_ASKED."""
        statuses = self._statuses(scope, _aware(now))
        asked = tuple(dict.fromkeys(subjects))
        never = ConsentStatus(False, Reason.NEVER_ASKED)
        answers = [(subject, statuses.get(subject, never)) for subject in asked]
        return Eligibility(
            tuple(subject for subject, answer in answers if answer.eligible),
            Counter(answer.reason.value for _, answer in answers if not answer.eligible),
        )

    def counts(self, scope: str, now: datetime) -> Counter[str]:
        """How many subjects of the register stand where, GRANTED included.

        Who was never asked is in no register: ``eligible`` counts them, because it is given the subjects.
        """
        return Counter(answer.reason.value for answer in self._statuses(scope, _aware(now)).values())

    def withdraw(self, subject: str, at: datetime) -> None:
        """Withdraw every scope this subject ever granted, from ``at`` on; it counts at the next question.

        Refused: CONSENT_SUBJECT_UNKNOWN (a mistyped id must not look obeyed), CONSENT_WITHDRAWAL_TOO_EARLY
        (dated before a grant of the same scope, it would change nothing).
        """
        at = _aware(at)
        granted: dict[str, datetime] = {}
        for event in self._vault.events(subject):
            if event.kind is EventKind.GRANTED:
                granted[event.scope] = max(event.at, granted.get(event.scope, event.at))
        if not granted:
            raise Refused(
                "CONSENT_SUBJECT_UNKNOWN",
                "the register holds no consent of this subject",
                "check the subject's id",
            )
        if any(latest > at for latest in granted.values()):
            raise Refused(
                "CONSENT_WITHDRAWAL_TOO_EARLY",
                "the withdrawal is dated before the consent that it withdraws",
                "give the time at which the withdrawal was received",
            )
        self._vault.record(
            ConsentEvent(subject, scope, EventKind.WITHDRAWN, at, None, WITHDRAWAL_NOTICE)
            for scope in granted
        )

    def object(self, subject: str, at: datetime) -> None:
        """Take an objection to every scope that this subject was asked about; it stands whatever comes later.

        Refused: CONSENT_SUBJECT_UNKNOWN (a mistyped id must not look obeyed).
        """
        at = _aware(at)
        scopes = {event.scope for event in self._vault.events(subject)}
        if not scopes:
            raise Refused(
                "CONSENT_SUBJECT_UNKNOWN",
                "the register holds no consent of this subject",
                "check the subject's id",
            )
        self._vault.record(
            ConsentEvent(subject, scope, EventKind.OBJECTED, at, None, WITHDRAWAL_NOTICE) for scope in sorted(scopes)
        )

    def erase(self, subject: str) -> int:
        """Forget one subject entirely; from then on they are NEVER_ASKED. Returns how many events went.

        The file an import came from is the site's own: a subject who still stands in it comes back with it.
        """
        return self._vault.erase(subject)

    def snapshot_digest(self) -> str:
        """Keyed digest of the register as it stands, "sha256:" + 64 hex; it changes with every event."""
        return self._vault.commitment()

    def _statuses(self, scope: str, now: datetime) -> dict[str, ConsentStatus]:
        by_subject = groupby(self._vault.events(), key=lambda event: event.subject)
        return {subject: judge(events, scope=scope, now=now) for subject, events in by_subject}


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise Refused("CONSENT_TIME_NAIVE", "the time has no zone", "pass an aware time")
    return time.astimezone(UTC)
