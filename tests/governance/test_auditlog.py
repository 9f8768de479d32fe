"""The log: what was acknowledged is there, what is there was not changed, and a broken log says so."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.governance.errors import BrokenLogError, Refused
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import log_origin, verify_checkpoint
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from sekisho.governance.signing.keys import SigningKey

AT = datetime(2026, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)
ORIGIN = log_origin("food-quality-2026", "kohi")


def entry(number: int) -> Entry:
    return Entry("step.started", "kohi", AT, {"run": "run-1"}, {"step": number})


def opened(path: Path, key: SigningKey = KEY, origin: str = ORIGIN) -> AuditLog:
    return AuditLog.open(path, origin=origin, key=key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def log(path: Path) -> AuditLog:
    return opened(path)


def test_an_empty_log_has_the_empty_root(log: AuditLog) -> None:
    assert (log.size, log.root(), list(log.entries())) == (0, EMPTY_ROOT, [])
    assert log.fsck().entries == 0
    assert verify_checkpoint(log.checkpoint(), ORIGIN, KEY.public).size == 0


def test_entries_are_numbered_kept_and_proved(log: AuditLog, path: Path) -> None:
    heads = {}
    for number in range(20):
        assert log.append(entry(number)) == number
        heads[log.size] = log.root()
    assert log.append_all([entry(number) for number in range(20, 37)]) == 20
    bodies = list(log.entries())
    assert bodies == [entry(number).to_bytes() for number in range(37)]
    assert list(log.entries(start=30)) == bodies[30:]
    assert log.root() == root_of([leaf_hash(body) for body in bodies])
    for index in (0, 1, 17, 36):
        verify_inclusion(index, 37, leaf_hash(bodies[index]), log.inclusion(index), log.root())
    for old in (1, 8, 20):
        verify_consistency(old, 37, log.consistency(old), heads[old], log.root())
    verify_inclusion(3, 9, leaf_hash(bodies[3]), log.inclusion(3, 9), log.root(9))
    head = verify_checkpoint(log.checkpoint(), ORIGIN, KEY.public)
    assert (head.size, head.root) == (37, log.root())
    log.close()
    with opened(path) as again:
        assert (again.size, again.root()) == (37, head.root)
        assert again.append(entry(37)) == 37
        report = again.fsck()
        assert (report.entries, report.heads, report.root) == (38, 1, again.root())


def test_a_batch_is_all_or_nothing(log: AuditLog) -> None:
    with pytest.raises(Refused):
        log.append_all([entry(0), Entry("step.started", "kohi", AT, {}, {"note": "two words"})])
    assert log.size == 0 and log.append_all([]) == 0 and log.append(entry(0)) == 0


def test_the_file_is_for_its_owner_only(log: AuditLog, path: Path) -> None:
    log.append(entry(0))
    for name in os.listdir(path.parent):
        assert (path.parent / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("table", ["entries", "nodes", "heads", "about"])
def test_nothing_can_be_updated_or_deleted(log: AuditLog, path: Path, table: str) -> None:
    log.append(entry(0))
    log.checkpoint()
    with sqlite3.connect(path) as other:
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET rowid = 99"):
            with pytest.raises(sqlite3.DatabaseError):
                other.execute(statement)


def tampered(path: Path, *statements: str) -> None:
    """Change the file as somebody would who can drop the triggers."""
    with sqlite3.connect(path, isolation_level=None) as other:
        names = [row[0] for row in other.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            other.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            other.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE i = 9",                                  # the last entry
        "DELETE FROM entries WHERE i = 4",                                  # one in the middle
        "UPDATE entries SET body = x'7b7d' WHERE i = 9",
        "UPDATE entries SET i = 11 WHERE i = 9",
        "UPDATE nodes SET hash = zeroblob(32) WHERE k = 9",                 # the last leaf
        "UPDATE nodes SET hash = zeroblob(32) WHERE k = (3 << 54)",         # a complete subtree
        "DELETE FROM nodes WHERE k = (1 << 54) + 4",
        "DELETE FROM nodes WHERE k = 9",
        "UPDATE heads SET note = replace(note, '10', '11')",
        "UPDATE heads SET size = 9",
        "UPDATE heads SET size = 11",
        "INSERT INTO entries VALUES (10, x'7b7d')",
    ],
)
def test_tampering_at_the_edge_is_seen_on_opening(path: Path, statement: str) -> None:
    with opened(path) as log:
        log.append_all([entry(number) for number in range(10)])
        log.checkpoint()
    tampered(path, statement)
    with pytest.raises(BrokenLogError) as caught:
        opened(path)
    assert caught.value.code == "LOG_DAMAGED"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = x'7b7d' WHERE i = 2",
        "UPDATE entries SET body = (SELECT body FROM entries WHERE i = 3) WHERE i = 2",
        "UPDATE nodes SET hash = zeroblob(32) WHERE k = 2",
        "UPDATE nodes SET hash = zeroblob(32) WHERE k = (1 << 54) + 1",
        "INSERT INTO nodes VALUES ((5 << 54), zeroblob(32))",
        "DELETE FROM nodes WHERE k = 1",
    ],
)
def test_tampering_anywhere_is_seen_by_fsck(path: Path, statement: str) -> None:
    with opened(path) as log:
        log.append_all([entry(number) for number in range(10)])
        log.checkpoint()
    tampered(path, statement)
    with pytest.raises(BrokenLogError) as caught, opened(path) as log:
        log.fsck()
    assert caught.value.code in {"LOG_DAMAGED", "ENTRY_MALFORMED"}


def test_a_log_cut_back_behind_its_signed_head_is_refused(path: Path) -> None:
    with opened(path) as log:
        log.append_all([entry(number) for number in range(10)])
        log.checkpoint()
    # Consistently cut back to 8 entries: only the signed head still knows of 10.
    tampered(path, "DELETE FROM entries WHERE i >= 8", "DELETE FROM nodes WHERE k IN (8, 9, (1 << 54) + 4)")
    with pytest.raises(BrokenLogError) as caught:
        opened(path)
    assert caught.value.code == "LOG_DAMAGED" and "head" in caught.value.sentence


def test_a_rewritten_log_with_matching_hashes_contradicts_its_signed_head(path: Path, tmp_path: Path) -> None:
    with opened(path) as log, opened(tmp_path / "other.sqlite") as other:
        log.append_all([entry(number) for number in range(10)])
        log.checkpoint()
        other.append_all([entry(number + 100) for number in range(10)])
    tampered(
        path, f"ATTACH '{tmp_path / 'other.sqlite'}' AS o", "DELETE FROM entries", "DELETE FROM nodes",
        "INSERT INTO entries SELECT * FROM o.entries", "INSERT INTO nodes SELECT * FROM o.nodes",
    )
    with pytest.raises(BrokenLogError) as caught:
        opened(path)
    assert caught.value.code == "LOG_DAMAGED"


@pytest.mark.parametrize("which", ["origin", "key"])
def test_a_log_belongs_to_one_origin_and_key(path: Path, which: str) -> None:
    opened(path).close()
    with pytest.raises(BrokenLogError) as caught:
        if which == "origin":
            opened(path, origin=log_origin("food-quality-2026", "wanko"))
        else:
            opened(path, key=SigningKey.from_seed(b"o" * 32))
    assert caught.value.code == "LOG_OF_ANOTHER"


def test_a_second_writer_cannot_fork_the_tree(path: Path) -> None:
    first, second = opened(path), opened(path)
    first.append(entry(0))
    with pytest.raises(BrokenLogError) as caught:
        second.append(entry(1))
    assert caught.value.code == "LOG_UNWRITABLE"
    with pytest.raises(BrokenLogError):
        second.append(entry(1))  # it stays refused until it is opened again
    assert first.append(entry(1)) == 1
    assert first.fsck().entries == 2


def test_threads_of_one_process_share_a_log(log: AuditLog) -> None:
    numbers: list[int] = []

    def write() -> None:
        numbers.extend(log.append(entry(number)) for number in range(20))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(80))
    assert log.fsck().entries == 80


class CountingCommits:
    """A connection that counts commits and holds the first one back until it is let go."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.commits = connection, 0
        self.held, self.go = threading.Event(), threading.Event()

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if sql == "COMMIT":
            self.commits += 1
            self.held.set()
            assert self.go.wait(30)
        return self.connection.execute(sql, *arguments)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


