"""How well a released state does on a public test set, with its uncertainty: AUC and accuracy, each with 95 % bounds.

For: ``evaluate(scores, positive)`` on the test set that the study names. Not for: anything of a site's own
records: a figure computed from them is a disclosure and would have to be charged.

AUC by ranks, its variance by DeLong, DeLong and Clarke-Pearson (Biometrics 1988) in the form of Sun and Xu (IEEE Signal
Processing Letters 2014); accuracy bounds by Wilson (JASA 1927). numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError

Z_95 = 1.959963984540054  # two-sided 95 % of the normal distribution
THRESHOLD = 0.0  # scores are log odds: above zero the positive class is the likelier one


@dataclass(frozen=True)
class Metrics:
    """Shares between 0 and 1 on ``n`` records; ``_low`` and ``_high`` bound two-sided 95 % intervals.

    ``per_class``: of the negative class and then of the positive one, (records, of them labelled right).
    """

    auc: float
    auc_low: float
    auc_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int
    per_class: tuple[tuple[int, int], tuple[int, int]]

    def to_json(self, labels: Sequence[str]) -> dict[str, object]:
        """As summary.json has it; ``labels`` are the names of both classes, the negative one first."""
        named = zip(labels, self.per_class, strict=True)
        classes = tuple({"label": label, "n": n, "correct": correct} for label, (n, correct) in named)
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"per_class": classes}


def evaluate(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Metrics:
    """Metrics of ``scores`` (float64 [n], log odds) against ``positive`` (bool [n]).

    Raises:
        BadInputError: TEST_SET_ONE_CLASS when a class has no record, SCORES_NOT_FINITE.
    """
    if scores.shape != positive.shape or not np.isfinite(scores).all():
        raise BadInputError("SCORES_NOT_FINITE", "there is not one finite score for each test record")
    if positive.all() or not positive.any():
        raise BadInputError(
            "TEST_SET_ONE_CLASS",
            "the test set has records of one label only, so nothing can be told apart",
            "put records of both labels into the test set",
        )
    auc, low, high = auc_with_interval(scores[positive], scores[~positive])
    right = (scores > THRESHOLD) == positive
    correct = int(right.sum())
    accuracy_low, accuracy_high = wilson_interval(correct, len(scores))
    negative_class = int((~positive).sum()), int(right[~positive].sum())
    positive_class = int(positive.sum()), int(right[positive].sum())
    return Metrics(
        auc,
        low,
        high,
        correct / len(scores),
        accuracy_low,
        accuracy_high,
        len(scores),
        (negative_class, positive_class),
    )


def auc_with_interval(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUC and its 95 % bounds from the scores of both classes. Ties count one half."""
    m, n = len(positives), len(negatives)
    ranks = midranks(np.concatenate([positives, negatives]))
    # placements: the share of the other class below (above) each score
    above = (ranks[:m] - midranks(positives)) / n
    below = 1.0 - (ranks[m:] - midranks(negatives)) / m
    auc = float(above.mean())
    variance = _variance(above) / m + _variance(below) / n
    if variance == 0.0:
        # Both classes apart, or all scores equal: DeLong would claim certainty. Wilson on the smaller class does not.
        smaller = min(m, n)
        return auc, *wilson_interval(auc * smaller, smaller)
    reach = Z_95 * math.sqrt(variance)
    return auc, max(0.0, auc - reach), min(1.0, auc + reach)


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2.0)[place]
    return ranks


def wilson_interval(correct: float, count: int) -> tuple[float, float]:
    """95 % bounds of a share of ``correct`` in ``count``."""
    share = correct / count
    square = Z_95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    reach = Z_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # floats may leave all right (or all wrong) one rounding outside its own bounds
    return max(0.0, min(share, centre - reach)), min(1.0, max(share, centre + reach))


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
