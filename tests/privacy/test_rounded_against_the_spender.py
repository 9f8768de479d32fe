"""Every figure between a plan and a charge is rounded against the spender, also where that hardly shows."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest

from sekisho.privacy.accounting.accountant import calibrate
from sekisho.privacy.budget import COST_PER_NAT, cap_from_nats, cost_from_nats
from sekisho.privacy.mechanism.rounding import CERTIFICATE_VARIANCE, share_variance

DELTA = Decimal("0.00001")
KEPT = 0.99 * float(DELTA)  # what is left of delta beside the sampler's reserve


def _gaussian_delta(sigma: float, epsilon: float) -> float:
    """δ of one Gaussian step of sensitivity 1 (Balle and Wang 2018, theorem 8)."""
    return _cdf(1 / (2 * sigma) - epsilon * sigma) - math.exp(epsilon) * _cdf(-1 / (2 * sigma) - epsilon * sigma)


def _cdf(x: float) -> float:
    """Of the normal distribution, exact in its lower tail, too, where 1 + erf would cancel."""
    return math.erfc(-x / math.sqrt(2)) / 2


def test_a_cost_between_two_units_is_the_dearer_one_and_one_more() -> None:
    assert cost_from_nats(2.5 / COST_PER_NAT) == 4
    assert cost_from_nats(3.0 / COST_PER_NAT) == 4
    assert cost_from_nats(0.0) == 1  # nothing is free


def test_a_cap_between_two_units_is_the_lower_one_and_one_less() -> None:
    assert cap_from_nats(7.5 / COST_PER_NAT) == 6
    assert cap_from_nats(7.0 / COST_PER_NAT) == 6
    assert cap_from_nats(0.5 / COST_PER_NAT) == 0


@pytest.mark.parametrize("cohort", [3, 4, 5, 7])
def test_the_shares_of_a_cohort_together_are_never_below_what_was_asked_for(cohort: int) -> None:
    for sigma in (Fraction("1.0001"), Fraction("10.7781"), Fraction(3)):
        for bound in (1_000_003, 4_231_249, 77):
            asked = sigma**2 * bound + CERTIFICATE_VARIANCE
            together = (cohort - 1) * share_variance(sigma, bound, cohort=cohort, observers=1)
            assert asked <= together < asked + cohort - 1


@pytest.mark.parametrize("epsilon", [8, 12, 16, 18])
def test_no_noise_multiplier_is_rounded_below_its_target(epsilon: int) -> None:
    """One full-batch step has a closed form. At a small σ its last digit is worth more than calibration leaves over:
    with a digit less the target would not be kept."""
    sigma = calibrate(epsilon=Decimal(epsilon), delta=DELTA, steps=1, sampling_rate=Decimal(1))
    assert round(sigma, 4) == sigma
    assert _gaussian_delta(sigma, epsilon) <= KEPT
    assert _gaussian_delta(sigma - 1e-4, epsilon) > KEPT
