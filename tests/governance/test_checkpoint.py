"""Signed heads in the published formats: other people's tools can check ours, and nothing else passes."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BadSignatureError
from sekisho.governance.log.checkpoint import (
    COSIGNATURE_V1,
    MAX_SIGNATURES,
    Checkpoint,
    Note,
    NoteSignature,
    cosign,
    log_origin,
    note_key_id,
    sign_checkpoint,
    sign_note,
    verifier_key,
    verify_checkpoint,
    verify_cosignature,
    verify_note,
    with_cosignature,
)
from sekisho.governance.signing.keys import PublicKey, SigningKey

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "c2sp.json").read_text(encoding="utf-8"))
KEY = SigningKey.from_seed(b"k" * 32)
WITNESS = SigningKey.from_seed(b"w" * 32)
ORIGIN = log_origin("food-quality-2026", "kohi")
HEAD = Checkpoint(ORIGIN, 7, b"r" * 32)
SIGNED = sign_checkpoint(HEAD, KEY)
AT = datetime(2026, 12, 1, 12, 30, 5, tzinfo=UTC)


def test_published_note_verifies_and_is_reproduced() -> None:
    vector = VECTORS["note"]
    name = vector["name"]
    public = PublicKey(base64.b64decode(vector["verifier_key"].split("+", 2)[2])[1:])
    assert verifier_key(name, public) == vector["verifier_key"]
    note = Note(vector["text"], (NoteSignature(name, bytes.fromhex("c74f20a3"), b""),))
    text = f"{vector['text']}\n\u2014 {name} {vector['signature']}\n"
    verify_note(Note.parse(text), name, public)
    signer = SigningKey.from_seed(base64.b64decode(vector["signer_key"].split("+", 4)[4])[1:])
    assert sign_note(note.text, name, signer).to_text() == text


def test_what_held_once_vouches_for_no_other_text_origin_or_key() -> None:
    """Verified heads are remembered, by all three; what was refused is looked at again."""
    for _ in range(2):
        assert verify_checkpoint(SIGNED, ORIGIN, KEY.public) == HEAD
        for text, origin, key in (
            (SIGNED, ORIGIN, WITNESS.public),
            (SIGNED, log_origin("food-quality-2026", "wanko"), KEY.public),
            (SIGNED.replace("\n7\n", "\n8\n"), ORIGIN, KEY.public),
        ):
            with pytest.raises(BadSignatureError):
                verify_checkpoint(text, origin, key)


@pytest.mark.parametrize("vector", VECTORS["verifier_keys"])
def test_published_key_ids(vector: str) -> None:
    name, key_id, material = vector.split("+", 2)
    raw = base64.b64decode(material)
    assert note_key_id(name, PublicKey(raw[1:]), raw[0]).hex() == key_id


def test_published_cosignature_has_its_time_in_front() -> None:
    raw = base64.b64decode(VECTORS["cosignature_time"]["base64"])
    assert int.from_bytes(raw[4:12], "big") == VECTORS["cosignature_time"]["seconds"]
    ours = Note.parse(SIGNED + cosign(SIGNED, "witness.example/w1", WITNESS, AT)).signatures[1]
    assert len(ours.key_id + ours.value) == len(raw)
    assert int.from_bytes(ours.value[:8], "big") == int(AT.timestamp())


@pytest.mark.parametrize("text", VECTORS["parse_only"])
def test_published_notes_are_read_and_written_alike(text: str) -> None:
    assert Note.parse(text).to_text() == text


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    root = base64.b64encode(b"r" * 32).decode()
    lines = SIGNED.split("\n")
    assert lines[:4] == ["sekisho.example/food-quality-2026/kohi", "7", root, ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ") and lines[5] == ""
    assert verify_checkpoint(SIGNED, ORIGIN, KEY.public) == HEAD


@settings(deadline=None)
@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_every_checkpoint_is_read_back(size: int, root: bytes) -> None:
    head = Checkpoint(ORIGIN, size, root)
    assert verify_checkpoint(sign_checkpoint(head, KEY), ORIGIN, KEY.public) == head


@settings(deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.characters(blacklist_categories=["Cs"]))
def test_any_changed_character_of_a_checkpoint_is_refused(place: int, character: str) -> None:
    changed = SIGNED[:place] + character + SIGNED[place + 1 :]
    if changed == SIGNED:
        return
    with pytest.raises(BadSignatureError):
        verify_checkpoint(changed, ORIGIN, KEY.public)


def refused(text: str, key: PublicKey = KEY.public, origin: str = ORIGIN) -> str:
    with pytest.raises(BadSignatureError) as caught:
        verify_checkpoint(text, origin, key)
    return caught.value.code


def test_another_key_or_another_log_is_refused() -> None:
    assert refused(SIGNED, key=WITNESS.public) == "NOTE_UNSIGNED"
    assert refused(SIGNED, origin=log_origin("food-quality-2026", "wanko")) == "NOTE_UNSIGNED"
    # A head of another log signed under this log's name: the name is right, the text is not.
    other = Checkpoint(log_origin("other-study", "kohi"), 7, b"r" * 32)
    assert refused(sign_note(other.to_text(), ORIGIN, KEY).to_text()) == "ORIGIN_WRONG"


@pytest.mark.parametrize(
    "body",
    [
        f"{ORIGIN}\n07\n{base64.b64encode(b'r' * 32).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(b'r' * 32).decode()}\n",
        f"{ORIGIN}\n\u0667\n{base64.b64encode(b'r' * 32).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(b'r' * 31).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(b'r' * 32).decode()}\nextension\n",
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n{2**53}\n{base64.b64encode(b'r' * 32).decode()}\n",
        "hello\n",
    ],
)
def test_a_signed_text_that_is_not_a_checkpoint_is_refused(body: str) -> None:
    assert refused(sign_note(body, ORIGIN, KEY).to_text()) == "NOTE_MALFORMED"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        SIGNED.rstrip("\n"),
        SIGNED.replace("\n\n", "\n"),
        SIGNED.replace("\u2014", "-"),
        SIGNED.replace("\n", "\r\n"),
        SIGNED + "\n",
        SIGNED + "\u2014 x AAAA\n",
        SIGNED + "\u2014 a+b AAAAAAAA\n",
        SIGNED + "\u2014  AAAAAAAA\n",
        SIGNED + "\u2014 x AAAAAAA\n",
        SIGNED + "\u2014 x AAAAAAB=\n",
        SIGNED + "\u2014 x AAAAAA==\n",
        SIGNED.replace("7", "7\x00"),
        SIGNED.replace("7", "\ud800"),
        SIGNED + "\u2014 x AAAAAAAA\n" * MAX_SIGNATURES,
        SIGNED.replace("7\n", "7" * 70_000 + "\n"),
    ],
)
def test_a_malformed_note_is_refused(text: str) -> None:
    assert refused(text) == "NOTE_MALFORMED"


def test_unknown_signatures_are_ignored_and_a_bad_known_one_is_not() -> None:
    assert verify_checkpoint(SIGNED + "\u2014 stranger.example AAAAAAAA\n", ORIGIN, KEY.public) == HEAD
    line = NoteSignature(ORIGIN, note_key_id(ORIGIN, KEY.public), b"x" * 64).to_line()
    assert refused(SIGNED + line) == "SIGNATURE_INVALID"


def test_a_cosignature_says_when_and_by_whom() -> None:
    name = "sekisho.example/witness/wanko"
    witnessed = with_cosignature(SIGNED, cosign(SIGNED, name, WITNESS, AT))
    assert verify_checkpoint(witnessed, ORIGIN, KEY.public) == HEAD
    assert verify_cosignature(witnessed, name, WITNESS.public) == AT
    for other_name, key, code in (
        (name, KEY.public, "NOTE_UNSIGNED"),
        ("sekisho.example/witness/kohi", WITNESS.public, "NOTE_UNSIGNED"),
    ):
        with pytest.raises(BadSignatureError) as caught:
            verify_cosignature(witnessed, other_name, key)
        assert caught.value.code == code


def test_a_cosignature_cannot_be_moved_to_another_head_time_or_use() -> None:
    name = "w.example"
    line = cosign(SIGNED, name, WITNESS, AT)
    other = sign_checkpoint(Checkpoint(ORIGIN, 8, b"r" * 32), KEY)
    raw = bytearray(base64.b64decode(line.split(" ")[2]))
    raw[11] ^= 1  # the time
    later = f"\u2014 {name} {base64.b64encode(bytes(raw)).decode()}\n"
    for text in (other + line, SIGNED + later):
        with pytest.raises(BadSignatureError) as caught:
            verify_cosignature(text, name, WITNESS.public)
        assert caught.value.code == "SIGNATURE_INVALID"
    # The same key's plain signature over the text is no cosignature.
    plain = NoteSignature(
        name, note_key_id(name, WITNESS.public, COSIGNATURE_V1), WITNESS.sign(HEAD.to_text().encode())
    )
    with pytest.raises(BadSignatureError):
        verify_cosignature(SIGNED + plain.to_line(), name, WITNESS.public)


def test_names_that_could_be_misread_are_refused() -> None:
    for study, party in (("a b", "x"), ("a", "x/y"), ("", "x"), ("a", "X"), ("a", "x\n")):
        with pytest.raises(BadSignatureError):
            log_origin(study, party)
    with pytest.raises(BadSignatureError):
        sign_note("text\n", "two words", KEY)
    with pytest.raises(BadSignatureError):
        sign_note("no newline", "name", KEY)
    with pytest.raises(BadSignatureError):
        sign_note("a\n\n\u2014 forged AAAAAAAA", "name", KEY)
