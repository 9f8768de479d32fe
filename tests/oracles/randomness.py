"""Tests of randomness that give a p-value, so that each caller can say how often it would raise a false alarm.

For: the noise and the Poisson sample. Each test assumes nothing of the sampler but draws that are independent. Where
the exact law is not within reach the normal or χ² approximation is used with so many expected in each cell that the
approximation is good where it is compared (10⁻¹⁰).

Not for: proving a sampler right. What cannot be seen in some million draws is held by the tests that compare tables and
thresholds integer by integer.
"""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sekisho.tests.oracles.discrete_gaussian import probabilities

# No test of ours compares a p-value with more than this: 1,000 tests in 1,000 runs raise one false alarm in 10^4 years
# of daily runs. A test that looks at several p-values divides.
FALSE_ALARM = 1e-10
FEWEST = 200  # expected in a cell


def moment_p(draws: NDArray[np.int64], variance: int, order: int) -> float:
    """Two-sided p-value of the sample's ``order``-th moment (even) against the exact law's; normal approximation."""
    scale = float(variance) ** 0.5
    reach = int(14 * scale) + 14
    exact = probabilities(variance, reach)
    powers = (np.arange(-reach, reach + 1) / scale) ** order
    mean = float((exact * powers).sum())
    deviation = sqrt(float((exact * powers**2).sum()) - mean**2)
    found = float(((draws / scale) ** order).mean())
    return erfc(abs(found - mean) / deviation * sqrt(len(draws) / 2))


def value_p(draws: NDArray[np.int64], variance: int) -> float:
    """χ² over every single value that is expected often enough, and the rest on each side as one."""
    reach = int(14 * variance**0.5) + 14
    expected = probabilities(variance, reach) * len(draws)
    observed = np.bincount(np.clip(draws, -reach, reach) + reach, minlength=2 * reach + 1)
    often = expected >= FEWEST
    middle = np.flatnonzero(often)
    first, last = middle[0], middle[-1] + 1
    cells = [slice(0, first), *(slice(place, place + 1) for place in middle), slice(last, None)]
    pooled = np.array([expected[cell].sum() for cell in cells])
    counted = np.array([observed[cell].sum() for cell in cells])
    return _chi_squared_p(counted, pooled)


def cells_of(draws: NDArray[np.int64], variance: int, cells: int = 10) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of ``cells`` equally likely ranges (as nearly as integers allow) each draw lies in; exact chances."""
    reach = int(14 * variance**0.5) + 14
    exact = probabilities(variance, reach)
    cumulative = np.cumsum(exact)
    edges = _edges(cumulative, cells)
    chances = np.diff(np.concatenate([[0.0], cumulative[edges - 1], [1.0]]))
    return np.searchsorted(edges - reach, draws, side="right"), chances


def decile_p(draws: NDArray[np.int64], variance: int) -> float:
    """χ² over deciles."""
    places, chances = cells_of(draws, variance)
    return _chi_squared_p(np.bincount(places, minlength=len(chances)), chances * len(draws))


def pair_p(first: NDArray[np.int64], second: NDArray[np.int64], variance: int) -> float:
    """χ² over deciles by deciles of draws that stand beside each other: any dependence as coarse as that shows."""
    one, chances = cells_of(first, variance)
    other, _ = cells_of(second, variance)
    counted = np.bincount(one * len(chances) + other, minlength=len(chances) ** 2)
    return _chi_squared_p(counted, np.outer(chances, chances).ravel() * len(first))


def correlation_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Two-sided p-value of the sample correlation; normal approximation."""
    return erfc(abs(float(np.corrcoef(first, second)[0, 1])) * sqrt(len(first) / 2))


def sign_p(draws: NDArray[np.int64], variance: int) -> float:
    """χ² over the sign by the decile of the magnitude, zeros left out."""
    known = draws[draws != 0]
    reach = int(14 * variance**0.5) + 14
    exact = probabilities(variance, reach)[reach + 1 :]
    cumulative = np.cumsum(exact / exact.sum())
    edges = _edges(cumulative, 10)
    chances = np.diff(np.concatenate([[0.0], cumulative[edges - 1], [1.0]]))
    places = np.searchsorted(edges, np.abs(known) - 1, side="right")
    counted = np.bincount(places * 2 + (known > 0), minlength=2 * len(chances))
    return _chi_squared_p(counted, np.repeat(chances, 2) / 2 * len(known))


def two_sample_p(ours: NDArray[np.int64], theirs: NDArray[np.int64], cells: int = 40) -> float:
    """χ² of homogeneity over quantile ranges of both samples together."""
    both = np.sort(np.concatenate([ours, theirs]))
    edges = np.unique(both[np.arange(1, cells) * len(both) // cells])
    table = [np.bincount(np.searchsorted(edges, one, side="right"), minlength=len(edges) + 1) for one in (ours, theirs)]
    return float(stats.chi2_contingency(np.array(table)).pvalue)


def count_p(count: int, trials: int, chance: float) -> float:
    """Two-sided exact binomial p-value (twice the smaller tail)."""
    law = stats.binom(trials, chance)
    return min(1.0, 2 * min(float(law.cdf(count)), float(law.sf(count - 1))))


def _edges(cumulative: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
    """First index of every cell but the first; fewer cells where one value would fill several."""
    return np.unique(np.searchsorted(cumulative, np.arange(1, cells) / cells) + 1)


def _chi_squared_p(counted: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    statistic = float(((counted - expected) ** 2 / expected).sum())
    return float(stats.chi2.sf(statistic, len(expected) - 1))
