"""Messages: closed, canonical, signed; nothing else parses."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.core.errors import ProtocolError
from sekisho.core.messages import KEPT_BYTES, Keyed, Ready, SignedMessage, _may_be_kept, sign_message
from sekisho.governance.canonical import canonical_bytes
from sekisho.governance.signing.keys import SigningKey

KEY = SigningKey.from_seed(bytes(range(32)))
LOG = {"number": 1, "note": "n", "continued": {}, "entries": [], "seen": {}, "answers": None}


def message(parts: dict[str, bytes] | None = None) -> SignedMessage:
    ready = Ready(step=3, transcript="ab" * 32, consent="hmac-sha256:" + "c0" * 32)
    return sign_message(ready, study="s", run="r-1", sender="kohi", key=KEY, parts=parts)


def test_a_message_survives_the_wire_unchanged() -> None:
    sent = message({"frame": b"abc", "seeds": b""})
    got = SignedMessage.from_bytes(sent.to_bytes())
    got.verify(KEY.public)
    assert got == sent
    assert got.part("frame") == b"abc"
    assert got.part("seeds") == b""


def test_a_detached_header_verifies_without_its_payload() -> None:
    sent = message({"frame": b"abc"})
    got = SignedMessage.from_bytes(sent.detached(), detached=True)
    got.verify(KEY.public)
    assert got.digest == sent.digest


def test_a_detached_header_may_not_smuggle_a_payload() -> None:
    with pytest.raises(ProtocolError, match="carries a payload"):
        SignedMessage.from_bytes(message({"frame": b"abc"}).to_bytes(), detached=True)


def test_another_key_did_not_sign_it() -> None:
    with pytest.raises(ProtocolError) as caught:
        message().verify(SigningKey.from_seed(bytes(32)).public)
    assert caught.value.code == "MESSAGE_FORGED"


def test_a_part_that_the_header_does_not_name_is_not_there() -> None:
    with pytest.raises(ProtocolError) as caught:
        message().part("frame")
    assert caught.value.code == "PART_MISSING"


@settings(max_examples=200, deadline=None)
@given(position=st.integers(min_value=0, max_value=10_000), change=st.integers(min_value=1, max_value=255))
def test_any_changed_byte_is_refused(position: int, change: int) -> None:
    data = bytearray(message({"frame": b"some payload bytes"}).to_bytes())
    data[position % len(data)] ^= change
    with pytest.raises(ProtocolError):
        SignedMessage.from_bytes(bytes(data)).verify(KEY.public)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        SignedMessage.from_bytes(data)


@pytest.mark.parametrize(
    "header",
    [
        {"body": {"kind": "ready", "step": 3, "transcript": "ab", "loss": "0.3"}},
        {"body": {"kind": "losses", "values": [1]}},
        {"body": {"kind": "ready", "step": 0, "transcript": "ab"}},
        {"body": {"kind": "ready", "step": "3", "transcript": "ab"}},
        {"extra": 1},
        {"version": 1},
        {"log": {}},
        {"log": LOG | {"records": 7}},
        {"log": LOG | {"number": 0}},
        {"log": LOG | {"continued": {"07": []}}},
        {"log": LOG | {"continued": {"7": ["not a hash"]}}},
        {"log": LOG | {"continued": {"7": ["A" * 43 + "="] * 65}}},
        {"log": LOG | {"seen": {"ame": "x" * 1025}}},
        {"log": LOG | {"entries": [{"index": 0, "entry": "{}", "proof": [], "more": 1}]}},
    ],
)
def test_a_field_that_is_not_listed_does_not_parse(header: dict[str, object]) -> None:
    whole = {
        "version": 2, "study": "s", "run": "r-1", "sender": "kohi", "parts": [], "log": None,
        "body": {"kind": "keyed", "key_check": "ab"},
    } | header  # fmt: skip
    with pytest.raises(ProtocolError) as caught:
        SignedMessage.from_bytes(wire_of(whole))
    assert caught.value.code == "MESSAGE_SCHEMA"
    # control: all that these leave as it was does parse
    sound = {"version": 2, "log": LOG, "body": {"kind": "keyed", "key_check": "ab"}}
    listed = {name: value for name, value in whole.items() if name != "extra"}
    assert SignedMessage.from_bytes(wire_of(listed | sound)).header.log is not None


def wire_of(header: dict[str, object]) -> bytes:
    data = canonical_bytes(header)
    return b"SKM1" + struct.pack("<I", len(data)) + data + KEY.sign(b"sekisho-message-v1\x00" + data)


def test_one_meaning_has_one_form() -> None:
    sent = sign_message(Keyed(key_check="ab"), study="s", run="r-1", sender="kohi", key=KEY)
    loose = sent.header_bytes.replace(b":", b": ", 1)
    wire = b"SKM1" + struct.pack("<I", len(loose)) + loose + KEY.sign(b"sekisho-message-v1\x00" + loose)
    with pytest.raises(ProtocolError) as caught:
        SignedMessage.from_bytes(wire)
    assert caught.value.code == "MESSAGE_NOT_CANONICAL"


def test_a_header_longer_than_the_message_costs_no_memory() -> None:
    with pytest.raises(ProtocolError):
        SignedMessage.from_bytes(b"SKM1" + struct.pack("<I", 2**32 - 1) + bytes(100))


def test_a_buffer_that_is_written_to_after_it_was_checked_changes_no_message() -> None:
    """The payload is a view of what was received, and was checked once: an engine may use its buffer again."""
    data = message({"sum": b"what was signed"}).to_bytes()
    buffer = bytearray(data)
    received = SignedMessage.from_bytes(buffer)  # type: ignore[arg-type]  # an engine that does not keep to the type
    buffer[-6:] = b"forged"
    assert received.part("sum") == b"what was signed" and received.to_bytes() == data
    # and of bytes nothing is copied
    view = SignedMessage.from_bytes(data).payload
    assert isinstance(view, memoryview) and view.obj is data


def test_what_is_read_again_was_the_same_bytes_and_is_verified_again() -> None:
    data = message().to_bytes()
    first = SignedMessage.from_bytes(data)
    assert SignedMessage.from_bytes(bytes(bytearray(data))) is first  # equal bytes, however they came
    first.verify(KEY.public)
    with pytest.raises(ProtocolError) as forged:
        SignedMessage.from_bytes(data).verify(SigningKey.from_seed(bytes(32)).public)
    assert forged.value.code == "MESSAGE_FORGED"
    # with one bit changed nothing of it is taken over; what was refused is refused again
    for _ in range(2):
        with pytest.raises(ProtocolError):
            SignedMessage.from_bytes(data.replace(b'"step":3', b'"step":-')).verify(KEY.public)
        with pytest.raises(ProtocolError):
            SignedMessage.from_bytes(data[:-1] + bytes([data[-1] ^ 1])).verify(KEY.public)


def test_nothing_with_a_payload_is_kept() -> None:
    """A coordinator's memory would grow with the shares that it reads; and a header alone is another message."""
    whole, bare = message({"frame": b"abc"}), message()
    assert SignedMessage.from_bytes(whole.to_bytes()) is not SignedMessage.from_bytes(whole.to_bytes())
    assert SignedMessage.from_bytes(bare.to_bytes()) is SignedMessage.from_bytes(bare.to_bytes())
    header = SignedMessage.from_bytes(whole.detached(), detached=True)
    assert header is SignedMessage.from_bytes(whole.detached(), detached=True) and header.payload == b""
    with pytest.raises(ProtocolError):  # the same bytes as a whole message lack the part that they name
        SignedMessage.from_bytes(whole.detached())
    long = b"x" * KEPT_BYTES
    assert not _may_be_kept(b"SKM1" + struct.pack("<I", len(long)) + long + bytes(64))
