"""What holds for a whole life and every target: the sampler within δ's reserve, the library's mixture, coded errors.

For: ``filter_cap`` and ``event_cost`` (draws), ``loss._shortfall`` (what dp_accounting is short of), ``calibrate``.
"""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, MixtureGaussianPrivacyLoss
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from sekisho.privacy.accounting.accountant import (
    UNITS_PER_DRAW,
    calibrate,
    event_cost,
    filter_cap,
    filter_order,
    step_cost,
)
from sekisho.privacy.accounting.loss import SMALLEST_SIGMA, _shortfall, loss_epsilon
from sekisho.privacy.accounting.renyi import divergence
from sekisho.privacy.budget import Adjacency, Budget, Unit
from sekisho.privacy.errors import BadParametersError
from sekisho.privacy.mechanism.gaussian import SAMPLER_TOTAL_VARIATION
from sekisho.tests.privacy.test_plan import PLAN


def budget(epsilon: str, delta: str) -> Budget:
    return Budget(Decimal(epsilon), Decimal(delta), Unit.SUBJECT, Adjacency.ADD_OR_REMOVE_ONE)


# --- the sampler over a life


@pytest.mark.parametrize(("epsilon", "delta"), [("8", "0.000000001"), ("20", "0.00001"), ("27", "0.00001")])
def test_the_sampler_of_a_life_is_within_the_reserve(epsilon: str, delta: str) -> None:
    life = budget(epsilon, delta)
    draws = filter_cap(life, filter_order(life)) // UNITS_PER_DRAW
    assert (1 + math.exp(float(epsilon))) * SAMPLER_TOTAL_VARIATION * draws <= 0.01 * float(delta)


@pytest.mark.parametrize(("epsilon", "delta"), [("29", "0.00001"), ("60", "0.00001"), ("1000", "0.5"), ("27", "1e-9")])
def test_a_lifetime_that_the_sampler_cannot_keep_is_refused(epsilon: str, delta: str) -> None:
    with pytest.raises(BadParametersError) as refused:
        filter_order(budget(epsilon, delta))
    assert refused.value.code == "SAMPLER_NOT_EXACT_ENOUGH"
    assert "lifetime" in str(refused.value.hint)


@pytest.mark.parametrize("dimension", [1, 385, 1_000_000])
def test_no_life_has_more_draws_than_its_cap_pays_for(dimension: int) -> None:
    """However narrow the plan: a step pays for every draw of every site, so the cap is a bound of them."""
    wide = 16_000**2
    plan = dataclasses.replace(PLAN, dimension=dimension, cells=(), share_variances=((5, wide), (4, wide), (3, wide)))
    for cohort in (3, 4, 5):
        cost = event_cost(plan.event(cohort, 1), 2)
        without = divergence(2, float(plan.sampling_rate), (cohort - 1) * wide / plan.grid_bound_squared)
        assert cost >= UNITS_PER_DRAW * dimension * cohort + without * 2**40
    assert step_cost(plan, observers=1, order=2) >= UNITS_PER_DRAW * dimension * 5


# --- dp_accounting's mixture


