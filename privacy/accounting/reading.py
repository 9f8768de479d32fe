"""A ledger's balance, read without touching it: for a person who wants to know, beside a process that is at work.

Not for: charging, or judging whether the file was changed behind the ledger's back; only ``Ledger.open`` replays the
journal. Reading follows no policy and so can raise no cap.

``Balance.spent_by_all_runs`` is what may decide about something that others see. The other two figures depend on who is
in the data set, and so must decide nothing outside the ledger.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .journal import BUSY_SECONDS, FINGERPRINT_BYTES, damaged

# A charge beside a run, to other people than the run's own, has the run's name, this, and more; no run's name holds it.
BESIDE = "/"

_BY_RUN = "select cast(subjects as blob), step_cost * charged from admitted join run using (run)"


@dataclass(frozen=True)
class RunRow:
    """One run: cost of a step (ledger units), steps reserved, charged, started and disclosed, "open" or "closed"."""

    run: str
    step_cost: int
    steps: int
    charged: int
    started: int
    disclosed: int
    state: str


@dataclass(frozen=True)
class Balance:
    """For this site's own report; costs in ledger units. ``subjects`` are those that any run has admitted.

    ``spent_max`` and ``spent_min`` are of those subjects, so one person's presence can move them.
    """

    cap: int
    order: int
    subjects: int
    spent_max: int
    spent_min: int
    runs: tuple[RunRow, ...]

    @property
    def spent_by_all_runs(self) -> int:
        """Ledger units that somebody has spent who was in every run, or beside every run, whichever is more.

        A sum over runs, whose steps every site of the cohort sees, so it depends on no person. Nobody has spent more
        who never changed sides; of one who did, the ledger knows the own spend, and admits by that.
        """
        return max(self.spent_by_runs, self.spent_beside)

    def spent_in(self, runs: Collection[str]) -> int:
        """At most what somebody has spent in ``runs``, on whichever side of each; it does not say on which."""
        own, beside = Counter[str](), Counter[str]()
        for row in self.runs:
            run, divided, _ = row.run.partition(BESIDE)
            (beside if divided else own)[run] += row.step_cost * row.charged
        return sum(max(own[run], beside[run]) for run in runs)

    @property
    def spent_by_runs(self) -> int:
        """Of somebody who was in every run."""
        return sum(row.step_cost * row.charged for row in self.runs if BESIDE not in row.run)

    @property
    def spent_beside(self) -> int:
        """Of somebody who was charged beside every run that charges anybody there, such as those who are counted.

        A run without such a charge has no other side: they were in it like everybody else.
        """
        divided = {row.run.partition(BESIDE)[0] for row in self.runs if BESIDE in row.run}
        return sum(row.step_cost * row.charged for row in self.runs if row.run not in divided)


def balance_of(db: sqlite3.Connection, cap: int) -> Balance:
    """What the tables say; the caller holds the transaction."""
    (order,) = db.execute("select renyi_order from life").fetchone()
    spends = spent_by_subject(db).values()
    rows = db.execute("select run, step_cost, steps, charged, started, disclosed, state from run order by run")
    most, least = max(spends, default=0), min(spends, default=0)
    return Balance(cap, order, len(spends), most, least, tuple(RunRow(*row) for row in rows))


def spent_by_subject(db: sqlite3.Connection) -> Counter[bytes]:
    """Ledger units that each subject has spent: the sum over the runs that admitted it.

    The caller holds the transaction. Runs of one data set mostly admit the same subjects; theirs are added up before
    anybody's are looked at.
    """
    together: Counter[bytes] = Counter()
    for subjects, cost in db.execute(_BY_RUN):
        together[subjects] += cost
    spent: Counter[bytes] = Counter()
    for subjects, cost in together.items():
        for start in range(0, len(subjects), FINGERPRINT_BYTES):
            spent[subjects[start : start + FINGERPRINT_BYTES]] += cost
    return spent


def admitted_by(db: sqlite3.Connection, run: str) -> frozenset[bytes]:
    """Fingerprints of the subjects that ``run`` admitted; the caller holds the transaction."""
    row = db.execute("select cast(subjects as blob) from admitted where run = ?", (run,)).fetchone()
    subjects = b"" if row is None else bytes(row[0])
    return frozenset(subjects[at : at + FINGERPRINT_BYTES] for at in range(0, len(subjects), FINGERPRINT_BYTES))


def read_balance(path: Path, *, cap: int) -> Balance:
    """The balance of the ledger in ``path``. Raises ``LedgerError`` LEDGER_DAMAGED when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
            return balance_of(db, cap)
    except (sqlite3.Error, TypeError) as error:
        raise damaged("the ledger's file cannot be read") from error
