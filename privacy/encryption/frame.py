"""The bytes that travel: a fixed header, fixed-length seeds and 60-bit words, all checked in numpy.

For: a site's ciphertext on its way up, and the sum of all c0 on its way down; digests of both halves for
signed headers.
Not for: signatures and transcript (the signed message around it), or SEAL: no byte read here reaches a SEAL
loader.
Order of calls: site ``encode`` → coordinator ``decode`` (then aggregation) → ``encode_sum`` → site
``decode_sum``.

A reader knows preset and dimension from the run, so a frame has exactly one permitted length, checked before
anything is allocated, and exactly one permitted header. There is one encoding of each value: bits that carry
nothing must be zero.

    offset  bytes        field
    0       4            magic "SKF1"
    4       1            kind: 1 = a site's ciphertext, 2 = sum of c0
    5       1            fields per word
    6       1            bits per field
    7       1            1 = the vector is rotated (mechanism/rotation.py), 0 = it is not
    8       4            dimension d, little endian
    12      64·blocks    seeds of c1 (kind 1 only)
    …       ⌈60·W/8⌉     c0: W words of 60 bits, least significant bit first, then zero bits to a whole byte
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Protocol

import numpy as np

from ..errors import CiphertextError
from .ciphertext import Ciphertext, Words, check_half
from .presets import PRIME_BITS, SEED_BYTES, Preset

MAGIC: Final = b"SKF1"
KIND_CIPHERTEXT: Final = 1
KIND_SUM: Final = 2
HEADER: Final = struct.Struct("<4sBBBBI")
_SEEDS_LABEL: Final = b"sekisho/frame/seeds/v1\0"  # so that one digest can never stand for the other half
_HALF_LABEL: Final = b"sekisho/frame/c0/v1\0"
_SHAPE: Final = struct.Struct("<BBI")
_PAIR_BYTES: Final = 2 * PRIME_BITS // 8  # two 60-bit words are 15 whole bytes
_HIGH_BIT: Final = 8 * (_PAIR_BYTES - 8)  # where the last 8 of the 15 bytes begin
_PIECE_WORDS: Final = 1 << 16  # even, so that pieces are whole bytes; half a megabyte stays in a core's cache
_WORD_MASK: Final = np.uint64((1 << PRIME_BITS) - 1)


class WithSeeds(Protocol):
    """A ciphertext, or a site's seed list from the manifest: both must give the same digest."""

    @property
    def seeds(self) -> bytes: ...


def encode(ciphertext: Ciphertext) -> bytes:
    """The frame of one site's ciphertext; ``decode`` gives it back bit for bit."""
    header = _header(KIND_CIPHERTEXT, ciphertext.preset, ciphertext.dimension)
    return header + ciphertext.seeds + pack_words(ciphertext.c0)


def decode(data: bytes | memoryview, *, preset: Preset, dimension: int) -> Ciphertext:
    """Bytes from a peer → Ciphertext of exactly this preset and dimension, or a CiphertextError.

    Codes: FRAME_TRUNCATED, FRAME_MAGIC, FRAME_KIND, FRAME_PRESET, FRAME_RESERVED, FRAME_DIMENSION,
    FRAME_TRAILING, FRAME_PADDING, WORD_OUT_OF_RANGE, SEED_DUPLICATE. Memory stays within a small multiple of
    the permitted length.
    """
    seeds = SEED_BYTES * preset.blocks(dimension)
    body = _body(data, KIND_CIPHERTEXT, preset, dimension, seeds_length=seeds)
    c0 = unpack_words(body[seeds:], preset.words(dimension))
    return Ciphertext(preset, dimension, c0, bytes(body[:seeds]))


def encode_sum(c0_sum: Words, preset: Preset, dimension: int) -> bytes:
    """The frame of the sum of all c0, for every site of the cohort."""
    check_half(c0_sum, preset, dimension)
    return _header(KIND_SUM, preset, dimension) + pack_words(c0_sum)


def decode_sum(data: bytes | memoryview, preset: Preset, dimension: int) -> Words:
    """Bytes from the coordinator → uint64[W], each below q, or a CiphertextError as in ``decode``."""
    body = _body(data, KIND_SUM, preset, dimension, seeds_length=0)
    c0_sum = unpack_words(body, preset.words(dimension))
    check_half(c0_sum, preset, dimension)
    return c0_sum


def seeds_digest(of: WithSeeds) -> str:
    """Digest ("sha256:…") of a seed list: what an opener, who never sees one site's c0, can check."""
    return "sha256:" + hashlib.sha256(_SEEDS_LABEL + of.seeds).hexdigest()


def c0_digest(ciphertext: Ciphertext) -> str:
    """Digest ("sha256:…") of preset, dimension and the packed c0."""
    return half_digest(ciphertext.c0, ciphertext.preset, ciphertext.dimension)


