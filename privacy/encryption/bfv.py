"""SEAL's BFV in numpy terms: the only file that imports TenSEAL.

For: ``keys/secretkey.py`` (a seeded secret key), and ``parallel.py``, which shares blocks out among processes.
Not for: the coordinator, and not for any byte from a peer except 60-bit words and 64-byte seeds that were
checked in numpy.
Order of calls: ``seeded_key`` → ``encrypt_words`` at each site → ``open_words`` on Σ c0 with everybody's
seeds.

Numbers enter and leave SEAL through its own stream format, written and read here in memory: its element-wise
accessors would need a Python call per coefficient. Every byte of those streams besides words and seeds is
taken from a sample that this process made itself, and a build whose sample looks otherwise is refused.

Two kinds of context exist. The public one draws fresh randomness from the operating system and is the only
one that ever encrypts. The seeded one lives inside ``seeded_key`` just long enough to generate one secret
key: encrypting under it would repeat all randomness.

Memory: beyond input and output, the objects of one block.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import numpy as np
import tenseal.sealapi as seal
import zstandard

from ..errors import BadParametersError
from .ciphertext import Words
from .presets import SEED_BYTES, Preset

Progress = Callable[[int, int], None]  # blocks done, blocks in all

# Linux keeps the streams in memory. Elsewhere they pass through a file that only this user can read,
# overwritten at the end (best effort: a disk may keep older blocks). Masked words and opened sums pass there,
# a key in use never does.
STREAM_IN_MEMORY: bool = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()

# Layout of SEAL 4 streams (native/src/seal/serialization.h, plaintext.cpp, ciphertext.cpp)
_SEAL_MAGIC: Final = b"\x5e\xa1"
# magic, header size, major version, minor version, compression, reserved, total size
_HEADER: Final = struct.Struct("<2sBBBBHQ")
_PLAIN_FIXED: Final = 32 + 8 + 8  # parameter id, coefficient count, scale
# parameter id, NTT flag, size, N, primes, scale, correction factor
_CIPHER_FIXED: Final = 32 + 1 + 8 + 8 + 8 + 8 + 8
_SEED_RECORD: Final = _HEADER.size + 1  # header and generator type, before the 64-byte seed itself
_UNCOMPRESSED: Final = 0
_ZSTANDARD: Final = 2


@dataclass(frozen=True, slots=True)
class _Ring:
    """The public context and the constant bytes around words and seeds in this build's streams."""

    context: Any
    version: tuple[int, int]
    plain_fixed: bytes
    cipher_fixed: bytes
    seed_record: bytes


class SeededKey:
    """A secret key: SEAL's object, and the seed from which another process makes the same. Never copied or shown."""

    __slots__ = ("_plain_bits", "seal", "seed")

    def __init__(self, seal_key: Any, seed: bytes, plain_bits: int) -> None:
        self.seal: Any = seal_key
        self.seed = bytearray(seed)
        self._plain_bits = plain_bits

    def under(self, preset: Preset) -> Any:
        """SEAL's object as ``preset`` needs it: its key is the same polynomial for every t, its object names one t."""
        if self.seal is None or preset.plain_bits == self._plain_bits:
            return self.seal
        return seeded_key(preset, bytes(self.seed)).seal

    def wipe(self) -> None:
        """Overwrite the seed and let go of SEAL's object, which clears its memory with its last reference."""
        self.seed[:] = bytes(len(self.seed))
        self.seal = None

    def __repr__(self) -> str:
        return "SeededKey(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key is not copied or stored")


def seeded_key(preset: Preset, seed: bytes) -> SeededKey:
    """The secret key that SEAL's generator draws from a 64-byte seed; the same seed gives the same key.

    The seeded context is dropped here and never encrypts. Other builds of SEAL may sample another key from
    the same seed: ``seeded_key_digest`` tells.
    """
    if len(seed) != SEED_BYTES:
        raise BadParametersError("KEY_SEED", f"a secret key is drawn from a seed of {SEED_BYTES} bytes")
    factory = seal.Blake2xbPRNGFactory(list(struct.unpack("<8Q", seed)))
    return SeededKey(seal.KeyGenerator(_context(preset, factory)).secret_key(), seed, preset.plain_bits)


def seeded_key_digest(preset: Preset, seed: bytes) -> str:
    """Hex SHA-256 of the key that ``seed`` gives: for golden vectors with a published seed."""
    with _Stream() as stream:
        body = stream.save(seeded_key(preset, seed).seal)
    return hashlib.sha256(body[_PLAIN_FIXED + _HEADER.size :]).hexdigest()


