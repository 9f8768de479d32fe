"""The truth about small discrete mechanisms: output distributions by convolution, and δ of one to three steps by
summing over every output. Nothing here is discretised, bounded or borrowed from an accountant.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sekisho.privacy.accounting.plan import Plan
from sekisho.tests.oracles.discrete_gaussian import probabilities

REACH = 10  # deviations of one share that are kept: 1e-23 of the mass lies beyond
Distribution = NDArray[np.float64]


def worst_pair(plan: Plan, cohort: int, contributions: int) -> tuple[Distribution, Distribution]:
    """Exact outputs of one step with and without the worst unit: all of each vector on one coordinate, all one way.

    The norm is the largest whole number that is allowed; each vector is drawn by a coin of its own.
    """
    shift = math.isqrt(plan.grid_bound_squared)
    variance = plan.share_variance(cohort)
    share = probabilities(variance, math.ceil(REACH * variance**0.5))
    noise = share
    for _ in range(cohort - plan.observers - 1):
        noise = np.convolve(noise, share)
    rate = float(plan.sampling_rate)
    with_one = np.zeros(len(noise) + shift * contributions)
    without = np.zeros_like(with_one)
    without[: len(noise)] = noise
    for k in range(contributions + 1):
        weight = math.comb(contributions, k) * rate**k * (1 - rate) ** (contributions - k)
        with_one[k * shift : k * shift + len(noise)] += weight * noise
    return with_one, without


class Composition:
    """δ(ε) of one, two or three independent steps of one pair, in the direction upper against lower."""

    def __init__(self, upper: Distribution, lower: Distribution, steps: int) -> None:
        self.upper, self.lower = upper, lower
        few = upper, lower
        for _ in range(min(steps, 2) - 1):
            few = np.multiply.outer(few[0], upper).ravel(), np.multiply.outer(few[1], lower).ravel()
        order = np.argsort(_loss(*few))
        self.losses = _loss(*few)[order]
        # what lies at or above the i-th loss, under either; the smallest are added first
        self.above_upper = np.append(np.cumsum(few[0][order][::-1])[::-1], 0.0)
        self.above_lower = np.append(np.cumsum(few[1][order][::-1])[::-1], 0.0)
        self.steps = steps

    def delta(self, epsilon: float) -> float:
        """The smallest δ at this ε, exactly."""
        if self.steps < 3:
            first = int(np.searchsorted(self.losses, epsilon))
            return float(self.above_upper[first] - math.exp(epsilon) * self.above_lower[first])
        seen = self.upper > 0
        rest = epsilon - _loss(self.upper[seen], self.lower[seen])
        first = np.searchsorted(self.losses, rest)
        gained = self.upper[seen] * self.above_upper[first]
        return float((gained - math.exp(epsilon) * self.lower[seen] * self.above_lower[first]).sum())


def _loss(upper: Distribution, lower: Distribution) -> Distribution:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(upper > 0, np.log(upper) - np.log(lower), -np.inf)
