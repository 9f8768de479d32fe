"""Signing keys: ids that nobody chooses, files that keep secrets, demo keys that pass for nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.governance.errors import BadDocumentError, BadSignatureError
from sekisho.governance.signing import keys
from sekisho.governance.signing.keys import PublicKey, SigningKey, demo_key

SEEDS = st.binary(min_size=32, max_size=32)


def test_rfc_8032_vectors_sign_and_verify() -> None:
    # RFC 8032, section 7.1, TEST 1 to 3: secret, public, message, signature.
    for secret, public, message, signature in (
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a",
        ),
    ):
        key = SigningKey.from_seed(bytes.fromhex(secret))
        assert key.public.raw.hex() == public
        assert key.sign(bytes.fromhex(message)).hex() == signature
        key.public.verify(bytes.fromhex(signature), bytes.fromhex(message))


@settings(deadline=None)
@given(SEEDS, st.binary(max_size=64), st.integers(0, 511))
def test_any_flipped_bit_of_a_signature_is_refused(seed: bytes, message: bytes, bit: int) -> None:
    key = SigningKey.from_seed(seed)
    signature = bytearray(key.sign(message))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignatureError) as caught:
        key.public.verify(bytes(signature), message)
    assert caught.value.code == "SIGNATURE_INVALID"


def test_a_malleable_signature_is_refused() -> None:
    # RFC 8032, 5.1.7: the scalar must be below the group order; S + L would otherwise verify as well.
    key, message = SigningKey.from_seed(b"m" * 32), b"text"
    signature = key.sign(message)
    order = 2**252 + 27742317777372353535851937790883648493
    second = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(BadSignatureError):
        key.public.verify(signature[:32] + second.to_bytes(32, "little"), message)


@settings(deadline=None)
@given(SEEDS)
def test_a_public_key_has_one_text_and_a_computed_id(seed: bytes) -> None:
    public = SigningKey.from_seed(seed).public
    assert PublicKey.from_text(public.to_text()) == public
    assert len(public.key_id) == 32 and set(public.key_id) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "change", ["upper", "space", "newline", "no prefix", "url-safe", "spare bits", "short"]
)
def test_another_spelling_of_a_key_is_refused(change: str) -> None:
    text = PublicKey(bytes([0xFB, 0xFF] * 16)).to_text()
    raw = text.removeprefix("ed25519:")
    changed = {
        "upper": text.upper(),
        "space": text + " ",
        "newline": text[:20] + "\n" + text[20:],
        "no prefix": raw,
        "url-safe": "ed25519:" + base64.urlsafe_b64encode(bytes([0xFB, 0xFF] * 16)).decode(),
        "spare bits": text[:-2] + chr(ord(text[-2]) + 1) + "=",
        "short": "ed25519:" + base64.b64encode(b"x" * 31).decode(),
    }[change]
    with pytest.raises(BadSignatureError) as caught:
        PublicKey.from_text(changed)
    assert caught.value.code == "KEY_MALFORMED"


@pytest.mark.parametrize("sign_bit", [0, 0x80])
def test_a_key_that_anyone_could_sign_for_is_refused(sign_bit: int) -> None:
    for y in keys._SMALL_ORDER_Y:
        raw = bytearray(y.to_bytes(32, "little"))
        raw[31] |= sign_bit
        with pytest.raises(BadSignatureError) as caught:
            PublicKey(bytes(raw))
        assert caught.value.code == "KEY_WEAK"
    with pytest.raises(BadSignatureError):  # y = p: a second spelling of y = 0
        PublicKey((2**255 - 19).to_bytes(32, "little"))


def test_small_order_constants_are_points_of_order_at_most_eight() -> None:
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime

    def double(point: tuple[int, int]) -> tuple[int, int]:
        x, y = point
        k = d * x * x * y * y % prime
        return 2 * x * y * pow(1 + k, -1, prime) % prime, (y * y + x * x) * pow(1 - k, -1, prime) % prime

    assert len(keys._SMALL_ORDER_Y) == 5
    for y in keys._SMALL_ORDER_Y:
        square = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
        x = pow(square, (prime + 3) // 8, prime)
        if x * x % prime != square:
            x = x * pow(2, (prime - 1) // 4, prime) % prime
        assert x * x % prime == square
        assert double(double(double((x, y)))) == (0, 1)


def test_a_key_file_is_private_encrypted_and_never_overwritten(tmp_path: Path) -> None:
    key, path = SigningKey.generate(), tmp_path / "counsel.key"
    key.save(path, b"correct horse")
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in path.read_bytes()
    assert SigningKey.load(path, b"correct horse").public == key.public
    with pytest.raises(BadDocumentError) as caught:
        SigningKey.generate().save(path, b"other")
    assert caught.value.code == "KEY_EXISTS"
    for passphrase in (None, b"wrong"):
        with pytest.raises(BadDocumentError) as caught:
            SigningKey.load(path, passphrase)
        assert caught.value.code == "KEY_PASSPHRASE"


def test_what_an_owner_derives_is_its_own_and_one_for_each_purpose() -> None:
    key, other = SigningKey.from_seed(bytes(32)), SigningKey.from_seed(bytes(range(32)))
    derived = key.derive(b"a")
    assert len(derived) == 32 and derived == SigningKey.from_seed(bytes(32)).derive(b"a")
    assert len({derived, key.derive(b"b"), other.derive(b"a"), key.public.raw, bytes(32)}) == 5
    # HKDF-SHA256 written out from RFC 5869, without salt
    prk = hmac.new(bytes(32), bytes(32), hashlib.sha256).digest()
    info = b"sekisho signing key, derived for its owner: a"
    assert derived == hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def test_openssl_reads_the_encrypted_key(tmp_path: Path) -> None:
    path = tmp_path / "counsel.key"
    key = SigningKey.generate()
    key.save(path, b"correct horse")
    try:
        done = subprocess.run(
            ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-pubout", "-outform", "DER"],
            capture_output=True, check=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl command here")
    assert done.stdout.endswith(key.public.raw)


def test_a_plain_key_file_round_trips_and_wants_no_passphrase(tmp_path: Path) -> None:
    key, path = SigningKey.generate(), tmp_path / "site.key"
    key.save(path, None)
    assert SigningKey.load(path).public == key.public
    with pytest.raises(BadDocumentError) as caught:
        SigningKey.load(path, b"x")
    assert caught.value.code == "KEY_PASSPHRASE"


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    SigningKey.generate().save(path, None)
    os.chmod(path, 0o644)
    with pytest.raises(BadDocumentError) as caught:
        SigningKey.load(path)
    assert caught.value.code == "KEY_EXPOSED"


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"\xff" * 5000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n"]
)
def test_a_file_that_is_not_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("a.key", "a.demo.key"):
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(BadDocumentError) as caught:
            SigningKey.load(path)
        assert caught.value.code == "KEY_UNREADABLE"
    with pytest.raises(BadDocumentError) as caught:
        SigningKey.load(tmp_path / "absent.key")
    assert caught.value.code == "KEY_MISSING"


def test_demo_keys_say_so_in_their_file_name_and_nowhere_else(tmp_path: Path) -> None:
    demo = demo_key("kohi")
    demo.save(tmp_path / "kohi.demo.key", None)
    loaded = SigningKey.load(tmp_path / "kohi.demo.key")
    assert loaded.demo and loaded.public == demo.public == demo_key("kohi").public != demo_key("wanko").public
    for key, name in ((demo, "kohi.key"), (SigningKey.generate(), "own.demo.key")):
        with pytest.raises(BadDocumentError) as caught:
            key.save(tmp_path / name, None)
        assert caught.value.code == "DEMO_KEY_FILE"


def test_a_key_never_shows_its_secret_when_printed() -> None:
    seed = b"\x07" * 32
    assert seed.hex() not in repr(SigningKey.from_seed(seed))
