"""Whether integers that were seen are the noise that was charged: moments, shape, last bits, independence.

For: values in which there is nothing but noise, as somebody sees them who opened a sum (core/pilot/deep.py). Not for:
drawing noise, or what it is worth (gdp.py). Pure: arrays in, ``Finding`` out; each false alarm is stated.

Order of calls: ``check_moments``, ``check_shape``, ``check_last_bits`` on one large sample, ``check_variance`` on a
smaller one; ``check_unrelated`` on pairs of
samples that must have nothing to do with each other, ``check_one_after_another`` within one.

What is expected is exact: the sum of K shares has the K-fold convolution of one discrete Gaussian, P[x] ∝ exp(−x²/2s²)
(Canonne, Kamath and Steinke 2020), computed here from that formula alone and not from the sampler's table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .chance import FALSE_ALARM, chi_square_tail, normal_deviate

REACH = 12  # deviations of a share that are tabulated: what lies beyond has probability below 10^-32
CELLS = 64  # of the shape, about equally likely
LAST_BITS = 4  # of each integer: noise that was scaled, or rounded somewhere else, shows there
TINY = 1e-9  # a chance below it is not told apart: a sum of thousands of floats ends within 1e-11 of 1
LEAST_EXPECTED = 20.0  # in a cell: below it the χ² law is not the statistic's


@dataclass(frozen=True)
class Finding:
    """One check: whether what was seen is what was expected, in words, and how often a right mechanism would fail."""

    held: bool
    seen: str
    false_alarm: float


def check_moments(values: NDArray[np.int64], *, variance: int, shares: int) -> Finding:
    """Mean, second and fourth moment of ``values`` int64 [n] against the sum of ``shares`` shares of s² = ``variance``.

    Of n normal values the mean has the standard error σ/√n, the mean square σ²√(2/n), the mean fourth power σ⁴√(96/n).
    """
    scaled = values.astype(np.float64) / math.sqrt(shares * variance)
    mean, second, fourth = (float(np.power(scaled, order).mean()) for order in (1, 2, 4))
    allowed = normal_deviate(FALSE_ALARM / 6) / math.sqrt(values.size)  # three moments, each on both sides
    reach_second, reach_fourth = allowed * math.sqrt(2), allowed * math.sqrt(96) / 3
    held = abs(mean) <= allowed and abs(second - 1) <= reach_second and abs(fourth / 3 - 1) <= reach_fourth
    seen = (
        f"variance {second:.4f} of what was charged (chance allows {reach_second:.4f} off), fourth moment "
        f"{fourth / 3:.4f} ({reach_fourth:.4f}), mean {mean:.4f} deviations ({allowed:.4f}), {values.size:,} values"
    )
    return Finding(held, seen, FALSE_ALARM)


def check_variance(values: NDArray[np.int64], *, variance: int, shares: int) -> Finding:
    """Mean square of ``values`` int64 [n] against the sum of ``shares`` shares of s² = ``variance``, by χ².

    For fewer values than the fourth moment needs. Of n normal values, n·(mean square)/σ² is χ² with n degrees of
    freedom; the chance is two-sided: either side has half of the false alarm.
    """
    squares = float(np.square(values.astype(np.float64)).sum()) / (shares * variance)
    above = chi_square_tail(squares, values.size)
    chance = min(1.0, 2 * min(above, 1 - above))  # on either side, as false alarms are counted
    so_far_off = f"{chance:.2g}" if chance > TINY else f"below {TINY:.0e}"
    # a share that is missing altogether, in the same unit, for whoever reads the figure
    seen = (
        f"variance {squares / values.size:.3f} of what was charged, chance of being so far off {so_far_off}; "
        f"without one of {shares} shares it were {(shares - 1) / shares:.3f}; {values.size:,} values"
    )
    return Finding(chance >= FALSE_ALARM, seen, FALSE_ALARM)


def check_shape(values: NDArray[np.int64], *, variance: int, shares: int) -> Finding:
    """χ² of ``values`` int64 [n] over about equally likely cells of the exact distribution."""
    support, weights = sum_of_shares(variance, shares)
    cumulative = np.cumsum(weights)
    # Cells end where the distribution's own steps are nearest to k/CELLS; discrete, so not quite equally likely.
    cuts = np.unique(np.searchsorted(cumulative, np.arange(1, CELLS) / CELLS))
    probabilities = np.diff(np.concatenate([[0.0], cumulative[cuts], [1.0]]))
    cells = np.searchsorted(support[cuts], values, side="left")
    counts = np.bincount(cells, minlength=len(probabilities))
    return _chi_square(counts, probabilities, f"χ² against the exact distribution of {shares} shares")


def check_last_bits(values: NDArray[np.int64], *, variance: int, shares: int) -> Finding:
    """χ² of the last bits of ``values`` int64 [n]: integers that were scaled or rounded elsewhere are not spread so."""
    modulus = 2**LAST_BITS
    support, weights = sum_of_shares(variance, shares)
    probabilities = np.bincount(support % modulus, weights=weights, minlength=modulus).astype(np.float64)
    counts = np.bincount(values % modulus, minlength=modulus)
    return _chi_square(counts, probabilities, f"χ² of the last {LAST_BITS} bits")


def check_unrelated(pairs: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], what: str) -> Finding:
    """No pair of samples int64 [n], mean zero, is correlated: r·√n is standard normal where they are independent."""
    if not pairs:
        raise BadParametersError("BAD_AUDIT", "there is nothing to compare")
    allowed = normal_deviate(FALSE_ALARM / (2 * len(pairs)))
    deviations = [abs(_correlation(left, right)) * math.sqrt(left.size) for left, right in pairs]
    worst = max(deviations)
    seen = f"{what}: largest correlation {worst:.1f} standard errors of {len(pairs)} (chance allows {allowed:.1f})"
    return Finding(worst <= allowed, seen, FALSE_ALARM)


def check_one_after_another(values: NDArray[np.int64], *, lags: Sequence[int] = (1, 2, 3, 8, 64)) -> Finding:
    """No value tells of one that stands a few places behind it."""
    return check_unrelated([(values[:-lag], values[lag:]) for lag in lags], "one place and the next")


def sum_of_shares(variance: int, shares: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(support int64 [w], probabilities float64 [w]) of the sum of ``shares`` discrete Gaussians of s² = ``variance``.

    By the discrete Fourier transform, whose float error (below 10⁻¹⁵ a point) no χ² of fewer than 10¹² values notices.
    """
    if variance < 1 or shares < 1:
        raise BadParametersError("BAD_AUDIT", "there is no such noise")
    reach = math.ceil(REACH * math.sqrt(variance)) + 1
    one = np.exp(-np.square(np.arange(-reach, reach + 1, dtype=np.float64)) / (2 * variance))
    one /= one.sum()
    width = shares * 2 * reach + 1
    weights = np.fft.irfft(np.fft.rfft(one, width) ** shares, width)
    weights = np.maximum(weights, 0.0)
    return np.arange(-shares * reach, shares * reach + 1, dtype=np.int64), weights / weights.sum()


def _chi_square(counts: NDArray[np.integer], probabilities: NDArray[np.float64], what: str) -> Finding:
    total = int(counts.sum())
    expected = probabilities * total
    if float(expected.min()) < LEAST_EXPECTED:
        raise BadParametersError("BAD_AUDIT", "there are too few values for so many cells", "draw more")
    statistic, freedom = float((np.square(counts - expected) / expected).sum()), len(counts) - 1
    chance = chi_square_tail(statistic, freedom)
    seen = f"{what}: {statistic:.1f} at {freedom} degrees of freedom, chance {chance:.2g}, {total:,} values"
    return Finding(chance >= FALSE_ALARM, seen, FALSE_ALARM)


def _correlation(left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    a, b = left.astype(np.float64), right.astype(np.float64)
    scale = math.sqrt(float(np.square(a).sum()) * float(np.square(b).sum()))
    # noise that is not there is as related to everything as can be
    return float((a * b).sum()) / scale if scale else 1.0