def _short(sigma: float, rate: float, contributions: int) -> float:
    """The most that the library's δ(ε) of one step is found short, over 1 − δ(ε): places near the limit, and others."""
    k = np.arange(contributions + 1)
    weights = [math.comb(contributions, i) * rate**i * (1 - rate) ** (contributions - i) for i in k]
    b = np.array(weights)
    limit = contributions * math.log1p(-rate)
    losses = np.concatenate(([limit * (1 - 0.9e-5)], np.linspace(limit * (1 - 1e-4), 6 / sigma, 60)))

    def loss(x: float) -> float:
        return float(np.logaddexp.reduce(np.log(b) + (k * x - k * k / 2) / sigma**2))

    worst = 0.0
    for added in (True, False):
        kind = AdjacencyType.REMOVE if added else AdjacencyType.ADD
        library = MixtureGaussianPrivacyLoss(sigma, [float(i) for i in k], weights, adjacency_type=kind)
        epsilons = np.sort(losses if added else -losses)
        for epsilon, found in zip(epsilons, library.get_delta_for_epsilon(epsilons), strict=True):
            x = brentq(lambda x, level=epsilon if added else -epsilon: loss(x) - level, -50, 50, xtol=1e-14)
            if added:
                true = float(b @ norm.sf((x - k) / sigma) - math.exp(epsilon) * norm.sf(x / sigma))
            else:
                true = float(norm.cdf(x / sigma) - math.exp(epsilon) * (b @ norm.cdf((x - k) / sigma)))
            if true < 0.99:  # above, floats have no such differences
                worst = max(worst, (true - found) / (1 - true))
    return worst


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.3, 0.5])
def test_the_library_is_short_by_no_more_than_is_paid_for(sigma: float) -> None:
    """And it is short: near the limit of the loss by a thousand times more than the step of its search explains."""
    for rate, contributions in ((0.5, 2), (0.1, 3)):
        short, paid = _short(sigma, rate, contributions), _shortfall(sigma, rate, contributions)
        assert 0.001 * paid <= short <= paid


def test_a_certificate_pays_for_what_the_library_is_short_of() -> None:
    """At σ = 0.2 a hundred steps of the library may be short of δ = 1e-5 entirely."""
    assert 100 * _shortfall(0.2, 0.1, 2) > 1e-5 > 100 * _shortfall(0.4, 0.1, 2)
    with pytest.raises(BadParametersError) as refused:
        loss_epsilon(0.2, 1e-5, 100, 0.1, 2)
    assert refused.value.code == "NOISE_TOO_SMALL"


def test_the_second_direction_is_charged_where_it_is_the_larger() -> None:
    """D(P₀‖P₁) at the narrower noise, integrated by another rule, where the first direction alone is below it."""
    sigma_squared, given_up, rate, order = 400.0, 80.0, 0.5, 3
    k, b, narrow = np.arange(3), np.array([0.25, 0.5, 0.25]), 320.0

    def moment(x: float) -> float:
        ratio = float(b @ np.exp((k * x - k * k / 2) / narrow))
        return math.exp(-x * x / (2 * narrow)) / math.sqrt(2 * math.pi * narrow) * ratio ** (1 - order)

    second = math.log(quad(moment, -250, 250, points=[0.0], limit=500, epsabs=1e-13)[0]) / (order - 1)
    cost = divergence(order, rate, sigma_squared, 2, given_up=given_up)
    assert cost >= second
    assert cost <= second * (1 + 1e-9) + 1e-10


# --- targets that are no guarantee, and those that δ alone keeps


@pytest.mark.proof  # 3 s of a core each: narrow noise has large tables
@pytest.mark.parametrize("contributions", [1, 2])
def test_where_delta_alone_covers_a_target_the_least_noise_is_given(contributions: int) -> None:
    sigma = calibrate(
        epsilon=Decimal("0.01"),
        delta=Decimal("0.01"),
        steps=1,
        sampling_rate=Decimal("0.001"),
        contributions=contributions,
    )
    assert SMALLEST_SIGMA <= sigma < 0.1
    assert loss_epsilon(sigma, 0.0099, 1, 0.001, contributions) <= 0.01


@pytest.mark.proof
@pytest.mark.parametrize("epsilon", ["0.01", "1", "900"])
@pytest.mark.parametrize(("delta", "rate"), [("0.5", "1"), ("0.5", "0.01"), ("0.000001", "1")])
def test_no_target_ends_in_an_uncoded_error(epsilon: str, delta: str, rate: str) -> None:
    for steps in (1, 10):
        try:
            sigma = calibrate(epsilon=Decimal(epsilon), delta=Decimal(delta), steps=steps, sampling_rate=Decimal(rate))
        except BadParametersError as refused:  # so small an ε is beyond the orders that are looked at
            assert (refused.code, epsilon) == ("NO_SUCH_NOISE", "0.01")
            continue
        assert sigma >= SMALLEST_SIGMA
        assert loss_epsilon(sigma, 0.99 * float(delta), steps, float(rate)) <= float(epsilon) * (1 + 1e-9)
