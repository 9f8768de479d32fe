"""Somebody who is at two sites adds two vectors under one noise: twice the length, four times the cost, not two.

On full batches, where everything has a closed form that shares no line with the accountant.
"""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal

from sekisho.privacy.accounting.accountant import build_plan, certificate, event_cost
from sekisho.privacy.budget import nats
from sekisho.tests.privacy.test_accountant import STUDY
from sekisho.tests.privacy.test_plan import PLAN

TWO = dataclasses.replace(PLAN, sites_per_subject=2)
KEPT = 0.99e-5  # of delta, beside the sampler's reserve


def _gaussian_delta(mu: float, epsilon: float) -> float:
    """δ of a Gaussian mechanism with shift over deviation μ (Balle and Wang 2018, theorem 8)."""
    return _cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * _cdf(-mu / 2 - epsilon / mu)


def _cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def test_two_contributions_are_certified_as_one_of_twice_the_length() -> None:
    epsilon = certificate(TWO, cohort=5, observers=1)
    sigma = math.sqrt((4 * TWO.share_variance(5) - 4) / TWO.grid_bound_squared)
    mu = 2 * math.sqrt(TWO.total_steps) / sigma
    assert _gaussian_delta(mu, epsilon) <= KEPT
    assert _gaussian_delta(mu, epsilon * 0.999) > KEPT  # and not by much


def test_two_contributions_cost_four_times_one() -> None:
    for order in (2, 5, 8):
        one, two = (nats(event_cost(plan.event(5, 1), order)) for plan in (PLAN, TWO))
        assert 3.999 * one < two < 4.001 * one


def test_a_plan_for_two_sites_keeps_its_target_with_twice_the_noise() -> None:
    one, two = (build_plan(**STUDY | {"sites_per_subject": sites}) for sites in (1, 2))
    wider = two.share_variance(5) / two.grid_bound_squared / (one.share_variance(5) / one.grid_bound_squared)
    assert abs(wider / 4 - 1) < 1e-3
    assert certificate(two, cohort=5, observers=1) <= float(Decimal(STUDY["epsilon"]))
