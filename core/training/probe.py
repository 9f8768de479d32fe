"""The probe: one linear layer on frozen features, and the closed form of every record's own gradient.

For: ``ProbeTask.gradients`` (training) and ``scores`` (evaluation). Not for: adding records of one subject up
or clipping them (privacy/gradients/clipping.py), features (features.py), steps (optimizer.py).

A record x of length one is extended by a constant 1; the vector is [w; b]. With p = 1 / (1 + exp(−(w·x + b))) the
logistic loss has the gradient (p − y)·[x; 1].

No BLAS and no vectorised exponential: each row is reduced by itself in a fixed order, so that a record's gradient has
the same bits whatever other records stand beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError


def scores(features: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds of the positive class: float64 [n, width], float64 [width + 1] -> float64 [n].

    Raises:
        BadInputError: PROBE_SHAPE when they do not belong together.
    """
    if features.ndim != 2 or vector.shape != (features.shape[1] + 1,):
        raise BadInputError("PROBE_SHAPE", "features and probe do not belong together")
    log_odds: NDArray[np.float64] = np.add.reduce(features * vector[:-1], axis=1) + vector[-1]
    return log_odds


@dataclass(frozen=True)
class ProbeTask:
    """A probe on features of ``width`` numbers."""

    width: int

    @property
    def dimension(self) -> int:
        """d: one weight for each feature, and the bias."""
        return self.width + 1

    def gradients(
        self, features: NDArray[np.float64], labels: NDArray[np.float64], vector: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each record's gradient of the logistic loss, float64 [n, d]; ``labels`` float64 [n] of zeros and ones."""
        probabilities = [probability(score) for score in scores(features, vector).tolist()]
        residuals = np.array(probabilities, dtype=np.float64) - labels
        gradients = np.empty((len(features), self.dimension))
        np.multiply(features, residuals[:, np.newaxis], out=gradients[:, :-1])
        gradients[:, -1] = residuals
        return gradients


def probability(score: float) -> float:
    """p = 1 / (1 + exp(−score))."""
    # the branch keeps the exponent at or below zero, where it cannot overflow
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    odds = math.exp(score)
    return odds / (1.0 + odds)
