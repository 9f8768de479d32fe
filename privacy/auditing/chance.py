"""Tail probabilities that the audits state their false alarms with: normal, chi-square, binomial.

For: ``normal_deviate``, ``normal_below``, ``chi_square_tail``, ``binomial_upper``. Not for: deciding what a check
accepts (noisecheck.py, gdp.py). Closed forms and sums only, so that an auditor can read what a verdict rests on.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError

NORMAL = NormalDist()
# One check in a hundred thousand may alarm at a right mechanism. A doctor's visit makes about twenty, so that one visit
# in five thousand is a false alarm, and the sizes of the audits still leave no room for half the noise.
FALSE_ALARM = 1e-5
_HALVINGS = 60  # of an interval of length one: far below a float's resolution there


def normal_deviate(false_alarm: float) -> float:
    """How many standard errors a normal figure exceeds, one-sided, with probability ``false_alarm``."""
    return -NORMAL.inv_cdf(false_alarm)


def normal_below(value: float) -> float:
    """Φ(value), with its relative precision kept in the lower tail, where NormalDist.cdf has lost it."""
    return 0.5 * math.erfc(-value / math.sqrt(2))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P[χ² ≥ statistic] with ``freedom`` degrees of freedom: a finite sum, and the normal tail where they are odd.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.4.4 and 26.4.5.
    """
    if freedom < 1:
        raise BadParametersError("BAD_AUDIT", "a χ² needs at least one degree of freedom")
    half = statistic / 2
    if half <= 0:
        return 1.0
    odd = freedom % 2
    orders = [order + odd / 2 for order in range((freedom - odd) // 2)]
    terms = [math.exp(order * math.log(half) - half - math.lgamma(order + 1)) for order in orders]
    return min(1.0, math.fsum([*terms, math.erfc(math.sqrt(half)) if odd else 0.0]))


def binomial_upper(count: int, trials: int, false_alarm: float) -> float:
    """The upper bound of a share of which ``count`` in ``trials`` were seen; too low with at most ``false_alarm``.

    Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    if not 0 <= count <= trials or trials < 1:
        raise BadParametersError("BAD_AUDIT", "no such share can have been seen")
    low, high = count / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(count, trials, middle) > false_alarm else (low, middle)
    return high


def binomial_logs(trials: int, share: float) -> NDArray[np.float64]:
    """log P[Binomial(trials, share) = k] for k = 0 … trials, float64 [trials + 1]; 0 < share < 1."""
    counts = np.arange(trials + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    ways = factorials[-1] - factorials - factorials[::-1]
    logs: NDArray[np.float64] = ways + counts * math.log(share) + (trials - counts) * math.log1p(-share)
    return logs


def _at_most(count: int, trials: int, share: float) -> float:
    """P[Binomial(trials, share) ≤ count]."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if count == trials else 0.0
    return min(1.0, float(np.exp(binomial_logs(trials, share)[: count + 1]).sum()))
