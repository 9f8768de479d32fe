"""Keys of a run: both sides agree, and nobody else can take a side."""

import copy
import hashlib
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.privacy.errors import KeyAgreementError
from sekisho.privacy.keys import masks, runkeys, secretkey
from sekisho.privacy.keys.runkeys import JoinKeys, JoinPublic, RunKeys, RunSecret, pair_key

H0 = hashlib.sha256(b"all joins in order").digest()
H1 = hashlib.sha256(b"another run").digest()


def agreed(h0_low: bytes = H0, h0_high: bytes = H0) -> tuple[bytes, bytes]:
    """The pair keys that kohi and wanko compute, each from its own view."""
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    sent, shared = kohi.encapsulate(wanko.public)
    low = pair_key(kohi, wanko.public, shared, h0=h0_low, low="kohi", high="wanko")
    received = wanko.decapsulate(sent)
    high = pair_key(wanko, kohi.public, received, h0=h0_high, low="kohi", high="wanko")
    return low, high


def code_of(call) -> str:
    with pytest.raises(KeyAgreementError) as refusal:
        call()
    return refusal.value.code


def test_both_sites_compute_one_pair_key():
    low, high = agreed()
    assert low == high
    assert len(low) == 32
    assert agreed()[0] != low


def test_sites_with_other_views_compute_other_pair_keys():
    low, high = agreed(H0, H1)
    assert low != high


def test_the_pair_key_is_the_published_construction():
    # HKDF-SHA256 written out from RFC 5869 over X25519 ‖ ML-KEM secret.
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    _, shared = kohi.encapsulate(wanko.public)
    prk = hmac.new(H0, kohi.exchange(wanko.public) + shared, hashlib.sha256).digest()
    info = b"".join(len(part).to_bytes(4, "little") + part for part in (b"sekisho/pair-key/v1", b"kohi", b"wanko"))
    expected = hmac.new(prk, info + b"\x01", hashlib.sha256).digest()
    assert pair_key(kohi, wanko.public, shared, h0=H0, low="kohi", high="wanko") == expected


def test_either_half_of_the_agreement_changes_the_key():
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    _, shared = kohi.encapsulate(wanko.public)
    key = pair_key(kohi, wanko.public, shared, h0=H0, low="kohi", high="wanko")
    assert key != pair_key(kohi, wanko.public, bytes(32), h0=H0, low="kohi", high="wanko")
    assert key != pair_key(JoinKeys.generate(), wanko.public, shared, h0=H0, low="kohi", high="wanko")


def test_ids_cannot_be_confused():
    assert runkeys.context(b"l", "ab", "c") != runkeys.context(b"l", "a", "bc")
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    for low, high in [("wanko", "kohi"), ("kohi", "kohi"), ("", "kohi")]:
        assert (
            code_of(lambda low=low, high=high: pair_key(kohi, wanko.public, bytes(32), h0=H0, low=low, high=high))
            == "PAIR_ORDER"
        )


def test_labels_keep_all_derived_keys_apart():
    labels = [
        runkeys.PAIR_LABEL,
        runkeys.WRAP_LABEL,
        runkeys.KEY_CHECK_LABEL,
        runkeys.STATE_MAC_LABEL,
        masks.MASK_LABEL,
        secretkey.STEP_KEY_LABEL,
    ]
    secret = bytes(32)
    assert len({runkeys.derive(secret, H0, label) for label in labels}) == len(labels)


@pytest.mark.parametrize("weak", [bytes(32), bytes([1]) + bytes(31)])
def test_a_key_of_small_order_is_refused(weak):
    own = JoinKeys.generate()
    assert code_of(lambda: own.exchange(JoinPublic(weak, own.public.mlkem))) == "JOIN_KEYS"


