"""A public rotation that spreads a vector over its coordinates, so that a sum of many needs narrower fields.

For: :class:`Rotation` (``forward`` for each subject's clipped vector, ``back`` for the opened sum) and :func:`spread`,
    how far one coordinate can reach afterwards, for whoever chooses a grid.
Not for: privacy. The seed is public. What bounds a subject is the norm of its integers, which is checked after the
    rotation (``rounding.py``) and which no seed changes; a bad seed costs an overflow, that is utility.

Order of calls: ``spread`` when a plan is built → ``Rotation(d, H_t)`` once a step → ``forward`` before rounding, for
every subject → ``back`` once the sum is open.

The map. With b the largest power of two that is at most min(d, 65,536), blocks of b coordinates begin at 0, b, 2b, …,
and one more at d − b where b does not divide d; it overlaps the last. In this order each block x becomes
H·(signs ⊙ x/√b), H the b×b Hadamard matrix in Sylvester's order, H[i, j] = (−1)^(number of ones in i AND j). Every
block has its own signs. Each map is orthogonal, hence so is their product: norms stay, and nothing is padded, which
would be sent. (Flip and Hadamard: Ailon and Chazelle, STOC 2006; before quantisation: Suresh et al., ICML 2017.)

The same bits everywhere: element by element, in a fixed order (stages with the largest stride first), without BLAS and
without torch. A subject's rotated vector depends on nothing but that vector and public figures.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from ..errors import BadParametersError

LARGEST_BLOCK = 65_536  # half a megabyte of float64, which a core's cache holds; larger ones spread little better
MISSES_ONE_IN = 10**6  # steps: so rarely a coordinate lies beyond ``spread``; utility only, never privacy

_LABEL = b"sekisho/rotation/v1\0"
_COUNTER_AND_NONCE = bytes(16)  # each key serves one stream
_CONTEXT = Context(prec=40, rounding=ROUND_CEILING)
_DIGITS = Decimal("1e-12")


def block_size(dimension: int) -> int:
    """b: the largest power of two that is at most min(``dimension``, 65,536).

    Raises:
        BadParametersError: ``BAD_ROTATION`` unless d ≥ 1.
    """
    if dimension < 1:
        raise BadParametersError("BAD_ROTATION", "there is nothing to rotate")
    return 1 << (min(dimension, LARGEST_BLOCK).bit_length() - 1)


@lru_cache(maxsize=64)
def spread(dimension: int) -> Fraction:
    """√(2 ln(2·10⁶·d)/b), rounded up at the 12th digit, the same fraction on every machine.

    A vector of norm L has after the rotation no coordinate above spread·L but once in 10⁶ seeds: each coordinate is a
    sum with independent signs and squared weights of at most L²/b in all (Hoeffding 1963, theorem 2), of d coordinates
    on both sides. It holds under overlap too: given the signs before, a block's own signs are independent of its input.
    """
    # decimal's ln and sqrt are right to the last digit but round to nearest: one step up each makes an upper bound
    logarithm = _CONTEXT.next_plus(_CONTEXT.ln(Decimal(2 * MISSES_ONE_IN * dimension)))
    squared = _CONTEXT.divide(_CONTEXT.multiply(2, logarithm), Decimal(block_size(dimension)))
    root = _CONTEXT.next_plus(_CONTEXT.sqrt(squared))
    return Fraction(root.quantize(_DIGITS, rounding=ROUND_CEILING, context=_CONTEXT))


@dataclass(frozen=True)
class Rotation:
    """One step's rotation of ``dimension`` coordinates, from a public ``seed``: the step's transcript hash H_t.

    Both directions take and give float64[d] and hold, beside these, one byte a coordinate and two blocks.
    """

    dimension: int
    seed: bytes

    def __post_init__(self) -> None:
        block_size(self.dimension)

    def forward(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rotated vector, of the same norm but for float64's rounding (below 10⁻¹⁴ of it).

        Raises:
            BadParametersError: ``BAD_ROTATION`` when the vector is not float64[d].
        """
        rotated, scratch = self._own(vector), self._scratch()
        for start, signs in self._blocks:
            block = rotated[start : start + self._size]
            block *= self._scale
            block *= signs
            _hadamard(block, scratch)
        return rotated

    def back(self, rotated: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of :meth:`forward`. Linear, so that the sum of rotated vectors gives the sum of vectors.

        Raises:
            BadParametersError: ``BAD_ROTATION`` when the vector is not float64[d].
        """
        vector, scratch = self._own(rotated), self._scratch()
        for start, signs in reversed(self._blocks):
            block = vector[start : start + self._size]
            block *= self._scale
            _hadamard(block, scratch)
            block *= signs
        return vector

    def _own(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        if vector.dtype != np.float64 or vector.shape != (self.dimension,):
            raise BadParametersError("BAD_ROTATION", "what is to be rotated is not a vector of this length")
        return vector.copy()

    @property
    def _size(self) -> int:
        return block_size(self.dimension)

    @property
    def _scale(self) -> float:
        # applied before the transform: nothing in it can then exceed the norm, so nothing overflows
        return 1.0 / math.sqrt(self._size)

    def _scratch(self) -> NDArray[np.float64]:
        # made once a vector: fresh memory for every stage costs more than the stages
        return np.empty((2, self._size))

    @cached_property
    def _blocks(self) -> tuple[tuple[int, NDArray[np.int8]], ...]:
        """(first coordinate, int8[b] of signs) of each block, in order; a coin of 1 is a minus."""
        size, overlaps = self._size, self.dimension % self._size != 0
        starts = [*range(0, self.dimension - size + 1, size), *([self.dimension - size] if overlaps else [])]
        key = hashlib.sha256(_LABEL + self.dimension.to_bytes(8, "little") + self.seed).digest()
        stream = Cipher(ChaCha20(key, _COUNTER_AND_NONCE), mode=None).encryptor()
        each = -(-size // 8)
        return tuple((start, _signs(stream.update(bytes(each)), size)) for start in starts)


def _signs(coins: bytes, size: int) -> NDArray[np.int8]:
    bits = np.unpackbits(np.frombuffer(coins, dtype=np.uint8), count=size, bitorder="little")
    signs: NDArray[np.int8] = 1 - 2 * bits.astype(np.int8)
    return signs


def _hadamard(block: NDArray[np.float64], scratch: NDArray[np.float64]) -> None:
    """block ← H·block, unscaled; float64[b] with b a power of two, and float64[2, b] to work in.

    As a square, H of b is H of the rows times H of the columns; turned in between, so that every stage adds long runs.
    """
    rows = 1 << block.size.bit_length() // 2
    columns = block.size // rows
    here, there = _butterflies(block.reshape(rows, columns), scratch[0], scratch[1])
    turned = there.reshape(columns, rows)
    turned[:] = here.reshape(rows, columns).T
    done, _ = _butterflies(turned, here, there)
    block[:] = done.reshape(columns, rows).T.reshape(-1)


def _butterflies(
    square: NDArray[np.float64], here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """H over the rows of float64[r, c], from one of two float64[r·c] into the other: (with the result, the other)."""
    rows, columns = square.shape
    here[:] = square.reshape(-1)
    half = rows // 2
    while half:
        pairs, mixed = here.reshape(-1, 2, half, columns), there.reshape(-1, 2, half, columns)
        np.add(pairs[:, 0], pairs[:, 1], out=mixed[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=mixed[:, 1])
        here, there = there, here
        half //= 2
    return here, there
