"""The vault: what is derived is what the events say, an old file becomes a new one, a killed process none."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.consent import vault as vault_module
from sekisho.governance.consent.consent import ConsentRegister, Reason
from sekisho.governance.consent.erasing import take_out_traces
from sekisho.governance.consent.record import ConsentEvent, EventKind, RecordHeader, read_event
from sekisho.governance.consent.recording import CHUNK
from sekisho.governance.consent.sealing import BLOCK, SubjectSeal
from sekisho.governance.consent.standing import judge
from sekisho.governance.consent.vault import LOOK_UP
from sekisho.governance.errors import BadDocumentError, GovernanceError, Refused

SCOPE = "fl-training/2026-11"
DAY = timedelta(days=1)
T0 = datetime(2026, 4, 1, tzinfo=UTC)
PEOPLE = ("s1", "s2", "s3")
HEADER = RecordHeader(
    record_id="0a1b2c3d-0000-4000-8000-0123456789ab",
    purposes=("dpv:ScientificResearch",),
    lawful_basis="appi:consent-18-1",
    notice_version="3",
    notice_digest="sha256:" + "a" * 64,
    notice_language="ja",
    data_categories=("pd:Age", "pd:HealthRecord"),
)


def event(kind=EventKind.GRANTED, day=0, *, subject="s1", scope=SCOPE, expires=None, header=None):
    end = None if expires is None else T0 + expires * DAY
    more = {} if header is None else {"header": header}
    return ConsentEvent(subject, scope, kind, T0 + day * DAY, end, "notice-1", **more)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "consent.sqlite"


def opened(path):
    return closing(ConsentRegister.open(path))


# --- what is derived

grants = st.builds(
    lambda subject, scope, day, length: event(
        subject=subject, scope=scope, day=day, expires=None if length is None else day + length
    ),
    st.sampled_from(PEOPLE),
    st.sampled_from([SCOPE, "other"]),
    st.integers(0, 9),
    st.none() | st.integers(1, 5),
)
refusals = st.builds(
    lambda kind, subject, scope, day: event(kind, day, subject=subject, scope=scope),
    st.sampled_from([EventKind.WITHDRAWN, EventKind.OBJECTED]),
    st.sampled_from(PEOPLE),
    st.sampled_from([SCOPE, "other"]),
    st.integers(0, 9),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(grants | refusals, max_size=4), max_size=4), st.integers(0, 12))
def test_the_index_answers_what_the_rule_says_of_all_events(tmp_path_factory, batches, day):
    now = T0 + day * DAY
    everything = [one for batch in batches for one in batch]
    with opened(tmp_path_factory.mktemp("v") / "c") as register:
        for batch in batches:
            register._vault.record(batch)
        says = {
            who: judge([one for one in everything if one.subject == who], scope=SCOPE, now=now).reason for who in PEOPLE
        }
        answer = register.eligible(PEOPLE, SCOPE, now)
        assert set(answer.eligible) == {who for who, reason in says.items() if reason is Reason.GRANTED}
        assert answer.excluded == Counter(str(reason) for reason in says.values() if reason is not Reason.GRANTED)
        in_register = Counter(str(says[who]) for who in {one.subject for one in everything})
        assert register.counts(SCOPE, now) == in_register
        assert register.anybody(SCOPE, now) is (Reason.GRANTED in says.values())
        assert register.check() == len(set(everything))


def test_a_later_grant_does_not_lift_an_objection(path):
    with opened(path) as register:
        register._vault.record([event()])
        register.object("s1", SCOPE, T0 + DAY)
        register._vault.record([event(day=5)])
        assert register.status("s1", scope=SCOPE, now=T0 + 9 * DAY).reason is Reason.OBJECTED
        assert register.eligible(["s1"], SCOPE, T0 + 9 * DAY).eligible == ()
        with pytest.raises(Refused) as error:
            register.object("s9", SCOPE, T0)
        assert error.value.code == "CONSENT_SUBJECT_UNKNOWN"


def test_one_scope_can_be_withdrawn_alone(path):
    with opened(path) as register:
        register._vault.record([event(), event(scope="other")])
        assert register.withdraw("s1", T0 + DAY, scope="other") == ("other",)
        assert register.eligible(["s1"], SCOPE, T0 + 2 * DAY).eligible == ("s1",)
        assert register.eligible(["s1"], "other", T0 + 2 * DAY).excluded == {Reason.WITHDRAWN: 1}


def instructions(register, ask):
    """How many instructions SQLite's machine takes for a question: a count, not a time."""
    count = [0]
    register._vault._connection.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 1)
    ask()
    register._vault._connection.set_progress_handler(None, 1)
    return count[0]


