"""Keys of one run: agreement between sites, and the secret that all sites of the run share.

For: joining (fresh keys, pair keys, handing out the run secret) and everything derived from them per step.
Not for: signing keys (the joins and messages that carry these values are signed elsewhere), masks or the BFV
key.
Order of calls: ``JoinKeys.generate`` in the join → H0 from all joins → for i < j site i ``encapsulate``s to
j, j ``decapsulate``s → ``pair_key`` at both → the lowest id draws a ``RunSecret`` and ``wrap``s it, the
others ``unwrap``.

The agreement is hybrid: a pair key needs both X25519 (RFC 7748) and ML-KEM-768 (FIPS 203) to be broken. H0
hashes every join, so it binds both parties' public keys and, since a site's own join is fresh, an old pair
key never comes back. The run secret is encrypted under the pair key, so nobody but the named sender can have
made it: a coordinator that relays all messages cannot put its own in place. Two layers of secrecy (masks,
encryption) hang on this one agreement.

Of a run that goes on after its process was killed, ``RunKeys`` are kept on disk, sealed under a key of the site
(``to_box``, ``from_box``), until the run ends. Join keys are never kept: they are of no use once keys are agreed.

Wiping is best effort: CPython and the libraries below may hold copies that cannot be reached.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import KeyAgreementError

TRANSCRIPT_BYTES: Final = 32  # H0 and every H_t: one SHA-256
KEY_BYTES: Final = 32
RUN_SECRET_BYTES: Final = 64  # as wide as the seed of a BFV key that is derived from it
X25519_BYTES: Final = 32
MLKEM_PUBLIC_BYTES: Final = 1184  # FIPS 203, table 3
MLKEM_CIPHERTEXT_BYTES: Final = 1088
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
WRAPPED_BYTES: Final = _NONCE_BYTES + RUN_SECRET_BYTES + _TAG_BYTES

PAIR_LABEL: Final = b"sekisho/pair-key/v1"
WRAP_LABEL: Final = b"sekisho/run-secret/v1"
KEY_CHECK_LABEL: Final = b"sekisho/key-check/v1"
STATE_MAC_LABEL: Final = b"sekisho/state-mac/v1"
KEPT_LABEL: Final = b"sekisho/kept-run-keys/v1"


def derive(
    secret: bytes | bytearray, transcript: bytes, label: bytes, *names: str, length: int = KEY_BYTES
) -> bytes:
    """HKDF-SHA256 (RFC 5869): salt = transcript hash, info = label and names, each after its length."""
    check_transcript(transcript)
    return HKDF(SHA256(), length, transcript, context(label, *names)).derive(secret)


def context(label: bytes, *names: str) -> bytes:
    """Label and names as bytes that read in one way only."""
    parts = (label, *(name.encode() for name in names))
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def check_transcript(transcript: bytes) -> None:
    """Refuse anything that is not the 32 raw bytes of a transcript hash."""
    if not isinstance(transcript, bytes) or len(transcript) != TRANSCRIPT_BYTES:
        raise KeyAgreementError(
            "TRANSCRIPT_HASH",
            f"a transcript hash is {TRANSCRIPT_BYTES} raw bytes",
            "hand over bytes, not their text form",
        )


def _refuse_order(low: str, high: str) -> None:
    if not low or not high or low >= high:
        raise KeyAgreementError(
            "PAIR_ORDER", "a pair of sites is named in the order of their ids, each with an id"
        )


@dataclass(frozen=True, slots=True)
class JoinPublic:
    """What a join shows of a site's fresh keys: X25519 (32 bytes) and ML-KEM-768 (1184 bytes) public keys."""

    x25519: bytes
    mlkem: bytes

    def __post_init__(self) -> None:
        if len(self.x25519) != X25519_BYTES or len(self.mlkem) != MLKEM_PUBLIC_BYTES:
            raise KeyAgreementError("JOIN_KEYS", "a join's public keys do not have their fixed lengths")

    def to_json(self) -> dict[str, str]:
        """Lower-case hex under the names ``x25519`` and ``mlkem768``."""
        return {"x25519": self.x25519.hex(), "mlkem768": self.mlkem.hex()}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """The inverse of ``to_json``; anything else is refused (JOIN_KEYS)."""
        if set(value) != {"x25519", "mlkem768"}:
            raise KeyAgreementError("JOIN_KEYS", "a join shows exactly an x25519 and an mlkem768 key")
        return cls(_from_hex(value["x25519"]), _from_hex(value["mlkem768"]))


