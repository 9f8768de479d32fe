"""Who may be used, now: consent and objection per pseudonymous subject.

For: the answer to "may this subject's records be used for this scope at this time?", and its reason;
     importing a site's consent file; taking a withdrawal, an objection or an erasure, which count from the next
     question on.
Not for: the rule itself (``standing.py``), records, budgets or thresholds (a cohort's size is judged on public numbers,
     never on these counts), and not for anything that leaves a site: pseudonyms and counts by reason stay in the site's
     own report.

Order of calls: ``ConsentRegister.open`` → ``import_file`` → ``eligible`` before every step →
``snapshot_digest`` for the log → ``close``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..errors import Refused
from .consent_import import ImportReport, Progress, import_file, silent
from .record import ConsentEvent, EventKind, microseconds
from .rows import JSONL, RowFormat
from .standing import ConsentStatus, Reason, judge, read
from .vault import Vault

WITHDRAWAL_NOTICE = "withdrawal"      # a withdrawal shows no notice; the field says what the event is
OBJECTION_NOTICE = "objection"


class Eligibility(NamedTuple):
    """The subjects that may be used, in the order asked, and how many may not, by reason."""

    eligible: tuple[str, ...]
    excluded: Counter[str]


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

    def import_file(
        self, path: Path, form: RowFormat = JSONL, *, progress: Progress = silent, dry_run: bool = False
    ) -> ImportReport:
        """Record a consent file (see consent_import.py); one refused row and nothing is recorded.

        Importing the same file again changes nothing. ``dry_run`` reads every row and writes nothing.
        """
        return import_file(self._vault, path, form, progress=progress, dry_run=dry_run)

    def import_jsonl(self, path: Path) -> ImportReport:
        """Record a JSON Lines file."""
        return self.import_file(path)

    def status(self, subject: str, *, scope: str, now: datetime) -> ConsentStatus:
        """Whether one subject may be used for ``scope`` at ``now`` (aware time), and why."""
        return judge(self._vault.events(subject), scope=scope, now=_aware(now))

    def eligible(self, subjects: Iterable[str], scope: str, now: datetime) -> Eligibility:
        """Which of ``subjects`` may be used now. A subject the register does not know is NEVER_ASKED.

        Reads the rows of these subjects and of nobody else.
        """
        now = _aware(now)
        clock = microseconds(now)
        kept: list[str] = []
        others: list[str] = []
        for subject, found in self._vault.standings(dict.fromkeys(subjects), scope):
            reason = Reason.NEVER_ASKED
            if found is not None:
                reason = read(found[1], found[2], found[3], clock) or self.status(subject, scope=scope, now=now).reason
            if reason is Reason.GRANTED:
                kept.append(subject)
            else:
                others.append(reason.value)
        return Eligibility(tuple(kept), Counter(others))

    def anybody(self, scope: str, now: datetime) -> bool:
        """Whether at least one subject of the register may be used now: asks until the first one is found."""
        now = _aware(now)
        clock = microseconds(now)
        return any(
            (read(rank, at, expires, clock) or self._judged(number, scope, now)) is Reason.GRANTED
            for number, rank, at, expires in self._vault.lasting_grants(scope, now)
        )

    def counts(self, scope: str, now: datetime) -> Counter[str]:
        """How many subjects of the register stand where, GRANTED included.

        Who was never asked is in no register: ``eligible`` counts them, because it is given the subjects.
        """
        now = _aware(now)
        clock = microseconds(now)
        return Counter(
            (read(rank, at, expires, clock) or self._judged(number, scope, now)).value
            for number, rank, at, expires in self._vault.all_standings(scope)
        )

    def events(self, subject: str) -> tuple[ConsentEvent, ...]:
        """Everything that the register holds of one subject: what a request for access is answered with."""
        return tuple(self._vault.events(subject))

    def withdraw(self, subject: str, at: datetime, *, scope: str = "") -> tuple[str, ...]:
        """Withdraw ``scope``, or every scope this subject ever granted, from ``at`` on; it counts at the next question.

        Returns the scopes withdrawn.

        Refused: CONSENT_SUBJECT_UNKNOWN (a mistyped id must not look obeyed), CONSENT_WITHDRAWAL_TOO_EARLY
        (dated before a grant of the same scope, it would change nothing).
        """
        at = _aware(at)
        granted: dict[str, datetime] = {}
        for event in self._vault.events(subject):
            if event.kind is EventKind.GRANTED and scope in ("", event.scope):
                granted[event.scope] = max(event.at, granted.get(event.scope, event.at))
        if not granted:
            raise _unknown("the register holds no consent of this subject")
        if any(latest > at for latest in granted.values()):
            raise Refused(
                "CONSENT_WITHDRAWAL_TOO_EARLY",
                "the withdrawal is dated before the consent that it withdraws",
                "give the time at which the withdrawal was received",
            )
        self._vault.record(
            ConsentEvent(subject, name, EventKind.WITHDRAWN, at, None, WITHDRAWAL_NOTICE) for name in granted
        )
        return tuple(sorted(granted))

    def object(self, subject: str, scope: str, at: datetime) -> None:
        """Record an objection to ``scope``: it stands whatever is granted later, and counts at the next question.

        Refused: CONSENT_SUBJECT_UNKNOWN. Who is not in the register is not used; an objection of somebody who was never
        asked is imported as a row, with their pseudonym as the site's own list has it.
        """
        at = _aware(at)
        if not self.knows(subject):
            raise _unknown("the register does not know this subject")
        self._vault.record([ConsentEvent(subject, scope, EventKind.OBJECTED, at, None, OBJECTION_NOTICE)])

    def knows(self, subject: str) -> bool:
        """Whether the register holds anything of this subject."""
        return any(found is not None for _, found in self._vault.standings([subject], ""))

    def erase(self, subject: str, at: datetime | None = None) -> int:
        """Forget one subject entirely; from then on they are NEVER_ASKED. Returns how many events went.

        Rows of an import file dated up to ``at`` (now, if not given), or up to the last that is erased, do not bring
        them back; a later grant does. The file itself is the site's own and is to be corrected there.
        """
        at = _aware(datetime.now(UTC) if at is None else at)
        return self._vault.erase(subject, max([at, *(event.at for event in self._vault.events(subject))]))

    def subjects(self) -> Iterator[str]:
        """Everybody of whom the register holds anything, once each. Reads every event."""
        last = ""
        for event in self._vault.events():
            if event.subject != last:
                last = event.subject
                yield last

    def note(self, case: str) -> None:
        """Remember that the case of this drawn name was taken here: a register that lacks it was put back."""
        self._vault.note(case)

    def noted(self) -> frozenset[str]:
        """The names of all cases that were taken here."""
        return self._vault.noted()

    def snapshot_digest(self) -> str:
        """Keyed digest of the register as it stands, "sha256:" + 64 hex; it changes with every event."""
        return self._vault.commitment()

    def check(self) -> int:
        """Read every event again and hold index and digest to them; returns how many there are.

        Raises GovernanceError VAULT_UNREADABLE.
        """
        return self._vault.check()

    def _judged(self, number: int, scope: str, now: datetime) -> Reason:
        return judge(self._vault.subject_events(number), scope=scope, now=now).reason


def _unknown(sentence: str) -> Refused:
    return Refused("CONSENT_SUBJECT_UNKNOWN", sentence, "check the subject's id")


def _aware(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise Refused("CONSENT_TIME_NAIVE", "the time has no zone", "pass an aware time")
    return time.astimezone(UTC)