def test_threads_that_append_at_the_same_time_share_a_commit(log: AuditLog) -> None:
    counting = CountingCommits(log._connection)
    log._connection = counting  # type: ignore[assignment]  # what the log uses of it
    numbers: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: numbers.update({n: log.append(entry(n))})) for n in range(8)]
    threads[0].start()
    assert counting.held.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(log._waiting) < 7:
        time.sleep(0.001)
    assert numbers == {} and log.size == 0, "somebody was told before the commit"
    counting.go.set()
    for thread in threads:
        thread.join()
    assert counting.commits == 2
    bodies = list(log.entries())
    assert sorted(numbers.values()) == list(range(8)) and numbers[0] == 0
    assert all(bodies[number] == entry(n).to_bytes() for n, number in numbers.items())
    assert log.fsck().entries == 8


def test_a_commit_that_fails_fails_everybody_who_waited_for_it(log: AuditLog, path: Path) -> None:
    counting = CountingCommits(log._connection)
    log._connection = counting  # type: ignore[assignment]  # what the log uses of it
    codes: list[str] = []

    def write(number: int) -> None:
        try:
            log.append(entry(number))
        except BrokenLogError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    threads[0].start()
    assert counting.held.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(log._waiting) < 7:
        time.sleep(0.001)
    counting.connection.execute("PRAGMA query_only = ON")  # the next transaction cannot write
    counting.go.set()
    for thread in threads:
        thread.join()
    assert codes == ["LOG_UNWRITABLE"] * 7
    with pytest.raises(BrokenLogError):
        log.append(entry(9))
    log.close()
    with opened(path) as again:
        assert again.size == 1 and again.append(entry(1)) == 1 and again.fsck().entries == 2


