"""A log lets go of routine entries past their term, and of nothing else; what stays is proved as before."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BrokenLogError
from sekisho.governance.evidence.selection import BEARING, Bearing
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import log_origin, verify_checkpoint
from sekisho.governance.log.entries import Entry, EntryType
from sekisho.governance.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from sekisho.governance.log.milestones import INDEXED
from sekisho.governance.log.retention import ROUTINE, gaps_digest
from sekisho.governance.signing.keys import SigningKey

OLD = datetime(2020, 3, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
TERM = datetime(2020, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)
ORIGIN = log_origin("food-quality-2026", "kohi")
PLANTED = "step-of-long-ago"


def opened(path: Path) -> AuditLog:
    return AuditLog.open(path, origin=ORIGIN, key=KEY)


def entry(kind: str, at: datetime, number: int = 0) -> Entry:
    return Entry(kind, "kohi", at, {"run": PLANTED if at < TERM else "run-9"}, {"step": number})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two times: milestones and steps of 2020, and of now."""
    where = tmp_path / "log.sqlite"
    with opened(where) as log:
        for at in (OLD, NOW):
            log.append(entry("budget.reserved", at))
            log.append_all([entry("step.started", at, number) for number in range(40)])
            log.append(entry("run.finished", at))
            log.checkpoint()
    return where


def fsck_fails(path: Path) -> None:
    with pytest.raises(BrokenLogError) as refused, opened(path) as log:
        log.fsck()
    assert refused.value.code == "LOG_DAMAGED"


def tampered(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entries_delete")
        connection.execute("DROP TRIGGER entries_update")
        connection.execute(statement)
    connection.close()


def test_routine_entries_past_their_term_go_and_everything_else_stays(path: Path) -> None:
    with opened(path) as log:
        before = dict(log.rows())
        assert log.retire(TERM, party="kohi", at=NOW) == 40
        after = dict(log.rows())
        gone = sorted(set(before) - set(after))
        assert gone == list(range(1, 41))
        assert after.items() - {(log.size - 1, after[log.size - 1])} <= before.items()
        notice = Entry.from_bytes(after[log.size - 1])
        assert (notice.type, dict(notice.data)) == ("log.retired", {"entries": 40, "gone": 40, "until": "2020-12-01"})
        assert notice.refs["gaps"] == gaps_digest(gone)[0]
        assert log.fsck().retired == 40
        assert log.whole_since() == TERM
        # nothing more is past its term, so nothing is said twice
        size = log.size
        assert log.retire(TERM, party="kohi", at=NOW) == 0 and log.size == size


def test_heads_proofs_and_entries_that_stay_hold_as_before(path: Path) -> None:
    with opened(path) as log:
        root, size = log.root(), log.size
        kept = [(index, body, log.inclusion(index)) for index, body in log.rows() if b"step.started" not in body]
        log.retire(TERM, party="kohi", at=NOW)
        verify_consistency(size, log.size, log.consistency(size), root, log.root())
        for index, body, proof in kept:
            assert log.inclusion(index, size) == proof
            verify_inclusion(index, size, leaf_hash(body), proof, root)
        log.checkpoint()
    with opened(path) as again:  # the stored right edge and every head are checked on opening
        again.append(entry("step.started", NOW, 99))
        assert verify_checkpoint(again.checkpoint(), ORIGIN, KEY.public).size == again.size
        assert again.fsck().retired == 40


def test_what_was_let_go_of_is_in_no_file_any_more(path: Path) -> None:
    with opened(path) as log:
        log.append_all([entry("control.told", OLD, number) for number in range(3000)])
        log.append(entry("budget.reserved", NOW))  # and another run began since
        milestones = sum(PLANTED.encode() in body and b"control.told" not in body and b"step.s" not in body
                         for body in log.entries())
        log.retire(TERM, party="kohi", at=NOW)
        files = {name: name.read_bytes() for name in path.parent.iterdir()}
        assert sum(data.count(PLANTED.encode()) for data in files.values()) == milestones == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE i = 60",
        "DELETE FROM entries WHERE i = 0",
        "DELETE FROM entries WHERE i BETWEEN 41 AND 50",
        "INSERT INTO entries SELECT 5, body FROM entries WHERE i = 60",
    ],
    ids=["a routine one", "a milestone", "several", "one that was gone is back as another"],
)
def test_one_entry_more_than_the_notice_says_is_found_to_be_missing(path: Path, statement: str) -> None:
    with opened(path) as log:
        log.retire(TERM, party="kohi", at=NOW)
    tampered(path, statement)
    fsck_fails(path)


