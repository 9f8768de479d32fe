"""Discrete Gaussian integers: P[x] proportional to exp(−x²/2s²), drawn from 128-bit tables compared lazily.

For: noise shares. Not for: deciding how much noise (``accounting/plan.py``).

Order of calls: ``DiscreteGaussian(variance)`` (the table is built once a process and variance) →
``sample(stream, n)``.

How exact. The table holds ⌊2¹²⁸·P[|X| ≤ k]⌋ from integer arithmetic with 192 fractional bits: each of at
most 2¹⁸ recurrences loses a few units, so an entry is within 2⁻¹⁵⁰ before it is rounded. It is cut where a
value's weight, relative to that of zero, falls below 2⁻¹⁴⁴. Rounding and cut move at most 2⁻¹²⁸·(entries +
1) ≤ 2⁻¹¹⁰ of total variation a draw for every s ≤ 16,384. Compared lazily: 64 bits decide unless they tie
with an entry, and then the next 64 bits are drawn. The distribution is that of Canonne, Kamath and Steinke
2020; the oracle in the tests is OpenDP.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .randomness import SecretStream
from .rounding import MAXIMUM_SHARE_VARIANCE

SAMPLER_TOTAL_VARIATION = 2.0**-110  # of one draw, for every variance that is accepted
TABLE_BITS = 128
CUT_BITS = 144  # weights below 2^-144 of zero's own are cut; 16 bits more than the table can tell apart

_BITS = 192  # fractional bits while building
# Integers drawn at a time; a multiple of 8, since signs come eight to the byte. Half a megabyte stays in a cache.
_PIECE = 1 << 16
_ONE = 1 << _BITS


@dataclass(frozen=True)
class _Table:
    """Cumulative probabilities of |X| as 128-bit integers, upper and lower half apart."""

    upper: NDArray[np.uint64]
    lower: NDArray[np.uint64]


class DiscreteGaussian:
    """The distribution with variance parameter s² (an integer, in squared grid units).

    Raises:
        BadParametersError: ``BAD_VARIANCE`` unless 1 ≤ s² ≤ 16,384².
    """

    def __init__(self, variance: int) -> None:
        if type(variance) is not int or not 1 <= variance <= MAXIMUM_SHARE_VARIANCE:
            raise BadParametersError(
                "BAD_VARIANCE", "a noise variance is not a whole number in range", "choose another grid"
            )
        self.variance = variance
        self._table = _build(variance)

    def sample(self, stream: SecretStream, count: int) -> NDArray[np.int64]:
        """``count`` independent draws as int64[count].

        Beyond the result, memory holds an eighth of a byte a draw for the signs, and a few pieces of 2¹⁶ draws.
        """
        table = self._table
        drawn = np.empty(count, np.int64)
        tied: list[tuple[int, np.uint64]] = []
        for start in range(0, count, _PIECE):
            draws = stream.uint64(min(_PIECE, count - start))
            magnitude = np.searchsorted(table.upper, draws, side="right")
            drawn[start : start + len(draws)] = magnitude
            ties = np.flatnonzero((magnitude > 0) & (table.upper[magnitude - 1] == draws))
            tied += [(start + int(place), draws[place]) for place in ties]
        # A draw whose upper half equals an entry's is decided by the lower halves: once in 2⁴⁶ draws.
        for (place, draw), low in zip(tied, stream.uint64(len(tied)), strict=True):
            first = np.searchsorted(table.upper, draw, side="left")
            within = table.lower[first : drawn[place]]
            drawn[place] = first + np.searchsorted(within, low, side="right")
        signs = np.frombuffer(stream.bytes((count + 7) // 8), dtype=np.uint8)
        for start in range(0, count, _PIECE):
            magnitude = drawn[start : start + _PIECE]
            negative = np.unpackbits(signs[start // 8 :], count=len(magnitude)).astype(bool)
            drawn[start : start + _PIECE] = np.where(negative, -magnitude, magnitude)
        return drawn


@lru_cache(maxsize=32)
def _build(variance: int) -> _Table:
    """Weights by the recurrence w(k+1) = w(k)·r(k), r(k+1) = r(k)·exp(−1/s²), r(0) = exp(−1/2s²), in
    integers."""
    ratio = _exp_minus(1, 2 * variance)
    ratio_step = _exp_minus(1, variance)
    weight, total = _ONE, _ONE
    sums = [total]
    while True:
        weight = weight * ratio >> _BITS
        ratio = ratio * ratio_step >> _BITS
        if weight >> (_BITS - CUT_BITS) == 0:
            break
        total += 2 * weight
        sums.append(total)
    cumulative = [(partial << TABLE_BITS) // total for partial in sums]
    # The last entry is 2^128: whatever lies at or above the entry before it belongs to it.
    del cumulative[-1]
    halves = np.frombuffer(b"".join(entry.to_bytes(16, "little") for entry in cumulative), dtype="<u8")
    return _Table(upper=halves[1::2].astype(np.uint64), lower=halves[0::2].astype(np.uint64))


def _exp_minus(numerator: int, denominator: int) -> int:
    """exp(−numerator/denominator) with 192 fractional bits, for arguments in (0, 1]; Taylor's series."""
    term, total, order = _ONE, _ONE, 0
    while term:
        order += 1
        term = term * numerator // (denominator * order)
        total += -term if order % 2 else term
    return total
