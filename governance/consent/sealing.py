"""How the vault hides what it keeps: a handle in place of a pseudonym, a key of its own for every subject.

For: the cryptography of the vault, as functions of bytes. Not for: files (``vault.py``) and meaning (``record.py``).

What each is for:

* *handle*: finds a subject's rows; without the vault's key nobody can test a guess at a pseudonym.
* *seal*: AES-256-GCM (NIST SP 800-38D) under the subject's own random key, a fresh 96-bit nonce a row. Who erases 32
  bytes erases the subject, wherever copies of the sealed rows are left.
* *fingerprint* and *chain*: the commitment to the whole register without reading it again. A fingerprint is a keyed
  BLAKE2b-256 (RFC 7693) of an event; the fingerprints of ``BLOCK`` events in order of arrival are chained to the head
  of a block, and the heads of the blocks to one. An event moves the last block, an erasure those that it was in.
* *tombstone*: what stays of an erased subject, so that an old file cannot bring them back: a keyed digest that differs
  from the handle. Nothing can be read from it; only who already has the pseudonym and the vault can recognise it.

Keys lie in the same file as what they seal: this protects what is left behind (old pages, backups of rows), not a file
that is stolen whole. For that there is the disk's own encryption.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b, sha256
from hmac import digest as hmac_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12         # what AES-GCM is specified for; random is safe far beyond the events of one subject
HANDLE_BYTES = 16        # 2**64 subjects until two are expected to share one
FINGERPRINT_BYTES = 32   # binding: also who holds the key cannot find a second register with the same chain
EMPTY_CHAIN = bytes(FINGERPRINT_BYTES)
BLOCK = 4096             # events: of a million, some 250 heads are read at every step, and 4,096 links at an erasure
# BLAKE2b's personalisation (16 bytes) keeps what is digested for one use from meaning anything in another.
HANDLE, TOMBSTONE, EVENT, CHAIN, FILE = b"handle", b"tombstone", b"event", b"chain", b"file"


class VaultKeys:
    """The two keys of a vault, 32 random bytes each: ``index`` finds subjects, ``commitment`` speaks of events."""

    def __init__(self, index: bytes, commitment: bytes) -> None:
        if {len(index), len(commitment)} != {KEY_BYTES}:
            raise ValueError("a key of the vault has not its length")
        self.index = index
        self.commitment = commitment
        # keyed once and copied: a million handles in two thirds of the time
        self._handles = blake2b(digest_size=HANDLE_BYTES, key=index, person=HANDLE)

    @classmethod
    def fresh(cls) -> VaultKeys:
        """New keys from the operating system."""
        return cls(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES))

    def handle(self, subject: str) -> bytes:
        """What stands in the file for a pseudonym, 16 bytes."""
        mark = self._handles.copy()
        mark.update(subject.encode())
        return mark.digest()

    def tombstone(self, subject: str) -> bytes:
        """What stays of a subject who was erased, 16 bytes."""
        return blake2b(subject.encode(), digest_size=HANDLE_BYTES, key=self.index, person=TOMBSTONE).digest()

    def fingerprint(self, written: bytes) -> bytes:
        """Keyed digest of one event's written form, 32 bytes."""
        return blake2b(written, digest_size=FINGERPRINT_BYTES, key=self.commitment, person=EVENT).digest()

    def file_mark(self, digest: bytes) -> bytes:
        """Keyed digest of a whole import file's SHA-256, 32 bytes."""
        return blake2b(digest, digest_size=FINGERPRINT_BYTES, key=self.commitment, person=FILE).digest()

    def chain(self, head: bytes, links: Iterable[bytes]) -> bytes:
        """The head of a chain after more links; it begins at ``EMPTY_CHAIN``."""
        for link in links:
            head = blake2b(head + link, digest_size=FINGERPRINT_BYTES, key=self.commitment, person=CHAIN).digest()
        return head

    def told(self, blocks: Iterable[bytes]) -> str:
        """What others may be given of the heads of all blocks, "sha256:" + 64 hex."""
        return "sha256:" + hmac_digest(self.commitment, self.chain(EMPTY_CHAIN, blocks), sha256).hex()


class SubjectSeal:
    """One subject's key at work. ``place`` is the handle: a row copied to another subject does not open."""

    def __init__(self, key: bytes, place: bytes) -> None:
        self._cipher = AESGCM(key)
        self._place = place

    def seal(self, written: bytes) -> bytes:
        """nonce || ciphertext || tag, 28 bytes longer than what went in."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, written, self._place)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises ValueError if a bit differs, or if it was sealed for another subject."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._place)
        except InvalidTag as error:
            raise ValueError("the row is not what was sealed") from error
