"""Witnesses: a log that shows two histories, or less than before, is refused and both heads are kept."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sekisho.governance.errors import BadSignatureError, BrokenLogError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import (
    Checkpoint,
    cosign,
    log_origin,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.witness import Offered, Witness
from sekisho.governance.signing.keys import SigningKey

AT = datetime(2026, 12, 1, tzinfo=UTC)
KEY = SigningKey.from_seed(b"k" * 32)
ORIGIN = log_origin("food-quality-2026", "hub")


class Party:
    """A log and what a witness needs of it."""

    def __init__(self, path: Path) -> None:
        self.log = AuditLog.open(path, origin=ORIGIN, key=KEY)

    def write(self, *numbers: int) -> str:
        self.log.append_all([Entry("step.summed", "hub", AT, {}, {"step": n}) for n in numbers])
        return self.log.checkpoint()


@pytest.fixture
def party(tmp_path: Path) -> Party:
    return Party(tmp_path / "honest.sqlite")


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "witness.sqlite")


def show(witness: Witness, party: Party, note: str) -> Checkpoint:
    last = witness.last(ORIGIN)
    size = Checkpoint.parse(note.rpartition("\n\n")[0] + "\n").size
    proof = party.log.consistency(last.size, size) if last and last.size <= size else ()
    return witness.check_and_persist(ORIGIN, note, proof, KEY.public)


def refused(witness: Witness, note: str, proof: tuple[bytes, ...] = ()) -> str:
    before = witness.last_note(ORIGIN)
    with pytest.raises(BrokenLogError) as caught:
        witness.check_and_persist(ORIGIN, note, proof, KEY.public)
    assert witness.last_note(ORIGIN) == before
    kept = witness.misbehaviour()[-1]
    assert (kept.origin, str(kept.kind), kept.seen, kept.offered) == (ORIGIN, caught.value.code, before, note)
    for text in (kept.seen, kept.offered):  # portable: anyone with the log's key can check both
        verify_checkpoint(text, ORIGIN, KEY.public)
    return caught.value.code


def test_a_growing_log_is_followed(witness: Witness, party: Party) -> None:
    assert witness.last(ORIGIN) is None
    for numbers in ((), (0,), (1, 2, 3), (4,), ()):
        head = show(witness, party, party.write(*numbers))
        assert witness.last(ORIGIN) == head
    assert head.size == 5 and witness.misbehaviour() == ()


def test_a_fork_is_refused_and_both_heads_are_kept(witness: Witness, party: Party, tmp_path: Path) -> None:
    twin = Party(tmp_path / "twin.sqlite")
    show(witness, party, party.write(0, 1, 2))
    assert refused(witness, twin.write(0, 1, 7)) == "LOG_FORKED"


def test_a_longer_second_history_is_refused(witness: Witness, party: Party, tmp_path: Path) -> None:
    twin = Party(tmp_path / "twin.sqlite")
    show(witness, party, party.write(0, 1, 2))
    note = twin.write(0, 7, 2, 3, 4)
    assert refused(witness, note, twin.log.consistency(3)) == "LOG_INCONSISTENT"


def test_a_rollback_is_refused(witness: Witness, party: Party) -> None:
    old = party.write(0, 1)
    show(witness, party, old)
    show(witness, party, party.write(2, 3))
    assert refused(witness, old) == "LOG_ROLLED_BACK"


def test_a_restored_copy_of_a_log_is_seen(witness: Witness, party: Party, tmp_path: Path) -> None:
    # The log itself cannot see this: the copy is sound in every respect.
    party.write(0, 1)
    with sqlite3.connect(tmp_path / "honest.sqlite") as source, sqlite3.connect(tmp_path / "copy.sqlite") as copy:
        source.backup(copy)
    show(witness, party, party.write(2, 3))
    restored = Party(tmp_path / "copy.sqlite")
    restored.log.fsck()
    note = restored.write(8, 9)
    assert refused(witness, note) == "LOG_FORKED"


def test_a_withheld_or_wrong_proof_is_refused(witness: Witness, party: Party) -> None:
    show(witness, party, party.write(0, 1, 2))
    note = party.write(3, 4)
    assert refused(witness, note) == "LOG_INCONSISTENT"
    assert refused(witness, note, (b"x" * 32,) * 65) == "LOG_INCONSISTENT"
    assert show(witness, party, note).size == 5  # the honest proof still works


def test_a_head_that_the_log_did_not_sign_is_nobodys_misbehaviour(witness: Witness, party: Party) -> None:
    show(witness, party, party.write(0))
    forged = sign_checkpoint(Checkpoint(ORIGIN, 1, b"x" * 32), SigningKey.from_seed(b"o" * 32))
    with pytest.raises(BadSignatureError):
        witness.check_and_persist(ORIGIN, forged, (), KEY.public)
    assert witness.misbehaviour() == ()


def test_an_empty_tree_with_another_root_is_refused(witness: Witness) -> None:
    odd = sign_checkpoint(Checkpoint(ORIGIN, 0, b"x" * 32), KEY)
    witness.check_and_persist(ORIGIN, odd, (), KEY.public)
    assert refused(witness, sign_checkpoint(Checkpoint(ORIGIN, 1, b"y" * 32), KEY)) == "LOG_INCONSISTENT"


def test_the_race_that_rolls_a_witness_back_does_not(party: Party, tmp_path: Path) -> None:
    # C2SP tlog-witness: N and N + K are shown at once; whatever the order, N + K stays.
    base = party.write(0)
    notes = [party.write(number) for number in range(1, 25)]
    path = tmp_path / "raced.sqlite"
    Witness(path).check_and_persist(ORIGIN, base, (), KEY.public)
    largest: list[int] = []

    def submit(shuffled: list[str]) -> None:
        own = Witness(path)  # its own connection, as another process would have
        for note in shuffled:
            try:
                largest.append(show(own, party, note).size)
            except BrokenLogError:
                continue
        own.close()

    threads = [threading.Thread(target=submit, args=(notes[start:] + notes[:start],)) for start in (0, 7, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = Witness(path).last(ORIGIN)
    assert last is not None and last.size == max(largest)


def test_memory_survives_and_cannot_be_shortened(witness: Witness, party: Party, tmp_path: Path) -> None:
    show(witness, party, party.write(0, 1))
    witness.close()
    again = Witness(tmp_path / "witness.sqlite")
    last = again.last(ORIGIN)
    assert last is not None and last.size == 2
    with sqlite3.connect(tmp_path / "witness.sqlite") as other:
        for statement in ("DELETE FROM heads", "UPDATE heads SET size = 1"):
            with pytest.raises(sqlite3.DatabaseError):
                other.execute(statement)
    with pytest.raises(BrokenLogError) as caught:
        Witness(tmp_path / "absent" / "w.sqlite")
    assert caught.value.code == "WITNESS_UNWRITABLE"


def test_a_log_under_a_new_key_is_a_new_log(witness: Witness, party: Party) -> None:
    other = SigningKey.from_seed(b"n" * 32)
    seen = show(witness, party, party.write(1, 2, 3))
    fresh = sign_checkpoint(Checkpoint(ORIGIN, 1, b"r" * 32), other)
    assert witness.check_and_persist(ORIGIN, fresh, (), other.public).size == 1
    assert witness.misbehaviour() == ()
    assert witness.last(ORIGIN, KEY.public) == seen and witness.last(ORIGIN, other.public).size == 1
    assert witness.last(ORIGIN).size == 1 and witness.origins() == (ORIGIN,)  # the newest


def test_heads_are_kept_together_each_with_its_cosignature(witness: Witness, party: Party) -> None:
    own = SigningKey.from_seed(b"w" * 32)
    second = log_origin("food-quality-2026", "mori")
    notes = {ORIGIN: party.write(1), second: sign_checkpoint(Checkpoint(second, 1, b"r" * 32), KEY)}
    lines = {origin: cosign(note, "witness", own, AT) for origin, note in notes.items()}
    offers = [Offered(origin, note, (), KEY.public, lines[origin]) for origin, note in notes.items()]
    assert [head.origin for head in witness.check_and_persist_all(offers)] == [ORIGIN, second]
    for origin, note in notes.items():
        assert witness.last_note(origin) == note
        assert verify_cosignature(witness.cosigned(origin), "witness", own.public) == AT
    # one that lies does not keep the others from being seen
    grown = party.write(2)
    liar = Offered(second, sign_checkpoint(Checkpoint(second, 1, b"x" * 32), KEY), (), KEY.public)
    honest = Offered(ORIGIN, grown, party.log.consistency(1, 2), KEY.public)
    with pytest.raises(BrokenLogError) as caught:
        witness.check_and_persist_all((liar, honest))
    assert caught.value.code == "LOG_FORKED"
    assert witness.last(ORIGIN).size == 2 and witness.cosigned(ORIGIN) == grown  # no line was given for it
    assert witness.last_note(second) == notes[second] and witness.cosigned("nobody") is None