def half_digest(c0: Words, preset: Preset, dimension: int) -> str:
    """The same digest for a half that stands alone, such as the sum."""
    check_half(c0, preset, dimension)
    state = hashlib.sha256(_HALF_LABEL + _SHAPE.pack(preset.fields, preset.width, dimension))
    for start in range(0, c0.size, _PIECE_WORDS):
        state.update(pack_words(c0[start : start + _PIECE_WORDS]))
    return "sha256:" + state.hexdigest()


def ciphertext_length(preset: Preset, dimension: int) -> int:
    """The one length that a site's frame can have, in bytes."""
    return sum_length(preset, dimension) + SEED_BYTES * preset.blocks(dimension)


def sum_length(preset: Preset, dimension: int) -> int:
    """The one length that the frame of a sum can have, in bytes."""
    return HEADER.size + packed_length(preset.words(dimension))


def packed_length(words: int) -> int:
    """Bytes that ``words`` 60-bit words take."""
    return -(-words * PRIME_BITS // 8)


def pack_words(words: Words) -> bytes:
    """uint64[W], each below 2^60 → ⌈60·W/8⌉ bytes, least significant bit first."""
    pairs = words.size // 2
    out = bytearray(packed_length(words.size))
    low, high = _halves_of_pairs(out, pairs)
    even, odd = words[: 2 * pairs : 2], words[1 : 2 * pairs : 2]
    np.bitwise_or(even, odd << np.uint64(PRIME_BITS), out=low)
    np.bitwise_or(even >> np.uint64(_HIGH_BIT), odd << np.uint64(PRIME_BITS - _HIGH_BIT), out=high)
    if words.size % 2:
        out[_PAIR_BYTES * pairs :] = int(words[-1]).to_bytes(packed_length(1), "little")
    return bytes(out)


def unpack_words(data: memoryview, count: int) -> Words:
    """The inverse of ``pack_words`` for data of the right length; bits past the last word must be zero."""
    pairs = count // 2
    words = np.empty(count, np.uint64)
    low, high = _halves_of_pairs(data, pairs)
    np.bitwise_and(low, _WORD_MASK, out=words[: 2 * pairs : 2])
    np.right_shift(high, np.uint64(PRIME_BITS - _HIGH_BIT), out=words[1 : 2 * pairs : 2])
    if count % 2:
        last = int.from_bytes(data[_PAIR_BYTES * pairs :], "little")
        if last >> PRIME_BITS:
            raise CiphertextError(
                "FRAME_PADDING", "bits past the last word are not zero", "the sender altered the frame"
            )
        words[-1] = last
    return words


def _halves_of_pairs(data: bytearray | memoryview, pairs: int) -> tuple[Words, Words]:
    """Two words take 15 bytes: their bits 0 to 63 and 56 to 119 as 64-bit integers, in place, one per pair."""
    low = np.ndarray((pairs,), "<u8", data, 0, (_PAIR_BYTES,))
    high = np.ndarray((pairs,), "<u8", data, _HIGH_BIT // 8, (_PAIR_BYTES,))
    return low, high


def _header(kind: int, preset: Preset, dimension: int) -> bytes:
    return HEADER.pack(MAGIC, kind, preset.fields, preset.width, int(preset.rotated), dimension)


def _body(data: bytes | memoryview, kind: int, preset: Preset, dimension: int, *, seeds_length: int) -> memoryview:
    """Everything after a header that is exactly the expected one, at exactly the expected length."""
    expected = sum_length(preset, dimension) + seeds_length
    # 1. enough bytes to read a header
    if len(data) < HEADER.size:
        raise CiphertextError("FRAME_TRUNCATED", "the frame ends before its header does")
    magic, its_kind, fields, width, rotated, its_dimension = HEADER.unpack_from(data)
    # 2. our format
    if magic != MAGIC:
        raise CiphertextError(
            "FRAME_MAGIC", "these bytes are not a frame", "sites and coordinator run the same version"
        )
    # 3. the kind of frame that is due
    if its_kind != kind:
        raise CiphertextError("FRAME_KIND", "a frame of another kind was due here")
    # 4. nothing in reserved bits
    if rotated > 1:
        raise CiphertextError("FRAME_RESERVED", "a reserved bit is not zero")
    # 5. the run's preset
    if (fields, width, rotated) != (preset.fields, preset.width, int(preset.rotated)):
        raise CiphertextError("FRAME_PRESET", "the frame was packed under another preset than the run's")
    # 6. the run's dimension
    if its_dimension != dimension:
        raise CiphertextError(
            "FRAME_DIMENSION", "the frame holds a vector of another dimension than the run's"
        )
    # 7. the one permitted length
    if len(data) < expected:
        raise CiphertextError("FRAME_TRUNCATED", "the frame ends before its data does")
    if len(data) > expected:
        raise CiphertextError("FRAME_TRAILING", "there are bytes after the end of the frame")
    return memoryview(data)[HEADER.size :]