def test_a_step_reads_those_it_asks_about_and_a_decision_stops_at_the_first(tmp_path):
    """The same work in a register of 300 people as in one of 6,000."""
    now, asked = T0 + DAY, [f"s{number}" for number in range(0, 300, 30)]
    work = []
    for people in (300, 6000):
        with opened(tmp_path / str(people)) as register:
            register._vault.record(event(subject=f"s{number}") for number in range(people))
            work.append(
                (
                    instructions(register, lambda r=register: r.eligible(asked, SCOPE, now)),
                    instructions(register, lambda r=register: r.anybody(SCOPE, now)),
                )
            )
            plan = register._vault._connection.execute("EXPLAIN QUERY PLAN " + LOOK_UP, [None] * 501)
            assert {row[3] for row in plan if row[3].startswith("SCAN")} <= {"SCAN asked", "SCAN 500 CONSTANT ROWS"}
            whole = instructions(register, lambda r=register: r.counts(SCOPE, now))
    assert work[0] == work[1]
    assert max(work[1]) < whole / 4, "the control: to count everybody is more work"


# --- the commitment


def test_the_commitment_moves_with_every_event_and_every_erasure_and_with_nothing_else(path):
    with opened(path) as register:
        seen = [register.snapshot_digest()]
        for happening in (
            lambda: register._vault.record([event(subject="s1")]),
            lambda: register._vault.record([event(subject="s2")]),
            lambda: register.withdraw("s2", T0 + DAY),
            lambda: register.object("s2", SCOPE, T0 + DAY),
            lambda: register.erase("s1", T0 + DAY),
        ):
            happening()
            seen.append(register.snapshot_digest())
        assert len(set(seen)) == len(seen)
        register._vault.record([event(subject="s2")])          # known already
        assert register.snapshot_digest() == seen[-1]
        register.check()
    with opened(path) as again:
        assert again.snapshot_digest() == seen[-1]


def test_the_commitment_after_an_erasure_is_that_of_what_is_left_whichever_block_it_was_in(path):
    people = 2 * BLOCK + 10
    with opened(path) as register:
        register._vault.record(event(subject=f"s{number}") for number in range(people))
        for number in (5, BLOCK + 7, people - 1):
            register.erase(f"s{number}", T0 + DAY)
        assert register.check() == people - 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE standing SET rank = 0",
        "UPDATE standing SET expires = 4611686018427387904",
        "DELETE FROM record WHERE sequence = 2",
        "UPDATE block SET head = zeroblob(32)",
        "DELETE FROM subject WHERE id = 1",
        "DELETE FROM standing WHERE subject = 1",
    ],
)
def test_a_file_that_was_edited_is_found_out(path, change):
    with opened(path) as register:
        register._vault.record([event(expires=2), event(EventKind.WITHDRAWN, 3), event(subject="s2", expires=9)])
        assert register.check() == 3
        register._vault._connection.execute(change)
        with pytest.raises(GovernanceError) as error:
            register.check()
        assert error.value.code == "VAULT_UNREADABLE"


def test_a_row_that_was_sealed_for_somebody_else_does_not_open():
    key = bytes(32)
    sealed = SubjectSeal(key, b"one").seal(event().written())
    assert read_event(SubjectSeal(key, b"one").open(sealed)) == event()
    for other in (SubjectSeal(key, b"two"), SubjectSeal(bytes([1]) + key[1:], b"one")):
        with pytest.raises(ValueError, match="not what was sealed"):
            other.open(sealed)


def test_a_full_record_of_ts_27560_comes_back_as_it_went_in(path):
    full = event(header=HEADER, expires=9)
    with opened(path) as register:
        register._vault.record([full, event(subject="s2")])
        assert register.events("s1") == (full,)
        assert register.events("s2") == (event(subject="s2"),)
        assert register.check() == 2


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("record_id", "17", "CONSENT_BAD_RECORD_ID"),
        ("purposes", ("anything",), "CONSENT_BAD_PURPOSE"),
        ("purposes", ("dpv:ScientificResearch",) * 2, "CONSENT_BAD_PURPOSE"),
        ("lawful_basis", "because", "CONSENT_BAD_BASIS"),
        ("notice_version", "the third", "CONSENT_BAD_NOTICE"),
        ("notice_digest", "sha256:1", "CONSENT_BAD_NOTICE"),
        ("notice_language", "Japanese please", "CONSENT_BAD_NOTICE"),
        ("data_categories", ("name and address",), "CONSENT_BAD_CATEGORY"),
    ],
)
def test_a_header_that_says_what_no_vocabulary_knows_is_no_value(field, value, code):
    with pytest.raises(BadDocumentError) as error:
        RecordHeader(**{field: value})
    assert error.value.code == code


