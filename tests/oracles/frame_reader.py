"""A second reader and writer of frames and of what is derived for them, from docs/formats/frame.md alone.

Nothing of the product is imported, and nothing here is fast: big integers in place of arrays, ChaCha20 and HKDF written
out (RFC 8439, RFC 5869). Only Ed25519 and ChaCha20-Poly1305 come from a library.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

N, Q = 4096, 1152921504606830593
T = {**dict.fromkeys(((3, 16), (2, 24), (1, 48)), 1 << 48), **dict.fromkeys(((3, 15), (2, 23), (1, 46)), 1 << 46)}
SHARE, SUM = 1, 2


class RefusedFrame(Exception):
    """The code of the first check that failed."""


@dataclass(frozen=True)
class Preset:
    fields: int
    width: int
    rotated: bool

    def words(self, dimension: int) -> int:
        return (dimension + self.fields - 1) // self.fields

    def blocks(self, dimension: int) -> int:
        return (self.words(dimension) + N - 1) // N

    @property
    def t(self) -> int:
        return T[self.fields, self.width]


# -- the frame ---------------------------------------------------------------------------------------------------------


def read(data: bytes, kind: int, preset: Preset, dimension: int) -> tuple[list[int], list[bytes]]:
    """Words and seeds of a frame, or a refusal with the code of the first check that fails."""
    count = preset.words(dimension)
    seeds_end = 12 + (64 * preset.blocks(dimension) if kind == SHARE else 0)
    length = seeds_end + (60 * count + 7) // 8
    for holds, code in (
        (len(data) >= 12, "FRAME_TRUNCATED"),
        (data[:4] == b"SKF1", "FRAME_MAGIC"),
        (data[4:5] == bytes([kind]), "FRAME_KIND"),
        (data[7:8] in (b"\0", b"\1"), "FRAME_RESERVED"),
        (data[5:8] == bytes([preset.fields, preset.width, preset.rotated]), "FRAME_PRESET"),
        (int.from_bytes(data[8:12], "little") == dimension, "FRAME_DIMENSION"),
        (len(data) >= length, "FRAME_TRUNCATED"),
        (len(data) <= length, "FRAME_TRAILING"),
    ):
        if not holds:
            raise RefusedFrame(code)
    packed = int.from_bytes(data[seeds_end:], "little")
    if packed >> (60 * count):
        raise RefusedFrame("FRAME_PADDING")
    words = [packed >> (60 * place) & ((1 << 60) - 1) for place in range(count)]
    if max(words) >= Q:
        raise RefusedFrame("WORD_OUT_OF_RANGE")
    seeds = [data[place : place + 64] for place in range(12, seeds_end, 64)]
    if len(set(seeds)) != len(seeds):
        raise RefusedFrame("SEED_DUPLICATE")
    return words, seeds


def write(words: Sequence[int], seeds: Sequence[bytes], kind: int, preset: Preset, dimension: int) -> bytes:
    head = b"SKF1" + bytes([kind, preset.fields, preset.width, preset.rotated]) + dimension.to_bytes(4, "little")
    return head + b"".join(seeds) + packed(words)


def packed(words: Sequence[int]) -> bytes:
    data = bytearray((60 * len(words) + 7) // 8)
    for place, word in enumerate(words):
        first, shift = divmod(60 * place, 8)
        number = int.from_bytes(data[first : first + 8], "little") | word << shift
        data[first : first + 8] = number.to_bytes(8, "little")[: len(data) - first]
    return bytes(data)


def seeds_digest(seeds: Sequence[bytes]) -> str:
    return digest(b"sekisho/frame/seeds/v1\0" + b"".join(seeds))


def c0_digest(words: Sequence[int], preset: Preset, dimension: int) -> str:
    shape = bytes([preset.fields, preset.width]) + dimension.to_bytes(4, "little")
    return digest(b"sekisho/frame/c0/v1\0" + shape + packed(words))


def manifest_digest(seeds: dict[str, bytes]) -> str:
    data = b"sekisho/manifest/v1\0"
    for site in sorted(seeds):
        name = site.encode()
        data += len(name).to_bytes(4, "little") + name + len(seeds[site]).to_bytes(8, "little") + seeds[site]
    return digest(data)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


# -- what the words hold -----------------------------------------------------------------------------------------------


def pack(values: Sequence[int], preset: Preset) -> list[int]:
    count = preset.words(len(values))
    words = [0] * count
    for place, value in enumerate(values):
        field, word = divmod(place, count)
        words[word] = (words[word] + (value << (preset.width * field))) % preset.t
    return words


def unpack(words: Sequence[int], preset: Preset, dimension: int) -> list[int]:
    values = [0] * (preset.fields * len(words))
    for place, word in enumerate(words):
        rest = word
        for field in range(preset.fields):
            low = rest % (1 << preset.width)
            value = low - (1 << preset.width) if low >> (preset.width - 1) else low
            values[field * len(words) + place] = value
            rest = (rest - value) >> preset.width
    return values[:dimension]


def rotated(vector: Sequence[float], transcript: bytes) -> list[float]:
    values = list(vector)
    for start, size, signs in _blocks(len(values), transcript):
        scale = 1.0 / math.sqrt(size)
        block = [sign * value * scale for sign, value in zip(signs, values[start : start + size], strict=True)]
        values[start : start + size] = _hadamard(block)
    return values


def unrotated(vector: Sequence[float], transcript: bytes) -> list[float]:
    values = list(vector)
    for start, size, signs in reversed(_blocks(len(values), transcript)):
        scale = 1.0 / math.sqrt(size)
        block = _hadamard([value * scale for value in values[start : start + size]])
        values[start : start + size] = [sign * value for sign, value in zip(signs, block, strict=True)]
    return values


def _blocks(dimension: int, transcript: bytes) -> list[tuple[int, int, list[float]]]:
    size = 1
    while 2 * size <= min(dimension, 65536):
        size *= 2
    starts = list(range(0, dimension - size + 1, size)) + ([dimension - size] if dimension % size else [])
    key = hashlib.sha256(b"sekisho/rotation/v1\0" + dimension.to_bytes(8, "little") + transcript).digest()
    each = (size + 7) // 8
    stream = keystream(key, each * len(starts))
    found = []
    for place, start in enumerate(starts):
        bits = int.from_bytes(stream[each * place : each * (place + 1)], "little")
        found.append((start, size, [-1.0 if bits >> bit & 1 else 1.0 for bit in range(size)]))
    return found


def _hadamard(block: list[float]) -> list[float]:
    half = len(block) // 2
    while half:
        for first in range(0, len(block), 2 * half):
            for place in range(first, first + half):
                x, y = block[place], block[place + half]
                block[place], block[place + half] = x + y, x - y
        half //= 2
    return block


# -- keys --------------------------------------------------------------------------------------------------------------


def derive(key: bytes, salt: bytes, *info: str, length: int = 32) -> bytes:
    """HKDF-SHA-256."""
    pseudorandom = hmac.new(salt, key, hashlib.sha256).digest()
    output, block, number = b"", b"", 0
    while len(output) < length:
        number += 1
        block = hmac.new(pseudorandom, block + texts(*info) + bytes([number]), hashlib.sha256).digest()
        output += block
    return output[:length]


def texts(*info: str) -> bytes:
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in info)


def unwrap(pair_key: bytes, wrapped: bytes, h0: bytes, sender: str, recipient: str) -> bytes:
    info = ("sekisho/run-secret/v1", sender, recipient)
    box = ChaCha20Poly1305(derive(pair_key, h0, *info))
    return box.decrypt(wrapped[:12], wrapped[12:], h0 + texts(*info))


def mask(
    site: str, keys: dict[str, bytes], cohort: Sequence[str], transcript: bytes, words: int, t: int
) -> list[int]:
    """``keys``: this site's pair key with each other site of the cohort."""
    total = [0] * words
    for peer, key in keys.items():
        info = ("sekisho/mask/v1", *sorted((site, peer)), *sorted(cohort))
        stream = keystream(derive(key, transcript, *info), 8 * words)
        sign = 1 if site < peer else -1
        for place in range(words):
            total[place] += sign * int.from_bytes(stream[8 * place : 8 * place + 8], "little")
    return [word % t for word in total]


