"""From a clipped real vector to integers on a public grid, with a sensitivity that is a checked integer
inequality.

For: :func:`to_grid` (one subject's vector), :func:`grid_bound_squared` (C_grid²), :func:`share_variance`
    (s²), :func:`largest_sum` (A) and :func:`choose_grid` (the largest grid and the first packing that fit).
Not for: clipping (``gradients/clipping.py``), rotating (``rotation.py``), packing (``encryption/packing.py``), noise
    (``gaussian.py``).

Order of calls: ``choose_grid`` when a plan is built → ``to_grid`` for every subject of every step.

Privacy needs only that each subject's integer vector has norm ≤ C_grid; the map may be any randomised map
of that subject's own vector. So rounding is free to be unbiased, and what is checked is the integers
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .randomness import SecretStream
from .rotation import spread

# Bits of one packed field, by preset. The presets are declared in encryption/presets.py; the widths stand
# here too because choosing a grid must not reach encryption. In order of bytes sent, the cheapest first.
# The second five are the first with a bit or two less, for sums of more sites than those decrypt for certain.
_FEW = {"3x16": 16, "3x16-rotated": 16, "2x24": 24, "2x24-rotated": 24, "1x48": 48}
_MANY = {"3x15": 15, "3x15-rotated": 15, "2x23": 23, "2x23-rotated": 23, "1x46": 46}
FIELD_WIDTHS = _FEW | _MANY
MOST_SITES = dict.fromkeys(_FEW, 95) | dict.fromkeys(_MANY, 381)  # whose sum decrypts for certain (presets.py)
# each vector is rotated before it is rounded (rotation.py)
ROTATED = ("3x16-rotated", "2x24-rotated", "3x15-rotated", "2x23-rotated")

MAXIMUM_INFLATION = Fraction(101, 100)  # noise grows with C_grid, not C: above 1 % a wider field is cheaper
MINIMUM_SHARE_VARIANCE = 4**2  # s ≥ 4: the sum of shares is then within e^±10^-60 of one discrete Gaussian
MINIMUM_NOISE_VARIANCE = 45**2  # √((|S|−T)s²) ≥ 45: the certificate's −4 costs at most 0.1 %
MAXIMUM_SHARE_VARIANCE = 16384**2  # the sampler's table stays below 4 MiB and a second to build
MAXIMUM_GRID_BOUND = 2**30  # the squared norm of an integer vector fits int64 with room
OVERFLOW_DEVIATIONS = 7  # a field overflows with probability 1e-12 a coordinate; utility only, never privacy
CERTIFICATE_VARIANCE = 4  # the variance that the certificate gives up for discreteness (review, 3c)

# √(2 ln 10^9) = 6.4378…, rounded up at the 12th digit: a rounded vector misses C_grid once in 10^9 and is
# then cut.
_TAIL = Fraction(6_437_898_078_869, 10**12)
_TOO_LARGE = float(2**62)
_PIECE = 1 << 15  # coordinates at a time: what a piece needs besides input and output stays in a processor's cache


@dataclass(frozen=True)
class GridChoice:
    """``grid`` u (γ = C/u), the packing ``preset``, and the ``inflation`` f = C_grid/u that it costs in
    noise."""

    grid: int
    preset: str
    inflation: float


@lru_cache(maxsize=64)  # asked for every subject of every step: exact fractions were a quarter of a probe's step
def grid_bound_squared(grid: int, dimension: int) -> int:
    """C_grid² = ⌈u² + d/4 + √(2 ln 10⁹)(u + √d/2)⌉ in exact arithmetic, so that every site has the same
    integer.

    Raises:
        BadParametersError: ``BAD_GRID`` unless u ≥ 1 and d ≥ 1.
    """
    if grid < 1 or dimension < 1:
        raise BadParametersError("BAD_GRID", "grid and dimension are at least one")
    root = Fraction(math.isqrt(dimension * 10**24) + 1, 10**12)
    return math.ceil(grid**2 + Fraction(dimension, 4) + _TAIL * (grid + root / 2))


def share_variance(sigma: Fraction, bound_squared: int, *, cohort: int, observers: int) -> int:
    """s²(|S|) = ⌈(σ²C_grid² + 4)/(|S| − T)⌉: the honest remainder carries σC_grid and the certificate's 4."""
    return share_variances(sigma, bound_squared, cohorts=(cohort,), observers=observers)[0]


