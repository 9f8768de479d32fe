"""Black-box membership tests, for reports only and always labelled weak: they can find a leak, never rule one out.

For: ``losses``, by which a released model may be asked whether it knows a record, and ``one_run_bound``, what one
training run with many canaries shows of ε. Not for: passing or failing a mechanism. A one-run bound cannot exceed about
ln m − 1.2 with m canaries (``one_run_cap``), so against a claim of ε = 8 it passes no matter what: gdp.py audits.

Source: Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run" (NeurIPS 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .chance import binomial_logs

MISS = 0.05  # the bound is too high at most so often
GUESSED_SHARES = (0.2, 0.5, 1.0)  # of the canaries that are guessed about, surest first; fixed beforehand, three tests
LARGEST_EPSILON = 50.0
_HALVINGS = 40


def losses(log_odds: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Logistic loss of each record, float64 [n], from its log odds float64 [n] and its label bool [n]."""
    return np.logaddexp(0.0, np.where(positive, -log_odds, log_odds))


def one_run_bound(
    scores: NDArray[np.float64], member: NDArray[np.bool_], *, delta: float, shares: Sequence[float] = GUESSED_SHARES
) -> float:
    """Lower bound of ε, missed with at most ``MISS``, from guessing who of the canaries took part in one run.

    ``scores`` float64 [m], higher for those that seem to be ``member`` bool [m]; each was drawn by a fair coin. The
    best of ``shares`` counts, at an equal part of ``MISS`` each.
    """
    if scores.shape != member.shape or scores.size < 2:
        raise BadParametersError("BAD_AUDIT", "there is not one score for each canary")
    order = np.argsort(scores, kind="stable")
    best = 0.0
    for share in shares:
        half = max(1, int(scores.size * share) // 2)
        right = int((~member[order[:half]]).sum() + member[order[-half:]].sum())
        best = max(best, _bound(scores.size, 2 * half, right, delta, MISS / len(shares)))
    return best


def one_run_cap(canaries: int, *, delta: float) -> float:
    """The most that ``one_run_bound`` can say of so many canaries, every guess right: about ln m − 1.2."""
    return _bound(canaries, canaries, canaries, delta, MISS)


def _bound(canaries: int, guesses: int, right: int, delta: float, miss: float) -> float:
    low, high = 0.0, LARGEST_EPSILON
    if _chance(canaries, guesses, right, low, delta) > miss:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(canaries, guesses, right, middle, delta) <= miss else (low, middle)
    return low


def _chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """How likely ``right`` right guesses are at most under (ε, δ): the p-value of the paper's theorem 5.2."""
    chances = np.exp(binomial_logs(guesses, 1 / (1 + math.exp(-epsilon))))
    tail = float(chances[right:].sum())
    # α: the most that any i could gain from δ, over sums of the probabilities just below ``right``
    sums = np.cumsum(chances[:right][::-1])
    gain = float((sums / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, tail + 2 * canaries * delta * gain)
