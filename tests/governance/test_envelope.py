"""Envelopes: what is signed is exactly what is read, and nothing is read before a signature fits."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BadDocumentError, BadSignatureError
from sekisho.governance.signing.envelope import (
    MAX_SIGNATURES,
    PREDICATES,
    Envelope,
    Signature,
    Statement,
    Subject,
    pre_authentication,
    read_envelopes,
    read_time,
    sign_statement,
    verify_envelope,
    write_envelopes,
    write_time,
)
from sekisho.governance.signing.keys import SigningKey

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "dsse.json").read_text(encoding="utf-8"))
KEY = SigningKey.from_seed(b"1" * 32)
OTHER = SigningKey.from_seed(b"2" * 32)
KEYS = {KEY.public.key_id: KEY.public}
STATEMENT = Statement(
    (Subject("policy.yaml", "sha256:" + "a" * 64),), PREDICATES["policy-approval"], {"decision": "approve"}
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def code_of(payload: bytes, payload_type: str = "application/vnd.in-toto+json") -> str:
    with pytest.raises(BadSignatureError) as caught:
        verify_envelope(Envelope(payload_type, payload, ()).signed_by(KEY), KEYS)
    return caught.value.code


def test_published_dsse_example_has_our_encoding() -> None:
    envelope = Envelope.from_bytes(VECTORS["envelope"].encode())
    assert envelope.payload == VECTORS["payload"].encode()
    text = pre_authentication(envelope.payload_type, envelope.payload)
    assert text == VECTORS["pae"].encode()
    # The example uses ECDSA, which we do not; that it verifies shows that the bytes are the right ones.
    numbers = VECTORS["ecdsa_p256"]
    public = ec.EllipticCurvePublicNumbers(int(numbers["x"]), int(numbers["y"]), ec.SECP256R1()).public_key()
    raw = envelope.signatures[0].value
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public.verify(encode_dss_signature(r, s), text, ec.ECDSA(SHA256()))


def test_lengths_are_counted_in_bytes() -> None:
    assert pre_authentication("型", "承認".encode()) == "DSSEv1 3 型 6 承認".encode()


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(max_size=6), JSON, max_size=4),
    st.lists(st.text(min_size=1, max_size=6), min_size=1),
)
def test_statements_survive_the_whole_way(predicate: dict[str, Any], names: list[str]) -> None:
    subjects = tuple(Subject(name, "sha256:" + f"{n:064x}") for n, name in enumerate(names))
    statement = Statement(subjects, PREDICATES["study-approval"], predicate)
    envelopes = read_envelopes(write_envelopes([sign_statement(statement, [KEY, OTHER])] * 2), name="x")
    assert len(envelopes) == 2
    read, signers = verify_envelope(envelopes[1], KEYS | {OTHER.public.key_id: OTHER.public})
    assert read == statement
    assert signers == {KEY.public.key_id, OTHER.public.key_id}


def test_payload_is_an_in_toto_statement() -> None:
    assert json.loads(STATEMENT.to_bytes()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "policy.yaml", "digest": {"sha256": "a" * 64}}],
        "predicateType": "urn:sekisho:attestation:policy-approval:v1",
        "predicate": {"decision": "approve"},
    }


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_any_changed_byte_of_a_signed_envelope_is_refused_or_means_the_same(position: int) -> None:
    data = bytearray(sign_statement(STATEMENT, [KEY]).to_bytes())
    data[position % len(data)] ^= 1
    try:
        statement, signers = verify_envelope(Envelope.from_bytes(bytes(data)), KEYS)
    except BadSignatureError:
        return
    assert statement == STATEMENT and signers == {KEY.public.key_id}  # a changed hint or newline


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        STATEMENT.to_bytes() + b" ",
        STATEMENT.to_bytes().replace(b":", b": ", 1),
        STATEMENT.to_bytes().replace(b'{"decision"', b'{"decision":"approve","decision"'),
        STATEMENT.to_bytes().replace(b'"approve"', b"1.0"),
        STATEMENT.to_bytes().replace(b'"approve"', b"1e400"),
        STATEMENT.to_bytes().replace(b'"approve"', b"NaN"),
        STATEMENT.to_bytes().replace(b'"approve"', b"9007199254740993"),
        STATEMENT.to_bytes().replace(b'"approve"', b'"\\ud800"'),
        STATEMENT.to_bytes().replace(b"Statement/v1", b"Statement/v2"),
        STATEMENT.to_bytes().replace(b"sha256", b"sha512"),
        STATEMENT.to_bytes().replace(b"a" * 64, b"A" * 64),
        STATEMENT.to_bytes().replace(b"a" * 64, b"a" * 63),
        STATEMENT.to_bytes().replace(b'"_type"', b'"_typo"'),
        STATEMENT.to_bytes().replace(b'{"decision":"approve"}', b"7"),
        STATEMENT.to_bytes().replace(b'"name":"policy.yaml"', b'"name":7'),
        b'{"a":' * 5000,
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_signed_payload_that_is_not_one_canonical_statement_is_refused(payload: bytes) -> None:
    assert code_of(payload) in {"STATEMENT_MALFORMED", "ENVELOPE_MALFORMED"}


def test_a_statement_that_no_reader_would_accept_is_not_signed() -> None:
    with pytest.raises(BadSignatureError):
        sign_statement(Statement(STATEMENT.subjects, "urn:x", {"share": 0.5}), [KEY])
    with pytest.raises(BadSignatureError) as caught:
        sign_statement(STATEMENT, [])
    assert caught.value.code == "NO_SIGNER"


def test_wrong_payload_type_is_refused_although_signed() -> None:
    assert code_of(STATEMENT.to_bytes(), "application/json") == "PAYLOAD_TYPE_WRONG"
    # The type is inside the signature: moving the payload under the right type breaks it.
    moved = Envelope(
        "application/vnd.in-toto+json", STATEMENT.to_bytes(),
        Envelope("application/json", STATEMENT.to_bytes(), ()).signed_by(KEY).signatures,
    )
    with pytest.raises(BadSignatureError) as caught:
        verify_envelope(moved, KEYS)
    assert caught.value.code == "SIGNATURE_MISSING"


def test_a_hint_cannot_make_a_signature_count_for_another_key() -> None:
    signed = sign_statement(STATEMENT, [OTHER])
    forged = Envelope(
        signed.payload_type, signed.payload, (Signature(KEY.public.key_id, signed.signatures[0].value),)
    )
    with pytest.raises(BadSignatureError) as caught:
        verify_envelope(forged, KEYS)
    assert caught.value.code == "SIGNATURE_MISSING"
    # Neither can a caller's table in which a key is listed under another's id.
    _, signers = verify_envelope(signed, {KEY.public.key_id: OTHER.public})
    assert signers == {OTHER.public.key_id}


def test_an_envelope_without_hints_is_tried_with_every_known_key() -> None:
    signed = sign_statement(STATEMENT, [KEY])
    bare = Envelope(signed.payload_type, signed.payload, (Signature("", signed.signatures[0].value),))
    assert verify_envelope(Envelope.from_bytes(bare.to_bytes()), KEYS)[1] == {KEY.public.key_id}


def test_unknown_signers_and_fields_are_ignored_as_dsse_demands() -> None:
    value = json.loads(sign_statement(STATEMENT, [KEY, OTHER]).to_bytes())
    value["extension"] = {"anything": 1.5 and 1}
    value["signatures"][0]["cert"] = "x"
    value["payload"] = value["payload"].replace("+", "-").replace("/", "_")  # both alphabets are allowed
    assert verify_envelope(Envelope.from_bytes(json.dumps(value).encode()), KEYS)[1] == {KEY.public.key_id}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"7",
        b'{"payload":"","payloadType":"x","signatures":[]}',
        b'{"payload":"?","payloadType":"x","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"\\ud800","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"x","signatures":[{"sig":1}]}',
        b'{"payload":"","payloadType":"x","signatures":[{"sig":"","keyid":[]}]}',
        b'{"payload":"","payload":"","payloadType":"x","signatures":[{"sig":""}]}',
    ],
)
def test_a_malformed_envelope_is_refused_with_file_and_line(data: bytes) -> None:
    good = sign_statement(STATEMENT, [KEY]).to_bytes()
    with pytest.raises(BadDocumentError) as caught:
        read_envelopes(good + data + b"\n", name="study.yaml.dsse.json")
    error = caught.value
    assert (error.code, error.file, error.line) == ("SIGNATURES_UNREADABLE", "study.yaml.dsse.json", 2)


def test_more_signatures_than_anyone_needs_are_refused() -> None:
    signature = {"sig": base64.b64encode(b"x" * 64).decode()}
    value = {"payload": "", "payloadType": "x", "signatures": [signature] * (MAX_SIGNATURES + 1)}
    with pytest.raises(BadSignatureError):
        Envelope.from_bytes(json.dumps(value).encode())


def test_times_carry_their_zone() -> None:
    tokyo = datetime(2026, 4, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    assert write_time(tokyo) == "2026-04-01T00:00:00+00:00"
    for text in ("2026-04-01T09:00:00+09:00", "2026-04-01T00:00:00Z", "2026-04-01T00:00:00.000+00:00"):
        assert read_time(text) == tokyo.astimezone(UTC)
    bad = ("2026-04-01", "2026-04-01T00:00:00", "20260401T000000Z", "0001-01-01T00:00:00+14:00", "x", 5, None)
    for value in bad:
        with pytest.raises(BadSignatureError) as caught:
            read_time(value)
        assert caught.value.code == "TIME_MALFORMED"
    with pytest.raises(BadSignatureError):
        write_time(datetime(2026, 4, 1))
