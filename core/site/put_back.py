"""Whether this site itself was put back: its ledger or its clock is behind what its own log says was done.

For: noticing at home, before anybody else is asked, that a ledger was restored from a backup, moved away or made anew,
and that the clock was set back, by which what has expired would count again. Not for: a state that was put back as a
whole, log and all; only others can see that (heads.py, and the log's witnesses).

Order of calls: once the log is open ``Clock.of_log``, then ``Clock.check`` there and at every decision; once the ledger
is open ``check_ledger``.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry, EntryType
from ...governance.log.milestones import all_entries, last_entries, newest_time
from ...privacy.accounting.reading import Balance
from ..errors import Refused

CLOCK_TOLERANCE = timedelta(minutes=5)  # a time service corrects by less; going back further is somebody's hand


class Clock:
    """The latest time at which this site is known to have acted; it only rises, in small steps back no less."""

    def __init__(self, site: str, latest: datetime | None) -> None:
        self._site = site
        self._latest = latest

    @classmethod
    def of_log(cls, site: str, path: Path) -> Clock:
        """From every entry of the log in ``path``. Raises ``BrokenLogError`` LOG_DAMAGED, ENTRY_MALFORMED."""
        return cls(site, newest_time(path))

    def check(self, now: datetime) -> None:
        """Refuse to act at ``now`` (aware) when this site has acted at a later time.

        Raises:
            Refused: CLOCK_SET_BACK.
        """
        if self._latest is None or now > self._latest:
            self._latest = now
        elif now < self._latest - CLOCK_TOLERANCE:
            raise Refused(
                "CLOCK_SET_BACK",
                f"{self._site}: the clock says {now:%Y-%m-%d %H:%M}, but this site acted at "
                f"{self._latest:%Y-%m-%d %H:%M} (UTC)",
                hint="what has expired would count again, so set the clock right; if it ran ahead before, wait, or "
                "begin an empty log as after a new key (docs/adr/0011)",
                site=self._site,
            )


def check_ledger(site: str, balance: Balance, log: AuditLog, path: Path) -> None:
    """Refuse a ledger that lacks what the log in ``path`` (open as ``log``) says was reserved, started or disclosed.

    Every transition is in the ledger before it is in the log, so no crash leaves the log ahead. Of the last run the
    steps are counted, too.

    Raises:
        Refused: LEDGER_BEHIND_LOG.
    """
    rows = {row.run: row for row in balance.runs}
    reserved = {entry.refs["run"] for entry in all_entries(path, EntryType.BUDGET_RESERVED)}
    behind = not reserved <= set(rows)
    if reserved and not behind:
        number, last = last_entries(path, [EntryType.BUDGET_RESERVED])[str(EntryType.BUDGET_RESERVED)]
        run = last.refs["run"]
        entries = map(Entry.from_bytes, log.entries(number))
        done = Counter(entry.type for entry in entries if entry.refs.get("run") == run)
        row = rows[run]
        behind = done[EntryType.STEP_STARTED] > row.started or done[EntryType.STEP_DISCLOSED] > row.disclosed
        if "counts" in last.refs:
            counted = rows.get(f"{run}/{last.refs['counts']}")
            behind = behind or counted is None or done[EntryType.COUNTS_DISCLOSED] > counted.disclosed
    if behind:
        raise Refused(
            "LEDGER_BEHIND_LOG",
            f"{site}: this site's log tells of runs or steps that its privacy ledger does not know",
            hint="the ledger was restored from a backup, moved away or made anew; find the newest copy",
            site=site,
        )
