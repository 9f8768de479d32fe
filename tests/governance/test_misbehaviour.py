"""A proof of misbehaviour convicts whoever signed its evidence, and nobody by any other."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core import messages
from sekisho.governance.canonical import digest_bytes
from sekisho.governance.errors import BrokenLogError
from sekisho.governance.log import shown
from sekisho.governance.log.misbehaviour import Charge, Proof, check, read_all, store
from sekisho.governance.signing.keys import PublicKey, demo_key

from . import liars
from .liars import EVERY, GROWN, ORIGIN, PARTY, READIES, SUM, SUMMED, Tree, cohort, convicts, join, message, step_body

PAGE = Path(__file__).parents[2] / "docs" / "formats" / "misbehaviour.md"
MADE = pytest.mark.parametrize("made", EVERY, ids=lambda made: made.__name__)
KEY = demo_key(PARTY).public


def key_of(proof: Proof) -> PublicKey:
    return demo_key(proof.origin.rpartition("/")[2]).public


@MADE
def test_each_kind_convicts_its_party(made: Callable[[], Proof]) -> None:
    proof = made()
    finding = check(Proof.parse(proof.to_bytes()), key_of(proof))
    assert convicts(proof, key_of(proof))
    assert (finding.charge, finding.origin) == (proof.charge, proof.origin)


@MADE
def test_another_key_another_party_and_another_charge_convict_nobody(made: Callable[[], Proof]) -> None:
    proof = made()
    for party in ("hana", "kaze", "coordinator"):
        origin = proof.origin.rpartition("/")[0] + f"/{party}"
        if origin != proof.origin:
            assert not convicts(proof, demo_key(party).public)
            assert not convicts(replace(proof, origin=origin), demo_key(party).public)
            assert not convicts(replace(proof, origin=origin), key_of(proof))
    also = {Charge.INCONSISTENT} if proof.charge is Charge.ROLLBACK else set()  # what shrinks does not continue, either
    for charge in set(Charge) - {proof.charge} - also:
        assert not convicts(replace(proof, charge=charge), key_of(proof))


@MADE
def test_evidence_that_is_missing_doubled_or_swapped_convicts_nobody(made: Callable[[], Proof]) -> None:
    proof, key = made(), key_of(made())
    assert not convicts(replace(proof, evidence=()), key)
    assert not convicts(replace(proof, evidence=(*proof.evidence, proof.evidence[-1])), key)
    assert not convicts(replace(proof, evidence=proof.evidence[:-1]), key)
    if len(proof.evidence) > 1 and proof.charge is not Charge.FORK:
        assert not convicts(replace(proof, evidence=tuple(reversed(proof.evidence))), key)


@MADE
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_changed_bit_anywhere_convicts_nobody(made: Callable[[], Proof], data: st.DataObject) -> None:
    proof = made()
    number = data.draw(st.integers(0, len(proof.evidence) - 1))
    piece = proof.evidence[number]
    raw = bytearray(piece.encode() if isinstance(piece, str) else piece)
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << (bit % 8)
    try:
        other = raw.decode() if isinstance(piece, str) else bytes(raw)
    except UnicodeDecodeError:
        return
    evidence = (*proof.evidence[:number], other, *proof.evidence[number + 1 :])
    changed = replace(proof, evidence=evidence)
    # a site's words in evidence against the coordinator are bound by digest, its own by signature
    if proof.charge is Charge.DISOWNED and number and bit // 8 >= len(raw) - 64 and "hana" in proof.origin:
        return  # who signed the cohort does not matter: the site committed to its header
    assert not convicts(changed, key_of(proof))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["schema", "kind", "origin", "evidence", "note", "message"]), inner, max_size=6
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_whatever_is_no_proof_does_not_parse(data: bytes) -> None:
    with pytest.raises(BrokenLogError) as caught:
        Proof.parse(data)
    assert caught.value.code == "MISBEHAVIOUR_MALFORMED"


def test_one_form_only() -> None:
    data = liars.fork().to_bytes()
    for other in (data + b"\n", data.replace(b'":', b'": ', 1), data.replace(b"/1", b"/2", 1)):
        with pytest.raises(BrokenLogError):
            Proof.parse(other)


# --- what is no misbehaviour ------------------------------------------------------------------------------------------


def accuse(charge: Charge, *evidence: str | bytes, origin: str = ORIGIN) -> bool:
    return convicts(Proof(charge, origin, evidence), demo_key(origin.rpartition("/")[2]).public)


def test_a_log_that_grows_convicts_nobody() -> None:
    first = message(step_body(1), GROWN.shown(5))
    grown = message(READIES, SUMMED.shown(6, base=[3]))
    still = message(READIES, GROWN.shown(6))
    for later in (grown, still):
        assert not any(accuse(charge, first, later) for charge in Charge)
    assert accuse(Charge.INCONSISTENT, first, message(READIES, SUMMED.shown(6)))  # control: without the proof


def test_an_old_head_that_somebody_repeats_convicts_nobody() -> None:
    assert not accuse(Charge.FORK, SUMMED.note(), GROWN.note())
    assert not accuse(Charge.FORK, SUMMED.note(), SUMMED.note())
    # in the order in which they were signed they are honest, whatever order they are shown in
    early, late = message(step_body(1), GROWN.shown(5)), message(READIES, SUMMED.shown(6, base=[3]))
    assert not accuse(Charge.ROLLBACK, late, early) and not accuse(Charge.ROLLBACK, early, late)


def test_evidence_counts_only_under_the_accuseds_own_signature() -> None:
    # what the coordinator signed, in messages that somebody else made of it
    earlier, later = SUMMED.shown(5), GROWN.shown(6)
    assert accuse(Charge.ROLLBACK, message(step_body(1), earlier), message(READIES, later))  # control
    theirs = [unsigned(message(step_body(1), earlier)), unsigned(message(READIES, later))]
    assert not accuse(Charge.ROLLBACK, *theirs) and not accuse(Charge.INCONSISTENT, *theirs)


def unsigned(said: bytes) -> bytes:
    return said[:-64] + demo_key("ame").sign(messages.SIGNATURE_CONTEXT + said[8:-64])


def test_two_runs_have_no_order() -> None:
    earlier = message(step_body(1), SUMMED.shown(5), run="run-1")
    assert not accuse(Charge.ROLLBACK, earlier, message(READIES, GROWN.shown(6), run="run-2"))
    assert not accuse(Charge.INCONSISTENT, earlier, message(READIES, GROWN.shown(6), run="run-2"))


def test_a_message_that_was_not_forwarded_leaves_no_gap_to_be_convicted_of() -> None:
    earlier = message({"kind": "ready", "step": 1}, GROWN.shown(5))
    assert not accuse(Charge.INCONSISTENT, earlier, message({"kind": "ready", "step": 3}, SUMMED.shown(7)))


def test_what_a_message_owes() -> None:
    def step_two(tree: Tree, *entries: int, previous: str = "summed", total: str = SUM) -> bool:
        parts = {"sum": total} if previous == "summed" else {}
        said = message(step_body(2, previous), tree.shown(7, base=[3], entries=entries), parts=parts)
        return accuse(Charge.WITHHELD, said)

    assert not step_two(SUMMED, 3)
    assert step_two(SUMMED, 2) and step_two(GROWN) and step_two(SUMMED, 3, total="sha256:" + "00" * 32)
    assert step_two(SUMMED, 3, previous="abandoned") and step_two(SUMMED, 3, previous="none")
    assert not step_two(GROWN.add("step.abandoned", {}, {"step": 1}), 3, previous="abandoned")
    assert not step_two(GROWN.add("validation.opened", {}, {"step": 1}), 3, previous="none")
    # of another step, or of another run
    assert step_two(GROWN.add("step.summed", {"sum": SUM}, {"step": 2}), 3)
    assert step_two(GROWN.add("step.summed", {"sum": SUM}, {"step": 1}, run="run-2"), 3)


def test_kinds_that_show_no_log_owe_none() -> None:
    assert not accuse(Charge.WITHHELD, message({"kind": "stop", "code": "X"}, None))
    assert not accuse(Charge.WITHHELD, message({"kind": "frame", "step": 1}, None))
    assert accuse(Charge.WITHHELD, message(READIES, None))
    assert not accuse(Charge.WITHHELD, message(READIES, GROWN.shown(3)))


def test_a_message_of_the_version_before_owes_nothing() -> None:
    assert not accuse(Charge.WITHHELD, message(READIES, None, version=1))


def test_a_head_that_the_cohort_answers_is_not_disowned() -> None:
    for tree, base in ((SUMMED, []), (SUMMED.add("run.finished"), [4])):
        joined = join({PARTY: SUMMED.note()})
        assert not accuse(Charge.DISOWNED, cohort(tree, {"ame": joined}, base=base), joined)
    grown, joined = SUMMED.add("run.finished"), join({PARTY: SUMMED.note()})
    assert accuse(Charge.DISOWNED, cohort(grown, {"ame": joined}), joined)  # control: no proof is given


def test_a_party_answers_for_nothing_but_the_joins_of_its_cohort() -> None:
    joined, other = join({PARTY: SUMMED.note()}), join({PARTY: SUMMED.note()}, sender="hana")
    assert not accuse(Charge.DISOWNED, cohort(GROWN, {"ame": joined}), other)
    assert not accuse(Charge.DISOWNED, cohort(GROWN, {"hana": joined}), joined)  # under another's name
    # a digest that merely stands somewhere in what was read commits to nothing
    body = {"kind": "cohort", "sites": ["ame"], "odd": digest_bytes(joined)}
    assert not accuse(Charge.DISOWNED, message(body, GROWN.shown(2)), joined)
    ready = {"kind": "readies", "step": 1, "cohort": ["ame"]}
    elsewhere = message(ready, GROWN.shown(2), parts={"join:ame": digest_bytes(joined)})
    assert not accuse(Charge.DISOWNED, elsewhere, joined)


def test_a_note_that_the_party_did_not_sign_is_nobodys_claim() -> None:
    forged = replace(SUMMED, party="ame").note().replace("/ame", "/coordinator")
    joined = join({PARTY: forged})
    assert not accuse(Charge.DISOWNED, cohort(GROWN, {"ame": joined}), joined)


# --- stored, and written down -----------------------------------------------------------------------------------------


def test_a_stored_proof_is_private_whole_and_written_once(tmp_path: Path) -> None:
    proof = liars.rollback()
    path = store(tmp_path / "misbehaviour", proof)
    assert path.read_bytes() == proof.to_bytes() and path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_mtime_ns
    assert store(tmp_path / "misbehaviour", proof) == path and path.stat().st_mtime_ns == before
    assert read_all(tmp_path / "misbehaviour") == (proof,) and read_all(tmp_path / "none") == ()
    (tmp_path / "file").touch()
    with pytest.raises(BrokenLogError) as caught:
        store(tmp_path / "file", proof)
    assert caught.value.code == "MISBEHAVIOUR_UNWRITABLE"


def test_the_page_of_the_format_shows_the_proofs_that_are_made_here() -> None:
    text = PAGE.read_text("utf-8")
    shown_there = [block.encode() for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)]
    assert shown_there == [made().to_bytes() for made in EVERY]
    for made in EVERY:
        assert key_of(made()).raw.hex() in text and made().file_name in text


def test_messages_are_read_here_as_they_are_written() -> None:
    assert (shown.MAGIC, shown.SIGNATURE_CONTEXT) == (messages.MAGIC, messages.SIGNATURE_CONTEXT)
    assert shown.MAX_HEADER_BYTES == messages.MAX_HEADER_BYTES
    assert messages.Header.model_fields["version"].default == shown.VERSION
    log = messages.LogHead.model_validate_json(json.dumps(SUMMED.shown(4, base=[3], entries=[3])))
    body = messages.Readies(step=1, cohort=("ame",))
    names = {"study": liars.STUDY, "run": liars.RUN, "sender": PARTY}
    signed = messages.sign_message(body, **names, key=demo_key(PARTY), log=log)
    said = shown.Said.parse(signed.detached())
    assert said == shown.Said.of(signed.header_bytes, signed.signature) and said.digest == signed.digest
    # parties of one process that keep it keep one copy: of n sites' last messages at n sites there are n, not n²
    again = shown.Said.of(bytes(bytearray(signed.header_bytes)), bytes(bytearray(signed.signature)))
    assert again.raw is shown.Said.of(signed.header_bytes, signed.signature).raw
    there = said.shown(KEY)
    assert there is not None and there.head.size == 4 and there.proof_from(3) == tuple(
        map(base64.b64decode, log.continued["3"])
    )