def test_malformed_key_material_is_refused():
    own = JoinKeys.generate()
    assert code_of(lambda: own.encapsulate(JoinPublic(own.public.x25519, b"\xff" * 1184))) == "JOIN_KEYS"
    assert code_of(lambda: JoinPublic(own.public.x25519, b"\xff" * 1183)) == "JOIN_KEYS"
    assert code_of(lambda: own.decapsulate(bytes(1087))) == "KEM_CIPHERTEXT"
    assert code_of(lambda: pair_key(own, own.public, bytes(31), h0=H0, low="a", high="b")) == "KEM_SECRET"
    assert code_of(lambda: pair_key(own, own.public, bytes(32), h0=H0[:31], low="a", high="b")) == "TRANSCRIPT_HASH"
    assert code_of(lambda: runkeys.check_transcript(H0.hex())) == "TRANSCRIPT_HASH"


def test_a_forged_kem_ciphertext_gives_another_key():
    kohi, wanko = JoinKeys.generate(), JoinKeys.generate()
    sent, shared = kohi.encapsulate(wanko.public)
    forged = bytes([sent[0] ^ 1]) + sent[1:]
    assert wanko.decapsulate(sent) == shared
    assert wanko.decapsulate(forged) != shared


def test_public_keys_survive_json():
    public = JoinKeys.generate().public
    assert JoinPublic.from_json(public.to_json()) == public
    for wrong in [
        {},
        {"x25519": public.x25519.hex()},
        public.to_json() | {"more": ""},
        public.to_json() | {"x25519": public.x25519.hex().upper().replace("0", "A")},
        public.to_json() | {"x25519": public.x25519.hex()[:-1]},
        public.to_json() | {"mlkem768": 5},
    ]:
        assert code_of(lambda wrong=wrong: JoinPublic.from_json(wrong)) == "JOIN_KEYS"


def test_the_run_secret_reaches_its_recipient():
    low, high = agreed()
    secret = RunSecret.generate()
    wrapped = secret.wrap(low, h0=H0, sender="kohi", recipient="wanko")
    assert RunSecret.unwrap(high, wrapped, h0=H0, sender="kohi", recipient="wanko").to_bytes() == secret.to_bytes()
    assert secret.wrap(low, h0=H0, sender="kohi", recipient="wanko") != wrapped


def test_the_wrapped_secret_is_the_published_construction():
    # ChaCha20-Poly1305 under its own derived key; H0, label and both ids are in the key and in the bound data.
    wrapped = RunSecret(bytes(64)).wrap(bytes(32), h0=H0, sender="kohi", recipient="wanko")
    names = b"".join(len(p).to_bytes(4, "little") + p for p in (b"sekisho/run-secret/v1", b"kohi", b"wanko"))
    prk = hmac.new(H0, bytes(32), hashlib.sha256).digest()
    key = hmac.new(prk, names + b"\x01", hashlib.sha256).digest()
    assert ChaCha20Poly1305(key).decrypt(wrapped[:12], wrapped[12:], H0 + names) == bytes(64)


@settings(max_examples=40)
@given(st.integers(0, runkeys.WRAPPED_BYTES - 1), st.integers(1, 255))
def test_no_byte_of_a_wrapped_secret_can_change(place, flip):
    wrapped = bytearray(RunSecret(bytes(64)).wrap(bytes(32), h0=H0, sender="kohi", recipient="wanko"))
    wrapped[place] ^= flip
    code = code_of(lambda: RunSecret.unwrap(bytes(32), bytes(wrapped), h0=H0, sender="kohi", recipient="wanko"))
    assert code == "RUN_SECRET_NOT_AUTHENTIC"


