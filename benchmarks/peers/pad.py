"""The honest alternative to encryption between sites that share a secret: a ChaCha20 pad under the same masks.

What ADR 0008 weighs: it hides the sum from the coordinator as well, is smaller and faster, and is deterministic. Masks,
packing and signed messages are the product's; only the pad stands in for BFV. Each site has a pad of its own, so an
opening draws all of them. Not part of the product.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from sekisho.benchmarks.blind_sum import COORDINATOR, HEAD, STEP, BlindSum
from sekisho.core.messages import Frame, SignedMessage
from sekisho.governance.canonical import digest_bytes
from sekisho.privacy.encryption.packing import pack, unpack
from sekisho.privacy.keys.masks import step_mask

WORD_BYTES = 6  # a packed word has 48 bits, and nothing is added to it

Words = NDArray[np.uint64]


@dataclass
class Padded:
    """The coordinator's side of one step: the sum of padded words, and who signed."""

    words: Words
    parts: dict[str, bytes] = field(default_factory=dict)


class Pad(BlindSum):
    """3x16 fields, masked and padded modulo 2^48."""

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
        return self.signed(body, name, {"frame": wire})

    def total(self) -> Padded:
        return Padded(np.zeros(self._words, np.uint64))

    def add(self, total: Padded, site: int, wire: bytes) -> Padded:
        name = self.ids[site]
        message = SignedMessage.from_bytes(wire)
        message.verify(self.keys[name].public)
        np.add(total.words, _from_bytes(message.part("frame")), out=total.words)
        total.parts[f"header:{name}"] = message.detached()
        return total

    def down(self, total: Padded) -> bytes:
        return self.outcome({**total.parts, "sum": _to_bytes(total.words)})

    def open(self, data: bytes) -> NDArray[np.int64]:
        message = SignedMessage.from_bytes(data)
        message.verify(self.keys[COORDINATOR].public)
        words = _from_bytes(message.part("sum"))
        for name in self.ids:
            self.header_of(message, name)
            words -= self._pad(name)
        return unpack(words & np.uint64(self.preset.plain_mask), self.preset, self.dimension)

    def _pad(self, name: str) -> Words:
        key = self.run_secret.derive(b"benchmark/pad/" + name.encode(), self.transcript)
        stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
        return np.frombuffer(stream.update(bytes(8 * self._words)), "<u8")


def _to_bytes(words: Words) -> bytes:
    out = bytearray(WORD_BYTES * words.size)
    low, high = _halves(out)
    np.copyto(low, words, casting="unsafe")  # the lowest 32 bits
    np.copyto(high, words >> np.uint64(32), casting="unsafe")
    return bytes(out)


def _from_bytes(data: bytes) -> Words:
    low, high = _halves(data)
    words = high.astype(np.uint64)
    words <<= np.uint64(32)
    words |= low
    return words


def _halves(data: bytes | bytearray) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Bits 0 to 31 and 32 to 47 of every word, in place."""
    count = len(data) // WORD_BYTES
    return (
        np.ndarray((count,), "<u4", data, 0, (WORD_BYTES,)),
        np.ndarray((count,), "<u2", data, 4, (WORD_BYTES,)),
    )
