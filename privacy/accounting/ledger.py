"""Who has how much left: a Rényi filter per subject on SQLite, charged before anything can be seen.

For: one site's budget over all runs, processes and restarts.
Not for: what a step costs (``accountant.py``), whose fingerprint a row is (``subjects.py``), or whether an old copy was
put back: a ledger cannot know that. Its head travels in every join and frame; ``head_at`` lets core compare.

Order of calls: ``Ledger.open`` → ``close_orphans`` → ``reserve`` (whole run, before data are touched) → each step
``start`` (before data are touched), ``disclose`` (before the result is visible), ``settle`` → ``close``.

Invariants, each held inside one IMMEDIATE transaction:

* no admitted subject's spend passes the cap when a run is reserved;
* a reservation shrinks only at ``close``, and only by steps that were never started: unknown means spent;
* a step is sealed once, in the same transaction as its mark; what is sealed is re-sent, never recomputed.

There is no clock in it, so setting one back changes nothing. A subject's spend is never stored: it is the sum over the
runs that admitted it, so no second figure could disagree with the first.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..budget import Budget, decimal_text
from ..errors import BudgetExceededError, LedgerError
from .journal import (
    BUSY_SECONDS,
    DISCLOSED,
    FINGERPRINT_BYTES,
    SETTLED,
    STARTED,
    History,
    Journal,
    LedgerHead,
    check_tables,
    connect,
    damaged,
    refusal,
    replay,
)
from .reading import Balance, admitted_by, balance_of, spent_by_subject

LARGEST_COST = 2**60  # a run's cost stays exact in SQLite's signed 64 bits
LONGEST_RUN_NAME = 200


class Ledger:
    """One site's filter for one data set; several processes and threads may use it at once."""

    def __init__(self, db: sqlite3.Connection, key: bytes, cap: int) -> None:
        """Use :meth:`open`."""
        self._db = db
        self._cap = cap  # of the policy that opened it here: no other process can raise it from outside
        self._journal = Journal(db, key)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, dataset: str, budget: Budget, order: int, cap: int, key: bytes) -> Ledger:
        """Open the ledger in ``path``, verified from its first entry; created (0600) if there is none.

        Data set, unit, neighbouring relation and order are fixed for life; (ε, δ) and cap follow the
        policy, recorded.

        Args:
            order, cap: from ``filter_order`` at creation (``stored_order`` later) and ``filter_cap``.
            key: 32 bytes, ``SubjectKey.ledger_key()``.

        Raises:
            LedgerError: ``LEDGER_DAMAGED``, ``LEDGER_FORMAT``, ``LEDGER_UNWRITABLE``, ``LEDGER_FIXED``.
        """
        ledger = cls(connect(path), key, cap)
        try:
            with ledger._transaction():
                history = replay(ledger._journal.verify())
                check_tables(ledger._db, history)
                ledger._enter_life(history, dataset, budget, order, cap)
        except BaseException:
            ledger.shut()
            raise
        return ledger

    @staticmethod
    def stored_order(path: Path) -> int | None:
        """The order that an existing ledger counts in; ``None`` where there is no ledger yet."""
        if not path.exists():
            return None
        try:
            with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as db:
                row = db.execute("select renyi_order from life").fetchone()
        except sqlite3.Error as error:
            raise damaged("the ledger's file cannot be read") from error
        return None if row is None else int(row[0])

    def reserve(
        self, run: str, *, step_cost: int, steps: int, subjects: Sequence[bytes], nobody: bool = False
    ) -> frozenset[bytes]:
        """Charge the whole run now, to every subject that can pay for it; return those.

        Who is left out, and whether anybody is left, depends on who is in the data set: neither may show outside. A
        caller whose answer others see asks ``Balance.spent_by_all_runs`` first; where that leaves room, all can pay.

        Args:
            step_cost: ledger units, from ``accountant.step_cost``. steps: planned and allowance.
            subjects: fingerprints (32 bytes) of the eligible subjects.
            nobody: a reservation of nobody is one, too: where a site disclosing noise alone must not show.

        Raises:
            BudgetExceededError: ``BUDGET_EXHAUSTED`` when nobody can pay and ``nobody`` is not said.
            LedgerError: ``RUN_EXISTS``, ``BAD_RESERVATION``, ``LEDGER_UNWRITABLE``.
        """
        asked = frozenset(subjects)
        named = 0 < len(run) <= LONGEST_RUN_NAME and {len(subject) for subject in asked} <= {FINGERPRINT_BYTES}
        named = named and (nobody or bool(asked))
        if not named or step_cost < 1 or steps < 1 or step_cost * steps > LARGEST_COST:
            raise LedgerError("BAD_RESERVATION", "a reservation has no subjects, no steps or no cost")
        with self._transaction():
            # 1. One reservation a run.
            if self._db.execute("select 1 from run where run = ?", (run,)).fetchone():
                raise LedgerError("RUN_EXISTS", "this run was reserved before", "name it anew")
            # 2. Admitted is who can pay for every step of it, whatever happens later.
            admitted = self._who_can_pay(step_cost * steps, asked)
            if asked and not admitted and not nobody:
                raise BudgetExceededError(
                    "BUDGET_EXHAUSTED",
                    "no subject of this data set has enough privacy budget left for this run",
                    "the budget is for life; a smaller epsilon or fewer steps may still fit",
                )
            row = (run, step_cost, steps, steps)
            self._db.execute("insert into run values (?, ?, ?, ?, 0, 0, 0, 'open')", row)
            in_order = b"".join(sorted(admitted))
            if in_order:  # the table holds no row of nobody
                self._db.execute("insert into admitted values (?, ?)", (run, in_order))
            digest = hashlib.sha256(in_order).hexdigest()
            self._journal.append("reserved", run=run, step_cost=step_cost, steps=steps, admitted=digest)
        return admitted

    def start(self, run: str, step: int) -> None:
        """Durable before data are touched: from here the step counts as spent.

        Raises:
            LedgerError: ``RUN_UNKNOWN``, ``RUN_CLOSED``, ``STEP_NOT_RISING``, ``STEP_NOT_RESERVED``.
        """
        with self._transaction():
            steps, last_step = self._open_run(run)
            if step > steps:
                raise LedgerError("STEP_NOT_RESERVED", "this step was never paid for", "the run's steps are used up")
            if step <= last_step:
                raise LedgerError(
                    "STEP_NOT_RISING", "a step that was started is never started again", "abandon it"
                )
            self._db.execute("insert into step values (?, ?, ?, null)", (run, step, STARTED))
            self._db.execute("update run set started = started + 1, last_step = ? where run = ?", (step, run))
            self._journal.append("started", run=run, step=step)

    def require_started(self, run: str, step: int) -> None:
        """The step's cost is durably marked and the step is not sealed yet: the state in which noise may be drawn.

        Raises:
            LedgerError: ``RUN_UNKNOWN``, ``RUN_CLOSED``, ``STEP_NOT_STARTED``, ``ALREADY_SEALED``.
        """
        with self._transaction():
            self._started_step(run, step)

    def is_started(self, run: str, step: int) -> bool:
        """Whether the step is charged and not sealed: nothing of it has left, and it may be computed once more."""
        with self._transaction():
            row = self._db.execute("select state from step where run = ? and step = ?", (run, step)).fetchone()
        return row is not None and row[0] == STARTED

    def admitted(self, run: str) -> frozenset[bytes]:
        """Fingerprints of whom the run was reserved for; nobody where it was not reserved."""
        with self._transaction():
            return admitted_by(self._db, run)

    def charged(self, run: str) -> tuple[int, int]:
        """What each step of an open run was charged, in ledger units, and the Rényi order that they count in.

        Raises:
            LedgerError: ``RUN_UNKNOWN``, ``RUN_CLOSED``.
        """
        with self._transaction():
            self._open_run(run)
            row = self._db.execute("select step_cost, renyi_order from run, life where run = ?", (run,)).fetchone()
        return int(row[0]), int(row[1])

    def disclose(self, run: str, step: int, sealed: bytes) -> None:
        """Durable before anything can be seen: marks the step and keeps the bytes that may be sent for it.

        Raises:
            LedgerError: ``RUN_UNKNOWN``, ``RUN_CLOSED``, ``STEP_NOT_STARTED``, ``ALREADY_SEALED``,
                ``STEP_NOT_CURRENT``.
        """
        with self._transaction():
            # 1. Once: a second sealing of one step would let masks cancel.
            last_step = self._started_step(run, step)
            # 2. Not after a later step has started.
            if step != last_step:
                raise LedgerError("STEP_NOT_CURRENT", "a later step has been started", "abandon it")
            self._db.execute(
                "update step set state = ?, sealed = ? where run = ? and step = ?",
                (DISCLOSED, sealed, run, step),
            )
            self._db.execute("update run set disclosed = disclosed + 1 where run = ?", (run,))
            self._journal.append("disclosed", run=run, step=step, sealed=hashlib.sha256(sealed).hexdigest())

    def sealed(self, run: str, step: int) -> bytes | None:
        """The bytes to re-send for a disclosed step; ``None`` before disclosure and after it was settled."""
        with self._transaction():
            row = self._db.execute("select sealed from step where run = ? and step = ?", (run, step)).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def settle(self, run: str, step: int) -> None:
        """The step is over, opened or abandoned: its bytes are dropped, its mark stays. Twice is once.

        Raises:
            LedgerError: ``STEP_NOT_STARTED``.
        """
        with self._transaction():
            if self._step_state(run, step) == SETTLED:
                return
            self._db.execute(
                "update step set state = ?, sealed = null where run = ? and step = ?", (SETTLED, run, step)
            )
            self._journal.append("settled", run=run, step=step)

    def close(self, run: str) -> None:
        """The run is over: refunds the steps that were never started, and nothing else.

        Raises:
            LedgerError: ``RUN_UNKNOWN``, ``RUN_CLOSED``.
        """
        with self._transaction():
            self._open_run(run)
            self._db.execute("update step set state = 3, sealed = null where run = ? and state < 3", (run,))
            self._db.execute("update run set charged = started, state = 'closed' where run = ?", (run,))
            self._journal.append("closed", run=run)

    def close_orphans(self) -> tuple[str, ...]:
        """Close what a crash left open. Only where no other process of this site is within a run."""
        with self._transaction():
            rows = self._db.execute("select run from run where state = 'open' order by run").fetchall()
            for (run,) in rows:
                self.close(run)
        return tuple(run for (run,) in rows)

    def balance(self) -> Balance:
        """What was spent, for this site's own eyes."""
        with self._transaction():
            return balance_of(self._db, self._lowest_cap())

    def head(self) -> LedgerHead:
        """The number of entries and the MAC of the last: goes into every frame header."""
        with self._transaction():
            return self._journal.head()

    def head_at(self, entries: int) -> str | None:
        """The MAC that this ledger's head had at ``entries``; ``None`` if it never got there.

        A head that others saw and that this ledger does not know by this very MAC: an older copy was put back.
        """
        with self._transaction():
            return self._journal.head_at(entries)

    def shut(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, one writer at a time; an inner one is part of the outer."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            try:
                self._db.execute("begin immediate")
                try:
                    yield
                    self._db.execute("commit")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("rollback")
            except sqlite3.Error as error:
                raise refusal(error) from error

    def _lowest_cap(self) -> int:
        """Its own, or a lower one under which the ledger was opened since: a policy that narrowed holds for all."""
        (latest,) = self._db.execute("select cap from life").fetchone()
        return min(self._cap, int(latest))

    def _who_can_pay(self, cost: int, asked: frozenset[bytes]) -> frozenset[bytes]:
        room = self._lowest_cap() - cost
        # Nobody has spent more than all runs together. Where that leaves room, and a site joins no run where it does
        # not, no single spend is looked at: a reservation takes as long after many runs as after none.
        if sum(spent for (spent,) in self._db.execute("select step_cost * charged from run")) <= room:
            return asked
        spends = spent_by_subject(self._db)
        return frozenset(subject for subject in asked if spends[subject] <= room)

    def _open_run(self, run: str) -> tuple[int, int]:
        """Steps reserved and last step started, of an open run."""
        row = self._db.execute("select steps, last_step, state from run where run = ?", (run,)).fetchone()
        if row is None:
            raise LedgerError("RUN_UNKNOWN", "this ledger has reserved no such run", "reserve it first")
        steps, last_step, state = row
        if state != "open":
            raise LedgerError("RUN_CLOSED", "this run is closed", "a new run has a new name")
        return steps, last_step

    def _started_step(self, run: str, step: int) -> int:  # the last step started; ``step`` is started, not sealed
        _, last_step = self._open_run(run)
        if self._step_state(run, step) != STARTED:
            raise LedgerError("ALREADY_SEALED", "this step was sealed or settled before", "send the stored bytes again")
        return last_step

    def _step_state(self, run: str, step: int) -> int:
        row = self._db.execute("select state from step where run = ? and step = ?", (run, step)).fetchone()
        if row is None:
            raise LedgerError("STEP_NOT_STARTED", "this step was never started", "charge it first")
        return int(row[0])

    def _enter_life(self, history: History, dataset: str, budget: Budget, order: int, cap: int) -> None:
        unit, adjacency = budget.unit.value, budget.adjacency.value
        fixed: dict[str, str | int] = {
            "dataset": dataset,
            "order": order,
            "unit": unit,
            "adjacency": adjacency,
        }
        epsilon, delta = decimal_text(budget.epsilon), decimal_text(budget.delta)
        moving: dict[str, str | int] = {"epsilon": epsilon, "delta": delta, "cap": cap}
        if not history.life:
            row = (*fixed.values(), *moving.values())
            self._db.execute("insert into life values (1, ?, ?, ?, ?, ?, ?, ?)", row)
            self._journal.append("opened", **fixed, **moving)
        elif any(history.life[name] != value for name, value in fixed.items()):
            raise LedgerError(
                "LEDGER_FIXED",
                "this ledger was opened for another data set, unit or order, and those are fixed for life",
                "renaming a data set mints no budget; use the stored order",
            )
        elif any(history.life[name] != value for name, value in moving.items()):
            self._db.execute("update life set epsilon = ?, delta = ?, cap = ?", tuple(moving.values()))
            self._journal.append("budget", **moving)