def keystream(key: bytes, length: int) -> bytes:
    """ChaCha20 (RFC 8439, 2.3 and 2.4) from counter 0 under nonce 0."""
    output = b""
    for counter in range((length + 63) // 64):
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
        start += [int.from_bytes(key[place : place + 4], "little") for place in range(0, 32, 4)]
        start += [counter, 0, 0, 0]
        state = list(start)
        for _ in range(10):
            for a, b, c, d in _QUARTERS:
                _quarter_round(state, a, b, c, d)
        output += b"".join(((x + y) % 2**32).to_bytes(4, "little") for x, y in zip(state, start, strict=True))
    return output[:length]


_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


def _quarter_round(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) % 2**32
        mixed = state[z] ^ state[x]
        state[z] = (mixed << turn | mixed >> (32 - turn)) % 2**32


# -- message and transcript --------------------------------------------------------------------------------------------


def read_message(data: bytes, key: bytes) -> tuple[dict[str, object], dict[str, bytes]]:
    """Header and parts of a signed message; AssertionError or InvalidSignature for any other bytes."""
    assert data[:4] == b"SKM1"
    end = 8 + int.from_bytes(data[4:8], "little")
    text, signature, payload = data[8:end], data[end : end + 64], data[end + 64 :]
    header = json.loads(text)
    assert canonical(header) == text
    Ed25519PublicKey.from_public_bytes(key).verify(signature, b"sekisho-message-v1\0" + text)
    parts = {}
    for part in header["parts"]:
        piece, payload = payload[: part["length"]], payload[part["length"] :]
        assert part["name"] not in parts
        assert len(piece) == part["length"] and digest(piece) == part["digest"]
        parts[part["name"]] = piece
    assert not payload
    return header, parts


def transcript_hash(value: dict[str, object]) -> bytes:
    return hashlib.sha256(b"sekisho-transcript-v1\0" + canonical(value)).digest()


def canonical(value: object) -> bytes:
    """RFC 8785 for the values on this page: whole numbers and texts without characters that it would escape."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