def _from_hex(text: object) -> bytes:
    if isinstance(text, str) and len(text) % 2 == 0 and set(text) <= set("0123456789abcdef"):
        return bytes.fromhex(text)
    raise KeyAgreementError("JOIN_KEYS", "a join's public keys are lower-case hex")


class JoinKeys:
    """One site's fresh key pairs for one run. Never stored: a site that restarts this early joins anew."""

    __slots__ = ("_mlkem", "_x25519", "public")

    def __init__(self, x25519: X25519PrivateKey, mlkem: MLKEM768PrivateKey) -> None:
        self._x25519 = x25519
        self._mlkem = mlkem
        self.public = JoinPublic(
            x25519.public_key().public_bytes_raw(), mlkem.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> Self:
        """Fresh keys from the operating system's randomness."""
        return cls(X25519PrivateKey.generate(), MLKEM768PrivateKey.generate())

    def encapsulate(self, peer: JoinPublic) -> tuple[bytes, bytes]:
        """A shared secret for ``peer``: (ML-KEM ciphertext of 1088 bytes to send, 32 bytes to keep)."""
        try:
            shared, kem_ciphertext = MLKEM768PublicKey.from_public_bytes(peer.mlkem).encapsulate()
        except ValueError as error:
            raise KeyAgreementError("JOIN_KEYS", "a peer's ML-KEM key is not a valid key") from error
        return kem_ciphertext, shared

    def decapsulate(self, kem_ciphertext: bytes) -> bytes:
        """The 32 bytes that the sender kept; a forged ciphertext gives others (FIPS 203)."""
        if len(kem_ciphertext) != MLKEM_CIPHERTEXT_BYTES:
            raise KeyAgreementError(
                "KEM_CIPHERTEXT", f"an ML-KEM-768 ciphertext has {MLKEM_CIPHERTEXT_BYTES} bytes"
            )
        return self._mlkem.decapsulate(kem_ciphertext)

    def exchange(self, peer: JoinPublic) -> bytes:
        """X25519 with a peer's key; a key of small order is refused (RFC 7748, section 6.1)."""
        try:
            return self._x25519.exchange(X25519PublicKey.from_public_bytes(peer.x25519))
        except ValueError as error:
            raise KeyAgreementError("JOIN_KEYS", "a peer's X25519 key is not a usable key") from error

    def __repr__(self) -> str:
        return "JoinKeys(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("join keys are not copied or stored")


def pair_key(own: JoinKeys, peer: JoinPublic, shared: bytes, *, h0: bytes, low: str, high: str) -> bytes:
    """The 32-byte key of two sites: HKDF(X25519 ‖ ML-KEM secret, salt H0, info = label and both ids)."""
    _refuse_order(low, high)
    if len(shared) != KEY_BYTES:
        raise KeyAgreementError("KEM_SECRET", f"an ML-KEM shared secret has {KEY_BYTES} bytes")
    return derive(own.exchange(peer) + shared, h0, PAIR_LABEL, low, high)


class RunSecret:
    """64 bytes that every site of a run knows and the coordinator does not. Hidden in repr, not picklable."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != RUN_SECRET_BYTES:
            raise KeyAgreementError("RUN_SECRET_LENGTH", f"a run secret has {RUN_SECRET_BYTES} bytes")
        self._value = bytearray(value)

    @classmethod
    def generate(cls) -> Self:
        """Fresh from the operating system; drawn by the site with the lowest id."""
        return cls(os.urandom(RUN_SECRET_BYTES))

    def to_bytes(self) -> bytes:
        """The secret itself, for ``RunKeys.to_box`` and nothing else."""
        return bytes(self._live())

    def wrap(self, pair_key: bytes, *, h0: bytes, sender: str, recipient: str) -> bytes:
        """The secret for one recipient, 92 bytes: nonce, ChaCha20-Poly1305 (RFC 8439) of the secret, tag."""
        nonce = os.urandom(_NONCE_BYTES)
        box = ChaCha20Poly1305(derive(pair_key, h0, WRAP_LABEL, sender, recipient))
        return nonce + box.encrypt(nonce, bytes(self._live()), h0 + context(WRAP_LABEL, sender, recipient))

    @classmethod
    def unwrap(cls, pair_key: bytes, wrapped: bytes, *, h0: bytes, sender: str, recipient: str) -> Self:
        """The secret that ``sender`` wrapped for ``recipient`` under this H0.

        Raises KeyAgreementError: RUN_SECRET_LENGTH, RUN_SECRET_NOT_AUTHENTIC (another sender, recipient, H0
        or pair key, or a changed byte; which of them cannot be told).
        """
        if len(wrapped) != WRAPPED_BYTES:
            raise KeyAgreementError("RUN_SECRET_LENGTH", f"a wrapped run secret has {WRAPPED_BYTES} bytes")
        box = ChaCha20Poly1305(derive(pair_key, h0, WRAP_LABEL, sender, recipient))
        bound = h0 + context(WRAP_LABEL, sender, recipient)
        try:
            return cls(box.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound))
        except InvalidTag as error:
            raise KeyAgreementError(
                "RUN_SECRET_NOT_AUTHENTIC",
                "the run secret does not come from that site, or not for this run",
                "stop the run: somebody between the sites may be substituting keys",
            ) from error

    def key_check(self, h: bytes) -> str:
        """64 hex digits that two sites share exactly when they hold the same run secret and transcript."""
        return self.derive(KEY_CHECK_LABEL, h).hex()

    def state_mac(self, digest: str, h: bytes) -> str:
        """HMAC-SHA256 of a state's digest, hex: sites can compare, the coordinator cannot confirm a guess."""
        return hmac.new(self.derive(STATE_MAC_LABEL, h), digest.encode(), hashlib.sha256).hexdigest()

    def derive(self, label: bytes, h: bytes, *, length: int = KEY_BYTES) -> bytes:
        """A key of its own for each label and transcript."""
        return derive(self._live(), h, label, length=length)

    def wipe(self) -> None:
        """Overwrite the secret as far as CPython allows; later use is refused (RUN_SECRET_WIPED)."""
        self._value[:] = bytes(len(self._value))
        self._value = bytearray()

    def _live(self) -> bytearray:
        if not self._value:
            raise KeyAgreementError("RUN_SECRET_WIPED", "the run secret has been wiped", "the run is over")
        return self._value

    def __repr__(self) -> str:
        return "RunSecret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a run secret is not copied or stored")


