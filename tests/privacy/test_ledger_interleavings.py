"""Any order of calls on two open handles, also at once, against a model of a few dictionaries; and ledgers that forget.

Each mutant is a ledger with one rule missing, and the machine must find it: else it would prove nothing.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sekisho.privacy.accounting.journal import STARTED, LedgerHead
from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.accounting.reading import spent_by_subject
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import BudgetExceededError, LedgerError

BUDGET = Budget(Decimal(6), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
KEY = bytes(range(32))
CAP = 1000
A, B, C = (bytes([letter]) * 32 for letter in b"abc")

HANDLES = st.integers(0, 1)
RUNS = st.integers(0, 3)  # which of the runs, the last first; beyond them one that was never reserved
STEPS = st.integers(-2, 2)  # around the last step that was started
COSTS = st.integers(1, 60)
SUBJECTS = st.lists(st.sampled_from([A, B, C]), min_size=1, unique=True)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """What each act returned, or the error that it raised; all begin together, each in its own thread."""
    ready = Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        ready.wait()
        try:
            return act()
        except (LedgerError, BudgetExceededError) as error:
            return error

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


class Interleavings(RuleBasedStateMachine):
    """The model: per run its cost, steps, charged steps, admitted subjects, started steps with their bytes."""

    folder: ClassVar[Path]
    kind: ClassVar[type[Ledger]] = Ledger
    threads: ClassVar[bool] = True  # whether two handles are also used at once

    def __init__(self) -> None:
        super().__init__()
        self.path = self.folder / os.urandom(8).hex()
        self.caps = [CAP, CAP]
        self.latest_cap = CAP
        self.handles = [self.opened(), self.opened()]
        self.cost: dict[str, int] = {}
        self.steps: dict[str, int] = {}
        self.charged: dict[str, int] = {}
        self.admitted: dict[str, frozenset[bytes]] = {}
        self.started: dict[str, dict[int, bytes | None]] = {}
        self.settled: set[tuple[str, int]] = set()
        self.closed: set[str] = set()
        self.seen: list[LedgerHead] = []
        self.backup: tuple[LedgerHead, int] | None = None

    def opened(self, path: Path | None = None, cap: int = CAP) -> Ledger:
        ledger = self.kind.open(path or self.path, dataset="reviews", budget=BUDGET, order=5, cap=cap, key=KEY)
        ledger._db.execute("pragma synchronous = off")  # what survives a power cut is not what is asked here
        return ledger

    # --- the model

    def spent(self, subject: bytes) -> int:
        return sum(self.cost[run] * self.charged[run] for run in self.cost if subject in self.admitted[run])

    def can_pay(self, which: int, price: int, subjects: list[bytes], *, besides: frozenset[bytes]) -> frozenset[bytes]:
        """Who can pay ``price`` at this handle, if those of ``besides`` have just paid as much."""
        cap = min(self.caps[which], self.latest_cap)
        return frozenset(s for s in subjects if self.spent(s) + price * (1 + (s in besides)) <= cap)

    def named(self, number: int, offset: int) -> tuple[str, int]:
        """A run and one of its steps, as ``RUNS`` and ``STEPS`` say."""
        run = dict(enumerate(reversed(self.cost))).get(number, "unknown")
        return run, max(self.started.get(run, {}), default=0) + offset

    def note_reserved(self, run: str, cost: int, steps: int, admitted: frozenset[bytes]) -> None:
        self.cost[run], self.steps[run], self.charged[run] = cost, steps, steps
        self.admitted[run], self.started[run] = admitted, {}

    def note_closed(self, run: str) -> None:
        self.closed.add(run)
        self.charged[run] = len(self.started[run])
        self.settled |= {(run, step) for step in self.started[run]}

    def may_start(self, run: str, step: int) -> bool:
        last = max(self.started.get(run, {}), default=0)
        return run in self.cost and run not in self.closed and last < step <= self.steps[run]

    def may_disclose(self, run: str, step: int) -> bool:
        steps = self.started.get(run, {})
        current = bool(steps) and step == max(steps) and steps[step] is None
        return current and run not in self.closed and (run, step) not in self.settled

    # --- one after another

    @rule(which=HANDLES, again=st.booleans(), cost=COSTS, steps=st.integers(1, 4), subjects=SUBJECTS)
    def reserve(self, *, which: int, again: bool, cost: int, steps: int, subjects: list[bytes]) -> None:
        run, _ = self.named(0, 0) if again else (f"r{len(self.cost)}", 0)
        expected = self.can_pay(which, cost * steps, subjects, besides=frozenset())
        try:
            got = self.handles[which].reserve(run, step_cost=cost, steps=steps, subjects=subjects)
        except BudgetExceededError:
            assert not expected and run not in self.cost
        except LedgerError as error:
            assert error.code == "RUN_EXISTS" and run in self.cost
        else:
            assert got == expected
            self.note_reserved(run, cost, steps, got)

    @rule(which=HANDLES, number=RUNS, offset=STEPS)
    def start(self, which: int, number: int, offset: int) -> None:
        run, step = self.named(number, offset)
        allowed = self.may_start(run, step)
        try:
            self.handles[which].start(run, step)
        except LedgerError:
            assert not allowed
        else:
            assert allowed
            self.started[run][step] = None

    @rule(which=HANDLES, number=RUNS, offset=STEPS, data=st.binary(max_size=9))
    def disclose(self, which: int, number: int, offset: int, data: bytes) -> None:
        run, step = self.named(number, offset)
        allowed = self.may_disclose(run, step)
        try:
            self.handles[which].disclose(run, step, data)
        except LedgerError:
            assert not allowed
        else:
            assert allowed
            self.started[run][step] = data

    @rule(which=HANDLES, number=RUNS, offset=STEPS)
    def settle(self, which: int, number: int, offset: int) -> None:
        run, step = self.named(number, offset)
        try:
            self.handles[which].settle(run, step)
        except LedgerError:
            assert step not in self.started.get(run, {})
        else:
            self.settled.add((run, step))

    @rule(which=HANDLES, number=RUNS)
    def close(self, which: int, number: int) -> None:
        run, _ = self.named(number, 0)
        try:
            self.handles[which].close(run)
        except LedgerError:
            assert run not in self.cost or run in self.closed
        else:
            assert run in self.cost and run not in self.closed
            self.note_closed(run)

    @rule(which=HANDLES, number=RUNS, data=st.none() | st.binary(max_size=9))
    def one_step(self, which: int, number: int, data: bytes | None) -> None:
        """What a run does: its next step, and mostly its disclosure."""
        self.start(which, number, 1)
        if data is not None:
            self.disclose(1 - which, number, 0, data)

    # --- opened again, under another policy, after a crash

    @rule(which=HANDLES, cap=st.sampled_from([600, CAP, 1400]))
    def reopen(self, which: int, cap: int) -> None:
        self.handles[which].shut()
        self.handles[which] = self.opened(cap=cap)
        self.caps[which] = self.latest_cap = cap

    @precondition(lambda self: self.cost)
    @rule()
    def crash(self) -> None:
        for handle in self.handles:
            handle.shut()
        self.handles = [self.opened(cap=cap) for cap in self.caps]
        self.latest_cap = self.caps[-1]
        orphans = self.handles[0].close_orphans()
        assert set(orphans) == set(self.cost) - self.closed
        for run in orphans:
            self.note_closed(run)

    # --- at once

    @precondition(lambda self: self.threads)
    @rule(cost=COSTS, steps=st.integers(1, 4), subjects=SUBJECTS)
    def reserve_at_once(self, cost: int, steps: int, subjects: list[bytes]) -> None:
        names = [f"both-{len(self.cost)}-{which}" for which in (0, 1)]
        got = at_once(*(
            lambda name=name, handle=handle: handle.reserve(name, step_cost=cost, steps=steps, subjects=subjects)
            for name, handle in zip(names, self.handles, strict=True)
        ))  # fmt: skip
        admitted = tuple(one if isinstance(one, frozenset) else frozenset() for one in got)
        assert all(isinstance(one, frozenset | BudgetExceededError) for one in got)
        in_order = []
        for first, second in ((0, 1), (1, 0)):  # as if one had come after the other
            outcome = [frozenset[bytes](), frozenset[bytes]()]
            outcome[first] = self.can_pay(first, cost * steps, subjects, besides=frozenset())
            outcome[second] = self.can_pay(second, cost * steps, subjects, besides=outcome[first])
            in_order.append(tuple(outcome))
        assert admitted in in_order
        for name, who in zip(names, admitted, strict=True):
            if who:
                self.note_reserved(name, cost, steps, who)

    @precondition(lambda self: self.threads)
    @rule(number=RUNS, offset=STEPS)
    def start_at_once(self, number: int, offset: int) -> None:
        run, step = self.named(number, offset)
        allowed = self.may_start(run, step)
        got = at_once(*(lambda handle=handle: handle.start(run, step) for handle in self.handles))
        assert sum(one is None for one in got) == allowed
        if allowed:
            self.started[run][step] = None

    @precondition(lambda self: self.threads)
    @rule(number=RUNS, offset=STEPS)
    def disclose_at_once(self, number: int, offset: int) -> None:
        run, step = self.named(number, offset)
        allowed = self.may_disclose(run, step)
        frames = (b"one", b"other")
        got = at_once(*(
            lambda handle=handle, data=data: handle.disclose(run, step, data)
            for handle, data in zip(self.handles, frames, strict=True)
        ))  # fmt: skip
        assert sum(one is None for one in got) == allowed
        if allowed:
            self.started[run][step] = frames[got.index(None)]

    # --- a backup

    @rule()
    def back_up(self) -> None:
        copy = self.path.with_suffix(".backup")
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        self.backup = self.handles[0].head(), self.latest_cap

    @precondition(lambda self: self.backup is not None)
    @rule()
    def put_back(self) -> None:
        """On a copy: it does not know the head that others have seen, and never will, however it goes on."""
        assert self.backup is not None
        before, cap = self.backup
        path = self.path.with_suffix(".restored")
        shutil.copy(self.path.with_suffix(".backup"), path)
        restored = self.opened(path, cap)
        witnessed = self.handles[1].head()
        same = witnessed == before
        assert (restored.head_at(witnessed.entries) == witnessed.mac) == same
        while restored.head().entries <= witnessed.entries:
            name = f"again-{restored.head().entries}"
            restored.reserve(name, step_cost=1, steps=1, subjects=[os.urandom(32)])
        assert (restored.head_at(witnessed.entries) == witnessed.mac) == same
        restored.shut()
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()

    # --- always

    @invariant()
    def the_books_agree(self) -> None:
        spends = {subject: self.spent(subject) for subject in frozenset().union(*self.admitted.values())}
        assert spent_by_subject(self.handles[0]._db) == spends
        balance = self.handles[1].balance()
        assert (balance.subjects, balance.spent_max, balance.spent_min) == (
            len(spends), max(spends.values(), default=0), min(spends.values(), default=0)
        )  # fmt: skip
        for run, steps in self.started.items():
            for step, data in steps.items():
                expected = None if (run, step) in self.settled else data
                assert self.handles[1].sealed(run, step) == expected
        head = self.handles[1].head()
        assert all(self.handles[0].head_at(seen.entries) == seen.mac for seen in self.seen[-3:])
        self.seen.append(head)

    def teardown(self) -> None:
        for handle in self.handles:
            handle.shut()
        self.opened(cap=self.latest_cap).shut()  # verified from the first entry


def explore(folder: Path, examples: int, kind: type[Ledger] = Ledger, *, threads: bool = True) -> None:
    machine = type("Machine", (Interleavings,), {"folder": folder, "kind": kind, "threads": threads})
    sound = kind is Ledger
    phases = [Phase.generate, Phase.shrink] if sound else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, phases=phases, report_multiple_bugs=False,
            database=None, derandomize=not sound, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_no_interleaving_forgets_a_spend(tmp_path: Path) -> None:
    explore(tmp_path, 12)


@pytest.mark.proof
def test_no_interleaving_forgets_a_spend_at_length(tmp_path: Path) -> None:
    explore(tmp_path, 400)


# --- ledgers that forget


class Unguarded(Ledger):
    """A ledger whose file lets everything through: what is left is what its code does."""

    @classmethod
    def open(cls, path: Path, **life: object) -> Ledger:
        ledger = super().open(path, **life)  # type: ignore[arg-type]  # passed on as it came
        for (name,) in ledger._db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            ledger._db.execute(f"drop trigger {name}")
        ledger._db.execute("pragma ignore_check_constraints = on")
        return ledger


class RefundsDisclosedSteps(Unguarded):
    def close(self, run: str) -> None:
        with self._transaction():
            super().close(run)
            self._db.execute("update run set charged = started - disclosed where run = ?", (run,))


class RefundsWhatWasNotDisclosed(Unguarded):
    def close(self, run: str) -> None:
        with self._transaction():
            super().close(run)
            self._db.execute("update run set charged = disclosed where run = ?", (run,))


class SealsAgain(Unguarded):
    def _started_step(self, run: str, step: int) -> int:
        _, last_step = self._open_run(run)
        self._step_state(run, step)
        return last_step


class StartsAgain(Unguarded):
    def start(self, run: str, step: int) -> None:
        with self._transaction():
            self._open_run(run)
            if self._db.execute("select 1 from step where run = ? and step = ?", (run, step)).fetchone() is None:
                super().start(run, step)


class LooksBeforeItLocks(Unguarded):
    """Judges in one transaction and writes in another."""

    both_looked: ClassVar[Barrier] = Barrier(2)  # so that neither is done before the other begins

    def disclose(self, run: str, step: int, sealed: bytes) -> None:
        with self._transaction():
            if self._started_step(run, step) != step:
                raise LedgerError("STEP_NOT_CURRENT", "a later step has been started")
        self.both_looked.wait(60)
        with self._transaction():
            self._db.execute("update step set state = ? where run = ? and step = ?", (STARTED, run, step))
            self._db.execute("update step set sealed = null where run = ? and step = ?", (run, step))
            super().disclose(run, step, sealed)


class FollowsTheWiderPolicy(Ledger):
    def _lowest_cap(self) -> int:
        return self._cap


class RaisedFromOutside(Ledger):
    def _lowest_cap(self) -> int:
        return int(self._db.execute("select cap from life").fetchone()[0])


class KeepsWhatWasSettled(Unguarded):
    def settle(self, run: str, step: int) -> None:
        self._step_state(run, step)


class HoldsNoReservation(Ledger):
    """Charges as it goes: what is reserved and not started is anybody's."""

    def _who_can_pay(self, cost: int, asked: frozenset[bytes]) -> frozenset[bytes]:
        (started,) = self._db.execute("select coalesce(sum(step_cost * started), 0) from run").fetchone()
        return asked if started + cost <= self._lowest_cap() else frozenset()


