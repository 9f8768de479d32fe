"""What a party shows of its own log: proofs from wherever others stand; nothing where it has forgotten something."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.core.errors import Refused
from sekisho.core.watching import OwnLog
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import Checkpoint, log_origin, sign_checkpoint
from sekisho.governance.log.entries import Entry
from sekisho.governance.signing.keys import demo_key

KEY, ORIGIN = demo_key("ame"), log_origin("study", "ame")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with AuditLog.open(tmp_path / "log", origin=ORIGIN, key=KEY) as log:
        work(log, 5)
        yield log


def work(log: AuditLog, count: int) -> None:
    at = datetime(2026, 11, 2, tzinfo=UTC)
    entries = [Entry(type="run.stopped", party="ame", at=at, refs={"run": f"r{number}"}) for number in range(count)]
    log.append_all(entries)


def note(log: AuditLog, size: int, *, root: bytes | None = None, key=KEY) -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, size, log.root(size) if root is None else root), key)


def show(own: OwnLog):
    return own.show("ame", seen={}, answers=None)


def test_it_proves_from_the_last_message_the_last_round_and_every_claim(log: AuditLog) -> None:
    own = OwnLog(log, KEY.public)
    assert show(own).continued == {}
    own.came_round()
    work(log, 2)
    assert set(show(own).continued) == {"5"}
    own.claim(note(log, 3))
    work(log, 2)
    shown = show(own)
    assert set(shown.continued) == {"3", "5", "7"} and shown.number == 3
    assert set(show(own).continued) == {"3", "5"}  # the head stands still: from itself there is nothing to prove


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_heads_of_one_size_that_it_signed_one_is_not_its_own(log: AuditLog, order: int) -> None:
    own = OwnLog(log, KEY.public)
    for claim in (note(log, 3), note(log, 3, root=b"x" * 32))[::order]:
        own.claim(claim)
    with pytest.raises(Refused) as caught:
        show(own)
    assert (caught.value.code, caught.value.site) == ("LOG_BEHIND", "ame")


def test_a_head_beyond_its_log_stops_it_and_what_it_did_not_sign_does_not(log: AuditLog) -> None:
    own = OwnLog(log, KEY.public)
    own.claim(note(log, 9, root=b"x" * 32, key=demo_key("hana")))
    own.claim("no note")
    assert show(own).number == 1
    own.claim(note(log, 9, root=b"x" * 32))
    with pytest.raises(Refused, match="9 entries"):
        show(own)


def test_entries_are_shown_once_in_the_next_message(log: AuditLog) -> None:
    own = OwnLog(log, KEY.public)
    own.did(3)
    assert [(one.index, one.entry) for one in show(own).entries] == [(3, list(log.entries())[3].decode())]
    assert show(own).entries == ()