@dataclass(frozen=True, slots=True, repr=False)
class RunKeys:
    """What a site holds of one run once keys are agreed: the run secret, and its pair key with each other site."""

    secret: RunSecret
    pairs: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if not self.pairs or not all(name and len(key) == KEY_BYTES for name, key in self.pairs.items()):
            raise KeyAgreementError("RUN_KEYS_MALFORMED", f"a pair key has {KEY_BYTES} bytes and a site's id")

    def to_box(self, key: bytes, *, h0: bytes, site: str) -> bytes:
        """All of them for the disk: nonce, ChaCha20-Poly1305 (RFC 8439) under ``key`` (32 bytes), tag.

        Bound to the run by H0 and to ``site``: another run's or site's box does not open in this one's place.
        """
        pairs = b"".join(context(self.pairs[name], name) for name in sorted(self.pairs))
        nonce = os.urandom(_NONCE_BYTES)
        box = ChaCha20Poly1305(derive(key, h0, KEPT_LABEL, site))
        return nonce + box.encrypt(nonce, self.secret.to_bytes() + pairs, h0 + context(KEPT_LABEL, site))

    @classmethod
    def from_box(cls, box: bytes, key: bytes, *, h0: bytes, site: str) -> Self:
        """The inverse of ``to_box``. Raises KeyAgreementError RUN_KEYS_NOT_AUTHENTIC for anything else."""
        opener = ChaCha20Poly1305(derive(key, h0, KEPT_LABEL, site))
        try:
            plain = opener.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], h0 + context(KEPT_LABEL, site))
        except (InvalidTag, ValueError) as error:
            raise KeyAgreementError(
                "RUN_KEYS_NOT_AUTHENTIC", "the kept keys of a run are not this site's, or not of this run"
            ) from error
        pieces = _pieces(plain[RUN_SECRET_BYTES:])
        pairs = {name.decode(): pair for pair, name in zip(pieces[::2], pieces[1::2], strict=True)}
        return cls(RunSecret(plain[:RUN_SECRET_BYTES]), pairs)

    def __repr__(self) -> str:
        return "RunKeys(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("run keys are not copied or stored but in their box")


def _pieces(data: bytes) -> list[bytes]:
    """What ``context`` wrote, piece by piece; only called on what a tag vouches for."""
    found, start = [], 0
    while start < len(data):
        (length,) = struct.unpack_from("<I", data, start)
        found.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    return found
