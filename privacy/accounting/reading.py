"""A ledger's balance, read without touching it: for a person who wants to know, beside a process that is at work.

Not for: charging, or judging whether the file was changed behind the ledger's back; only ``Ledger.open`` replays the
journal. Reading follows no policy and so can raise no cap.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .journal import BUSY_SECONDS, damaged

_SPENT = """
select count(*), coalesce(max(spent), 0), coalesce(min(spent), 0) from (
  select sum(run.step_cost * run.charged) as spent from admitted join run using (run) group by subject)
"""


@dataclass(frozen=True)
class RunRow:
    """One run: cost of a step (ledger units), steps reserved, started and disclosed, "open" or "closed"."""

    run: str
    step_cost: int
    steps: int
    started: int
    disclosed: int
    state: str


@dataclass(frozen=True)
class Balance:
    """For this site's own report; costs in ledger units. ``subjects`` are those that any run has admitted."""

    cap: int
    order: int
    subjects: int
    spent_max: int
    spent_min: int
    runs: tuple[RunRow, ...]


def balance_of(db: sqlite3.Connection, cap: int) -> Balance:
    """What the tables say; the caller holds the transaction."""
    (order,) = db.execute("select renyi_order from life").fetchone()
    subjects, most, least = db.execute(_SPENT).fetchone()
    rows = db.execute("select run, step_cost, steps, started, disclosed, state from run order by run")
    return Balance(cap, order, subjects, most, least, tuple(RunRow(*row) for row in rows))


def read_balance(path: Path, *, cap: int) -> Balance:
    """The balance of the ledger in ``path``. Raises ``LedgerError`` LEDGER_DAMAGED when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
            return balance_of(db, cap)
    except (sqlite3.Error, TypeError) as error:
        raise damaged("the ledger's file cannot be read") from error
