"""Ed25519 signing keys: made, kept in files, named by a key id that is always computed from the key.

For: everything in governance that signs (people, parties, logs, witnesses). Not for: encryption keys, which
are always called run keys or secret keys and live in privacy; nor for deciding whose key it is, which is the
roster's work.

Order of calls: ``SigningKey.generate()`` once, ``save(path, passphrase)``, later ``SigningKey.load(path,
passphrase)``; ``public.to_text()`` goes into the roster, ``PublicKey.from_text`` comes out of it.

Demo keys are derived from a published text, so anyone can sign with them. They live in files ending in
``.demo.key`` and carry ``demo = True``; a roster that is not itself marked ``demo: true`` refuses them.

Sources: RFC 8032 (Ed25519), RFC 5958 (PKCS#8), RFC 8018 (PBES2), RFC 7914 section 7 (scrypt in PBES2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7

from ..errors import BadDocumentError, BadSignatureError

DEMO_SUFFIX = ".demo.key"
SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
DERIVED_BYTES = 32
DERIVED_LABEL = b"sekisho signing key, derived for its owner: "
MAX_KEY_FILE_BYTES = 4096   # an encrypted PKCS#8 Ed25519 key is about 350 bytes
# scrypt for passphrases: five passes over 16 MiB, under the 32 MiB that the openssl command accepts.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 5
_SCRYPT_MEMORY = 64 * 2**20
NO_KEY_YET = "NOT-MADE-YET"   # stands where a public key will, in a roster that is still being written
_TEXT_PREFIX = "ed25519:"
_DEMO_LABEL = b"sekisho demo key, published, protects nothing: "
_FIELD_PRIME = 2**255 - 19
# The y coordinates of the eight points of small order: under such a key one signature fits any text.
_SMALL_ORDER_Y = frozenset(
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)
# DER of the three object identifiers that an encrypted key names: PBES2, scrypt, AES-256-CBC.
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_ENCRYPTED_BEGIN = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True)
class PublicKey:
    """A public key as its 32 bytes (RFC 8032, 5.1.5); equal bytes are the same key."""

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse what two different texts could stand for, and what anybody could sign for.

        Raises:
            BadSignatureError: KEY_MALFORMED (not 32 bytes, not canonical), KEY_WEAK (small order).
        """
        if len(self.raw) != PUBLIC_BYTES:
            raise BadSignatureError("KEY_MALFORMED", "a public key is not 32 bytes long", "copy the line")
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if y >= _FIELD_PRIME:
            raise BadSignatureError(
                "KEY_MALFORMED", "a public key is not in its canonical encoding", "make a new key pair"
            )
        if y in _SMALL_ORDER_Y:
            raise BadSignatureError(
                "KEY_WEAK", "a public key has small order, so anyone could sign for it", "make a new key pair"
            )

    @cached_property
    def key_id(self) -> str:
        """32 hex digits of SHA-256("ed25519" || key); computed here and never read from a file."""
        return hashlib.sha256(b"ed25519" + self.raw).hexdigest()[:32]

    def verify(self, signature: bytes, data: bytes) -> None:
        """Return if ``signature`` (64 bytes) is this key's over ``data``.

        Raises:
            BadSignatureError: SIGNATURE_INVALID.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError) as error:
            raise BadSignatureError(
                "SIGNATURE_INVALID", "a signature does not fit its key and text", "sign this very file again"
            ) from error

    def to_text(self) -> str:
        """``ed25519:`` and the key in base64, as a roster writes it."""
        return _TEXT_PREFIX + base64.b64encode(self.raw).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read ``to_text``'s form, exactly: another spelling of the same key is refused.

        Raises:
            BadSignatureError: KEY_NOT_MADE, KEY_MALFORMED, KEY_WEAK.
        """
        if text == NO_KEY_YET:
            raise BadSignatureError(
                "KEY_NOT_MADE", "a key has not been made yet",
                "`sekisho study key NAME` makes it; `sekisho study status` says for whom",
            )
        malformed = BadSignatureError(
            "KEY_MALFORMED", "a public key is not written as ed25519:<base64>", "copy the whole line again"
        )
        if not text.startswith(_TEXT_PREFIX):
            raise malformed
        try:
            raw = base64.b64decode(text.removeprefix(_TEXT_PREFIX), validate=True)
        except (binascii.Error, ValueError) as error:
            raise malformed from error
        key = cls(raw)
        if key.to_text() != text:  # base64 leaves unused bits that could spell one key in several ways
            raise malformed
        return key