def test_a_full_disk_refuses_and_loses_nothing(log: AuditLog, path: Path) -> None:
    log.append(entry(0))
    log._connection.execute("PRAGMA max_page_count = 12")
    with pytest.raises(BrokenLogError) as caught:
        for number in range(1, 10_000):
            log.append_all([entry(number)] * 50)
    assert caught.value.code == "LOG_UNWRITABLE"
    acknowledged = log.size
    assert next(log.entries()) == entry(0).to_bytes()
    for act in (lambda: log.append(entry(1)), log.checkpoint):
        with pytest.raises(BrokenLogError) as caught:
            act()
        assert caught.value.code == "LOG_UNWRITABLE"
    log.close()
    with opened(path) as again:
        assert again.size >= acknowledged and again.fsck().entries == again.size


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "absent" / "log.sqlite", tmp_path):
        with pytest.raises(BrokenLogError) as caught:
            opened(place)
        assert caught.value.code == "LOG_UNWRITABLE"
    (tmp_path / "text.sqlite").write_text("this is not a database, but long enough to be taken for one" * 20)
    with pytest.raises(BrokenLogError) as caught:
        opened(tmp_path / "text.sqlite")
    assert caught.value.code == "LOG_UNWRITABLE"


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_write_ahead_log_leaves_a_sound_prefix(path: Path, tmp_path: Path, cut: float) -> None:
    log = opened(path)
    for number in range(40):
        log.append(entry(number))
    copy = tmp_path / "copy"
    copy.mkdir()
    wal = path.with_name(path.name + "-wal").read_bytes()
    (copy / path.name).write_bytes(path.read_bytes())
    (copy / (path.name + "-wal")).write_bytes(wal[: int(len(wal) * cut)])
    roots = [log.root(size) for size in range(41)]
    try:
        again = opened(copy / path.name)
    except BrokenLogError as error:
        assert error.code in {"LOG_OF_ANOTHER", "LOG_DAMAGED", "LOG_UNWRITABLE"}
        return
    with again:
        assert again.root() == roots[again.size]
        assert again.fsck().entries == again.size


CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.entries import Entry
from sekisho.governance.signing.keys import SigningKey
log = AuditLog.open(Path(sys.argv[1]), origin=sys.argv[2], key=SigningKey.from_seed(b"k" * 32))
while True:
    log.append(Entry("step.started", "kohi", datetime(2026, 12, 1, tzinfo=UTC), {}, {"step": log.size}))
    print(log.size, log.root().hex(), flush=True)
"""


def killed_while_appending(path: Path, seconds: float) -> list[str]:
    """The acknowledgements of a writer that is killed in the middle."""
    root = Path(__file__).parents[2] / ".namespace"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), ORIGIN], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.wait()
    return [line for line in lines if line.endswith("\n")]


def check_after_kill(path: Path, lines: list[str], seen: tuple[int, bytes]) -> tuple[int, bytes]:
    size, root = lines[-1].split()
    with opened(path) as log:
        assert log.size >= int(size)
        assert log.root(int(size)).hex() == root
        if seen[0]:
            verify_consistency(seen[0], log.size, log.consistency(seen[0]), seen[1], log.root())
        log.fsck()
        return log.size, log.root()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.proof)])
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(path: Path, kills: int) -> None:
    pick = random.Random(7)
    seen = (0, EMPTY_ROOT)
    for _ in range(kills):
        lines = killed_while_appending(path, pick.uniform(0.0, 0.15))
        seen = check_after_kill(path, lines, seen)
    assert seen[0] >= kills


def test_fsck_is_not_disturbed_by_another_process_that_appends(path: Path) -> None:
    with opened(path) as reader, opened(path) as writer:
        writer.append_all([entry(number) for number in range(5)])
        assert reader.fsck().entries == 5


@pytest.mark.parametrize(
    "act",
    [lambda log: log.inclusion(3), lambda log: log.consistency(4), lambda log: log.root(4), lambda log: log.root(-1)],
)
def test_what_the_log_never_had_is_not_proved(log: AuditLog, act: Callable[[AuditLog], object]) -> None:
    log.append_all([entry(number) for number in range(3)])
    with pytest.raises(BrokenLogError):
        act(log)