def test_wrong_context_is_refused():
    key = bytes(32)
    wrapped = RunSecret.generate().wrap(key, h0=H0, sender="kohi", recipient="wanko")
    for h0, sender, recipient in [
        (H1, "kohi", "wanko"),
        (H0, "kohi", "okashi"),
        (H0, "wanko", "kohi"),
        (H0, "okashi", "wanko"),
    ]:
        code = code_of(
            lambda h0=h0, s=sender, r=recipient: RunSecret.unwrap(key, wrapped, h0=h0, sender=s, recipient=r)
        )
        assert code == "RUN_SECRET_NOT_AUTHENTIC"
    assert (
        code_of(lambda: RunSecret.unwrap(key, wrapped[:-1], h0=H0, sender="kohi", recipient="wanko"))
        == "RUN_SECRET_LENGTH"
    )
    assert code_of(lambda: RunSecret(bytes(63))) == "RUN_SECRET_LENGTH"


def test_key_check_and_state_mac_belong_to_one_secret_and_transcript():
    secret, other = RunSecret(bytes(64)), RunSecret(bytes([1]) + bytes(63))
    assert secret.key_check(H0) == RunSecret(bytes(64)).key_check(H0)
    assert len({secret.key_check(H0), secret.key_check(H1), other.key_check(H0)}) == 3
    digest = "sha256:" + "0" * 64
    macs = {
        secret.state_mac(digest, H0),
        secret.state_mac(digest, H1),
        other.state_mac(digest, H0),
        secret.state_mac(digest[:-1] + "1", H0),
    }
    assert len(macs) == 4
    assert all(len(mac) == 64 for mac in macs)


def test_secrets_are_not_shown_copied_or_stored():
    for secret in (RunSecret.generate(), JoinKeys.generate()):
        assert "hidden" in repr(secret)
        assert "hidden" in f"{secret}"
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(secret)


def test_a_wiped_secret_is_gone():
    secret = RunSecret(b"\x07" * 64)
    held = secret._value
    secret.wipe()
    assert held == bytes(64)
    assert code_of(secret.to_bytes) == "RUN_SECRET_WIPED"
    assert code_of(lambda: secret.key_check(H0)) == "RUN_SECRET_WIPED"


# --- keys that are kept on disk while a run goes on ---


@given(pairs=st.dictionaries(st.text("abcdefghij-.", min_size=1, max_size=64), st.binary(min_size=32, max_size=32),
                             min_size=1, max_size=5))
def test_what_is_in_a_box_comes_out_of_it(pairs):
    keys, key = RunKeys(RunSecret.generate(), pairs), bytes(range(32))
    box = keys.to_box(key, h0=H0, site="kohi")
    found = RunKeys.from_box(box, key, h0=H0, site="kohi")
    assert found.secret.to_bytes() == keys.secret.to_bytes() and found.pairs == pairs
    assert keys.secret.to_bytes() not in box and not any(pair in box for pair in pairs.values())
    assert keys.to_box(key, h0=H0, site="kohi") != box


@pytest.mark.parametrize(
    "wrong", [{"key": bytes(32)}, {"h0": H1}, {"site": "wanko"}, {"box": b""}, {"box": b"x" * 12}, {"box": None}]
)
def test_a_box_of_another_key_run_or_site_or_a_changed_one_does_not_open(wrong):
    right = {"key": bytes(range(32)), "h0": H0, "site": "kohi"}
    box = RunKeys(RunSecret.generate(), {"wanko": bytes(32)}).to_box(right["key"], h0=H0, site="kohi")
    changed = box[:-1] + bytes([box[-1] ^ 1])
    given_box = wrong.pop("box", box)
    assert code_of(
        lambda: RunKeys.from_box(changed if given_box is None else given_box, **{**right, **wrong})
    ) == "RUN_KEYS_NOT_AUTHENTIC"


def test_run_keys_are_hidden_and_not_copied():
    keys = RunKeys(RunSecret.generate(), {"wanko": bytes(32)})
    assert repr(keys) == "RunKeys(hidden)"
    for attempt in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            attempt(keys)
    assert code_of(lambda: RunKeys(RunSecret.generate(), {"wanko": bytes(31)})) == "RUN_KEYS_MALFORMED"
    assert code_of(lambda: RunKeys(RunSecret.generate(), {})) == "RUN_KEYS_MALFORMED"