def encrypt_words(
    words: Words, preset: Preset, key: SeededKey, progress: Progress = lambda done, total: None
) -> tuple[Words, bytes]:
    """uint64[W] below t → c0: uint64[W] below q, and one fresh 64-byte seed of c1 per block of N words."""
    ring = _ring(preset.degree, preset.modulus, preset.plain_bits)
    encryptor = seal.Encryptor(ring.context, key.under(preset))
    c0 = np.empty(words.size, np.uint64)
    seeds = bytearray()
    with _Stream() as stream:
        for start in range(0, words.size, preset.degree):
            block = words[start : start + preset.degree]
            body = stream.save(encryptor.encrypt_symmetric(stream.plaintext(ring, preset, block)))
            half, seed = _split_ciphertext(ring, preset, body)
            c0[start : start + block.size] = half[: block.size]
            seeds += seed
            progress(len(seeds) // SEED_BYTES, -(-words.size // preset.degree))
    return c0, bytes(seeds)


def open_words(
    c0_sum: Words,
    seed_lists: Sequence[bytes],
    preset: Preset,
    key: SeededKey,
    progress: Progress = lambda done, total: None,
) -> Words:
    """Σ c0: uint64[W] below q and every site's seeds → the sum of the words: uint64[W] modulo t.

    c1 is expanded from the seeds and added here. Coefficients past the data are zeros in c0; what they
    decrypt to is dropped. The caller has checked ranges, lengths and duplicates.
    """
    ring = _ring(preset.degree, preset.modulus, preset.plain_bits)
    decryptor, evaluator = seal.Decryptor(ring.context, key.under(preset)), seal.Evaluator(ring.context)
    opened = np.empty(c0_sum.size, np.uint64)
    blocks = -(-c0_sum.size // preset.degree)
    with _Stream() as stream:
        for block in range(blocks):
            part = slice(block * preset.degree, min((block + 1) * preset.degree, c0_sum.size))
            place = slice(block * SEED_BYTES, (block + 1) * SEED_BYTES)
            total = stream.ciphertext(ring, preset, c0_sum[part], seed_lists[0][place])
            for seeds in seed_lists[1:]:
                evaluator.add_inplace(total, stream.expanded(ring, preset, seeds[place]))
            plaintext = seal.Plaintext()
            decryptor.decrypt(total, plaintext)
            opened[part] = _coefficients(preset, stream.save(plaintext))[: part.stop - part.start]
            progress(block + 1, blocks)
    return opened


def _context(preset: Preset, generator: Any = None) -> Any:
    """A SEAL context of the preset's ring; SEAL itself enforces the 192-bit security class."""
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(preset.degree)
    parameters.set_coeff_modulus([seal.Modulus(preset.modulus)])
    parameters.set_plain_modulus(1 << preset.plain_bits)
    if generator is not None:
        parameters.set_random_generator(generator)
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC192)
    if not context.parameters_set():
        raise BadParametersError(
            "BFV_PARAMETERS", "SEAL refuses these encryption parameters at 192-bit security"
        )
    return context


@functools.lru_cache(maxsize=4)
def _ring(degree: int, modulus: int, plain_bits: int) -> _Ring:
    """The public context, and the stream constants read off a sample encrypted under a throw-away key."""
    preset = Preset("ring", 1, plain_bits, degree, modulus, plain_bits, maximum_sites=1)
    context = _context(preset)
    with _Stream() as stream:
        plain = stream.save(seal.Plaintext(degree))
        encryptor = seal.Encryptor(context, seal.KeyGenerator(context).secret_key())
        cipher = stream.save(encryptor.encrypt_symmetric(seal.Plaintext("1")))
        version = stream.version
    words = 8 * degree
    inner = _HEADER.pack(_SEAL_MAGIC, _HEADER.size, *version, 0, 0, _HEADER.size + 8 + words)
    inner += struct.pack("<Q", degree)
    record = _HEADER.pack(_SEAL_MAGIC, _HEADER.size, *version, 0, 0, _SEED_RECORD + SEED_BYTES)
    if (
        len(plain) != _PLAIN_FIXED + len(inner) + words
        or not plain.startswith(inner, _PLAIN_FIXED)
        or len(cipher) != _CIPHER_FIXED + len(inner) + words + _SEED_RECORD + SEED_BYTES
        or not cipher.startswith(inner, _CIPHER_FIXED)
        or not cipher.startswith(record, _CIPHER_FIXED + len(inner) + words)
    ):
        raise _unknown_build()
    return _Ring(
        context=context,
        version=version,
        plain_fixed=plain[: _PLAIN_FIXED + len(inner)],
        cipher_fixed=cipher[: _CIPHER_FIXED + len(inner)],
        seed_record=cipher[-_SEED_RECORD - SEED_BYTES : -SEED_BYTES],
    )


def _split_ciphertext(ring: _Ring, preset: Preset, body: bytes) -> tuple[Words, bytes]:
    """One of our own freshly encrypted blocks → all N coefficients of c0 and the seed of c1."""
    start, end = len(ring.cipher_fixed), len(ring.cipher_fixed) + 8 * preset.degree
    if body[:start] != ring.cipher_fixed or body[end:-SEED_BYTES] != ring.seed_record:
        raise _unknown_build()
    return np.frombuffer(body, "<u8", preset.degree, start), body[-SEED_BYTES:]


def _coefficients(preset: Preset, body: bytes) -> Words:
    """A decrypted plaintext's stream → N coefficients; SEAL leaves out zeros at the top."""
    start = _PLAIN_FIXED + _HEADER.size + 8
    (count,) = struct.unpack_from("<Q", body, start - 8)
    if count > preset.degree or len(body) != start + 8 * count:
        raise _unknown_build()
    coefficients = np.zeros(preset.degree, np.uint64)
    coefficients[:count] = np.frombuffer(body, "<u8", count, start)
    return coefficients


def _unknown_build() -> BadParametersError:
    return BadParametersError(
        "SEAL_STREAM",
        "this build of TenSEAL writes its objects in a form that is not known here",
        "install the version of tenseal that the lock file names",
    )


class _Stream:
    """A private place through which this process hands objects to SEAL and takes them back; one per call."""

    def __init__(self) -> None:
        self.version: tuple[int, int] = (0, 0)
        self._unpack = zstandard.ZstdDecompressor()
        self._ends_in_seed = False  # holds a ciphertext with c0 = 0, of which the next differs in its seed alone
        if STREAM_IN_MEMORY:
            self._descriptor = os.memfd_create("sekisho")
            self._path, self._named = f"/proc/self/fd/{self._descriptor}", False
        else:
            self._descriptor, self._path = tempfile.mkstemp(prefix="sekisho-")  # mode 0600
            self._named = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Overwrite what a disk might keep, then let go."""
        try:
            if self._named:
                size = os.fstat(self._descriptor).st_size
                self._write(bytes(size))
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            if self._named:
                with contextlib.suppress(FileNotFoundError):
                    Path(self._path).unlink()

    def save(self, of: Any) -> bytes:
        """A SEAL object's body, uncompressed, without the outer header."""
        self._ends_in_seed = False
        of.save(self._path)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        data = bytearray()
        while piece := os.read(self._descriptor, 1 << 20):
            data += piece
        magic, size, major, minor, compression, _reserved, total = _HEADER.unpack_from(data)
        if magic != _SEAL_MAGIC or size != _HEADER.size or total != len(data):
            raise _unknown_build()
        self.version = (major, minor)
        if compression == _UNCOMPRESSED:
            return bytes(data[_HEADER.size :])
        if compression == _ZSTANDARD:
            return self._unpack.decompressobj().decompress(bytes(data[_HEADER.size :]))
        raise _unknown_build()

    def plaintext(self, ring: _Ring, preset: Preset, words: Words) -> Any:
        """uint64[≤N] below t → a SEAL plaintext, zeros above."""
        full = np.zeros(preset.degree, "<u8")
        full[: words.size] = words
        return self._load(seal.Plaintext(), ring, ring.plain_fixed + full.tobytes())

    def ciphertext(self, ring: _Ring, preset: Preset, c0: Words, seed: bytes) -> Any:
        """uint64[≤N] below q, zeros above, and one seed → a SEAL ciphertext (c0, c1 expanded from the seed)."""
        full = np.zeros(preset.degree, "<u8")
        full[: c0.size] = c0
        body = ring.cipher_fixed + full.tobytes() + ring.seed_record + seed
        return self._load(seal.Ciphertext(), ring, body)

    def expanded(self, ring: _Ring, preset: Preset, seed: bytes) -> Any:
        """One seed → a SEAL ciphertext (0, c1 expanded from the seed)."""
        if not self._ends_in_seed:
            expanded = self.ciphertext(ring, preset, np.zeros(0, np.uint64), seed)
            self._ends_in_seed = True
            return expanded
        os.lseek(self._descriptor, -SEED_BYTES, os.SEEK_END)
        os.write(self._descriptor, seed)
        expanded = seal.Ciphertext()
        expanded.load(ring.context, self._path)
        return expanded

    def _load(self, into: Any, ring: _Ring, body: bytes) -> Any:
        header = _HEADER.pack(_SEAL_MAGIC, _HEADER.size, *ring.version, 0, 0, _HEADER.size + len(body))
        self._write(header + body)
        into.load(ring.context, self._path)
        return into

    def _write(self, data: bytes) -> None:
        self._ends_in_seed = False
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        os.ftruncate(self._descriptor, len(data))
