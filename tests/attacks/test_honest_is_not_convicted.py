"""What a liar says of an honest party's log convicts nobody else: no proof can be made of what it never read."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.core.messages import SignedMessage, sign_message
from sekisho.governance.errors import BadSignatureError
from sekisho.governance.evidence import verifier
from sekisho.governance.log.checkpoint import verify_checkpoint
from sekisho.governance.log.misbehaviour import Charge, Proof, convicts
from sekisho.governance.signing.keys import demo_key

from ..governance.liars import GROWN, ORIGIN, SUMMED, WITNESS, cohort, join
from .hostile import Attack, attack, resigned

VICTIM, LIAR, COORDINATOR = "hana", "mori", "coordinator"
Change = Callable[[str, SignedMessage, Attack], bytes | None]


def both_convict(proof: Proof, party: str) -> tuple[bool, bool]:
    """What the product and the stand-alone verifier find."""
    key = demo_key(party).public
    evidence = [{"note": one} if isinstance(one, str) else {"message": base64.b64encode(one).decode()}
                for one in proof.evidence]
    return convicts(proof, key), verifier.convicts(str(proof.charge), proof.origin, key.raw, evidence)


@pytest.fixture
def old_head(study: Path) -> str:
    """A head that the victim signed in an earlier run, which is over."""
    with attack(study, lambda *told: None, run="earlier") as before:
        assert before.result is not None
        join = before.sent_by(VICTIM, "join")[0]
    assert join.header.log is not None
    return join.header.log.note


def a_join_of(sender: str, message: SignedMessage, seen: str) -> bytes:
    """A join that nobody sent, in which ``sender`` saw an old head of the victim."""
    like = SignedMessage.from_bytes(message.part(f"join:{LIAR}"))
    assert like.header.log is not None
    log = like.header.log.model_copy(update={"seen": {VICTIM: seen}})
    return sign_message(like.body, study=like.header.study, run=like.header.run, sender=sender,
                        key=demo_key(COORDINATOR), log=log).to_bytes()


def test_a_join_of_nobody_in_the_cohort_convicts_no_site_of_disowning_a_head(study: Path, old_head: str) -> None:
    told: list[tuple[bytes, bytes]] = []

    def change(site: str, message: SignedMessage, ongoing: Attack) -> bytes | None:
        if site != VICTIM or message.body.kind != "cohort":
            return None
        ghost = a_join_of("ghost", message, old_head)
        changed = resigned(message, parts={"join:ghost": ghost})
        told.append((SignedMessage.from_bytes(changed).detached(), ghost))
        return changed

    with attack(study, change) as ongoing:
        (cohort, ghost), = told
        for kem in ongoing.sent_by(VICTIM, "kem"):
            origin = f"sekisho.example/{kem.header.study}/{VICTIM}"
            proof = Proof(Charge.DISOWNED, origin, (kem.detached(), cohort, ghost))
            assert both_convict(proof, VICTIM) == (False, False)
        # a cohort that holds anything but the joins of those who were asked is none
        assert ongoing.result is None and not ongoing.sent_by(VICTIM, "kem")


SPELLINGS = {
    "a plus sign": "\u2014 a+b AAAAAAAA\n",
    "a tab": "\u2014 a\tb AAAAAAAA\n",
    "a hard space": "\u2014 a\u00a0b AAAAAAAA\n",
    "a file separator": "\u2014 a\x1cb AAAAAAAA\n",
    "a byte order mark": "\u2014 a\ufeffb AAAAAAAA\n",
    "a next line": "\u2014 a\x85b AAAAAAAA\n",
    "another script": "\u2014 \u65e5\u672c AAAAAAAA\n",
    "short": "\u2014 a AAAA\n",
    "nothing": "",
    "a good line": "\u2014 a AAAAAAAA\n",
}


@pytest.mark.parametrize("line", SPELLINGS.values(), ids=SPELLINGS)
def test_a_head_that_its_owner_cannot_read_is_not_held_against_it(line: str) -> None:
    """Who ignores a head in a join, because it is no note, owes no proof from it."""
    note = SUMMED.note() + line
    try:
        known = verify_checkpoint(note, ORIGIN, demo_key(COORDINATOR).public).size == 4
    except BadSignatureError:
        known = False
    seen = join({COORDINATOR: note})
    proof = Proof(Charge.DISOWNED, ORIGIN, (cohort(GROWN, {WITNESS: seen}), seen))
    assert both_convict(proof, COORDINATOR) == (known, known)