def test_another_entry_is_not_deleted_in_the_place_of_a_retired_one(path: Path) -> None:
    """The number of gaps is right, and which ones is not."""
    with opened(path) as log:
        body = dict(log.rows())[5]
        log.retire(TERM, party="kohi", at=NOW)
    tampered(path, "DELETE FROM entries WHERE i = 60")
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO entries VALUES (5, ?)", (body,))
    connection.close()
    fsck_fails(path)


def test_of_the_last_run_every_entry_stays_however_old_it_is(tmp_path: Path) -> None:
    """A ledger that was put back is found by the last run's steps, which the log must still have."""
    for kind in ("budget.reserved", "study.offered"):
        with opened(tmp_path / f"{kind}.sqlite") as log:
            for _ in range(2):
                log.append(entry(kind, OLD))
                log.append_all([entry("step.started", OLD, number) for number in range(5)])
            assert log.retire(TERM, party="kohi", at=NOW) == 5
            assert [index for index, body in log.rows() if b"step.started" in body] == [7, 8, 9, 10, 11]


def test_without_a_notice_no_entry_may_be_missing(path: Path) -> None:
    tampered(path, "DELETE FROM entries WHERE i = 3")
    fsck_fails(path)


def test_nothing_can_be_deleted_or_changed_past_the_notice_as_before(path: Path) -> None:
    with opened(path) as log:
        log.retire(TERM, party="kohi", at=NOW)
    for statement in ("DELETE FROM entries WHERE i = 60", "UPDATE entries SET body = x'00' WHERE i = 60"):
        with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError, match="append only"):
            connection.execute(statement)
        connection.close()


def test_a_failed_commit_lets_nothing_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sekisho.governance.log.auditlog as module

    def fails(*_: object) -> None:
        raise BrokenLogError("LOG_UNWRITABLE", "the disk is full", "")

    with opened(path) as log:
        before = dict(log.rows())
        with monkeypatch.context() as patched, pytest.raises(BrokenLogError):
            patched.setattr(module, "append_rows", fails)
            log.retire(TERM, party="kohi", at=NOW)
        with pytest.raises(BrokenLogError):  # nobody knows what the disk holds: opened again first
            log.append(entry("run.joined", NOW))
    with opened(path) as again:
        assert dict(again.rows()) == before and again.fsck().retired == 0


def test_a_crash_in_the_middle_leaves_notice_and_gaps_or_neither(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as log:
        before = dict(log.rows())
        real = log._connection

        class Dies:
            def __getattr__(self, name: str) -> object:
                return getattr(real, name)

            def execute(self, statement: str, *rest: object) -> object:
                if statement == "COMMIT":
                    real.execute("ROLLBACK")
                    raise sqlite3.OperationalError("disk I/O error")
                return real.execute(statement, *rest)

        monkeypatch.setattr(log, "_connection", Dies())
        with pytest.raises(BrokenLogError):
            log.retire(TERM, party="kohi", at=NOW)
        monkeypatch.undo()
    with opened(path) as again:
        assert dict(again.rows()) == before and again.fsck().retired == 0
        assert again.retire(TERM, party="kohi", at=NOW) == 40


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_is_retired_in_whatever_order_the_log_recomputes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    where = tmp_path_factory.mktemp("any") / "log.sqlite"
    kinds = st.sampled_from(["step.started", "control.told", "run.joined", "policy.loaded"])
    with opened(where) as log:
        day, expected = 0, {}
        for _ in range(data.draw(st.integers(1, 4))):
            for kind in data.draw(st.lists(kinds, max_size=12)):
                day += data.draw(st.integers(0, 3))
                index = log.append(entry(kind, OLD + timedelta(days=day)))
                expected[index] = kind, OLD + timedelta(days=day)
            until = (OLD + timedelta(days=data.draw(st.integers(0, day + 2)))).replace(hour=0)
            leaving = [i for i, (kind, at) in expected.items() if kind in ROUTINE and at < until]
            assert log.retire(until, party="kohi", at=NOW) == len(leaving)
            for index in leaving:
                del expected[index]
            if leaving:
                expected[log.size - 1] = "log.retired", NOW
            assert [index for index, _ in log.rows()] == sorted(expected)
            assert log.fsck().entries == log.size
    with opened(where) as again:
        assert again.fsck().retired == again.size - len(expected)


def test_what_rules_read_back_is_never_routine() -> None:
    assert not ROUTINE & {str(kind) for kind in INDEXED}
    # what bears on other runs than its own stays, and so does all that is said of people, releases and budgets
    assert all(BEARING[EntryType(kind)] is Bearing.OWN for kind in ROUTINE)
    assert not any(kind.startswith(("budget.", "release.", "remedy.", "stop.", "consent.w", "consent.e"))
                   for kind in ROUTINE)
