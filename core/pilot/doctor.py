"""Try to break noise, encryption, ledger, log and gate on this machine, and say what held.

Every check does what an attacker or an accident would do, on the real parts, in a temporary folder, and passes only
when the attempt fails. It reads no study, no key and no record of the user's.

Not here: the coordinator's view and who tries to open it (blindness.py), long audits of noise, clipping and leakage
(deep.py, with ``--deep``), and claims beyond the attempts made.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from ...governance.errors import BrokenLogError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry
from ...governance.signing.keys import SigningKey
from ...privacy.accounting.accountant import filter_cap, filter_order, step_cost
from ...privacy.accounting.ledger import Ledger
from ...privacy.budget import Adjacency, Budget, Unit
from ...privacy.errors import BudgetExceededError, LedgerError
from ...privacy.mechanism.mechanism import add_share
from ...privacy.mechanism.randomness import SecretStream
from ..engines.channel import carry
from ..errors import ProtocolError
from .blindness import ATTEMPTS, CONTROLS
from .check import NOISE_TOLERANCE, Check
from .made_up_step import plan


def run_checks(progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> tuple[Check, ...]:
    """All checks, in order."""
    checks: tuple[Callable[[], Check], ...] = (
        *ATTEMPTS,
        *CONTROLS,
        _noise_is_on,
        _step_is_sealed_once,
        _budget_is_kept,
        _changed_log_is_noticed,
        _engine_carries_sealed_only,
    )
    done = []
    for number, check in enumerate(checks, start=1):
        done.append(check())
        progress("checks", number, len(checks))
    return tuple(done)


def _noise_is_on() -> Check:
    its = plan()
    zeros = np.zeros(its.dimension, np.int64)
    one, other = (
        add_share(zeros, its, cohort=3, step=1, stream=SecretStream()).values.astype(np.float64) for _ in range(2)
    )
    ratio = float(np.mean(np.square(one))) / its.share_variance(3)
    # the sample variance of d Gaussians has a relative standard error of sqrt(2/d), their correlation one of 1/sqrt(d)
    held = abs(ratio - 1) < NOISE_TOLERANCE * math.sqrt(2 / its.dimension)
    again = abs(float(np.corrcoef(one, other)[0, 1]))
    held = held and again < NOISE_TOLERANCE / math.sqrt(its.dimension)  # what comes twice can be taken off
    seen = f"variance is {ratio:.3f} of what was charged; correlation with the next share's {again:.3f}"
    return Check("a share carries its noise", held, seen)


def _ledger(folder: Path) -> tuple[Ledger, int]:
    budget = Budget(Decimal(20), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    order = filter_order(budget)
    cost = step_cost(plan(), observers=1, order=order)
    cap = filter_cap(budget, order)
    ledger = Ledger.open(folder / "ledger.sqlite", dataset="doctor", budget=budget, order=order, cap=cap, key=bytes(32))
    return ledger, cost


def _step_is_sealed_once() -> Check:
    name = "a step is sealed once"
    with tempfile.TemporaryDirectory() as folder:
        ledger, cost = _ledger(Path(folder))
        try:
            ledger.reserve("doctor", step_cost=cost, steps=2, subjects=[bytes(32)])
            ledger.start("doctor", 1)
            ledger.disclose("doctor", 1, b"sealed")
            ledger.disclose("doctor", 1, b"sealed again")
        except LedgerError as error:
            return Check(name, error.code == "ALREADY_SEALED", f"the second seal was refused with {error.code}")
        finally:
            ledger.shut()
    return Check(name, False, "a second seal was accepted")


def _budget_is_kept() -> Check:
    name = "a spent budget stays spent"
    with tempfile.TemporaryDirectory() as folder:
        ledger, cost = _ledger(Path(folder))
        paid_for = ledger.balance().cap // (10 * cost)
        try:
            for number in range(paid_for + 1):
                ledger.reserve(f"doctor-{number}", step_cost=cost, steps=10, subjects=[bytes(32)])
        except BudgetExceededError as error:
            seen = f"refused with {error.code} after {number} runs; the budget pays for {paid_for}"
            return Check(name, number == paid_for, seen)
        finally:
            ledger.shut()
    return Check(name, False, f"{paid_for + 1} runs were admitted; the budget pays for {paid_for}")


def _changed_log_is_noticed() -> Check:
    name = "a changed log is noticed"
    key = SigningKey.generate()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.sqlite"
        with AuditLog.open(path, origin="sekisho.example/doctor", key=key) as log:
            for step in range(4):
                log.append(Entry(type="step.started", party="doctor", at=datetime.now(UTC), data={"step": step}))
            log.checkpoint()
        _change_an_entry(path)
        try:
            with AuditLog.open(path, origin="sekisho.example/doctor", key=key) as log:
                log.fsck()
        except BrokenLogError as error:
            return Check(name, True, f"refused with {error.code}")
    return Check(name, False, "the change went unnoticed")


def _change_an_entry(path: Path) -> None:
    connection = sqlite3.connect(path)
    triggers = connection.execute("select name from sqlite_master where type = 'trigger'").fetchall()
    for (trigger,) in triggers:
        connection.execute(f'drop trigger "{trigger}"')
    table, column = _entry_column(connection)
    row, body = connection.execute(f"select rowid, {column} from {table} order by rowid desc limit 1").fetchone()  # noqa: S608  own names
    changed = bytes(body).replace(b'"step":3', b'"step":9')
    connection.execute(f"update {table} set {column} = ? where rowid = ?", (changed, row))  # noqa: S608  own names
    connection.commit()
    connection.close()


def _entry_column(connection: sqlite3.Connection) -> tuple[str, str]:
    for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
        for row in connection.execute(f'pragma table_info("{table}")').fetchall():
            if table.startswith("entr") and row[2].lower() == "blob":
                return table, row[1]
    raise ProtocolError("DOCTOR_LOG", "the log's tables are not the ones that the doctor knows")


def _engine_carries_sealed_only() -> Check:
    name = "an engine carries nothing that did not pass the gate"
    try:
        carry(b"an update")
    except ProtocolError as error:
        return Check(name, True, f"refused with {error.code}")
    return Check(name, False, "plain bytes were carried")
