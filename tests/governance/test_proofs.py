"""One entry's proof: written as the published format says, read strictly, and believed only as far as it proves."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.governance.errors import BadSignatureError, BrokenLogError
from sekisho.governance.log.auditlog import AuditLog
from sekisho.governance.log.checkpoint import cosign, with_cosignature
from sekisho.governance.log.entries import Entry
from sekisho.governance.log.proofs import HEADER, TlogProof, verify_proof
from sekisho.governance.signing.keys import SigningKey

KEY, WITNESS = SigningKey.from_seed(b"k" * 32), SigningKey.from_seed(b"w" * 32)
ORIGIN, SEEN_BY = "sekisho.example/food-quality-2026/kohi", "sekisho.example/food-quality-2026/wanko"
AT = datetime(2026, 12, 1, tzinfo=UTC)
ONE, TWO = hashlib.sha256(b"hash1").digest(), hashlib.sha256(b"hash2").digest()

GOLDEN = "67914c127c16c80a4a4e537d0051a0ee0ac694887d46c1cacaeebad17097079c"

# transparency-dev/formats v0.1.1, proof/tlog_proof_test.go, TestMarshal (Apache-2.0), written out.
PUBLISHED = [
    (TlogProof(5, (ONE, TWO), "test checkpoint\n"),
     f"{HEADER}\nindex 5\n{base64.b64encode(ONE).decode()}\n{base64.b64encode(TWO).decode()}\n\ntest checkpoint\n"),
    (TlogProof(10, (ONE,), "checkpoint data\n", b"extra information"),
     f"{HEADER}\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n{base64.b64encode(ONE).decode()}\n\ncheckpoint data\n"),
    (TlogProof(0, (), "checkpoint\n"), f"{HEADER}\nindex 0\n\ncheckpoint\n"),
    (TlogProof(1, (), "a\n\nb\n"), f"{HEADER}\nindex 1\n\na\n\nb\n"),
    (TlogProof(1, (), "cp\n", b""), f"{HEADER}\nextra \nindex 1\n\ncp\n"),
]  # fmt: skip


@pytest.mark.parametrize(("proof", "text"), PUBLISHED)
def test_published_proofs_are_written_and_read_byte_for_byte(proof: TlogProof, text: str) -> None:
    assert proof.to_text() == text
    assert TlogProof.parse(text) == proof


@pytest.mark.parametrize(
    "text",
    [
        # the same file, TestUnmarshalErrors
        "wrong-header\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
        f"{HEADER}\n\n\ncheckpoint\n",
        f"{HEADER}\nindex notanumber\n\ncheckpoint\n",
        f"{HEADER}\nindex -5\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n{base64.b64encode(bytes(64)).decode()}\n\ncheckpoint\n",
        f"{HEADER}\nindex 0\n{'a' * 65 * 1024}\n",
        # what the format forbids: C2SP tlog-proof, "Format"
        "",
        f"{HEADER}\n",
        f"{HEADER}\nindex 1\n",
        f"{HEADER}\nindex 1\n\n",
        f"{HEADER}\nindex 007\n\ncp\n",
        f"{HEADER}\nindex +1\n\ncp\n",
        f"{HEADER}\nindex  1\n\ncp\n",
        f"{HEADER}\nindex 1 \n\ncp\n",
        f"{HEADER}\nindex 18446744073709551616\n\ncp\n",
        f"{HEADER}\nextra\nindex 0\n\ncp\n",
        f"{HEADER}\nindex 0\nextra YQ==\n\ncp\n",
        f"{HEADER}\nextra YR==\nindex 0\n\ncp\n",                                                   # unused bits
        f"{HEADER}\nindex 0\nypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLt=\n\ncp\n",
        f"{HEADER}\r\nindex 5\r\n\r\ncp line\r\n",
        f"{HEADER}\nindex 1\n\ncp a\ncp b",
        f"{HEADER}\nindex 1\n" + (base64.b64encode(ONE).decode() + "\n") * 55 + "\ncp\n",
        " " + PUBLISHED[2][1],
    ],
)
def test_what_is_not_in_the_format_is_refused(text: str) -> None:
    with pytest.raises(BadSignatureError) as caught:
        TlogProof.parse(text)
    assert caught.value.code == "PROOF_MALFORMED"


@given(st.text(max_size=300) | st.sampled_from([text for _, text in PUBLISHED]).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.characters()).map(lambda p: text[: p[0]] + p[1] + text[p[0] :])
))
def test_a_text_is_refused_or_is_its_own_spelling(text: str) -> None:
    try:
        proof = TlogProof.parse(text)
    except BadSignatureError:
        return
    assert proof.to_text() == text


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    log = AuditLog.open(tmp_path_factory.mktemp("log") / "log.sqlite", origin=ORIGIN, key=KEY)
    log.append_all([Entry("step.started", "kohi", AT, {"run": "run-1"}, {"step": number}) for number in range(11)])
    return log


def proof_of(log: AuditLog, index: int) -> TlogProof:
    note = log.checkpoint()
    note = with_cosignature(note, cosign(note, SEEN_BY, WITNESS, AT))
    return TlogProof(index, log.inclusion(index), note, list(log.entries())[index])


def test_every_entry_is_proved_by_its_text_alone(log: AuditLog) -> None:
    for index, body in enumerate(log.entries()):
        proof = TlogProof.parse(proof_of(log, index).to_text())
        found, head = verify_proof(proof, origin=ORIGIN, key=KEY.public, witnesses={SEEN_BY: WITNESS.public})
        assert (found, head.size, head.root) == (body, 11, log.root())
        assert verify_proof(proof, origin=ORIGIN, key=KEY.public, entry=body)[0] == body


def test_a_proof_in_this_format_stays_as_it_is(log: AuditLog) -> None:
    """Keys and times here are fixed, and Ed25519 is deterministic: another text is another format."""
    text = proof_of(log, 3).to_text()
    assert text.splitlines()[2] == "index 3" and len(text.splitlines()) == 3 + 4 + 1 + 3 + 1 + 2
    assert hashlib.sha256(text.encode()).digest().hex() == GOLDEN


@pytest.mark.parametrize(
    ("code", "proof", "words"),
    [
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index + 1, p.hashes, p.checkpoint, p.extra), {}),
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index, p.hashes[:-1], p.checkpoint, p.extra), {}),
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index, (*p.hashes, ONE), p.checkpoint, p.extra), {}),
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index, p.hashes[::-1], p.checkpoint, p.extra), {}),
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index, p.hashes, p.checkpoint, p.extra + b" "), {}),
        ("INCLUSION_INVALID", lambda p: TlogProof(p.index, p.hashes, p.checkpoint), {"entry": b"{}"}),
        ("PROOF_OF_ANOTHER", lambda p: p, {"entry": b"{}"}),
        ("PROOF_MALFORMED", lambda p: TlogProof(p.index, p.hashes, p.checkpoint), {}),
        ("SIGNATURE_INVALID", lambda p: replace(p, checkpoint=p.checkpoint.replace("\n11\n", "\n12\n")), {}),
        ("NOTE_UNSIGNED", lambda p: p, {"key": WITNESS.public}),
        ("NOTE_UNSIGNED", lambda p: p, {"origin": SEEN_BY}),
        ("NOTE_UNSIGNED", lambda p: p, {"witnesses": {"sekisho.example/food-quality-2026/hana": WITNESS.public}}),
        ("NOTE_UNSIGNED", lambda p: p, {"witnesses": {SEEN_BY: KEY.public}}),
        ("NOTE_MALFORMED", lambda p: TlogProof(p.index, p.hashes, "cp\n", p.extra), {}),
    ],
)  # fmt: skip
def test_a_proof_proves_its_own_entry_in_its_own_log_and_nothing_else(  # type: ignore[no-untyped-def]
    code: str, proof, words: dict[str, object], log: AuditLog
) -> None:
    with pytest.raises((BadSignatureError, BrokenLogError)) as caught:
        verify_proof(proof(proof_of(log, 3)), **{"origin": ORIGIN, "key": KEY.public, **words})
    assert caught.value.code == code