# --- erasure


def test_an_old_file_brings_nobody_back_and_a_new_consent_does(path, tmp_path):
    source = tmp_path / "consent.jsonl"
    row = {"scope": SCOPE, "event": "granted", "at": "2026-04-01T00:00:00Z", "expires": None, "notice": "n"}
    source.write_text("".join(json.dumps(row | {"subject": who}) + "\n" for who in ("s1", "s2")), "utf-8")
    with opened(path) as register:
        assert register.import_file(source).recorded == 2
        register.erase("s1", T0 + DAY)
        again = register.import_file(source)
        assert (again.recorded, again.known, again.erased) == (0, 1, 1)
        assert register.eligible(["s1", "s2"], SCOPE, T0 + 9 * DAY).eligible == ("s2",)
        source.write_text(json.dumps(row | {"subject": "s1", "at": "2026-04-05T00:00:00Z"}) + "\n", "utf-8")
        assert register.import_file(source).recorded == 1
        assert register.eligible(["s1"], SCOPE, T0 + 9 * DAY).eligible == ("s1",)


def test_a_copy_in_an_old_page_is_found_and_written_over(path, tmp_path):
    """A page as it was before it split, with its free bytes as SQLite left them: here it is put there by hand."""
    with opened(path) as register:
        register._vault.record(event(subject=f"s{number}") for number in range(400))
        vault = register._vault
        traces = take_out_traces(vault._connection, vault._keys.handle("s7"))
        vault._connection.execute("PRAGMA secure_delete = OFF")
        vault._connection.execute("CREATE TABLE old (page BLOB)")
        vault._connection.execute("INSERT INTO old VALUES (?)", (b"".join(traces),))
        vault._connection.execute("DROP TABLE old")
        vault._connection.execute("PRAGMA secure_delete = ON")
        vault._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.read_bytes().count(traces[0]) >= 2, "the control: a copy lies in a free page"
        register.erase("s7", T0 + DAY)
        assert not any(trace in file.read_bytes() for file in tmp_path.iterdir() for trace in traces)
        assert register.check() == 399


def test_erasing_somebody_unknown_does_nothing_and_leaves_no_mark(path):
    with opened(path) as register:
        register._vault.record([event()])
        before = register.snapshot_digest()
        assert register.erase("s9", T0) == 0
        assert register.snapshot_digest() == before
        assert list(register._vault._connection.execute("SELECT * FROM tombstone")) == []


def test_an_erasure_that_a_reader_holds_up_says_so_and_is_finished_by_the_next(path, monkeypatch):
    monkeypatch.setattr(vault_module, "BUSY_SECONDS", 0.0)
    with opened(path) as register:
        register._vault.record(event(subject=f"s{number}") for number in range(50))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM record").fetchone()
        with pytest.raises(GovernanceError) as error:
            register.erase("s7", T0 + DAY)
        assert error.value.code == "VAULT_ERASURE_UNFINISHED"
        assert register.eligible(["s7"], SCOPE, T0 + 2 * DAY).eligible == (), "it counts all the same"
        other.execute("COMMIT")
        other.close()
        register.erase("s7", T0 + DAY)
        assert Path(f"{path}-wal").stat().st_size == 0
        assert register._vault._connection.execute("SELECT * FROM setting WHERE name = 'scrub-due'").fetchall() == []


# --- files of before, of later, and of something else

FORMAT_1 = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY, subject TEXT NOT NULL, scope TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('granted', 'withdrawn', 'objected')),
    at TEXT NOT NULL, expires TEXT NOT NULL, notice TEXT NOT NULL,
    UNIQUE (subject, scope, kind, at, expires, notice)
) STRICT;
CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
    BEGIN SELECT RAISE(ABORT, 'consent events are never changed'); END;
