"""Spent stays spent: over restarts, full disks, copies and edits; what races and is killed has its own files."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from sekisho.privacy.accounting.ledger import Ledger
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import BudgetExceededError, PrivacyError

BUDGET = Budget(Decimal(6), Decimal("0.00001"), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)
KEY = bytes(range(32))
CAP = 1000
A, B, C = (bytes([letter]) * 32 for letter in b"abc")


def _open(
    path: Path, *, cap: int = CAP, key: bytes = KEY, dataset: str = "reviews", order: int = 5, budget: Budget = BUDGET
) -> Ledger:
    return Ledger.open(path, dataset=dataset, budget=budget, order=order, cap=cap, key=key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = _open(path)
    yield opened
    opened.shut()


def _code(act: Callable[[], object]) -> str:
    with pytest.raises(PrivacyError) as refused:
        act()
    return refused.value.code


# --- a run
# ------------------------------------------------------------------------------------------------------


def test_a_whole_run_is_charged_before_its_first_step(ledger: Ledger) -> None:
    assert ledger.reserve("r1", step_cost=10, steps=65, subjects=[A, B]) == {A, B}
    balance = ledger.balance()
    assert (balance.spent_max, balance.spent_min, balance.subjects) == (650, 650, 2)
    assert balance.runs[0].started == 0


def test_what_a_run_cost_somebody_is_the_dearer_of_being_in_it_and_beside_it(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=10, steps=2, subjects=[A])
    ledger.reserve("r1/counts", step_cost=40, steps=3, subjects=[B])
    ledger.reserve("r10", step_cost=7, steps=1, subjects=[A, B])
    balance = ledger.balance()
    assert [balance.spent_in([run]) for run in ("r1", "r10", "r")] == [120, 7, 0]


def test_only_subjects_who_can_pay_for_all_of_it_are_admitted(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=10, steps=60, subjects=[A, B])
    assert ledger.reserve("r2", step_cost=10, steps=40, subjects=[A, B, C]) == {A, B, C}
    assert ledger.reserve("r3", step_cost=1, steps=1, subjects=[A, B, C]) == {C}
    assert _code(lambda: ledger.reserve("r4", step_cost=1, steps=1, subjects=[A, B])) == "BUDGET_EXHAUSTED"
    with pytest.raises(BudgetExceededError):
        ledger.reserve("r5", step_cost=1001, steps=1, subjects=[b"d" * 32])
    assert [row.run for row in ledger.balance().runs] == ["r1", "r2", "r3"]


def test_a_run_without_counts_was_everybodys_also_theirs_who_are_counted_in_later_ones(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=100, steps=5, subjects=[A, B])
    ledger.reserve("r2", step_cost=10, steps=2, subjects=[A])
    ledger.reserve("r2/counts", step_cost=10, steps=30, subjects=[B])
    balance = ledger.balance()
    assert (balance.spent_by_runs, balance.spent_beside) == (520, 800)
    assert balance.spent_by_all_runs == balance.spent_max == 800
    assert [balance.spent_in(runs) for runs in (["r1"], ["r2"], ["r1", "r2"], ["r3"])] == [500, 300, 800, 0]


def test_whether_a_side_that_may_be_empty_is_reserved_depends_on_nobody(ledger: Ledger, path: Path) -> None:
    """B trained until now and cannot pay to be counted; with C, who can, the answer is the same as without."""
    ledger.reserve("r1", step_cost=600, steps=1, subjects=[A, B])
    assert ledger.reserve("r2/counts", step_cost=500, steps=1, subjects=[B], nobody=True) == set()
    assert ledger.reserve("r3/counts", step_cost=500, steps=1, subjects=[B, C], nobody=True) == {C}
    assert ledger.reserve("r4/counts", step_cost=500, steps=1, subjects=[], nobody=True) == set()
    assert ledger.balance().spent_max == 600
    ledger.start("r4/counts", 1)
    ledger.shut()
    again = _open(path)  # the journal is replayed
    assert {row.run: row.started for row in again.balance().runs}["r4/counts"] == 1
    again.shut()


def test_who_is_left_out_is_the_same_however_many_runs_there_were(ledger: Ledger) -> None:
    """All runs together leave no room, so each spend is looked at, by its own runs."""
    for number, who in enumerate(([A, B], [A], [B, C], [A, B])):
        ledger.reserve(f"r{number}", step_cost=100 + number, steps=2, subjects=who)
    assert ledger.balance().spent_by_all_runs == 812
    spent = {A: 200 + 202 + 206, B: 200 + 204 + 206, C: 204}
    assert (ledger.balance().spent_max, ledger.balance().spent_min) == (610, 204)
    assert ledger.reserve("exact", step_cost=CAP - spent[B], steps=1, subjects=[A, B, C]) == {A, B, C}
    assert ledger.reserve("last", step_cost=2, steps=1, subjects=[A, B, C]) == {A, C}


def test_a_reservation_that_says_nothing_is_refused(ledger: Ledger) -> None:
    for run, cost, steps, subjects in (
        ("", 1, 1, [A]), ("r", 0, 1, [A]), ("r", -5, 1, [A]), ("r", 1, 0, [A]), ("r", 1, 1, []),
        ("r", 1, 1, [b"short"]), ("r", 2**59, 4, [A]), ("r" * 201, 1, 1, [A]),
    ):  # fmt: skip
        assert _code(lambda: ledger.reserve(run, step_cost=cost, steps=steps, subjects=subjects)) == "BAD_RESERVATION"
    assert ledger.head().entries == 1


def test_the_same_run_is_not_reserved_twice(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=1, steps=1, subjects=[A])
    assert _code(lambda: ledger.reserve("r1", step_cost=1, steps=1, subjects=[B])) == "RUN_EXISTS"


def test_naming_a_subject_twice_charges_once(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=10, steps=65, subjects=[A, A, A])
    assert ledger.balance().spent_max == 650


def test_steps_only_rise_and_end_where_the_reservation_ends(ledger: Ledger) -> None:
    assert _code(lambda: ledger.start("r1", 1)) == "RUN_UNKNOWN"
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A])
    ledger.start("r1", 2)  # step 1 was abandoned before this site touched its data
    for step, code in (
        (2, "STEP_NOT_RISING"),
        (1, "STEP_NOT_RISING"),
        (0, "STEP_NOT_RISING"),
        (6, "STEP_NOT_RESERVED"),
    ):
        assert _code(lambda: ledger.start("r1", step)) == code
    ledger.start("r1", 5)
    assert _code(lambda: ledger.start("r1", 6)) == "STEP_NOT_RESERVED"


def test_noise_may_be_drawn_for_a_started_step_and_for_no_other(ledger: Ledger) -> None:
    assert _code(lambda: ledger.require_started("r", 1)) == "RUN_UNKNOWN"
    ledger.reserve("r", step_cost=1, steps=3, subjects=[A])
    assert _code(lambda: ledger.require_started("r", 1)) == "STEP_NOT_STARTED"
    ledger.start("r", 1)
    ledger.require_started("r", 1)
    ledger.disclose("r", 1, b"sealed")
    assert _code(lambda: ledger.require_started("r", 1)) == "ALREADY_SEALED"
    ledger.close("r")
    assert _code(lambda: ledger.require_started("r", 1)) == "RUN_CLOSED"


def test_a_step_is_sealed_once_and_sent_again_unchanged(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A])
    assert _code(lambda: ledger.disclose("r1", 1, b"x")) == "STEP_NOT_STARTED"
    ledger.start("r1", 1)
    assert ledger.sealed("r1", 1) is None
    ledger.disclose("r1", 1, b"frame")
    assert _code(lambda: ledger.disclose("r1", 1, b"other")) == "ALREADY_SEALED"
    assert _code(lambda: ledger.disclose("r1", 1, b"frame")) == "ALREADY_SEALED"
    ledger.shut()
    again = _open(path)
    assert again.sealed("r1", 1) == b"frame"
    again.settle("r1", 1)
    again.settle("r1", 1)
    assert again.sealed("r1", 1) is None
    assert _code(lambda: again.disclose("r1", 1, b"frame")) == "ALREADY_SEALED"
    again.shut()


def test_a_step_may_be_computed_once_more_while_it_is_charged_and_not_sealed(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[B, A])
    assert ledger.admitted("r1") == {A, B} and ledger.admitted("r2") == frozenset()
    assert not ledger.is_started("r1", 1)
    ledger.start("r1", 1)
    ledger.shut()
    again = _open(path)
    assert again.is_started("r1", 1) and not again.is_started("r1", 2) and not again.is_started("r2", 1)
    again.disclose("r1", 1, b"frame")
    assert not again.is_started("r1", 1)
    again.start("r1", 2)
    again.settle("r1", 2)
    assert not again.is_started("r1", 2)
    assert again.admitted("r1") == {A, B}
    again.shut()


def test_an_abandoned_step_can_never_be_disclosed(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A])
    ledger.start("r1", 1)
    ledger.settle("r1", 1)
    assert _code(lambda: ledger.disclose("r1", 1, b"late")) == "ALREADY_SEALED"
    ledger.start("r1", 2)
    ledger.start("r1", 3)
    assert _code(lambda: ledger.disclose("r1", 2, b"late")) == "STEP_NOT_CURRENT"
    assert _code(lambda: ledger.settle("r1", 4)) == "STEP_NOT_STARTED"


def test_closing_refunds_what_was_never_started_and_nothing_else(ledger: Ledger) -> None:
    ledger.reserve("r1", step_cost=10, steps=65, subjects=[A])
    for step in (1, 2, 3):
        ledger.start("r1", step)
    ledger.disclose("r1", 3, b"frame")
    ledger.close("r1")
    assert ledger.balance().spent_max == 30
    assert ledger.sealed("r1", 3) is None
    for act in (lambda: ledger.start("r1", 4), lambda: ledger.disclose("r1", 3, b"x"), lambda: ledger.close("r1")):
        assert _code(act) == "RUN_CLOSED"


def test_a_crash_leaves_started_steps_spent_and_frees_the_rest(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=10, steps=50, subjects=[A])
    ledger.reserve("r2", step_cost=10, steps=50, subjects=[A])
    ledger.start("r1", 1)
    ledger.shut()
    again = _open(path)
    assert again.balance().spent_max == 1000  # unknown means spent
    assert again.close_orphans() == ("r1", "r2")
    assert again.close_orphans() == ()
    assert again.balance().spent_max == 10
    again.shut()


# --- for life
# ---------------------------------------------------------------------------------------------------


def test_renaming_or_recounting_a_data_set_mints_no_budget(ledger: Ledger, path: Path) -> None:
    ledger.shut()
    record = Budget(BUDGET.epsilon, BUDGET.delta, Unit.RECORD, BUDGET.adjacency)
    assert _code(lambda: _open(path, dataset="reviews-2")) == "LEDGER_FIXED"
    assert _code(lambda: _open(path, order=6)) == "LEDGER_FIXED"
    assert _code(lambda: _open(path, budget=record)) == "LEDGER_FIXED"
    assert Ledger.stored_order(path) == 5
    assert Ledger.stored_order(path.with_name("none")) is None
    _open(path).shut()


def test_a_new_policy_moves_the_cap_and_is_recorded(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=10, steps=65, subjects=[A])
    ledger.shut()
    lower = _open(path, cap=600)
    assert lower.head().entries == 3 and lower.balance().cap == 600
    assert _code(lambda: lower.reserve("r2", step_cost=1, steps=1, subjects=[A])) == "BUDGET_EXHAUSTED"
    lower.shut()
    higher = _open(path, cap=700)
    assert higher.reserve("r2", step_cost=1, steps=1, subjects=[A]) == {A}
    higher.shut()
    unchanged = _open(path, cap=700)
    assert unchanged.head().entries == 5
    unchanged.shut()


def test_a_handle_that_was_opened_under_a_wider_policy_follows_the_narrower_one_that_came_since(
    ledger: Ledger, path: Path
) -> None:
    narrower = _open(path, cap=600)
    assert _code(lambda: ledger.reserve("r1", step_cost=601, steps=1, subjects=[A])) == "BUDGET_EXHAUSTED"
    assert ledger.balance().cap == narrower.balance().cap == 600
    narrower.shut()
    wider = _open(path, cap=1400)
    assert _code(lambda: ledger.reserve("r1", step_cost=1001, steps=1, subjects=[A])) == "BUDGET_EXHAUSTED"
    assert ledger.reserve("r1", step_cost=1000, steps=1, subjects=[A]) == {A}
    wider.shut()


def test_another_subject_key_opens_nothing(ledger: Ledger, path: Path) -> None:
    ledger.shut()
    assert _code(lambda: _open(path, key=bytes(32))) == "LEDGER_DAMAGED"


# --- heads, copies, edits
# ---------------------------------------------------------------------------------------


def test_every_transition_moves_the_head_and_old_heads_are_remembered(ledger: Ledger) -> None:
    heads = [ledger.head()]
    for act in (
        lambda: ledger.reserve("r1", step_cost=1, steps=3, subjects=[A]),
        lambda: ledger.start("r1", 1),
        lambda: ledger.disclose("r1", 1, b"x"),
        lambda: ledger.settle("r1", 1),
        lambda: ledger.close("r1"),
    ):
        act()
        heads.append(ledger.head())
    assert [head.entries for head in heads] == [1, 2, 3, 4, 5, 6]
    assert len({head.mac for head in heads}) == 6
    assert all(ledger.head_at(head.entries) == head.mac for head in heads)
    assert ledger.head_at(7) is None and ledger.head_at(-1) is None


def test_a_backup_that_was_put_back_does_not_know_the_witnessed_head(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=1, steps=3, subjects=[A])
    ledger.shut()
    backup = shutil.copy(path, path.with_name("backup"))
    later = _open(path)
    later.start("r1", 1)
    witnessed = later.head()
    later.shut()
    restored = _open(Path(backup))
    assert restored.head_at(witnessed.entries) is None
    restored.start("r1", 2)  # it goes on differently: as many entries, another history
    assert restored.head().entries == witnessed.entries
    assert restored.head_at(witnessed.entries) != witnessed.mac
    restored.shut()


EDITS = [
    "update run set step_cost = 1",
    "update run set charged = started",
    "update run set started = 0, disclosed = 0",
    "update run set state = 'closed'",
    "delete from run",
    "delete from admitted",
    "update admitted set subjects = zeroblob(64)",
    "update admitted set subjects = substr(subjects, 1, 32)",
    "update step set state = 1, sealed = null where step = 2",
    "update step set sealed = x'00' where step = 2",
    "update step set state = 1 where step = 1",
    "delete from step where step = 1",
    "update life set cap = 1000000",
    "update life set renyi_order = 2",
    "update life set dataset = 'other'",
    "delete from life",
    "delete from journal where entry = 3",
    "delete from journal",
    "update journal set body = replace(body, '10', '11')",
    "update journal set mac = zeroblob(32) where entry = 2",
    "update journal set body = 5 where entry = 2",
    "update journal set mac = 'text' where entry = 2",
]


def _used(path: Path) -> None:
    ledger = _open(path)
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A, B])
    ledger.start("r1", 1)
    ledger.disclose("r1", 1, b"first")
    ledger.settle("r1", 1)
    ledger.start("r1", 2)
    ledger.disclose("r1", 2, b"second")
    ledger.shut()


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_behind_the_ledgers_back_is_found(path: Path, edit: str) -> None:
    _used(path)
    with sqlite3.connect(path) as db:
        for (name,) in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            db.execute(f"drop trigger {name}")
        db.execute("pragma ignore_check_constraints = on")
        db.execute(edit)
    db.close()
    assert _code(lambda: _open(path)) == "LEDGER_DAMAGED"


@pytest.mark.parametrize("edit", [edit for edit in EDITS if "cap" not in edit and "'closed'" not in edit])
def test_the_database_itself_refuses_to_go_back(path: Path, edit: str) -> None:
    _used(path)
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(edit)
    db.close()


@pytest.mark.parametrize("version", [0, 1, 3])
def test_tables_of_another_version_are_refused_and_left_as_they_are(path: Path, version: int) -> None:
    _used(path)
    with sqlite3.connect(path) as db:
        db.execute(f"pragma user_version = {version}")
    db.close()
    before = path.read_bytes()
    assert _code(lambda: _open(path)) == "LEDGER_FORMAT"
    assert path.read_bytes() == before


def test_a_file_that_is_no_ledger_is_refused(path: Path) -> None:
    path.write_bytes(b"not a ledger" * 1000)
    assert _code(lambda: _open(path)) == "LEDGER_DAMAGED"
    assert _code(lambda: Ledger.stored_order(path)) == "LEDGER_DAMAGED"


def test_a_ledger_with_a_torn_page_is_refused(path: Path) -> None:
    _used(path)
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[4096 * page : 4096 * page + 64] = os.urandom(64)
    path.write_bytes(data)
    assert _code(lambda: _open(path)) == "LEDGER_DAMAGED"


def test_a_ledger_is_readable_by_its_owner_only(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=1, steps=3, subjects=[A])
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0


# --- disks
# ------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_and_changes_nothing(ledger: Ledger, path: Path) -> None:
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A])
    ledger.start("r1", 1)
    before = ledger.head(), ledger.balance()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size, hard))
    try:
        for act in (
            lambda: ledger.disclose("r1", 1, os.urandom(100_000)),
            lambda: ledger.start("r1", 2),
            lambda: ledger.reserve("r2", step_cost=1, steps=1, subjects=[B]),
        ):
            assert _code(act) == "LEDGER_UNWRITABLE"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (ledger.head(), ledger.balance()) == before
    ledger.disclose("r1", 1, b"frame")
    assert ledger.balance().runs[0].disclosed == 1


def test_a_folder_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    assert _code(lambda: _open(tmp_path / "nowhere" / "ledger")) == "LEDGER_UNWRITABLE"
    assert _code(lambda: _open(tmp_path)) == "LEDGER_UNWRITABLE"


def test_an_interrupt_in_the_middle_leaves_no_half(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.reserve("r1", step_cost=10, steps=5, subjects=[A])
    before = ledger.head(), ledger.balance()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger._journal, "append", interrupted)
        for act in (lambda: ledger.start("r1", 1), lambda: ledger.close("r1")):
            with pytest.raises(KeyboardInterrupt):
                act()
    assert (ledger.head(), ledger.balance()) == before
