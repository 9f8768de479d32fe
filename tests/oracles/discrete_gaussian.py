"""The discrete Gaussian a second and a third time: OpenDP's sampler, and probabilities in 80-digit decimals.

Neither shares a line with ``privacy/mechanism/gaussian.py``: OpenDP draws by rejection with exact
rationals, and the decimals come from ``Decimal.exp`` entry by entry instead of a recurrence in integers.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import exp, pi, sqrt

import numpy as np
from numpy.typing import NDArray


def opendp_sample(variance: int, count: int) -> NDArray[np.int64]:
    """``count`` draws by OpenDP's exact sampler (about 20 µs a draw)."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    draw = dp.m.make_gaussian(*space, scale=float(np.sqrt(variance)))
    return np.array(draw([0] * count), dtype=np.int64)


def cumulative_magnitudes(variance: int, entries: int) -> list[int]:
    """⌊2¹²⁸·P[|X| ≤ k]⌋ for k < ``entries``, from 80-digit decimals; the sum runs 20 deviations out."""
    with localcontext() as context:
        context.prec = 80
        last = max(entries, 20 * (int(variance**0.5) + 1))
        weights = [(-Decimal(k * k) / (2 * variance)).exp() for k in range(last)]
        total = weights[0] + 2 * sum(weights[1:], Decimal(0))
        running, cumulative = weights[0], [int(2**128 * weights[0] / total)]
        for weight in weights[1:entries]:
            running += 2 * weight
            cumulative.append(int(2**128 * running / total))
        return cumulative


def tail(variance: int, magnitude: int) -> float:
    """P[|X| > magnitude], from above: a geometric series over the continuous normaliser."""
    first = magnitude + 1
    return 2 * exp(-(first**2) / (2 * variance)) / (1 - exp(-first / variance)) / sqrt(2 * pi * variance)


def probabilities(variance: int, reach: int) -> NDArray[np.float64]:
    """P[X = x] for x = −reach … reach, as floats."""
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    weights = np.exp(-(x**2) / (2 * variance))
    return weights / weights.sum()


def true_delta(upper: NDArray[np.float64], lower: NDArray[np.float64], epsilon: float) -> float:
    """The hockey-stick divergence Σ max(0, P − e^ε Q): the smallest δ at this ε, in this direction."""
    return float(np.maximum(0.0, upper - np.exp(epsilon) * lower).sum())