class KnowsNobody(Ledger):
    """Counts what all runs spent against everybody, whoever was in them."""

    def _who_can_pay(self, cost: int, asked: frozenset[bytes]) -> frozenset[bytes]:
        return asked if self.balance().spent_by_all_runs + cost <= self._lowest_cap() else frozenset()


class ForgetsEqualRuns(Ledger):
    """Looks at single spends, and counts runs that admitted the same subjects once."""

    def _who_can_pay(self, cost: int, asked: frozenset[bytes]) -> frozenset[bytes]:
        (most,) = self._db.execute("select coalesce(max(step_cost * charged), 0) from run").fetchone()
        return asked if most + cost <= self._lowest_cap() else frozenset()


class FitsAnyHistory(Ledger):
    """Its head says how many entries there are, and nothing of what they say."""

    def head(self) -> LedgerHead:
        return LedgerHead(super().head().entries, "")

    def head_at(self, entries: int) -> str | None:
        return "" if entries <= super().head().entries else None


Call = tuple[str, dict[str, object]]
RUN: Call = ("reserve", {"which": 0, "again": False, "cost": 60, "steps": 4, "subjects": [A, B]})
OTHER_RUN: Call = ("reserve", {"which": 0, "again": False, "cost": 60, "steps": 4, "subjects": [B, C]})
STEP: Call = ("one_step", {"which": 0, "number": 0, "data": b"frame"})
STARTED_ONLY: Call = ("one_step", {"which": 0, "number": 0, "data": None})
CLOSE: Call = ("close", {"which": 1, "number": 0})
LAST = {"number": 0, "offset": 0}
STORIES: dict[type[Ledger], list[Call]] = {
    RefundsDisclosedSteps: [RUN, STEP, CLOSE],
    RefundsWhatWasNotDisclosed: [RUN, STARTED_ONLY, CLOSE],
    SealsAgain: [RUN, STEP, ("disclose", {"which": 0, "data": b"other", **LAST})],
    StartsAgain: [RUN, STARTED_ONLY, ("start", {"which": 1, **LAST})],
    LooksBeforeItLocks: [RUN, STARTED_ONLY, ("disclose_at_once", LAST)],
    FollowsTheWiderPolicy: [("reopen", {"which": 1, "cap": 600}), RUN, RUN, RUN],
    RaisedFromOutside: [("reopen", {"which": 1, "cap": 1400}), RUN, RUN, RUN, RUN, RUN],
    KeepsWhatWasSettled: [RUN, STEP, ("settle", {"which": 0, **LAST})],
    HoldsNoReservation: [RUN, RUN, RUN, RUN, RUN],
    KnowsNobody: [RUN, RUN, RUN, RUN, OTHER_RUN],
    ForgetsEqualRuns: [RUN, RUN, RUN, RUN, RUN],
    FitsAnyHistory: [RUN, ("back_up", {}), RUN, ("put_back", {})],
}
REFUND_OR_SEAL = [RefundsDisclosedSteps, RefundsWhatWasNotDisclosed, SealsAgain]


def tell(folder: Path, kind: type[Ledger], story: list[Call]) -> None:
    machine: Interleavings = type("Machine", (Interleavings,), {"folder": folder, "kind": kind})()
    try:
        for name, values in story:
            getattr(machine, name)(**values)
            machine.the_books_agree()
    finally:
        for handle in machine.handles:
            handle.shut()


@pytest.mark.parametrize("kind", STORIES)
def test_a_ledger_that_forgets_is_found(tmp_path: Path, kind: type[Ledger]) -> None:
    """Each by the rule and the invariant that are there for it; the product's ledger comes through the same story."""
    tell(tmp_path, Ledger, STORIES[kind])
    with pytest.raises(AssertionError):
        tell(tmp_path, kind, STORIES[kind])


@pytest.mark.proof
@pytest.mark.parametrize("kind", REFUND_OR_SEAL)
def test_a_ledger_that_refunds_or_seals_again_is_found_at_random(tmp_path: Path, kind: type[Ledger]) -> None:
    """By the machine's own assertion, or, as it ends, by what the ledger says when it is opened again."""
    with pytest.raises((AssertionError, LedgerError)):
        explore(tmp_path, 1000, kind, threads=False)