"""


def file_of_format_1(path, people=700):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(FORMAT_1)
        connection.execute("INSERT INTO setting VALUES ('commitment-key', ?)", (os.urandom(32),))
        for number in range(people):
            row = (f"planted-{number:04d}", SCOPE, T0.isoformat(timespec="microseconds"))
            connection.execute(
                "INSERT INTO event (subject, scope, kind, at, expires, notice) VALUES (?,?,'granted',?,'','n')", row
            )
        connection.execute(
            "INSERT INTO event (subject, scope, kind, at, expires, notice) VALUES (?,?,'withdrawn',?,'','w')",
            ("planted-0003", SCOPE, (T0 + DAY).isoformat(timespec="microseconds")),
        )
        connection.commit()


def test_a_file_of_format_1_is_migrated_and_nothing_of_it_stays_in_the_clear(path, tmp_path):
    file_of_format_1(path)
    assert b"planted-0001" in path.read_bytes(), "the control"
    with opened(path) as register:
        assert register.counts(SCOPE, T0 + 2 * DAY) == {"granted": 699, "withdrawn": 1}
        assert register.check() == 701
        assert not any(b"planted-" in file.read_bytes() for file in tmp_path.iterdir())
        digest = register.snapshot_digest()
    with opened(path) as again:
        assert again.snapshot_digest() == digest


def test_a_migration_that_breaks_off_leaves_the_old_file_whole(path, monkeypatch):
    file_of_format_1(path, people=5)

    def full_disk(connection):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(vault_module, "drop_format_1", full_disk)
        with pytest.raises(GovernanceError) as error:
            ConsentRegister.open(path)
        assert error.value.code == "VAULT_UNREADABLE"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (6,)
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    with opened(path) as register:
        assert register.check() == 6


def test_a_later_format_and_another_database_are_refused_and_left_alone(path):
    for prepare, code in (
        ("PRAGMA user_version = 3", "VAULT_NEWER"),
        ("CREATE TABLE bank_account (id INTEGER)", "VAULT_UNREADABLE"),
    ):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(prepare)
        before = path.read_bytes()
        with pytest.raises(GovernanceError) as error:
            ConsentRegister.open(path)
        assert error.value.code == code
        assert path.read_bytes() == before


def test_while_another_process_writes_a_withdrawal_is_told_to_try_again(path, monkeypatch):
    monkeypatch.setattr(vault_module, "BUSY_SECONDS", 0.0)
    with opened(path) as register:
        register._vault.record([event()])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(GovernanceError) as error:
                register.withdraw("s1", T0 + DAY)
        assert error.value.code == "VAULT_BUSY"


# --- a process that is killed

IMPORTER = """
import os, signal, sys
from pathlib import Path
from sekisho.governance.consent import vault
vault.CACHE_KIB = 64          # so that unfinished pages reach the journal
from sekisho.governance.consent.consent import ConsentRegister
register, source, per_cent = ConsentRegister.open(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
def progress(stage, done, total):
    if done >= per_cent:
        os.kill(os.getpid(), signal.SIGKILL)
register.import_file(source, progress=progress)
"""


@pytest.mark.parametrize("per_cent", [45, 100], ids=["in the middle", "before the commit"])
def test_an_import_that_is_killed_leaves_the_register_as_it_was_and_can_be_done_again(path, tmp_path, per_cent):
    source, people = tmp_path / "big.jsonl", 2 * CHUNK + 500
    row = {"scope": SCOPE, "event": "granted", "at": "2026-04-01T00:00:00Z", "expires": None, "notice": "n"}
    source.write_text("".join(json.dumps(row | {"subject": f"s{n}"}) + "\n" for n in range(people)), "utf-8")
    with opened(path) as register:
        register._vault.record([event(subject="before")])
        digest = register.snapshot_digest()
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTER, str(path), str(source), str(per_cent)], env=os.environ, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert Path(f"{path}-wal").stat().st_size > 100_000, "the control: rows had reached the journal"
    with opened(path) as register:
        assert register.snapshot_digest() == digest
        assert register.counts(SCOPE, T0 + DAY) == {"granted": 1}
        assert register.check() == 1
        assert register.import_file(source).recorded == people
        assert register.counts(SCOPE, T0 + DAY) == {"granted": people + 1}
        assert register.import_file(source).known == people


def test_erasing_in_any_order_leaves_no_trace_of_anybody(path, tmp_path):
    """Pages split and merge on the way: after each erasure the raw files are searched."""
    chosen = random.Random(7)
    people = [f"s{number}" for number in range(600)]
    chosen.shuffle(people)
    with opened(path) as register:
        for start in range(0, 600, 60):                # many small writes: splits in the middle of pages
            register._vault.record(event(subject=who, header=HEADER) for who in people[start : start + 60])
        handles = {who: register._vault._keys.handle(who) for who in people}
        chosen.shuffle(people)
        for who in people[:25]:
            assert any(handles[who] in file.read_bytes() for file in tmp_path.iterdir())
            assert register.erase(who, T0 + DAY) == 1
            assert not any(handles[who] in file.read_bytes() for file in tmp_path.iterdir())
        assert register.check() == 575
