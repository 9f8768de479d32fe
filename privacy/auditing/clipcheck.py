"""Whether each subject's integer vector is what clipping and rounding promise: an oracle in exact fractions.

For: vectors that the real path made of gradients that are known (core/pilot/deep.py). Not for: making them
(gradients/clipping.py, mechanism/rounding.py, of which nothing is imported here). Slow on purpose, for a few thousand
numbers.

What is promised of a subject with the sum x of its records: its target is y = x·min(1, C/‖x‖)·u/C, and its integers z
have ‖z‖² ≤ C_grid², lie within one grid unit of y, and are right on average. Whatever is not finite counts as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .chance import FALSE_ALARM, normal_deviate
from .noisecheck import Finding

ROOT_DIGITS = 40  # of a square root; a float has 16
SLACK = Fraction(1, 10**6)  # of a grid unit: what floats may lose on their way to a target of a few thousand units
ONE_IN = 10**9  # β: a rounded vector misses C_grid once in so many, and is then truncated (review, section 4)


@dataclass(frozen=True)
class Clipping:
    """What a plan says about bounds: C, the grid u, and C_grid² as the product has it."""

    norm: Decimal
    grid: int
    bound_squared: int


def check_clipping(
    records: Sequence[NDArray[np.float64]], vectors: NDArray[np.int64], total: NDArray[np.int64], rule: Clipping
) -> Finding:
    """Hold ``vectors`` int64 [S, d] and their ``total`` int64 [d] against what ``records`` promise.

    ``records`` are each subject's gradients, float64 [k, d].
    """
    dimension = vectors.shape[1]
    bound = _bound_squared(rule.grid, dimension)
    longest, furthest, drift, spread = 0, Fraction(0), Fraction(0), Fraction(0)
    for own, vector in zip(records, vectors.tolist(), strict=True):
        target = _target(own, rule)
        longest = max(longest, sum(z * z for z in vector))
        for z, y in zip(vector, target, strict=True):
            furthest = max(furthest, abs(z - y))
            # stochastic rounding errs by a coin of this variance, and by nothing on average
            part = y - math.floor(y)
            drift, spread = drift + (z - y), spread + part * (1 - part)
    deviations = abs(float(drift)) / math.sqrt(float(spread)) if spread else 0.0
    exact = [sum(column) for column in zip(*vectors.tolist(), strict=True)] == total.tolist()
    # C_grid² is rounded up from figures of twelve digits; one unit of it is no noise anybody could measure
    held = (
        longest <= bound + 1
        and abs(rule.bound_squared - bound) <= 1
        and furthest < 1 + SLACK
        and deviations <= normal_deviate(FALSE_ALARM / 2)
        and exact
    )
    seen = (
        f"longest of {len(vectors)} vectors {math.sqrt(longest / bound):.4f} of its bound, furthest number "
        f"{float(furthest):.3f} of a grid unit off, on average {deviations:.1f} standard errors off, sum "
        f"{'exact' if exact else 'NOT the sum of the vectors'}"
    )
    return Finding(held, seen, FALSE_ALARM)


def _target(own: NDArray[np.float64], rule: Clipping) -> list[Fraction]:
    kept = [[Fraction(value) for value in row.tolist()] for row in own if np.isfinite(row).all()]
    sums = [sum(column, Fraction(0)) for column in zip(*kept, strict=True)] or [Fraction(0)] * own.shape[1]
    norm = Fraction(rule.norm)
    squared = sum((value * value for value in sums), Fraction(0))
    scale = Fraction(1) if squared <= norm**2 else norm / _root(squared)
    return [value * scale * rule.grid / norm for value in sums]


def _root(value: Fraction) -> Fraction:
    """√value to ``ROOT_DIGITS`` significant digits."""
    context = Context(prec=ROOT_DIGITS)
    quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(context.sqrt(quotient))


def _bound_squared(grid: int, dimension: int) -> int:
    """⌈u² + d/4 + √(2 ln 10⁹)(u + √d/2)⌉ (DESIGN section 5), in decimals of forty digits."""
    context = Context(prec=ROOT_DIGITS)
    tail = context.sqrt(context.multiply(2, context.ln(Decimal(ONE_IN))))
    around = context.add(Decimal(grid), context.divide(context.sqrt(Decimal(dimension)), 2))
    whole = context.add(Decimal(grid**2), context.divide(Decimal(dimension), 4))
    return math.ceil(context.add(whole, context.multiply(tail, around)))