def share_variances(sigma: Fraction, bound_squared: int, *, cohorts: Sequence[int], observers: int) -> list[int]:
    """``share_variance`` of each cohort, in integers: each of a hundred sites asks for forty sizes on forty grids."""
    needed = sigma**2 * bound_squared + CERTIFICATE_VARIANCE
    return [-(-needed.numerator // (needed.denominator * (size - observers))) for size in cohorts]


def largest_sum(grid: int, *, dimension: int, expected_sample: int, rotated: bool) -> int:
    """A/γ, rounded up: the largest coordinate of a sum of n vectors of norm u, before rounding and noise.

    Without rotation all n may point one way: n·u. Rotated, n·u·√(2 ln(2·10⁶·d)/b), which one step in 10⁶ exceeds.
    """
    aligned = expected_sample * grid
    return math.ceil(aligned * spread(dimension)) if rotated else aligned


def choose_grid(
    *,
    sigma: Fraction,
    dimension: int,
    expected_sample: int,
    observers: int,
    sites: int,
    minimum_sites: int,
    may_rotate: bool = True,
) -> GridChoice:
    """The first preset, and in it the largest grid, that holds the sum and wastes at most 1 % of noise.

    Args:
        sigma: noise multiplier of the honest remainder. expected_sample: n, units in one step over all sites.
        observers: T. sites, minimum_sites: K and m; every cohort size between them must fit.
        may_rotate: false where a coordinate has to stay what it is: counts and votes.

    Raises:
        BadParametersError: ``NO_PRESET_FITS``, ``TOO_MANY_SITES``.
    """
    if sites > max(MOST_SITES.values()):
        raise BadParametersError(
            "TOO_MANY_SITES",
            "no packing decrypts a sum over so many sites for certain",
            f"split the federation: at most {max(MOST_SITES.values())} sites add to one sum",
        )

    def variances(grid: int) -> list[tuple[int, int]]:
        bound = grid_bound_squared(grid, dimension)
        sizes = range(minimum_sites, sites + 1)
        return list(zip(sizes, share_variances(sigma, bound, cohorts=sizes, observers=observers), strict=True))

    def fits(grid: int, width: int, rotated: bool) -> bool:
        largest = largest_sum(grid, dimension=dimension, expected_sample=expected_sample, rotated=rotated)
        room = 2 ** (width - 1) - 1 - largest
        if room < 0 or grid_bound_squared(grid, dimension) >= MAXIMUM_GRID_BOUND**2:
            return False
        return all(
            s2 <= MAXIMUM_SHARE_VARIANCE and OVERFLOW_DEVIATIONS**2 * size * s2 <= room**2
            for size, s2 in variances(grid)
        )

    for preset, width in FIELD_WIDTHS.items():
        rotated = preset in ROTATED
        if sites > MOST_SITES[preset] or (rotated and not may_rotate) or not fits(1, width, rotated):
            continue
        low, high = 1, MAXIMUM_GRID_BOUND  # low fits, high does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle, width, rotated) else (low, middle)
        bound = grid_bound_squared(low, dimension)
        noisy_enough = all(
            s2 >= MINIMUM_SHARE_VARIANCE and (size - observers) * s2 >= MINIMUM_NOISE_VARIANCE
            for size, s2 in variances(low)
        )
        if noisy_enough and bound <= MAXIMUM_INFLATION**2 * low**2:
            return GridChoice(grid=low, preset=preset, inflation=math.sqrt(bound) / low)
    raise BadParametersError(
        "NO_PRESET_FITS",
        "no packing holds this sum without wasting noise",
        "fewer subjects in a step (a lower sampling rate), fewer coordinates or a larger epsilon",
    )


def to_grid(
    vector: NDArray[np.float64], *, clipping_norm: float, grid: int, stream: SecretStream
) -> NDArray[np.int64]:
    """ONE subject's vector, float64[d] with norm ≤ C, as int64[d] with squared norm ≤ C_grid². Unbiased but
    once in 10⁹.

    Draws 8·d bytes from ``stream``, which must be this subject's own for this step.

    Raises:
        BadParametersError: ``NORM_ABOVE_BOUND`` when the vector was not clipped to C.
    """
    return checked_rounding(vector, clipping_norm=clipping_norm, grid=grid, stream=stream)[0]


def checked_rounding(
    vector: NDArray[np.float64], *, clipping_norm: float, grid: int, stream: SecretStream
) -> tuple[NDArray[np.int64], bool]:
    """:func:`to_grid` and whether the vector had to be truncated (which stays at the site).

    Beyond the result, memory holds one more vector of its size, and a few pieces.
    """
    bound = grid_bound_squared(grid, vector.shape[0])
    pieces = [slice(start, start + _PIECE) for start in range(0, vector.shape[0], _PIECE)]
    whole = np.empty_like(vector)
    # 1. Stochastic rounding, kept only if the integers themselves keep the bound.
    for piece in pieces:
        scaled = vector[piece] * (grid / clipping_norm)
        uniform = (stream.uint64(scaled.size) >> np.uint64(11)) * 2.0**-53
        floor = np.floor(scaled)
        whole[piece] = floor + (uniform < scaled - floor)
    if _within(whole, bound):
        return whole.astype(np.int64), False
    # 2. Truncation toward zero cannot lengthen a vector; biased, hence the fall-back only.
    for piece in pieces:
        whole[piece] = np.trunc(vector[piece] * (grid / clipping_norm))
    if _within(whole, bound):
        return whole.astype(np.int64), True
    # 3. Longer than C: a fault of the caller; nothing may pass that is not bounded.
    raise BadParametersError(
        "NORM_ABOVE_BOUND", "a vector was not clipped before rounding", "clip it first"
    )


def _within(whole: NDArray[np.float64], bound: int) -> bool:
    """Whether Σz² ≤ bound in int64. The float sum only rules out (NaN included) what int64 could not hold."""
    rough, exact = 0.0, 0
    for start in range(0, whole.size, _PIECE):
        piece = whole[start : start + _PIECE]
        rough += float(np.add.reduce(piece * piece))
        if not rough < _TOO_LARGE:
            return False
        integers = piece.astype(np.int64)
        exact += int(np.add.reduce(integers * integers))
    return exact <= bound
