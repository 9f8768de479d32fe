"""A site can prove that a record was, or was not, in a run, and its commitment tells nothing to anybody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BadDocumentError
from sekisho.governance.provenance.records import CommittedRecords, Leaf, Membership, verify_membership

KEY, OTHER = b"k" * 32, b"o" * 32
digests = st.binary(min_size=1, max_size=4).map(digest_bytes)


def committed(*names: str, key: bytes = KEY) -> CommittedRecords:
    return CommittedRecords.of(key, [digest_bytes(name.encode()) for name in names])


@settings(max_examples=80, deadline=None)
@given(st.lists(digests, max_size=40), digests)
def test_every_record_is_proven_in_or_out(inside: list[str], asked: str) -> None:
    records = CommittedRecords.of(KEY, inside)
    for digest in (asked, *inside[:3]):
        assert verify_membership(records.commitment, KEY, records.prove(digest), digest) is (digest in inside)


@settings(max_examples=40, deadline=None)
@given(st.lists(digests, min_size=1, max_size=12))
def test_the_order_of_records_does_not_show_and_their_number_does_not_either(inside: list[str]) -> None:
    assert CommittedRecords.of(KEY, inside).commitment == CommittedRecords.of(KEY, inside[::-1]).commitment
    assert len(CommittedRecords.of(KEY, inside).commitment) == len(committed().commitment)
    assert CommittedRecords.of(KEY, [*inside, inside[0]]).commitment != CommittedRecords.of(KEY, inside).commitment


def test_equal_records_under_two_keys_look_like_any_other() -> None:
    records, digest = committed("a", "b"), digest_bytes(b"a")
    assert records.commitment != committed("a", "b", key=OTHER).commitment
    with pytest.raises(BadDocumentError) as caught:
        verify_membership(records.commitment, OTHER, records.prove(digest), digest)
    assert caught.value.code == "MEMBERSHIP_UNPROVEN"


@settings(max_examples=80, deadline=None)
@given(st.lists(digests, min_size=2, max_size=30, unique=True), st.data())
def test_no_proof_says_of_a_record_what_is_not_so(inside: list[str], data: st.DataObject) -> None:
    """A lying site puts any leaves of its tree together, or those of another tree."""
    records, less = CommittedRecords.of(KEY, inside), CommittedRecords.of(KEY, inside[1:])
    present, absent = inside[0], data.draw(digests)
    assume(absent not in inside)
    whole = [records._leaf(index) for index in range(len(inside) + 2)]
    pair = tuple(data.draw(st.lists(st.sampled_from(whole), min_size=1, max_size=2)))
    honest = records.prove(absent)
    forged = [replace(honest, leaves=pair), less.prove(present), records.prove(present)]
    for proof in forged:
        for digest, truth in ((present, True), (absent, False)):
            try:
                assert verify_membership(records.commitment, KEY, proof, digest) is truth
            except BadDocumentError as error:
                assert error.code == "MEMBERSHIP_UNPROVEN"


def test_two_leaves_that_are_no_neighbours_prove_no_absence() -> None:
    records = committed("a", "b", "c", "d", "e")
    last = len("abcde") + 1
    around = Membership(last + 1, records.prove(digest_bytes(b"a")).root, (records._leaf(0), records._leaf(last)))
    with pytest.raises(BadDocumentError):
        verify_membership(records.commitment, KEY, around, digest_bytes(b"c"))


@pytest.mark.parametrize("part", ["size", "root", "mark", "path"])
def test_a_proof_with_one_part_changed_proves_nothing(part: str) -> None:
    records, digest = committed("a", "b", "c"), digest_bytes(b"b")
    proof = records.prove(digest)
    (leaf,) = proof.leaves
    flipped = bytes([leaf.mark[0] ^ 1]) + leaf.mark[1:]
    changed = {
        "size": replace(proof, size=proof.size + 1),
        "root": replace(proof, root=bytes([proof.root[0] ^ 1]) + proof.root[1:]),
        "mark": replace(proof, leaves=(Leaf(leaf.index, flipped, leaf.path),)),
        "path": replace(proof, leaves=(Leaf(leaf.index, leaf.mark, leaf.path[:-1]),)),
    }[part]
    with pytest.raises(BadDocumentError) as caught:
        verify_membership(records.commitment, KEY, changed, digest)
    assert caught.value.code == "MEMBERSHIP_UNPROVEN"


def test_a_short_key_and_what_is_no_digest_are_refused() -> None:
    with pytest.raises(BadDocumentError) as caught:
        committed("a", key=b"short")
    assert caught.value.code == "COMMITMENT_KEY_SHORT"
    with pytest.raises(BadDocumentError) as caught:
        CommittedRecords.of(KEY, ["a name"])
    assert caught.value.code == "RECORD_DIGEST"