class SigningKey:
    """A private key. ``demo`` says that the whole world knows it."""

    def __init__(self, private: Ed25519PrivateKey, *, demo: bool = False) -> None:
        self._private = private
        self.demo = demo
        self.public = PublicKey(
            private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.public.key_id}{', demo' if self.demo else ''})"

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes, *, demo: bool = False) -> SigningKey:
        """The key of a 32-byte seed (RFC 8032, 5.1.5).

        Raises:
            BadSignatureError: KEY_MALFORMED.
        """
        if len(seed) != SEED_BYTES:
            raise BadSignatureError("KEY_MALFORMED", "a key seed is not 32 bytes long", "")
        return cls(Ed25519PrivateKey.from_private_bytes(seed), demo=demo)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature of ``data``; what ``data`` means must be said inside it (DSSE, note text)."""
        return self._private.sign(data)

    def derive(self, label: bytes) -> bytes:
        """32 bytes that only the owner of this key can compute: for what its owner keeps to itself, never for others.

        HKDF-SHA256 (RFC 5869) of the seed. ``label`` says what for; signatures use the seed in another way (RFC 8032).
        """
        return HKDF(SHA256(), DERIVED_BYTES, None, DERIVED_LABEL + label).derive(self._private.private_bytes_raw())

    def save(self, path: Path, passphrase: bytes | None) -> None:
        """Write a new file, mode 0600, durable before returning; an existing file is never overwritten.

        A ``.demo.key`` file holds the seed in hex; any other holds PKCS#8 PEM, encrypted under a passphrase
        when one is given.

        Raises:
            BadDocumentError: KEY_EXISTS, KEY_UNWRITABLE, DEMO_KEY_FILE (a demo key in a file that does not
                say so, or a secret key in one that says it is a demo).
        """
        if self.demo != is_demo_file(path):
            raise BadDocumentError(
                "DEMO_KEY_FILE", "demo keys, and only they, are kept in .demo.key files",
                "choose another file name", file=path.name,
            )
        data = self._file_bytes(passphrase)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise BadDocumentError(
                "KEY_EXISTS", "a key file of this name is already there",
                "keys are never overwritten: move it away", file=path.name,
            ) from error
        except OSError as error:
            raise BadDocumentError(
                "KEY_UNWRITABLE", "the key file cannot be written", "check folder and disk", file=path.name
            ) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)  # half a key must not look like a key
            raise BadDocumentError(
                "KEY_UNWRITABLE", "the key file cannot be written", "check folder and disk", file=path.name
            ) from error

    def _file_bytes(self, passphrase: bytes | None) -> bytes:
        if self.demo:
            return self._private.private_bytes_raw().hex().encode("ascii") + b"\n"
        plain = self._private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem("PRIVATE KEY", plain) if passphrase is None else _encrypted_pem(plain, passphrase)

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> SigningKey:
        """Read a key file.

        Raises:
            BadDocumentError: KEY_MISSING, KEY_EXPOSED (readable by others), KEY_UNREADABLE, KEY_PASSPHRASE
                (missing or wrong).
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(MAX_KEY_FILE_BYTES + 1)
        except OSError as error:
            raise BadDocumentError(
                "KEY_MISSING", "the key file cannot be opened", "check path and permissions", file=path.name
            ) from error
        if len(data) > MAX_KEY_FILE_BYTES:
            raise _unreadable(path)
        if is_demo_file(path):
            return cls._from_demo_bytes(data, path)
        if mode & 0o077:
            raise BadDocumentError(
                "KEY_EXPOSED", "the key file can be read by others on this machine", "chmod 600 the file",
                file=path.name,
            )
        return cls(_read_pem(data, passphrase, path))

    @classmethod
    def _from_demo_bytes(cls, data: bytes, path: Path) -> SigningKey:
        if data.startswith(b"-----BEGIN"):
            return cls(_read_pem(data, None, path), demo=True)
        try:
            return cls.from_seed(bytes.fromhex(data.decode("ascii").strip()), demo=True)
        except (ValueError, BadSignatureError) as error:
            raise _unreadable(path) from error


def demo_key(label: str) -> SigningKey:
    """The published key of a demo party or person: everyone can compute it from ``label`` alone."""
    return SigningKey.from_seed(hashlib.sha256(_DEMO_LABEL + label.encode("utf-8")).digest(), demo=True)


def is_demo_file(path: Path) -> bool:
    """Whether the file's name says that its key is published."""
    return path.name.endswith(DEMO_SUFFIX)


def is_encrypted_file(path: Path) -> bool:
    """Whether the file holds a key that only a passphrase opens; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_ENCRYPTED_BEGIN)) == _ENCRYPTED_BEGIN
    except OSError:
        return False


def _encrypted_pem(plain: bytes, passphrase: bytes) -> bytes:
    """PKCS#8 EncryptedPrivateKeyInfo under scrypt and AES-256-CBC.

    Written out because the library's own writer stretches a passphrase by 2,048 rounds of PBKDF2 only. The
    library and the openssl command both read it.
    """
    salt, nonce = os.urandom(16), os.urandom(16)
    key = hashlib.scrypt(
        passphrase, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=32, maxmem=_SCRYPT_MEMORY
    )
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(nonce)).encryptor()
    body = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    costs = _der_integer(SCRYPT_N) + _der_integer(SCRYPT_R) + _der_integer(SCRYPT_P)
    stretching = _der(_SEQUENCE, _SCRYPT + _der(_SEQUENCE, _der(_OCTETS, salt) + costs))
    cipher = _der(_SEQUENCE, _AES_256_CBC + _der(_OCTETS, nonce))
    scheme = _der(_SEQUENCE, _PBES2 + _der(_SEQUENCE, stretching + cipher))
    return _pem("ENCRYPTED PRIVATE KEY", _der(_SEQUENCE, scheme + _der(_OCTETS, body)))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def _der_integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _pem(label: str, data: bytes) -> bytes:
    text = base64.b64encode(data).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode("ascii")


def _read_pem(data: bytes, passphrase: bytes | None, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, passphrase)
    except TypeError as error:  # the library's word for "encrypted and no passphrase", and the reverse
        raise BadDocumentError(
            "KEY_PASSPHRASE", "the key file and the passphrase do not belong together",
            "give the passphrase for an encrypted key, and none for a plain one", file=path.name,
        ) from error
    except ValueError as error:
        if passphrase is not None:
            raise BadDocumentError(
                "KEY_PASSPHRASE", "the passphrase does not open the key file", "type it again", file=path.name
            ) from error
        raise _unreadable(path) from error
    except UnsupportedAlgorithm as error:
        raise _unreadable(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(path)
    return key


def _unreadable(path: Path) -> BadDocumentError:
    return BadDocumentError(
        "KEY_UNREADABLE", "the file does not hold an Ed25519 key", "check that it is the right file",
        file=path.name,
    )
