"""Try to break noise, encryption, ledger, log and gate on this machine, and say what held.

Every check does what an attacker or an accident would do, on the real parts, in a temporary folder, and passes only
when the attempt fails. It reads no study, no key and no record of the user's.

Not here: long audits of noise, clipping and leakage (deep.py, with ``--deep``), and claims beyond the attempts made.
"""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np

from ...governance.errors import BrokenLogError
from ...governance.log.auditlog import AuditLog
from ...governance.log.entries import Entry
from ...governance.signing.keys import SigningKey
from ...privacy.accounting.accountant import build_plan, filter_cap, filter_order, step_cost
from ...privacy.accounting.ledger import Ledger
from ...privacy.accounting.plan import Plan
from ...privacy.budget import Adjacency, Budget, Unit
from ...privacy.encryption.aggregation import Aggregate, Aggregator
from ...privacy.encryption.presets import PRESETS
from ...privacy.errors import BudgetExceededError, CiphertextError, LedgerError
from ...privacy.keys.decrypt import StepSecret, golden_vector_holds, open_sum
from ...privacy.keys.encrypt import encrypt
from ...privacy.keys.masks import step_mask
from ...privacy.keys.runkeys import JoinKeys, RunSecret, pair_key
from ...privacy.mechanism.mechanism import add_share
from ...privacy.mechanism.randomness import SecretStream
from ..engines.channel import carry
from ..errors import ProtocolError

SITES = ("a", "b", "c")
TRANSCRIPT = bytes(range(32))
NOISE_TOLERANCE = 6.0  # standard errors: a right mechanism fails this once in 500 million runs


@dataclass(frozen=True)
class Check:
    """One attempt: what was tried, whether the protection held, and what was seen.

    ``figures`` are those of ``seen`` that a program may want.
    """

    name: str
    held: bool
    seen: str
    figures: Mapping[str, float] = field(default_factory=dict)


def run_checks(progress: Callable[[str, int, int], None] = lambda stage, done, total: None) -> tuple[Check, ...]:
    """All checks, in order."""
    checks: tuple[Callable[[], Check], ...] = (
        _seeded_key_is_known,
        _sum_opens_exactly,
        _other_secret_opens_noise,
        _single_share_opens_noise,
        _crafted_sum_opens_noise,
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


@cache
def _plan() -> Plan:
    return build_plan(
        unit=Unit.SUBJECT,
        epsilon=Decimal(3),
        delta=Decimal("0.00001"),
        steps=10,
        allowance=1,
        sampling_rate=Decimal(1),
        clipping_norm=Decimal("0.4"),
        dimension=4000,
        sites=3,
        minimum_sites=3,
        observers=1,
        subjects=[100, 100, 100],
        records_per_subject=4,
    )


@dataclass(frozen=True)
class _Exchange:
    secret: RunSecret
    values: dict[str, np.ndarray]
    aggregate: Aggregate
    lone: Aggregate


@cache
def _exchange() -> _Exchange:
    """Three sites' shares of one step, summed as the coordinator does; and one share under the others' seeds."""
    plan, preset = _plan(), PRESETS[_plan().preset]
    joins = {site: JoinKeys.generate() for site in SITES}
    pairs: dict[str, dict[str, bytes]] = {site: {} for site in SITES}
    for low in SITES:
        for high in SITES:
            if low < high:
                ciphertext, shared = joins[low].encapsulate(joins[high].public)
                opened = joins[high].decapsulate(ciphertext)
                pairs[low][high] = pair_key(joins[low], joins[high].public, shared, h0=TRANSCRIPT, low=low, high=high)
                pairs[high][low] = pair_key(joins[high], joins[low].public, opened, h0=TRANSCRIPT, low=low, high=high)
    secret = RunSecret.generate()
    generator = np.random.default_rng(1)  # public test values, not noise
    values = {site: generator.integers(-1000, 1000, plan.dimension).astype(np.int64) for site in SITES}
    total = Aggregator(preset, plan.dimension)
    shares = {}
    for site in SITES:
        masks = step_mask(site, pairs[site], SITES, TRANSCRIPT, preset.words(plan.dimension), preset)
        shares[site] = encrypt(values[site], preset, secret=StepSecret.derive(secret, TRANSCRIPT), masks=masks)
        total.add(site, shares[site])
    aggregate = total.result()
    return _Exchange(secret, values, aggregate, Aggregate(shares[SITES[0]].c0, aggregate.manifest))


def _open(c0_sum: np.ndarray, secret: RunSecret) -> np.ndarray:
    plan = _plan()
    return open_sum(
        c0_sum,
        _exchange().aggregate.manifest,
        PRESETS[plan.preset],
        plan.dimension,
        secret=StepSecret.derive(secret, TRANSCRIPT),
    )


def _truth() -> np.ndarray:
    first, *others = _exchange().values.values()
    return sum(others, start=first)


def _looks_like_noise(name: str, opened: np.ndarray) -> Check:
    worst = max(abs(_correlation(opened, values)) for values in (*_exchange().values.values(), _truth()))
    bound = NOISE_TOLERANCE / math.sqrt(opened.size)
    return Check(name, worst < bound, f"largest correlation with any update {worst:.3f}, chance allows {bound:.3f}")


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.corrcoef(left.astype(np.float64), right.astype(np.float64))[0, 1])


def _seeded_key_is_known() -> Check:
    held = golden_vector_holds()
    return Check("the seeded key is the one that all sites compute", held, "golden vector of the TenSEAL build")


def _sum_opens_exactly() -> Check:
    exact = bool(np.array_equal(_open(_exchange().aggregate.c0_sum, _exchange().secret), _truth()))
    return Check("the sum of all shares opens exactly (so the attempts below test something)", exact, "three sites")


def _other_secret_opens_noise() -> Check:
    opened = _open(_exchange().aggregate.c0_sum, RunSecret.generate())
    return _looks_like_noise("what the coordinator holds opens under no secret of its own", opened)


def _single_share_opens_noise() -> Check:
    opened = _open(_exchange().lone.c0_sum, _exchange().secret)
    return _looks_like_noise("one site's share does not open, not even at a site", opened)


def _crafted_sum_opens_noise() -> Check:
    name = "a crafted aggregate gives nothing away"
    crafted = np.zeros_like(_exchange().aggregate.c0_sum)
    crafted[0] = np.uint64(1 << 40)
    try:
        return _looks_like_noise(name, _open(crafted, _exchange().secret))
    except CiphertextError as error:
        return Check(name, True, f"refused with {error.code}")


def _noise_is_on() -> Check:
    plan = _plan()
    noised = add_share(np.zeros(plan.dimension, np.int64), plan, cohort=3, step=1, stream=SecretStream())
    expected = plan.share_variance(3)
    ratio = float(np.mean(np.square(noised.values.astype(np.float64)))) / expected
    # the sample variance of d Gaussians has a relative standard error of sqrt(2/d)
    held = abs(ratio - 1) < NOISE_TOLERANCE * math.sqrt(2 / plan.dimension)
    return Check("a share carries its noise", held, f"variance is {ratio:.3f} of what was charged")


def _ledger(folder: Path) -> tuple[Ledger, int]:
    budget = Budget(Decimal(20), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
    order = filter_order(budget)
    cost = step_cost(_plan(), observers=1, order=order)
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
        try:
            for number in range(1000):
                ledger.reserve(f"doctor-{number}", step_cost=cost, steps=10, subjects=[bytes(32)])
        except BudgetExceededError as error:
            return Check(name, True, f"refused with {error.code} after {number} runs")
        finally:
            ledger.shut()
    return Check(name, False, "a thousand runs were admitted")


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
