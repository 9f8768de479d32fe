"""The honest alternative to encryption between sites that share a secret: a ChaCha20 pad under the same masks.

What ADR 0008 weighs: it hides the sum from the coordinator as well, is smaller and faster, and is deterministic. Masks,
packing and messages are the product's; only the pad stands in for BFV. Each site has a pad of its own, so opening
draws all of them. Not part of the product.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from sekisho.benchmarks.blind_sum import HEAD, RUN, STEP, STUDY, BlindSum
from sekisho.core.messages import Frame, SignedMessage, sign_message
from sekisho.governance.canonical import digest_bytes
from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.keys.masks import step_mask

WORD_BYTES = 6  # a packed word has 48 bits, and nothing is added to it

Words = NDArray[np.uint64]


class Pad(BlindSum):
    """3x16 fields, masked and padded modulo 2^48; the messages are signed, the sum travels alone."""

    def __init__(self, sites: int, dimension: int, *, largest: float) -> None:
        super().__init__("3x16", sites, dimension, largest=largest)
        self.name = "ChaCha20 pad, 3x16"
        self._words = self.preset.words(dimension)

    def upload(self, site: int, values: NDArray[np.int64]) -> bytes:
        name, h = self.ids[site], self.transcript
        pair_keys = {peer: self.pairs[min(name, peer), max(name, peer)] for peer in self.ids if peer != name}
        words = pack(values, self.preset) + step_mask(name, pair_keys, self.ids, h, self._words, self.preset)
        wire = _to_bytes(words + self._pad(name))
        digest = digest_bytes(wire)
        body = Frame(
            step=STEP, transcript=h.hex(), key_check=self.run_secret.key_check(h), seeds=digest, c0=digest, head=HEAD
        )
        key = self.keys[name]
        return sign_message(body, study=STUDY, run=RUN, sender=name, key=key, parts={"frame": wire}).to_bytes()

    def total(self) -> Words:
        return np.zeros(self._words, np.uint64)

    def add(self, total: Words, site: int, wire: bytes) -> Words:
        message = SignedMessage.from_bytes(wire)
        message.verify(self.keys[self.ids[site]].public)
        return np.add(total, _from_bytes(message.part("frame")), out=total)

    def down(self, total: Words) -> bytes:
        return _to_bytes(total)

    def open(self, data: bytes) -> NDArray[np.int64]:
        words = _from_bytes(data)
        for name in self.ids:
            words -= self._pad(name)
        return unpack(words & np.uint64(self.preset.plain_mask), self.preset, self.dimension)

    def _pad(self, name: str) -> Words:
        key = self.run_secret.derive(b"benchmark/pad/" + name.encode(), self.transcript)
        stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        return np.frombuffer(stream.update(bytes(8 * self._words)), "<u8")


def _to_bytes(words: Words) -> bytes:
    return words.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :WORD_BYTES].tobytes()


def _from_bytes(data: bytes) -> Words:
    words = np.zeros((len(data) // WORD_BYTES, 8), np.uint8)
    words[:, :WORD_BYTES] = np.frombuffer(data, np.uint8).reshape(-1, WORD_BYTES)
    return words.view("<u8")[:, 0]
