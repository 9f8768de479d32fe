"""The last entry of a type is found by an index, while the log is open, and never mistaken."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sekisho.governance.errors import BrokenLogError, Refused
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry, Value
from sekisho.governance.log.milestones import QUERY, all_entries, key_of, last_entries, newest_time
from sekisho.governance.signing.keys import SigningKey

NOW = datetime(2026, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)


def entry(kind: str, **data: Value) -> Entry:
    return Entry(type=kind, party="kohi", at=NOW, data=data)


def opened(path: Path) -> AuditLog:
    return AuditLog.open(path, origin="sekisho.example/s/kohi", key=KEY)


def test_the_last_of_each_type_is_found_while_the_log_is_open(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path) as log:
        for step in range(1, 4):
            log.append(entry("budget.reserved", steps=step))
            log.append(entry("step.started", step=step))
        log.append(entry("roster.accepted", version=2))
        log.append(entry("run.stopped", code="QUALITY"))
        log.append(entry("step.started", step=9))
        found = last_entries(path, ["roster.accepted", "budget.reserved", "run.stopped", "run.finished"])
    assert {kind: (number, dict(one.data)) for kind, (number, one) in found.items()} == {
        "budget.reserved": (4, {"steps": 3}),
        "roster.accepted": (6, {"version": 2}),
        "run.stopped": (7, {"code": "QUALITY"}),
    }


def test_an_entry_that_names_another_type_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path) as log:
        log.append(Entry(type="control.told", party="kohi", at=NOW, data={"kind": "roster.accepted"}))
        log.append(Entry(type="control.told", party="kohi", at=NOW, data={"type": "roster.accepted"}))
        log.append(Entry(type="control.told", party="roster.accepted", at=NOW, refs={"kind": "roster.accepted"}))
    assert last_entries(path, ["roster.accepted"]) == {}


def test_a_log_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert last_entries(tmp_path / "log.sqlite", ["roster.accepted"]) == {}
    assert not (tmp_path / "log.sqlite").exists()


def test_all_of_a_type_are_read_the_last_first_and_whose_log_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    assert all_entries(path, "stop.honoured") == ()
    with opened(path) as log:
        for version in (1, 2):
            log.append(entry("stop.honoured", version=version))
            log.append(entry("roster.accepted", version=9))
        assert [one.data["version"] for one in all_entries(path, "stop.honoured")] == [2, 1]
        assert key_of(path) == KEY.public.key_id


def test_the_index_is_used_so_that_a_long_log_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    opened(path).close()
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {QUERY}", ("x",)).fetchall()
    assert ["entries_of_note" in row[3] for row in plan] == [True], plan


def test_what_is_no_milestone_is_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        last_entries(tmp_path / "log.sqlite", ["step.started"])
    assert caught.value.code == "ENTRY_TYPE_UNKNOWN"


def test_a_damaged_log_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(BrokenLogError) as caught:
        last_entries(path, ["roster.accepted"])
    assert caught.value.code == "LOG_DAMAGED"


def test_a_log_of_before_gets_its_index_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with opened(path) as log:
        log.append(entry("roster.accepted", version=1))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX entries_of_note")
        connection.commit()
    assert last_entries(path, ["roster.accepted"])["roster.accepted"][0] == 0  # slower, and right
    with opened(path) as log:
        assert log.fsck().entries == 1
    with closing(sqlite3.connect(path)) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "entries_of_note" in names


def test_the_newest_time_is_the_latest_that_any_entry_claims(tmp_path: Path) -> None:
    """Whole seconds and parts of them, in any order and zone; a field that looks like a time is none."""
    path = tmp_path / "log.sqlite"
    latest = NOW + timedelta(microseconds=5)
    east = timezone(timedelta(hours=9))
    with opened(path) as log:
        assert newest_time(path) is None
        for at in (NOW - timedelta(days=1), latest.astimezone(east), NOW, NOW - timedelta(microseconds=1)):
            log.append(Entry(type="step.started", party="kohi", at=at, refs={"at": "2099-12-31"}))
        assert newest_time(path) == latest


def test_a_log_whose_times_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with pytest.raises(BrokenLogError) as caught:
        newest_time(path)
    assert caught.value.code == "LOG_DAMAGED"
    with opened(path) as log:
        log.append(entry("step.started"))
    with closing(sqlite3.connect(path)) as file:
        file.execute("drop trigger entries_update")
        file.execute("update entries set body = cast(replace(cast(body as text), '2026-', 'soon-') as blob)")
        file.commit()
    with pytest.raises(BrokenLogError) as caught:
        newest_time(path)
    assert caught.value.code == "ENTRY_MALFORMED"
