"""How much an observer really learns of one subject: μ of a Gaussian trade-off, estimated from scores, and its ε.

For: white-box audits by Dirac canaries at q = 1, where the claim is tight: every canary is one subject whose gradient
is one coordinate, and its score is what the observer saw there over the whole run. Not for: sampled runs (q < 1), or
making a guarantee: an audit bounds from below what leaks, the certificate from above (accounting/accountant.py).

Order of calls: ``mu_of(claimed ε, δ)`` → ``gaussian_interval`` and ``threshold_bound`` → ``judge`` → ``Verdict``.

Sources: μ-GDP, Dong, Roth and Su (JRSS B 2022); its (ε, δ), Balle and Wang (ICML 2018); auditing by μ, Nasr et al.,
"Tight Auditing of Differentially Private Machine Learning" (USENIX Security 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ..errors import BadParametersError
from .chance import FALSE_ALARM, binomial_upper, normal_below, normal_deviate

CONFIDENCE_MISS = 0.05  # of the bounds that are shown: one-sided 95 %, as the literature states them
LESS_NOISE = 2.0  # an audit that would probably not notice noise divided by this has no power, and says so
LEAST_POWER = 0.99  # probably: a wrong mechanism of that kind may pass once in a hundred audits
LARGEST_EPSILON = 500.0  # beyond it a bound is no statement; e^ε stays a float
REACH = 12.0  # standard errors around what was seen: bounds are looked for there, chances beyond are below 10^-32
POINTS = 401  # of the average over the deviation, whose error falls exponentially with them
LARGEST_LOSS = 1000.0  # no noise left to speak of; an audit that does not see that sees nothing
_HALVINGS = 60


class Outcome(StrEnum):
    """What an audit amounts to; only the first is a pass."""

    HELD = "held"  # no more leaks than claimed, and half the noise would have been noticed
    BROKEN = "broken"  # more leaks than claimed
    WITHOUT_POWER = "without power"  # nothing was found, and might not have been where there is something


@dataclass(frozen=True)
class Interval:
    """Bounds of μ, each missed with the stated probability, and the estimate between them."""

    low: float
    mu: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """An audit of one claim.

    Attributes:
        outcome: what it amounts to, at the false alarm of each bound.
        claimed: μ of the claimed (ε, δ) of this observer.
        estimate: μ from the scores, with bounds at that false alarm.
        epsilon_low: lower 95 % bound of ε, over both tests together; what the literature reports.
        epsilon_high: upper 95 % bound of ε, from the Gaussian test.
        threshold_low: μ's lower bound from the test that assumes nothing about the noise, at that false alarm.
        power: how likely the Gaussian test finds noise divided by ``LESS_NOISE``, with so many canaries.
        least_loss: the smallest divisor of the noise that it finds with probability ``LEAST_POWER``; infinite where
            there is none. What is lost below it may hide behind an outcome that held.
    """

    outcome: Outcome
    claimed: float
    estimate: Interval
    epsilon_low: float
    epsilon_high: float
    threshold_low: float
    power: float
    least_loss: float
    false_alarm: float


def judge(
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    threshold: float,
    epsilon: float,
    delta: float,
    false_alarm: float = FALSE_ALARM,
) -> Verdict:
    """Hold the scores of canaries that took part and of those that did not against the claim (ε, δ) of this observer.

    Args:
        inside, outside: float64 [n] and [m], one score a canary.
        threshold: fixed beforehand, from public figures; best in the middle of where both are expected.

    Broken where one of two lower bounds of μ exceeds the claim: that of the Gaussian test, or that of counting false
    alarms and misses at the threshold. Without power where so few canaries would not show noise divided by
    ``LESS_NOISE``, or where the interval ends below the claim: the claim is tight, so that the canaries did not arrive.
    """
    claimed = mu_of(epsilon, delta)
    # two tests of one claim: each gets half
    strict = gaussian_interval(inside, outside, miss=false_alarm / 2)
    shown = gaussian_interval(inside, outside, miss=CONFIDENCE_MISS / 2)
    counted = threshold_bound(inside, outside, threshold=threshold, miss=false_alarm / 2)
    counted_shown = threshold_bound(inside, outside, threshold=threshold, miss=CONFIDENCE_MISS / 2)
    power = _power(claimed, len(inside), len(outside), false_alarm / 2, loss=LESS_NOISE)
    if max(strict.low, counted) > claimed:
        outcome = Outcome.BROKEN
    elif power < LEAST_POWER or strict.high < claimed:
        outcome = Outcome.WITHOUT_POWER
    else:
        outcome = Outcome.HELD
    return Verdict(
        outcome=outcome,
        claimed=claimed,
        estimate=strict,
        epsilon_low=epsilon_of(max(shown.low, counted_shown), delta),
        epsilon_high=epsilon_of(shown.high, delta),
        threshold_low=counted,
        power=power,
        least_loss=_least_loss(claimed, len(inside), len(outside), false_alarm / 2),
        false_alarm=false_alarm,
    )


def gaussian_interval(inside: NDArray[np.float64], outside: NDArray[np.float64], *, miss: float) -> Interval:
    """μ = (difference of the means)/deviation, with bounds that are each missed with probability ``miss``.

    Exact for normal scores of one deviation: the statistic is noncentral t, and each bound is the μ at which what was
    seen is just so unlikely (Hedges and Olkin, Statistical Methods for Meta-Analysis, 1985, ch. 5).
    Raises ``BadParametersError`` BAD_AUDIT for fewer than two scores on a side.
    """
    n, m = len(inside), len(outside)
    if min(n, m) < 2 or not (np.isfinite(inside).all() and np.isfinite(outside).all()):
        raise BadParametersError("BAD_AUDIT", "an audit needs finite scores of at least two canaries on each side")
    freedom = n + m - 2
    within = float(np.square(inside - inside.mean()).sum() + np.square(outside - outside.mean()).sum())
    apart, deviation = float(inside.mean() - outside.mean()), math.sqrt(within / freedom)
    if deviation == 0.0:
        mu = math.inf if apart else 0.0
        return Interval(mu, mu, mu)
    mu, scale = apart / deviation, math.sqrt(1 / n + 1 / m)
    low = _mu_at(mu / scale, freedom, chance=miss) * scale
    return Interval(low, mu, _mu_at(mu / scale, freedom, chance=1 - miss) * scale)


def _mu_at(statistic: float, freedom: int, *, chance: float) -> float:
    """The noncentrality at which a noncentral t reaches ``statistic`` or more with probability ``chance``."""
    # given the deviation, the statistic is normal: an average over the deviation's law, a χ with ``freedom`` degrees
    width = REACH / math.sqrt(2 * freedom)
    ratios = np.linspace(max(0.0, 1 - width), 1 + width, POINTS)[1:]
    logs = (freedom - 1) * np.log(ratios) - freedom * np.square(ratios) / 2
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    pairs = list(zip((statistic * ratios).tolist(), weights.tolist(), strict=True))
    low, high = statistic - _reach(statistic, freedom), statistic + _reach(statistic, freedom)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tail = math.fsum(weight * normal_below(middle - at) for at, weight in pairs)
        low, high = (middle, high) if tail < chance else (low, middle)
    return low


def _reach(statistic: float, freedom: int) -> float:
    return REACH * (1 + abs(statistic) / math.sqrt(2 * freedom))


def _power(claimed: float, n: int, m: int, miss: float, *, loss: float) -> float:
    """How likely a lower bound lies above the claim where noise was divided by ``loss``; from numbers alone."""
    wrong = loss * claimed
    error = math.sqrt(1 / n + 1 / m + wrong**2 / (2 * (n + m - 2)))
    return normal_below((wrong - claimed) / error - normal_deviate(miss))


def _least_loss(claimed: float, n: int, m: int, miss: float) -> float:
    """The smallest divisor of the noise that is found with probability ``LEAST_POWER``: power only rises with it."""
    low, high = 1.0, LARGEST_LOSS
    if _power(claimed, n, m, miss, loss=high) < LEAST_POWER:
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(claimed, n, m, miss, loss=middle) < LEAST_POWER else (low, middle)
    return high


def threshold_bound(
    inside: NDArray[np.float64], outside: NDArray[np.float64], *, threshold: float, miss: float
) -> float:
    """A lower bound of μ, too high with at most ``miss``, from nothing but who lies above ``threshold``.

    With false alarm α and miss β of that test, μ = Φ⁻¹(1 − α) − Φ⁻¹(β); both are bounded from above by
    Clopper and Pearson. No assumption about the noise.
    """
    false_alarms = binomial_upper(int((outside >= threshold).sum()), len(outside), miss / 2)
    misses = binomial_upper(int((inside < threshold).sum()), len(inside), miss / 2)
    if not (0 < false_alarms < 1 and 0 < misses < 1):
        return 0.0
    return max(0.0, normal_deviate(false_alarms) + normal_deviate(misses))


def delta_of(mu: float, epsilon: float) -> float:
    """δ(ε) of μ-GDP: Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ) (Balle and Wang 2018, theorem 8)."""
    if mu <= 0:
        return 0.0
    return normal_below(mu / 2 - epsilon / mu) - math.exp(epsilon) * normal_below(-mu / 2 - epsilon / mu)


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest ε at ``delta`` of μ-GDP; infinite beyond ``LARGEST_EPSILON``."""
    if mu <= 0 or delta_of(mu, 0.0) <= delta:
        return 0.0
    if math.isinf(mu) or delta_of(mu, LARGEST_EPSILON) > delta:
        return math.inf
    low, high = 0.0, LARGEST_EPSILON
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(mu, middle) > delta else (low, middle)
    return high


def mu_of(epsilon: float, delta: float) -> float:
    """The largest μ whose μ-GDP keeps (ε, δ). Raises ``BadParametersError`` BAD_AUDIT for what is no claim."""
    if not 0 < epsilon <= LARGEST_EPSILON or not 0 < delta < 1:
        raise BadParametersError("BAD_AUDIT", "only a claim with 0 < ε and 0 < δ < 1 can be audited")
    low, high = 0.0, 2 * math.sqrt(2 * LARGEST_EPSILON)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(middle, epsilon) > delta else (middle, high)
    return low
